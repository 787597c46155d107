"""Where CSV records end: cuts a byte stream into pieces of whole records, also around quoted newlines.

A quote opens a quoted field only at the field's start; after the closing quote, what follows up to the
delimiter belongs to the field. The parser behind reads the same way, and so does Python's csv module.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dropforge.domain.errors import UnreadableData

MAXIMUM_RECORD_BYTES = 16 << 20
"""A record beyond this is a quote that was opened and never closed, not a row."""
REFUSED_BYTES = 2 * MAXIMUM_RECORD_BYTES
"""Up to this a record may pass, if it ends in the block that is read next; what is longer never does."""
SHOWN_BYTES = 80
"""Of a record that is refused."""

CACHED_BYTES = 1 << 18
"""Of a block, to stay in a core's cache while it is looked at."""
_SPARE_BYTES = 1 << 16
"""Beyond a block, so that its memory has room for most blocks after it."""
_FIRST_SHARE = 8
_LOOKED_BACK_BYTES = 1 << 12

Data = bytes | bytearray | memoryview

_QUOTE, _NEWLINE, _RETURN = b'"'[0], b"\n"[0], b"\r"[0]


def cut(data: Data, delimiter: bytes) -> tuple[int, bool]:
    """Return where the last whole record of `data` ends, and whether `data` itself ends inside quotes.

    Args:
        data: bytes from the start of a record.
        delimiter: one byte.
    """
    characters = np.frombuffer(data, dtype=np.uint8)
    quotes = _places_of(_QUOTE, characters)
    if not len(quotes):
        return _last_line_end(characters, len(data)), False
    if not _well_formed(characters, quotes, delimiter[0]):
        return _cut_one_by_one(data, delimiter)
    end = len(data)
    while end := _last_line_end(characters, end):
        before = int(np.searchsorted(quotes, end))
        if before % 2 == 0:
            break
        end = int(quotes[before - 1])  # All since that quote is inside its field.
    return end, len(quotes) % 2 == 1


def _last_line_end(characters: npt.NDArray[np.uint8], end: int) -> int:
    """Return where the line before `end` ends, behind its mark; 0 if none does."""
    while end:
        start = max(0, end - _LOOKED_BACK_BYTES)
        window = characters[start:end]
        found = np.flatnonzero((window == _NEWLINE) | (window == _RETURN))
        if len(found):
            return start + int(found[-1]) + 1
        end = start
    return 0


def _places_of(character: int, data: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return where a character stands; works on pieces that stay in a core's cache."""
    found = [
        np.flatnonzero(data[start : start + CACHED_BYTES] == character) + start
        for start in range(0, len(data), CACHED_BYTES)
    ]
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def lines_in(data: Data) -> int:
    """Count the line ends."""
    characters = np.frombuffer(data, dtype=np.uint8)
    return sum(
        int(np.count_nonzero(characters[start : start + CACHED_BYTES] == _NEWLINE))
        for start in range(0, len(characters), CACHED_BYTES)
    )


def is_plain(data: Data) -> bool:
    """Whether there are only ASCII characters, and none is NUL."""
    return bool(np.frombuffer(data, dtype=np.int8).min(initial=1) > 0)


def _well_formed(characters: np.ndarray, quotes: np.ndarray, delimiter: int) -> bool:
    """Whether every quote opens a field, closes one or is doubled, so that counting them is enough."""
    bounds = np.zeros(256, dtype=np.bool_)
    bounds[[delimiter, _NEWLINE, _RETURN, _QUOTE]] = True
    opening, closing = quotes[0::2], quotes[1::2]
    before = characters[opening[opening > 0] - 1]
    after = characters[closing[closing < len(characters) - 1] + 1]
    return bool(bounds[before].all() and bounds[after].all())


def first_record_end(data: Data, delimiter: bytes) -> int:
    """Return where the first record of `data` ends; 0 if none does. `data` is from the start of a record."""
    field = _field(delimiter)
    position = 0
    while (match := field.match(data, position)) is not None and match.end() < len(data):
        position = match.end() + 1
        if data[match.end()] in (_NEWLINE, _RETURN):
            return position
    return 0


def _field(delimiter: bytes) -> re.Pattern[bytes]:
    separator = re.escape(delimiter)
    # Possessive, so that an unclosed quote costs one pass instead of backtracking over the block.
    return re.compile(rb'(?:"(?:[^"]++|"")*+(?:"|(\Z)))?+[^' + separator + rb"\r\n]*+", re.DOTALL)


def _cut_one_by_one(data: Data, delimiter: bytes) -> tuple[int, bool]:
    field = _field(delimiter)
    position = last = 0
    while True:
        match = field.match(data, position)
        if match is None or match.end() >= len(data):
            return last, match is not None and match.group(1) is not None
        position = match.end() + 1
        if data[match.end()] in (_NEWLINE, _RETURN):
            last = position


def whole_records(
    stream: BinaryIO, sample: bytes, delimiter: bytes, block_bytes: int, name: str, done: list[memoryview]
) -> Iterator[memoryview]:
    """Yield successive pieces of about `block_bytes`, each of whole records; the first is smaller.

    It is mostly there that columns turn out to hold other values than expected, and it has to be read twice.

    Args:
        stream: where to read on.
        sample: what was read before, from the start of a record.
        done: pieces that nobody looks at any more, put there by whoever read them; their memory is used
            again, which is faster than memory that the system has to clear.

    Raises:
        UnreadableData: a quote is never closed.
    """
    streams: list[Any] = [io.BytesIO(sample), stream]
    pending = np.empty(0, dtype=np.uint8)
    wanted = max(block_bytes // _FIRST_SHARE, 1)
    while True:
        # A record longer than a block doubles what is read, so that it is not scanned over and over.
        room = _room(len(pending) + max(wanted, len(pending)), done)
        wanted = block_bytes
        room[: len(pending)] = pending
        filled = len(pending) + _fill(memoryview(room)[len(pending) :], streams)
        data = memoryview(room)[:filled]
        if filled == len(pending):
            break
        end, _ = cut(data, delimiter)
        if end:
            yield data[:end]
        pending = room[end:filled]
        if len(pending) > MAXIMUM_RECORD_BYTES:
            raise _never_closed(data[end:], name)
    if len(pending):
        if cut(data, delimiter)[1]:
            raise _never_closed(data, name)
        yield data


def _room(size: int, done: list[memoryview]) -> npt.NDArray[np.uint8]:
    while done:
        room: npt.NDArray[np.uint8] = done.pop().obj.base  # type: ignore[attr-defined]
        if len(room) >= size:
            return room[:size]
    return np.empty(size + _SPARE_BYTES, dtype=np.uint8)[:size]


def _fill(room: memoryview, streams: list[Any]) -> int:
    """Read one stream after the other until there is no more room; returns how much was read."""
    filled = 0
    while streams and filled < len(room):
        read = streams[0].readinto(room[filled:])
        filled += read or 0
        if not read:
            streams.pop(0)
    return filled


def _never_closed(pending: memoryview, name: str) -> UnreadableData:
    start = bytes(pending[:SHOWN_BYTES]).decode(errors="replace")
    return UnreadableData(
        f'{name}: the record that starts with {start!r} opens a quote (") that is never closed, or the file '
        "is cut off. Close the quote, double quotes inside a quoted field, or upload the whole file."
    )
