"""What an instance of a prediction request must be: the contract's rules, without any array library.

Instances are held to the same contract as rows of data: hard rules (``minimum``, ``maximum``, ``categories``)
refuse, observed ranges don't.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dropforge.domain.contract import Column, Contract
from dropforge.domain.errors import InvalidRequest
from dropforge.domain.values import Value, WrongValue, json_of, kind_of, shortened

MAXIMUM_PROBLEMS = 1000
"""Problems named in one answer; a further entry says how many more there are."""

LISTED = 20
"""Allowed values named in a message."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one value. ``instance`` counts from 0; None means the request as a whole."""

    instance: int | None
    column: str | None
    problem: str


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
    """Read a JSON document; NaN and infinities are no JSON, and no member may stand twice.

    Raises:
        ValueError: the body is no JSON in UTF-8, or is nested too deep.
    """
    try:
        return json.loads(
            body.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique_members
        )
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def read_instances(contract: Contract, instances: Sequence[Any]) -> list[dict[str, Any]]:
    """Check instances against the contract and return what their values mean, as JSON that means the same.

    Every feature must be there; one that is nullable may be null. The key may be sent along, whatever it is;
    ignored columns may as well, and are left out. The target and unknown columns are refused.

    Raises:
        InvalidInstances: with every problem of every instance.
    """
    values = _read(contract, instances)
    features = [(column, values[column.name]) for column in contract.features]
    found = [
        {column.name: json_of(column, read[index]) for column, read in features}
        for index in range(len(instances))
    ]
    if contract.key is not None:
        for instance, read in zip(instances, found, strict=True):
            if contract.key in instance:
                read[contract.key] = _key_of(contract, instance[contract.key])
    return found


def checked_values(contract: Contract, instances: Sequence[Any]) -> dict[str, list[Any]]:
    """Check instances as `read_instances` does and return the features' values, each of len(instances).

    Numbers, booleans and timestamps (microseconds since 1970-01-01 UTC) are floats, NaN where missing;
    categories are strings or None.

    Raises:
        InvalidInstances: with every problem of every instance.
    """
    values = _read(contract, instances)
    return {
        column.name: values[column.name]
        if column.type in ("category", "text")
        else [math.nan if value is None else float(value) for value in values[column.name]]
        for column in contract.features
    }


def _read(contract: Contract, instances: Sequence[Any]) -> dict[str, list[Any]]:
    if not instances:
        raise InvalidInstances([Problem(None, None, "there are no instances to predict")])
    problems: list[Problem] = []
    readers = [(column.name, _reader_of(contract, column)) for column in contract.features]
    accepted = {c.name for c in contract.columns if c.role != "target"}
    values: dict[str, list[Any]] = {column.name: [] for column in contract.features}
    for index, instance in enumerate(instances):
        if not isinstance(instance, dict):
            problems.append(Problem(index, None, f"must be an object, not {kind_of(instance)}"))
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
        for name, read in readers:
            try:
                values[name].append(read(instance))
            except WrongValue as problem:
                problems.append(Problem(index, name, str(problem)))
    if problems:
        raise InvalidInstances(problems)
    return values


def _reader_of(contract: Contract, column: Column) -> Callable[[Mapping[str, Any]], Value]:
    """Return a function that takes the column's checked value out of an instance or raises WrongValue."""
    name, reader = column.name, contract.reader(column.name)
    is_bounded = column.minimum is not None or column.maximum is not None
    categories = None if column.categories is None else frozenset(column.categories)

    def read(instance: Mapping[str, Any]) -> Value:
        if name not in instance:
            raise WrongValue(
                "is missing" + ("; send null where the value is unknown" if column.nullable else "")
            )
        value = reader.read(instance[name])
        if value is None:
            if not column.nullable:
                written = instance[name]
                raise WrongValue(
                    "must not be null" if written is None else f"must not be missing, as {written!r} is"
                )
        elif is_bounded:
            _check_range(column, value)
        elif categories is not None and value not in categories:
            raise WrongValue(
                f"{shortened(str(value))} is none of the categories {listed(column.categories or ())}"
            )
        return value

    return read


def _key_of(contract: Contract, written: Any) -> Any:
    """What the key means; as it stands where it can't be one, because nothing is predicted from it."""
    name = contract.key or ""
    try:
        return json_of(contract.column(name), contract.reader(name).read(written))
    except WrongValue:
        return written


def _check_range(column: Column, value: Any) -> None:
    if column.minimum is not None and value < column.minimum:
        raise WrongValue(f"{value!r} is below the minimum {column.minimum!r}")
    if column.maximum is not None and value > column.maximum:
        raise WrongValue(f"{value!r} is above the maximum {column.maximum!r}")


def listed(values: Sequence[str], most: int = LISTED) -> str:
    """Return values as messages list them: the first ones, and how many more there are."""
    shown = ", ".join(values[:most])
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the member {shortened(twice)} stands twice in an object")
    return found


def _refuse_constant(spelling: str) -> None:
    raise ValueError(f"{spelling} is no JSON number")
