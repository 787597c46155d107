"""Delete endpoint configurations, models and copies of archives that nothing uses, after the grace period.

Example event: ``events/retire_models.json``.
"""

from __future__ import annotations

from datetime import timedelta

from dropforge import bootstrap
from dropforge.application.deploy import retire_models
from dropforge.config import Settings
from dropforge.function import Json, function, logger

# This function's own Timeout in the template; a test compares the two.
_LEASE_S = 300


class FunctionSettings(Settings):
    ledger_table: str
    data_bucket: str
    endpoint_name: str
    grace_hours: float


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    deleted = retire_models(
        endpoint_name=settings.endpoint_name,
        bucket=settings.data_bucket,
        execution_arn=event.get("execution_arn"),
        grace=timedelta(hours=settings.grace_hours),
        ledger=bootstrap.ledger(settings.ledger_table),
        store=bootstrap.object_store(),
        endpoints=bootstrap.endpoints(),
        lease_s=_LEASE_S,
        now=bootstrap.now(),
    )
    logger.info("retired", deleted=deleted)
    return {"deleted": deleted}
