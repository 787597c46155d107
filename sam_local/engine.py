"""A container engine: the one that runs, or one of our own for as long as it is needed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_START_S = 60.0
_STOP_S = 20.0


class NoEngine(Exception):
    """No container engine can run here; the message says why."""


@dataclass(frozen=True)
class Engine:
    """Where an engine listens: the value of DOCKER_HOST, or "" for the usual place."""

    docker_host: str = ""

    def environment(self) -> dict[str, str]:
        """What clients need beside the process's own environment."""
        return {"DOCKER_HOST": self.docker_host} if self.docker_host else {}

    def docker(
        self, *arguments: str, timeout_s: float = 60.0, stdin: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the docker command; the caller looks at its exit code."""
        return subprocess.run(
            ["docker", *arguments],
            env={**os.environ, **self.environment()},
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    @property
    def answers(self) -> bool:
        """Whether the engine answers."""
        try:
            return self.docker("info", timeout_s=10).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def gateway(self) -> str:
        """The address under which containers reach this machine."""
        found = self.docker(
            "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"
        ).stdout.strip()
        # Until its first container the bridge of a fresh engine has no address in its description.
        return found or "172.17.0.1"


@contextlib.contextmanager
def running(scratch: Path) -> Iterator[Engine]:
    """The engine that runs on this machine, else one that is started and ended here.

    Raises:
        NoEngine: neither is there.
    """
    if shutil.which("docker") is None:
        raise NoEngine("there is no docker command (Debian: apt install docker.io)")
    present = Engine()
    if present.answers:
        yield present
        return
    if shutil.which("dockerd") is None:
        raise NoEngine(
            "no container engine runs, and dockerd is not installed (Debian: apt install docker.io)"
        )
    if os.geteuid() != 0:
        raise NoEngine("no container engine runs, and only root may start one")
    with _own(scratch) as engine:
        yield engine


@contextlib.contextmanager
def _own(scratch: Path) -> Iterator[Engine]:
    state = scratch / "engine"
    state.mkdir(parents=True)
    had_bridge = Path("/sys/class/net/docker0").exists()
    engine = Engine(f"unix://{state}/docker.sock")
    command = ["dockerd", "--host", engine.docker_host, "--data-root", f"{state}/data"]
    # Without rules of its own the engine touches no firewall; a container needs this machine alone.
    command += ["--exec-root", f"{state}/exec", "--pidfile", f"{state}/pid"]
    command += ["--iptables=false", "--ip6tables=false"]
    with (state / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        deadline = time.monotonic() + _START_S
        while not engine.answers:
            if process.poll() is not None or time.monotonic() > deadline:
                raise NoEngine(f"dockerd does not start: {_last_words(state / 'log')}")
            time.sleep(0.2)
        yield engine
    finally:
        _end(engine, process)
        for mounted in (state / "exec" / "netns").glob("*"):
            _quietly("umount", str(mounted))
        if not had_bridge:
            _quietly("ip", "link", "del", "docker0")
        shutil.rmtree(state, ignore_errors=True)


def _end(engine: Engine, process: subprocess.Popen[bytes]) -> None:
    """End what the engine runs, then the engine."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        if process.poll() is None and (left := engine.docker("ps", "--all", "--quiet").stdout.split()):
            engine.docker("rm", "--force", *left)
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][-300:] if lines else "it says nothing"


def _quietly(*command: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        subprocess.run(command, capture_output=True, check=False)


def output_of(command: Sequence[str], timeout_s: float = 300.0) -> str:
    """Run a command and return what it printed.

    Raises:
        NoEngine: it failed; the message has its last line.
    """
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if ended.returncode != 0:
        lines = ended.stderr.strip().splitlines() or ["it says nothing"]
        raise NoEngine(f"{' '.join(command[:6])} failed: {lines[-1]}")
    return ended.stdout
