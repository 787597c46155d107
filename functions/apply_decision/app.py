"""Act on a model package's approval or rejection, wherever it was made.

Example event: ``events/apply_decision.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.decide import DecisionDesk
from dropforge.config import Settings
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    ledger_table: str
    package_group: str
    deployment_machine_arn: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    desk = DecisionDesk(
        ledger=bootstrap.ledger(settings.ledger_table),
        registry=bootstrap.registry(settings.package_group),
        store=bootstrap.object_store(),
        workflows=bootstrap.workflows(),
        deployment_machine_arn=settings.deployment_machine_arn,
        package_group=settings.package_group,
    )
    outcome = desk.apply(event, now=bootstrap.now())
    logger.info("decision applied", outcome=outcome)
    return outcome
