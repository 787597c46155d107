"""Note which run waits for the decision on its version; a decision made already is passed on.

Example event: ``events/request_approval.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.await_decision import request_approval
from dropforge.config import Settings
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    ledger_table: str
    approval_timeout_days: float


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    due_at = request_approval(
        version=event["version"],
        task_token=event["task_token"],
        execution_arn=event["execution_arn"],
        timeout_s=int(settings.approval_timeout_days * 86400),
        ledger=bootstrap.ledger(settings.ledger_table),
        workflows=bootstrap.workflows(),
        now=bootstrap.now(),
    )
    logger.info("waiting for a decision", version=event["version"], due_at=due_at)
    return {"due_at": due_at}
