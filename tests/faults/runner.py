"""Runs cells: a host for each worker, a stack for each group, one cell after the other."""

from __future__ import annotations

import queue
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from dropforge_local.host import LocalHost
from dropforge_ops.stack.samples import write_samples
from tests.faults.bed import PATIENCE_S, SAMPLE, WAIT_SCALE, Bed
from tests.faults.cells import ROOT, Cell
from tests.faults.scenarios import GROUPS, Group, Outcome, sagemaker_fault
from tests.faults.soundness import fates, settle, states_of_drops
from tests.workflow.stack import kind_of, wait_for

_building = threading.Lock()
_stopping = threading.Event()
_numbers = count(1)


@dataclass(frozen=True)
class Result:
    """A cell and what was wrong in it; nothing if it passed."""

    cell: Cell
    problems: list[str]
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.problems


def run_cells(cells: Sequence[Cell], jobs: int, report: Callable[[Result], None]) -> list[Result]:
    """Run the cells on ``jobs`` hosts at once; ``report`` is called with each result as it comes."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.group, []).append(cell)
    waiting: queue.SimpleQueue[list[Cell]] = queue.SimpleQueue()
    # The longest first, so that the hosts end at about the same time.
    for each in sorted(groups.values(), key=len, reverse=True):
        waiting.put(each)
    results: list[Result] = []
    lock = threading.Lock()

    def keep(result: Result) -> None:
        with lock:
            results.append(result)
            report(result)

    with tempfile.TemporaryDirectory(prefix="dropforge-faults-") as folder:
        write_samples(Path(folder))
        data = Path(folder) / f"{SAMPLE}.csv"
        workers = [
            threading.Thread(target=_work, args=(waiting, data, keep), name=f"host {number}")
            for number in range(min(jobs, len(groups)))
        ]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                worker.join()
        except KeyboardInterrupt:
            _stopping.set()  # each host ends cleanly after the cell that it is at
            raise
    return results


def _work(waiting: queue.SimpleQueue[list[Cell]], data: Path, keep: Callable[[Result], None]) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="dropforge-faults-") as folder,
        LocalHost(ROOT, state_dir=Path(folder), wait_scale=WAIT_SCALE) as host,
    ):
        while not _stopping.is_set():
            try:
                cells = waiting.get_nowait()
            except queue.Empty:
                return
            run_group(host, data, cells, keep)


def run_group(host: LocalHost, data: Path, cells: Sequence[Cell], keep: Callable[[Result], None]) -> None:
    """Run one group's cells on a stack of their own."""
    group = _group_of(cells[0])
    started = time.monotonic()
    try:
        with _building:
            bed = Bed(host, f"f{next(_numbers)}", data, dict(group.parameters))
    except Exception:
        _give_up(cells, keep)
        return
    try:
        try:
            group.prepare(bed)
            problems = [f"before the first cell: {each}" for each in settle(bed)]
        except Exception:
            _give_up(cells, keep)
            return
        for cell in cells:
            if _stopping.is_set():
                return
            problems += run_cell(bed, cell)
            keep(Result(cell, problems, time.monotonic() - started))
            problems, started = [], time.monotonic()
    finally:
        bed.close()


def _give_up(cells: Sequence[Cell], keep: Callable[[Result], None]) -> None:
    problem = f"the stack could not be prepared: {traceback.format_exc(limit=-4)}"
    for cell in cells:
        keep(Result(cell, [problem], 0.0))


def _group_of(cell: Cell) -> Group:
    name = cell.group.removeprefix("kills in ")
    return next(group for group in GROUPS if group.name == name)


def run_cell(bed: Bed, cell: Cell) -> list[str]:
    """Run one cell; what was wrong."""
    try:
        return _problems(bed, cell)
    except Exception:
        return [traceback.format_exc(limit=-4)]
    finally:
        if bed.host.pid is None:
            bed.host.start()
        bed.host.clear_faults()


