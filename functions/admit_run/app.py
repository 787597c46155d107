"""Admit a run: exactly once per drop, one at a time, later drops coalesce.

Example event: ``events/admit_run.json``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from dropforge import bootstrap
from dropforge.application.admit_run import Admission, AdmissionDesk, AdmitPolicy
from dropforge.application.answer_alarm import AlarmPolicy, Response
from dropforge.application.training_lock import training_lease_s
from dropforge.config import Settings
from dropforge.domain.training_data import TrainingData
from dropforge.function import Json, function, logger
from dropforge.pricing.run import CostCap


class FunctionSettings(Settings):
    ledger_table: str
    data_bucket: str
    training_machine_arn: str
    training_max_runtime_s: int
    training_instance_types: tuple[str, ...]
    training_instance_count: int
    training_spot: int
    tuning_trials: int
    tuning_minutes: float
    training_data: TrainingData
    training_window_days: int
    deployment_machine_arn: str
    predictions_table: str
    prediction_retention_days: int
    labelled_predictions: Literal["include", "exclude"]
    drift_response: Response
    quality_response: Response
    retrain_cooldown_hours: float
    maximum_run_cost_usd: float
    hyperparameters: str
    model_name: str
    aws_region: str
    source_commit: str | None = None


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Admission:
    policy = AdmitPolicy(
        data_bucket=settings.data_bucket,
        lease_s=training_lease_s(
            len(settings.training_instance_types),
            settings.training_max_runtime_s,
            spot=settings.training_spot > 0,
        ),
        training_data=settings.training_data,
        window_days=settings.training_window_days,
        hyperparameters=settings.hyperparameters,
        is_tuned=settings.tuning_trials > 0,
        model_name=settings.model_name,
        source_commit=settings.source_commit,
        labelled_predictions=settings.labelled_predictions == "include",
        prediction_retention=timedelta(days=settings.prediction_retention_days),
        alarms=AlarmPolicy(
            drift=settings.drift_response,
            quality=settings.quality_response,
            cooldown=timedelta(hours=settings.retrain_cooldown_hours),
        ),
        cost=CostCap(
            maximum_usd=settings.maximum_run_cost_usd,
            instance_type=settings.training_instance_types[0],
            region=settings.aws_region,
            max_training_s=settings.training_max_runtime_s,
            instances=settings.training_instance_count,
            spot_interruptions=settings.training_spot,
            tuning_s=settings.tuning_minutes * 60 if settings.tuning_trials else 0.0,
        ),
    )
    desk = AdmissionDesk(
        ledger=bootstrap.ledger(settings.ledger_table),
        store=bootstrap.object_store(),
        code=bootstrap.training_code(),
        log=bootstrap.prediction_log(settings.predictions_table, settings.prediction_retention_days),
        workflows=bootstrap.workflows(),
        training_machine_arn=settings.training_machine_arn,
        deployment_machine_arn=settings.deployment_machine_arn,
        policy=policy,
    )
    admission = desk.admit(event["event"], execution_arn=event["execution_arn"], now=bootstrap.now())
    logger.info(admission.message, outcome=admission.outcome)
    return admission
