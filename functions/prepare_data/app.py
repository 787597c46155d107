"""Stream a run's drops through the contract into splits, rejects and a profile.

Example event: ``events/prepare_data.json``.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from dropforge import bootstrap
from dropforge.application.labelled_predictions import gather
from dropforge.application.pinned_contract import pinned_contract_uri
from dropforge.application.preparation_request import PrepareRequest, PrepareSettings
from dropforge.application.prepare_data import prepare_data
from dropforge.application.scale_out import ScaleOut, plan
from dropforge.config import Settings
from dropforge.function import Json, function, logger


class FunctionSettings(Settings):
    data_bucket: str
    target_column: str
    task_type: str
    maximum_reject_rate: float
    minimum_rows: int
    predictions_table: str
    prediction_retention_days: int
    scale_out_megabytes: float
    scale_out_chunk_megabytes: float
    leakage: str
    id_column: str | None = None
    group_column: str | None = None
    split_column: str | None = None
    positive_class: str | None = None
    false_positive_cost: float | None = None
    false_negative_cost: float | None = None
    minimum_precision: float | None = None
    minimum_recall: float | None = None
    guarded_columns: tuple[str, ...] = ()


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    store = bootstrap.object_store()
    data_uri = f"s3://{settings.data_bucket}"
    manifest = gather(
        event["manifest_uri"],
        bootstrap.prediction_log(settings.predictions_table, settings.prediction_retention_days),
        store,
        contract_uri=pinned_contract_uri(data_uri),
        placing=[name for name in (settings.group_column, settings.split_column) if name is not None],
    )
    request = PrepareRequest.of(
        manifest,
        data_uri,
        PrepareSettings(
            target=settings.target_column,
            key=settings.id_column,
            task=settings.task_type,
            maximum_reject_rate=settings.maximum_reject_rate,
            minimum_rows=settings.minimum_rows,
            group=settings.group_column,
            time=settings.split_column,
            leakage=settings.leakage,
            positive=settings.positive_class,
            false_positive_cost=settings.false_positive_cost,
            false_negative_cost=settings.false_negative_cost,
            minimum_precision=settings.minimum_precision,
            minimum_recall=settings.minimum_recall,
            guarded=settings.guarded_columns,
        ),
        live_rows=event.get("live_rows"),
        asked_at=datetime.now(UTC).isoformat(),
    )
    policy = ScaleOut(
        above_bytes=settings.scale_out_megabytes * 1e6,
        chunk_bytes=math.ceil(settings.scale_out_chunk_megabytes * 1e6),
    )
    if policy.wants(request.objects):
        planned = plan(request, policy, store, bootstrap.chunk_tables(store))
        logger.info("planned", phase=planned["phase"])
        return planned
    prepared = prepare_data(request, store, bootstrap.tables(store)).to_dict()
    logger.info("prepared", rows=prepared["rows"])
    return prepared
