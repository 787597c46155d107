"""A process that a fork server has started: as much of ``subprocess.Popen`` as its user needs."""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import socket
import subprocess
from pathlib import Path
from typing import Final

_TELLING_S: Final = 5.0
# What ends without a word was killed as far as anybody can tell.
_UNTOLD: Final = -signal.SIGKILL


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be reaped doesn't."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # gone, maybe between opening and reading
        return False
    return state not in "ZX"


class ForkedProcess:
    """Leads a session of its own; the fork server is its parent.

    Its id is not given to another process before ``end_group`` or ``let_go``, also once it has ended.
    """

    def __init__(self, pid: int, parent_pid: int, told: socket.socket) -> None:
        self.pid = pid
        self.parent_pid = parent_pid
        self.returncode: int | None = None
        self._told = told

    def poll(self) -> int | None:
        """The exit code, negative for a signal's number; None while the process runs.

        The kernel knows an end before the fork server tells it. Then its word is waited for, for some seconds
        at most: a fork server that is silent for longer doesn't make the process alive.
        """
        code = self._read(0.0)
        if code is None and not is_alive(self.pid):
            code = self._read(_TELLING_S)
            if code is None:
                code = self.returncode = _UNTOLD
        return code

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, for at most ``timeout`` seconds, and return the exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        code = self._read(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        """Signal the process; nothing happens once it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def end_group(self) -> None:
        """SIGKILL the process and everything that it started, and have it reaped; once only."""
        if self._told.fileno() < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.let_go()

    def let_go(self) -> None:
        """Wait for the end and have the process reaped; once only."""
        if self._told.fileno() < 0:
            return
        self.wait()
        self._told.close()

    def _read(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            try:
                # Several threads may wait: each looks at the message, none takes it away.
                ready = select.poll()
                ready.register(self._told, select.POLLIN)
                if not ready.poll(None if timeout is None else math.ceil(max(timeout, 0.0) * 1000)):
                    return None
                message = self._told.recv(1 << 10, socket.MSG_PEEK)
            except (OSError, ValueError):
                # Another thread has seen the end and closed the socket.
                if self.returncode is None:
                    raise
            else:
                # The fork server takes what it forked with it.
                self.returncode = json.loads(message)["ended"] if message else _UNTOLD
        return self.returncode
