"""Evaluates a state's fields as Step Functions does; a value that is undefined is an error."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from dropforge_local.glue.seams import stepfunctions
from dropforge_local.glue.workflow.expressions.engine import ReferenceJsonata
from proof.product import is_expression


class Undefined(Exception):
    """An expression has no value: States.QueryEvaluationError on AWS."""


class BrokenExpression(Exception):
    """An expression fails on this input: States.QueryEvaluationError on AWS."""


@dataclass(frozen=True)
class Evaluation:
    """What the local host's engine made of an expression.

    Args:
        expression: without its ``{% %}``.
        variables: ``$states`` and what ``Assign`` set, as JSON.
        outcome: ``{"value": …}``, ``{"undefined": true}`` or ``{"error": …}``, as JSON.
    """

    expression: str
    variables: str
    outcome: str


_witness = ContextVar[dict[tuple[str, str], Evaluation] | None]("_witness", default=None)


@contextlib.contextmanager
def witnessed() -> Iterator[Mapping[Any, Evaluation]]:
    """Keep every evaluation while this is entered, each kind once."""
    seen = dict[tuple[str, str], Evaluation]()
    token = _witness.set(seen)
    try:
        yield seen
    finally:
        _witness.reset(token)


def evaluate(value: Any, states: Mapping[str, Any], variables: Mapping[str, Any] | None = None) -> Any:
    """Evaluate every ``{% … %}`` in a field of a state.

    Args:
        states: what ``$states`` is: input, context, and result or errorOutput.
        variables: what ``Assign`` set before.

    Raises:
        Undefined, BrokenExpression: the expression is named.
    """
    if isinstance(value, dict):
        return {name: evaluate(each, states, variables) for name, each in value.items()}
    if isinstance(value, list):
        return [evaluate(each, states, variables) for each in value]
    if not is_expression(value):
        return value
    expression, bound = value[2:-2].strip(), {**(variables or {}), "states": states}
    outcome = outcome_of(expression, bound)
    seen = _witness.get()
    if seen is not None:
        given = json.dumps(bound)
        seen.setdefault((expression, given), Evaluation(expression, given, json.dumps(outcome)))
    if "error" in outcome:
        raise BrokenExpression(f"{outcome['error']}: {expression}")
    if "undefined" in outcome:
        raise Undefined(expression)
    return outcome["value"]


def outcome_of(expression: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """What the local host's engine makes of an expression: its value, undefined, or an error."""
    try:
        result = _run(expression, variables)
        # The library has one None for null and for undefined; only the second does not exist.
        if result is None and not _run(f"$exists(({expression}))", variables):
            return {"undefined": True}
        return {"value": json.loads(json.dumps(result, allow_nan=False))}
    except Exception as error:  # as on the host, where whatever the library raises fails the state
        return {"error": f"{getattr(error, 'error', type(error).__name__)}: {error}"}


@functools.cache
def _parsed(expression: str) -> ReferenceJsonata:
    program = ReferenceJsonata(expression)
    stepfunctions._register_sfn_jsonata_functions(program)
    return program


def _run(expression: str, variables: Mapping[str, Any]) -> Any:
    return _parsed(expression).evaluate(None, variables)
