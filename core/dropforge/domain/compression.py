"""The compressions that files come in, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal

Compression = Literal["gzip", "zstd"]

_COMPRESSIONS: Mapping[str, Compression] = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
}


def compression_of(name: str) -> Compression | None:
    """The compression that a file's name promises.

    >>> compression_of("may/new.csv.gz"), compression_of("new.csv")
    ('gzip', None)
    """
    return _COMPRESSIONS.get(PurePosixPath(name).suffix.lower())
