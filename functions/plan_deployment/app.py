"""Take the endpoint's lock, check approval and archive, name what the deployment makes, word what it tells.

Example event: ``events/plan_deployment.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.deploy import Plan, plan_deployment
from dropforge.config import Settings
from dropforge.domain.services import EndpointMode
from dropforge.function import Json, function, logger

# The deployment state machine's own TimeoutSeconds; a test compares the two.
_LEASE_S = 14400


class FunctionSettings(Settings):
    powertools_service_name: str
    ledger_table: str
    endpoint_name: str
    endpoint_mode: EndpointMode
    aws_region: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Plan:
    plan = plan_deployment(
        version=event["version"],
        reason=event["reason"],
        run_id=event["run_id"],
        requested_by=event["requested_by"],
        execution_arn=event["execution_arn"],
        endpoint_name=settings.endpoint_name,
        model_name=settings.powertools_service_name,
        region=settings.aws_region,
        mode=settings.endpoint_mode,
        ledger=bootstrap.ledger(settings.ledger_table),
        store=bootstrap.object_store(),
        endpoints=bootstrap.endpoints(),
        scaling=bootstrap.endpoint_scaling(),
        lease_s=_LEASE_S,
        now=bootstrap.now(),
    )
    logger.info("deployment planned", version=plan.version, endpoint_config=plan.endpoint_config)
    return plan
