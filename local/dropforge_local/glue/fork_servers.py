"""Forks execution environments off processes that have loaded the SDK, where that makes no difference.

A fork server loads what functions with the same libraries would load from the very same folders, and serves
those alone. Whatever is in doubt starts as a new process.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from dropforge_local.forking.server import ForkServer
from dropforge_local.glue.forked_environment import ForkedEnvironment

_log = logging.getLogger("dropforge.lambda")
# Read by the interpreter, the C library and OpenSSL, before or beside any Python code.
_READ_AT_START = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC_", "GLIBC_", "OPENSSL_")
# Each deployment that changes a layer needs another one; each holds some 40 MB.
_MAX_SERVERS = 4
_READY_S = 10.0


class ForkServers:
    """Every fork server of the host, started when first needed.

    Args:
        bootstrap: the script that a forked process runs.
        runtime_dir: the packages of the runtime, which every function sees.
        modules: what is loaded, as far as it is there. It must not start threads.
        home: a folder that isn't there. Below ``HOME``, as it is at the import, the SDK looks for files.
    """

    def __init__(self, bootstrap: Path, runtime_dir: Path, modules: Sequence[str], home: Path) -> None:
        self._bootstrap = bootstrap
        self._runtime_dir = str(runtime_dir)
        self._modules = modules
        self._home = str(home)
        self._starting = threading.Lock()
        self._servers: dict[tuple[object, ...], _SdkServer] = {}  # the one used last comes last
        self._retired: list[_SdkServer] = []
        self._failed: set[tuple[object, ...]] = set()

    def prepare(self, folders: list[str], common: Mapping[str, str]) -> None:
        """Start the fork server of the functions with these layers; the arguments are ``fork``'s."""
        self._server_for(folders, common)

    def fork(
        self,
        code: str,
        folders: list[str],
        environment: Mapping[str, str],
        common: Mapping[str, str],
        private: str,
    ) -> ForkedEnvironment | None:
        """Fork a process that is to become a function's execution environment.

        Args:
            code: the function's own folder, in which the process runs.
            folders: its layers, as it searches them.
            environment: all of its environment variables.
            common: those that it shares with every function of its runtime.
            private: the new folder, named in the environment, that only this process uses.

        Returns:
            None where only a new process is sure to behave as on AWS, or where forking doesn't work.
        """
        server = self._server_for(folders, common)
        if server is None:
            return None
        own = [folder for folder in (code, *folders) if folder not in server.search_path]
        # There is nothing in either folder when the SDK is imported.
        compared = {name: self._home if value == private else value for name, value in environment.items()}
        return server.environment(code, environment) if server.stands_for(own, compared) else None

    def close(self) -> None:
        """End every fork server, and with it what it forked."""
        with self._starting:
            for server in (*self._servers.values(), *self._retired):
                server.close()
            self._servers.clear()
            self._retired.clear()

    def _server_for(self, folders: list[str], common: Mapping[str, str]) -> _SdkServer | None:
        """The server that has loaded what functions with these layers share; None where there can be none."""
        preloaded = _modules_in(self._runtime_dir) | {name.partition(".")[0] for name in self._modules}
        shared = [folder for folder in folders if _modules_in(folder) & preloaded]
        if any(_modules_in(folder) & sys.stdlib_module_names for folder in shared):
            return None
        return self._server([*shared, self._runtime_dir], {**common, "HOME": self._home})

    def _server(self, search_path: list[str], common: Mapping[str, str]) -> _SdkServer | None:
        key = (*search_path, *sorted(common.items()))
        with self._starting:
            server = self._servers.pop(key, None)
            if server is not None and not server.alive:
                _log.warning("The fork server %s has ended; another is started.", server.pid)
                server.close()
                server = None
            if server is None and key not in self._failed:
                self._make_room()
                try:
                    server = _SdkServer(self._bootstrap, search_path, self._modules, common)
                except (OSError, ValueError) as error:
                    self._failed.add(key)
                    _log.warning("No fork server (%s); every execution environment is a new process.", error)
            if server is not None:
                self._servers[key] = server
            return server

    def _make_room(self) -> None:
        """Let the server that was used the longest ago serve out what it has forked, where there are many."""
        for ended in [server for server in self._retired if not server.alive]:
            self._retired.remove(ended)
            ended.close()
        if len(self._servers) >= _MAX_SERVERS:
            server = self._servers.pop(next(iter(self._servers)))
            server.retire()
            self._retired.append(server)


class _SdkServer(ForkServer):
    """A fork server of functions with the same libraries.

    Raises:
        OSError, ValueError: it did not start.
    """

    def __init__(
        self, bootstrap: Path, search_path: list[str], modules: Sequence[str], common: Mapping[str, str]
    ) -> None:
        self.search_path = search_path
        self._variables = dict(common)
        super().__init__(
            [sys.executable, "-S", "-s", "-P"],
            bootstrap,
            search_path=search_path,
            modules=modules,
            environment=self._variables,
            ready_s=_READY_S,
            threads=False,
        )

    def stands_for(self, own: list[str], environment: Mapping[str, str]) -> bool:
        """Whether a new process with the folders ``own`` and this environment would have loaded the same."""
        at_start = {
            name for name in environment.keys() | self._variables.keys() if name.startswith(_READ_AT_START)
        }
        return (
            not any(_modules_in(folder) & self.loaded for folder in own)
            and all(environment.get(name) == value for name, value in self.variables_read.items())
            and all(environment.get(name) == self._variables.get(name) for name in at_start)
        )

    def environment(self, cwd: str, environment: Mapping[str, str]) -> ForkedEnvironment | None:
        """A new process in ``cwd`` with this environment; None where that failed."""
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            (stdin, to_stdin), (from_stdout, stdout), (from_stderr, stderr) = (os.pipe() for _ in range(3))
            for descriptor in (stdin, stdout, stderr):
                theirs.callback(os.close, descriptor)
            streams = [
                ours.enter_context(open(descriptor, mode, encoding="utf-8", errors="replace"))
                for descriptor, mode in ((to_stdin, "w"), (from_stdout, "r"), (from_stderr, "r"))
            ]
            process = self.fork([], cwd, environment, {0: stdin, 1: stdout, 2: stderr}, ends_itself=False)
            if process is None:
                return None
            ours.pop_all()
            return ForkedEnvironment(process, *streams)


@functools.cache
def _modules_in(folder: str) -> frozenset[str]:
    """The top-level names that can be imported from a folder, which is never changed."""
    with os.scandir(folder) as entries:
        return frozenset(entry.name.partition(".")[0] for entry in entries)
