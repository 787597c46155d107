"""The metrics that dropforge puts into CloudWatch, by the dimension ``Model``.

Only what alarms look at, or a person over weeks, is a metric: CloudWatch bills each. All else is logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

DRIFT_ALARM: Final = "DriftAlarm"
QUALITY_ALARM: Final = "QualityAlarm"
MISSING_DATA: Final = "MissingDataDetected"
LIVE_QUALITY: Final = "LiveQuality"
APPROVALS_OVERDUE: Final = "ApprovalsOverdue"

METRICS: Final[Mapping[str, str]] = {
    DRIFT_ALARM: "0 or 1 per window with predictions: enough of the last drifted, and no cooldown holds.",
    QUALITY_ALARM: "0 or 1 per window with outcomes: likewise for live quality.",
    MISSING_DATA: "0 or 1 per window with enough data: a column has more missing values.",
    LIVE_QUALITY: "The gate's metric on live predictions with outcomes, in its own unit.",
    APPROVALS_OVERDUE: "1 whenever a run gives up waiting for a decision.",
}
