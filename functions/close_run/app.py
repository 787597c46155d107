"""Record how a run ended, free the training lock, start the run that waits.

Example event: ``events/close_run.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.close_run import close_run
from dropforge.config import Settings
from dropforge.domain.records import RunStatus
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    ledger_table: str
    training_machine_arn: str
    deployment_machine_arn: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    closing = close_run(
        run_id=event["run_id"],
        token=event["token"],
        status=RunStatus(event["status"]),
        error=event["error"],
        details=event["details"],
        ledger=bootstrap.ledger(settings.ledger_table),
        store=bootstrap.object_store(),
        workflows=bootstrap.workflows(),
        training_machine_arn=settings.training_machine_arn,
        deployment_machine_arn=settings.deployment_machine_arn,
        now=bootstrap.now(),
    )
    logger.info("run closed", closing=closing)
    return closing
