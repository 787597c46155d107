"""After a wait without a decision: remind and wait on, or give up.

Example event: ``events/check_approval.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.await_decision import check_approval
from dropforge.config import Settings
from dropforge.domain.cloudwatch_metrics import APPROVALS_OVERDUE, Metric
from dropforge.function import Json, function, logger
from dropforge.metrics import emit


class FunctionSettings(Settings):
    ledger_table: str
    approval_reminder_hours: float
    metrics_namespace: str
    powertools_service_name: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    outcome = check_approval(
        version=event["version"],
        reminder_s=max(1, int(settings.approval_reminder_hours * 3600)),
        model_name=settings.powertools_service_name,
        ledger=bootstrap.ledger(settings.ledger_table),
        now=bootstrap.now(),
    )
    if outcome["outcome"] == "overdue":
        emit(settings.metrics_namespace, settings.powertools_service_name, [Metric(APPROVALS_OVERDUE)])
    logger.info("no decision yet", version=event["version"], outcome=outcome["outcome"])
    return outcome
