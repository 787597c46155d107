"""Admit a run: exactly once per drop, one at a time, later drops coalesce.

Example event: ``events/admit_run.json``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from dropforge import bootstrap
from dropforge.application.admit_run import AdmitPolicy, admit_run
from dropforge.config import Settings
from dropforge.observability import logger

_PREPARATION_AND_JUDGING_S = 3600
_QUEUE_S = 3600
# The state machine goes through the list of instance types twice; see ClassifyTrainingFailure.
_ROUNDS = 2


@dataclass(frozen=True)
class FunctionSettings(Settings):
    ledger_table: str
    data_bucket: str
    training_machine_arn: str
    training_max_runtime_s: int
    training_instance_types: str
    training_data: str


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    settings = FunctionSettings.from_env(os.environ)
    attempts = _ROUNDS * len(settings.training_instance_types.split(","))
    policy = AdmitPolicy(
        data_bucket=settings.data_bucket,
        lease_s=_PREPARATION_AND_JUDGING_S + attempts * (settings.training_max_runtime_s + _QUEUE_S),
        training_data=settings.training_data,
    )
    admission = admit_run(
        event["event"],
        execution_arn=event["execution_arn"],
        ledger=bootstrap.ledger(settings.ledger_table),
        store=bootstrap.object_store(),
        code=bootstrap.training_code(),
        workflows=bootstrap.workflows(),
        training_machine_arn=settings.training_machine_arn,
        policy=policy,
        now=bootstrap.now(),
    )
    logger.info(admission.message, outcome=admission.outcome)
    return admission.to_dict()
