"""Checked rows on local disk, between the pass that reads them and the pass that writes the splits.

Chunks for writing are cut by row count, never by how the rows were read, so that the block size leaves no
trace in the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.adapters.tables.checking import CheckedBlock, prepared_schema
from dropforge.adapters.tables.parts import RejectWriter, write_part
from dropforge.adapters.tables.profiling import profile_table
from dropforge.adapters.tables.sampling import RowSample
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
from dropforge.domain.profile import TableProfile
from dropforge.domain.splitting import SPLITS, last_occurrences, split_codes

_CHUNK_CELLS = 1 << 22
_CHUNK_ROWS = (4096, 262_144)  # bounds: few enough parts, and few enough bytes in memory


class Staging:
    """Implements `StagedRows` in a folder of its own.

    Args:
        folder: an empty local folder; needs about the size of the uncompressed data.
        contract: what the rows were held to.
        store: where parts are written.
        rejected_uri: the folder of the rejects, with its final slash.
    """

    def __init__(self, folder: Path, contract: Contract, store: ObjectStore, rejected_uri: str) -> None:
        self._folder, self._contract, self._store = folder, contract, store
        self._schema = prepared_schema(contract).append(pa.field(ROW_KEY, pa.uint64(), nullable=False))
        self._rejects = RejectWriter(store, rejected_uri)
        self._rows_file = pa.OSFile(str(folder / "rows.arrow"), "wb")
        self._writer = pa.ipc.new_file(self._rows_file, self._schema)
        self._lane_files = [(folder / f"hash{lane}").open("wb") for lane in range(2)]
        self._rows = 0
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
            keys = pa.array(checked.lanes[0], pa.uint64())
            self._writer.write_batch(
                pa.RecordBatch.from_arrays([*checked.rows.columns, keys], schema=self._schema)
            )
            for file, lane in zip(self._lane_files, checked.lanes, strict=True):
                file.write(lane.tobytes())
            self._rows += checked.rows.num_rows

    def finish(self) -> None:
        """Close the files; rows can be read from now on."""
        self._rejects.finish()
        self.close()

    def close(self) -> None:
        """Close the files; safe to call again."""
        if not self._rows_file.closed:
            self._writer.close()
            self._rows_file.close()
        for file in self._lane_files:
            file.close()

    def deduplicate(self) -> int:
        self._keep = last_occurrences(self._lane(0), self._lane(1))
        return self._rows - int(self._keep.sum())

    def split_counts(self) -> SplitCounts:
        target = self._contract.target
        classes: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
        rows = dict.fromkeys(SPLITS, 0)
        for batch in self._kept():
            codes = split_codes(batch.column(ROW_KEY).to_numpy())
            for code, split in enumerate(SPLITS):
                chosen = codes == code
                rows[split] += int(chosen.sum())
                if self._contract.is_classification:
                    _count(classes[split], batch.column(target).filter(pa.array(chosen)))
        return SplitCounts(rows, classes)

    def write(self, prefix_uri: str) -> Written:
        profile = TableProfile()
        sample = RowSample(self._contract)
        parts = dict.fromkeys(SPLITS, 0)
        for chunk in self._chunks():
            sample.add(chunk)
            profile.add(chunk.num_rows, profile_table(chunk, self._contract))
            codes = split_codes(chunk.column(ROW_KEY).to_numpy())
            for code, split in enumerate(SPLITS):
                rows = chunk.filter(pa.array(codes == code)).combine_chunks()
                if rows.num_rows:
                    write_part(self._store, f"{prefix_uri}{split}/", parts[split], rows)
                    parts[split] += 1
        return Written(self.split_counts(), profile, sample.columns())

    def _lane(self, number: int) -> npt.NDArray[np.uint64]:
        if not self._rows:
            return np.empty(0, dtype=np.uint64)
        return np.memmap(self._folder / f"hash{number}", dtype=np.uint64, mode="r")

    def _kept(self) -> Iterator[pa.RecordBatch]:
        with pa.memory_map(str(self._folder / "rows.arrow")) as file:
            reader = pa.ipc.open_file(file)
            start = 0
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                if self._keep is None:
                    yield batch
                else:
                    keep = self._keep[start : start + batch.num_rows]
                    yield batch if keep.all() else batch.filter(pa.array(keep))
                start += batch.num_rows

    def _chunks(self) -> Iterator[pa.Table]:
        size = min(max(_CHUNK_CELLS // len(self._schema), _CHUNK_ROWS[0]), _CHUNK_ROWS[1])
        pending: list[pa.RecordBatch] = []
        held = 0
        for batch in self._kept():
            offset = 0
            while offset < batch.num_rows:
                piece = batch.slice(offset, size - held)
                pending.append(piece)
                held += piece.num_rows
                offset += piece.num_rows
                if held == size:
                    yield pa.Table.from_batches(pending, self._schema).combine_chunks()
                    pending, held = [], 0
        if held:
            yield pa.Table.from_batches(pending, self._schema).combine_chunks()


def _count(counts: dict[str, int], labels: pa.Array) -> None:
    for entry in pc.value_counts(labels).to_pylist():
        counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
