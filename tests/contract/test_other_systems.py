"""On a system other than Linux, what needs Linux says so at once, and what doesn't goes on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dropforge_local import host as host_module
from dropforge_local.errors import NotLinux
from dropforge_local.host import LocalHost

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
VERBS = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
ON_LINUX = re.findall(r"^ON_LINUX := (.+)", MAKEFILE, flags=re.MULTILINE)[0].split()
ANYWHERE = sorted(VERBS - set(ON_LINUX) - {"serving-stack"})


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """As much of a fresh clone as a verb's first steps read, and a machine that says it is a Mac."""
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    for name in ("Makefile", "uv.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    uname = tmp_path / "bin" / "uname"
    uname.parent.mkdir()
    uname.write_text("#!/bin/sh\necho Darwin\n")
    uname.chmod(0o755)
    return folder


def make(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(clone.parent / "bin"), os.environ["PATH"]])
    return subprocess.run(
        ["make", *arguments],
        cwd=clone,
        env={**os.environ, "PATH": path, "MAKEFLAGS": "", "MAKELEVEL": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("verb", sorted(set(ON_LINUX) & VERBS))
def test_a_verb_that_needs_linux_says_so_and_what_to_do_before_anything_is_installed(clone, verb):
    before = sorted(clone.rglob("*"))
    done = make(clone, verb)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert f"make {verb} needs Linux: run it in a Linux container or virtual machine" in line
    assert done.stdout == ""
    assert sorted(clone.rglob("*")) == before


def test_the_other_verbs_are_not_refused(clone):
    assert {"check", "deploy", "smoke", "teardown"} <= set(ANYWHERE)
    for verb in ANYWHERE:
        done = make(clone, "--dry-run", verb)
        assert done.returncode == 0, done.stderr


def test_a_host_that_is_started_otherwise_says_so_too(tmp_path, monkeypatch):
    monkeypatch.setattr(host_module.sys, "platform", "darwin")
    with pytest.raises(NotLinux, match="runs on Linux only: start it in a Linux container"):
        LocalHost(tmp_path).start()
    assert list(tmp_path.iterdir()) == []
