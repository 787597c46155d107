"""Judge a candidate on the hold-out, beside the champion, and write the verdict down.

Example event: ``events/judge_model.json``.
"""

from __future__ import annotations

from dropforge import bootstrap
from dropforge.config import Settings
from dropforge.function import Json, function, logger
from dropforge.importing import without_collection

with without_collection():
    from dropforge.application.judge_model import JudgeRequest, judge_model
    from dropforge.domain.gate import GatePolicy


class FunctionSettings(Settings):
    data_bucket: str
    quality_metric: str
    quality_threshold: str
    champion_tolerance: float
    minimum_holdout_rows: int
    small_guarded_slices: str
    positive_class: str | None = None


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    policy = GatePolicy(
        metric=settings.quality_metric,
        threshold=settings.quality_threshold,
        champion_tolerance=settings.champion_tolerance,
        minimum_holdout_rows=settings.minimum_holdout_rows,
        positive_class=settings.positive_class,
        small_guarded_slices=settings.small_guarded_slices,
    )
    request = JudgeRequest.of(event, settings.data_bucket, policy)
    verdict = judge_model(request, bootstrap.object_store())
    logger.info("judged", accepted=verdict["accepted"], metric=verdict["metric"])
    return verdict
