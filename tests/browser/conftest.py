"""The console in a real browser: one local host, one console and one browser for all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from dropforge_local.host import LocalHost
from dropforge_local.testing.forked_host import ForkedHost
from dropforge_ops.console.context import Context
from dropforge_ops.stack.samples import SAMPLES, write_samples
from tests.browser.beds import ROOT, SAMPLE, chromium, console_of
from tests.browser.desk import Desk
from tests.browser.long_ledger import long_stack_on
from tests.workflow.stack import Stack

WAIT_SCALE = 0.1
GUARDED = "mean texture"
"""Of the sample, a column that says nothing to the reader and has four ranges."""


@pytest.fixture(scope="session")
def host() -> Iterator[LocalHost]:
    with ForkedHost(ROOT, wait_scale=WAIT_SCALE) as running:
        yield running


@pytest.fixture(scope="session")
def stack(host: LocalHost) -> Stack:
    """The stack that the shared console shows. What a test finds there is what those before it left."""
    sample = SAMPLES[SAMPLE]
    parameters = {
        "TargetColumn": sample.target,
        "IdColumn": sample.key,
        "GuardedColumns": GUARDED,
        "SmallGuardedSlices": "report",
    }
    return Stack(host, "console", parameters, ROOT / "template.yaml")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample data as CSV."""
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return folder / f"{SAMPLE}.csv"


@pytest.fixture(scope="session")
def serve(host: LocalHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Start the console of a stack as its user does; returns its URL."""
    with ExitStack() as started:

        def serve_stack(name: str) -> str:
            return started.enter_context(console_of(host, name, tmp_path_factory.mktemp("console")))

        yield serve_stack


@pytest.fixture(scope="session")
def console(stack: Stack, serve: Callable[[str], str]) -> str:
    """The URL of the shared stack's console."""
    return serve(stack.name)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = chromium(playwright)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def shared_desk(browser: Browser, console: str) -> Desk:
    return Desk(browser, console)


@pytest.fixture
def desk(shared_desk: Desk) -> Iterator[Desk]:
    """Opens pages of the shared console; at the end none may have complained, or asked anybody else."""
    yield shared_desk
    assert shared_desk.leave() == []


@pytest.fixture(scope="session")
def long_stack(host: LocalHost) -> Context:
    return long_stack_on(host)


@pytest.fixture
def long_desk(browser: Browser, long_stack: Context, long_console: str) -> Iterator[Desk]:
    opened = Desk(browser, long_console)
    yield opened
    opened.close()
    assert opened.complaints == []


@pytest.fixture(scope="session")
def long_console(long_stack: Context, serve: Callable[[str], str]) -> str:
    return serve(long_stack.target.stack)
