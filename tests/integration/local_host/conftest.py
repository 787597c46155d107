"""One host with the test project for the whole folder; tests that kill a host start their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_host_support import PROJECT, WAIT_SCALE, Deployed

from dropforge_local.host import LocalHost


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the test project, so that its build cache is not in the repository."""
    return Path(shutil.copytree(PROJECT, tmp_path_factory.mktemp("project") / "project"))


@pytest.fixture(scope="session")
def deployed(project: Path) -> Iterator[Deployed]:
    """The shared host."""
    with LocalHost(project, wait_scale=WAIT_SCALE) as host:
        yield Deployed(host, host.deploy("probe"))


@pytest.fixture
def own_host(project: Path, tmp_path: Path) -> Iterator[Deployed]:
    """A host that a test may kill and start again: its state directory is kept."""
    host = LocalHost(project, state_dir=tmp_path / "state", wait_scale=WAIT_SCALE)
    with host:
        yield Deployed(host, host.deploy("probe"))
