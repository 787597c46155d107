"""An exported image's server without a container: uvicorn as another user, on what its requirements name."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65532
"""The user of the image."""
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def user(self) -> int:
        """The user that it runs as."""
        (line,) = (
            line
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            if line.startswith("Uid:")
        )
        return int(line.split()[2])


def python_with(requirements: Path, folder: Path) -> Path:
    """An interpreter for which only what a requirements.txt names is installed, each file with its hash."""
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, folder], check=True)
    python = folder / "bin" / "python"
    install = [*uv, "pip", "install", "--compile-bytecode", "--require-hashes", "--python", python]
    subprocess.run([*install, "-r", requirements], check=True)
    return python


def start(
    exported: Path, python: Path, log: Path, env: Mapping[str, str]
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start the image's command on a free port; returns that and the process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [str(python), "-m", "uvicorn", "--factory", "dropforge.image.app:create", "--port", str(port)]
    command += ["--no-access-log", "--no-server-header", "--log-level", "warning"]
    if os.geteuid() == 0:
        # Root's interpreter may lie where only root reads: reading, and nothing else of root's, is kept.
        kept = "-all,+dac_read_search"
        who = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        command = [
            str(shutil.which("setpriv")),
            *who,
            f"--inh-caps={kept}",
            f"--ambient-caps={kept}",
            *command,
        ]
    bare = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": ".",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=exported / "app", env={**bare, **env}, stdout=file, stderr=subprocess.STDOUT
        )
    return port, process


@contextmanager
def serving(exported: Path, python: Path, log: Path, env: Mapping[str, str]) -> Iterator[Server]:
    """Serve until the end of the block; the server is ready when this yields."""
    port, process = start(exported, python, log, env)
    try:
        await_ready(port, process, log)
        yield Server(port, process, log)
    finally:
        process.terminate()
        process.wait(_PATIENCE_S)


def await_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
                assert answer.status == 200
                return
        except urllib.error.URLError:
            time.sleep(0.05)
    raise AssertionError(f"not ready: {log.read_text()[-3000:]}")
