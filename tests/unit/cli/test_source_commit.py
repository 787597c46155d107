"""Which commit is deployed, as git tells it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from dropforge_ops.stack.source_commit import PARAMETER, source_commit

ROOT = Path(__file__).parents[3]


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "training").mkdir()
    for name in ("template.yaml", "training/model.py", "notes.md"):
        (tmp_path / name).write_text("a\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    return tmp_path


def test_the_commit_is_told_and_fits_the_parameter(repository: Path) -> None:
    commit = source_commit(repository)
    assert commit == git(repository, "rev-parse", "HEAD")
    pattern = parameter_pattern()
    assert re.fullmatch(pattern, commit)
    assert re.fullmatch(pattern, f"{commit}-dirty")
    assert re.fullmatch(pattern, "")
    assert not re.fullmatch(pattern, "main")


def parameter_pattern() -> str:
    """The template's own; its tags are CloudFormation's, which this reading needs nothing of."""
    line = next(
        line
        for line in (ROOT / "template.yaml").read_text().splitlines()
        if line.strip().startswith(f"{PARAMETER}:")
    )
    pattern: str = yaml.safe_load(line.split("AllowedPattern: ")[1].split(",\n")[0].rstrip(","))
    return pattern


@pytest.mark.parametrize("changed", ["template.yaml", "training/model.py", "training/new.py"])
def test_what_is_deployed_and_differs_from_the_commit_is_marked(repository: Path, changed: str) -> None:
    (repository / changed).write_text("b\n")
    assert source_commit(repository) == f"{git(repository, 'rev-parse', 'HEAD')}-dirty"


def test_what_is_not_deployed_may_differ(repository: Path) -> None:
    (repository / "notes.md").write_text("b\n")
    (repository / "data.csv").write_text("b\n")
    assert source_commit(repository) == git(repository, "rev-parse", "HEAD")


def test_a_project_in_a_folder_of_a_larger_repository_is_told_alike(repository: Path) -> None:
    project = repository / "models" / "churn"
    (project / "training").mkdir(parents=True)
    (project / "training" / "model.py").write_text("a\n")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "second")
    (repository / "template.yaml").write_text("b\n")
    assert source_commit(project) == git(repository, "rev-parse", "HEAD")
    (project / "training" / "model.py").write_text("b\n")
    assert source_commit(project).endswith("-dirty")


def test_nothing_is_told_where_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert source_commit(tmp_path) == ""
    git(tmp_path, "init", "--quiet")
    assert source_commit(tmp_path) == "", "there is no commit yet"
    monkeypatch.setenv("PATH", "")
    assert source_commit(tmp_path) == "", "there is no git"
