"""What an instance of a prediction request must be: the contract's rules, without any array library.

Instances are held to the same contract as rows of data: hard rules (``minimum``, ``maximum``, ``categories``)
refuse, observed ranges don't.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dropforge.domain.contract import INT64_MAX, INT64_MIN, Column, Contract
from dropforge.domain.errors import InvalidRequest

MAXIMUM_PROBLEMS = 1000
"""Problems named in one answer; a further entry says how many more there are."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class _Refused(Exception):
    """A value breaks its column's rules; the text says how."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one value. ``instance`` counts from 0; None means the request as a whole."""

    instance: int | None
    column: str | None
    problem: str

    def to_dict(self) -> dict[str, Any]:
        """Return the problem as it stands in the 400 answer."""
        return {"instance": self.instance, "column": self.column, "problem": self.problem}


class InvalidInstances(InvalidRequest):
    """A request that breaks the contract, with its problems one by one."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems[:MAXIMUM_PROBLEMS])
        if len(problems) > MAXIMUM_PROBLEMS:
            more = len(problems) - MAXIMUM_PROBLEMS
            self.problems += (Problem(None, None, f"{more} more problems are not listed"),)
        first = self.problems[0]
        where = "" if first.instance is None else f"instance {first.instance}, "
        where += "" if first.column is None else f"column {first.column!r}: "
        super().__init__(f"{len(problems)} problem(s) in the request; the first: {where}{first.problem}")


def parse_json(body: bytes) -> Any:
    """Read a JSON document; NaN and infinities are no JSON.

    Raises:
        ValueError: the body is no JSON in UTF-8, or is nested too deep.
    """
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def checked_values(contract: Contract, instances: Sequence[Any]) -> dict[str, list[Any]]:
    """Check instances against the contract and return its features' values, each of len(instances).

    Every feature must be there; one that is nullable may be null. The key and ignored columns may be sent
    along and are not looked at. The target and unknown columns are refused. Numbers, booleans and timestamps
    (microseconds since 1970-01-01 UTC) are floats, NaN where missing; categories are strings or None.

    Raises:
        InvalidInstances: with every problem of every instance.
    """
    if not instances:
        raise InvalidInstances([Problem(None, None, "there are no instances to predict")])
    problems: list[Problem] = []
    readers = [(column, _reader_of(column)) for column in contract.features]
    accepted = {c.name for c in contract.columns if c.role != "target"}
    values: dict[str, list[Any]] = {column.name: [] for column in contract.features}
    for index, instance in enumerate(instances):
        if not isinstance(instance, dict):
            problems.append(Problem(index, None, f"must be an object, not {_kind(instance)}"))
            continue
        problems += [
            Problem(
                index,
                name,
                "is the target, which is predicted; leave it out"
                if name == contract.target
                else "is no column of the contract",
            )
            for name in instance
            if name not in accepted
        ]
        for column, read in readers:
            try:
                values[column.name].append(read(instance))
            except _Refused as problem:
                problems.append(Problem(index, column.name, str(problem)))
    if problems:
        raise InvalidInstances(problems)
    return values


def _reader_of(column: Column) -> Callable[[Mapping[str, Any]], Any]:
    """Return a function that takes the column's checked value out of an instance or raises _Refused."""
    name, nullable, check = column.name, column.nullable, _CHECKS[column.type]

    def read(instance: Mapping[str, Any]) -> Any:
        if name not in instance:
            raise _Refused("is missing" + ("; send null where the value is unknown" if nullable else ""))
        value = instance[name]
        if value is None:
            if not nullable:
                raise _Refused("must not be null")
            return None if column.type in ("category", "text") else math.nan
        return check(column, value)

    return read


def _check_number(column: Column, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Refused(f"must be a number, not {_kind(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _Refused("must be a finite number")
    _check_range(column, value)
    return number


def _check_integer(column: Column, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Refused(f"must be an integer, not {_kind(value)}")
    if isinstance(value, float) and not value.is_integer():
        raise _Refused(f"must be an integer, not {value!r}")
    if not INT64_MIN <= value <= INT64_MAX:
        raise _Refused("must be a 64-bit integer")
    _check_range(column, value)
    return float(value)


def _check_range(column: Column, value: float) -> None:
    if column.minimum is not None and value < column.minimum:
        raise _Refused(f"{value!r} is below the minimum {column.minimum!r}")
    if column.maximum is not None and value > column.maximum:
        raise _Refused(f"{value!r} is above the maximum {column.maximum!r}")


def _check_boolean(_column: Column, value: Any) -> float:
    if not isinstance(value, bool):
        raise _Refused(f"must be true or false, not {_kind(value)}")
    return float(value)


def _check_text(column: Column, value: Any) -> str:
    if not isinstance(value, str):
        raise _Refused(f"must be a string, not {_kind(value)}")
    if column.categories is not None and value not in column.categories:
        raise _Refused(f"{_shortened(value)} is none of the categories {', '.join(column.categories)}")
    return value


def _check_timestamp(_column: Column, value: Any) -> float:
    if not isinstance(value, str):
        raise _Refused(f"must be a timestamp in ISO 8601, not {_kind(value)}")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _Refused(f"{_shortened(value)} is no timestamp in ISO 8601") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return float((moment - EPOCH) // MICROSECOND)


_CHECKS: Mapping[str, Callable[[Column, Any], Any]] = {
    "number": _check_number,
    "integer": _check_integer,
    "boolean": _check_boolean,
    "category": _check_text,
    "text": _check_text,
    "timestamp": _check_timestamp,
}


def _refuse_constant(spelling: str) -> None:
    raise ValueError(f"{spelling} is no JSON number")


def _kind(value: Any) -> str:
    names: Iterable[tuple[type, str]] = (
        (bool, "a boolean"),
        (int, "a number"),
        (float, "a number"),
        (str, "a string"),
        (list, "a list"),
        (dict, "an object"),
    )
    kind = next((name for type_, name in names if isinstance(value, type_)), "null")
    return f"the string {_shortened(value)}" if isinstance(value, str) else kind


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
