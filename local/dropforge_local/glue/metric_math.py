"""Metric math, as far as alarms here use it: SUM over series.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Series = Mapping[int, float]
"""A value per period, by the period's number; a period without data is absent."""

_SUM = re.compile(r"\s*SUM\(\s*(?:METRICS\(\)|\[\s*(?P<ids>\w+(?:\s*,\s*\w+)*)\s*\])\s*\)\s*")


class UnsupportedExpression(ValueError):
    """An expression that the host does not calculate."""


def summands(expression: str, known: Mapping[str, object]) -> list[str]:
    """The ids that the expression adds up.

    >>> summands("SUM(METRICS())", {"a": 1, "b": 2}), summands("SUM([a])", {"a": 1, "b": 2})
    (['a', 'b'], ['a'])

    Args:
        expression: of an alarm's metric query.
        known: the other queries, by their ids.

    Raises:
        UnsupportedExpression: it is no such sum, or names an id that isn't known.
    """
    match = _SUM.fullmatch(expression)
    if match is None:
        raise UnsupportedExpression(
            f"Metric math {expression!r} is not calculated on the local host: it knows SUM(METRICS()) and "
            "SUM([a, b])."
        )
    ids = re.split(r"\s*,\s*", match["ids"]) if match["ids"] else list(known)
    if unknown := sorted(set(ids) - known.keys()):
        raise UnsupportedExpression(
            f"Metric math {expression!r} names {', '.join(unknown)}, which is no metric."
        )
    return ids


def add_up(series: list[Series]) -> Series:
    """The sum per period over those series that have a value in it, as CloudWatch's SUM.

    >>> add_up([{7: 1.0}, {7: 2.0, 8: 3.0}])
    {7: 3.0, 8: 3.0}
    """
    return {
        period: sum(each.get(period, 0.0) for each in series)
        for period in sorted({period for each in series for period in each})
    }
