"""When a metric alarm is in ALARM, OK or INSUFFICIENT_DATA.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html: M of N periods,
over a range a little longer than N, so that the newest periods may still lack their data.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

_LATE_PERIODS = 2
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def evaluate(alarm: Mapping[str, Any], values: Mapping[int, float], now: float) -> tuple[str, str] | None:
    """The state that the alarm's metric gives, with the reason; None to leave the state as it is.

    Args:
        alarm: the alarm's settings.
        values: the statistic per period, by the period's number (epoch time // ``Period``).
        now: epoch seconds.
    """
    compare = _COMPARISONS.get(alarm.get("ComparisonOperator", ""))
    if compare is None:
        return None
    threshold = float(alarm.get("Threshold") or 0)
    periods = int(alarm.get("EvaluationPeriods") or 1)
    needed = int(alarm.get("DatapointsToAlarm") or periods)
    newest = int(now // int(alarm.get("Period") or 60))
    span = range(newest, newest - periods - _LATE_PERIODS, -1)
    found = [values[number] for number in span if number in values][:periods]
    breaching = [value for value in found if compare(value, threshold)]
    missing = periods - len(found)
    treatment = alarm.get("TreatMissingData") or "missing"
    if not found and treatment == "missing":
        return "INSUFFICIENT_DATA", f"Insufficient Data: {periods} datapoints were unknown."
    assumed = missing if treatment == "breaching" else 0
    if len(breaching) + assumed >= needed:
        shown = ", ".join(f"{value:g}" for value in breaching)
        return "ALARM", f"Threshold Crossed: {len(breaching)} datapoints [{shown}] against {threshold:g}."
    if treatment == "ignore" and len(breaching) + missing >= needed:
        return None
    shown = ", ".join(f"{value:g}" for value in found)
    return "OK", f"Threshold not crossed: {len(found)} datapoints [{shown}] against {threshold:g}."
