"""Walks a state machine's definition with given task results, as Step Functions would evaluate it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proof.workflow.jsonata import evaluate
from proof.workflow.requests import check_request

_LONGEST_S = 99_999_999


class BrokenState(Exception):
    """A state can't be run with this input; the message says what is wrong."""


@dataclass(frozen=True)
class Failure:
    """What a task fails with."""

    error: str
    cause: str | None = ""

    def output(self) -> dict[str, Any]:
        """``$states.errorOutput``."""
        return {"Error": self.error} if self.cause is None else {"Error": self.error, "Cause": self.cause}


@dataclass(frozen=True)
class Step:
    """Where a state leads: ``following`` is None at an end, which is ``error`` for a Fail state."""

    following: str | None
    output: Any
    error: str | None = None
    cause: str | None = None
    wait_s: int | None = None


def context_of(execution: str, name: str, start: Any) -> dict[str, Any]:
    """The context object in a state."""
    return {
        "Execution": {
            "Id": execution,
            "Name": execution.rsplit(":", 1)[-1],
            "Input": start,
            "StartTime": "2026-11-21T09:00:00.000Z",
        },
        "State": {"Name": name, "RetryCount": 0, "EnteredTime": "2026-11-21T09:00:00.000Z"},
        "StateMachine": {
            "Id": execution.replace(":execution:", ":stateMachine:").rpartition(":")[0],
            "Name": execution.split(":")[6],
        },
        "Task": {"Token": "AQCEAAAAKgAAAAMAAAAAAAAAAR2l1vDqHkLz5V0p"},
    }


def request_of(state: Mapping[str, Any], states: Mapping[str, Any], variables: Mapping[str, Any]) -> Any:
    """A task's request, checked.

    Raises:
        BrokenState, Undefined, BrokenExpression, InvalidRequest.
    """
    request = evaluate(state["Arguments"], states, variables)
    timeout_s = evaluate(state["TimeoutSeconds"], states, variables)
    if not isinstance(timeout_s, int) or not 0 < timeout_s <= _LONGEST_S:
        raise BrokenState(f"TimeoutSeconds is {timeout_s!r}")
    check_request(state["Resource"], request)
    return request


def step(
    state: Mapping[str, Any], states: dict[str, Any], variables: dict[str, Any], answer: Callable[[Any], Any]
) -> Step:
    """Run one state.

    Args:
        states: ``$states`` with input and context.
        variables: those of ``Assign``; the state may add to them.
        answer: gives a Task's result, or a Failure, for its request; a Map's for what it reads.

    Raises:
        BrokenState, Undefined, BrokenExpression, InvalidRequest.
    """
    kind, held = state["Type"], states["input"]
    if kind in ("Task", "Map", "Parallel"):
        request = request_of(state, states, variables) if kind == "Task" else _items(state, states, variables)
        return _ended(state, states, variables, answer(request))
    if kind == "Choice":
        for choice in state["Choices"]:
            chosen = evaluate(choice["Condition"], states, variables)
            if not isinstance(chosen, bool):
                raise BrokenState(f"the condition {choice['Condition']} is {chosen!r}")
            if chosen:
                return _leave(choice, choice["Next"], states, variables, held)
        return _leave(state, state["Default"], states, variables, held)
    if kind == "Fail":
        error, cause = (evaluate(state.get(name, ""), states, variables) for name in ("Error", "Cause"))
        if not isinstance(error, str) or not isinstance(cause, str):
            raise BrokenState(f"fails with {error!r} and {cause!r}, which have to be texts")
        return Step(None, held, error, cause)
    wait_s = None
    if kind == "Wait":
        wait_s = evaluate(state["Seconds"], states, variables)
        if not isinstance(wait_s, int) or not 0 <= wait_s <= _LONGEST_S:
            raise BrokenState(f"waits {wait_s!r}")
    left = _leave(state, state.get("Next"), states, variables, held)
    return Step(left.following, left.output, wait_s=wait_s)


def _items(state: Mapping[str, Any], states: dict[str, Any], variables: Mapping[str, Any]) -> Any:
    """What a Map or Parallel state asks for: its evaluated arguments, items, reader, writer and limits."""
    fields = (
        "Items",
        "ItemReader",
        "ItemBatcher",
        "ResultWriter",
        "MaxConcurrency",
        "ToleratedFailurePercentage",
    )
    return {
        name: evaluate(state[name], states, variables)
        for name in (*fields, "ToleratedFailureCount", "Arguments")
        if name in state
    }


def _ended(state: Mapping[str, Any], states: dict[str, Any], variables: dict[str, Any], result: Any) -> Step:
    if not isinstance(result, Failure):
        return _leave(state, state.get("Next"), {**states, "result": result}, variables, result)
    for catch in state.get("Catch", []):
        if result.error in catch["ErrorEquals"] or "States.ALL" in catch["ErrorEquals"]:
            caught = {**states, "errorOutput": result.output()}
            return _leave(catch, catch["Next"], caught, variables, result.output())
    raise BrokenState(f"catches no {result.error}")


def _leave(
    part: Mapping[str, Any],
    following: str | None,
    states: Mapping[str, Any],
    variables: dict[str, Any],
    default: Any,
) -> Step:
    output = evaluate(part.get("Output", default), states, variables)
    assigned = evaluate(part.get("Assign", {}), states, variables)
    variables.update(assigned)
    return Step(following, output)


@dataclass
class Walk:
    """What an execution did."""

    status: str = "RUNNING"
    output: Any = None
    error: str | None = None
    cause: str | None = None
    states: list[str] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)
    requests: dict[str, list[Any]] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)


Answer = Callable[[str, Any, int], Any]


def walk(
    machine: Mapping[str, Any], start: Any, answer: Answer, execution: str, first: str | None = None
) -> Walk:
    """Run the machine; ``answer(state, request, how_often)`` gives each task's result or a Failure.

    ``first`` begins in the middle, with ``start`` as that state's input.
    """
    done, variables = Walk(), dict[str, Any]()
    name, held = first or machine["StartAt"], start
    while done.status == "RUNNING":
        if len(done.states) >= 2000:
            raise BrokenState(f"no end: {done.states[-20:]}")
        state = machine["States"][name]
        done.states.append(name)
        done.inputs[name] = held

        def answered(request: Any, name: str = name) -> Any:
            before = done.requests.setdefault(name, [])
            before.append(request)
            return answer(name, request, len(before))

        states = {"input": held, "context": context_of(execution, name, start)}
        taken = step(state, states, variables, answered)
        if taken.wait_s is not None:
            done.waits.append(taken.wait_s)
        if taken.following is None:
            done.status = "FAILED" if state["Type"] == "Fail" else "SUCCEEDED"
            done.output, done.error, done.cause = taken.output, taken.error, taken.cause
        else:
            name = taken.following
        held = taken.output
    return done
