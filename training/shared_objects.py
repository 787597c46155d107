"""What shared objects (ELF) say to the loader."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class Dynamic:
    """What a shared object says to the loader: the libraries it needs, its own name and where that stands."""

    needed: tuple[str, ...]
    name: str | None
    name_at: int

    @classmethod
    def read(cls, file: BinaryIO) -> Dynamic | None:
        """Read a 64-bit little-endian ELF file; None where it is no such file, or is linked to nothing.

        The format: https://refspecs.linuxfoundation.org/elf/elf.pdf.
        """
        header = file.read(64)
        if header[:6] != b"\x7fELF\x02\x01" or len(header) < 64:
            return None
        (table,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(table)
        segments = [struct.unpack("<IIQQQQQQ", file.read(size)[:56]) for _ in range(count)]
        dynamic = next((each for each in segments if each[0] == 2), None)
        if dynamic is None:
            return None
        file.seek(dynamic[2])
        raw = file.read(dynamic[5])
        entries = [struct.unpack_from("<QQ", raw, at) for at in range(0, len(raw) - 15, 16)]
        address = next((value for tag, value in entries if tag == 5), None)
        if address is None:
            return None
        strings = next(
            each[2] + address - each[3]
            for each in segments
            if each[0] == 1 and each[3] <= address < each[3] + each[5]
        )

        def text(offset: int) -> str:
            file.seek(strings + offset)
            return file.read(4096).partition(b"\0")[0].decode("ascii", "replace")

        soname = next((value for tag, value in entries if tag == 14), None)
        return cls(
            tuple(text(value) for tag, value in entries if tag == 1),
            None if soname is None else text(soname),
            strings + (soname or 0),
        )


def needed(path: Path) -> tuple[str, ...]:
    """Return the libraries that a shared object is linked to."""
    with path.open("rb") as file:
        dynamic = Dynamic.read(file)
    return () if dynamic is None else dynamic.needed


def objects_below(folder: Path) -> Iterator[Path]:
    """Yield the shared objects below a folder: ``x.so``, ``x.so.1``."""
    for path in sorted(folder.rglob("*.so*")):
        if path.is_file() and is_object(path.name):
            yield path


def is_object(name: str) -> bool:
    """Whether a file's name is that of a shared object."""
    return name.endswith(".so") or ".so." in name
