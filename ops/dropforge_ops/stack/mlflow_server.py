"""MLflow's own server on this machine, for as long as it is wanted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dropforge_ops.errors import OperationFailed

TRACKING: Final = "MlflowTracking"
"""The parameter that says where a stack shows its runs."""

_STARTS_WITHIN_S: Final = 180.0
_STOPS_WITHIN_S: Final = 10.0
_LOOK_S: Final = 0.2


@contextmanager
def mlflow_server(folder: Path, port: int, *, is_wanted: Callable[[], bool] = lambda: True) -> Iterator[str]:
    """Run a server on loopback that keeps everything in a folder; yields its URL once it answers.

    Raises:
        OperationFailed: it ended, or doesn't answer; its log says why.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{port}"
    log = folder / "server.log"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **quiet},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(url, process, log, is_wanted)
        yield url
    finally:
        _stop(process)


def free_port() -> int:
    """A port of this machine that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_of_this_machine(url: str) -> bool:
    """Whether a tracker's URL is one that `mlflow_server` gave."""
    return url.startswith("http://127.0.0.1:")


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path, is_wanted: Callable[[], bool]) -> None:
    end = time.monotonic() + _STARTS_WITHIN_S
    # Nobody's proxy has anything to do with this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while is_wanted():
        if process.poll() is not None:
            raise OperationFailed(f"MLflow's server has ended with code {process.returncode}. Its log: {log}")
        with suppress(urllib.error.URLError, OSError), opener.open(f"{url}/health", timeout=5):
            return
        if time.monotonic() > end:
            raise OperationFailed(f"MLflow's server doesn't answer on {url}. Its log: {log}")
        time.sleep(_LOOK_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it and its workers, which are in a session of their own."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOPS_WITHIN_S)
            # What is left of the session goes as well.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return
