"""How plain values stand in DynamoDB's items, both ways.

https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
_SMALLEST_NUMBER, _LARGEST_NUMBER = 1e-127, 9.9e125

Attributes = Mapping[str, Any]
"""An item, or a part of one, with each value under the name of its type."""


def attributes_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write plain values as typed attributes.

    What DynamoDB has no number for becomes null, or 0 if it is too small.

    >>> attributes_of({"sk": "run-1", "share": 0.25, "low": float("nan")})
    {'sk': {'S': 'run-1'}, 'share': {'N': '0.25'}, 'low': {'NULL': True}}
    """
    return {name: _attribute(value) for name, value in values.items()}


def item_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write plain values as an item, which says nothing where there is no value."""
    return attributes_of({name: value for name, value in values.items() if value is not None})


def values_of(attributes: Attributes) -> dict[str, Any]:
    """Read typed attributes; numbers with a fraction are floats.

    Raises:
        ValueError: an attribute has a type that the ledger never writes.

    >>> values_of({"token": {"N": "7"}, "reasons": {"L": [{"S": "slow"}]}})
    {'token': 7, 'reasons': ['slow']}
    """
    return {name: _value(attribute) for name, attribute in attributes.items()}


def _attribute(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": str(value)}
        case int():
            return {"N": str(value)}
        case float():
            return _number(float(value))
        case Mapping():
            return {"M": {str(name): _attribute(each) for name, each in value.items()}}
        case list() | tuple():
            return {"L": [_attribute(each) for each in value]}
    raise TypeError(f"The ledger holds no {type(value).__name__}, such as {value!r}.")


def _number(value: float) -> dict[str, Any]:
    if not math.isfinite(value) or abs(value) > _LARGEST_NUMBER:
        return {"NULL": True}
    return {"N": repr(value) if abs(value) >= _SMALLEST_NUMBER else "0"}


def _value(attribute: Mapping[str, Any]) -> Any:
    ((kind, value),) = attribute.items()
    match kind:
        case "S" | "BOOL":
            return value
        case "N":
            if value.lstrip("-").isdigit():
                return int(value)
            number = float(value)
            return int(number) if number.is_integer() else number
        case "NULL":
            return None
        case "M":
            return {name: _value(each) for name, each in value.items()}
        case "L":
            return [_value(each) for each in value]
    raise ValueError(f"The ledger never writes an attribute of type {kind}.")
