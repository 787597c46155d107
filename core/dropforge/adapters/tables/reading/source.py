"""From an object to its plain bytes: which format and compression it is, decided by content before name."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, cast

import pyarrow as pa

from dropforge.domain.compression import compression_of
from dropforge.domain.errors import EmptyData, ExpandsTooFar, UnreadableData, UnsupportedFormat

FORMATS = {
    **dict.fromkeys((".csv", ".tsv", ".psv", ".txt", ".dat", ".data"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "json"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}
SUPPORTED = "CSV, JSON lines (plain, .gz or .zst) and Parquet"

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_FOREIGN = {
    b"PK\x03\x04": "a ZIP archive or Excel workbook",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x7fELF": "an executable",
    b"MZ": "a Windows executable",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"Obj\x01": "an Avro file",
    b"ORC": "an ORC file",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
    b"\x80\x04\x95": "a Python pickle",
    b"\x80\x05\x95": "a Python pickle",
    b"\x93NUMPY": "a NumPy array",
}
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_HEAD_BYTES = 4096
MAXIMUM_EXPANDED_BYTES = 32_000_000_000
"""Of one compressed file. It is always the work of one function, which prepares some 60 MB a second for at
most 15 minutes; gzip expands up to 1,032 times, zstd further."""


@dataclass(frozen=True, slots=True)
class Source:
    """An open object of a known format. `stream` yields plain UTF-8 text, or the Parquet file itself."""

    name: str
    format: str
    stream: BinaryIO


@contextmanager
def open_source(stream: BinaryIO, name: str) -> Iterator[Source]:
    """Recognise and decompress an object.

    Args:
        stream: the object's bytes, seekable.
        name: its URI, for the extension and for messages.

    Raises:
        EmptyData: it has no bytes.
        UnsupportedFormat: it is something else than a table of a supported format.
        UnreadableData: it is not what its name says.
    """
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    if not head:
        raise EmptyData(f"{name} is empty (0 bytes). Drop a file with a header and rows.")
    extensions = [extension.lower() for extension in PurePosixPath(name).suffixes]
    named_compression = compression_of(name)
    found = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if named_compression and named_compression != found:
        raise UnreadableData(
            f"{name} is named as {named_compression} but its content is not; rename or compress it anew."
        )
    if found:
        plain = _Checked(_decompressed(stream, found), name, found)
        buffered = io.BufferedReader(plain, 1 << 16)
        head = buffered.peek(_HEAD_BYTES)[:_HEAD_BYTES]
        if not head:
            raise EmptyData(f"{name} holds no bytes once decompressed. Drop a file with a header and rows.")
        kind = _format(head, extensions[:-1] if named_compression else extensions, name)
        if kind == "parquet":
            raise UnsupportedFormat(
                f"{name} is a compressed Parquet file; drop it uncompressed, Parquet compresses itself."
            )
        stream = cast("BinaryIO", buffered)
    else:
        kind = _format(head, extensions, name)
    yield Source(name, kind, stream if kind == "parquet" else _as_utf8(stream, head, name))


def _format(head: bytes, extensions: list[str], name: str) -> str:
    if head.startswith(b"PAR1"):
        return "parquet"
    for magic, what in _FOREIGN.items():
        if head.startswith(magic) and not (magic in (b"MZ", b"ORC", b"BZh") and b"\0" not in head):
            raise UnsupportedFormat(f"{name} is {what}, not a table. Supported are {SUPPORTED}.")
    if any(head.startswith(magic) for magic in _MAGIC):
        raise UnsupportedFormat(f"{name} is compressed twice; compress it once.")
    kind = FORMATS.get(extensions[-1]) if extensions else _sniffed(head)
    if kind == "parquet":
        raise UnreadableData(
            f"{name} is named as Parquet but doesn't start as a Parquet file does; export it anew."
        )
    if kind is None:
        raise UnsupportedFormat(
            f"{name} has the unknown extension {extensions[-1]!r}. Supported are {SUPPORTED}."
        )
    if kind == "json" and _text_start(head).startswith(b"["):
        raise UnsupportedFormat(
            f"{name} is a JSON array; write one JSON object per line instead (JSON lines)."
        )
    return kind


def _sniffed(head: bytes) -> str:
    return "json" if _text_start(head)[:1] in (b"{", b"[") else "csv"


def _text_start(head: bytes) -> bytes:
    return head.removeprefix(codecs.BOM_UTF8).lstrip()


def _decompressed(stream: BinaryIO, kind: str) -> BinaryIO:
    if kind == "gzip":
        return cast("BinaryIO", gzip.GzipFile(fileobj=stream, mode="rb"))
    return cast("BinaryIO", pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), kind))


def _as_utf8(stream: BinaryIO, head: bytes, name: str) -> BinaryIO:
    for mark, encoding in _UTF16.items():
        if head.startswith(mark):
            stream.read(len(mark))
            return cast("BinaryIO", io.BufferedReader(_Transcoded(stream, encoding, name), 1 << 16))
    if head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return stream


class _Checked(io.RawIOBase):
    """Turns the decompressors' errors into one class that names the object, and bounds what they give."""

    def __init__(self, stream: BinaryIO, name: str, kind: str) -> None:
        self._stream, self._name, self._kind = stream, name, kind
        self._left = MAXIMUM_EXPANDED_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            data = self._stream.read(len(buffer))
        except (EOFError, gzip.BadGzipFile, zlib.error, pa.ArrowException, OSError) as error:
            raise UnreadableData(
                f"{self._name} is a damaged or truncated {self._kind} archive ({error}); upload it again."
            ) from error
        self._left -= len(data)
        if self._left < 0:
            raise ExpandsTooFar(
                f"{self._name} holds more than {MAXIMUM_EXPANDED_BYTES / 1e9:,.0f} GB once decompressed; a "
                "compressed file is prepared by one function. Drop it uncompressed, or in several files."
            )
        buffer[: len(data)] = data
        return len(data)


class _Transcoded(io.RawIOBase):
    """UTF-16 text as UTF-8 bytes."""

    def __init__(self, stream: BinaryIO, encoding: str, name: str) -> None:
        self._stream, self._name, self._encoding = stream, name, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._pending = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._pending and not self._ended:
            data = self._stream.read(max(len(buffer), 2))
            self._ended = not data
            try:
                self._pending = self._decoder.decode(data, final=self._ended).encode()
            except UnicodeDecodeError as error:
                raise UnreadableData(
                    f"{self._name} starts as {self._encoding} text but isn't ({error.reason}); "
                    "export it as UTF-8."
                ) from error
        taken = self._pending[: len(buffer)]
        self._pending = self._pending[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)
