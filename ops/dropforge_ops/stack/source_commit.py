"""Which commit a deployment is made from."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

PARAMETER: Final = "SourceCommit"
"""The template's parameter that holds it."""

_DEPLOYED: Final = ("template.yaml", "core", "functions", "layers", "statemachine", "training")
_PATIENCE_S: Final = 30


def source_commit(root: Path) -> str:
    """Return the commit's id, with ``-dirty`` where what is deployed differs from it.

    Empty where nobody can tell: without git, or in a folder that is in no repository or has no commit yet.
    """
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if not commit:
        return ""
    changed = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", *_DEPLOYED)
    return f"{commit}-dirty" if changed or changed is None else commit


def _git(root: Path, *arguments: str) -> str | None:
    """What git says; None where it fails or isn't there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
