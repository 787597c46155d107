"""Reads prediction requests: JSON or CSV in, checked column arrays out, every problem named.

The shapes stand in ``docs/architecture.md`` (Serving). Instances are held to the same contract as rows of
data: hard rules (``minimum``, ``maximum``, ``categories``) refuse, observed ranges don't.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.contract import INT64_MAX, INT64_MIN, Column, Contract
from dropforge.domain.errors import InvalidRequest

MAXIMUM_PROBLEMS = 1000
"""Problems named in one answer; a further entry says how many more there are."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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


def columns_of_json(contract: Contract, body: bytes) -> dict[str, NDArray[Any]]:
    """Read ``{"instances": [{column: value, …}, …]}`` into column arrays (see `dropforge.domain.encoding`).

    Raises:
        InvalidInstances: no such JSON, or an instance breaks the contract.
    """
    try:
        request = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInstances([Problem(None, None, f"the body is no JSON in UTF-8: {error}")]) from error
    if not isinstance(request, dict) or not isinstance(request.get("instances"), list):
        wanted = 'the body must be {"instances": [{"<column>": value, …}, …]}'
        raise InvalidInstances([Problem(None, None, wanted)])
    if unknown := sorted(request.keys() - {"instances"}):
        raise InvalidInstances(
            [Problem(None, None, f"unknown member {name!r} beside instances") for name in unknown]
        )
    return columns_of(contract, request["instances"])


def columns_of_csv(contract: Contract, body: bytes) -> dict[str, NDArray[Any]]:
    """Read CSV with a header line into column arrays. An empty field is a missing value.

    Raises:
        InvalidInstances: no such CSV, or a row breaks the contract.
    """
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (ValueError, csv.Error) as error:
        raise InvalidInstances([Problem(None, None, f"the body is no CSV in UTF-8: {error}")]) from error
    rows = [row for row in rows if row]
    header = rows[0] if rows else []
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InvalidInstances([Problem(None, name, "stands twice in the header") for name in twice])
    problems: list[Problem] = []
    instances: list[dict[str, Any]] = []
    for index, row in enumerate(rows[1:]):
        if len(row) != len(header):
            problems.append(Problem(index, None, f"has {len(row)} fields where the header has {len(header)}"))
            continue
        instances.append(
            {name: _from_text(contract, name, text) for name, text in zip(header, row, strict=True)}
        )
    if problems:
        raise InvalidInstances(problems)
    return columns_of(contract, instances)


def columns_of(contract: Contract, instances: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """Check instances against the contract and return its features' column arrays, each of len(instances).

    Every feature must be there; one that is nullable may be null. The key and ignored columns may be sent
    along and are not looked at. The target and unknown columns are refused.

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
    return {column.name: _array(column, values[column.name]) for column in contract.features}


def json_value(column: Column, value: Any) -> Any:
    """Return the JSON form of one element of a column array, such that reading it gives the element back."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if column.type == "boolean":
        return bool(value)
    if column.type == "integer":
        return min(int(value), INT64_MAX)  # float64 has no number just below 2**63
    if column.type == "timestamp":
        return (_EPOCH + _MICROSECOND * int(value)).isoformat()
    return str(value) if column.type in ("category", "text") else float(value)


def _array(column: Column, values: list[Any]) -> NDArray[Any]:
    if column.type in ("category", "text"):
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    return np.array(values, dtype=np.float64)


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
    return float((moment - _EPOCH) // _MICROSECOND)


_CHECKS: Mapping[str, Callable[[Column, Any], Any]] = {
    "number": _check_number,
    "integer": _check_integer,
    "boolean": _check_boolean,
    "category": _check_text,
    "text": _check_text,
    "timestamp": _check_timestamp,
}

_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def _from_text(contract: Contract, name: str, text: str) -> Any:
    """Read a CSV field as its column's JSON value; what can't be read stays text and is refused later."""
    if text == "":
        return None
    kind = contract.column(name).type if contract.has_column(name) else "text"
    try:
        if kind == "integer":
            return _integer(text)
        if kind == "number":
            return float(text)
    except ValueError:
        return text
    return _BOOLEANS.get(text, text) if kind == "boolean" else text


def _integer(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


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
