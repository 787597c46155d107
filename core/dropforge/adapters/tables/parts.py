"""Parquet parts in object storage. The same rows give the same bytes, however they were read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dropforge.adapters.tables.checking import Rejects
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

    def finish(self) -> None:
        """Write what is left; at least one part, so that the folder can always be read."""
        if self._held or not self._parts:
            self._flush(self._held)

    def _flush(self, rows: int) -> None:
        held = pa.concat_tables([REJECTED_SCHEMA.empty_table(), *self._pending])
        part = held.slice(0, rows).combine_chunks()
        write_part(self._store, self._prefix_uri, self._parts, part)
        self._parts += 1
        self._held -= rows
        self._pending = [held.slice(rows)]


def _repeated(values: Sequence[str | None], sizes: Sequence[int]) -> pa.Array:
    return pa.concat_arrays(
        [pa.repeat(pa.scalar(value, pa.string()), size) for value, size in zip(values, sizes, strict=True)]
    )
