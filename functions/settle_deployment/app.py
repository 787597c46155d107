"""After a deployment that failed or was not needed: drop what it made, free the endpoint's lock.

Example event: ``events/settle_deployment.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.deploy import Plan, settle_deployment
from dropforge.config import Settings
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    ledger_table: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    plan = Plan(**event["plan"])
    settle_deployment(plan, ledger=bootstrap.ledger(settings.ledger_table), endpoints=bootstrap.endpoints())
    logger.info("deployment settled", version=plan.version)
    return {"version": plan.version}
