"""A container that is forked from loaded libraries can't be told from a new process."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sagemaker_host import FINDING_ML, image_in, wait_until
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from dropforge_local.forking.process import ForkedProcess
from dropforge_local.sagemaker import libraries
from dropforge_local.sagemaker.container import Container, Image, Root


class Script:
    """A script in a container's code folder, and the container that runs it."""

    def __init__(self, folder: Path, image: Image, source: str, **files: str) -> None:
        self.image = image
        self.root = Root(folder, image.namespaces)
        code = self.root.ml / "code"
        code.mkdir()
        for name, text in {"script": source, **files}.items():
            (code / f"{name}.py").write_text(text)

    def start(self, *flags: str, **environment: str) -> Container:
        command = ["python3", *flags, "/opt/ml/code/script.py", "--rows", "3"]
        return Container(self.image, self.root, command, environment)

    def run(self, *flags: str, **environment: str) -> tuple[bool, str, int | None]:
        """Whether the container was forked, what it printed, and its exit code."""
        container = self.start(*flags, **environment)
        text = container.output.read().decode().replace(str(self.root.path), "ROOT")
        code = container.wait(10)
        container.close()
        return _was_forked(container), text, code


def _was_forked(container: Container) -> bool:
    return isinstance(container._process, ForkedProcess)


def test_a_script_runs_where_the_host_has_a_thousand_files_open(tmp_path: Path, open_files: None) -> None:
    image = image_in(tmp_path)
    image.load_libraries()  # by a process that may open as many: a host raises its limit first
    assert image.libraries.wait(60)
    assert Script(tmp_path / "root", image, "print('here')").run() == (True, "here\n", 0)
    image.close()


_LOOK_AROUND = """
import helper
import json, os, signal, sys
import sklearn.ensemble
open_files = []
for number in os.listdir("/proc/self/fd"):
    try:
        open_files.append((number, os.readlink(f"/proc/self/fd/{number}").partition(":")[0]))
    except FileNotFoundError:
        pass
print(json.dumps({
    "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path, "executable": sys.executable,
    "name": __name__, "file": __file__, "helper": helper.__file__, "cwd": os.getcwd(),
    "environment": dict(os.environ), "open_files": sorted(open_files),
    "leads_group": os.getpgid(0) == os.getpid(), "is_main": sys.modules["__main__"].__dict__ is globals(),
    "stdout": [sys.stdout.line_buffering, sys.stdout.write_through, sys.stdout.encoding],
    "signals": [
        getattr(signal.getsignal(number), "__name__", str(signal.getsignal(number)))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD)
    ],
}))
"""


@pytest.mark.parametrize("flags", [(), ("-P",)])
def test_a_script_finds_itself_as_in_a_new_process(
    tmp_path: Path, loaded: Image, flags: tuple[str, ...]
) -> None:
    # With -P a script doesn't find the modules beside it.
    source = _LOOK_AROUND.replace("helper", "json") if flags else _LOOK_AROUND
    new = Script(tmp_path / "new", image_in(tmp_path), source, helper="").run(*flags, MINE="1")
    forked = Script(tmp_path / "forked", loaded, source, helper="").run(*flags, MINE="1")
    assert (new[0], forked[0]) == (False, True)
    assert json.loads(forked[1]) == json.loads(new[1])


def test_a_script_searches_the_folders_of_pythonpath_as_in_a_new_process(
    tmp_path: Path, loaded: Image
) -> None:
    source = _LOOK_AROUND.replace("import helper", "import sys, beside as helper")
    searched = {"PYTHONPATH": "/opt/ml/model/code:/tmp/installed"}
    seen = []
    for name, image in (("new", image_in(tmp_path)), ("forked", loaded)):
        script = Script(tmp_path / name, image, source)
        (script.root.ml / "model" / "code").mkdir(parents=True)
        (script.root.ml / "model" / "code" / "beside.py").touch()
        seen.append(script.run("-P", **searched))
    new, forked = seen
    assert (new[0], forked[0]) == (False, True)
    assert json.loads(forked[1]) == json.loads(new[1])


def test_a_module_on_pythonpath_that_stands_before_a_library_is_the_one_loaded(
    tmp_path: Path, loaded: Image
) -> None:
    script = Script(tmp_path / "own", loaded, "import flask\nprint(flask.MINE)")
    (script.root.ml / "model").mkdir()
    (script.root.ml / "model" / "flask.py").write_text("MINE = 'mine'")
    assert script.run("-P", PYTHONPATH="/opt/ml/model") == (False, "mine\n", 0)


