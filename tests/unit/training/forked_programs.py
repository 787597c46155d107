"""Runs Python programs as processes of their own that find the training libraries loaded already.

Loading them takes a fresh interpreter several times as long as training on a small table does. So a process
loads them once and is forked for each program. Nothing of the product is loaded in it: a program finds
its own copy of the code, as a fresh interpreter would. What takes effect only while an interpreter starts or
a library loads (hash seed, number of threads) can't be chosen per program.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

LIBRARIES = (
    "joblib",
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.pipeline",
)

#: A process that forks must have no other threads.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"), "1"
)


@dataclass(frozen=True)
class Forked:
    """A program that runs."""

    process: BaseProcess
    outputs: tuple[Path, Path]

    def wait(self, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it took longer; it was killed.
        """
        self.process.join(timeout_s)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise subprocess.TimeoutExpired([self.process.name], timeout_s)
        stdout, stderr = (path.read_text(encoding="utf-8", errors="replace") for path in self.outputs)
        return subprocess.CompletedProcess([self.process.name], self.process.exitcode, stdout, stderr)


@contextmanager
def forked(program: Path, environment: Mapping[str, str], folder: Path) -> Iterator[Forked]:
    """Start the program in the folder with exactly this environment, and kill it at the end."""
    with tempfile.TemporaryDirectory() as written:
        outputs = Path(written, "stdout"), Path(written, "stderr")
        arguments = (str(program), dict(environment), str(folder), _search_path(), *map(str, outputs))
        process = _server().Process(target=_run, args=arguments, name=str(program))
        process.start()
        try:
            yield Forked(process, outputs)
        finally:
            process.kill()
            process.join()


@cache
def _server() -> ForkServerContext:
    """Start the process that is forked. It ends with this one."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    with patch.dict(os.environ, ONE_THREAD):
        forkserver.ensure_running()
    return context


@cache
def _search_path() -> list[str]:
    """Where a fresh interpreter looks for modules, beside the program's own folder."""
    command = [sys.executable, "-c", "import sys; print(*sys.path[1:], sep='\\n')"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def _run(
    program: str, environment: dict[str, str], folder: str, search_path: list[str], stdout: str, stderr: str
) -> None:
    for path, descriptor in ((stdout, 1), (stderr, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [program]
    sys.path[:] = [str(Path(program).parent), *search_path]
    runpy.run_path(program, run_name="__main__")
