"""A process that a fork server has started: as much of ``subprocess.Popen`` as its user needs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
from typing import IO


class ForkedProcess:
    """Leads a session of its own; the fork server is its parent.

    Its id is not given to another process before ``end_group``, also once it has ended.
    """

    def __init__(
        self, pid: int, parent_pid: int, told: socket.socket, stdin: IO[str], stdout: IO[str], stderr: IO[str]
    ) -> None:
        self.pid = pid
        self.parent_pid = parent_pid
        self.returncode: int | None = None
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self._told = told
        self._reading = threading.Lock()
        self._inherited_bytes = self._shared_bytes()

    def poll(self) -> int | None:
        """The exit code, negative for a signal's number; None while the process runs."""
        return self._read(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, for at most ``timeout`` seconds, and return the exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        code = self._read(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def untouched_bytes(self) -> int:
        """The memory that it was forked with and has not written to; no new process would have that."""
        # At most that, since a process that forks again shares what it has made itself.
        return min(self._inherited_bytes, self._shared_bytes())

    def end_group(self) -> None:
        """SIGKILL the process and everything that it started, and have it reaped; once only."""
        if self._told.fileno() < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        with self._reading:
            self._told.close()

    def _read(self, timeout: float | None) -> int | None:
        with self._reading:
            if self.returncode is None:
                self._told.settimeout(timeout)
                try:
                    message = self._told.recv(1 << 10)
                except (BlockingIOError, TimeoutError):
                    return None
                # The fork server takes what it forked with it.
                self.returncode = json.loads(message)["ended"] if message else -signal.SIGKILL
            return self.returncode

    def _shared_bytes(self) -> int:
        """Written memory in which it has a share; 0 once it has ended."""
        try:
            with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as rollup:
                return sum(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Shared_Dirty:"))
        except OSError:
            return 0
