"""After a deployment that failed or was not needed: drop what it made, free the endpoint's lock, word it.

Example event: ``events/settle_deployment.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.deploy import Plan, settle_deployment, told_failure
from dropforge.config import Settings
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    powertools_service_name: str
    ledger_table: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    plan = None if event["plan"] is None else Plan(**event["plan"])
    if plan is not None:
        settle_deployment(
            plan, ledger=bootstrap.ledger(settings.ledger_table), endpoints=bootstrap.endpoints()
        )
    told = told_failure(event, plan, model_name=settings.powertools_service_name)
    logger.info("deployment settled", version=plan and plan.version, error=told["error"])
    return told
