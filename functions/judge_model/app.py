"""Judge a candidate on the hold-out, beside the champion, and write the verdict down.

Example event: ``events/judge_model.json``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from dropforge import bootstrap
from dropforge.config import Settings
from dropforge.importing import without_collection
from dropforge.observability import logger

with without_collection():
    from dropforge.application.judge_model import JudgeRequest, judge_model


@dataclass(frozen=True)
class FunctionSettings(Settings):
    data_bucket: str
    quality_metric: str
    quality_threshold: str
    champion_tolerance: float
    minimum_holdout_rows: int


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    settings = FunctionSettings.from_env(os.environ)
    request = JudgeRequest.from_dict(
        {
            **event,
            "models_prefix": f"s3://{settings.data_bucket}/models",
            "policy": {
                "metric": settings.quality_metric,
                "threshold": settings.quality_threshold,
                "champion_tolerance": settings.champion_tolerance,
                "minimum_holdout_rows": settings.minimum_holdout_rows,
            },
        }
    )
    verdict = judge_model(request, bootstrap.object_store())
    logger.info("judged", run_id=request.run_id, accepted=verdict["accepted"], metric=verdict["metric"])
    return verdict
