"""Reads ``.tar.gz`` archives that nobody vouches for: no path leaves the folder, no link, a bound on size."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from dropforge.domain.errors import UnsafeArchive

MAXIMUM_BYTES = 2 * 1024**3
"""Decompressed bytes that are read from one archive; a tabular model beyond 2 GiB is a mistake."""

MAXIMUM_FILES = 10_000

MAXIMUM_DEPTH = 32


class _Bounded:
    """A readable stream that refuses to give more than a number of bytes (gzip expands up to 1032 times)."""

    def __init__(self, stream: BinaryIO, maximum: int) -> None:
        self._stream = stream
        self._left = maximum
        self._maximum = maximum

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise UnsafeArchive(
                f"the archive holds more than {self._maximum} bytes; make it smaller or raise the limit."
            )
        return data


def files_of(archive: BinaryIO, maximum_bytes: int = MAXIMUM_BYTES) -> Iterator[tuple[str, BinaryIO]]:
    """Yield each regular file of a ``.tar.gz`` as (relative POSIX path, stream), in the archive's order.

    A stream is valid until the next one is asked for. Directories are passed over. Nothing is written.

    Raises:
        UnsafeArchive: damaged, larger than `maximum_bytes` decompressed, more than MAXIMUM_FILES members, a
            path that is absolute or climbs out, a path that stands twice, or anything but a file or folder.
    """
    seen: set[str] = set()
    try:
        with (
            gzip.GzipFile(fileobj=archive, mode="rb") as unzipped,
            tarfile.open(
                fileobj=cast(BinaryIO, _Bounded(cast(BinaryIO, unzipped), maximum_bytes)), mode="r|"
            ) as tar,
        ):
            for count, member in enumerate(tar):
                if count >= MAXIMUM_FILES:
                    raise UnsafeArchive(f"the archive has more than {MAXIMUM_FILES} members.")
                name = _safe_path(member)
                if member.isdir():
                    continue
                if name in seen:
                    raise UnsafeArchive(f"{name!r} stands twice in the archive.")
                seen.add(name)
                content = tar.extractfile(member)
                if content is None:
                    raise UnsafeArchive(f"{name!r} in the archive has no content.")
                yield name, cast(BinaryIO, content)
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise UnsafeArchive(f"the archive is damaged or no .tar.gz: {error}") from error


def extract(archive: BinaryIO, folder: Path, maximum_bytes: int = MAXIMUM_BYTES) -> list[Path]:
    """Write the archive's files under `folder`, which must be empty or absent. Returns their paths.

    Modes and owners are not taken over: every file is a plain one of the current user.

    Raises:
        UnsafeArchive: see `files_of`, and where a file's path is another file's folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UnsafeArchive(f"{folder} is not empty; archives are only extracted into an empty folder.")
    written: list[Path] = []
    for name, content in files_of(archive, maximum_bytes):
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                shutil.copyfileobj(content, file)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise UnsafeArchive(f"{name!r} in the archive clashes with another of its paths.") from error
        written.append(path)
    return written


def _safe_path(member: tarfile.TarInfo) -> str:
    if not (member.isfile() or member.isdir()) or member.issparse():
        raise UnsafeArchive(f"{member.name!r} in the archive is a link, a device or a sparse file.")
    if "\\" in member.name or "\0" in member.name or ":" in member.name:
        raise UnsafeArchive(f"{member.name!r} in the archive has a character that paths here don't have.")
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or len(path.parts) > MAXIMUM_DEPTH:
        raise UnsafeArchive(f"{member.name!r} in the archive leads out of the folder or is nested too deep.")
    if not path.parts and not member.isdir():
        raise UnsafeArchive("a file in the archive has no name.")
    return str(path)
