"""Record how a run ended, free the training lock, start the run that waits. Of a batch, word how it ended.

Example event: ``events/close_run.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.close_batch import close_batch
from dropforge.application.close_run import Ending, close_run
from dropforge.config import Settings
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    powertools_service_name: str
    ledger_table: str
    training_machine_arn: str
    deployment_machine_arn: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    if "batch" in event:
        return close_batch(event, model_name=settings.powertools_service_name)
    closing = close_run(
        Ending.from_event(event),
        model_name=settings.powertools_service_name,
        ledger=bootstrap.ledger(settings.ledger_table),
        store=bootstrap.object_store(),
        workflows=bootstrap.workflows(),
        training_machine_arn=settings.training_machine_arn,
        deployment_machine_arn=settings.deployment_machine_arn,
        now=bootstrap.now(),
    )
    logger.info("run closed", closing=closing)
    return closing
