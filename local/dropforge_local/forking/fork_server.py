"""The process from which others are forked, so that not each of them imports the same libraries again.

Started as a script, in an environment and with interpreter flags that stand for those of the processes it
forks. It imports what its first message names, never a user's own code, and then forks a process per request,
which runs the first message's ``bootstrap`` script as its ``__main__``, just as a new process would. That
script defines ``die_with(parent_pid)``, and may define ``load_ahead()``, called once the imports are done.

It talks to the host over Unix sockets that keep messages apart. A request brings the descriptors of the new
process: its three streams, a socket of its own on which its start and its end are told, and what else the
host gives it. A process that has ended is reaped only when the host closes that socket, so that its id, which
the host may still signal, is not given to another one.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import importlib
import importlib.util
import json
import os
import selectors
import signal
import socket
import sys
import time
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAX_MESSAGE_BYTES = 1 << 20
_MAX_DESCRIPTORS = 16
_STREAMS = 3


@dataclass(frozen=True)
class _Child:
    """A forked process that the host holds; ``ends_itself`` when the host lets go of it."""

    pid: int
    pidfd: int
    told: socket.socket
    ends_itself: bool


_Place = tuple[Any, Any, str | None]
"""The dictionary or class, the name in it, and what follows the home there; None for the folder itself."""


@contextlib.contextmanager
def variables_read() -> Iterator[set[str]]:
    """The names of the environment variables that Python code looks at meanwhile."""
    names: set[str] = set()
    kind: Any = type(os.environ)
    read = kind.__getitem__

    def recorded(environ: Any, name: str) -> Any:
        names.add(name)
        return read(environ, name)

    kind.__getitem__ = recorded
    try:
        yield names
    finally:
        kind.__getitem__ = read


def load(modules: list[str]) -> None:
    """Import those of ``modules`` whose package is there."""
    for name in modules:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)


def places_of_paths(folder: str, home: str) -> list[_Place]:
    """Where modules, their classes and dictionaries keep ``folder``, ``home`` or a path below ``home``."""
    found: list[_Place] = []
    for module in [each for each in sys.modules.values() if isinstance(each, types.ModuleType)]:
        names = vars(module)
        for owner in [names, *(each for each in names.values() if type(each) is dict or is_class(each))]:
            for name, value in (owner if type(owner) is dict else vars(owner)).items():
                if type(value) is not str or str(name).startswith("__"):
                    continue
                if value == folder:
                    found.append((owner, name, None))
                elif value == home or value.startswith(f"{home}/"):
                    found.append((owner, name, value[len(home) :]))
    return found


def is_class(value: object) -> bool:
    """Whether it is a class; ``isinstance`` would ask a stand-in for another object for that object's."""
    return issubclass(type(value), type)


def begin_anew(places: list[_Place]) -> None:
    """Have what modules read or drew when they were imported be this forked process's own.

    Python itself seeds ``random`` after a fork.
    """
    folder, home = os.getcwd(), os.path.expanduser("~")
    for owner, name, below_home in places:
        value = folder if below_home is None else home + below_home
        if type(owner) is dict:
            owner[name] = value
        else:
            setattr(owner, name, value)
    loaded: dict[str, Any] = sys.modules
    if "numpy.random" in loaded:
        loaded["numpy.random"].seed()
    if "multiprocessing.process" in loaded:
        loaded["multiprocessing.process"].current_process().authkey = os.urandom(32)
    if "logging" in loaded:
        loaded["logging"]._startTime = time.time()
    if "threading" in loaded:
        loaded["threading"].main_thread()._set_native_id()


def refuse_threads() -> None:
    """End this process where something has started a thread: only one thread survives a fork."""
    if len(os.listdir("/proc/self/task")) > 1:
        raise SystemExit("A thread runs in the process to fork; what is forked would lack it.")


