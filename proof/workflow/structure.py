"""The machines as graphs: every way leads somewhere, everything is reached, bounded and told about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonata import JException

from dropforge.domain import errors
from dropforge_local.glue.workflow.expressions.engine import ReferenceJsonata
from proof.findings import Finding
from proof.product import Machine, Product, expressions_of, inner_machines, states_of

_SUBSTITUTION = re.compile(r"\$\{\w+\}")
_EVAL = re.compile(r"\$eval\b")
_STRING = re.compile(r'"(\\.|[^"\\])*"')
_ENDS = ("Succeed", "Fail")


def check_graph(product: Product) -> Iterator[Finding]:
    """Every Next exists, every state is reached, every way ends."""
    for machine in product.machines():
        yield from _graph(machine.definition(), machine.path)


def _graph(definition: Mapping[str, Any], where: str) -> Iterator[Finding]:
    states, waiting, reached = definition["States"], [("StartAt", definition["StartAt"])], set()
    while waiting:
        origin, name = waiting.pop()
        if name not in states:
            yield Finding(
                "dangling-next", f"{where} {origin}", f"leads to {name}, and there is no such state"
            )
            continue
        if name in reached:
            continue
        reached.add(name)
        state = states[name]
        following = list(_next(state))
        waiting += [(name, each) for each in following]
        if not following and state["Type"] not in _ENDS and not state.get("End"):
            yield Finding("no-end", f"{where} {name}", "has no Next and is no end")
        for inner in inner_machines(state):
            yield from _graph(inner, f"{where} {name}")
    for name in states.keys() - reached:
        yield Finding("unreached", f"{where} {name}", "no way leads to this state")


def _next(state: Mapping[str, Any]) -> Iterator[str]:
    yield from (state[field] for field in ("Next", "Default") if field in state)
    yield from (each["Next"] for field in ("Catch", "Choices") for each in state.get(field, []))


def check_conventions(product: Product) -> Iterator[Finding]:
    """JSONata, comments, time limits, bounded retries of what may pass, a Catch of everything."""
    for machine in product.machines():
        definition = machine.definition()
        if definition.get("QueryLanguage") != "JSONata":
            yield Finding("convention", machine.path, "is not written in JSONata")
        for field in ("Comment", "TimeoutSeconds"):
            if not definition.get(field):
                yield Finding("convention", machine.path, f"has no {field}")
        for name, state in states_of(definition):
            outer, _, own = name.rpartition(".")
            for message in _broken_conventions(own, state, is_inner=bool(outer)):
                yield Finding("convention", f"{machine.path} {name}", message)


def _broken_conventions(name: str, state: Mapping[str, Any], *, is_inner: bool) -> Iterator[str]:
    """What a state lacks; the failures of a state inside of a Map are the Map's to catch."""
    if not re.fullmatch(r"([A-Z][a-z0-9]*)+", name):
        yield "the name is not in PascalCase"
    if not state.get("Comment", "").strip():
        yield "has no Comment"
    if state["Type"] == "Task":
        yield from (
            f"has no {field}" for field in ("TimeoutSeconds", "Retry", "Arguments") if not state.get(field)
        )
        catches = state.get("Catch") or [{"ErrorEquals": []}]
        if not is_inner and catches[-1]["ErrorEquals"] != ["States.ALL"]:
            yield "the last Catch is not of States.ALL"
    for retry in state.get("Retry", []):
        yield from _broken_retry(state, retry)


def _broken_retry(state: Mapping[str, Any], retry: Mapping[str, Any]) -> Iterator[str]:
    if not (
        1 <= retry.get("MaxAttempts", 0) <= 60
        and retry.get("BackoffRate", 0) > 1
        and retry.get("MaxDelaySeconds", 121) <= 120
        and retry.get("JitterStrategy") == "FULL"
    ):
        yield f"the Retry of {', '.join(retry['ErrorEquals'])} is not bounded and spread out"
    for error in retry["ErrorEquals"]:
        own = getattr(errors, error, None)
        permanent = isinstance(own, type) and not issubclass(own, errors.RetryableError)
        if error == "States.ALL" or permanent:
            yield f"retries {error}, which does not pass"


