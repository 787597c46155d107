"""Archives as SageMaker makes and takes them: deterministic to write, safe to read."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast


class UnsafeArchive(Exception):
    """The archive holds something that must not be extracted; the message names the member."""


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files below a folder as (relative POSIX path, path), sorted; a link counts as what it points to.

    Raises:
        UnsafeArchive: a link points out of the folder, or to nothing; or a special file.
    """
    base = folder.resolve()
    found: list[tuple[str, Path]] = []
    for parent, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = Path(parent) / name
            if path.is_symlink():
                target = path.resolve()
                if not target.is_relative_to(base) or not target.is_file():
                    raise UnsafeArchive(f"{path.relative_to(folder)} links to something outside its folder")
            elif name in folders:
                continue
            elif not path.is_file():
                raise UnsafeArchive(f"{path.relative_to(folder)} is neither file nor folder")
            found.append((path.relative_to(folder).as_posix(), path))
    yield from sorted(found)


def pack(folder: Path, archive: Path) -> int:
    """Write the files of a folder to a ``.tar.gz``; the same content gives the same bytes.

    Names are sorted; times, owners and modes are fixed. Returns the number of files.
    """
    count = 0
    with (
        archive.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=cast("IO[bytes]", packed), mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, path in files_below(folder):
            info = tarfile.TarInfo(name)
            info.size = path.stat().st_size
            info.mode = 0o755 if os.access(path, os.X_OK) and path.stat().st_mode & 0o100 else 0o644
            with path.open("rb") as file:
                tar.addfile(info, file)
            count += 1
    return count


def unpack(archive: IO[bytes], folder: Path, *, max_bytes: int, max_files: int = 100_000) -> None:
    """Extract a ``.tar.gz`` into a folder.

    Raises:
        UnsafeArchive: it is no gzipped tar, is damaged, has a link, a special file, a path that leaves the
            folder or one that collides, or unpacks to more than ``max_bytes`` or ``max_files``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    total = count = 0
    try:
        with tarfile.open(fileobj=archive, mode="r|gz") as tar:
            for member in tar:
                target = folder / _safe_name(member)
                count += 1
                total += max(member.size, 0)
                if count > max_files or total > max_bytes:
                    raise UnsafeArchive(
                        f"the archive unpacks to more than {max_bytes} bytes or {max_files} files"
                    )
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                else:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    _write_member(tar, member, target)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UnsafeArchive(f"the archive can't be unpacked: {error}") from error


def _safe_name(member: tarfile.TarInfo) -> PurePosixPath:
    path = PurePosixPath(member.name)
    if not (member.isfile() or member.isdir()):
        raise UnsafeArchive(f"{member.name!r} is a link or a special file")
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
        raise UnsafeArchive(f"{member.name!r} leaves the folder")
    return path


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source: Any = tar.extractfile(member)
    with target.open("xb") as file:
        shutil.copyfileobj(source, file)
    target.chmod(0o755 if member.mode & 0o100 else 0o644)
