"""Reads prediction requests: JSON or CSV in, checked column arrays out, every problem named.

The shapes stand in ``docs/architecture.md`` (Serving), the rules in `dropforge.domain.instance_rules`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.contract import INT64_MAX, Column, Contract
from dropforge.domain.instance_rules import InvalidInstances, Problem, checked_values, parse_json
from dropforge.domain.values import BLANKS, json_of


def columns_of_json(contract: Contract, body: bytes) -> dict[str, NDArray[Any]]:
    """Read ``{"instances": [{column: value, …}, …]}`` into column arrays (see `dropforge.domain.encoding`).

    Raises:
        InvalidInstances: no such JSON, or an instance breaks the contract.
    """
    try:
        request = parse_json(body)
    except ValueError as error:
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
    """Read CSV with a header line into column arrays.

    Raises:
        InvalidInstances: no such CSV, or a row breaks the contract.
    """
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (ValueError, csv.Error) as error:
        raise InvalidInstances([Problem(None, None, f"the body is no CSV in UTF-8: {error}")]) from error
    rows = [row for row in rows if row]
    header = [name.strip(BLANKS) for name in rows[0]] if rows else []
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InvalidInstances([Problem(None, name, "stands twice in the header") for name in twice])
    problems: list[Problem] = []
    instances: list[dict[str, Any]] = []
    for index, row in enumerate(rows[1:]):
        if len(row) != len(header):
            problems.append(Problem(index, None, f"has {len(row)} fields where the header has {len(header)}"))
            continue
        instances.append(dict(zip(header, row, strict=True)))
    if problems:
        raise InvalidInstances(problems)
    return columns_of(contract, instances)


def columns_of(contract: Contract, instances: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """Check instances against the contract and return its features' column arrays, each of len(instances).

    Raises:
        InvalidInstances: with every problem of every instance; see `checked_values`.
    """
    values = checked_values(contract, instances)
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
        return json_of(column, int(value))
    return str(value) if column.type in ("category", "text") else float(value)


def _array(column: Column, values: list[Any]) -> NDArray[Any]:
    if column.type in ("category", "text"):
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array
    return np.array(values, dtype=np.float64)
