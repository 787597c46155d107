"""Servers of a model on this machine: started, waited for, measured and ended."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import http_load

REPOSITORY = Path(__file__).resolve().parents[1]
MODEL_SERVER = REPOSITORY / "local" / "dropforge_local" / "sagemaker" / "model_server.py"
CONNECTIONS = 16
START_TIMEOUT_S = 120.0


@dataclass
class Served:
    """A server that answers, and what was measured of it."""

    name: str
    port: int
    body: bytes
    start_s: float
    path: str = "/invocations"
    p50_ms: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)

    def measure(self, seconds: float) -> None:
        alone = http_load.run(self.port, self.path, self.body, connections=1, seconds=seconds)
        self.p50_ms.append(1000 * statistics.median(alone))
        started = time.perf_counter()
        many = http_load.run(self.port, self.path, self.body, connections=CONNECTIONS, seconds=seconds)
        self.per_s.append(len(many) / (time.perf_counter() - started))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], log: Path, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in a process group of its own and end all of it after."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, **more
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def await_answer(
    port: int, body: bytes, process: subprocess.Popen[bytes], log: Path, path: str = "/invocations"
) -> None:
    """Block until the server answers a prediction.

    Raises:
        RuntimeError: it ended, or didn't answer in time; with the end of its log.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    problem: Exception | None = None
    while time.monotonic() < deadline and process.poll() is None:
        try:
            http_load.run(port, path, body, connections=1, seconds=0)
        except (OSError, http_load.UnexpectedAnswer) as error:
            problem = error
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"no answer ({problem!r}): {log.read_text(errors='replace')[-2000:]}")


@contextlib.contextmanager
def endpoint(name: str, root: Path, body: bytes) -> Iterator[Served]:
    """Serve a model folder with the local endpoint's own model server, one worker."""
    log = root / "server.log"
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(2048)
        environment = {
            **os.environ,
            "ML_ROOT": str(root),
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
            # Fair to the peer: its boosting would spin on two threads for every row.
            "OMP_NUM_THREADS": "1",
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-P", str(MODEL_SERVER), str(listening.fileno())]
        started = time.perf_counter()
        with running(command, log, env=environment, pass_fds=[listening.fileno()]) as process:
            port = int(listening.getsockname()[1])
            await_answer(port, body, process, log)
            yield Served(name, port, body, time.perf_counter() - started)
