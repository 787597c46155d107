"""The files of batches: rows to score by the rules of preparation, and results in the files' compression."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, BinaryIO, cast

import pyarrow as pa

from dropforge.adapters.tables.checking.contract_check import CheckedColumns, check_columns, reading_hints
from dropforge.adapters.tables.reading.blocks import Block
from dropforge.adapters.tables.reading.csv_table import CsvTable
from dropforge.adapters.tables.reading.json_table import JsonLinesTable
from dropforge.adapters.tables.reading.source import open_source
from dropforge.domain.batch import (
    BatchTable,
    RejectedRow,
    RowId,
    RowProblem,
    ScorableRow,
    TableForm,
    hold_columns,
)
from dropforge.domain.compression import compression_of
from dropforge.domain.contract import Contract
from dropforge.domain.errors import EmptyData, UnsupportedFormat
from dropforge.domain.ports import ObjectRef, ObjectStore

BLOCK_BYTES = 4 << 20
"""Of text; as Python's values a block takes some twenty times that."""

_GZIP_LEVEL = 6


class StreamedBatchTables:
    """Implements `BatchTables` over an object store.

    Args:
        block_bytes: how much of a file to hold at once; leaves no trace in what is read.
    """

    def __init__(self, store: ObjectStore, block_bytes: int = BLOCK_BYTES) -> None:
        self._store, self._block_bytes = store, block_bytes

    @contextmanager
    def open(self, ref: ObjectRef, contract: Contract) -> Iterator[BatchTable]:
        with self._store.open(ref) as stream, open_source(stream, ref.uri) as source:
            if source.format == "json":
                yield _Rows(
                    JsonLinesTable(source.stream, ref.uri, self._block_bytes),
                    ref.uri,
                    contract,
                    TableForm("json"),
                )
                return
            if source.format != "csv":
                raise UnsupportedFormat(
                    f"{ref.uri} is a {source.format} file; batches are CSV or JSON lines (plain, .gz or "
                    ".zst). Convert it and drop it again."
                )
            table = CsvTable(source.stream, ref.uri, self._block_bytes)
            hold_columns(ref.uri, table.columns or [], contract, may_leave_out=False)
            yield _Rows(table, ref.uri, contract, TableForm("csv", table.delimiter))

    @contextmanager
    def compressing(self, file: BinaryIO, name: str) -> Iterator[BinaryIO]:
        kind = compression_of(name)
        if kind == "gzip":
            # Without a time and a name in its header, so that a repeated call writes the same bytes.
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed:
                yield cast("BinaryIO", packed)
        elif kind == "zstd":
            with pa.CompressedOutputStream(pa.PythonFile(_LeftOpen(file), mode="w"), "zstd") as packed:
                yield cast("BinaryIO", packed)
        else:
            yield file


class _LeftOpen(io.RawIOBase):
    """Passes on what is written; Arrow closes what it wraps, and the file is read afterwards."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)


class _Rows:
    """Implements `BatchTable` over a table's blocks."""

    def __init__(
        self, table: CsvTable | JsonLinesTable, uri: str, contract: Contract, form: TableForm
    ) -> None:
        self.form = form
        self._table, self._uri, self._contract = table, uri, contract
        key = [contract.column(contract.key)] if contract.key is not None else []
        self._columns = [*contract.features, *key]

    def rows(self) -> Iterator[ScorableRow | RejectedRow]:
        wanted = [column.name for column in self._columns]
        seen: dict[str, None] = {}
        before = 0
        for block in self._table.blocks(wanted, reading_hints(self._contract)):
            seen.update(dict.fromkeys(block.names))
            yield from self._rows_of(block, before)
            before += block.records
        if not before:
            raise EmptyData(f"{self._uri} has a header and no rows. Drop a file with rows.")
        if isinstance(self._table, JsonLinesTable):
            hold_columns(self._uri, list(seen), self._contract, may_leave_out=True)

    def _rows_of(self, block: Block, before: int) -> Iterator[ScorableRow | RejectedRow]:
        checked = check_columns(block, self._columns, self._contract)
        problems = _problems(checked)
        names = [column.name for column in self._contract.features]
        values = [_json_values(checked.typed[name]) for name in names]
        keys = None if self._contract.key is None else checked.typed[self._contract.key].to_pylist()
        places = {int(position): index for index, position in enumerate(block.positions)}
        for position in range(block.records):
            number, index = before + position + 1, places.get(position)
            found: RowId | None = number if keys is None else None if index is None else keys[index]
            if position in problems:
                yield RejectedRow(number, found, tuple(problems[position]))
            elif index is not None and found is not None:
                yield ScorableRow(
                    number, found, {name: column[index] for name, column in zip(names, values, strict=True)}
                )


def _problems(checked: CheckedColumns) -> dict[int, list[RowProblem]]:
    """What is wrong with the rows, by their places in the block."""
    problems: dict[int, list[RowProblem]] = {}
    for group in checked.rejects:
        for position, value in zip(group.positions.tolist(), group.values.to_pylist(), strict=True):
            problems.setdefault(position, []).append(RowProblem(group.rule, group.column, value))
    return problems


def _json_values(array: pa.Array) -> list[Any]:
    values: list[Any] = array.to_pylist()
    if pa.types.is_timestamp(array.type):
        return [value.isoformat() if isinstance(value, datetime) else None for value in values]
    return values
