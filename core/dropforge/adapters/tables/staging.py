"""Checked rows on local disk, between the pass that reads them and the pass that writes the splits.

Chunks for writing are cut by row count, never by how the rows were read, so that neither the block size nor
the number of cores leaves a trace in the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dropforge.adapters.tables.checking import CheckedBlock, prepared_schema
from dropforge.adapters.tables.lanes import ArrayFile
from dropforge.adapters.tables.outline import Outline
from dropforge.adapters.tables.parts import RejectWriter, tidied, write_part
from dropforge.adapters.tables.profiling import profile_table
from dropforge.adapters.tables.sampling import RowSample
from dropforge.adapters.tables.threads import cores, ordered
from dropforge.domain.contract import ROW_KEY, Contract
from dropforge.domain.ports import ObjectStore
from dropforge.domain.preparing import (
    EXAMPLES_PER_REASON,
    CheckCounts,
    Example,
    ObjectCounts,
    Reason,
    SplitCounts,
    Written,
)
from dropforge.domain.profile import ColumnProfile, Rulers, TableProfile
from dropforge.domain.splitting import SPLITS, last_occurrences, split_codes

_CHUNK_CELLS = 1 << 22
_CHUNK_ROWS = (4096, 262_144)  # bounds: few enough parts, and few enough bytes in memory
_COUNTED_ROWS = 1 << 20


def staged_schema(contract: Contract) -> pa.Schema:
    """Return the columns of staged rows: the prepared ones and the row's key."""
    return prepared_schema(contract).append(pa.field(ROW_KEY, pa.uint64(), nullable=False))


