"""A reader of the docs: a folder for which a stack's host is announced, and a shell with our commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from dropforge_local.announcement import Announcement, announce
from dropforge_local.api_urls import local_api_url
from tests.documented import ROOT
from tests.workflow.stack import Stack


def announce_to(folder: Path, stack: Stack, project: Iterable[str]) -> None:
    """Announce the stack's host in a folder that has these parts of the project."""
    for name in project:
        (folder / name).symlink_to(ROOT / name)
    host = stack.host
    url = local_api_url(stack.outputs["ApiUrl"], host.endpoint_url)
    announced = (host.endpoint_url, host.region, os.getpid(), stack.name, url, None, dict(stack.outputs))
    announce(folder, Announcement(*announced))


def run_by_shell(text: str, folder: Path, where: object = "") -> str:
    """Run commands as a reader's shell does; returns what they wrote. ``where`` is named if they fail."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{where or text}:\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr
