"""Runs every expression of the machines on recorded data, along every way that the data can take.

From each recorded input the machine is walked with each recorded result of each task, and with failures for
each of its catchers. Data that are alike (see ``proof.recordings.shape``) are followed once, and of their
kinds so many as make a check of seconds, the shortest ways first. What a state reads has to be there.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.model import StructureShape

from proof.findings import Finding
from proof.iam.intrinsics import Values
from proof.iam.roles import values_of
from proof.product import Machine, Product, expressions_of, inner_machines, states_of
from proof.recordings import Recording, facts, shape, words_of
from proof.workflow.jsonata import BrokenExpression, Evaluation, Undefined, witnessed
from proof.workflow.operations import UnknownResource, operation_of
from proof.workflow.requests import InvalidRequest
from proof.workflow.walk import BrokenState, Failure, context_of, step

_READ = re.compile(r"\$states\.(input|result)((?:\.[A-Za-z_]\w*)+)")
# Kinds of data that are followed through one state, and of those the ones that its failures are tried on.
# Data that tell something new of a member are followed in any case.
_MOST_KINDS, _MOST_CHOICES, _MOST_FAILING = 12, 160, 1
_REMEDY = "run the workflow tests anew with `make record`, or add a walk of it to tests/contract"


@dataclass
class Explored:
    """What the walks came by: states with inputs, requests and results, what went wrong, each evaluation."""

    inputs: dict[str, list[Any]] = field(default_factory=dict)
    results: dict[str, list[Any]] = field(default_factory=dict)
    requests: dict[str, list[Any]] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)


def check(product: Product) -> Iterator[Finding]:
    """Nothing undefined, nothing that AWS would refuse, nothing read that is not there, every state seen."""
    for machine in product.machines():
        explored = exploration(product, machine)
        for where, message in sorted(set(explored.problems)):
            yield Finding("data", f"{machine.path} {where}", message)
        for name, state in states_of(machine.definition()):
            yield from _coverage(f"{machine.path} {name}", name, state, explored)


def _coverage(where: str, name: str, state: Mapping[str, Any], explored: Explored) -> Iterator[Finding]:
    if name not in explored.inputs:
        yield Finding("unrecorded", where, f"no recorded data lead to this state; {_REMEDY}")
        return
    if state["Type"] == "Task" and name not in explored.results:
        yield Finding("unrecorded", where, f"no result of this state is recorded; {_REMEDY}")
    known = {"input": explored.inputs[name], "result": explored.results.get(name, [])}
    for expression in set(expressions_of(state)):
        for source, path in set(_READ.findall(expression)):
            names = path.strip(".").split(".")
            if source == "result" and _answers_with(state, names):
                continue
            if known[source] and not any(_has(value, names) for value in known[source]):
                yield Finding("unprovided", where, f"reads $states.{source}{path}, which nothing provides")


def _answers_with(state: Mapping[str, Any], names: list[str]) -> bool:
    """Whether AWS's model of the operation has the member, be it always there or not."""
    try:
        operation = operation_of(state.get("Resource", ""))
    except UnknownResource:
        return False
    shape: Any = operation.output_shape
    for name in names:
        if not isinstance(shape, StructureShape) or name not in shape.members:
            return False
        shape = shape.members[name]
    return True


def _has(value: Any, names: list[str]) -> bool:
    if not names:
        return True
    if isinstance(value, list):
        return not value or any(_has(each, names) for each in value)
    return isinstance(value, dict) and names[0] in value and _has(value[names[0]], names[1:])


def _members(value: Any) -> Iterator[str]:
    """The names of a document's members, and of theirs."""
    for name, each in value.items() if isinstance(value, dict) else ():
        yield name
        yield from (f"{name}.{inner}" for inner in each) if isinstance(each, dict) else ()


def exploration(product: Product, machine: Machine, values: Values | None = None) -> Explored:
    """Walk one machine along every way; with an example deployment's names in place of its substitutions."""
    values = values or values_of(product.template)
    given = {name: str(values.resolve(value)) for name, value in machine.given.items()}
    try:
        definition = json.dumps(machine.substituted(given))
    except KeyError as error:
        return Explored(problems=[("", f"the substitution {error} is not given")])
    return _explored(definition, machine.name, values.arn(machine.logical_id))


