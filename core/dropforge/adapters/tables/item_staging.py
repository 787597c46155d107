"""Checked rows of one item in object storage, where the next phases find them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dropforge.adapters.tables.checking import CheckedBlock
from dropforge.adapters.tables.counting import count_block
from dropforge.adapters.tables.key_file import KeyFile, Keys
from dropforge.adapters.tables.outline import Outline
from dropforge.adapters.tables.parts import RejectWriter
from dropforge.adapters.tables.staging import label_codes, rows_per_split, staged_batch, staged_schema
from dropforge.domain.contract import Contract
from dropforge.domain.ports import ObjectStore
from dropforge.domain.preparing import CheckCounts, ObjectCounts
from dropforge.domain.splitting import UInt64

_FILE_BYTES = 8 << 20


class ItemStaging:
    """Takes the blocks of an item's spans, one after the other. Holds 18 bytes per row for the keys.

    Rejected rows are numbered from where the item begins in their object.

    Args:
        contract: what the rows were held to.
        store: where the item's files go.
        folder_uri: the item's folder, with its final slash.
    """

    def __init__(self, contract: Contract, store: ObjectStore, folder_uri: str) -> None:
        self._contract, self._store, self._folder_uri = contract, store, folder_uri
        self._schema = staged_schema(contract)
        self._rejects = RejectWriter(store, f"{folder_uri}rejected/")
        self._read: dict[str, int] = {}
        self._spans: list[CheckCounts] = []
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._stream = bytearray()
        self._lanes: tuple[list[UInt64], list[UInt64]] = ([], [])
        self._labels: list[npt.NDArray[np.uint16]] = []
        self._outline = Outline(contract)
        self.files: list[int] = []
        """How many rows each file holds."""

    @property
    def reject_files(self) -> int:
        """How many files of rejected rows there are."""
        return self._rejects.parts

    def open_span(self, source: str) -> CheckCounts:
        """Begin with a span of an object; returns what will have been counted in it."""
        self._spans.append(CheckCounts({source: ObjectCounts()}))
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
        for lanes, lane in zip(self._lanes, checked.lanes, strict=True):
            lanes.append(lane)
        if self._contract.is_classification:
            self._labels.append(label_codes(checked.rows.column(self._contract.target), self._contract))
        self._outline.add(checked.rows, checked.lanes[0])

    def finish(self, ranges: int) -> npt.NDArray[np.int64]:
        """Write the rest; returns how many rows there are by split and class, int64 (3, n_classes)."""
        self._flush()
        self._rejects.finish(at_least=0)
        first, second = (_joined(lanes, np.uint64) for lanes in self._lanes)
        labels = _joined(self._labels, np.uint16)
        keys = Keys(first, second, np.arange(len(first), dtype=np.uint32), labels)
        KeyFile(self._store, f"{self._folder_uri}keys").write(keys, ranges)
        self._store.write(f"{self._folder_uri}outline", self._outline.to_bytes())
        return rows_per_split(first, labels if self._contract.is_classification else None, self._contract)

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


def _joined[T: np.generic](pieces: list[npt.NDArray[T]], dtype: type[T]) -> npt.NDArray[T]:
    """Return all pieces as one array, and let go of them."""
    found = np.concatenate([np.empty(0, dtype=dtype), *pieces])
    pieces.clear()
    return found


def _write(sink: pa.NativeFile, batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> None:
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
