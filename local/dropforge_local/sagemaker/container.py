"""Containers without a container engine: a process with a clean environment and a private ``/opt/ml``."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

from dropforge_local.forking.process import ForkedProcess
from dropforge_local.sagemaker.libraries import LoadedLibraries, script_of

_INIT = Path(__file__).with_name("container_init.py")
_SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
_PROGRAM = (
    "import importlib.util, sys\n"
    "spec = importlib.util.spec_from_file_location('container_init', sys.argv[1])\n"
    "init = importlib.util.module_from_spec(spec); spec.loader.exec_module(init)\n"
)
#: Where a script finds its files when the host has no namespaces to give it the real ``/opt/ml``.
ML_ROOT_VARIABLE = "ML_ROOT"


@cache
def has_namespaces(python: str) -> bool:
    """Whether this machine lets us give a process its own ``/opt/ml`` (tried once, by doing it)."""
    with tempfile.TemporaryDirectory(prefix="dropforge-probe-") as folder:
        ml = Path(folder, "opt", "ml")
        ml.mkdir(parents=True)
        entering = "init.enter_namespaces(sys.argv[2], False); open('/opt/ml/probe', 'w').close()"
        return _succeeds(python, entering, folder) and (ml / "probe").exists()


@cache
def can_refuse_network(python: str) -> bool:
    """Whether the kernel lets us take the network from a process without namespaces (tried once)."""
    refused = (
        "init.refuse_network(); import socket\ntry: socket.socket()\nexcept OSError: sys.exit(0)\nsys.exit(1)"
    )
    return _succeeds(python, refused)


class SharedNetwork:
    """A network that some containers have to themselves: loopback alone, on which each is known by its name.

    Args:
        python: the interpreter that makes it.
        names: of the containers, each of which is the address 127.0.0.1 to the others.

    Raises:
        OSError: the kernel gives no namespaces.
    """

    def __init__(self, python: str, names: list[str]) -> None:
        self.names = names
        # It lasts as long as there is a descriptor of it; who has made it may end.
        made = subprocess.Popen(
            [
                python,
                "-I",
                "-S",
                "-c",
                _PROGRAM + "init.share_network(); print(flush=True); sys.stdin.read()",
                str(_INIT),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with made:
            if made.stdout is None or not made.stdout.readline():
                raise OSError(errno.EPERM, "the kernel gives no network namespace")
            folder = f"/proc/{made.pid}/ns"
            self.namespaces = tuple(os.open(f"{folder}/{kind}", os.O_RDONLY) for kind in ("user", "net"))

    def prepare(self, root: Root) -> None:
        """Have a container find the others' names."""
        (root.path / "hosts").write_text(f"127.0.0.1 localhost {' '.join(self.names)}\n")

    def close(self) -> None:
        """Let go of it; it is gone with the last container."""
        for descriptor in self.namespaces:
            os.close(descriptor)
        self.namespaces = ()


def _succeeds(python: str, statements: str, *arguments: str) -> bool:
    """Whether a new process can do this with ``init``, the module of a container's first process."""
    command = [python, "-I", "-S", "-c", _PROGRAM + statements, str(_INIT), *arguments]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


@dataclass
class Image:
    """What a container image gives: an interpreter and a search path.

    Args:
        python: the interpreter that ``python3`` means inside a container.
        path: folders that go first in PATH.
        scripts: a private folder for a ``python3`` of ours, used where ``path`` has none.
    """

    python: str
    path: list[str]
    scripts: Path
    namespaces: bool = field(init=False)
    libraries: LoadedLibraries = field(init=False)

    def __post_init__(self) -> None:
        self.namespaces = has_namespaces(self.python)
        self.libraries = LoadedLibraries(self.python, _INIT)
        found = shutil.which("python3", path=os.pathsep.join(self.path))
        if found is None or not os.path.samefile(os.path.dirname(found), os.path.dirname(self.python)):
            self.scripts.mkdir(parents=True, exist_ok=True)
            for name in ("python3", "python"):
                script = self.scripts / name
                script.write_text(f'#!/bin/sh\nexec "{self.python}" "$@"\n')
                script.chmod(0o755)
            self.path = [str(self.scripts), *self.path]

    @property
    def isolates(self) -> bool:
        """Whether a container can be kept from the network."""
        return self.namespaces or can_refuse_network(self.python)

    @property
    def search_path(self) -> str:
        """The container's PATH."""
        return os.pathsep.join([*self.path, *_SYSTEM_PATH])

    def environment(self) -> dict[str, str]:
        """What every container of this image has in its environment, but for its own folders."""
        return {
            "PATH": self.search_path,
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "PYTHONIOENCODING": "UTF-8",
            "PYTHONUNBUFFERED": "1",
        }

    def load_libraries(self) -> None:
        """Have ready what containers are forked from, before the first needs it."""
        self.libraries.load(self.environment())

    def close(self) -> None:
        """End what containers are forked from."""
        self.libraries.close()


