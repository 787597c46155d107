"""Rows of files as they come: which of them are a subject's, and a file without them."""

from __future__ import annotations

import csv
import io
import itertools
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from dropforge_ops.actions.forgetting.subject import Subject

_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_DELIMITERS = (",", ";", "\t", "|")
_SPOOLED_BYTES = 64 * 1024**2


class Unreadable(Exception):
    """A file in which no row can be told to be a subject's; the message says why."""


@contextmanager
def local_copy(body: Any) -> Iterator[BinaryIO]:
    """An S3 object's body as a file that can be read from anywhere, removed at the end."""
    with tempfile.SpooledTemporaryFile(max_size=_SPOOLED_BYTES) as file:
        for chunk in body.iter_chunks(1024**2):
            file.write(chunk)
        file.seek(0)
        yield cast("BinaryIO", file)


def rows_of(file: BinaryIO, subject: Subject, column: str | None = None) -> list[int]:
    """The rows, counted from 1, of a CSV, JSON lines or Parquet file that hold the subject's key.

    Args:
        column: the file's own column of keys, where it is not called as in the contract.

    Raises:
        Unreadable: none of these formats, or there is no such column. An empty file holds nobody.
    """
    name = column or subject.column.name
    head = file.read(4)
    file.seek(0)
    try:
        if head == _PARQUET:
            return [
                row
                for row, value in enumerate(_parquet_column(file, name), start=1)
                if subject.matches(value)
            ]
        return list(_text_rows(_plain(file, head), subject, name))
    except (pa.ArrowException, UnicodeDecodeError, csv.Error, OSError) as error:
        raise Unreadable(str(error)) from error


def _parquet_column(file: BinaryIO, name: str) -> Iterator[Any]:
    parquet = pq.ParquetFile(file, pre_buffer=False)  # else all that was read of it is kept
    if name not in parquet.schema_arrow.names:
        raise Unreadable(f"there is no column {name!r}")
    for batch in parquet.iter_batches(columns=[name]):
        yield from batch.column(0).to_pylist()


def _plain(file: BinaryIO, head: bytes) -> io.TextIOWrapper:
    stream: Any = file
    for magic, name in ((_GZIP, "gzip"), (_ZSTD, "zstd")):
        if head.startswith(magic):
            stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), name)
    buffered = io.BufferedReader(stream if stream is not file else cast("Any", _Raw(file)))
    start = buffered.peek(2)[:2]
    encoding = "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return io.TextIOWrapper(buffered, encoding=encoding, newline="")


class _Raw(io.RawIOBase):
    """A spooled file for a BufferedReader: it has no readinto before it is on disk."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _text_rows(text: io.TextIOWrapper, subject: Subject, name: str) -> Iterator[int]:
    first = text.readline()
    if not first:
        return
    if first.lstrip().startswith(("{", "[")):
        yield from _json_rows(first, text, subject, name)
        return
    delimiter = next((each for each in _DELIMITERS if name in _cells(first, each)), None)
    if delimiter is None:
        raise Unreadable(f"the first line names no column {name!r}")
    place = _cells(first, delimiter).index(name)
    for row, cells in enumerate((each for each in csv.reader(text, delimiter=delimiter) if each), start=1):
        if place < len(cells) and subject.matches(cells[place]):
            yield row


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _json_rows(first: str, rest: io.TextIOWrapper, subject: Subject, name: str) -> Iterator[int]:
    lines = (line for line in itertools.chain([first], rest) if line.strip())
    for row, line in enumerate(lines, start=1):
        try:
            found = json.loads(line)
        except ValueError as error:
            raise Unreadable(f"row {row} is no JSON on one line: {error}") from error
        if isinstance(found, dict) and subject.matches(found.get(name)):
            yield row


def without(data: bytes, name: str, subject: Subject) -> tuple[bytes, int]:
    """A prepared file (Parquet, or JSON lines by its name) without the subject's rows, and their number."""
    if name.endswith(".jsonl"):
        lines = data.splitlines(keepends=True)
        kept = [line for line in lines if not subject.matches(json.loads(line).get(subject.column.name))]
        return b"".join(kept), len(lines) - len(kept)
    table = pq.read_table(io.BytesIO(data))
    if subject.column.name not in table.column_names:
        return data, 0
    return _written(table, [not subject.matches(value) for value in table[subject.column.name].to_pylist()])


def without_rejects(data: bytes, subject: Subject, rows: set[tuple[str, int]]) -> tuple[bytes, int]:
    """Rejects without those of the subject: of these rows (source, row), or with the key as the value."""
    table = pq.read_table(io.BytesIO(data))
    keep = [
        not (
            (source, row) in rows
            or (column == subject.column.name and value is not None and subject.matches(value))
        )
        for source, row, column, value in zip(
            *(table[name].to_pylist() for name in ("source", "row", "column", "value")), strict=True
        )
    ]
    return _written(table, keep)


def _written(table: pa.Table, keep: list[bool]) -> tuple[bytes, int]:
    kept = table.filter(pa.array(keep, pa.bool_()))
    sink = pa.BufferOutputStream()
    pq.write_table(
        kept,
        sink,
        compression="zstd",
        row_group_size=max(kept.num_rows, 1),
        write_statistics=False,
        store_schema=False,
    )
    return bytes(sink.getvalue()), table.num_rows - kept.num_rows
