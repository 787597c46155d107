"""Where rows begin in a part of a CSV object, without having read what comes before it.

A part begins at the beginning of a line, so it is either outside quotes or inside a quoted field: no other
state of the grammar survives a line's end. Both are followed until they agree, which in sound files they do
within a row or two.
"""

from __future__ import annotations

from typing import BinaryIO

from dropforge.adapters.tables.bounds import limited
from dropforge.adapters.tables.csv_records import MAXIMUM_RECORD_BYTES, cut, first_record_end
from dropforge.domain.chunks import Scan

_BLOCK_BYTES = 1 << 20
_FIRST_BYTES = 1 << 14
_QUOTE = b'"'


def scan(stream: BinaryIO, start: int, end: int, delimiter: bytes, block_bytes: int = _BLOCK_BYTES) -> Scan:
    """Follow the quotes from one line's beginning to another's.

    Args:
        stream: seekable.
        start, end: offsets; both are beginnings of lines, or the end of the object.
    """
    outside = _Reading(start, delimiter, b"")
    inside: _Reading = _Reading(start, delimiter, _QUOTE)
    part = limited(stream, start, end)
    # The wrong answer is followed field by field, so no more is read at once than the two need to agree.
    while data := part.read(block_bytes if inside is outside else min(block_bytes, _FIRST_BYTES)):
        outside.feed(data)
        if inside is outside:
            continue
        inside.feed(data)
        if inside.first is not None and inside.position == outside.position:
            outside.first, inside = inside.first, outside
    return Scan(start, inside.first, outside.is_open(), inside.is_open())


class _Reading:
    """One answer to whether the part begins inside quotes, followed block by block."""

    def __init__(self, start: int, delimiter: bytes, lead: bytes) -> None:
        self._delimiter, self._pending = delimiter, lead
        self._is_quoted = bool(lead)
        self._is_endless = False
        self.position = start - len(lead)
        """Where the last row that has begun begins."""
        self.first: int | None = None

    def feed(self, data: bytes) -> None:
        """Read on."""
        if self._is_endless:
            return
        unquoted = self._is_quoted and _QUOTE not in data
        self._pending += data
        if not unquoted:
            end, self._is_quoted = cut(self._pending, self._delimiter)
            if end:
                if self.first is None:
                    self.first = self.position + first_record_end(self._pending, self._delimiter)
                self.position += end
                self._pending = self._pending[end:]
        if len(self._pending) > MAXIMUM_RECORD_BYTES:
            # No row is as long: whoever reads the rows will say so.
            self._is_endless, self._is_quoted, self._pending = True, True, b""

    def is_open(self) -> bool:
        """Whether the part ends inside quotes."""
        return self._is_quoted
