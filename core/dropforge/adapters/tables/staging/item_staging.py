"""Checked rows of one item in object storage, where the next phases find them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from dropforge.adapters.tables.checking.contract_check import CheckedBlock
from dropforge.adapters.tables.checking.passes import count_block
from dropforge.adapters.tables.staging.key_file import KeySorter
from dropforge.adapters.tables.staging.local_staging import label_codes, staged_batch, staged_schema
from dropforge.adapters.tables.staging.outline import Outline
from dropforge.adapters.tables.writing.parts import RejectWriter
from dropforge.domain.contract import Contract
from dropforge.domain.ports import ObjectStore
from dropforge.domain.preparing import CheckCounts, ObjectCounts
from dropforge.domain.recurrence import Combinations, ObjectSketch

_FILE_BYTES = 8 << 20


class ItemStaging:
    """Takes the blocks of an item's spans, one after the other. Holds the keys in memory.

    Rejected rows are numbered from where the item begins in their object.

    Args:
        contract: what the rows were held to.
        store: where the item's files go.
        folder_uri: the item's folder, with its final slash.
        ranges: into how many ranges of hashes the keys are sorted, a power of two.
        sample_size: how many hashes to remember of each object, where rows have no key.
    """

    def __init__(
        self, contract: Contract, store: ObjectStore, folder_uri: str, ranges: int, sample_size: int
    ) -> None:
        self._contract, self._store, self._folder_uri = contract, store, folder_uri
        self._schema = staged_schema(contract)
        self._rejects = RejectWriter(store, f"{folder_uri}rejected/")
        self._read: dict[str, int] = {}
        self._spans: list[CheckCounts] = []
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._stream = bytearray()
        self._keys = KeySorter(ranges)
        self._outline = Outline(contract)
        self._sample_size = sample_size
        self._sketches: list[ObjectSketch] = []
        self.files: list[int] = []
        """How many rows each file holds."""
        self.combinations = Combinations()

    @property
    def reject_files(self) -> int:
        """How many files of rejected rows there are."""
        return self._rejects.parts

    def open_span(self, source: str) -> CheckCounts:
        """Begin with a span of an object; returns what will have been counted in it."""
        self._spans.append(CheckCounts({source: ObjectCounts()}))
        self._sketches.append(ObjectSketch(self._sample_size))
        return self._spans[-1]

    def add(self, source: str, checked: CheckedBlock) -> None:
        """Append a block of the span that was opened last."""
        before = self._read.get(source, 0)
        self._rejects.add(source, before + 1, checked.rejects)
        self._read[source] = before + checked.records
        count_block(self._spans[-1], source, checked)
        if not checked.rows.num_rows:
            return
        batch = staged_batch(checked, self._schema)
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes
        if self._pending_bytes >= _FILE_BYTES:
            self._flush()
        labels = None
        if self._contract.is_classification:
            labels = label_codes(checked.rows.column(self._contract.target), self._contract)
        splits_by_key = self._contract.splits_by_key
        groups = None if self._contract.time is None else checked.groups
        self._keys.add(*checked.lanes, labels, None if splits_by_key else checked.splitting, groups)
        if not splits_by_key:
            self.combinations.add(checked.splitting)
        if self._contract.key is None:
            self._sketches[-1].add(*checked.lanes)
        self._outline.add(checked.rows, checked.lanes[0])

    def finish(self) -> None:
        """Write the rest."""
        self._flush()
        self._rejects.finish(at_least=0)
        self._store.write(f"{self._folder_uri}keys", self._keys.to_bytes())
        self._store.write(f"{self._folder_uri}outline", self._outline.to_bytes())
        if self._contract.key is None:
            for number, sketch in enumerate(self._sketches):
                self._store.write(f"{self._folder_uri}sketch-{number}", sketch.to_bytes())

    def _flush(self) -> None:
        if not self._pending:
            return
        uri = f"{self._folder_uri}rows/{len(self.files):05d}.arrow"
        self._fill_stream()
        self._store.write(uri, self._stream)
        self.files.append(sum(batch.num_rows for batch in self._pending))
        self._pending, self._pending_bytes = [], 0

    def _fill_stream(self) -> None:
        """Write what is pending as an Arrow stream, copied once, and into memory that was used before.

        Uncompressed: hashes and measured numbers hardly shrink, and trying takes longer than sending them.
        """
        measured = pa.MockOutputStream()
        _write(measured, self._pending, self._schema)
        size = measured.size()
        self._stream = self._stream or bytearray(size)
        del self._stream[size:]
        self._stream.extend(bytes(size - len(self._stream)))
        _write(pa.FixedSizeBufferWriter(pa.py_buffer(self._stream)), self._pending, self._schema)


def _write(sink: pa.NativeFile, batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> None:
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
