"""Deployment archives: zips that are a function of their content, and their safe extraction."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from dropforge_local.errors import UnsafeArchive

# Lambda's quota for a function's code with all its layers, unzipped:
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_UNZIPPED_BYTES = 262_144_000

_EPOCH = (1980, 1, 1, 0, 0, 0)


def files_below(folder: Path) -> list[Path]:
    """Every regular file below a folder, by POSIX path; links are followed, as ``sam build`` does."""
    found = [Path(base) / name for base, _, names in os.walk(folder, followlinks=True) for name in names]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def write_zip(folder: Path, target: Path) -> str:
    """Zip ``folder`` into ``target``; equal trees give equal bytes. Returns the zip's SHA-256 in hex."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in files_below(folder):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            executable = path.stat().st_mode & stat.S_IXUSR
            entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
    with target.open("rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()


def extract_zip(archive: zipfile.ZipFile, folder: Path, *, max_bytes: int = MAX_UNZIPPED_BYTES) -> None:
    """Extract into ``folder``.

    Raises:
        UnsafeArchive: a member leaves the folder, is a link or a device, or the members exceed ``max_bytes``.
    """
    written = 0
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename)
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if path.is_absolute() or ".." in path.parts or "\\" in entry.filename:
            raise UnsafeArchive(f"The archive's member {entry.filename!r} points outside its folder.")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UnsafeArchive(f"The archive's member {entry.filename!r} is a link or a device.")
        target = folder.joinpath(*path.parts)
        if entry.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        # The header's size can lie, so the bytes are counted as they are written.
        with archive.open(entry) as source, target.open("wb") as sink:
            while block := source.read(1 << 20):
                written += len(block)
                if written > max_bytes:
                    raise UnsafeArchive(f"The archive unpacks to more than {max_bytes} bytes.")
                sink.write(block)
        if (entry.external_attr >> 16) & stat.S_IXUSR:
            target.chmod(0o755)


def unpack_once(archive: Path | IO[bytes], digest: str, store: Path) -> Path:
    """The folder ``store/<digest>`` holding the archive's files, extracted at the first call only.

    Safe among processes: each extracts beside and renames, and whoever comes second keeps the first's.
    """
    folder = store / digest
    if folder.is_dir():
        return folder
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store, prefix=".extracting-") as scratch:
        content = Path(scratch) / "content"
        content.mkdir()
        with zipfile.ZipFile(archive) as opened:
            extract_zip(opened, content)
        adopt(content, folder)
    return folder


def adopt(folder: Path, target: Path) -> None:
    """Rename ``folder`` to ``target`` unless a complete one is already there."""
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():
            raise
