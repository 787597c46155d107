"""The way through a state machine without a detour, and what lies on it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any


def shortest_path(machine: Mapping[str, Any], end: str, through: Sequence[str] = ()) -> list[str]:
    """The states from the start to ``end`` with the fewest transitions, errors aside.

    Args:
        through: states that it has to pass, in order.

    Raises:
        ValueError: there is no such way.
    """
    path = [str(machine["StartAt"])]
    for goal in (*through, end):
        path += _between(machine["States"], path[-1], goal)[1:]
    return path


def functions_of(machine: Mapping[str, Any], path: Sequence[str]) -> list[str]:
    """The logical ids of the functions that the states of the path call, once per call."""
    found = []
    for name in path:
        function = machine["States"][name].get("Arguments", {})
        function = function.get("FunctionName", "") if isinstance(function, Mapping) else ""
        if match := re.fullmatch(r"\$\{(\w+)\}", str(function)):
            found.append(match[1])
    return found


def notifications_of(machine: Mapping[str, Any], path: Sequence[str]) -> int:
    """How many messages the states of the path publish."""
    return sum("sns:publish" in machine["States"][name].get("Resource", "") for name in path)


def _between(states: Mapping[str, Any], start: str, goal: str) -> list[str]:
    came_from: dict[str, str] = {}
    waiting = deque([start])
    while waiting:
        here = waiting.popleft()
        if here == goal:
            path = [here]
            while path[-1] != start:
                path.append(came_from[path[-1]])
            return path[::-1]
        for following in _next(states[here]):
            if following not in came_from and following != start:
                came_from[following] = here
                waiting.append(following)
    raise ValueError(f"No way leads from {start} to {goal}.")


def _next(state: Mapping[str, Any]) -> list[str]:
    found = [str(choice["Next"]) for choice in state.get("Choices", [])]
    return found + [str(state[key]) for key in ("Next", "Default") if key in state]
