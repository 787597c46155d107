"""Checked rows on local disk, between the pass that reads them and the pass that writes the splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dropforge.adapters.tables.checking.contract_check import CheckedBlock, prepared_schema
from dropforge.adapters.tables.checking.passes import count_block
from dropforge.adapters.tables.staging.array_file import ArrayFile
from dropforge.adapters.tables.staging.outline import Outline
from dropforge.adapters.tables.threads import cores
from dropforge.adapters.tables.writing.chunks import kept_chunks, write_chunks
from dropforge.adapters.tables.writing.parts import RejectWriter
from dropforge.domain.contract import GROUP_KEY, ROW_KEY, Contract
from dropforge.domain.ports import ObjectStore
from dropforge.domain.preparing import (
    CheckCounts,
    Duplicates,
    ObjectCounts,
    Recurrence,
    SplitCounts,
    Written,
    split_counts_of,
)
from dropforge.domain.recurrence import (
    Combinations,
    GroupTally,
    ObjectSketch,
    Twins,
    find_recurrences,
    recurring_rows,
    sample_size,
)
from dropforge.domain.splitting import LEFT_OUT, SPLITS, Origin, RowSplits, last_occurrences, rows_by_hash
from dropforge.domain.time_split import Boundaries, Placing, Times

_COUNTED_ROWS = 1 << 20


def staged_schema(contract: Contract) -> pa.Schema:
    """Return the columns of staged rows: the prepared ones, with groups the group's key, the row's key."""
    schema = prepared_schema(contract)
    for name in (GROUP_KEY, ROW_KEY) if contract.group is not None else (ROW_KEY,):
        schema = schema.append(pa.field(name, pa.uint64(), nullable=False))
    return schema


class Staging:
    """Implements `StagedRows` in a folder of its own.

    Args:
        folder: an empty local folder; needs about the size of the uncompressed data.
        contract: what the rows were held to.
        store: where parts are written.
        rejected_uri: the folder of the rejects, with its final slash.
        workers: how many chunks to write at once.
        objects: how many objects the rows come from.
    """

    def __init__(
        self,
        folder: Path,
        contract: Contract,
        store: ObjectStore,
        rejected_uri: str,
        workers: int | None = None,
        objects: int = 1,
    ) -> None:
        self._contract, self._store = contract, store
        self._workers = workers or cores()
        self._schema = staged_schema(contract)
        self._rejects = RejectWriter(store, rejected_uri)
        self._rows_path = folder / "rows.arrow"
        self._rows_file = pa.OSFile(str(self._rows_path), "wb")
        self._writer = pa.ipc.new_stream(self._rows_file, self._schema)
        self._lanes = (ArrayFile(folder / "hash0", np.uint64), ArrayFile(folder / "hash1", np.uint64))
        self._labels = ArrayFile(folder / "labels", np.uint16)
        self._splitting = (
            self._lanes[0] if contract.splits_by_key else ArrayFile(folder / "splitting", np.uint64)
        )
        self._groups = self._splitting if contract.time is None else ArrayFile(folder / "groups", np.uint64)
        self._placing: Placing | None = None
        self._outline = Outline(contract)
        self._sketches: list[ObjectSketch] = []
        self._sketch_size = sample_size(objects)
        self._combinations = Combinations()
        self._keep: npt.NDArray[np.bool_] | None = None
        self._splits: SplitCounts | None = None
        self.counts = CheckCounts()

    def open_object(self, source: str) -> None:
        """Start counting the rows of an object, named by its URI."""
        self.counts.objects.setdefault(source, ObjectCounts())
        self._sketches.append(ObjectSketch(self._sketch_size))

    def add(self, source: str, checked: CheckedBlock) -> None:
        """Append a block of the object that was opened under this name."""
        counts = self.counts.objects[source]
        self._rejects.add(source, counts.read + 1, checked.rejects)
        count_block(self.counts, source, checked)
        if checked.rows.num_rows:
            self._writer.write_batch(staged_batch(checked, self._schema))
            for file, lane in zip(self._lanes, checked.lanes, strict=True):
                file.append(lane)
            if not self._contract.splits_by_key:
                self._splitting.append(checked.splitting)
                self._combinations.add(checked.splitting)
            if self._contract.time is not None and checked.groups is not None:
                self._groups.append(checked.groups)
            if self._contract.key is None:
                self._sketches[-1].add(*checked.lanes)
            if self._contract.is_classification:
                self._labels.append(label_codes(checked.rows.column(self._contract.target), self._contract))
            self._outline.add(checked.rows, checked.lanes[0])

    def finish(self) -> None:
        """Close the files; rows can be read from now on."""
        self._rejects.finish()
        self.close()

    def close(self) -> None:
        """Close the files; safe to call again."""
        if not self._rows_file.closed:
            self._writer.close()
            self._rows_file.close()
        for file in (*self._lanes, self._labels, self._splitting, self._groups):
            file.close()

    @property
    def has_few_combinations(self) -> bool:
        return self._combinations.are_few

    def split_by_row(self, contract: Contract) -> None:
        self._contract, self._splits = contract, None

    def deduplicate(self) -> Duplicates:
        self._splits = None
        if self._contract.key is not None:
            self._keep = last_occurrences(*self._lanes)
            return self._duplicates(self._keep)
        found = find_recurrences(self._sketches)
        if not found:
            return Duplicates()
        self._keep = np.ones(len(self._lanes[0]), dtype=np.bool_)
        ends = self._ends
        for rows, first, second in rows_by_hash(*self._lanes):
            objects = np.searchsorted(ends, rows, "right")
            self._keep[rows[recurring_rows(first, second, objects, found)]] = False
        return self._duplicates(self._keep, found)

    @property
    def _ends(self) -> npt.NDArray[np.int64]:
        """Behind which row each object ends, int64 (n,)."""
        return np.cumsum([counts.staged for counts in self.counts.objects.values()], dtype=np.int64)

    def _duplicates(
        self, keep: npt.NDArray[np.bool_], recurrences: Mapping[int, int] | None = None
    ) -> Duplicates:
        """Count the rows that aren't kept, by object."""
        sources = list(self.counts.objects)
        left_out = np.searchsorted(self._ends, np.flatnonzero(~keep), "right")
        rows = np.bincount(left_out, minlength=len(sources)).tolist()
        found = [
            Recurrence(sources[earlier], sources[later], rows[earlier])
            for earlier, later in (recurrences or {}).items()
        ]
        by_object = {source: count for source, count in zip(sources, rows, strict=True) if count}
        return Duplicates(sum(rows), tuple(found), by_object)

    def split_counts(self) -> SplitCounts:
        if self._splits is None:
            self._splits = self._counted()
        return self._splits

    def _row_splits(self) -> RowSplits:
        origins = [Origin(source, 0, counts.staged) for source, counts in self.counts.objects.items()]
        return RowSplits(self._contract, origins, self._placing)

    def times(self) -> Times:
        return Times(lambda: (times for _, times, _ in self._remaining()))

    def place(self, boundaries: Boundaries) -> None:
        held = None
        if self._contract.group is not None:
            held = np.empty(0, dtype=np.uint64)
            for _, times, groups in self._remaining():
                tested = boundaries.codes(times) == SPLITS.index("test")
                held = np.union1d(held, groups[tested])
        self._placing, self._splits = Placing(boundaries, held), None

    def _remaining(self) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[Any]]]:
        """Yield the rows that aren't left out: their places, what decides on the split, and their groups."""
        for start in range(0, len(self._splitting), _COUNTED_ROWS):
            rows = np.arange(start, min(start + _COUNTED_ROWS, len(self._splitting)))
            if self._keep is not None:
                rows = rows[self._keep[start : start + _COUNTED_ROWS]]
            hashes = self._splitting[start : start + _COUNTED_ROWS][rows - start]
            groups = hashes
            if self._contract.time is not None and self._contract.group is not None:
                groups = self._groups[start : start + _COUNTED_ROWS][rows - start]
            yield rows, hashes, groups

    def _counted(self) -> SplitCounts:
        splits, tally = self._row_splits(), SplitTally(self._contract)
        for number, (rows, hashes, groups) in enumerate(self._remaining()):
            labels = None
            if self._contract.is_classification:
                start = number * _COUNTED_ROWS
                labels = self._labels[start : start + _COUNTED_ROWS][rows - start]
            tally.add(hashes, splits.of(rows, hashes, groups)[1], labels, groups)
        return tally.counts()

    def write(self, prefix_uri: str) -> Written:
        with pa.OSFile(str(self._rows_path)) as file:
            chunks = kept_chunks(pa.ipc.open_stream(file), self._keep, self._schema)
            profile, sample = write_chunks(
                self._store,
                prefix_uri,
                "",
                chunks,
                self._contract,
                self._row_splits(),
                self._outline.rulers(),
                self._workers,
            )
        return Written(self.split_counts(), profile, sample.columns(), sample.evidence())


