"""Reading a stream from one offset to another."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

_LOOK_BYTES = 1 << 16


def limited(stream: BinaryIO, start: int, end: int) -> BinaryIO:
    """Return a stream of the bytes from `start` to `end` of a seekable one, which it takes over."""
    stream.seek(start)
    return cast("BinaryIO", _Limited(stream, max(0, end - start)))


def line_start(stream: BinaryIO, position: int, marks: bytes) -> int:
    """Return the first offset from `position` on at which a line begins; the stream's size if none does.

    Args:
        stream: seekable.
        marks: the bytes that end a line.
    """
    size = stream.seek(0, io.SEEK_END)
    if position <= 0:
        return 0
    # A line begins here where the byte before ends one.
    offset = stream.seek(min(position, size) - 1)
    while data := stream.read(_LOOK_BYTES):
        ends = [found for mark in marks if (found := data.find(mark)) >= 0]
        if ends:
            return offset + min(ends) + 1
        offset += len(data)
    return size


class _Limited(io.RawIOBase):
    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._left = stream, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        window = buffer[: self._left]
        read: int = self._stream.readinto(window) if len(window) else 0  # type: ignore[attr-defined]
        self._left -= read
        return read

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._stream.read(wanted) if wanted else b""
        self._left -= len(data)
        return data
