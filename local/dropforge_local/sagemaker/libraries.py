"""Containers that are forked from a process which has loaded the image's libraries, where that is the same.

Loading scikit-learn takes longer than training on a small table does. Whatever is in doubt starts as a new
process. What is known to differ: a script that sets a variable for BLAS or OpenMP sets it after they were
loaded, here with one thread of BLAS (whose sums then don't depend on the machine) and with threads that
wait passively; a script may use a submodule that it hasn't imported, when another library has; and an object
that only a library still holds when the script has ended is not freed.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path

from dropforge_local.forking.process import ForkedProcess
from dropforge_local.forking.server import ForkServer

logger = logging.getLogger(__name__)

_MODULES = (
    "joblib",
    "threadpoolctl",
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "pyarrow.parquet",
    "flask",
)
"""Not gunicorn, which at its import reads as whom it runs: that is another user inside a container."""
_AT_LOADING = {
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "BLIS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
}
# Read by the interpreter, the C library or the libraries' native code, before or beside any Python code.
_READ_AT_START = (
    *("PYTHON", "LANG", "LC_", "LD_", "MALLOC_", "GLIBC_", "OPENSSL_", "TZ"),
    *("OMP_", "GOMP_", "KMP_", "OPENBLAS_", "GOTO_", "MKL_", "BLIS_", "ARROW_", "MIMALLOC_"),
)
_READY_S = 120.0


class LoadedLibraries:
    """The fork server of an image.

    Args:
        python: the image's interpreter.
        init: the script that is the first process of a container.
    """

    def __init__(self, python: str, init: Path) -> None:
        self._python = python
        self._init = init
        self._lock = threading.Lock()
        self._loading: threading.Thread | None = None
        self._server: ForkServer | None = None
        self._common: frozenset[str] = frozenset()
        self._closed = False

    def load(self, environment: Mapping[str, str]) -> None:
        """Begin to load, in the background; containers that don't `wait` are new processes. Again: nothing.

        Args:
            environment: what all containers have in theirs.
        """
        with self._lock:
            if self._loading is not None or self._closed:
                return
            self._common = frozenset(environment)
            self._loading = threading.Thread(
                target=self._load, args=(dict(environment),), name="sagemaker-libraries", daemon=True
            )
            self._loading.start()

    def _load(self, environment: dict[str, str]) -> None:
        try:
            server = ForkServer(
                [self._python, "-P"],
                self._init,
                search_path=[],
                modules=_MODULES,
                environment={**environment, **_AT_LOADING, "HOME": str(self._init.with_name("no-home"))},
                ready_s=_READY_S,
                threads=True,
            )
        except (OSError, ValueError) as error:
            if not self._closed:
                logger.warning("No libraries loaded ahead (%s); every container is a new process.", error)
            return
        with self._lock:
            self._server = server
        if self._closed:
            server.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of loading; returns whether nothing loads any more, or has ever begun to."""
        if self._loading is not None:
            self._loading.join(timeout_s)
        return self._loading is None or not self._loading.is_alive()

    @property
    def loaded(self) -> bool:
        """Whether there is something to fork from."""
        return self._server is not None and self._server.alive

    def stand_for(self, folders: Iterable[Path], own: Set[str]) -> bool:
        """Whether a container would have loaded the same.

        Args:
            folders: those that its script searches before the image's, of PYTHONPATH too.
            own: the environment variables of which other containers lack the name or the value, but for its
                home, which a forked process puts right.
        """
        server = self._server
        if server is None or not server.alive:
            return False
        there = [folder for folder in folders if folder.is_dir()]
        names = {entry.name.partition(".")[0] for folder in there for entry in os.scandir(folder)}
        return not (
            names & server.loaded
            or own & (self._common | server.variables_read.keys())
            # Of these, the forked process follows this one itself.
            or any(name.startswith(_READ_AT_START) for name in own if name != "PYTHONPATH")
        )

    def fork(
        self, spec: str, cwd: str, environment: Mapping[str, str], descriptors: Mapping[int, int]
    ) -> ForkedProcess | None:
        """A container's first process; None where there is none to fork it from. See ``ForkServer.fork``."""
        server = self._server
        if server is None:
            return None
        return server.fork([spec], cwd, environment, descriptors, ends_itself=True)

    def close(self) -> None:
        """End the fork server; containers have been ended before."""
        with self._lock:
            self._closed = True
            server, self._server = self._server, None
        if server is not None:
            server.close()


def script_of(command: Sequence[str]) -> str | None:
    """The script that a container's command has the image's Python run, if it is no more than that."""
    if not command or command[0] not in ("python3", "python"):
        return None
    for argument in command[1:]:
        if argument != "-P":
            return None if argument.startswith("-") else argument
    return None
