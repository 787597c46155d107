"""The first process of a container: gives the entrypoint its own /opt/ml and ends all it started.

Run as a script by ``container.py``, with nothing but the standard library: ``container_init.py <json>``.
The JSON names ``root`` (the private folder, holding ``opt/ml``), ``cwd``, ``argv``, ``lifeline`` (a file
descriptor), ``namespaces`` and ``network``. Where it names ``shared``, the descriptors of a user and a
network namespace that were made before, the container joins those, and ``root`` has a file ``hosts`` in place
of ``/etc/hosts``. The environment is the container's. Where it names ``script``, this process was forked from
one that has loaded libraries: the entrypoint is that script, ``argv`` the command that a new interpreter
would have been given, and the child runs the script itself.

The process enters a user and a mount namespace of its own, where ``/opt/ml`` is the private folder and the
rest of ``/opt`` stays visible; nothing outside ``root`` is written for it. Where the kernel refuses that (in
many containers, under Ubuntu's AppArmor), the entrypoint finds the folder's name in the environment variable
``ML_ROOT``, and a filter of system calls stands for the network namespace.

The lifeline is the read end of a pipe whose other end the host holds. When it closes, because the host let go
or was killed, every process of the container is killed. SIGTERM is passed on to the entrypoint.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import fcntl
import gc
import json
import os
import select
import shutil
import signal
import socket
import struct
import sys
import threading
import types
import weakref
from typing import Any, NoReturn

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, _PR_SET_NO_NEW_PRIVS = 22, 2, 38  # linux/prctl.h, linux/seccomp.h
_REFUSE, _ALLOW = 0x00050000, 0x7FFF0000  # linux/seccomp.h; the former with an error's number
_LOAD, _IS, _IS_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # linux/bpf_common.h
_SOCKET_CALL = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Of each machine its number in linux/audit.h, and that of its system call ``socket``."""
_IO_URING_SETUP = 425
_X32_CALLS = 0x40000000  # x86-64 knows each call by a second number from here on
_AF_UNIX, _AF_NETLINK = 1, 16
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # linux/sockios.h, linux/if.h
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18  # linux/mount.h
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_ENDING = (signal.SIGTERM, signal.SIGINT)
_KILLED = 128 + signal.SIGKILL
_SET_UP_FAILED = 125  # docker's exit code for a container that could not be set up
_NOT_EXECUTABLE = 126
_NOT_FOUND = 127


def mount(
    source: str, target: str, kind: str | None, *, recursive: bool = False, private: bool = False
) -> None:
    """Mount a file system, or with ``private`` keep what is mounted below the target to this namespace.

    Raises:
        OSError: the kernel refuses.
    """
    _mount(source, target, kind, recursive * _MS_REC | private * _MS_PRIVATE)


def bind(source: str, target: str) -> None:
    """Show a file or folder, and what is mounted below it, at another place too.

    Raises:
        OSError: the kernel refuses.
    """
    _mount(source, target, None, _MS_BIND | _MS_REC)


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), target.encode(), kind.encode() if kind else None, flags, None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def enter_namespaces(root: str, network: bool, shared: list[int] | None = None) -> None:
    """Make ``<root>/opt/ml`` the process's ``/opt/ml``; without ``network`` leave it no interface at all.

    Args:
        shared: the descriptors of a user and a network namespace to join, those of `share_network`.

    Raises:
        OSError: the kernel refuses namespaces, or there is no ``/opt``.
    """
    if shared:
        for namespace in shared:
            os.setns(namespace)
            os.close(namespace)
        os.unshare(os.CLONE_NEWNS)
        mount("none", "/", None, recursive=True, private=True)
        bind(f"{root}/hosts", "/etc/hosts")
        show_ml(root)
        return
    user, group = os.getuid(), os.getgid()
    flags = os.CLONE_NEWUSER | os.CLONE_NEWNS
    os.unshare(flags if network else flags | os.CLONE_NEWNET)
    map_to_root(user, group)
    mount("none", "/", None, recursive=True, private=True)
    show_ml(root)


