"""A state machine's definition as a graph: what can follow what, and which of it is worth drawing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Step(StrEnum):
    """Why one state follows another."""

    NEXT = "next"
    CHOICE = "choice"
    CATCH = "catch"


@dataclass(frozen=True)
class Edge:
    """One state can follow another."""

    source: str
    target: str
    step: Step


@dataclass(frozen=True)
class State:
    """One state of the definition. ``resource`` and ``function`` are those of a task, where it has them."""

    name: str
    kind: str
    comment: str
    resource: str | None = None
    function: str | None = None


@dataclass(frozen=True)
class StateGraph:
    """The top level of a state machine; what runs inside a Map or a Parallel is one state of it."""

    start: str
    states: Mapping[str, State]
    edges: tuple[Edge, ...]

    @classmethod
    def of(cls, definition: str) -> StateGraph:
        """Read a definition in Amazon States Language, as Step Functions returns it."""
        document = json.loads(definition)
        states = {name: _state(name, body) for name, body in document["States"].items()}
        edges = dict.fromkeys(
            edge for name, body in document["States"].items() for edge in _edges(name, body)
        )
        return cls(document["StartAt"], states, tuple(edges))

    def worth_drawing(self, visited: Set[str], *, with_errors: bool) -> StateGraph:
        """The part that a reader wants: what runs when nothing breaks, and wherever this execution went.

        ``with_errors`` keeps everything.
        """
        if with_errors:
            return self
        kept = self._reachable() | (visited & self.states.keys())
        ordinary = {(edge.source, edge.target) for edge in self.edges if edge.step is not Step.CATCH}

        def is_kept(edge: Edge) -> bool:
            if edge.step is not Step.CATCH:
                return edge.source in kept and edge.target in kept
            return {edge.source, edge.target} <= visited and (edge.source, edge.target) not in ordinary

        edges = tuple(edge for edge in self.edges if is_kept(edge))
        return StateGraph(
            self.start, {name: self.states[name] for name in self.states if name in kept}, edges
        )

    def to_mermaid(self) -> str:
        """The graph in Mermaid's language; the n-th state's node is ``s<n>``."""
        node = {name: f"s{index}" for index, name in enumerate(self.states)}
        lines = ["flowchart TB"]
        for name, state in self.states.items():
            left, right = _SHAPES.get(state.kind, ("[", "]"))
            lines.append(f'{node[name]}{left}"{_escaped(name)}"{right}')
        for edge in self.edges:
            arrow = "-.->" if edge.step is Step.CATCH else "-->"
            lines.append(f"{node[edge.source]} {arrow} {node[edge.target]}")
        return "\n".join(lines)

    def _reachable(self) -> set[str]:
        following: dict[str, list[str]] = {}
        for edge in self.edges:
            if edge.step is not Step.CATCH:
                following.setdefault(edge.source, []).append(edge.target)
        found, to_visit = {self.start}, [self.start]
        while to_visit:
            for name in following.get(to_visit.pop(), []):
                if name not in found:
                    found.add(name)
                    to_visit.append(name)
        return found


_SHAPES = {"Choice": ("{{", "}}"), "Succeed": ("([", "])"), "Fail": ("([", "])")}


def _escaped(name: str) -> str:
    """A state's name inside a quoted label: Mermaid reads ``#…;`` as a character."""
    return name.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")


def _state(name: str, body: Mapping[str, Any]) -> State:
    arguments = body.get("Arguments") or body.get("Parameters") or {}
    function = arguments.get("FunctionName") if isinstance(arguments, Mapping) else None
    return State(
        name=name,
        kind=body["Type"],
        comment=body.get("Comment", ""),
        resource=body.get("Resource"),
        function=function if isinstance(function, str) and not function.startswith("{%") else None,
    )


def _edges(name: str, body: Mapping[str, Any]) -> Iterator[Edge]:
    if "Next" in body:
        yield Edge(name, body["Next"], Step.NEXT)
    for choice in body.get("Choices", []):
        yield Edge(name, choice["Next"], Step.CHOICE)
    if "Default" in body:
        yield Edge(name, body["Default"], Step.CHOICE)
    for catcher in body.get("Catch", []):
        yield Edge(name, catcher["Next"], Step.CATCH)
