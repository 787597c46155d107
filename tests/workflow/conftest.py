"""The deployed template on the local host: one host a test process; a stack a test, or one a module."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from itertools import count
from pathlib import Path

import pytest

from dropforge_local.host import LocalHost
from dropforge_local.testing.forked_host import ForkedHost
from dropforge_ops.stack.samples import SAMPLES, write_samples
from tests.workflow.recording import record
from tests.workflow.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("core", "layers", "functions", "training", "statemachine")

# A host's waits are AWS's; tests of reminders and retries shorten them, never the work itself.
WAIT_SCALE = 0.2


@pytest.fixture(scope="session")
def host() -> Iterator[LocalHost]:
    """Every role may do what its policies say and nothing else: a missing grant fails where it is used."""
    with ForkedHost(ROOT, wait_scale=WAIT_SCALE, auth=True) as running:
        yield running
        record(running)


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return count(1)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The real data sets as CSV files, by name."""
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return {name: folder / f"{name}.csv" for name in SAMPLES}


@pytest.fixture(scope="session")
def deploy(host: LocalHost, _numbers: Iterator[int]) -> Callable[..., Stack]:
    """Deploy the template as a stack of its own: ``deploy(TargetColumn=…)``."""

    def deployed(template: Path = ROOT / "template.yaml", **parameters: str) -> Stack:
        return Stack(host, f"t{next(_numbers)}", parameters, template)

    return deployed


@pytest.fixture(scope="session")
def deploy_sample(deploy: Callable[..., Stack]) -> Callable[..., Stack]:
    """Deploy for one of the sample data sets: ``deploy_sample("wine", ApprovalTimeoutDays="1")``."""

    def deployed(sample: str, template: Path = ROOT / "template.yaml", **parameters: str) -> Stack:
        described = SAMPLES[sample]
        return deploy(template, TargetColumn=described.target, IdColumn=described.key, **parameters)

    return deployed


@pytest.fixture(scope="module")
def stack_of(deploy_sample: Callable[..., Stack]) -> Callable[[str], Stack]:
    """The module's own stack for one of the sample data sets, deployed when it is first asked for.

    What a test finds there is what the tests before it left, so it compares with what there was before. A run
    trains on what came since the last one, so on what the test dropped.
    """
    return cache(partial(deploy_sample, TrainingData="new-drops"))


@pytest.fixture
def product_copy(tmp_path: Path) -> Path:
    """The product in a folder of its own, so that a test may change it. Returns the template's path."""
    for name in PRODUCT:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return Path(shutil.copy(ROOT / "template.yaml", tmp_path))
