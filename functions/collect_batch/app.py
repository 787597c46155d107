"""Join a transform job's answers with the rows' ids, and write the batch's result.

Example event: ``events/collect_batch.json``.
"""

from __future__ import annotations

from typing import Any

from dropforge import bootstrap
from dropforge.application.collect_batch import collect_batch
from dropforge.observability import logger


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    store = bootstrap.object_store()
    collected = collect_batch(
        event["plan_uri"],
        event["output_uri"],
        transform_job_arn=event["transform_job_arn"],
        store=store,
        tables=bootstrap.batch_tables(store),
    )
    logger.info("batch collected", outcome=collected.outcome, scored=collected.scored)
    return collected.to_dict()
