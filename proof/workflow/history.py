"""How many events the longest executions write into their history, which ends them at 25,000.

https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html. Every loop of a machine is walked
with what keeps it going for as long as the parameters' bounds allow; each call fails once and is tried again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from dropforge.application.await_decision import next_reminder_s
from proof.findings import Finding
from proof.iam.roles import values_of
from proof.product import Machine, Product
from proof.workflow.data import exploration
from proof.workflow.walk import Failure, context_of, step

MOST_EVENTS = 25_000
# Entered and exited; a call is scheduled, started and ends; and likewise its first try, which fails.
_EVENTS = {"Task": 2 + 3 + 3, "Map": 12}
_EVENTS_ELSE = 2
# What lies outside of the loops: every other state once, phases of a preparation in chunks twice.
_PHASES = 8
_START = datetime(2026, 11, 21, 9, tzinfo=UTC)


@dataclass
class Execution:
    """One that goes on and on: how long it has, and what it has written."""

    clock: datetime = _START
    events: int = 0
    calls: dict[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Since its start."""
        return (self.clock - _START).total_seconds()


Answer = Callable[[Execution, str, Any], Any]


@dataclass(frozen=True)
class Loop:
    """A loop of a machine: where it begins, and what the calls in it answer to keep it going.

    ``held`` goes over the recorded data that it begins with, which may have been at its end.
    """

    begin: str
    answers: Mapping[str, Answer]
    held: Mapping[str, Any] = field(default_factory=dict)


def check(product: Product) -> Iterator[Finding]:
    """No execution fills its history, whatever the parameters are within their bounds."""
    for machine in product.machines():
        events = longest_history(product, machine)
        if events >= MOST_EVENTS:
            yield Finding(
                "history",
                machine.path,
                f"an execution writes up to {events:,} events, and ends at {MOST_EVENTS:,}: look more seldom",
            )


def longest_history(product: Product, machine: Machine) -> int:
    """The events of the longest loops of a machine one after the other, and of its other states."""
    bounds = _bounds(product)
    values = values_of(product.template, bounds)
    given = {name: str(values.resolve(value)) for name, value in machine.given.items()}
    definition = machine.substituted(given)
    explored = exploration(product, machine)
    states = definition["States"].values()
    events = sum(map(_events_of, states)) * (_PHASES if any(each["Type"] == "Map" for each in states) else 1)
    for loop in _loops(machine.name, bounds):
        starts = explored.inputs.get(loop.begin, [])
        if starts:
            execution = Execution()
            start = {**copy.deepcopy(starts[0]), **loop.held}
            _walk(definition, loop, start, execution, values.arn(machine.logical_id))
            events += execution.events
    return events


def _events_of(state: Mapping[str, Any]) -> int:
    return _EVENTS.get(state["Type"], _EVENTS_ELSE)


def _walk(definition: Mapping[str, Any], loop: Loop, held: Any, execution: Execution, arn: str) -> None:
    """Walk until a call comes that the loop has no answer for, or the machine's time is up."""
    name, variables = loop.begin, dict[str, Any]()
    execution_arn = arn.replace(":stateMachine:", ":execution:") + ":longest"
    while execution.seconds < definition["TimeoutSeconds"] and execution.events < MOST_EVENTS:
        state = definition["States"][name]
        if state["Type"] == "Task" and name not in loop.answers:
            return
        execution.events += _events_of(state)
        execution.calls[name] = execution.calls.get(name, 0) + 1

        def answered(request: Any, name: str = name) -> Any:
            return loop.answers[name](execution, name, request)

        states = {"input": held, "context": context_of(execution_arn, name, {})}
        taken = step(state, states, variables, answered)
        execution.clock += timedelta(seconds=taken.wait_s or 0)
        if taken.following is None:
            return
        name, held = taken.following, taken.output


# --- what keeps them going --------------------------------------------------------------------------


