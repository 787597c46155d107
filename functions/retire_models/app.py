"""Delete endpoint configurations, models and copies of archives that nothing uses, after the grace period.

Example event: ``events/retire_models.json``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from dropforge import bootstrap
from dropforge.application.deploy import retire_models
from dropforge.config import Settings
from dropforge.observability import logger

# This function's own Timeout in the template; a test compares the two.
_LEASE_S = 300


@dataclass(frozen=True)
class FunctionSettings(Settings):
    ledger_table: str
    data_bucket: str
    endpoint_name: str
    grace_hours: float


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    settings = FunctionSettings.from_env(os.environ)
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
