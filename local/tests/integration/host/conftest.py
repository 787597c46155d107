"""One host with the test project for the whole folder; tests that kill a host start their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_host_support import PROJECT, WAIT_SCALE, Deployed, revived

from dropforge_local.testing.forked_host import ForkedHost


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the test project, so that its build cache is not in the repository."""
    return Path(shutil.copytree(PROJECT, tmp_path_factory.mktemp("project") / "project"))


@pytest.fixture(scope="session")
def deployed(project: Path) -> Iterator[Deployed]:
    """The shared host."""
    with ForkedHost(project, wait_scale=WAIT_SCALE) as host:
        yield Deployed(host, host.deploy("probe"))


@pytest.fixture(scope="session")
def crashing(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A host with a state directory that outlives its process."""
    host = ForkedHost(project, state_dir=tmp_path_factory.mktemp("crashing") / "state", wait_scale=WAIT_SCALE)
    with host:
        yield Deployed(host, host.deploy("probe"))


@pytest.fixture
def own_host(crashing: Deployed) -> Deployed:
    """The host that a test may kill; it runs when the test begins."""
    return revived(crashing)
