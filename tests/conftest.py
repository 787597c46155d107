"""How the tests are shared out among processes (``pytest -n 2 --dist loadgroup``)."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

LONGEST_FIRST = ("tests/workflow/", "tests/faults/", "tests/unit/training/", "tests/integration/")
"""These begin first, so that no process is left alone with one of them at the end."""

ONE_BY_ONE = "tests/workflow/"
"""Each of these has a stack of its own on its process's host, and takes long enough to go alone."""

TOGETHER = "tests/unit/training/"
"""The models that are trained for these once serve all their files."""


class Scheduling(LoadScopeScheduling):
    """Hands out files, in the order of collection: what a file's tests share is set up in one process only.

    It takes the place of xdist_group marks, which xdist 3.8 doesn't see under pytest 9.2
    (https://github.com/pytest-dev/pytest-xdist/issues/1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(ONE_BY_ONE):
            return nodeid
        return TOGETHER if nodeid.startswith(TOGETHER) else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    if config.getoption("dist") != "loadgroup":
        return None
    # The files with the most tests aren't those that take longest.
    config.option.loadscopereorder = False
    return Scheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        begins = [item.nodeid.startswith(folder) for folder in LONGEST_FIRST]
        return begins.index(True) if True in begins else len(begins)

    items.sort(key=rank)
