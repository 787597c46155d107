"""Join a transform job's answers with the rows' ids, and write the batch's result.

Example event: ``events/collect_batch.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.application.collect_batch import CollectedBatch, collect_batch
from dropforge.config import Settings
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    powertools_service_name: str


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> CollectedBatch:
    store = bootstrap.object_store()
    collected = collect_batch(
        event["plan_uri"],
        event["output_uri"],
        transform_job_arn=event["transform_job_arn"],
        model_name=settings.powertools_service_name,
        store=store,
        tables=bootstrap.batch_tables(store),
    )
    logger.info("batch collected", outcome=collected.outcome, scored=collected.scored)
    return collected