@functools.lru_cache(maxsize=16)
def _explored(definition: str, machine: str, machine_arn: str) -> Explored:
    found = Explored()
    execution = machine_arn.replace(":stateMachine:", ":execution:") + ":run-1"
    described = json.loads(definition)
    with witnessed() as evaluations:
        _Explorer(found, Recording.load(machine), execution, words_of(described)).machine(described, "")
    found.evaluations += evaluations.values()
    return found


class _Explorer:
    def __init__(self, found: Explored, recording: Recording, execution: str, words: frozenset[str]) -> None:
        self._found = found
        self._words = words
        self._recording = recording
        self._execution = execution
        self._seen: set[Any] = set()
        self._kinds: Counter[str] = Counter()

    def machine(self, definition: Mapping[str, Any], inside: str) -> None:
        """Walk a machine, or what is inside a Map; names of inner states begin with ``inside``."""
        states = definition["States"]
        waiting = deque[tuple[str, Any, dict[str, Any]]](
            (name, entry.value, {})
            for name in states
            for entry in self._recording.inputs.get(f"{inside}{name}", [])
        )
        while waiting:
            name, value, variables = waiting.popleft()
            key = (inside, name, shape(value, self._words), shape(variables, self._words))
            if name not in states or key in self._seen:
                continue
            self._seen.add(key)
            self._kinds[f"{inside}{name}"] += 1
            if not self._is_followed(f"{inside}{name}", states[name]["Type"], value):
                continue
            waiting += self._leads(states[name], f"{inside}{name}", value, variables)
        for name, state in states.items():
            for inner in inner_machines(state):
                self.machine(inner, f"{inside}{name}.")

    def _is_followed(self, name: str, kind: str, value: Any) -> bool:
        """Whether there is room for another kind of data, or these tell what none told yet of a member."""
        told = {(name, frozenset(_members(value))), *((name, *each) for each in facts(value, self._words))}
        is_new = not told <= self._seen
        self._seen |= told
        # A Choice is cheap, and what it decides by may be all that differs.
        return is_new or self._kinds[name] <= (_MOST_CHOICES if kind == "Choice" else _MOST_KINDS)

    def _leads(
        self, state: Mapping[str, Any], name: str, value: Any, variables: dict[str, Any]
    ) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        self._found.inputs.setdefault(name, []).append(value)
        for answer in self._answers(state, name):
            # A walk has one execution's input; what the context holds of it is read from the recorded starts.
            states = {"input": value, "context": context_of(self._execution, name, value)}
            states["context"]["Map"] = {"Item": {"Index": 0, "Value": value}}
            after = dict(variables)

            def answered(request: Any, answer: Any = answer) -> Any:
                self._found.requests.setdefault(name, []).append(request)
                return answer

            try:
                taken = step(state, states, after, answered)
            except Undefined as error:
                self._found.problems.append((name, f"has no value with recorded data: {error}"))
                continue
            except (BrokenExpression, BrokenState, InvalidRequest, UnknownResource) as error:
                self._found.problems.append((name, str(error)))
                continue
            if answer is not None and not isinstance(answer, Failure):
                self._found.results.setdefault(name, []).append(answer)
            if taken.following is not None:
                yield taken.following, taken.output, after

    def _answers(self, state: Mapping[str, Any], name: str) -> list[Any]:
        if state["Type"] not in ("Task", "Map", "Parallel"):
            return [None]
        results = [entry.value for entry in self._recording.results.get(name, [])]
        if state["Type"] != "Task" and not results:
            results = [{}]  # what its children answered is theirs to show
        failures = [
            Failure(entry.value["Error"], entry.value.get("Cause"))
            for entry in self._recording.errors.get(name, [])
        ]
        if self._kinds[name] > _MOST_FAILING:
            return results
        for catch in state.get("Catch", []):
            named = catch["ErrorEquals"][0]
            error = "States.Timeout" if named == "States.ALL" else named
            failures += [Failure(error, None), Failure(error, "what it says")]
        return [*results, *failures]
