"""Claim a batch, hold its rows to the live model's contract, stage what the model is asked.

Example event: ``events/plan_batch.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.plan_batch import BatchPlan, plan_batch
from dropforge.config import Settings
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    ledger_table: str
    data_bucket: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> BatchPlan:
    store = bootstrap.object_store()
    plan = plan_batch(
        event["event"],
        execution_arn=event["execution_arn"],
        data_bucket=settings.data_bucket,
        ledger=bootstrap.ledger(settings.ledger_table),
        store=store,
        tables=bootstrap.batch_tables(store),
        now=bootstrap.now(),
    )
    logger.info(plan.message, outcome=plan.outcome, batch_id=plan.batch_id)
    return plan