def share_network() -> None:
    """Enter a user and a network namespace that has no interface but its own loopback, which is up.

    Raises:
        OSError: the kernel refuses.
    """
    user, group = os.getuid(), os.getgid()
    os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)
    map_to_root(user, group)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def map_to_root(user: int, group: int) -> None:
    """Be root in the user namespace that this process has just made, and outside whom it was before."""
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"0 {user} 1")
    _write("/proc/self/gid_map", f"0 {group} 1")


def show_ml(root: str) -> None:
    """Show ``<root>/opt/ml`` as ``/opt/ml`` in this mount namespace; the rest of ``/opt`` stays visible."""
    if os.path.isdir("/opt/ml"):
        bind(f"{root}/opt/ml", "/opt/ml")
        return
    # /opt has no folder to mount on, and may not be ours to write: show a copy of it that has one.
    view = f"{root}/view"
    os.makedirs(view, exist_ok=True)
    mount("tmpfs", view, "tmpfs")
    for entry in os.scandir("/opt"):
        target = f"{view}/{entry.name}"
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), target)
        elif entry.is_dir():
            os.mkdir(target)
            bind(entry.path, target)
        else:
            _write(target, "")
            bind(entry.path, target)
    os.mkdir(f"{view}/ml")
    bind(f"{root}/opt/ml", f"{view}/ml")
    bind(view, "/opt")


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))  # struct sock_fprog


def refuse_network() -> None:
    """Have the kernel refuse this process, and all that it starts, every new socket but local ones.

    The error is that of a machine without a network. Sockets that the process was given go on to work.

    Raises:
        OSError: the kernel has no such filter for this machine.
    """
    machine, socket_call = _SOCKET_CALL.get(os.uname().machine, (0, 0))
    if not socket_call:
        raise OSError(errno.ENOSYS, "there is no filter of system calls for this processor")
    architecture, number, first_argument = 4, 0, 16  # offsets in struct seccomp_data
    program = (
        (_LOAD, 0, 0, architecture),
        (_IS, 0, 9, machine),  # else a 32-bit program, whose calls have other numbers
        (_LOAD, 0, 0, number),
        (_IS_AT_LEAST, 7, 0, _X32_CALLS),
        (_IS, 6, 0, _IO_URING_SETUP),  # which opens sockets without the call
        (_IS, 0, 3, socket_call),
        (_LOAD, 0, 0, first_argument),
        (_IS, 1, 0, _AF_UNIX),
        (_IS, 0, 1, _AF_NETLINK),  # by which the C library looks for interfaces
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE | errno.ENETUNREACH),
        (_RETURN, 0, 0, _REFUSE | errno.ENOSYS),
    )
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    libc = ctypes.CDLL(None, use_errno=True)
    filtering = ctypes.byref(_Filter(len(program), code))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filtering, 0, 0
    ):
        number_of_error = ctypes.get_errno()
        raise OSError(number_of_error, os.strerror(number_of_error))


def die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent's thread is gone."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(_KILLED)


def _run(script: str, argv: list[str]) -> NoReturn:
    """In a forked child: run the script as a new interpreter would. What it raises ends the process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sys.executable = shutil.which(argv[0]) or sys.executable
    sys.orig_argv = argv
    sys.argv = argv[argv.index(script) :]
    sys.path[:0] = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    if "-P" not in argv[: argv.index(script)]:
        sys.path.insert(0, os.path.dirname(script))
    sys.excepthook = _show_script_alone
    with open(script, "rb") as file:
        code = compile(file.read(), script, "exec")
    loaded = sys.modules.keys() - {"__main__", "__mp_main__"}
    module = types.ModuleType("__main__")
    module.__file__ = script
    sys.modules.update({name: module for name in ("__main__", "__mp_main__") if name in sys.modules})
    exit_code = 0
    try:
        exec(code, vars(module))  # noqa: S102 - running what it is told is this file's purpose
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        exit_code = ended.code or 0
    del module
    _finalize(loaded, exit_code)


def _finalize(loaded: set[str], exit_code: int) -> NoReturn:
    """End this forked process as the interpreter would, but for freeing what was loaded before the fork.

    That would first copy the memory of all libraries, which takes longer than many a script runs.

    Args:
        loaded: the names of the modules that this process was forked with.
        exit_code: as given to ``sys.exit``.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    if threading.active_count() > 1:
        sys.exit(exit_code)  # only the interpreter can stop daemon threads before it frees anything
    atexit._run_exitfuncs()
    own = [weakref.ref(sys.modules.pop(name)) for name in list(sys.modules) if name not in loaded]
    gc.collect()
    for module in filter(None, (reference() for reference in reversed(own))):
        names = vars(module)
        names.update(dict.fromkeys(names.keys() - {"__builtins__"}))
    ctypes.CDLL(None).fflush(None)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code & 0xFF)


