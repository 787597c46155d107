"""Parquet as a stream of blocks, fetched by column and range."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dropforge.adapters.tables.reading.blocks import Block, BlockTable, Hints, Piece
from dropforge.adapters.tables.reading.csv_header import refuse_duplicates
from dropforge.domain.errors import UnreadableData, UnsupportedColumn

_FAILURES = (pa.ArrowException, OSError, EOFError)
_FETCH_BYTES = 8 << 20


class ParquetTable(BlockTable):
    """One Parquet object.

    Args:
        stream: the file, seekable.
        name: the object's URI, for messages.
        block_bytes: about how many uncompressed bytes to hold at once.

    Raises:
        UnreadableData: the file is truncated or damaged.
        UnsupportedColumn: a column is nested, binary or of another kind that is no table cell.
        DuplicateColumn: two columns have one name.
    """

    columns: list[str] | None

    def __init__(self, stream: BinaryIO, name: str, block_bytes: int) -> None:
        self._name, self._block_bytes = name, block_bytes
        try:
            self._file = pq.ParquetFile(
                stream,
                buffer_size=_FETCH_BYTES,
                pre_buffer=False,
                # In nanoseconds, which is the default, years from 2262 on wrap around.
                coerce_int96_timestamp_unit="us",
            )
            self._schema = self._file.schema_arrow
        except pa.ArrowNotImplementedError as error:
            # Which column it is can't be asked either.
            raise UnsupportedColumn(
                f"{name} holds a column of a type that Parquet readers don't share ({error}). "
                "Write it as text, as a 64-bit integer or as a decimal, or leave it out."
            ) from error
        except _FAILURES as error:
            raise self._damaged(error) from error
        self.columns = [n.strip(" \t") or f"column_{i}" for i, n in enumerate(self._schema.names, 1)]
        self._index = {name: index for index, name in enumerate(self.columns)}
        refuse_duplicates(self.columns, name)
        refused = [f"{field.name!r} ({field.type})" for field in self._schema if not _is_cell(field.type)]
        if refused:
            raise UnsupportedColumn(
                f"{name}: columns that are no plain values: {', '.join(refused)}. "
                "Flatten them into numbers, texts, booleans or timestamps, or leave them out."
            )

        self._groups = range(self._file.num_row_groups)

    def between(self, start: int | None, end: int) -> None:
        self._groups = range(start or 0, end)

    def group_bytes(self) -> list[int]:
        """Return the uncompressed size of each row group."""
        groups = range(self._file.num_row_groups)
        return [self._file.metadata.row_group(group).total_byte_size for group in groups]

    def native_types(self) -> Mapping[str, pa.DataType]:
        return {
            name: pa.null() if self._is_empty(index) else _value_type(self._schema.field(index).type)
            for name, index in self._index.items()
        }

    def _is_empty(self, index: int) -> bool:
        """Whether the file says that a column has no values: pandas gives such columns the type of floats."""
        metadata = self._file.metadata
        for group in range(metadata.num_row_groups):
            column = metadata.row_group(group).column(index)
            statistics = column.statistics
            if statistics is None or not statistics.has_null_count:
                return False
            if statistics.null_count < column.num_values:
                return False
        return True

    def pieces(self, wanted: Sequence[str] | None, hints: Hints) -> Iterator[Piece]:
        names = [name for name in self._index if wanted is None or name in wanted]
        stored = [self._schema.names[self._index[name]] for name in names]
        try:
            for batch in self._file.iter_batches(
                self._rows_per_block(), row_groups=self._groups, columns=stored, use_threads=False
            ):
                yield partial(
                    _block, dict(zip(names, map(batch.column, stored), strict=True)), batch.num_rows
                )
        except _FAILURES as error:
            raise self._damaged(error) from error

    def _rows_per_block(self) -> int:
        rows = max(self._file.metadata.num_rows, 1)
        return max(1, self._block_bytes * rows // max(sum(self.group_bytes()), 1))

    def _damaged(self, error: Exception) -> UnreadableData:
        first_line = str(error).partition("\n")[0]
        return UnreadableData(
            f"{self._name} is a damaged or truncated Parquet file ({first_line}); upload it again."
        )


def _block(columns: Mapping[str, pa.Array], rows: int) -> Block:
    plain = {name: _plain(array) for name, array in columns.items()}
    return Block(plain, np.arange(rows, dtype=np.int64), rows)


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_cell(kind: pa.DataType) -> bool:
    kind = _value_type(kind)
    accepted = (
        *(pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean),
        *(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null),
        *(pa.types.is_timestamp, pa.types.is_date),
    )
    return any(check(kind) for check in accepted)


def _plain(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        return array.cast(pa.string())
    return array
