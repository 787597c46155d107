"""Archives are extracted within their folder, within their size, and without links."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from dropforge_local.archive import extract_zip, unpack_once, write_zip
from dropforge_local.errors import UnsafeArchive


def _zip(path: Path, name: str, content: bytes = b"x", mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        archive.writestr(entry, content)
    return path


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "a\\..\\out"])
def test_refuses_a_member_outside_its_folder(tmp_path: Path, name: str) -> None:
    with (
        zipfile.ZipFile(_zip(tmp_path / "a.zip", name)) as archive,
        pytest.raises(UnsafeArchive, match="outside"),
    ):
        extract_zip(archive, tmp_path / "to")
    assert not (tmp_path / "out").exists()


def test_refuses_a_link(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", "link", b"/etc/passwd", stat.S_IFLNK | 0o777)
    with zipfile.ZipFile(path) as archive, pytest.raises(UnsafeArchive, match="link"):
        extract_zip(archive, tmp_path / "to")


def test_refuses_more_bytes_than_allowed(tmp_path: Path) -> None:
    path = _zip(tmp_path / "a.zip", "big", b"x" * 1001)
    (tmp_path / "to").mkdir()
    with zipfile.ZipFile(path) as archive, pytest.raises(UnsafeArchive, match="1000 bytes"):
        extract_zip(archive, tmp_path / "to", max_bytes=1000)


def test_what_was_written_comes_out_again_with_its_executable_bit(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "tool").write_text("#!/bin/sh\n")
    (source / "sub" / "tool").chmod(0o755)
    (source / "empty").write_text("")
    digest = write_zip(source, tmp_path / "a.zip")
    folder = unpack_once(tmp_path / "a.zip", digest, tmp_path / "store")
    assert (folder / "sub" / "tool").stat().st_mode & stat.S_IXUSR
    assert (folder / "empty").read_text() == ""
    assert unpack_once(tmp_path / "missing.zip", digest, tmp_path / "store") == folder
    assert [path.name for path in (tmp_path / "store").iterdir()] == [digest]