class SplitTally:
    """Counts rows by split and class.

    Attributes:
        rows: int64 (3, n_classes); of a regression (3, 1).
        twins: where every row is split for itself, which test rows have an equal in training.
        groups: where rows have groups, how many there are.
        left_out: how many rows go to no split.
    """

    def __init__(self, contract: Contract) -> None:
        self._classes = len(contract.classes or ("",))
        self._contract = contract
        self.rows = np.zeros((len(SPLITS), self._classes), dtype=np.int64)
        self.twins = Twins()
        self.groups = GroupTally()
        self.left_out = 0

    def add(
        self,
        hashes: npt.NDArray[np.uint64],
        codes: npt.NDArray[np.uint8],
        labels: npt.NDArray[np.uint16] | None,
        groups: npt.NDArray[np.uint64],
    ) -> None:
        """Add rows, (n,) each: the hashes that `RowSplits` takes, the split codes that it gives, for a
        classification the `label_codes`, and their groups, where they have any."""
        placed = codes != LEFT_OUT
        if not placed.all():
            self.left_out += int((~placed).sum())
            hashes, codes, groups = hashes[placed], codes[placed], groups[placed]
            labels = None if labels is None else labels[placed]
        cells = codes.astype(np.int64) * self._classes
        if labels is not None:
            cells += labels
        self.rows += np.bincount(cells, minlength=self.rows.size).reshape(self.rows.shape)
        if self._contract.group is not None:
            self.groups.add(groups)
        elif self._contract.splits_by_row:
            self.twins.add(hashes, codes == SPLITS.index("train"), codes == SPLITS.index("test"))

    def counts(self) -> SplitCounts:
        """Say what was counted."""
        contract = self._contract
        groups = None if contract.group is None else self.groups.groups_among(int(self.rows.sum()))
        return split_counts_of(self.rows.tolist(), contract, self.twins.share, groups, self.left_out)


def staged_batch(checked: CheckedBlock, schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows that keep the contract, with the hashes that `RowSplits` makes row keys of."""
    keys = pa.array(checked.splitting, pa.uint64())
    groups = [] if checked.groups is None else [pa.array(checked.groups, pa.uint64())]
    return pa.RecordBatch.from_arrays([*checked.rows.columns, *groups, keys], schema=schema)


def label_codes(labels: pa.DictionaryArray, contract: Contract) -> npt.NDArray[np.uint16]:
    """Return each label's place among the contract's classes, uint16 (n,)."""
    places = {label: place for place, label in enumerate(contract.classes or ())}
    codes = np.array([places.get(label, 0) for label in labels.dictionary.to_pylist()], dtype=np.uint16)
    found: npt.NDArray[np.uint16] = codes[labels.indices.to_numpy()]
    return found
