"""Streams objects through survey and check, one bounded block at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from dropforge.adapters.tables.blocks import BadRecord, Block, Piece, Table
from dropforge.adapters.tables.checking import CheckedBlock, check_block, encoded_columns, wanted_columns
from dropforge.adapters.tables.conversion import fits
from dropforge.adapters.tables.csv_table import CsvTable
from dropforge.adapters.tables.json_table import JsonLinesTable
from dropforge.adapters.tables.parquet_table import ParquetTable
from dropforge.adapters.tables.source import open_source
from dropforge.adapters.tables.staging import Staging
from dropforge.adapters.tables.surveying import survey_block
from dropforge.adapters.tables.threads import cores, ordered
from dropforge.domain.contract import Contract
from dropforge.domain.errors import DataError, EmptyData, SchemaChanged, TooManyRejects, UnreadableData
from dropforge.domain.inference import refuse_missing
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.row_rules import shown
from dropforge.domain.survey import TableSurvey

BLOCK_BYTES = 16 << 20
"""Enough text to parse at full speed, and little enough to hold several copies of in a small function."""

_READERS: Mapping[str, Callable[[BinaryIO, str, int], Table]] = {
    "csv": CsvTable,
    "json": JsonLinesTable,
    "parquet": ParquetTable,
}


class StreamedTables:
    """Implements `Tables` over an object store.

    Args:
        store: where the objects are and the parts go.
        block_bytes: how much of an object to hold at once; leaves no trace in the output.
        scratch: local folder for staged rows; the system's temporary folder by default.
        workers: how many blocks to work on at once, one per core by default; leaves no trace either.
    """

    def __init__(
        self,
        store: ObjectStore,
        block_bytes: int = BLOCK_BYTES,
        scratch: Path | None = None,
        workers: int | None = None,
    ) -> None:
        self._store, self._block_bytes, self._scratch = store, block_bytes, scratch
        self._workers = workers or cores()

    def survey(self, objects: Sequence[ObjectRef]) -> TableSurvey:
        total = TableSurvey()
        for ref in reversed(objects):
            seen = TableSurvey()
            with self._open(ref) as table:
                for name in table.columns or ():
                    seen.add_column(name, ref.uri)
                records = 0
                first_bad: BadRecord | None = None
                calls = (partial(_surveyed, piece, ref.uri) for piece in table.pieces(None, ()))
                for block, found in ordered(calls, self._workers):
                    first_bad = first_bad or (block.bad[0] if block.bad and not records else None)
                    records += block.records
                    seen.add(found)
            _refuse_empty(ref, records)
            if not seen.rows and first_bad is not None:
                raise _nothing_readable(ref, records, first_bad, table.columns)
            if table.columns is not None:
                _refuse_other_columns(ref, seen, total)
            total.add(seen)
        return total

    @contextmanager
    def stage(self, objects: Sequence[ObjectRef], contract: Contract, rejected_uri: str) -> Iterator[Staging]:
        with tempfile.TemporaryDirectory(prefix="dropforge-", dir=self._scratch) as folder:
            staging = Staging(Path(folder), contract, self._store, rejected_uri, self._workers)
            try:
                for ref in reversed(objects):
                    self._check(ref, contract, staging)
                staging.finish()
                yield staging
            finally:
                staging.close()

    def _check(self, ref: ObjectRef, contract: Contract, staging: Staging) -> None:
        source = _label(ref)
        staging.open_object(source)
        with self._open(ref) as table:
            if table.columns is not None:
                _hold_to_schema(ref, table.columns, table.native_types(), contract)
            records = 0
            seen: dict[str, None] = {}
            for checked in ordered(checks(table, contract), self._workers):
                records += checked.records
                seen.update(dict.fromkeys(checked.names))
                staging.add(source, checked)
            if table.columns is None:
                # An object without a value often leaves the key out.
                absent = [c.name for c in contract.prepared if c.nullable and c.name not in seen]
                _hold_to_schema(ref, [*seen, *absent], {}, contract)
        _refuse_empty(ref, records)

    @contextmanager
    def _open(self, ref: ObjectRef) -> Iterator[Table]:
        with self._store.open(ref) as stream, open_source(stream, ref.uri) as source:
            yield _READERS[source.format](source.stream, ref.uri, self._block_bytes)


def checks(table: Table, contract: Contract) -> Iterator[Callable[[], CheckedBlock]]:
    """Cut a table into blocks, each to be read and checked when it is called, in whatever thread."""
    for piece in table.pieces(wanted_columns(contract), encoded_columns(contract)):
        yield partial(_checked, piece, contract)


def _checked(piece: Piece, contract: Contract) -> CheckedBlock:
    return check_block(piece(), contract)


def _surveyed(piece: Piece, source: str) -> tuple[Block, TableSurvey]:
    block = piece()
    return replace(block, columns={}), survey_block(block, source)


def _label(ref: ObjectRef) -> str:
    return ref.uri if ref.version_id is None else f"{ref.uri}?versionId={ref.version_id}"


def _refuse_empty(ref: ObjectRef, records: int) -> None:
    if not records:
        raise EmptyData(f"{ref.uri} has a header and no rows. Drop a file with rows.")


def _nothing_readable(
    ref: ObjectRef, records: int, first: BadRecord, columns: Sequence[str] | None
) -> DataError:
    line = repr(shown(first.text))
    if columns is None:
        return UnreadableData(
            f"{ref.uri}: none of its {records} lines is a flat JSON object; row 1 is {line}. "
            'Write one object per line, such as {"a": 1}.'
        )
    return TooManyRejects(
        f"{ref.uri}: none of its {records} rows has the header's number of fields ({len(columns)}); "
        f"row 1 of {ref.uri} is {line}. Correct the header or the rows."
    )


def _refuse_other_columns(ref: ObjectRef, seen: TableSurvey, before: TableSurvey) -> None:
    if before.columns and set(seen.columns) != set(before.columns):
        lines = _column_lines(list(before.columns), list(seen.columns))
        raise SchemaChanged(
            f"{ref.uri} has other columns than the objects dropped before it: {'; '.join(lines)}. "
            "Drop files with the same columns together."
        )


def _column_lines(expected: Sequence[str], given: Sequence[str]) -> list[str]:
    return [f"- column {name!r} is missing" for name in expected if name not in given] + [
        f"+ column {name!r} is new" for name in given if name not in expected
    ]


def _hold_to_schema(
    ref: ObjectRef, columns: Sequence[str], native: Mapping[str, pa.DataType], contract: Contract
) -> None:
    refuse_missing(contract.target, contract.key, dict.fromkeys(columns), ref.uri)
    ignored = {column.name for column in contract.columns if column.role == "ignored"}
    expected = [column.name for column in contract.columns]
    lines = _column_lines([name for name in expected if name not in ignored or name in columns], columns)
    lines += [
        f"~ column {column.name!r} was {column.type}, is {native[column.name]}"
        for column in contract.prepared
        if column.name in native and not fits(native[column.name], column.type)
    ]
    if lines:
        raise SchemaChanged(f"{ref.uri} doesn't have the pinned columns: {'; '.join(lines)}.")