def _problems(bed: Bed, cell: Cell) -> list[str]:
    before = bed.stack.ledger.live()
    drops_before = states_of_drops(bed)
    told_before = len(bed.stack.notifications())
    for rule in cell.scenario.rules:
        bed.host.inject(
            bed.machine(cell.scenario.machine),
            rule.state,
            rule.kind,
            error=rule.error,
            cause=rule.cause,
            times=rule.times,
        )
    if cell.operation:
        sagemaker_fault(bed, cell.operation, cell.fault.error)
        execution = cell.scenario.act(bed)
        reached = True
    else:
        bed.host.inject(
            bed.machine(cell.scenario.machine),
            cell.state,
            cell.fault.rule,
            error=cell.fault.error,
            cause=cell.fault.cause,
            times=cell.fault.times,
        )
        if cell.fault.kind.startswith("kill-"):
            execution = _killed(bed, cell)
            reached = True
        else:
            execution = cell.scenario.act(bed)
            reached = any(each["state"] == cell.state and each["reached"] for each in bed.host.faults())
    bed.host.clear_faults()
    problems = [] if reached else [f"{cell.state} was not reached: {bed.stack.states(execution)}"]
    problems += _unexpected(bed, cell, execution, told_before)
    live = bed.stack.ledger.live()
    if (
        not cell.outcome.moves_live
        and before is not None
        and (live is None or live.version != before.version)
    ):
        problems.append(f"live is {live and live.version} instead of {before.version}")
    if cell.outcome.moves_live and (live is None or before is None or live.token == before.token):
        problems.append("no new version is live")
    if cell.takes_over:
        _take_over(bed)
    problems += settle(bed, retires=cell.retires)
    if cell.scenario.machine == "training":
        problems += fates(bed, execution)
    elif not cell.takes_over and states_of_drops(bed) != drops_before:
        problems.append("a deployment has moved drops")
    problems += [f"the client saw {error}" for error in sorted(set(bed.caller.take_errors()))]
    return problems


def _unexpected(bed: Bed, cell: Cell, execution: str, told_before: int) -> list[str]:
    """Where the end of the execution, of its run and its notification differ from what the cell expects."""
    outcome, problems = cell.outcome, []
    described = bed.stack.execution(execution)
    status = "FAILED" if outcome.error else "SUCCEEDED"
    if described["status"] != status or (outcome.error and described.get("error") != outcome.error):
        problems.append(
            f"the execution is {described['status']} with {described.get('error')}: "
            f"{described.get('cause')}, instead of {status} with {outcome.error}; "
            f"it went {' '.join(bed.stack.states(execution))}"
        )
    if cell.scenario.machine == "training":
        problems += _unexpected_run(bed, cell, execution)
    if outcome.told:
        told = outcome.told

        def look() -> bool:
            return any(
                kind_of(message) == told and _names_the_class(message, outcome)
                for message in bed.stack.notifications()[told_before:]
            )

        try:
            wait_for(told, look, 10)
        except AssertionError:
            kinds = [kind_of(each) for each in bed.stack.notifications()]
            problems.append(f"no notification {told!r} with its class, only {kinds[told_before:]}")
    return problems


def _names_the_class(message: Mapping[str, Any], outcome: Outcome) -> bool:
    """A failure's notification says what failed; that of a failed restore says what could not be restored."""
    wanted = outcome.run_error if outcome.run_error not in (None, "ExecutionEnded") else outcome.error
    return outcome.told == "restore-failed" or wanted is None or wanted in message["Message"]


def _unexpected_run(bed: Bed, cell: Cell, execution: str) -> list[str]:
    outcome = cell.outcome

    def look() -> bool:
        run = bed.run_of(execution)
        if run is None:
            return outcome.run is None
        return run.status == outcome.run and (run.error or {}).get("class") == outcome.run_error

    try:
        wait_for("run", look, 20)
    except AssertionError:
        run = bed.run_of(execution)
        seen = "there is no run" if run is None else f"run {run.run_id} is {run.status} with {run.error}"
        return [f"{seen}, instead of {outcome.run} with {outcome.run_error}"]
    return []


def _killed(bed: Bed, cell: Cell) -> str:
    """Kill the host in the middle of the state, start it again, and wait for the end."""
    if cell.scenario.machine == "deployment":
        live = bed.stack.ledger.live()
        version = 1 if live is not None and live.version == 2 else 2
        execution = bed.start_deployment(version, "late-approval")
    else:
        execution = bed.drop()
        if cell.state == "DeployModel":
            _approve(bed, execution)
    with bed.caller.paused():
        wait_for(f"{cell.state} in progress", lambda: bed.host.faults()[0]["reached"], PATIENCE_S)
        bed.host.kill()
        bed.host.start()
        wait_for("answer after the restart", bed.predicts, PATIENCE_S)
    if cell.scenario.machine == "training" and cell.state != "DeployModel":
        _approve(bed, execution)
    bed.ended(execution)
    return execution


def _approve(bed: Bed, execution: str) -> None:
    run = bed.wait_for_run(execution, "awaiting_approval")
    if run is not None and run.version is not None and not run.status.is_final:
        bed.stack.approve(run.version)


def _take_over(bed: Bed) -> None:
    """The next deployment that works takes over the endpoint which an earlier one could not delete."""
    execution = bed.train_and_approve()
    if bed.stack.execution(execution)["status"] != "SUCCEEDED":
        raise AssertionError(f"{execution} did not take over the endpoint")
