"""Numbers as JavaScript has and writes them: all are doubles."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

# From here on a double's neighbours are more than 1 apart: https://tc39.es/ecma262/#sec-number.max_safe_integer
_EXACT = 2**53
# From here on JavaScript writes an exponent: https://tc39.es/ecma262/#sec-numeric-types-number-tostring
_LARGEST_WRITTEN_OUT = 1e21
_SMALLEST_WRITTEN_OUT = 1e-6


def as_double(number: float) -> int | float:
    """The number as JavaScript's JSON holds it: no fraction where it is whole, 17 digits at most."""
    if isinstance(number, int) and abs(number) <= _EXACT:
        return number
    double = float(number)
    if not double.is_integer() or abs(double) >= _LARGEST_WRITTEN_OUT:
        return double
    return int(Decimal(repr(double)))


def as_doubles(value: Any) -> Any:
    """A document with each of its numbers as a double."""
    if isinstance(value, dict):
        return {name: as_doubles(each) for name, each in value.items()}
    if isinstance(value, list):
        return [as_doubles(each) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return as_double(value)
    return value


def written(number: float) -> str:
    """The number as ``$string`` writes it: 15 significant digits, an exponent below 1e-6 and from 1e21 on."""
    rounded = float(f"{number:.14e}")
    if rounded == 0 or math.isinf(rounded):
        return "null" if rounded else "0"
    if not _SMALLEST_WRITTEN_OUT <= abs(rounded) < _LARGEST_WRITTEN_OUT:
        digits, _, exponent = f"{Decimal(repr(rounded)).normalize():e}".partition("e")
        return f"{digits}e{int(exponent):+d}"
    text = f"{Decimal(repr(rounded)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def serialized(value: Any, indent: str = "") -> str:
    """JSON as JavaScript writes it, with numbers as ``written``.

    Args:
        indent: begins each line of a pretty document, by depth; empty for a document on one line.
    """
    return _serialized(value, indent, "\n")


def _serialized(value: Any, indent: str, line: str) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return written(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    inner, after = (line + indent, line) if indent else ("", "")
    separator = f",{inner}"
    if isinstance(value, dict):
        colon = ": " if indent else ":"
        members = [
            f"{json.dumps(name, ensure_ascii=False)}{colon}{_serialized(each, indent, line + indent)}"
            for name, each in value.items()
        ]
        return f"{{{inner}{separator.join(members)}{after}}}" if members else "{}"
    if isinstance(value, list):
        items = [_serialized(each, indent, line + indent) for each in value]
        return f"[{inner}{separator.join(items)}{after}]" if items else "[]"
    return '""'  # a function
