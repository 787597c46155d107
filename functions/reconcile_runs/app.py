"""Put right what an execution that died left behind.

Example event: ``events/reconcile_runs.json``.
"""

from __future__ import annotations

from datetime import timedelta

from dropforge import bootstrap
from dropforge.application.reconcile import Repairs, reconcile
from dropforge.config import Settings
from dropforge.domain.errors import DropforgeError
from dropforge.function import Json, function, logger, plain


class FunctionSettings(Settings):
    ledger_table: str
    training_machine_arn: str
    deployment_machine_arn: str
    batch_machine_arn: str
    model_name: str
    endpoint_idle_hours: float
    endpoint_max_instances: int
    data_bucket: str
    mlflow_tracking: str = ""


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Repairs:
    repairs = reconcile(
        ledger=bootstrap.ledger(settings.ledger_table),
        store=bootstrap.object_store(),
        workflows=bootstrap.workflows(),
        endpoints=bootstrap.endpoints(),
        scaling=bootstrap.endpoint_scaling(),
        most_instances=settings.endpoint_max_instances,
        jobs=bootstrap.jobs(),
        model_name=settings.model_name,
        training_machine_arn=settings.training_machine_arn,
        deployment_machine_arn=settings.deployment_machine_arn,
        batch_machine_arn=settings.batch_machine_arn,
        now=bootstrap.now(),
        event=event,
        idle=timedelta(hours=settings.endpoint_idle_hours) if settings.endpoint_idle_hours else None,
    )
    logger.info("reconciled", repairs=plain(repairs))
    if settings.mlflow_tracking:
        _tell_tracker(settings)
    return repairs


def _tell_tracker(settings: FunctionSettings) -> None:
    """Tell the tracker what has changed. One that is down is told at the next call: nothing waits for it."""
    from dropforge.application.tell_tracker import tell_tracker  # noqa: PLC0415 - few stacks have a tracker

    try:
        telling = tell_tracker(
            tracking=settings.mlflow_tracking,
            model_name=settings.model_name,
            bucket=settings.data_bucket,
            ledger=bootstrap.ledger(settings.ledger_table),
            store=bootstrap.object_store(),
            registry=bootstrap.registry(settings.model_name),
            tracker=lambda: bootstrap.tracker(settings.mlflow_tracking),
        )
    except DropforgeError as error:
        logger.warning("tracker not told", error=type(error).__name__, why=str(error))
    else:
        if telling is not None:
            logger.info("tracker told", telling=plain(telling))
