"""Hyperparameters: as people give them, as SageMaker carries them, and whether a ``model.py`` takes them."""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from dropforge.domain.errors import InvalidHyperparameters

DECLARATION = "HYPERPARAMETERS"
"""The name of a ``model.py``'s table of what it takes."""

RESERVED: Mapping[str, str] = {
    "metric": "the parameter QualityMetric sets it",
    "seed": "the parameter TrainingSeed sets it",
    "champion_sha256": "each run sets it",
    "tuning_trials": "the parameter TuningTrials sets it",
    "tuning_minutes": "the parameter TuningMinutes sets it",
    "decision_goal": "the parameters FalsePositiveCost and FalseNegativeCost, or MinimumPrecision and "
    "MinimumRecall, set it",
}
"""What the workflow sets, and where from."""

# SageMaker takes 100 of at most 256 and 2,500 characters:
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateTrainingJob.html
_MOST = 100 - len(RESERVED)
_NAME_CHARACTERS = 256
_VALUE_CHARACTERS = 2500

Value = str | int | float | bool
Declared = Mapping[str, Sequence[Value]]
"""By name either (lowest, highest), whole numbers where both are, or the texts there are to choose from."""


def typed(text: str) -> Value:
    """Read what `as_text` wrote: a number, boolean or quoted string as JSON does, else the text itself.

    >>> typed("0.5"), typed("5"), typed("true"), typed("auto"), typed('"5"'), typed("[1]")
    (0.5, 5, True, 'auto', '5', '[1]')
    """
    try:
        value = json.loads(text, parse_constant=str)
    except ValueError:
        return text
    return value if isinstance(value, int | float | str) else text


def as_text(value: Value) -> str:
    """Return a value as SageMaker carries it, so that `typed` gives it back.

    >>> as_text(0.5), as_text("auto"), as_text("5"), as_text(True)
    ('0.5', 'auto', '"5"', 'true')
    """
    if isinstance(value, str) and typed(value) == value and type(typed(value)) is str:
        return value
    return json.dumps(value, ensure_ascii=False)


def parse_hyperparameters(text: str) -> dict[str, str]:
    """Read a JSON object of numbers, booleans and strings; the values are as `as_text` writes them.

    >>> parse_hyperparameters('{"max_iter": 300, "estimator": "boosted"}')
    {'max_iter': '300', 'estimator': 'boosted'}

    Raises:
        InvalidHyperparameters: it is none, or SageMaker would not carry it.
    """
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise InvalidHyperparameters(f"Hyperparameters is no JSON ({error}): {text[:200]}") from error
    if not isinstance(found, dict):
        raise InvalidHyperparameters('Hyperparameters must be a JSON object, as {"max_iter": 300}.')
    return carried(found)


def carried(values: Mapping[str, Any]) -> dict[str, str]:
    """Return values as SageMaker carries them.

    Raises:
        InvalidHyperparameters: a value is no number, boolean or string, or something is too long.
    """
    problems = [
        f"{name} must be a number, a boolean or a string, not {json.dumps(value, default=str)[:80]}"
        for name, value in values.items()
        if not isinstance(value, str | int | float)
    ]
    texts = {name: as_text(value) for name, value in values.items() if isinstance(value, str | int | float)}
    problems += [
        f"{name[:80]} is longer than SageMaker takes ({_NAME_CHARACTERS} and {_VALUE_CHARACTERS} characters)"
        for name, text in texts.items()
        if len(name) > _NAME_CHARACTERS or len(text) > _VALUE_CHARACTERS
    ]
    problems += [f"{name!r} can't be set here: {RESERVED[name]}" for name in values if name in RESERVED]
    if len(values) > _MOST:
        problems.append(f"there are {len(values)}, at most {_MOST} are carried")
    if problems:
        raise InvalidHyperparameters(f"hyperparameters: {'; '.join(problems)}.")
    return texts


def problems_of(given: Mapping[str, Any], declared: Declared) -> list[str]:
    """Return what is wrong with values (not texts), one sentence each; nothing where all can be used.

    >>> problems_of({"lerning_rate": 0.1}, {"learning_rate": (0.0001, 1.0)})
    ["'lerning_rate' is none of learning_rate. Did you mean 'learning_rate'?"]
    """
    problems = []
    for name, value in given.items():
        if name not in declared:
            near = difflib.get_close_matches(name, declared, 1)
            hint = f". Did you mean {near[0]!r}?" if near else ""
            problems.append(f"{name!r} is none of {', '.join(sorted(declared))}{hint}")
            continue
        allowed = declared[name]
        if isinstance(allowed[0], str):
            if value not in allowed:
                problems.append(f"{name} {value!r} is none of {', '.join(map(str, allowed))}")
            continue
        lowest, highest = allowed
        whole = isinstance(lowest, int) and isinstance(highest, int)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not lowest <= value <= highest or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            problems.append(f"{name} must be {kind} from {lowest} to {highest}, not {value!r}")
    return problems


def declared_in(source: bytes) -> Declared | None:
    """Return the table ``HYPERPARAMETERS`` of a ``model.py``, which is read and not run; None without one.

    A file that doesn't parse has none: its job says what is wrong with it.

    Raises:
        InvalidHyperparameters: it is not written out as `Declared` says.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == DECLARATION:
                return _literal(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name == DECLARATION:
                return _literal(value)
    return None


def _literal(node: ast.expr) -> Declared:
    try:
        table = ast.literal_eval(node)
        if all(isinstance(name, str) and _is_range_or_choice(each) for name, each in table.items()):
            return dict(table)
    except (ValueError, TypeError, AttributeError, SyntaxError):
        pass
    raise InvalidHyperparameters(
        f"{DECLARATION} in model.py is read without being run, so it must be written out: by name either "
        "(lowest, highest) or the texts to choose from."
    )


def _is_range_or_choice(allowed: Any) -> bool:
    if not isinstance(allowed, tuple | list) or not allowed:
        return False
    if all(isinstance(each, str) for each in allowed):
        return True
    return len(allowed) == 2 and all(
        isinstance(each, int | float) and not isinstance(each, bool) for each in allowed
    )
