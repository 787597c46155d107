"""One host per state directory: an advisory lock that the kernel frees when its processes are gone."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from dropforge_local.errors import HostAlreadyRunning


class StateLock:
    """An exclusive lock on a state directory.

    The lock belongs to the open file, so a child that inherits ``fd`` keeps it when the parent dies; a stale
    file without a living process locks nobody out.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "host.lock"
        self.fd = -1

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            HostAlreadyRunning: a living process holds it.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(fd, 20, 0).decode() or "unknown"
            os.close(fd)
            raise HostAlreadyRunning(
                f"{self._path.parent} is in use by another local host (started by process {owner}). "
                "Stop that host, or choose another state directory."
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self.fd = fd

    def release(self) -> None:
        """Close this process's handle; the lock is free once every inheriting process has ended."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