def _bounds(product: Product) -> dict[str, str]:
    """The parameters' values with which executions take longest."""
    declared = product.document["Parameters"]

    def bound(name: str, which: str) -> str:
        return str(declared[name][which])

    return {
        "TrainingMaxRuntimeSeconds": bound("TrainingMaxRuntimeSeconds", "MaxValue"),
        "TrainingSpot": bound("TrainingSpot", "MaxValue"),
        "BatchMaxRuntimeSeconds": bound("BatchMaxRuntimeSeconds", "MaxValue"),
        "ApprovalTimeoutDays": bound("ApprovalTimeoutDays", "MaxValue"),
        "ApprovalReminderHours": bound("ApprovalReminderHours", "MinValue"),
        # As many as the pattern takes.
        "TrainingInstanceTypes": ",".join(["ml.m5.large"] * 10),
        "BatchInstanceTypes": ",".join(["ml.m5.large"] * 10),
    }


def _loops(machine: str, bounds: Mapping[str, str]) -> list[Loop]:
    if machine == "training":
        return [_job("Training", "TrainModel", bounds), _reminders(bounds)]
    if machine == "batch":
        return [_job("Transform", "TransformBatch", bounds)]
    return [_endpoint(begin) for begin in ("FindEndpoint", "DescribeEndpoint", "DescribeForRestore")]


def _job(noun: str, begin: str, bounds: Mapping[str, str]) -> Loop:
    """A job that runs almost as long as it may, and has no capacity in the end; and the next likewise."""
    limit_s = float(
        bounds[{"Training": "TrainingMaxRuntimeSeconds", "Transform": "BatchMaxRuntimeSeconds"}[noun]]
    )
    began: dict[str, float] = {}

    def create(execution: Execution, name: str, request: Any) -> Any:
        del name, request
        began["at"] = execution.seconds
        return {f"{noun}JobArn": "arn"}

    def describe(execution: Execution, name: str, request: Any) -> Any:
        del name
        is_over = execution.seconds - began["at"] > 0.9 * limit_s
        return {
            f"{noun}JobName": request[f"{noun}JobName"],
            f"{noun}JobArn": "arn",
            f"{noun}JobStatus": "Failed" if is_over else "InProgress",
            "SecondaryStatus": "Training",
            "FailureReason": "CapacityError: Unable to provision requested ML compute capacity.",
            "OutputDataConfig": {"S3OutputPath": "s3://b/"},
        }

    return Loop(begin, {begin: create, f"Describe{noun}Job": describe})


def _reminders(bounds: Mapping[str, str]) -> Loop:
    """Nobody decides, and everybody is reminded as often as the parameters allow."""
    reminder_s = max(1, int(float(bounds["ApprovalReminderHours"]) * 3600))
    timeout_s = float(bounds["ApprovalTimeoutDays"]) * 86_400

    def wait(execution: Execution, name: str, request: Any) -> Any:
        del name, request
        execution.clock += timedelta(seconds=reminder_s_of.get("next", 1))
        return Failure("States.Timeout", None)

    def look(execution: Execution, name: str, request: Any) -> Any:
        del name, request
        remaining_s = int(timeout_s - execution.seconds)
        wait_s = next_reminder_s(reminder_s, int(execution.seconds), remaining_s)
        reminder_s_of["next"] = wait_s
        answer = {
            "outcome": "waiting" if remaining_s > 0 else "overdue",
            "wait_s": wait_s,
            "decision": "pending",
            "notification": dict.fromkeys(("kind", "subject", "message"), "approval-reminder"),
        }
        return {"ExecutedVersion": "1", "StatusCode": 200, "Payload": {**answer, "version": 1}}

    reminder_s_of: dict[str, float] = {}
    return Loop(
        "AwaitApproval",
        {"AwaitApproval": wait, "CheckApproval": look, "AskReviewers": lambda *_: {"MessageId": "1"}},
    )


def _endpoint(begin: str) -> Loop:
    """An endpoint that never gets ready."""

    def describe(execution: Execution, name: str, request: Any) -> Any:
        del execution, name
        return {"EndpointName": request["EndpointName"], "EndpointStatus": "Updating"}

    return Loop(begin, {begin: describe}, {"poll": {"count": 0}})