def _show_script_alone(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Show the traceback from the script on, as a new interpreter would."""
    start = trace
    while start is not None and start.tb_frame.f_code.co_filename != sys.argv[0]:
        start = start.tb_next
    sys.__excepthook__(kind, error.with_traceback(start), start)


def _execute(argv: list[str], cwd: str, parent: int, script: str | None) -> NoReturn:
    """In the child: become the entrypoint."""
    die_with(parent)
    for number in (*_ENDING, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    if script is not None:
        os.chdir(cwd)
        _run(script, argv)
    code = _SET_UP_FAILED
    try:
        os.chdir(cwd)
        os.execvpe(argv[0], argv, os.environ)  # noqa: S606 - running what it is told is this file's purpose
    except FileNotFoundError:
        print(f"exec {argv[0]}: no such file or directory", file=sys.stderr)
        code = _NOT_FOUND
    except OSError as error:
        print(f"exec {argv[0]}: {error.strerror}", file=sys.stderr)
        code = _NOT_EXECUTABLE
    finally:
        sys.stderr.flush()
        os._exit(code)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def _kill_all(entrypoint: int) -> None:
    """Kill the entrypoint's process group and, being the reaper of orphans, whatever else is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(entrypoint, signal.SIGKILL)
    for _ in range(1000):  # a killed process hands its children to us: look until none is left
        for pid in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _supervise(entrypoint: int, lifeline: int, wakeup: int) -> int:
    """Wait for the entrypoint's end, or for the host's; returns the container's exit code."""
    watched = select.poll()  # unlike select(2) it takes a descriptor of any number
    watched.register(lifeline, select.POLLIN)
    watched.register(wakeup, select.POLLIN)
    while True:
        if lifeline in [number for number, _ in watched.poll()]:
            _kill_all(entrypoint)
            return _KILLED
        numbers = os.read(wakeup, 64)
        if any(number in numbers for number in _ENDING):
            with contextlib.suppress(ProcessLookupError):
                os.kill(entrypoint, signal.SIGTERM)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return _KILLED
            if pid == 0:
                break
            if pid == entrypoint:
                _kill_all(entrypoint)
                return _exit_code(status)


def main(spec: dict[str, Any]) -> int:
    """Run the container; returns its exit code (docker's: 128 + the signal's number when killed)."""
    lifeline = int(spec["lifeline"])
    os.set_inheritable(lifeline, False)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in (*_ENDING, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    try:
        if spec["namespaces"]:
            enter_namespaces(spec["root"], bool(spec["network"]), spec.get("shared"))
        elif not spec["network"]:
            refuse_network()
    except OSError as error:
        print(f"container set-up failed: {error}", file=sys.stderr)
        return _SET_UP_FAILED
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    parent = os.getpid()
    # What is passed on before the child has handlers of its own has to wait for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    entrypoint = os.fork()
    if entrypoint == 0:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for descriptor in (lifeline, reading, writing):
            os.close(descriptor)
        _execute(spec["argv"], spec["cwd"], parent, spec.get("script"))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    with contextlib.suppress(OSError):
        os.setpgid(entrypoint, entrypoint)
    return _supervise(entrypoint, lifeline, reading)


if __name__ == "__main__":
    _code = main(json.loads(sys.argv[1]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_code)
