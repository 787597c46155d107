"""One start of the image's serving stack in namespaces of its own: ``cell.py SOCKET``.

The socket's number is that of one to the harness, which sends what to run as JSON. In its namespaces the
process gives the stack an ``/opt/ml``, a ``/tmp`` and a network without any way out but, where the cell has a
network, a socket that the harness accepts on. So the stack's server, which listens on every address, is
reachable by nobody. Then it starts ``serve`` as the user wanted, waits for ``/ping``, sends the requests and
reports.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from dropforge_local.sagemaker.container_init import bind, map_to_root, mount, show_ml
from serving_stack.cases import answer_to

_PORT, _PROXY_PORT = 8080, 3128
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # linux/sockios.h, linux/if.h
_POLL_S = 0.05
_END_S = 30.0


def enter(spec: dict[str, Any], harness: socket.socket) -> None:
    """Make the namespaces as the image's container would find the machine."""
    root = spec["root"]
    flags = os.CLONE_NEWNS | os.CLONE_NEWNET
    user, group = os.getuid(), os.getgid()
    if user != 0:
        flags |= os.CLONE_NEWUSER
    os.unshare(flags)
    if user != 0:
        map_to_root(user, group)
    mount("none", "/", None, recursive=True, private=True)
    # In this namespace: what was opened in another can't be bound here.
    needed = {path: os.open(source, os.O_PATH) for path, source in spec["needed"].items()}
    _raise_loopback()
    if spec["network"]:
        listening = socket.create_server(("127.0.0.1", _PROXY_PORT))
        socket.send_fds(harness, [b"proxy"], [listening.fileno()])
        listening.close()
    show_ml(root)
    for path in spec["absent"]:
        bind("/dev/null", path)
    if spec["nginx"]:
        _make_room_for_nginx(Path(root))
    _cover("/tmp", 0o1777)  # noqa: S108 - that is what it covers
    # Nor does the stack find what root keeps at home, such as pip's cache and settings.
    _cover("/root", 0o755)
    for path, descriptor in needed.items():
        for parent in reversed(Path(path).parents):
            if parent.exists() and not _is_open(parent):
                _cover(str(parent), 0o755)
        os.makedirs(path, exist_ok=True)
        bind(f"/proc/self/fd/{descriptor}", path)


def _is_open(folder: Path) -> bool:
    """Whether anybody may look for a name in it."""
    return bool(folder.stat().st_mode & 1)


def _cover(folder: str, mode: int) -> None:
    mount("tmpfs", folder, "tmpfs")
    os.chmod(folder, mode)


def _raise_loopback() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _make_room_for_nginx(root: Path) -> None:
    """A copy of ``/etc`` that root can write, and nginx's own folders."""
    etc = root / "etc"
    etc.mkdir()
    mount("tmpfs", str(etc), "tmpfs")
    with contextlib.suppress(shutil.Error):  # what isn't readable isn't needed
        shutil.copytree("/etc", etc, symlinks=True, dirs_exist_ok=True)
    if not (etc / "nginx" / "mime.types").exists():
        # Types of files on a disk, of which this nginx serves none.
        (etc / "nginx").mkdir(exist_ok=True)
        (etc / "nginx" / "mime.types").write_text("types {}\n")
    bind(str(etc), "/etc")
    for folder in ("/var/lib", "/var/log"):
        _cover(folder, 0o755)
        os.mkdir(f"{folder}/nginx")


class Log:
    """What the stack writes, each line with the seconds since the start."""

    def __init__(self, stream: Any, started: float) -> None:
        self.lines: list[tuple[float, str]] = []
        self._started = started
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            said = line.decode(errors="replace").rstrip("\n")
            self.lines.append((round(time.monotonic() - self._started, 4), said))

    def all(self) -> list[tuple[float, str]]:
        self._thread.join(_END_S)
        return self.lines


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Start the stack, await its first 200, send the requests, end it."""
    started = time.monotonic()
    environment = {**spec["environment"], "SAGEMAKER_BIND_TO_PORT": str(_PORT)}
    if spec["network"]:
        environment |= {"HTTPS_PROXY": f"http://127.0.0.1:{_PROXY_PORT}", **spec["certificates"]}
    as_user: dict[str, Any] = {}
    if spec["user"] != 0:
        as_user = {"user": spec["user"], "group": spec["user"], "extra_groups": []}
    process = subprocess.Popen(
        spec["command"],
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        **as_user,
    )
    log = Log(process.stdout, started)
    outcome, seconds, answers = "silent", None, []
    statuses: set[int] = set()
    ping: dict[str, Any] = {"method": "GET", "path": "/ping", "headers": {}, "body": None}
    while time.monotonic() - started < spec["timeout_s"]:
        if process.poll() is not None:
            outcome = "ended"
            break
        status = answer_to(_PORT, ping)["status"]
        statuses.add(status)
        if status == 200:
            outcome, seconds = "healthy", time.monotonic() - started
            answers = [answer_to(_PORT, request) for request in spec["requests"]]
            break
        if status == 500:
            outcome = "unhealthy"
            break
        time.sleep(_POLL_S)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    ended_itself = process.poll() is not None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return {
        "outcome": outcome,
        "seconds": seconds,
        "answers": answers,
        "ended_at_sigterm": ended_itself,
        "log": log.all(),
    }


def main() -> None:
    harness = socket.socket(fileno=int(sys.argv[1]))
    size = struct.unpack("!I", harness.recv(4, socket.MSG_WAITALL))[0]
    spec = json.loads(harness.recv(size, socket.MSG_WAITALL))
    # Whatever the stack leaves behind is killed with this process.
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER, linux/prctl.h
    enter(spec, harness)
    print(json.dumps(run(spec)))


if __name__ == "__main__":
    main()
