"""JSON lines as a stream of blocks of text columns; numbers keep the digits that the file wrote."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, BinaryIO

import pyarrow as pa

from dropforge.adapters.tables.reading.blocks import BadRecord, Block, BlockTable, Hints, Piece, rows_without
from dropforge.adapters.tables.reading.byte_ranges import limited, line_start
from dropforge.adapters.tables.reading.csv_header import decode
from dropforge.adapters.tables.reading.csv_records import MAXIMUM_RECORD_BYTES, lines_in
from dropforge.domain.errors import UnreadableData
from dropforge.domain.row_rules import RULE_JSON, RULE_NESTED, RULE_TYPE, label_of
from dropforge.domain.values import NumberFormat


class _Repeated(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Repeated
    return found


class JsonLinesTable(BlockTable):
    """One object of JSON lines, open for a single pass.

    Args:
        stream: plain UTF-8 bytes.
        name: the object's URI, for messages.
        block_bytes: about how much text to parse at once.
    """

    columns: list[str] | None = None

    def __init__(self, stream: BinaryIO, name: str, block_bytes: int) -> None:
        self._stream, self._name, self._block_bytes = stream, name, block_bytes

    def between(self, start: int | None, end: int) -> None:
        stream = self._stream
        begins = stream.tell() if start is None else line_start(stream, start, b"\n")
        self._stream = limited(stream, begins, line_start(stream, end, b"\n"))

    def native_types(self) -> Mapping[str, pa.DataType]:
        return {}

    def pieces(self, wanted: Sequence[str] | None, hints: Hints) -> Iterator[Piece]:
        kept = None if wanted is None else set(wanted)
        lines = 0
        for data in self._lines():
            yield partial(self._parse, data, kept, lines, hints.number_formats)
            lines += lines_in(data)

    def _lines(self) -> Iterator[bytes]:
        pending = b""
        while data := self._stream.read(max(self._block_bytes, len(pending))):
            pending += data
            end = pending.rfind(b"\n") + 1
            if end:
                yield pending[:end]
                pending = pending[end:]
            if len(pending) > MAXIMUM_RECORD_BYTES:
                raise UnreadableData(
                    f"{self._name} has a line longer than {MAXIMUM_RECORD_BYTES} bytes; "
                    "write one JSON object per line."
                )
        if pending:
            yield pending

    def _parse(
        self,
        data: bytes,
        kept: set[str] | None,
        lines_before: int,
        formats: Mapping[str, NumberFormat | None],
    ) -> Block:
        text = decode(data, self._name, lines_before + 1)
        seen: dict[str, None] = {}
        rows: list[dict[str, str | None]] = []
        bad: list[BadRecord] = []
        position = 0
        for line in text.split("\n"):
            if not line.strip():
                continue
            parsed = _row(line, position, formats)
            if isinstance(parsed, BadRecord):
                bad.append(parsed)
            else:
                rows.append(parsed)
                seen.update(dict.fromkeys(parsed))
            position += 1
        names = dict.fromkeys(name for row in rows for name in row if kept is None or name in kept)
        values = {name: [row.get(name) for row in rows] for name in names}
        kinds = {name: set(map(type, texts)) for name, texts in values.items()}
        columns = {
            name: _column(texts, may_be_floats=name not in formats and not kinds[name].isdisjoint(_FLOATS))
            for name, texts in values.items()
        }
        rewritten = [name for name in values if not kinds[name].isdisjoint(_REWRITTEN)]
        return Block(columns, rows_without(position, bad), position, bad, tuple(seen), rewritten)


class _Number(str):
    """A number of JSON as text, of which it can still be told that it was none."""

    __slots__ = ()


class _Rewritten(_Number):
    """One that stood there otherwise."""

    __slots__ = ()


class _Float(_Number):
    """One with a point or an exponent."""

    __slots__ = ()


class _RewrittenFloat(_Number):
    """One that is both."""

    __slots__ = ()


_FLOATS, _REWRITTEN = {_Float, _RewrittenFloat}, {_Rewritten, _RewrittenFloat}
_EXACT_INTEGERS = 2**53


def _integer(written: str) -> str:
    return _Rewritten("0") if written == "-0" else _Number(written)


def _float(written: str) -> str:
    """The text of a number with a point or an exponent; of a whole one as an integer's, as everywhere."""
    number = float(written)
    # What no float can hold reaches the contract's rules undamaged.
    if not math.isfinite(number):
        return _Number(written)
    text = label_of(number)
    return _Float(text) if text == written else _RewrittenFloat(text)


def _column(values: list[str | None], *, may_be_floats: bool) -> pa.Array:
    """The values as text; as floats where some have a point and all are numbers, as other formats hold them.

    So 1.0 and 2.0 are numbers that later ones with a fraction may follow, and 1e20 isn't an identifier.
    """
    if may_be_floats:
        numbers = [None if value is None else _exact(value) for value in values]
        if numbers.count(None) == values.count(None):
            return pa.array(numbers, pa.float64())
    return pa.array(values, pa.string())


def _exact(value: str) -> float | None:
    """The float that a number of JSON is; None for a text, and where a float would lose of an integer."""
    if not isinstance(value, _Number):
        return None
    number = float(value)
    is_kept = type(value) in _FLOATS or (math.isfinite(number) and abs(number) < _EXACT_INTEGERS)
    return number if is_kept else None


def _constant(written: str) -> str | None:
    return None if written == "NaN" else _Number(written)


def _row(
    line: str, position: int, formats: Mapping[str, NumberFormat | None]
) -> dict[str, str | None] | BadRecord:
    try:
        # Numbers stay text: 1e400 and 20-digit integers must reach the contract's rules undamaged.
        parsed = json.loads(
            line, parse_int=_integer, parse_float=_float, parse_constant=_constant, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError):
        return BadRecord(position, RULE_JSON, None, line)
    if not isinstance(parsed, dict):
        return BadRecord(position, RULE_JSON, None, line)
    row: dict[str, str | None] = {}
    for name, value in parsed.items():
        column = name.strip(" \t")
        if isinstance(value, dict | list):
            return BadRecord(position, RULE_NESTED, column, json.dumps(value, ensure_ascii=False))
        if column in row or not column or not _is_unicode(column):
            return BadRecord(position, RULE_JSON, None, line)
        if isinstance(value, bool):
            row[column] = "true" if value else "false"
        elif column in formats and isinstance(value, _Number):
            written = formats[column]
            if written is None:
                return BadRecord(position, RULE_TYPE, column, value)
            row[column] = written.write(value)
        elif value is None or _is_unicode(value):
            row[column] = value
        else:
            return BadRecord(position, RULE_JSON, column, line)
    return row


def _is_unicode(text: str) -> bool:
    """Whether there is no lone surrogate, which JSON can write and UTF-8 can't."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