class Root:
    """A container's private folder: ``opt/ml``, a home and a folder for temporary files."""

    def __init__(self, path: Path, namespaces: bool) -> None:
        self.path = path
        self.ml = path / "opt" / "ml"
        self._namespaces = namespaces
        for folder in (self.ml, path / "home", path / "tmp"):
            folder.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)

    def outside(self, inside: str) -> Path:
        """The real path of a path below ``/opt/ml`` as the container sees it."""
        return self.ml / Path(inside).relative_to("/opt/ml")

    def inside(self, text: str) -> str:
        """A path or argument for the container: unchanged, or with the prefix where there is no namespace."""
        if self._namespaces or not (text == "/opt/ml" or text.startswith("/opt/ml/")):
            return text
        return str(self.ml) + text[len("/opt/ml") :]

    def environment(self, image: Image, extra: dict[str, str]) -> dict[str, str]:
        """The whole environment of a container's process; nothing of the host's own leaks into it."""
        base = {
            **image.environment(),
            "HOME": str(self.path / "home"),
            "TMPDIR": str(self.path / "tmp"),
        }
        if not self._namespaces:
            base[ML_ROOT_VARIABLE] = str(self.ml)
        return base | {key: self.inside(value) for key, value in extra.items()}


class Container:
    """A running container. Its output is one stream, ``output``: stdout and stderr as they come."""

    def __init__(
        self,
        image: Image,
        root: Root,
        argv: list[str],
        environment: dict[str, str],
        *,
        network: bool = True,
        shared: SharedNetwork | None = None,
        keep: tuple[int, ...] = (),
    ) -> None:
        reading, self._lifeline = os.pipe()
        self._letting_go = threading.Lock()
        spec = {
            "root": str(root.path),
            "cwd": str(root.path / "home"),
            "argv": [root.inside(argument) for argument in argv],
            "lifeline": reading,
            "namespaces": image.namespaces,
            "network": network,
        }
        if shared is not None:
            shared.prepare(root)
            spec["shared"] = shared.namespaces
            keep = (*keep, *shared.namespaces)
        output, their_output = os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        passed = (reading, *keep)
        streams = {0: nothing, 1: their_output, 2: their_output}
        try:
            self._process = self._forked(
                image, root, spec, environment, {**streams, **{number: number for number in passed}}
            ) or subprocess.Popen(
                [image.python, "-I", "-S", str(_INIT), json.dumps(spec)],
                stdin=nothing,
                stdout=their_output,
                stderr=their_output,
                env=root.environment(image, environment),
                cwd=root.path,
                pass_fds=passed,
                start_new_session=True,
            )
        except BaseException:
            os.close(output)
            os.close(self._lifeline)
            raise
        finally:
            for descriptor in (nothing, their_output, reading):
                os.close(descriptor)
        self.output: IO[bytes] = open(output, "rb")  # noqa: SIM115 - closed in ``close``

    @staticmethod
    def _forked(
        image: Image,
        root: Root,
        spec: dict[str, Any],
        declared: dict[str, str],
        descriptors: dict[int, int],
    ) -> ForkedProcess | None:
        """The container with its libraries loaded already, where that makes no difference to it."""
        command, script = spec["argv"], script_of(spec["argv"])
        if script is None:
            return None
        outside = root.outside(script) if script.startswith("/opt/ml/") else Path(script)
        if not outside.is_file():
            return None
        searched = [] if "-P" in command[: command.index(script)] else [outside.parent]
        searched += [
            root.outside(folder) if folder.startswith("/opt/ml/") else Path(folder)
            for folder in declared.get("PYTHONPATH", "").split(os.pathsep)
            if folder
        ]
        environment = root.environment(image, declared)
        own = (environment.keys() - image.environment().keys() - {"HOME"}) | declared.keys()
        if not image.libraries.stand_for(searched, own):
            return None
        return image.libraries.fork(
            json.dumps(spec | {"script": script}), spec["cwd"], environment, descriptors
        )

    @property
    def pid(self) -> int:
        """The process that supervises the container."""
        return self._process.pid

    def wait(self, timeout_s: float | None = None) -> int | None:
        """The exit code (128 + signal when killed), or None when the container still runs at the timeout."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._let_go()
        return code if code >= 0 else 128 - code

    def terminate(self) -> None:
        """Ask the entrypoint to end (SIGTERM)."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End every process of the container and wait until they are gone."""
        self._let_go()
        self._process.wait()

    def _let_go(self) -> None:
        with self._letting_go:
            if self._lifeline >= 0:
                os.close(self._lifeline)
                self._lifeline = -1

    def close(self) -> None:
        """Kill what still runs and close the output."""
        self.kill()
        if isinstance(self._process, ForkedProcess):
            self._process.let_go()
        self.output.close()
