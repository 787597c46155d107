"""Parquet parts in object storage. The same rows give the same bytes, however they were read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dropforge.adapters.tables.buffers import counted_codes, encoded, is_present, looked_up
from dropforge.adapters.tables.checking.contract_check import Rejects
from dropforge.domain.contract import ROW_KEY
from dropforge.domain.ports import ObjectStore

_CONTENT_TYPE = "application/vnd.apache.parquet"
_REJECTS_PER_PART = 65_536

REJECTED_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("column", pa.string()),
        pa.field("value", pa.string()),
        pa.field("rule", pa.string(), nullable=False),
    ]
)


_ENCODINGS = {
    pa.float64(): "BYTE_STREAM_SPLIT",
    pa.int64(): "DELTA_BINARY_PACKED",
    pa.timestamp("us", "UTC"): "DELTA_BINARY_PACKED",
}
"""Smaller and several times faster than looking for a dictionary that numbers seldom have."""


def write_part(store: ObjectStore, prefix_uri: str, name: str, table: pa.Table) -> None:
    """Write one part with one row group."""
    store.write(f"{prefix_uri}part-{name}.parquet", part_bytes(table), content_type=_CONTENT_TYPE)


def part_bytes(table: pa.Table) -> bytes:
    """Return rows as Parquet with one row group; texts may come encoded, and are read back as texts."""
    sink = pa.BufferOutputStream()
    schema = table.schema
    encodings = {field.name: _ENCODINGS[field.type] for field in schema if field.type in _ENCODINGS}
    # A hash is random bits: neither counting its values nor compressing them gains anything.
    compression = {name: "none" if name == ROW_KEY else "zstd" for name in schema.names}
    pq.write_table(
        table,
        sink,
        compression=compression,
        use_dictionary=[field.name for field in schema if _is_text(field.type)],
        column_encoding=encodings,
        row_group_size=max(table.num_rows, 1),
        # Rows come in no order that a reader could skip pages by.
        write_statistics=False,
        store_schema=False,
    )
    return bytes(sink.getvalue())


def tidied(table: pa.Table) -> pa.Table:
    """Give every encoded column the dictionary of its own values in order, whatever it was cut from."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field, _tidied(table.column(index)))
    return table


def _tidied(column: pa.ChunkedArray) -> pa.Array:
    used = [_used_texts(chunk) for chunk in column.chunks]
    texts = (
        pc.unique(pa.chunked_array([t for _, t in used], pa.string())) if used else pa.array([], pa.string())
    )
    texts = texts.take(pc.sort_indices(texts))
    codes = [np.empty(0, dtype=np.int32)]
    for chunk, (places, own) in zip(column.chunks, used, strict=True):
        new = np.zeros(len(chunk.dictionary), dtype=np.int32)
        new[places] = pc.index_in(own, value_set=texts).to_numpy()
        codes.append(looked_up(new, chunk.indices))
    present = np.concatenate([is_present(chunk) for chunk in column.chunks]) if column.null_count else None
    return encoded(np.concatenate(codes), present, texts)


def _used_texts(values: pa.DictionaryArray) -> tuple[npt.NDArray[np.intp], pa.Array]:
    """Return which entries of the dictionary occur, and their texts."""
    places = np.flatnonzero(counted_codes(values))
    return places, values.dictionary.take(pa.array(places))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind) or pa.types.is_string(kind))


class RejectWriter:
    """Collects rejects and writes a part whenever enough have come together.

    Args:
        store: where to write.
        prefix_uri: the folder, with its final slash.
    """

    def __init__(self, store: ObjectStore, prefix_uri: str) -> None:
        self._store, self._prefix_uri = store, prefix_uri
        self._pending: list[pa.Table] = []
        self._held = 0
        self._parts = 0

    def add(self, source: str, first_row: int, groups: Sequence[Rejects]) -> None:
        """Add the rejects of a block whose first record is the object's data row `first_row` (from 1)."""
        if not groups:
            return
        positions = np.concatenate([group.positions for group in groups])
        sizes = [len(group.positions) for group in groups]
        table = pa.Table.from_arrays(
            [
                pa.repeat(pa.scalar(source, pa.string()), len(positions)),
                pa.array(positions + first_row, pa.int64()),
                _repeated([group.column for group in groups], sizes),
                pa.concat_arrays([group.values for group in groups]),
                _repeated([group.rule for group in groups], sizes),
            ],
            schema=REJECTED_SCHEMA,
        )
        # Stable: the rules that one row broke stay in the order of the columns.
        self._pending.append(table.take(pa.array(np.argsort(positions, kind="stable"))))
        self._held += len(positions)
        while self._held >= _REJECTS_PER_PART:
            self._flush(_REJECTS_PER_PART)

    @property
    def parts(self) -> int:
        """How many parts were written."""
        return self._parts

    def finish(self, at_least: int = 1) -> None:
        """Write what is left; at least one part by default, so that the folder can always be read."""
        if self._held or self._parts < at_least:
            self._flush(self._held)

    def _flush(self, rows: int) -> None:
        held = pa.concat_tables([REJECTED_SCHEMA.empty_table(), *self._pending])
        part = held.slice(0, rows).combine_chunks()
        write_part(self._store, self._prefix_uri, f"{self._parts:05d}", part)
        self._parts += 1
        self._held -= rows
        self._pending = [held.slice(rows)]


def _repeated(values: Sequence[str | None], sizes: Sequence[int]) -> pa.Array:
    return pa.concat_arrays(
        [pa.repeat(pa.scalar(value, pa.string()), size) for value, size in zip(values, sizes, strict=True)]
    )
