"""What CreateStateMachine refuses: a definition whose states don't fit together.

The rules are the Amazon States Language's (https://states-language.net) as far as a wrong definition would
otherwise be found only while it runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_TYPES = frozenset({"Task", "Pass", "Choice", "Wait", "Succeed", "Fail", "Parallel", "Map"})
_TERMINAL = frozenset({"Succeed", "Fail"})
# Fields of one query language that a state of the other may not have.
_JSONPATH_ONLY = frozenset(
    [
        "InputPath",
        "OutputPath",
        "Parameters",
        "ResultPath",
        "ResultSelector",
        "ItemsPath",
        "SecondsPath",
        "TimestampPath",
        "TimeoutSecondsPath",
        "HeartbeatSecondsPath",
        "MaxConcurrencyPath",
        "ErrorPath",
        "CausePath",
    ]
)
_JSONATA_ONLY = frozenset({"Arguments", "Output", "Items"})


def problems(text: str) -> list[str]:
    """Every problem of a definition, each with its path; empty for a valid one."""
    try:
        definition = json.loads(text)
    except (TypeError, ValueError) as error:
        return [f"INVALID_JSON_DESCRIPTION: {error}"]
    if not isinstance(definition, dict):
        return ["INVALID_JSON_DESCRIPTION: the definition is no object"]
    return [
        f"SCHEMA_VALIDATION_FAILED: {text}"
        for text in _machine(definition, "", definition.get("QueryLanguage"))
    ]


def _machine(machine: dict[str, Any], path: str, language: str | None) -> Iterator[str]:
    states = machine.get("States")
    if not isinstance(states, dict) or not states:
        yield f"States must be an object with at least one state at {path or '/'}"
        return
    if machine.get("StartAt") not in states:
        yield f"StartAt {machine.get('StartAt')!r} is not among the states at {path or '/'}"
    reached = {machine.get("StartAt")}
    for name, state in states.items():
        where = f"{path}/States/{name}"
        if not isinstance(state, dict) or state.get("Type") not in _TYPES:
            kind = state.get("Type") if isinstance(state, dict) else state
            yield f"{kind!r} is no state type at {where}/Type"
            continue
        for target in _targets(state):
            reached.add(target)
            if target not in states:
                yield f"MISSING_TRANSITION_TARGET: no state {target!r} at {where}"
        yield from _state(state, where, language)
    for name in states.keys() - reached:
        yield f"MISSING_TRANSITION_TARGET: state {name!r} is not reachable at {path}/States/{name}"


def _targets(state: dict[str, Any]) -> Iterator[Any]:
    if "Next" in state:
        yield state["Next"]
    if "Default" in state:
        yield state["Default"]
    for choice in [*(state.get("Choices") or []), *(state.get("Catch") or [])]:
        if isinstance(choice, dict):
            yield choice.get("Next")


def _state(state: dict[str, Any], where: str, inherited: str | None) -> Iterator[str]:
    kind, language = state["Type"], state.get("QueryLanguage", inherited) or "JSONPath"
    if kind not in _TERMINAL and kind != "Choice" and ("Next" in state) == (state.get("End") is True):
        yield f"a {kind} state needs either Next or End: true at {where}"
    if kind == "Task" and not isinstance(state.get("Resource"), str):
        yield f"a Task state needs a Resource at {where}"
    if kind == "Choice" and not state.get("Choices"):
        yield f"a Choice state needs Choices at {where}"
    if kind == "Wait":
        ways = [field for field in ("Seconds", "Timestamp", "SecondsPath", "TimestampPath") if field in state]
        if len(ways) != 1:
            yield f"a Wait state needs exactly one of Seconds and Timestamp at {where}"
    if kind == "Parallel" and not state.get("Branches"):
        yield f"a Parallel state needs Branches at {where}"
    if kind == "Map" and not (state.get("ItemProcessor") or state.get("Iterator")):
        yield f"a Map state needs an ItemProcessor at {where}"
    foreign = _JSONPATH_ONLY if language == "JSONata" else _JSONATA_ONLY
    for field in sorted(foreign & state.keys()):
        yield f"{field} is no field of a {language} state at {where}"
    yield from _handlers(state, where)
    for index, branch in enumerate(state.get("Branches") or []):
        yield from _machine(branch, f"{where}/Branches/{index}", language)
    for field in ("ItemProcessor", "Iterator"):
        if isinstance(state.get(field), dict):
            yield from _machine(state[field], f"{where}/{field}", language)


def _handlers(state: dict[str, Any], where: str) -> Iterator[str]:
    for field in ("Retry", "Catch"):
        handlers = state.get(field) or []
        for index, handler in enumerate(handlers):
            names = handler.get("ErrorEquals") if isinstance(handler, dict) else None
            if not isinstance(names, list) or not names:
                yield f"ErrorEquals must name at least one error at {where}/{field}/{index}"
                continue
            if "States.ALL" in names and (len(names) > 1 or index < len(handlers) - 1):
                yield f"States.ALL must stand alone and last at {where}/{field}/{index}"
    heartbeat, timeout = state.get("HeartbeatSeconds"), state.get("TimeoutSeconds")
    if isinstance(heartbeat, int) and isinstance(timeout, int) and heartbeat >= timeout:
        yield f"HeartbeatSeconds must be smaller than TimeoutSeconds at {where}"
