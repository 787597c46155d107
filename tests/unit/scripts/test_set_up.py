"""What set-up says where it can't go on: a line about what is missing, and what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "bootstrap.sh"
UV = """#!/bin/sh
[ "$1" = --version ] && { echo "uv 0.13.8"; exit 0; }
echo "cache: $UV_CACHE_DIR"
printf '%s' "$SAYS" >&2
exit ${CODE:-2}
"""
PYTHON = """#!/bin/sh
case "$2" in *version_info*) echo 3.12 ;; *) echo "$0" ;; esac
"""
DF = """#!/bin/sh
printf 'Filesystem 1M-blocks Used Available Capacity Mounted on\\n/dev/x 9000 1 %s 1%% /\\n' "${FREE:-9000}"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which uv, df and Python say what the environment tells them to."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "local").mkdir()
    (tmp_path / "bin").mkdir()
    shutil.copy(SCRIPT, tmp_path / "scripts")
    for name in ("uv.lock", "pyproject.toml", "local/pyproject.toml"):
        (tmp_path / name).write_text("")
    for name, text in (("uv", UV), ("df", DF), ("python3.12", PYTHON)):
        program = tmp_path / "bin" / name
        program.write_text(text)
        program.chmod(0o755)
    return tmp_path


def set_up(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {
        "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}",
        "HOME": str(checkout),
        "PYTHON312": str(checkout / "bin" / "python3.12"),
        **environment,
    }
    script = str(checkout / "scripts" / "bootstrap.sh")
    return subprocess.run([script], env=settings, capture_output=True, text=True, timeout=120, check=False)


# What uv and pip say, of which one line each matters.
REFUSED = "error: Failed to fetch: `https://pypi.example/simple/six/`\n  cause: tcp connect error\n"
SELF_SIGNED = "error: Failed to fetch\n  cause: invalid peer certificate: UnknownIssuer\n"
FULL = "error: failed to write to file\n  cause: No space left on device (os error 28)\n"
FOREIGN = "error: Failed to initialize cache at `/cache`\n  cause: Permission denied (os error 13)\n"


@pytest.mark.parametrize(
    ("says", "said"),
    [
        (REFUSED, "PyPI can't be reached: set HTTPS_PROXY"),
        (SELF_SIGNED, "A proxy's certificate isn't trusted"),
        (FULL, "The disk is full"),
        (FOREIGN, "A folder can't be written"),
    ],
)
def test_what_keeps_packages_from_being_installed_is_said_in_a_line(checkout, says, said):
    ended = set_up(checkout, SAYS=says)
    assert ended.returncode == 1
    assert ended.stderr.startswith("Installing what uv.lock names …\n" + says)
    assert said in ended.stderr
    assert not (checkout / ".venv" / ".synced-with").exists()


def test_too_small_a_disk_is_said_before_anything_is_fetched(checkout):
    ended = set_up(checkout, FREE="900")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "900 MB are free in" in ended.stderr


def test_a_home_that_cant_be_written_holds_nothing_up(checkout):
    (checkout / ".venv").mkdir()
    ended = set_up(checkout, HOME="/dev/null/home", CODE="0")
    assert ended.returncode == 0, ended.stderr
    assert f"cache: {checkout}/.dropforge/cache/uv" in ended.stdout
    assert "Your home can't be written" in ended.stderr