# What the Lambda service itself fails with in passing; every call of a function waits it out.
_THROTTLED = "Lambda.TooManyRequestsException"
_PASSING = {"ServiceUnavailable", _THROTTLED}
_TIMED_OUT = "Sandbox.Timedout"
# A function that had the longest time that Lambda gives has it again for nothing, and is paid for again.
_LONGEST_S = 900


def check_tasks(product: Product) -> Iterator[Finding]:
    """A function's passing failures are retried, and no task but the first loses the data before it."""
    functions = product.functions()
    for machine in product.machines():
        definition = machine.definition()
        for name, state in states_of(definition):
            if state["Type"] != "Task":
                continue
            where = f"{machine.path} {name}"
            retried = {error for retry in state.get("Retry", []) for error in retry["ErrorEquals"]}
            if "lambda:invoke" in state["Resource"]:
                name_of_function = state["Arguments"]["FunctionName"].strip("${}")
                function = functions.get(name_of_function, {})
                for message in _broken_call(state, retried, function.get("Timeout", 0)):
                    yield Finding("convention", where, message)
            outputs = [
                state.get("Output", ""),
                *(catch.get("Output", "") for catch in state.get("Catch", [])),
            ]
            if name == definition["StartAt"]:
                del outputs[0]
            if "." not in name and not all("$states.input" in output for output in outputs):
                yield Finding("convention", where, "leaves data behind that do not hold what came before")


def _broken_call(state: Mapping[str, Any], retried: set[str], function_s: int) -> Iterator[str]:
    """What a task that calls a function lacks.

    Args:
        function_s: the function's own Timeout.
    """
    passing = _PASSING if function_s >= _LONGEST_S else {*_PASSING, _TIMED_OUT}
    if not retried >= passing:
        yield f"does not retry {', '.join(sorted(passing - retried))}"
    if function_s >= _LONGEST_S and _TIMED_OUT in retried:
        yield f"retries {_TIMED_OUT} of a function that had {function_s} s"
    limit_s = state.get("TimeoutSeconds", 0)
    if isinstance(limit_s, int) and limit_s <= function_s:
        yield f"gives up after {limit_s} s, when its function's own {function_s} s have not been told yet"
    if any(_THROTTLED in each["ErrorEquals"] and len(each["ErrorEquals"]) > 1 for each in state["Retry"]):
        yield f"does not count {_THROTTLED} apart: what others use passes later than what is broken"


def check_substituted_texts(product: Product) -> Iterator[Finding]:
    """Substitutions stand in strings, so that the file is JSON and no parameter changes its structure."""
    for machine in product.machines():
        if "${" in _STRING.sub("", machine.text):
            yield Finding("substitution", machine.path, "has a substitution outside of a string")


def check_expressions(product: Product) -> Iterator[Finding]:
    """Every JSONata expression is closed, parses, and calls nothing that Step Functions lacks."""
    for machine in product.machines():
        for name, state in states_of(machine.definition()):
            for expression in expressions_of(state):
                where = f"{machine.path} {name}"
                if not expression.endswith("%}"):
                    yield Finding("expression", where, f"is not closed by %}}: {expression}")
                    continue
                if _EVAL.search(expression):
                    yield Finding(
                        "expression", where, f"calls $eval, which Step Functions lacks: {expression}"
                    )
                try:
                    ReferenceJsonata(_SUBSTITUTION.sub("x", expression)[2:-2])
                except JException as error:
                    yield Finding("expression", where, f"{error}: {expression}")


def check_own_errors(product: Product) -> Iterator[Finding]:
    """An error that a machine raises by itself is a class of ours, or one that people find an answer to."""
    for machine in product.machines():
        for error in _raised(machine):
            known = hasattr(errors, error) or f"| `{error}` |" in product.troubleshooting
            if not known and error != "States.Timeout":
                where = "neither a class of errors.py nor in docs/troubleshooting.md"
                yield Finding("own-error", machine.path, f"raises {error}, which is {where}")


def _raised(machine: Machine) -> set[str]:
    return set(re.findall(r"'Error': '([\w.]+)'", machine.text))
