"""Archives: the same bytes for the same content, and nothing unsafe extracted."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from dropforge_local.sagemaker.archives import UnsafeArchive, pack, unpack


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    buffer.seek(0)
    return buffer


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_what_was_packed_is_unpacked(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "b").write_bytes(b"\0" * 100_000)
    (source / "a").write_text("a")
    (source / "a").chmod(0o755)
    assert pack(source, tmp_path / "x.tar.gz") == 2
    with (tmp_path / "x.tar.gz").open("rb") as file:
        unpack(file, tmp_path / "target", max_bytes=1_000_000)
    assert (tmp_path / "target" / "deep" / "b").read_bytes() == b"\0" * 100_000
    assert (tmp_path / "target" / "a").stat().st_mode & 0o777 == 0o755


def test_bytes_depend_on_content_alone(tmp_path: Path) -> None:
    for name, order in (("one", "ab"), ("two", "ba")):
        (tmp_path / name).mkdir()
        for letter in order:
            path = tmp_path / name / letter
            path.write_text(letter)
            os.utime(path, (1, len(name) * 1000 + ord(letter)))
            path.chmod(0o600 if name == "one" else 0o644)
        pack(tmp_path / name, tmp_path / f"{name}.tar.gz")
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (tarfile.TarInfo("../out"), "leaves the folder"),
        (tarfile.TarInfo("/etc/out"), "leaves the folder"),
        (tarfile.TarInfo("a/../../out"), "leaves the folder"),
        (link("l", "/etc/passwd", tarfile.SYMTYPE), "link or a special file"),
        (link("l", "a", tarfile.LNKTYPE), "link or a special file"),
        (link("p", "", tarfile.FIFOTYPE), "link or a special file"),
    ],
)
def test_unsafe_members_are_refused(tmp_path: Path, info: tarfile.TarInfo, message: str) -> None:
    with pytest.raises(UnsafeArchive, match=message):
        unpack(archive((info, b"")), tmp_path / "inside" / "target", max_bytes=1000)
    assert not list(tmp_path.rglob("out"))


def test_archive_beyond_the_size_bound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsafeArchive, match="unpacks to more than"):
        unpack(archive((tarfile.TarInfo("big"), b"\0" * 2000)), tmp_path / "t", max_bytes=1000)


def test_archive_with_too_many_files_is_refused(tmp_path: Path) -> None:
    members = [(tarfile.TarInfo(str(index)), b"") for index in range(4)]
    with pytest.raises(UnsafeArchive, match="3 files"):
        unpack(archive(*members), tmp_path / "t", max_bytes=1000, max_files=3)


def test_repeated_member_is_refused(tmp_path: Path) -> None:
    twice = archive((tarfile.TarInfo("a"), b"1"), (tarfile.TarInfo("a"), b"2"))
    with pytest.raises(UnsafeArchive):
        unpack(twice, tmp_path / "t", max_bytes=1000)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", archive((tarfile.TarInfo("a"), b"x")).read()[:-20]],
    ids=["empty", "other", "truncated"],
)
def test_damaged_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnsafeArchive, match="can't be unpacked"):
        unpack(io.BytesIO(content), tmp_path / "t", max_bytes=1000)


def test_link_inside_the_folder_is_packed_as_its_content(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("content")
    (source / "b").symlink_to("a")
    pack(source, tmp_path / "x.tar.gz")
    with tarfile.open(tmp_path / "x.tar.gz") as tar:
        assert all(member.isfile() for member in tar)
