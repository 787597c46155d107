"""What tests of several folders share."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says what else the machine does.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def open_files() -> Iterator[None]:
    """So many files are open in this process that select(2) can't watch what is opened next."""
    needed = 1024
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(2 * needed, hard)), hard))
    with contextlib.ExitStack() as files:
        while files.enter_context(open(os.devnull)).fileno() < needed:
            pass
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
