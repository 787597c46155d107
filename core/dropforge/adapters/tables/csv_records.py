"""Where CSV records end: cuts a byte stream into pieces of whole records, also around quoted newlines.

A quote opens a quoted field only at the field's start; after the closing quote, what follows up to the
delimiter belongs to the field. The parser behind reads the same way, and so does Python's csv module.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from dropforge.domain.errors import UnreadableData

MAXIMUM_RECORD_BYTES = 16 << 20
"""A record beyond this is a quote that was opened and never closed, not a row."""

_QUOTE, _NEWLINE, _RETURN = b'"'[0], b"\n"[0], b"\r"[0]


def cut(data: bytes, delimiter: bytes) -> tuple[int, bool]:
    """Return where the last whole record of `data` ends, and whether `data` itself ends inside quotes.

    Args:
        data: bytes from the start of a record.
        delimiter: one byte.
    """
    if _QUOTE not in data:
        return max(data.rfind(b"\n"), data.rfind(b"\r")) + 1, False
    characters = np.frombuffer(data, dtype=np.uint8)
    quotes = np.flatnonzero(characters == _QUOTE)
    if not _well_formed(characters, quotes, delimiter[0]):
        return _cut_one_by_one(data, delimiter)
    marks = [mark for mark in (b"\n", b"\r") if mark in data]
    end = len(data)
    while end := max((data.rfind(mark, 0, end) for mark in marks), default=-1) + 1:
        before = int(np.searchsorted(quotes, end))
        if before % 2 == 0:
            break
        end = int(quotes[before - 1])  # All since that quote is inside its field.
    return end, len(quotes) % 2 == 1


def lines_in(data: bytes) -> int:
    """Count the line ends."""
    return int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == _NEWLINE))


def _well_formed(characters: np.ndarray, quotes: np.ndarray, delimiter: int) -> bool:
    """Whether every quote opens a field, closes one or is doubled, so that counting them is enough."""
    bounds = np.zeros(256, dtype=np.bool_)
    bounds[[delimiter, _NEWLINE, _RETURN, _QUOTE]] = True
    opening, closing = quotes[0::2], quotes[1::2]
    before = characters[opening[opening > 0] - 1]
    after = characters[closing[closing < len(characters) - 1] + 1]
    return bool(bounds[before].all() and bounds[after].all())


def first_record_end(data: bytes, delimiter: bytes) -> int:
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


def _cut_one_by_one(data: bytes, delimiter: bytes) -> tuple[int, bool]:
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
    stream: BinaryIO, sample: bytes, delimiter: bytes, block_bytes: int, name: str
) -> Iterator[bytes]:
    """Yield successive pieces of about `block_bytes`, each of whole records.

    Args:
        stream: where to read on.
        sample: what was read before, from the start of a record.

    Raises:
        UnreadableData: a quote is never closed.
    """
    read_before = io.BytesIO(sample)
    pending = b""
    while True:
        # A record longer than a block doubles what is read, so that it is not scanned over and over.
        wanted = max(block_bytes, len(pending))
        data = read_before.read(wanted) or stream.read(wanted)
        if not data:
            break
        pending += data
        end, _ = cut(pending, delimiter)
        if end:
            yield pending[:end]
            pending = pending[end:]
        if len(pending) > MAXIMUM_RECORD_BYTES:
            raise _never_closed(pending, name)
    if pending:
        if cut(pending, delimiter)[1]:
            raise _never_closed(pending, name)
        yield pending


def _never_closed(pending: bytes, name: str) -> UnreadableData:
    start = pending[:80].decode(errors="replace")
    return UnreadableData(
        f'{name}: the record that starts with {start!r} opens a quote (") that is never closed, or the file '
        "is cut off. Close the quote, double quotes inside a quoted field, or upload the whole file."
    )
