"""M of N periods decide an alarm, and missing data as the alarm says."""

from __future__ import annotations

from typing import Any

import pytest

from dropforge_local.glue.alarm_rules import Finding, evaluate, has_enough_samples
from dropforge_local.glue.metric_math import UnsupportedExpression, summands

_NOW = 60 * 1000 + 30.0


def _state(values: dict[int, float], **settings: Any) -> str | None:
    """The state with ``values`` given as periods ago -> value."""
    finding = _finding(values, **settings)
    return finding.state if finding else None


def _finding(values: dict[int, float], *, unsure: tuple[int, ...] = (), **settings: Any) -> Finding | None:
    alarm = {"Period": 60, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold", **settings}
    by_number = {1000 - ago: value for ago, value in values.items()}
    return evaluate(alarm, by_number, _NOW, {1000 - ago for ago in unsure})


@pytest.mark.parametrize(
    ("values", "settings", "state"),
    [
        ({0: 2}, {}, "ALARM"),
        ({0: 1}, {}, "OK"),
        ({0: 1}, {"ComparisonOperator": "GreaterThanOrEqualToThreshold"}, "ALARM"),
        ({1: 2}, {}, "ALARM"),  # the newest period has no data yet
        ({9: 2}, {}, "INSUFFICIENT_DATA"),
        ({0: 2, 1: 0, 2: 2}, {"EvaluationPeriods": 3}, "OK"),
        ({0: 2, 1: 0, 2: 2}, {"EvaluationPeriods": 3, "DatapointsToAlarm": 2}, "ALARM"),
        ({9: 2}, {"TreatMissingData": "notBreaching"}, "OK"),
        ({9: 2}, {"TreatMissingData": "breaching"}, "ALARM"),
        ({9: 2}, {"TreatMissingData": "ignore"}, None),
        ({0: 0}, {"ComparisonOperator": "Unknown"}, None),
    ],
)
def test_decides_as_cloudwatch_documents(
    values: dict[int, float], settings: dict[str, Any], state: str
) -> None:
    assert _state(values, **settings) == state


# Both tables of https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html:
# the evaluation range, the oldest period first; X breaches, 0 does not, - is missing.
_TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")
_THREE_OF_THREE = [
    ("0-X-X", ("OK", "OK", "OK", "OK")),
    ("0----", ("OK", "OK", "OK", "OK")),
    ("-----", ("INSUFFICIENT_DATA", None, "ALARM", "OK")),
    ("0XX-X", ("ALARM", "ALARM", "ALARM", "ALARM")),
    ("--X--", ("ALARM", None, "ALARM", "OK")),
]
_TWO_OF_THREE = [
    ("0-X-X", ("ALARM", "ALARM", "ALARM", "ALARM")),
    ("00X0X", ("ALARM", "ALARM", "ALARM", "ALARM")),
    ("0-X--", ("OK", "OK", "ALARM", "OK")),
    ("----0", ("OK", "OK", "ALARM", "OK")),
    ("---X-", ("ALARM", None, "ALARM", "OK")),
]


@pytest.mark.parametrize("treatment", _TREATMENTS)
@pytest.mark.parametrize(
    ("needed", "periods", "states"),
    [(3, *row) for row in _THREE_OF_THREE] + [(2, *row) for row in _TWO_OF_THREE],
)
def test_treats_missing_data_as_in_the_documented_tables(
    treatment: str, needed: int, periods: str, states: tuple[str | None, ...]
) -> None:
    values = {4 - place: float(2 * (mark == "X")) for place, mark in enumerate(periods) if mark != "-"}
    settings = {"EvaluationPeriods": 3, "DatapointsToAlarm": needed, "TreatMissingData": treatment}
    assert _state(values, **settings) == states[_TREATMENTS.index(treatment)]


def test_one_new_breaching_period_of_two_is_not_enough_while_the_rest_is_missing() -> None:
    assert _state({0: 2}, EvaluationPeriods=3, DatapointsToAlarm=2) is None


def test_too_few_samples_for_the_percentile_change_nothing() -> None:
    assert _finding({0: 2}, unsure=(0,)) is None
    assert _state({0: 2}) == "ALARM"


@pytest.mark.parametrize(
    ("percentile", "samples"), [("p99", 1000), ("p90", 100), ("p50", 20), ("p10", 100), ("p99.9", 10000)]
)
def test_a_percentile_needs_ten_samples_beyond_it(percentile: str, samples: int) -> None:
    assert has_enough_samples(percentile, samples)
    assert not has_enough_samples(percentile, samples - 1)
    assert has_enough_samples("Maximum", 1)


def test_gives_reason_and_data_in_cloudwatchs_words() -> None:
    finding = _finding({0: 2}, Statistic="Maximum")
    assert finding is not None
    assert finding.reason == (
        "Threshold Crossed: 1 out of the last 1 datapoints [2 (01/01/70 16:40:00)] was greater than the "
        "threshold (1.0) (minimum 1 datapoint for OK -> ALARM transition)."
    )
    assert finding.data == {
        "startDate": "1970-01-01T16:40:00.000+0000",
        "statistic": "Maximum",
        "period": 60,
        "recentDatapoints": [2],
        "threshold": 1.0,
    }
    calm = _finding({}, TreatMissingData="notBreaching")
    assert calm is not None
    assert calm.reason.endswith("1 missing datapoint was treated as [NonBreaching].")


@pytest.mark.parametrize("expression", ["a + b", "SUM(a)", "SUM([a, c])", "FILL(METRICS(), 0)", ""])
def test_refuses_metric_math_that_it_does_not_calculate(expression: str) -> None:
    with pytest.raises(UnsupportedExpression):
        summands(expression, {"a": 1, "b": 2})
