"""The first line of a CSV file: which delimiter it uses and which columns it names."""

from __future__ import annotations

import csv
import io
from collections import Counter

from dropforge.adapters.tables.reading.csv_records import cut
from dropforge.domain.errors import DuplicateColumn, EmptyData, UnreadableData

SAMPLE_BYTES = 1 << 16
DELIMITERS = (",", ";", "\t", "|")
_SAMPLE_RECORDS = 50


def decode(data: bytes, name: str, records_before: int) -> str:
    """Decode UTF-8 text without NUL.

    Raises:
        UnreadableData: naming the line of the first byte that is neither.
    """
    try:
        text = data.decode()
        if "\0" not in text:
            return text
        position, what = data.index(b"\0"), "a NUL byte"
        remedy = "The file is binary, or UTF-16 without its mark; export it as UTF-8."
    except UnicodeDecodeError as error:
        position, what = error.start, f"byte 0x{data[error.start]:02x}, which is not UTF-8"
        remedy = "It may be Latin-1 or Windows-1252; export it as UTF-8."
    row = records_before + data.count(b"\n", 0, position)
    where = "the header" if row == 0 else f"about row {row}"
    problem = UnreadableData(f"{name}: {where} has {what}. {remedy}")
    problem.row = row or None
    raise problem


def find_delimiter(sample: str) -> str:
    """Return the delimiter that most of the sample's records agree on with the header; comma if none.

    Example:
        >>> find_delimiter("a;b\\n1,5;2\\n")
        ';'
    """
    best, best_score = ",", (0.0, 0)
    for delimiter in DELIMITERS:
        rows = [row for row in _rows(sample, delimiter) if row][:_SAMPLE_RECORDS]
        width = len(rows[0]) if rows else 0
        if width < 2:
            continue
        agreeing = sum(len(row) == width for row in rows) / len(rows)
        if (agreeing, width) > best_score:
            best, best_score = delimiter, (agreeing, width)
    return best


def _rows(sample: str, delimiter: str) -> list[list[str]]:
    csv.field_size_limit(1 << 24)
    return list(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter))


def holds_header(sample: bytes) -> bool:
    """Whether the first line that isn't blank ends in the first bytes of a file."""
    text = sample.lstrip(b"\r\n")
    return b"\n" in text or b"\r" in text


def read_header(sample: bytes, whole: bool, name: str) -> tuple[list[str], str, int]:
    """Return the columns, the delimiter, and where the header ends in `sample`.

    An empty name becomes ``column_<n>``, n counting from 1: spreadsheets and pandas write such columns.

    Args:
        sample: the first bytes of the file.
        whole: whether `sample` is all of the file.

    Raises:
        EmptyData: there is no header.
        DuplicateColumn: two columns have one name.
        UnreadableData: the first bytes are no text.
    """
    # A multi-byte character may be cut at the sample's end; the records before it are whole.
    usable = sample if whole else sample[: max(sample.rfind(b"\n"), sample.rfind(b"\r")) + 1]
    if not usable:
        raise UnreadableData(f"{name}: the first {len(sample)} bytes hold no line end; this is no CSV table.")
    text = decode(usable, name, 0)
    if not text.strip():
        raise EmptyData(f"{name} holds only blank lines. Drop a file with a header and rows.")
    delimiter = find_delimiter(text)
    start = len(usable) - len(usable.lstrip(b"\r\n"))
    end = _first_record_end(usable, start, delimiter.encode())
    fields = next(csv.reader(io.StringIO(usable[start:end].decode(), newline=""), delimiter=delimiter))
    columns = [field.strip(" \t") or f"column_{number}" for number, field in enumerate(fields, 1)]
    refuse_duplicates(columns, name)
    return columns, delimiter, end


def _first_record_end(data: bytes, start: int, delimiter: bytes) -> int:
    position = start
    while True:
        ends = [found for mark in (b"\n", b"\r") if (found := data.find(mark, position)) >= 0]
        if not ends:
            return len(data)
        position = min(ends) + 1
        if cut(data[start:position], delimiter)[0] == position - start:
            return position


def refuse_duplicates(columns: list[str], name: str) -> None:
    """Raise DuplicateColumn if two columns have one name."""
    repeated = sorted(column for column, count in Counter(columns).items() if count > 1)
    if repeated:
        listed = ", ".join(repr(column) for column in repeated)
        raise DuplicateColumn(f"{name}: more than one column is named {listed}; rename all but one.")