@pytest.mark.parametrize(
    "source",
    [
        "def deep():\n    raise ValueError('no\\nsuch')\ndeep()",
        "import sys\nsys.exit(7)",
        "import sys\nsys.exit(256 + 3)",
        # What a script leaves to its end: buffers, finalizers, objects in cycles and in modules of its own.
        "import os\nleft = os.fdopen(os.dup(1), 'w')\nleft.write('open')",
        "import atexit\nword = 'freed'\nclass Left:\n    def __del__(self): print(word)\n"
        "left = Left()\nleft.itself = left\natexit.register(print, 'exit')",
        "import helper\nclass Left:\n    def __del__(self): print('freed')\nhelper.left = Left()",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(300,), daemon=True).start()\n"
        "raise SystemExit(5)",
        "import atexit\nclass Bad:\n    def __call__(self): 1 / 0\n    def __repr__(self): return 'bad'\n"
        "atexit.register(Bad())",
        "import ctypes\nctypes.CDLL(None).printf(b'by C')",
        "raise SystemExit('in words')",
        "import os\nos._exit(9)",
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "this is no Python",
        "import atexit, threading, time\natexit.register(print, 'last')\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\n1 / 0",
        "import os, sys\nprint('a')\nprint('b', file=sys.stderr)\nos.write(1, b'c\\n')",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'print(1 + 1)'], check=True)",
    ],
)
def test_a_script_ends_as_in_a_new_process(tmp_path: Path, loaded: Image, source: str) -> None:
    new = Script(tmp_path / "new", image_in(tmp_path), source, helper="").run()
    forked = Script(tmp_path / "forked", loaded, source, helper="").run()
    assert (new[0], forked[0]) == (False, True)
    assert forked[1:] == new[1:]


_LIST_WHAT_IS_LOADED = """
import json, sys, types
import joblib, threadpoolctl, scipy.stats, sklearn.ensemble, sklearn.linear_model, pyarrow.parquet, flask


def plain(value):
    if isinstance(value, (tuple, list, set, frozenset)):
        return all(map(plain, value))
    return isinstance(value, (str, bytes, int, float, type(None)))


found = {}
for name, module in sorted(sys.modules.items()):
    if name in ("__main__", "__mp_main__") or not isinstance(module, types.ModuleType):
        continue
    for own, value in list(vars(module).items()):
        if issubclass(type(value), type):
            inside = {f"{own}.{key}": each for key, each in vars(value).items()}
        elif own == "_CONFIG_VARS":
            inside = {f"{own}.{key}": each for key, each in value.items()}
        else:
            inside = {own: value}
        for key, each in inside.items():
            if "__" not in key and plain(each):
                # Classes and functions have another order in each process.
                several = isinstance(each, (tuple, list, set, frozenset))
                found[f"{name}.{key}"] = str(sorted(map(str, each)) if several else each)
json.dump(found, open(f"{ML}/loaded.json", "w"))
"""
_MAY_DIFFER = {
    "_ctypes": "addresses",
    "ctypes": "addresses",
    "joblib._multiprocessing_helpers": "the name of a semaphore that was tried and removed",
    "joblib.externals.loky.backend.spawn": "python, where a new process is called python3",
    "logging._startTime": "the time",
    "multiprocessing.spawn": "python, where a new process is called python3",
    "numpy.f2py": "the time, written into what it generates",
    "scipy.sparse._data.name": "the last one of a set of functions",
    "sys.flags": "the server does not search the folder of its script (-P)",
    "threading._shutdown_locks": "the server's own main thread",
}


class _Seeded(Image):
    """With the same order of texts in every container's sets; those that are forked share it anyway."""

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONHASHSEED": "0"}


def test_what_is_loaded_is_what_a_new_process_would_have_loaded(tmp_path: Path) -> None:
    image = _Seeded(sys.executable, [str(Path(sys.executable).parent)], tmp_path / "bin")
    found: dict[bool, dict[str, str]] = {}
    for forked in (False, True):
        script = Script(tmp_path / f"forked-{forked}", image, FINDING_ML + _LIST_WHAT_IS_LOADED)
        assert script.run() == (forked, "", 0)
        text = (script.root.ml / "loaded.json").read_text()
        found[forked] = json.loads(text.replace(str(script.root.path), "ROOT"))
        image.load_libraries()
        assert image.libraries.wait(60)
    image.close()
    assert len(found[True]) > 10_000
    known = tuple(f"{each}." for each in _MAY_DIFFER)
    assert [
        f"{name}: {new} is {forked}"
        for name in sorted(found[True].keys() | found[False].keys())
        for new, forked in [(found[False].get(name, "")[:200], found[True].get(name, "")[:200])]
        if new != forked and not f"{name}.".startswith(known)
    ] == []


def test_a_library_that_has_read_a_variable_of_the_containers_own_needs_a_new_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "_MODULES", ("json",))
    image = image_in(tmp_path)
    image.load_libraries()
    assert image.libraries.wait(30)
    assert Script(tmp_path / "before", image, "").run() == (True, "", 0)
    image.libraries._server.variables_read["TMPDIR"] = None
    assert Script(tmp_path / "after", image, "").run() == (False, "", 0)
    image.close()


