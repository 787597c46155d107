"""The metrics that dropforge puts into CloudWatch, by the dimension ``Model`` or by a function's version.

Only what alarms look at, or a person over weeks, is a metric: CloudWatch bills each. All else is logged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Metric:
    """A datum; its unit as CloudWatch calls it."""

    name: str
    value: float = 1
    unit: str = "Count"


DRIFT_ALARM: Final = "DriftAlarm"
QUALITY_ALARM: Final = "QualityAlarm"
ESTIMATE_ALARM: Final = "EstimateAlarm"
MISSING_DATA: Final = "MissingDataDetected"
LIVE_QUALITY: Final = "LiveQuality"
APPROVALS_OVERDUE: Final = "ApprovalsOverdue"

METRICS: Final[Mapping[str, str]] = {
    DRIFT_ALARM: "0 or 1 per window with predictions: enough of the last drifted, and no cooldown holds.",
    QUALITY_ALARM: "0 or 1 per window with outcomes: likewise for live quality.",
    ESTIMATE_ALARM: "0 or 1 per window whose quality could be estimated before outcomes: likewise.",
    MISSING_DATA: "0 or 1 per window with enough data: a column has more missing values.",
    LIVE_QUALITY: "The gate's metric on live predictions with outcomes, in its own unit.",
    APPROVALS_OVERDUE: "1 whenever a run gives up waiting for a decision.",
}

SERVER_ERRORS: Final = "ServerErrors"
BY_VERSION: Final = ("FunctionName", "FunctionVersion")
"""The dimensions of what the predict function counts: a rollout compares versions of one function."""

METRICS_BY_VERSION: Final[Mapping[str, str]] = {
    SERVER_ERRORS: "1 for each answer of 5XX but 503 that a version of the predict function gives; "
    "503 tells of the endpoint.",
}
