"""A fork server serves the functions that would have loaded what it has, and those alone."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dropforge_local.forking.process import is_alive
from dropforge_local.forking.spawner import end_group
from dropforge_local.glue.fork_servers import ForkServers
from dropforge_local.glue.forked_environment import ForkedEnvironment

_COMMON = {"PATH": "/usr/bin:/bin", "LANG": "en_US.UTF-8", "TZ": ":UTC"}
_BOOTSTRAP = """
import ctypes, os, sys

def die_with(parent_pid):
    ctypes.CDLL(None).prctl(1, 9)

if __name__ == "__main__":
    die_with(os.getppid())
    for line in sys.stdin:
        print(eval(line), flush=True)
"""


@dataclass
class Forks:
    """Fork servers over folders that a test fills with modules."""

    folder: Path
    servers: ForkServers

    def modules(self, name: str, **sources: str) -> str:
        """Make the folder ``name`` with these modules."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        for module, source in sources.items():
            (folder / f"{module}.py").write_text(textwrap.dedent(source))
        return str(folder)

    def fork(self, *layers: str, code: str | None = None, **variables: str) -> ForkedEnvironment | None:
        environment = {**_COMMON, "HOME": "/private", **variables}
        return self.servers.fork(code or self.modules("code"), list(layers), environment, _COMMON, "/private")


@pytest.fixture
def forks(tmp_path: Path) -> Iterator[Forks]:
    bootstrap = tmp_path / "bootstrap.py"
    bootstrap.write_text(_BOOTSTRAP)
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    (runtime / "sdk.py").write_text(
        "import os\nhome = os.path.expanduser('~')\nflag = os.environ.get('SDK_FLAG')\n"
    )
    servers = ForkServers(bootstrap, runtime, ("sdk", "library"), tmp_path / "home")
    yield Forks(tmp_path, servers)
    servers.close()


