"""What the newest MiniStack would break: its seams beside those of the one that is installed.

``python -m dropforge_local.newest_ministack [requirement]`` makes a temporary environment with uv, which is
on PATH; the requirement names another version.

Ends with 1 where a seam is broken. A function whose source changed still has its name and its parameters:
read what changed, because the glue wraps it, replaces it, or relies on what it does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parent
_ASK = ("-m", "dropforge_local.glue.seams")


def newest(requirement: str) -> list[str]:
    """A Python in an environment of its own with what the requirement names, newly looked up."""
    environment = ["uv", "run", "--quiet", "--isolated", "--no-project", "--refresh-package", "ministack"]
    return [*environment, "--python", sys.executable, "--with", requirement, "python"]


def seams_of(python: Sequence[str]) -> dict[str, Any]:
    """The version, the broken seams and the digests of sources that a Python's MiniStack has."""
    with tempfile.TemporaryDirectory() as folder:
        # The package alone: beside it there may be the installed MiniStack.
        (Path(folder) / _PACKAGE.name).symlink_to(_PACKAGE)
        done = subprocess.run(
            [*python, *_ASK],
            env={**os.environ, "PYTHONPATH": folder},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(pinned: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The lines to print of two versions."""
    if pinned["version"] == other["version"]:
        return [f"MiniStack {pinned['version']} is what is installed already."]
    changed = [
        name for name, digest in pinned["sources"].items() if other["sources"].get(name, digest) != digest
    ]
    return [
        f"MiniStack {pinned['version']} is installed, {other['version']} was tried.",
        f"Broken seams: {len(other['broken'])}",
        *(f"  {problem}" for problem in other["broken"]),
        f"Functions and classes with another source: {len(changed)} of {len(pinned['sources'])}",
        *(f"  {name}" for name in changed),
    ]


def main(requirement: str = "ministack[full]") -> int:
    """Print the report on what the requirement brings; 1 where a seam is broken."""
    other = seams_of(newest(requirement))
    print("\n".join(report(seams_of([sys.executable]), other)))
    return int(bool(other["broken"]))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
