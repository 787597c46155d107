"""Make the deployed and tested version the live one, in one transaction.

Example event: ``events/promote_model.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.deploy import Plan, promote_model
from dropforge.config import Settings
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    ledger_table: str
    package_group: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    promotion = promote_model(
        Plan(**event["plan"]),
        ledger=bootstrap.ledger(settings.ledger_table),
        registry=bootstrap.registry(settings.package_group),
        now=bootstrap.now(),
    )
    live = promotion.live
    for refusal in promotion.not_marked:
        logger.warning("the registry's stage did not follow", version=live.version, refusal=refusal)
    logger.info("promoted", version=live.version, endpoint_config=live.endpoint_config)
    return {"version": live.version, "endpoint_config": live.endpoint_config}
