"""When a metric alarm is in ALARM, OK or INSUFFICIENT_DATA.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html: M of N periods,
over a range a little longer than N, so that the newest periods may still lack their data.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_LATE_PERIODS = 2
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/percentiles-with-low-samples.html
_SIGNIFICANT_SAMPLES = 10
_COMPARISONS: Mapping[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}
_TREATED_AS = {"breaching": "Breaching", "notBreaching": "NonBreaching"}


@dataclass(frozen=True)
class Finding:
    """The state that an alarm's data gives.

    Attributes:
        state: OK, ALARM or INSUFFICIENT_DATA.
        reason: in CloudWatch's words.
        data: what CloudWatch gives as the reason's data, but for the time of the query.
    """

    state: str
    reason: str
    data: Mapping[str, Any]


def considered(alarm: Mapping[str, Any], period: int, now: float) -> range:
    """The numbers of the periods that an evaluation looks at, the newest first."""
    newest = int(now // period)
    return range(newest, newest - _periods(alarm) - _LATE_PERIODS, -1)


def evaluate(
    alarm: Mapping[str, Any], values: Mapping[int, float], now: float, unsure: Collection[int] = ()
) -> Finding | None:
    """The state that the alarm's metric gives; None to leave the state as it is.

    Args:
        alarm: the alarm's settings, ``Period`` included.
        values: the statistic per period, by the period's number (epoch time // ``Period``).
        now: epoch seconds.
        unsure: the periods with too few samples for the alarm's percentile.
    """
    comparison = _COMPARISONS.get(alarm.get("ComparisonOperator", ""))
    if comparison is None:
        return None
    compare, words = comparison
    threshold = float(alarm.get("Threshold") or 0)
    period = int(alarm.get("Period") or 60)
    periods = _periods(alarm)
    needed = int(alarm.get("DatapointsToAlarm") or periods)
    treatment = alarm.get("TreatMissingData") or "missing"
    span = considered(alarm, period, now)
    found = [number for number in span if number in values][:periods]
    if found and found[0] in unsure:
        return None
    found = [number for number in found if number not in unsure]
    breaching = [number for number in found if compare(values[number], threshold)]
    missing = periods - len(found)
    if not found and treatment in {"missing", "ignore"}:
        unknown = f"Insufficient Data: {_count(periods, 'datapoint')} {_was(periods)} unknown."
        return Finding("INSUFFICIENT_DATA", unknown, {"period": period}) if treatment == "missing" else None

    state = "ALARM" if len(breaching) + (missing if treatment == "breaching" else 0) >= needed else "OK"
    if state == "OK" and len(breaching) == len(found) and treatment in {"missing", "ignore"}:
        # All that is there breaches, but it is less than what the alarm needs.
        oldest = span[0] - found[-1] + 1
        if treatment == "ignore" or oldest < needed:
            return None
        state = "ALARM"
    return Finding(
        state,
        _reason(state, found, breaching, values, alarm, words),
        {
            "startDate": aws_time(found[-1] * period) if found else None,
            **({"statistic": statistic} if (statistic := _statistic(alarm)) else {}),
            "period": period,
            "recentDatapoints": [values[number] for number in reversed(found)],
            "threshold": threshold,
        },
    )


def has_enough_samples(percentile: str, samples: float) -> bool:
    """Whether a percentile of so many values means something.

    >>> has_enough_samples("p99", 999), has_enough_samples("p99", 1000), has_enough_samples("p10", 100)
    (False, True, True)
    """
    match = re.fullmatch(r"p(\d+(?:\.\d+)?)", percentile)
    if match is None:
        return True
    share = float(match[1]) / 100
    rarer = min(share, 1 - share) if share != 0.5 else 0.5
    return rarer <= 0 or samples >= round(_SIGNIFICANT_SAMPLES / rarer, 6)


def aws_time(epoch: float) -> str:
    """A time as alarms give it, in milliseconds.

    >>> aws_time(0)
    '1970-01-01T00:00:00.000+0000'
    """
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"


def _periods(alarm: Mapping[str, Any]) -> int:
    return int(alarm.get("EvaluationPeriods") or 1)


def _statistic(alarm: Mapping[str, Any]) -> str | None:
    return None if alarm.get("Metrics") else alarm.get("ExtendedStatistic") or alarm.get("Statistic")


def _reason(
    state: str,
    found: list[int],
    breaching: list[int],
    values: Mapping[int, float],
    alarm: Mapping[str, Any],
    words: str,
) -> str:
    periods = _periods(alarm)
    needed = int(alarm.get("DatapointsToAlarm") or periods)
    threshold = float(alarm.get("Threshold") or 0)
    if not found:
        treated = _TREATED_AS[alarm["TreatMissingData"]]
        return (
            f"Threshold Crossed: no datapoints were received for {_count(periods, 'period')} and "
            f"{_count(periods, 'missing datapoint')} {_was(periods)} treated as [{treated}]."
        )
    period = int(alarm.get("Period") or 60)
    shown_numbers = breaching if state == "ALARM" and breaching else found
    shown = ", ".join(
        f"{values[number]} ({datetime.fromtimestamp(number * period, UTC):%d/%m/%y %H:%M:%S})"
        for number in shown_numbers
    )
    verb = _was(len(shown_numbers)) + ("" if state == "ALARM" else " not")
    change = (
        f"minimum {_count(needed, 'datapoint')} for OK -> ALARM transition"
        if state == "ALARM"
        else f"minimum {_count(periods - needed + 1, 'datapoint')} for ALARM -> OK transition"
    )
    return (
        f"Threshold Crossed: {len(shown_numbers)} out of the last {periods} datapoints [{shown}] "
        f"{verb} {words} the threshold ({threshold}) ({change})."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
