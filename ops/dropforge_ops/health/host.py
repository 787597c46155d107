"""Checks of a local host that runs for this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from dropforge_ops.health.findings import Check, Finding, Status
from dropforge_ops.render import size
from dropforge_ops.stack.target import Target

_ENOUGH_BYTES = 2 * 1024**3


def checks(target: Target, root: Path | None) -> list[Check]:
    """The checks of the host behind a target."""
    return [Check("local host", lambda: _host(target, root))]


def _host(target: Target, root: Path | None) -> Iterable[Finding]:
    target.client("sts").get_caller_identity()
    yield Finding("local host", Status.OK, f"{target.endpoint_url} answers")
    if root is None:
        return
    state = root / ".dropforge"
    if not state.is_dir():
        return
    used = sum(each.stat().st_size for each in state.rglob("*") if each.is_file() and not each.is_symlink())
    free = shutil.disk_usage(state).free
    said = f"{state} holds {size(used)}, {size(free)} are free"
    if free < _ENOUGH_BYTES:
        yield Finding("disk", Status.WARN, said, "Make room, or start anew with 'dropforge up --fresh'.")
    else:
        yield Finding("disk", Status.OK, said)
