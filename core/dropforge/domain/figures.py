"""How a figure is written wherever a person reads it: verdicts, mails, the console and the command line."""

from __future__ import annotations

import math

DIGITS = 4
_ALL_DIGITS = 17
"""So many significant digits tell any two float64 apart."""

_SMALLEST_PLAIN, _LARGEST_PLAIN = 1e-9, 1e15
"""Beyond these a plain number would be mostly zeros."""

UNDEFINED = "–"


def figure(value: float | None, *, digits: int = DIGITS, signed: bool = False) -> str:
    """Write one number with so many significant digits, in plain notation; see `told_apart` for several.

    >>> figure(0.99312345), figure(51234.5), figure(0.00001234), figure(0.9), figure(None)
    ('0.9931', '51,234', '0.00001234', '0.9', '–')
    >>> figure(0.0114, signed=True), figure(-0.03, signed=True), figure(0.0, signed=True)
    ('+0.0114', '-0.03', '0')
    """
    return UNDEFINED if value is None or math.isnan(value) else _written(float(value), digits, signed)


def percent(share: float) -> str:
    """Write a share with three significant digits; neither nothing nor everything unless it is that.

    >>> percent(0.4416), percent(0.02), percent(0.00012), percent(0.99999), percent(1)
    ('44.2 %', '2 %', 'less than 0.1 %', 'more than 99.9 %', '100 %')
    """
    if 0 < share < 0.001:
        return "less than 0.1 %"
    if 0.9995 <= share < 1:
        return "more than 99.9 %"
    return f"{figure(100 * share, digits=3)} %"


def told_apart(*values: float | None, signed: bool = False) -> tuple[str, ...]:
    """Write numbers that are read beside each other, so that those which differ look different.

    All get as many significant digits as that takes, at least four, and never fewer than the whole part has.

    Args:
        values: None and NaN stand for an undefined one.
        signed: whether a gain shows its plus sign.

    >>> told_apart(0.89996, 0.9), told_apart(51234.2, 51234.3), told_apart(0.9, 0.9)
    (('0.89996', '0.9'), ('51,234.2', '51,234.3'), ('0.9', '0.9'))
    """
    known = {float(value) for value in values if value is not None and not math.isnan(value)}
    digits = next(
        (
            digits
            for digits in range(DIGITS, _ALL_DIGITS)
            if len({_written(value, digits, signed) for value in known}) == len(known)
        ),
        _ALL_DIGITS,
    )
    return tuple(
        UNDEFINED if value is None or math.isnan(value) else _written(float(value), digits, signed)
        for value in values
    )


def _written(value: float, digits: int, signed: bool) -> str:
    sign = "+" if signed and value > 0 else ""
    if value == 0:
        return "0"
    if not _SMALLEST_PLAIN <= abs(value) < _LARGEST_PLAIN:
        return f"{value:{sign}.{digits}g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:{sign},.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text
