"""A small part of the fault matrix; ``make faults`` runs all of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dropforge_local.testing.forked_host import ForkedHost
from dropforge_ops.stack.samples import write_samples
from tests.faults.bed import SAMPLE, WAIT_SCALE, Bed
from tests.faults.cells import ROOT, Cell, all_cells, unreached_states
from tests.faults.runner import run_cell

pytestmark = pytest.mark.workflow

_SELECTED = (
    "training.AdmitRun x permanent",
    "training.TrainModel x duplicate",
    "training.DescribeTrainingJob x permanent",
    "training.CloseRun x permanent, bad data",
    "deployment.PlanDeployment x crash-after",
    "deployment.FindEndpoint x throttle",
    "deployment.UpdateEndpoint x crash-after",
    "deployment.SmokeTest x permanent",
    "deployment.PromoteModel x timeout",
    "deployment.UpdateEndpoint x kill-after",
)
_CELLS = {cell.name: cell for cell in all_cells()}


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder: Path = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    with ForkedHost(ROOT, state_dir=folder / "state", wait_scale=WAIT_SCALE) as host:
        stack = Bed(host, "selection", folder / f"{SAMPLE}.csv")
        try:
            stack.go_live(versions=2)
            yield stack
        finally:
            stack.close()


def test_a_scenario_reaches_every_task_state_of_both_machines() -> None:
    assert unreached_states() == []


@pytest.mark.parametrize("cell", [_CELLS[name] for name in _SELECTED], ids=_SELECTED)
def test_ends_as_documented_and_leaves_nothing_behind(bed: Bed, cell: Cell) -> None:
    assert run_cell(bed, cell) == []
