"""Evaluates a state's fields as Step Functions does; a value that is undefined is an error."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import jsonata

from proof.product import is_expression


class Undefined(Exception):
    """An expression has no value: States.QueryEvaluationError on AWS."""


class BrokenExpression(Exception):
    """An expression fails on this input: States.QueryEvaluationError on AWS."""


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
    text = value[2:-2].strip()
    result = _run(text, states, variables or {})
    # The library has one None for null and for undefined; only the second does not exist.
    if result is None and not _run(f"$exists(({text}))", states, variables or {}):
        raise Undefined(text)
    return json.loads(json.dumps(result, allow_nan=False))


@functools.cache
def _parsed(expression: str) -> jsonata.Jsonata:
    return jsonata.Jsonata(expression)


def _run(expression: str, states: Mapping[str, Any], variables: Mapping[str, Any]) -> Any:
    program = _parsed(expression)
    for name, value in {**variables, "states": states}.items():
        program.assign(name, value)
    try:
        return program.evaluate(None)
    except jsonata.JException as error:
        raise BrokenExpression(f"{error}: {expression}") from error
