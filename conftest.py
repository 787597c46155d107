"""How the tests are shared out among processes (``pytest -n 3 --dist loadgroup``)."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# How long an example takes says what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

LONGEST_FIRST = (
    "tests/workflow/test_[l-z]*",
    "tests/browser/*",
    "tests/workflow/test_[a-k]*",
    "tests/integration/sam/*",
    "tests/unit/training/*",
    "local/tests/integration/sagemaker/*",
    "local/tests/integration/host/*",
    "tests/integration/cli/*",
    "tests/faults/*",
    "tests/unit/preparation/*",
)
"""Files that run in one process, which has set up hosts, models or a browser for all of them.

They begin in this order, so that no process is left alone with one of them at the end.
"""


def rank(nodeid: str) -> int:
    """Which of LONGEST_FIRST the test belongs to; as many as there are for any other."""
    file = nodeid.partition("::")[0]
    matches = [fnmatchcase(file, pattern) for pattern in LONGEST_FIRST]
    return matches.index(True) if True in matches else len(matches)


class Scheduling(LoadScopeScheduling):
    """Hands out files, in the order of collection: what a file's tests share is set up in one process only.

    It takes the place of xdist_group marks, which xdist 3.8 doesn't see under pytest 9.2
    (https://github.com/pytest-dev/pytest-xdist/issues/1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        among = rank(nodeid)
        return LONGEST_FIRST[among] if among < len(LONGEST_FIRST) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    if config.getoption("dist") != "loadgroup":
        return None
    # The files with the most tests aren't those that take longest.
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Let each process begin with other files: on a fresh clone none compiles what another one does."""
    process: dict[str, Any] | None = getattr(config, "workerinput", None)
    folders = [Path(each) for each in config.args]
    if process is not None and all(folder.is_dir() for folder in folders):
        files = sorted(str(path) for folder in folders for path in folder.rglob("test_*.py"))
        begin = int(process["workerid"].removeprefix("gw")) * len(files) // process["workercount"]
        config.args = files[begin:] + files[:begin]


def pytest_collection(session: pytest.Session) -> None:
    """Import without collecting garbage, of which imports leave little: it took a sixth of their time."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.freeze()  # what was imported stays, and needs no more looking through
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Give every process the same order, whichever file it has begun with; mark what runs the template."""
    items.sort(key=lambda item: item.path)  # within files pytest orders them next
    for item in items:
        if item.nodeid.startswith(("tests/workflow/", "tests/browser/")):
            item.add_marker(pytest.mark.workflow)
    yield
    items.sort(key=lambda item: rank(item.nodeid))