_READS_OF_IDENTITY = """
import importlib, os, sys

asked = set()


def watched(function, name):
    def call(*arguments):
        asked.add((name, sys._getframe(1).f_globals["__name__"]))
        return function(*arguments)

    return call


for name in "getuid geteuid getgid getegid getresuid getresgid getgroups getlogin getpid".split():
    setattr(os, name, watched(getattr(os, name), name))
for name in sys.argv[1:]:
    importlib.import_module(name)
print(sorted(asked))
"""


def test_no_library_reads_while_it_is_loaded_as_whom_or_as_which_process_it_runs() -> None:
    command = [sys.executable, "-c", _READS_OF_IDENTITY, *libraries._MODULES]
    seen = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    # A semaphore's name, and what is compared with the process's id at each use.
    assert seen.strip() == str([("getpid", "joblib._multiprocessing_helpers"), ("getpid", "tempfile")])


@pytest.mark.parametrize("draw", ["numpy.random.random()", "random.random()", "os.urandom(8)"])
def test_no_two_containers_draw_the_same_random_numbers(tmp_path: Path, loaded: Image, draw: str) -> None:
    source = f"import numpy, os, random\nprint({draw})"
    one, other = (Script(tmp_path / name, loaded, source).run() for name in ("one", "other"))
    assert (one[0], one[2]) == (other[0], other[2]) == (True, 0)
    assert one[1] != other[1]


def _computed() -> tuple[float, float]:
    import numpy as np
    from sklearn.datasets import make_classification
    from sklearn.ensemble import HistGradientBoostingClassifier

    X, y = make_classification(400, random_state=0)
    model = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(X, y)
    return float(np.sum(X @ X.T)), float(model.predict_proba(X)[:, 1].sum())


def test_a_script_computes_with_threads_after_the_fork(tmp_path: Path, loaded: Image) -> None:
    source = f"{inspect.getsource(_computed)}\nprint(_computed())"
    with threadpool_limits(1, user_api="blas"):
        expected = _computed()
    assert Script(tmp_path, loaded, source).run() == (True, f"{expected}\n", 0)


@pytest.mark.parametrize(
    "variables",
    [{"OMP_NUM_THREADS": "1"}, {"PYTHONHASHSEED": "0"}, {"LD_PRELOAD": ""}, {"LC_ALL": "C"}, {"HOME": "/"}],
)
def test_variables_that_would_have_mattered_earlier_need_a_new_process(
    tmp_path: Path, loaded: Image, variables: dict[str, str]
) -> None:
    forked, _, code = Script(tmp_path / "root", loaded, "").run(**variables)
    assert (forked, code) == (False, 0)


def test_code_that_hides_a_library_and_other_commands_need_a_new_process(
    tmp_path: Path, loaded: Image
) -> None:
    hiding = Script(tmp_path / "hiding", loaded, "import numpy\nprint(numpy.mine)", numpy="mine = 1")
    assert hiding.run() == (False, "1\n", 0)
    assert hiding.run("-P", "-u")[0] is False
    missing = Script(tmp_path / "missing", loaded, "")
    (missing.root.ml / "code" / "script.py").unlink()
    forked, said, code = missing.run()
    assert (forked, code) == (False, 2)
    assert "can't open file" in said


def test_letting_go_ends_every_process_and_termination_reaches_the_script(
    tmp_path: Path, loaded: Image
) -> None:
    source = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "print(subprocess.Popen(['sleep', '300'], start_new_session=True).pid, flush=True)\n"
        "time.sleep(300)"
    )
    held = Script(tmp_path / "held", loaded, source).start()
    child = int(held.output.readline())
    held.close()
    assert _was_forked(held)
    assert not Path(f"/proc/{child}").exists()
    asked = Script(tmp_path / "asked", loaded, source).start()
    asked.output.readline()
    watcher = threading.Thread(target=asked.wait, daemon=True)
    watcher.start()
    assert asked.wait(0.05) is None
    asked.terminate()
    assert asked.wait(10) == 143
    watcher.join(10)
    assert not watcher.is_alive()
    asked.close()


def test_a_killed_fork_server_leaves_containers_to_new_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "_MODULES", ("numpy",))
    image = image_in(tmp_path)
    image.load_libraries()
    assert image.libraries.wait(30)
    running = Script(
        tmp_path / "first", image, "import time\nprint('up', flush=True)\ntime.sleep(300)"
    ).start()
    assert running.output.readline() == b"up\n"
    pid = running.pid
    assert _was_forked(running)
    os.kill(running._process.parent_pid, signal.SIGKILL)
    assert running.wait(10) == 128 + signal.SIGKILL
    running.close()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert Script(tmp_path / "second", image, "print(1)").run() == (False, "1\n", 0)
    image.close()


def test_termination_at_any_moment_of_the_start_ends_a_container(tmp_path: Path, loaded: Image) -> None:
    empty = image_in(tmp_path)
    for number in range(30):
        image = loaded if number % 2 else empty
        held = Script(tmp_path / str(number), image, "import time\ntime.sleep(300)").start()
        time.sleep(number / 750)
        held.terminate()
        assert held.wait(5) == 143
        held.close()
    empty.close()