class Staging:
    """Implements `StagedRows` in a folder of its own.

    Args:
        folder: an empty local folder; needs about the size of the uncompressed data.
        contract: what the rows were held to.
        store: where parts are written.
        rejected_uri: the folder of the rejects, with its final slash.
        workers: how many chunks to write at once.
    """

    def __init__(
        self,
        folder: Path,
        contract: Contract,
        store: ObjectStore,
        rejected_uri: str,
        workers: int | None = None,
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
        self._outline = Outline(contract)
        self._keep: npt.NDArray[np.bool_] | None = None
        self.counts = CheckCounts()

    def open_object(self, source: str) -> None:
        """Start counting the rows of an object, named by its URI."""
        self.counts.objects.setdefault(source, ObjectCounts())

    def add(self, source: str, checked: CheckedBlock) -> None:
        """Append a block of the object that was opened under this name."""
        counts = self.counts.objects[source]
        self._rejects.add(source, counts.read + 1, checked.rejects)
        for group in checked.rejects:
            reason = self.counts.reasons.setdefault((group.rule, group.column), Reason())
            reason.count += len(group.positions)
            for position, value in zip(
                group.positions[: EXAMPLES_PER_REASON - len(reason.examples)], group.values, strict=False
            ):
                reason.examples.append(Example(source, counts.read + int(position) + 1, value.as_py()))
        counts.read += checked.records
        counts.rejected += checked.rejected_rows
        if checked.rows.num_rows:
            self._writer.write_batch(staged_batch(checked, self._schema))
            for file, lane in zip(self._lanes, checked.lanes, strict=True):
                file.append(lane)
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
        for file in (*self._lanes, self._labels):
            file.close()

    def deduplicate(self) -> int:
        self._keep = last_occurrences(*self._lanes)
        return len(self._keep) - int(self._keep.sum())

    def split_counts(self) -> SplitCounts:
        classes = self._contract.classes or ("",)
        counted = np.zeros((len(SPLITS), len(classes)), dtype=np.int64)
        for start in range(0, len(self._lanes[0]), _COUNTED_ROWS):
            rows = slice(start, start + _COUNTED_ROWS)
            cells = split_codes(self._lanes[0][rows]).astype(np.int64) * len(classes)
            if self._contract.is_classification:
                cells += self._labels[rows]
            kept = cells if self._keep is None else cells[self._keep[rows]]
            counted += np.bincount(kept, minlength=counted.size).reshape(counted.shape)
        found = counted.tolist()
        return SplitCounts(
            {split: sum(each) for split, each in zip(SPLITS, found, strict=True)},
            {
                split: {label: count for label, count in zip(classes, each, strict=True) if count}
                if self._contract.is_classification
                else {}
                for split, each in zip(SPLITS, found, strict=True)
            },
        )

    def write(self, prefix_uri: str) -> Written:
        profile, sample = TableProfile(), RowSample(self._contract)
        for chunk in ordered(self._chunk_writers(prefix_uri), self._workers):
            profile.add(chunk.rows, chunk.profile)
            sample.add(chunk.sample)
        return Written(self.split_counts(), profile, sample.columns())

    def _chunk_writers(self, prefix_uri: str) -> Iterator[Callable[[], WrittenChunk]]:
        rulers = self._outline.rulers()
        for number, (rows, keep) in enumerate(self._chunks()):
            yield partial(write_chunk, self._store, prefix_uri, number, rows, keep, self._contract, rulers)

    def _chunks(self) -> Iterator[tuple[pa.Table, npt.NDArray[np.bool_]]]:
        """Yield staged rows, and which of them to keep: equally many of each chunk but the last."""
        size = min(max(_CHUNK_CELLS // len(self._schema), _CHUNK_ROWS[0]), _CHUNK_ROWS[1])
        batches: list[pa.RecordBatch] = []
        masks: list[npt.NDArray[np.bool_]] = []
        held = start = 0
        with pa.OSFile(str(self._rows_path)) as file:
            for batch in pa.ipc.open_stream(file):
                keep = np.ones(batch.num_rows, dtype=np.bool_)
                if self._keep is not None:
                    keep = self._keep[start : start + batch.num_rows]
                start += batch.num_rows
                offset = 0
                while offset < batch.num_rows:
                    # The chunk is full with the row that makes `size` kept ones.
                    kept = np.cumsum(keep[offset:])
                    end = offset + int(np.searchsorted(kept, size - held)) + 1
                    batches.append(batch.slice(offset, end - offset))
                    masks.append(keep[offset:end])
                    held += int(masks[-1].sum())
                    offset = end
                    if held == size:
                        yield pa.Table.from_batches(batches, self._schema), np.concatenate(masks)
                        batches, masks, held = [], [], 0
        if held:
            yield pa.Table.from_batches(batches, self._schema), np.concatenate(masks)


@dataclass(frozen=True, slots=True)
class WrittenChunk:
    """What remains to be known of a chunk that was written."""

    rows: int
    profile: dict[str, ColumnProfile]
    sample: pa.Table


def staged_batch(checked: CheckedBlock, schema: pa.Schema) -> pa.RecordBatch:
    """Return the rows that keep the contract, with their keys."""
    keys = pa.array(checked.lanes[0], pa.uint64())
    return pa.RecordBatch.from_arrays([*checked.rows.columns, keys], schema=schema)


def label_codes(labels: pa.DictionaryArray, contract: Contract) -> npt.NDArray[np.uint16]:
    """Return each label's place among the contract's classes, uint16 (n,)."""
    places = {label: place for place, label in enumerate(contract.classes or ())}
    codes = np.array([places.get(label, 0) for label in labels.dictionary.to_pylist()], dtype=np.uint16)
    found: npt.NDArray[np.uint16] = codes[labels.indices.to_numpy()]
    return found


def write_chunk(
    store: ObjectStore,
    prefix_uri: str,
    number: int,
    rows: pa.Table,
    keep: npt.NDArray[np.bool_],
    contract: Contract,
    rulers: Rulers,
) -> WrittenChunk:
    """Write a chunk's rows to the splits' parts of this number, and profile them.

    Args:
        rows: staged rows.
        keep: bool (n,), which of them to write.
    """
    codes = split_codes(rows.column(ROW_KEY).to_numpy())
    parts = []
    for code, split in enumerate(SPLITS):
        part = tidied(rows.filter(pa.array((codes == code) & keep)).combine_chunks())
        parts.append(part)
        if part.num_rows:
            write_part(store, f"{prefix_uri}{split}/", number, part)
    kept = pa.concat_tables(parts)
    sample = RowSample(contract)
    sample.add(kept)
    return WrittenChunk(kept.num_rows, profile_table(kept, contract, rulers), sample.table())
