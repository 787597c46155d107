"""Parquet parts in object storage. The same rows give the same bytes, however they were read."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

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


def write_part(store: ObjectStore, prefix_uri: str, number: int, table: pa.Table) -> None:
    """Write one part with one row group."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=max(table.num_rows, 1))
    uri = f"{prefix_uri}part-{number:05d}.parquet"
    store.write(uri, sink.getvalue().to_pybytes(), content_type=_CONTENT_TYPE)


class RejectWriter:
    """Collects rejects and writes a part whenever enough have come together.

    Args:
        store: where to write.
        prefix_uri: the folder, with its final slash.
    """

    def __init__(self, store: ObjectStore, prefix_uri: str) -> None:
        self._store, self._prefix_uri = store, prefix_uri
        self._pending: list[tuple[str, int, str | None, str | None, str]] = []
        self._parts = 0

    def add(self, source: str, row: int, column: str | None, value: str | None, rule: str) -> None:
        """Add one broken rule of one row; `row` counts the object's data rows from 1."""
        self._pending.append((source, row, column, value, rule))
        if len(self._pending) >= _REJECTS_PER_PART:
            self._flush()

    def finish(self) -> None:
        """Write what is left; at least one part, so that the folder can always be read."""
        if self._pending or not self._parts:
            self._flush()

    def _flush(self) -> None:
        columns = list(zip(*self._pending, strict=True)) or [()] * len(REJECTED_SCHEMA)
        arrays = [pa.array(values, kind.type) for values, kind in zip(columns, REJECTED_SCHEMA, strict=True)]
        write_part(
            self._store, self._prefix_uri, self._parts, pa.Table.from_arrays(arrays, schema=REJECTED_SCHEMA)
        )
        self._parts += 1
        self._pending = []
