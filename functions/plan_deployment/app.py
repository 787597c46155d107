"""Take the endpoint's lock, check approval and archive, name what the deployment makes.

Example event: ``events/plan_deployment.json``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from dropforge import bootstrap
from dropforge.application.deploy import plan_deployment
from dropforge.config import Settings
from dropforge.observability import logger

# The deployment state machine's own TimeoutSeconds; a test compares the two.
_LEASE_S = 14400


@dataclass(frozen=True)
class FunctionSettings(Settings):
    ledger_table: str
    endpoint_name: str
    aws_region: str


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    settings = FunctionSettings.from_env(os.environ)
    plan = plan_deployment(
        version=event["version"],
        reason=event["reason"],
        run_id=event["run_id"],
        requested_by=event["requested_by"],
        execution_arn=event["execution_arn"],
        endpoint_name=settings.endpoint_name,
        region=settings.aws_region,
        ledger=bootstrap.ledger(settings.ledger_table),
        store=bootstrap.object_store(),
        lease_s=_LEASE_S,
        now=bootstrap.now(),
    )
    logger.info("deployment planned", version=plan.version, endpoint_config=plan.endpoint_config)
    return plan.to_dict()
