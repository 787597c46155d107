from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from dropforge.domain.archive import extract, files_of
from dropforge.domain.errors import InvalidModel, UnsafeArchive
from dropforge.domain.manifest import file_digests, model_digest, parse, verify


def archive_of(*members, mode="w:gz"):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as tar:
        for member in members:
            entry, data = member if isinstance(member, tuple) else (member, b"")
            if isinstance(entry, str):
                entry = tarfile.TarInfo(entry)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    packed.seek(0)
    return packed


def special(kind, name="x", target="/etc/passwd"):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def test_extracts_files_into_an_empty_folder(tmp_path):
    archive = archive_of(special(tarfile.DIRTYPE, "./"), ("./code/a.py", b"a"), ("model", b"m"))
    written = extract(archive, tmp_path / "new")
    assert {p.relative_to(tmp_path / "new").as_posix(): p.read_bytes() for p in written} == {
        "code/a.py": b"a",
        "model": b"m",
    }


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..", "a\\..\\x", "C:x", "/".join("a" * 40)])
def test_refuses_paths_that_leave_the_folder(tmp_path, name):
    with pytest.raises(UnsafeArchive):
        extract(archive_of((name, b"x")), tmp_path / "new")
    assert not any(p.is_file() for p in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_refuses_links_and_devices(tmp_path, kind):
    with pytest.raises(UnsafeArchive):
        extract(archive_of(special(kind)), tmp_path / "new")


def test_refuses_a_file_that_stands_twice(tmp_path):
    with pytest.raises(UnsafeArchive, match="twice"):
        extract(archive_of(("a", b"1"), ("./a", b"2")), tmp_path / "new")


def test_refuses_a_path_through_a_file(tmp_path):
    with pytest.raises(UnsafeArchive, match="clashes"):
        extract(archive_of(("a", b"1"), ("a/b", b"2")), tmp_path / "new")


def test_refuses_to_extract_over_other_files(tmp_path):
    (tmp_path / "there").touch()
    with pytest.raises(UnsafeArchive, match="not empty"):
        extract(archive_of(("a", b"1")), tmp_path)


def test_refuses_a_bomb_before_it_is_written(tmp_path):
    bomb = archive_of(("zeros", bytes(5_000_000)))
    assert len(bomb.getvalue()) < 50_000
    with pytest.raises(UnsafeArchive, match="more than 1000000 bytes"):
        extract(bomb, tmp_path / "new", maximum_bytes=1_000_000)
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) <= 1_000_000


def test_refuses_a_bomb_in_the_headers():
    entry = tarfile.TarInfo("a")
    entry.pax_headers = {"comment": "x" * 5_000_000}
    with pytest.raises(UnsafeArchive, match="more than"):
        list(files_of(archive_of((entry, b"1")), maximum_bytes=1_000_000))


def test_refuses_too_many_members(monkeypatch):
    monkeypatch.setattr("dropforge.domain.archive.MAXIMUM_FILES", 3)
    with pytest.raises(UnsafeArchive, match="more than 3 members"):
        list(files_of(archive_of(*(f"f{i}" for i in range(5)))))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no archive",
        gzip.compress(b"no tar" * 200, mtime=0),
        archive_of(("a", bytes(range(256)) * 40)).getvalue()[:-50],
        archive_of(("a", b"1"), mode="w").getvalue(),
    ],
)
def test_refuses_what_is_damaged(data):
    with pytest.raises(UnsafeArchive, match="damaged"):
        [content.read() for _, content in files_of(io.BytesIO(data))]


def test_model_digest_depends_on_paths_and_contents_only():
    files = {"b": "2" * 64, "a": "1" * 64}
    assert model_digest(files) == model_digest(dict(reversed(files.items())))
    assert model_digest({**files, "c": "3" * 64}) != model_digest(files)


def test_bytecode_and_the_manifest_itself_are_no_part_of_the_model(tmp_path):
    (tmp_path / "__pycache__").mkdir()
    for name in ("a.py", "model.json", "__pycache__/a.pyc"):
        (tmp_path / name).write_text("x")
    assert set(file_digests(tmp_path)) == {"a.py"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"format": 1}',
        '{"format": 1, "files": {"../x": "1"}, "model_digest": "1"}',
        '{"format": 2, "files": {}, "model_digest": "1"}',
        '{"format": 1, "files": {"x": "1"}, "model_digest": "1"}',
    ],
)
def test_manifest_that_is_malformed_is_refused(text):
    with pytest.raises(InvalidModel):
        parse(text)


def test_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(InvalidModel, match=r"no model.json"):
        verify(tmp_path)
