"""Register the accepted candidate, supersede older ones that wait, pass the training lock on.

Example event: ``events/register_model.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.register_model import Registration, ServingImage, register_model
from dropforge.config import Settings
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    powertools_service_name: str
    ledger_table: str
    package_group: str
    training_image: str
    training_machine_arn: str
    aws_region: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Registration:
    registration = register_model(
        run_id=event["run_id"],
        token=event["token"],
        execution_arn=event["execution_arn"],
        code_sha256=event["code_sha256"],
        prepared=event["prepared"],
        judgement=event["judgement"],
        model_name=settings.powertools_service_name,
        image=ServingImage(settings.training_image, settings.aws_region),
        ledger=bootstrap.ledger(settings.ledger_table),
        store=bootstrap.object_store(),
        registry=bootstrap.registry(settings.package_group),
        workflows=bootstrap.workflows(),
        training_machine_arn=settings.training_machine_arn,
        now=bootstrap.now(),
    )
    logger.info("registered", version=registration.model.version)
    return registration
