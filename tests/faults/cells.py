"""The cells of the matrix: which fault meets which state, and how that has to end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.faults.kinds import Fault, error_class, faults_of
from tests.faults.scenarios import GROUPS, SERVICE_FAULTS, Group, Outcome, Scenario

ROOT = Path(__file__).resolve().parents[2]
# Where these fail for good, the next deployment's RetireModels clears away what is not used any more.
_LEAVE_CLEARING = ("ReadLivePointer", "RetireModels", "SettleDeployment")
_KILLED = {"updates": "training", "deployments": "deployment"}


@dataclass(frozen=True)
class Cell:
    """One fault at one state.

    ``retires`` says that what the fault leaves behind goes with the next deployment's RetireModels, and
    ``takes_over`` that it takes the next deployment itself.
    """

    group: str
    scenario: Scenario
    state: str
    fault: Fault
    outcome: Outcome
    operation: str = ""
    retires: bool = False
    takes_over: bool = False

    @property
    def name(self) -> str:
        name = f"{self.scenario.machine}.{self.state} x {self.fault.kind}"
        return f"{name}, {self.scenario.name}" if self._is_tried_on_several_ways else name

    @property
    def _is_tried_on_several_ways(self) -> bool:
        ways = [each for group in GROUPS for each in group.scenarios if each.machine == self.scenario.machine]
        return sum(self.state in each.states for each in ways) > 1


def definition(machine: str) -> dict[str, Any]:
    """A state machine's definition."""
    text = (ROOT / "statemachine" / f"{machine}.asl.json").read_text(encoding="utf-8")
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def all_cells() -> list[Cell]:
    """Every cell, group by group."""
    states = {machine: definition(machine)["States"] for machine in ("training", "deployment")}
    cells = [cell for group in GROUPS for cell in _task_cells(group, states)]
    cells += [
        Cell(group, scenario, state, Fault(kind, "service", error), scenario.outcome, operation)
        for group, kind, scenario, state, (operation, error) in SERVICE_FAULTS
    ]
    cells += [cell for group in GROUPS if group.name in _KILLED for cell in _kill_cells(group)]
    return cells


def unreached_states() -> list[str]:
    """Task states that no scenario tries."""
    tried = {(each.machine, state) for group in GROUPS for each in group.scenarios for state in each.states}
    return [
        f"{machine}.{name}"
        for machine in ("training", "deployment")
        for name, state in definition(machine)["States"].items()
        if state["Type"] == "Task" and (machine, name) not in tried
    ]


def states_without_calls() -> dict[str, list[str]]:
    """The states that call nothing, so that nothing can fail in them, by type."""
    found: dict[str, list[str]] = {}
    for machine in ("training", "deployment"):
        for name, state in definition(machine)["States"].items():
            if state["Type"] != "Task":
                found.setdefault(state["Type"], []).append(f"{machine}.{name}")
    return found


def _task_cells(group: Group, states: Mapping[str, Any]) -> Iterator[Cell]:
    for scenario in group.scenarios:
        for state in scenario.states:
            described = states[scenario.machine][state]
            faults = faults_of(described["Resource"])
            # What stays broken comes last: it may leave something for the next deployment to clear away.
            for fault in sorted(faults, key=lambda each: each.is_permanent):
                used = replace(fault, times=_calls(state, described, fault)) if fault.is_permanent else fault
                yield Cell(
                    group.name,
                    scenario,
                    state,
                    used,
                    _expected(scenario, state, described, fault),
                    retires=fault.is_permanent and state in _LEAVE_CLEARING,
                    takes_over=fault.is_permanent and state == "DeleteUnverifiedEndpoint",
                )


def _calls(state: str, described: Mapping[str, Any], fault: Fault) -> int:
    """How many calls a refusal has to meet until the state gives up."""
    for retrier in described["Retry"]:
        if fault.error in retrier["ErrorEquals"]:
            attempts: int = retrier["MaxAttempts"] + 1
            # A restore that is refused is looked at and tried again until its 60 polls are used up.
            return attempts * 7 if state == "RestoreEndpoint" else attempts
    return 7 if state == "FindEndpoint" else 1


def _kill_cells(group: Group) -> Iterator[Cell]:
    (scenario,) = group.scenarios
    for state in scenario.states:
        for moment in ("before", "after"):
            fault = Fault(f"kill-{moment}", f"hold_{moment}")
            yield Cell(f"kills in {group.name}", scenario, state, fault, scenario.outcome)


_RESTORING = ("DescribePreviousConfig", "RestoreEndpoint")


def _expected(scenario: Scenario, state: str, described: Mapping[str, Any], fault: Fault) -> Outcome:
    undisturbed, resource = scenario.outcome, described["Resource"]
    if not fault.is_permanent:
        return undisturbed
    if ":sns:" in resource:
        # What is told last is told by Notify, and a restore that failed at once.
        untold = state == "Notify" or undisturbed.told == "restore-failed"
        return replace(undisturbed, told=None) if untold else undisturbed
    if state == "SettleDeployment":
        return replace(
            undisturbed, error=undisturbed.error or error_class(resource), told="deployment-failed"
        )
    if state == "ReadLivePointer":
        # Nobody can tell whether it was promoted: what serves stays, and the promotion had been made.
        return Outcome("AccessDenied", told="deployment-failed", moves_live=True)
    if state in (
        "RetireModels",
        "StopTrainingJob",
        "DeleteUnverifiedEndpoint",
        # Refused for as long as one visit tries; the next look tries again.
        "DescribeForRestore",
        "DeleteForRestore",
        "CreatePreviousEndpoint",
    ):
        return undisturbed
    refused = error_class(resource)
    if scenario.machine == "training":
        if state == "AdmitRun":
            # There is no run yet; the reconciliation has the drop covered by another execution.
            return Outcome(refused, None, None, "run-failed")
        if state == "CloseRun":
            # What broke first stays; the reconciliation ends the run.
            return Outcome(undisturbed.error or refused, "failed", "ExecutionEnded", "run-failed")
        return Outcome(refused, "failed", refused, "run-failed")
    if state in _RESTORING:
        return replace(undisturbed, told="restore-failed")
    if state in ("FindModel", "FindEndpointConfig", "FindChange"):
        refused = "SageMaker.AmazonSageMakerException"
    return Outcome(error=refused, told="deployment-failed")
