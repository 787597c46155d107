"""Delete endpoint configurations and models that nothing uses, after the grace period.

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


@dataclass(frozen=True)
class FunctionSettings(Settings):
    ledger_table: str
    endpoint_name: str
    grace_hours: float


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    settings = FunctionSettings.from_env(os.environ)
    deleted = retire_models(
        endpoint_name=settings.endpoint_name,
        grace=timedelta(hours=settings.grace_hours),
        ledger=bootstrap.ledger(settings.ledger_table),
        endpoints=bootstrap.endpoints(),
        now=bootstrap.now(),
    )
    logger.info("retired", deleted=deleted)
    return {"deleted": deleted}
