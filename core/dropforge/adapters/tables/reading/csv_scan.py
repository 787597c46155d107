"""Where rows begin behind a part of a CSV object, without having read what comes before it.

A part begins at the beginning of a line, so it is either outside quotes or inside a quoted field: no other
state of the grammar survives a line's end. Both readings are followed until they begin a row at the same
place, which in sound files they do within a row or two; there the next part begins, whatever came before.
"""

from __future__ import annotations

import io
from typing import BinaryIO

from dropforge.adapters.tables.reading.byte_ranges import limited
from dropforge.adapters.tables.reading.csv_records import REFUSED_BYTES, SHOWN_BYTES, cut, first_record_end
from dropforge.domain.chunks import Scan

_BLOCK_BYTES = 1 << 20
_FIRST_BYTES = 1 << 14
_QUOTE = b'"'


def scan(
    stream: BinaryIO,
    start: int,
    end: int,
    delimiter: bytes,
    block_bytes: int = _BLOCK_BYTES,
    refused_bytes: int = REFUSED_BYTES,
) -> Scan:
    """Find out where the first row behind a part begins; follow the part itself only where that is asked.

    Args:
        stream: seekable.
        start, end: offsets; both are beginnings of lines, or the end of the object.
        block_bytes: how much to read at once, and within how much the two readings have to agree.
        refused_bytes: a row that is longer makes the object unreadable.
    """
    if_outside, if_inside = _first_rows(stream, end, delimiter, block_bytes, refused_bytes)
    if if_outside == if_inside:
        return Scan(if_outside, if_inside)
    outside = _Reading(start, delimiter, b"", refused_bytes)
    inside: _Reading = _Reading(start, delimiter, _QUOTE, refused_bytes)
    part = limited(stream, start, end)
    while data := part.read(block_bytes):
        outside.feed(data)
        if inside is not outside:
            inside.feed(data)
            inside = outside if inside.is_refused or inside.agrees_with(outside) else inside
    return Scan(if_outside, if_inside, outside.is_open, inside.is_open)


def _first_rows(
    stream: BinaryIO, position: int, delimiter: bytes, block_bytes: int, refused_bytes: int
) -> tuple[int, int | None]:
    """Return where the first row begins if the line at a position is outside quotes, and if it is inside.

    The same place twice is a row's beginning either way, mostly a later one.
    """
    rest = limited(stream, position, stream.seek(0, io.SEEK_END))
    outside = _Reading(position, delimiter, b"", refused_bytes)
    inside = _Reading(position, delimiter, _QUOTE, refused_bytes)
    later: int | None = None
    wanted = min(block_bytes, _FIRST_BYTES)
    # The wrong reading may go field by field, so no more is read at once than the two need to agree.
    while data := rest.read(wanted):
        outside.feed(data)
        inside.feed(data)
        if inside.agrees_with(outside):
            return outside.position, outside.position
        if later is None and outside.position >= position + SHOWN_BYTES:
            later = outside.position
        if inside.is_refused:
            # The part with the row's beginning is, in the words that the whole object would be, because it
            # has as much of that row as is shown.
            return (position, None) if later is None else (later, later)
        if inside.first is not None and outside.read_bytes > block_bytes:
            break
        wanted = min(2 * wanted, max(block_bytes, outside.read_bytes))
    return position, inside.first if outside.read_bytes else position


class _Reading:
    """One answer to whether a line begins inside quotes, followed block by block."""

    def __init__(self, start: int, delimiter: bytes, lead: bytes, refused_bytes: int) -> None:
        self._delimiter, self._refused_bytes = delimiter, refused_bytes
        self._pending = bytearray(lead)
        self.position = start - len(lead)
        """Where the last row that has begun begins."""
        self.first: int | None = None
        """Where the first row begins of which that can be said."""
        self.is_open = bool(lead)
        """Whether what was read ends inside quotes."""
        self.is_endless = False
        """Whether a row was longer than anybody reads."""
        self.read_bytes = 0

    def feed(self, data: bytes) -> None:
        """Read on."""
        self.read_bytes += len(data)
        if self.is_endless:
            return
        unquoted = self.is_open and _QUOTE not in data
        self._pending += data
        if not unquoted:
            end, self.is_open = cut(self._pending, self._delimiter)
            if end:
                if self.first is None:
                    self.first = self.position + first_record_end(self._pending, self._delimiter)
                self.position += end
                del self._pending[:end]
        if len(self._pending) > self._refused_bytes:
            self.is_endless, self.is_open = True, True
            self._pending.clear()

    @property
    def is_refused(self) -> bool:
        """Whether the object is unreadable if this is the answer, so that any other will do as well."""
        return self.is_endless and self.first is None

    def agrees_with(self, other: _Reading) -> bool:
        """Whether both begin a row at the same place, from which on they are one."""
        return self.first is not None and self.position == other.position
