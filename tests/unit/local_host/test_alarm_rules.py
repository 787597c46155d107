"""M of N periods decide an alarm, and missing data as the alarm says."""

from __future__ import annotations

from typing import Any

import pytest

from dropforge_local.glue.alarm_rules import evaluate

_NOW = 60 * 1000 + 30.0


def _state(values: dict[int, float], **settings: Any) -> str | None:
    """The state with ``values`` given as periods ago -> value."""
    alarm = {"Period": 60, "Threshold": 1, "ComparisonOperator": "GreaterThanThreshold", **settings}
    outcome = evaluate(alarm, {1000 - ago: value for ago, value in values.items()}, _NOW)
    return outcome[0] if outcome else None


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
