"""What a written value means: the spellings of missing and boolean values, the grammar of numbers and
dates, and the names of the rules that a row can break.

Spaces and tabs around a value never count. Quoting a value in CSV never changes what it means.
"""

from __future__ import annotations

import math
import re

MISSING_SPELLINGS = frozenset(
    {
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
        *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    }
)
"""What pandas 2.2 reads as missing (`keep_default_na`), so that a file means here what its authors saw."""

TRUE_SPELLINGS = frozenset({"true", "True", "TRUE"})
FALSE_SPELLINGS = frozenset({"false", "False", "FALSE"})
"""Other pairs (yes/no, y/n) stay categories, so that requests and answers use the words of the data."""

INTEGER_PATTERN = r"^[+-]?[0-9]+$"
WHOLE_PATTERN = r"^[+-]?[0-9]+(\.0*)?$"
NUMBER_PATTERN = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
LEADING_ZERO_PATTERN = r"^[+-]?0[0-9]"
PADDED_PATTERN = r"^[+-]?0[0-9]+$"
"""Codes; with a point behind them, zeros only fill a number up."""
RULE_FIELDS = "number of fields"
RULE_JSON = "JSON"
RULE_NESTED = "nested value"
RULE_MISSING = "missing"
RULE_TYPE = "type"
RULE_RANGE = "range"
RULE_CATEGORY = "categories"
RULE_CLASS = "class"

SHOWN_CHARACTERS = 200
"""How much of an offending value a reject keeps."""

_WHOLE = re.compile(WHOLE_PATTERN)


def shown(value: str) -> str:
    """Cut a value to what a reject or message keeps of it."""
    return value if len(value) <= SHOWN_CHARACTERS else value[: SHOWN_CHARACTERS - 1] + "…"


def label_of(value: float) -> str:
    """The class label of a number: a whole one without its decimal point, any other as Python writes it.

    Example:
        >>> label_of(1.0), label_of(0.5), label_of(-3)
        ('1', '0.5', '-3')
    """
    if isinstance(value, float) and not value.is_integer():
        return repr(value)
    return str(int(value))  # Of a float beyond 2**53 all digits, as of the integer that it is.


def whole_number(text: str) -> int | None:
    """The integer that `text` writes (``7``, ``007``, ``+7``, ``7.0``), or None, also beyond 64 bits."""
    if not _WHOLE.match(text):
        return None
    digits = text.partition(".")[0]
    if len(digits) > 400:  # int() refuses texts beyond 4300 digits; no 64-bit integer needs 400.
        return None
    value = int(digits)
    return value if -(2**63) <= value < 2**63 else None


def finite_number(text: str) -> float | None:
    """The finite float64 nearest to what `text` writes, or None.

    Example:
        >>> finite_number("1e3"), finite_number("1e400"), finite_number("1,000")
        (1000.0, None, None)
    """
    if not re.match(NUMBER_PATTERN, text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None
