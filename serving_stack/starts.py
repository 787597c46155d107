"""Starts a cell in namespaces of its own, and compares it with the local model server."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dropforge_local.sagemaker.archives import pack, unpack
from serving_stack.cases import Request, difference
from serving_stack.cells import HEALTHY, Cell
from serving_stack.environment import REPOSITORY, SERVING_MODULE
from serving_stack.local_server import answers_of_ours
from serving_stack.relay import Relay

_START_S = 120.0
_UNPACKED_BYTES = 1 << 30
_CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
# As the image sets them.
_IMAGE = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "utf-8",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "SM_MODEL_DIR": "/opt/ml/model",
    "SAGEMAKER_SERVING_MODULE": SERVING_MODULE,
    "TEMP": "/home/model-server/tmp",
}


@dataclass
class Ran:
    """What came of a cell."""

    problems: list[str] = field(default_factory=list)
    outcome: str = ""
    seconds: float | None = None
    asked: list[str] = field(default_factory=list)
    equal: int = 0
    log: list[tuple[float, str]] = field(default_factory=list)


def run(cell: Cell, stack: Path, requests: list[Request], nginx_binary: str | None) -> Ran:
    """Start a cell and compare it with the local server."""
    asked = [request for request in requests if request.behind_nginx or not cell.with_nginx]
    with tempfile.TemporaryDirectory(prefix="serving-stack-") as temporary:
        root = Path(temporary)
        root.chmod(0o755)
        ml = root / "opt" / "ml"
        ml.mkdir(parents=True)
        pack(cell.archive.folder, root / "model.tar.gz")
        with (root / "model.tar.gz").open("rb") as archive:
            unpack(archive, ml / "model", max_bytes=_UNPACKED_BYTES)
        if cell.user != 0:
            for path in (ml, *ml.rglob("*")):
                os.chown(path, cell.user, cell.user)
        with _own_packages(cell, stack) as packages:
            reported, hosts = _start(cell, packages, stack, root, asked, nginx_binary)
    ran = Ran(outcome=reported["outcome"], seconds=reported["seconds"], asked=hosts, log=reported["log"])
    text = "\n".join(line for _, line in ran.log)
    if ran.outcome != cell.outcome:
        ran.problems.append(f"{ran.outcome}, expected {cell.outcome}: {text[-1500:]}")
    if cell.said not in text:
        ran.problems.append(f"the log doesn't say {cell.said!r}: {text[-1500:]}")
    if not reported["ended_at_sigterm"]:
        ran.problems.append("SIGTERM didn't end it")
    if bool(hosts) != cell.asks:
        ran.problems.append(f"it asked {', '.join(hosts) or 'nobody'}")
    if cell.locally:
        ours, our_log = answers_of_ours(cell.archive.folder, cell.environment, cell.network, asked)
        # What the stack answers 500 for, to /ping too, ends the local server: neither ever gets healthy.
        if (ours is not None) != (ran.outcome == HEALTHY):
            ran.problems.append(f"the local server is {'not ' * (ours is None)}healthy: {our_log[-1500:]}")
        for request, theirs, mine in zip(asked, reported["answers"], ours or [], strict=False):
            problem = difference(request, theirs, mine)
            ran.equal += problem is None
            ran.problems += [problem] if problem else []
    return ran


@contextlib.contextmanager
def _own_packages(cell: Cell, stack: Path) -> Iterator[Path]:
    """The image's environment, or links to its files where pip may install to it, as in a new container."""
    if cell.user != 0 or "PIP_TARGET" in cell.environment:
        yield stack
        return
    with tempfile.TemporaryDirectory(dir=stack.parent, prefix="serving-stack-") as temporary:
        yield Path(shutil.copytree(stack, Path(temporary) / "links", symlinks=True, copy_function=os.link))


def _places_of(library: str) -> Iterator[Path]:
    """Yield where this machine has a system library."""
    for folder in ("/lib", "/lib64", "/usr/lib", "/usr/lib64"):
        yield from {path.resolve() for path in Path(folder).rglob(f"{library}*") if path.is_file()}


def _start(
    cell: Cell, packages: Path, stack: Path, root: Path, requests: list[Request], nginx_binary: str | None
) -> tuple[dict[str, Any], list[str]]:
    here, there = socket.socketpair()
    path = [str(stack / "bin"), "/usr/bin", "/bin"]
    needed = {sys.base_prefix: sys.base_prefix, str(stack): str(packages)}
    if cell.with_nginx and nginx_binary is not None:
        path.append(str(Path(nginx_binary).parent))
        needed[path[-1]] = path[-1]
    spec = {
        "root": str(root),
        "user": cell.user,
        "network": cell.network,
        "nginx": cell.with_nginx,
        "absent": [str(path) for path in _places_of(cell.without)] if cell.without else [],
        "needed": needed,
        "command": [str(stack / "bin" / "serve")],
        "environment": {
            **_IMAGE,
            "PATH": os.pathsep.join(path),
            "HOME": "/root" if cell.user == 0 else "/nonexistent",
            # Each import and its time, in the log.
            "PYTHONPROFILEIMPORTTIME": "1",
            **cell.environment,
        },
        "certificates": {name: os.environ[name] for name in _CERTIFICATES if name in os.environ},
        "requests": [request.to_dict() for request in requests],
        "timeout_s": _START_S,
    }
    relay = None
    with (
        here,
        subprocess.Popen(
            [sys.executable, "-m", "serving_stack.cell", str(there.fileno())],
            cwd=REPOSITORY,
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        there.close()
        text = json.dumps(spec).encode()
        here.sendall(struct.pack("!I", len(text)) + text)
        if cell.network:
            with contextlib.suppress(ConnectionError):  # the cell's complaint says why
                _, sockets, _, _ = socket.recv_fds(here, 16, 1)
                relay = Relay(socket.socket(fileno=sockets[0])) if sockets else None
        said, complaint = process.communicate(timeout=_START_S + 120)
    if relay is not None:
        relay.close()
    if process.returncode != 0:
        raise RuntimeError(f"the cell couldn't be set up: {complaint.decode()[-2000:]}")
    return json.loads(said), relay.asked if relay is not None else []