def serve(control: socket.socket, kept: dict[str, str]) -> list[str] | None:
    """Fork as the host asks, until it closes ``control`` and lets go of the last forked process.

    Args:
        control: where requests come from.
        kept: environment variables that forked processes have besides those of their request.

    Returns:
        In a forked process the arguments of its script; None once the host is gone.
    """
    children: set[_Child] = set()
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    while selector.get_map():
        for key, _ in selector.select():
            child: _Child | None = key.data
            if child is None:
                message, descriptors, _, _ = socket.recv_fds(control, _MAX_MESSAGE_BYTES, _MAX_DESCRIPTORS)
                if not message:
                    selector.unregister(control)
                    continue
                request = json.loads(message)
                told, *given = descriptors
                with warnings.catch_warnings():
                    # Python warns where threads run; who allows them knows that they are not forked.
                    warnings.simplefilter("ignore", DeprecationWarning)
                    pid = os.fork()
                if pid == 0:
                    selector.close()
                    control.close()
                    for other in children:
                        other.told.close()
                        os.close(other.pidfd)
                    request["environment"] = {**kept, **request["environment"]}
                    return become(request, given, told)
                for descriptor in given:
                    os.close(descriptor)
                child = _Child(pid, os.pidfd_open(pid), socket.socket(fileno=told), request["ends_itself"])
                children.add(child)
                selector.register(child.pidfd, selectors.EVENT_READ, child)
                selector.register(child.told, selectors.EVENT_READ, child)
            elif child not in children:
                pass  # released by an earlier event of the same batch
            elif key.fd == child.pidfd:
                selector.unregister(child.pidfd)
                tell_end(child)
            else:
                children.remove(child)
                selector.unregister(child.told)
                with contextlib.suppress(KeyError):  # its end has been told
                    selector.unregister(child.pidfd)
                release(child)
    return None


def become(request: dict[str, Any], given: list[int], told: int) -> list[str]:
    """Give this forked process the session, descriptors, folder and environment of a new one, and say so.

    Args:
        request: names ``cwd``, ``environment``, ``argv`` and, in ``descriptors``, the number that each
            descriptor has in the new process: 0, 1 and 2 are its streams.
        given: the descriptors.
        told: the socket on which the start is told.

    Returns:
        The arguments of its script.
    """
    os.setsid()
    # Out of the way of the numbers that they are to have.
    above = max(_STREAMS, *request["descriptors"], *given, told) + 1
    told = moved(told, above)
    for number, descriptor in zip(request["descriptors"], [moved(one, above) for one in given], strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    with socket.socket(fileno=told) as channel:
        channel.send(json.dumps({"started": os.getpid()}).encode())
    arguments: list[str] = request["argv"]
    return arguments


def moved(descriptor: int, above: int) -> int:
    """The descriptor under another number, at least ``above``."""
    other = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, above)
    os.close(descriptor)
    return other


def tell_end(child: _Child) -> None:
    """Tell the host the exit code, negative for a signal's number; the process stays a zombie."""
    ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    if ended is None:
        raise ChildProcessError(f"Process {child.pid} has ended, but there is nothing to wait for.")
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    with contextlib.suppress(OSError):  # the host has let go meanwhile
        child.told.send(json.dumps({"ended": code}).encode())


def release(child: _Child) -> None:
    """Reap the process that the host has let go of; end what still runs in its group, unless it does so."""
    if not child.ends_itself:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    os.close(child.pidfd)
    child.told.close()


def main() -> tuple[types.CodeType, list[str]] | None:
    """Import, say so, and serve.

    Returns:
        In a forked process the script to run and its arguments; None once the host is gone.
    """
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    start = json.loads(control.recv(_MAX_MESSAGE_BYTES))
    bootstrap = compile(Path(start["bootstrap"]).read_bytes(), start["bootstrap"], "exec")
    functions: dict[str, Any] = {"__name__": "bootstrap"}
    exec(bootstrap, functions)  # noqa: S102 - the host's own script
    functions["die_with"](start["parent_pid"])
    python_path = list(sys.path)
    sys.path[:0] = start["search_path"]
    with variables_read() as names:
        load(start["modules"])
        functions.get("load_ahead", lambda: None)()
    sys.path[:] = python_path
    if not start["threads"]:
        refuse_threads()
    # What libraries set, and LC_CTYPE where the machine lacks the locale of LANG (PEP 538).
    kept = {name: value for name, value in os.environ.items() if name not in start["variables"]}
    answer = {
        "loaded": sorted({name.partition(".")[0] for name in sys.modules}),
        "variables": {name: os.environ.get(name) for name in sorted(names)},
    }
    places = places_of_paths(os.getcwd(), os.path.expanduser("~"))
    # Otherwise each forked process's first collection would write to all the pages that it shares.
    gc.collect()
    gc.freeze()
    control.send(json.dumps(answer).encode())
    arguments = serve(control, kept)
    if arguments is None:
        return None
    begin_anew(places)
    return bootstrap, arguments


if __name__ == "__main__" and (work := main()) is not None:
    code, sys.argv = work[0], [work[0].co_filename, *work[1]]
    module = types.ModuleType("__main__")
    module.__file__ = code.co_filename
    # multiprocessing gives the main module a second name.
    sys.modules.update({name: module for name in ("__main__", "__mp_main__") if name in sys.modules})
    exec(code, vars(module))  # noqa: S102 - the host's own script
