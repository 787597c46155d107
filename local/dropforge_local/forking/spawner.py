"""Starts child processes from one thread that lives as long as the host.

Linux's parent-death signal fires when the *thread* that forked the child ends, so a child forked by a
request's thread would die with the request.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="dropforge-spawner")


class LeadsGroup(Protocol):
    """What can end its process group itself."""

    def end_group(self) -> None:
        """SIGKILL the group, and have it reaped."""


def spawn(command: list[str], **options: Any) -> subprocess.Popen[str]:
    """Start ``command`` in a process group of its own."""

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(command, start_new_session=True, **options)

    return _thread.submit(start).result()


def end_group(process: subprocess.Popen[str] | LeadsGroup) -> None:
    """SIGKILL the process and everything that it started, and reap it."""
    if not isinstance(process, subprocess.Popen):
        process.end_group()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
