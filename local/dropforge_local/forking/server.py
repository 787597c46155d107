"""A fork server, as the host sees it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dropforge_local.forking.process import ForkedProcess
from dropforge_local.forking.spawner import end_group, spawn

_log = logging.getLogger("dropforge.forking")
_SCRIPT = Path(__file__).with_name("fork_server.py")
_MAX_MESSAGE_BYTES = 1 << 20
_FORK_S = 10.0


class ForkServer:
    """One fork server, ready to fork.

    Args:
        command: the interpreter and its flags.
        bootstrap: the script that forked processes run.
        search_path: folders that are searched first for the modules, and only for them.
        modules: what is loaded, as far as it is there.
        environment: the server's own; it should be as of the processes that it forks, but for ``HOME``,
            which may be a folder that isn't there.
        ready_s: how long loading may take.
        threads: whether what is loaded may run threads, which forked processes lack.

    Raises:
        OSError, ValueError: it did not start.
    """

    def __init__(
        self,
        command: Sequence[str],
        bootstrap: Path,
        *,
        search_path: Sequence[str],
        modules: Sequence[str],
        environment: Mapping[str, str],
        ready_s: float,
        threads: bool,
    ) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = spawn(
                [*command, str(_SCRIPT)],
                # What has read its folder or its home when it was loaded is told the forked process's own,
                # so both have to be paths that nothing else mentions.
                cwd=_SCRIPT.parent,
                env=dict(environment),
                stdin=theirs,
                stdout=subprocess.DEVNULL,
            )
        try:
            self._control.settimeout(ready_s)
            start = {
                "parent_pid": os.getpid(),
                "bootstrap": str(bootstrap),
                "search_path": list(search_path),
                "modules": list(modules),
                "variables": list(environment),
                "threads": threads,
            }
            self._control.send(json.dumps(start).encode())
            ready = self._receive()
        except BaseException:
            self.close()
            raise
        self.loaded = frozenset[str](ready["loaded"])
        """The top-level names of the modules that forked processes have loaded."""
        self.variables_read: dict[str, str | None] = ready["variables"]
        """The environment variables that loading has looked at, and what it found."""

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can fork."""
        return self._process.poll() is None

    def fork(
        self,
        argv: Sequence[str],
        cwd: str,
        environment: Mapping[str, str],
        descriptors: Mapping[int, int],
        *,
        ends_itself: bool,
    ) -> ForkedProcess | None:
        """A new process; None where that failed.

        Args:
            argv: the arguments of its script.
            cwd: its folder.
            environment: its environment variables.
            descriptors: for each number in the process, 0 to 2 among them, the one here that it stands for.
            ends_itself: whether it ends by itself when the host is gone; else it is killed with its group.
        """
        request = {
            "argv": list(argv),
            "cwd": cwd,
            "environment": dict(environment),
            "descriptors": list(descriptors),
            "ends_itself": ends_itself,
        }
        told, telling = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with telling, contextlib.ExitStack() as ours:
            ours.enter_context(told)
            try:
                message = json.dumps(request).encode()
                socket.send_fds(self._control, [message], [telling.fileno(), *descriptors.values()])
                telling.close()
                told.settimeout(_FORK_S)
                answer = json.loads(told.recv(_MAX_MESSAGE_BYTES) or "{}")
            except OSError as error:
                _log.warning("Forking failed: %s", error)
                return None
            if "started" not in answer:
                return None
            ours.pop_all()
            return ForkedProcess(answer["started"], self.pid, told)

    def _receive(self) -> dict[str, Any]:
        message = self._control.recv(_MAX_MESSAGE_BYTES)
        if not message:
            raise ChildProcessError(f"{_SCRIPT.name} has ended, see its own words above")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def retire(self) -> None:
        """Have the process end once all that it forked has ended."""
        self._control.close()

    def close(self) -> None:
        """End the process, and with it what it forked."""
        self._control.close()
        if self.alive:
            end_group(self._process)
