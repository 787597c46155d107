"""The composition root of the predict function. It loads no SDK: that would double the cold start."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dropforge.adapters.prediction_log import DynamoDbPredictionLog
from dropforge.adapters.sigv4_http_live_model import LedgerLiveModels
from dropforge.adapters.sigv4_http_services import DynamoDbHttp, EndpointHttp, ObjectsHttp
from dropforge.application.predict import PredictionService

if TYPE_CHECKING:
    from dropforge.application.predict_asynchronously import AsynchronousPredictions
    from dropforge.application.predict_records import Deliveries


def prediction_service(
    env: Mapping[str, str],
    *,
    ledger_table: str,
    predictions_table: str,
    data_bucket: str,
    retention_days: int,
) -> PredictionService:
    """Connect to the process's region with the process's credentials; nothing is called yet."""
    dynamodb, endpoint = DynamoDbHttp.from_env(env), EndpointHttp.from_env(env)
    log = DynamoDbPredictionLog(dynamodb, predictions_table, retention_days=retention_days)

    @functools.cache
    def later() -> AsynchronousPredictions:
        from dropforge.application.predict_asynchronously import AsynchronousPredictions  # noqa: PLC0415 - as above

        return AsynchronousPredictions(endpoint, ObjectsHttp(env), log, data_bucket)

    return PredictionService(
        models=LedgerLiveModels(dynamodb, ledger_table, functools.partial(ObjectsHttp, env)),
        scorer=endpoint,
        log=log,
        clock=time.monotonic,
        later=later,
    )


def deliveries(env: Mapping[str, str], queue_url: str) -> Deliveries:
    """Where answers to records of a stream go. Loaded when the first such record comes."""
    from dropforge.adapters.sigv4_http_deliveries import DeliveriesHttp  # noqa: PLC0415 - the API needs none of it

    return DeliveriesHttp(env, queue_url)
