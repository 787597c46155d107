"""The prediction API: predict, look predictions up, take outcomes, describe the live model.

Example event: ``events/predict.json``. Records of ``PredictionStream`` and ``PredictionQueue`` come as
``events/predict_records.json``, an asynchronous endpoint's answer as ``events/predict_answer.json``.

This is the one function that callers wait for. So it logs by itself: the logging library's import costs as
much as everything else here.
"""

from __future__ import annotations

import functools
import json
import os
import time
from datetime import UTC, datetime
from typing import Any

from dropforge.application.predict import PredictionService
from dropforge.application.predict_http import exchange
from dropforge.config import Settings
from dropforge.domain.asynchronous import request_of_output
from dropforge.domain.cloudwatch_metrics import BY_VERSION, SERVER_ERRORS, Metric
from dropforge.domain.errors import ModelError
from dropforge.metrics import embedded
from dropforge.predict_bootstrap import deliveries, prediction_service


class FunctionSettings(Settings):
    ledger_table: str
    predictions_table: str
    data_bucket: str
    prediction_retention_days: int
    metrics_namespace: str
    undelivered_queue_url: str


@functools.cache
def _settings() -> FunctionSettings:
    return FunctionSettings.from_env(os.environ)


@functools.cache
def _service() -> PredictionService:
    settings = _settings()
    return prediction_service(
        os.environ,
        ledger_table=settings.ledger_table,
        predictions_table=settings.predictions_table,
        data_bucket=settings.data_bucket,
        retention_days=settings.prediction_retention_days,
    )


@functools.cache
def _deliveries() -> Any:
    return deliveries(os.environ, _settings().undelivered_queue_url)


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    started = time.perf_counter()
    if "Records" in event:
        return _answer_records(event, context, started)
    if event.get("source") == "aws.s3":
        return _log_answer(event, context, started)
    done = exchange(event, _service, now=datetime.now(UTC))
    entry = {**_entry("answered", context, started, is_error=done.log["status"] >= 500), **done.log}
    if done.breaks_release:
        # Lambda itself counts no error, since the caller gets an answer.
        version = dict(zip(BY_VERSION, (context.function_name, context.function_version), strict=True))
        entry |= embedded(_settings().metrics_namespace, version, [Metric(SERVER_ERRORS)])
    print(json.dumps(entry))
    return done.response


def _answer_records(event: dict[str, Any], context: Any, started: float) -> dict[str, Any]:
    """A batch of ``PredictionStream`` or ``PredictionQueue``: what fails is named, and comes again."""
    from dropforge.application.predict_records import answer_records  # noqa: PLC0415 - the API needs none of it

    done = answer_records(event, _service(), _deliveries(), model_name=_model_name())
    entry = {
        **_entry("records answered", context, started, is_error=bool(done.failed)),
        "records": len(event["Records"]),
        "answered": done.answered,
        "poison": done.poison,
        "failed": len(done.failed),
        "errors": sorted(done.errors),
    }
    print(json.dumps(entry))
    return done.response


def _log_answer(event: dict[str, Any], context: Any, started: float) -> dict[str, Any]:
    """The model has put an answer into S3: its predictions are logged, whoever may ask for them."""
    request, told, service = request_of_output(event), "no request's answer", _service()
    if request is not None and service.later is not None:
        model, told = service.models.current(), "answer logged"
        try:
            service.later().settle(request, model.live if model else None, is_due=True)
        except ModelError as error:
            told = str(error)
    print(json.dumps(_entry(told, context, started, is_error=False) | {"request": request}))
    return {"request": request}


def _entry(message: str, context: Any, started: float, *, is_error: bool) -> dict[str, Any]:
    """What every line of the log says, in the form that the other functions' logger gives it."""
    return {
        "level": "ERROR" if is_error else "INFO",
        "message": message,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "service": _model_name(),
        "function_request_id": context.aws_request_id,
        "duration_ms": round((time.perf_counter() - started) * 1000, 3),
    }


def _model_name() -> str:
    return os.environ.get("POWERTOOLS_SERVICE_NAME", "")
