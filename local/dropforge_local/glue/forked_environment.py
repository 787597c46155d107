"""A forked execution environment: the process, its streams, and the memory that is its own."""

from __future__ import annotations

from typing import IO

from dropforge_local.forking.process import ForkedProcess


class ForkedEnvironment:
    """As much of ``subprocess.Popen`` as an execution environment needs."""

    def __init__(self, process: ForkedProcess, stdin: IO[str], stdout: IO[str], stderr: IO[str]) -> None:
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.pid = process.pid
        self.parent_pid = process.parent_pid
        self.poll = process.poll
        self.wait = process.wait
        self.end_group = process.end_group
        self._inherited_bytes = self._shared_bytes()

    def untouched_bytes(self) -> int:
        """The memory that it was forked with and has not written to; no new process would have that."""
        # At most that, since a process that forks again shares what it has made itself.
        return min(self._inherited_bytes, self._shared_bytes())

    def _shared_bytes(self) -> int:
        """Written memory in which it has a share; 0 once it has ended."""
        try:
            with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as rollup:
                return sum(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Shared_Dirty:"))
        except OSError:
            return 0
