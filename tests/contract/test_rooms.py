"""Lines are counted as they were in a commit and as they are, without what is generated."""

from __future__ import annotations

import subprocess
from pathlib import Path

from scripts.rooms import came_since, committed, lines_by_room, table, tracked


def git(folder: Path, *arguments: str) -> None:
    settings = ("-c", "user.name=A", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, capture_output=True)


def test_before_and_now_are_told_apart(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "core").mkdir()
    (tmp_path / "statemachine").mkdir()
    (tmp_path / "core" / "a name.py").write_text("1\n2\n3\n4\n")
    (tmp_path / "statemachine" / "work.asl.json").write_text("{\n}\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    (tmp_path / "core" / "a name.py").write_text("1\n")
    (tmp_path / "statemachine" / "work.asl.yaml").write_text("a: 1\n")
    (tmp_path / "uv.lock").write_text("1\n2\n")
    before, after = lines_by_room(committed("HEAD", tmp_path)), lines_by_room(tracked(tmp_path))
    assert before == {"core": 4, "statemachine": 2}
    assert after == {"core": 1, "statemachine": 1}
    new = lines_by_room(dict.fromkeys(came_since("HEAD", tmp_path), b"x\n"))
    lines = table(before, after, new).splitlines()
    printed = {line.split("  ")[0].strip(): line.split()[-4:] for line in lines}
    assert printed["core"] == ["4", "1", "0.25", "0"]
    assert printed["= product and tools"] == ["6", "2", "0.33", "0"]


def test_files_that_came_since_are_told_from_moved_ones(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("".join(f"{number}\n" for number in range(50)))
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    (tmp_path / "core").mkdir()
    (tmp_path / "a.py").rename(tmp_path / "core" / "b.py")
    (tmp_path / "core" / "new one.py").write_text("1\n")
    git(tmp_path, "add", "-A")
    assert came_since("HEAD", tmp_path) == {"core/new one.py"}


def test_reference_recordings_and_pictures_do_not_count() -> None:
    files = {
        "docs/reference/cli.md": b"1\n",
        "proof/recordings/training.json": b"1\n",
        "docs/images/run.png": b"\0\n",
        "docs/cost.md": b"1\n2\n",
        "local/a.py": b"1\n",
        "local/tests/test_a.py": b"1\n2\n3\n",
        "layers/data/requirements.txt": b"1\n",
    }
    assert lines_by_room(files) == {"docs": 2, "local": 1, "tests": 3}
