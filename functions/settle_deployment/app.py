"""After a deployment that failed or was not needed: drop what it made, free the endpoint's lock.

Example event: ``events/settle_deployment.json``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from dropforge import bootstrap
from dropforge.application.deploy import Plan, settle_deployment
from dropforge.config import Settings
from dropforge.observability import logger


@dataclass(frozen=True)
class FunctionSettings(Settings):
    ledger_table: str


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    settings = FunctionSettings.from_env(os.environ)
    plan = Plan(**event["plan"])
    settle_deployment(plan, ledger=bootstrap.ledger(settings.ledger_table), endpoints=bootstrap.endpoints())
    logger.info("deployment settled", version=plan.version)
    return {"version": plan.version}