def _ask(process: ForkedEnvironment | None, expression: str) -> str:
    assert process is not None
    process.stdin.write(expression + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def _within(seconds: float, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _exists(pid: int) -> bool:
    """Whether the id is taken, be it by a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_forked_process_has_loaded_the_modules_and_the_environment_of_its_request(forks: Forks) -> None:
    process = forks.fork(ONLY="mine")
    assert _ask(process, "'sdk' in sys.modules") == "True"
    assert _ask(process, "os.environ['ONLY'], os.environ['HOME']") == "('mine', '/private')"
    assert _ask(process, "os.getcwd()") == str(forks.folder / "code")
    assert _ask(process, "os.getsid(0) == os.getpgid(0) == os.getpid()") == "True"
    assert _ask(process, "len(os.listdir('/proc/self/fd'))") == "4"
    other = forks.fork()
    assert _ask(other, "os.environ.get('ONLY')") == "None"
    assert _ask(other, "len(os.listdir('/proc/self/fd'))") == "4"
    assert _ask(other, "os.getppid()") == _ask(process, "os.getppid()")


@pytest.mark.parametrize(
    "variables",
    [
        {"SDK_FLAG": "1"},
        {"HOME": "/declared"},
        {"PYTHONDEVMODE": "1"},
        {"LC_ALL": "C"},
        {"LANG": "C"},
        {"OPENSSL_CONF": "/somewhere"},
    ],
)
def test_variables_that_would_have_mattered_earlier_need_a_new_process(
    forks: Forks, variables: dict[str, str]
) -> None:
    assert forks.fork() is not None
    assert forks.fork(**variables) is None


_READS_WHERE_IT_IS = """
import logging, multiprocessing.process, os, random, threading

folder = os.getcwd()
home = os.path.expanduser("~")
paths = {"cache": os.path.expanduser("~/cache"), "other": os.path.expanduser("~") + "stead"}

class Store:
    folder = os.path.expanduser("~/store")
"""


def test_what_a_library_has_read_of_its_folder_and_home_is_the_forked_process_own(forks: Forks) -> None:
    process = forks.fork(forks.modules("layer", library=_READS_WHERE_IT_IS))
    library, code = "sys.modules['library']", str(forks.folder / "code")
    assert _ask(process, f"{library}.folder, {library}.home, {library}.Store.folder") == str(
        (code, "/private", "/private/store")
    )
    assert _ask(process, f"{library}.paths") == str(
        {"cache": "/private/cache", "other": f"{forks.folder / 'home'}stead"}
    )
    assert _ask(process, f"{library}.multiprocessing.process.ORIGINAL_DIR") == code


def test_a_library_that_has_looked_for_temporary_files_needs_a_new_process(forks: Forks) -> None:
    layer = forks.modules("layer", library="import tempfile\ntempfile.gettempdir()")
    assert forks.fork(layer) is not None
    assert forks.fork(layer, TMPDIR="/private") is None


def test_what_a_library_has_drawn_or_numbered_is_the_forked_process_own(forks: Forks) -> None:
    layer = forks.modules("layer", library=_READS_WHERE_IT_IS)
    one, other = forks.fork(layer), forks.fork(layer)
    key = "sys.modules['library'].multiprocessing.process.current_process().authkey.hex()"
    assert _ask(one, key) != _ask(other, key)
    assert _ask(one, "sys.modules['library'].random.random()") != _ask(
        other, "sys.modules['library'].random.random()"
    )
    assert _ask(one, "sys.modules['library'].threading.main_thread().native_id - os.getpid()") == "0"
    since_start_ms = "sys.modules['library'].logging.makeLogRecord({}).relativeCreated"
    late = forks.fork(layer)
    time.sleep(0.2)
    early = forks.fork(layer)
    assert float(_ask(late, since_start_ms)) - float(_ask(early, since_start_ms)) > 150


def test_code_or_a_layer_that_would_replace_what_is_loaded_needs_a_new_process(forks: Forks) -> None:
    assert forks.fork() is not None
    assert forks.fork(code=forks.modules("own_sdk", sdk="")) is None
    assert forks.fork(code=forks.modules("own_json", json="")) is None
    assert forks.fork(forks.modules("with_selectors", selectors="")) is None
    assert forks.fork(code=forks.modules("harmless", app="", helper="")) is not None


def test_layers_that_ship_what_is_loaded_have_a_server_of_their_own(forks: Forks) -> None:
    plain = forks.fork(forks.modules("other", something=""))
    shipped = forks.fork(
        forks.modules("first", sdk="origin = 'layer'"), forks.modules("second", library="", sdk="")
    )
    assert _ask(plain, "getattr(sys.modules['sdk'], 'origin', None)") == "None"
    assert _ask(plain, "'library' in sys.modules") == "False"
    assert _ask(shipped, "sys.modules['sdk'].origin") == "layer"
    assert _ask(shipped, "'library' in sys.modules") == "True"
    assert _ask(shipped, "os.getppid()") != _ask(plain, "os.getppid()")


@pytest.mark.parametrize(
    "library",
    [
        "raise RuntimeError('not now')",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "import os\nos._exit(0)",
    ],
)
def test_what_cannot_be_loaded_or_starts_a_thread_is_never_forked(forks: Forks, library: str) -> None:
    layer = forks.modules("layer", library=library)
    assert forks.fork(layer) is None
    assert forks.fork(layer) is None
    assert forks.fork() is not None


def test_an_exit_code_or_a_signal_is_reported_as_of_any_child(forks: Forks) -> None:
    process = forks.fork()
    assert process is not None
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.stdin.write("os._exit(3)\n")
    process.stdin.flush()
    assert process.wait(10) == 3
    killed = forks.fork()
    assert killed is not None
    os.kill(killed.pid, signal.SIGTERM)
    assert killed.wait(10) == -signal.SIGTERM == killed.poll()


def test_an_id_stays_taken_until_the_group_is_ended(forks: Forks) -> None:
    process = forks.fork()
    assert process is not None
    child = int(_ask(process, "__import__('subprocess').Popen(['sleep', '60']).pid"))
    process.stdin.write("os._exit(0)\n")
    process.stdin.flush()
    assert process.wait(10) == 0
    assert forks.fork() is not None  # the server has had its turn since
    assert _exists(process.pid)
    end_group(process)
    _within(10, lambda: not _exists(process.pid))
    _within(10, lambda: not is_alive(child))
    end_group(process)


def test_a_killed_server_takes_its_processes_along_and_is_replaced(forks: Forks) -> None:
    process = forks.fork()
    assert process is not None
    os.kill(process.parent_pid, signal.SIGKILL)
    assert process.wait(10) == -signal.SIGKILL
    end_group(process)
    replaced: list[ForkedEnvironment] = []

    def is_replaced() -> bool:
        # One that comes before the server's end can be seen is left to a new process.
        replaced.extend(each for each in [forks.fork()] if each is not None)
        return bool(replaced)

    _within(10, is_replaced)
    assert replaced[0].parent_pid != process.parent_pid


def test_the_server_unused_the_longest_serves_out_what_it_has_forked(forks: Forks) -> None:
    first = forks.fork(forks.modules("layer0", library=""))
    assert first is not None
    for number in range(1, 5):
        assert forks.fork(forks.modules(f"layer{number}", library="")) is not None
    assert _ask(first, "1 + 1") == "2"
    assert _exists(first.parent_pid)
    end_group(first)
    _within(10, lambda: Path(f"/proc/{first.parent_pid}/stat").read_text().split()[2] == "Z")
    again = forks.fork(forks.modules("layer0"))
    assert again is not None
    assert again.parent_pid != first.parent_pid


def test_memory_counts_what_a_process_has_written_not_what_it_was_forked_with(forks: Forks) -> None:
    process = forks.fork(forks.modules("layer", library="block = bytearray(b'x' * (64 << 20))"))
    assert process is not None
    before = process.untouched_bytes()
    assert before > 64 << 20
    _ask(process, "sys.modules['library'].block.__setitem__(slice(0, 32 << 20), bytes(32 << 20))")
    assert 30 << 20 < before - process.untouched_bytes() < 40 << 20
    end_group(process)
    assert process.untouched_bytes() == 0
