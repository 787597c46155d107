"""Watch the live model: drift, live quality, the metrics that alarms look at, and what answers alarms.

The window is the last full one, or with ``at_once`` what was not judged yet. A late or repeated delivery
watches the same. With ``batch`` (``plan_uri``, ``output_uri``) it is a scored file.

Example event: ``events/watch_model.json``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from dropforge import bootstrap
from dropforge.config import Settings
from dropforge.domain.moments import from_iso
from dropforge.function import Json, function, logger
from dropforge.importing import without_collection
from dropforge.metrics import emit

with without_collection():
    from dropforge.application.watch_batch import BatchToWatch, NotWatched, watch_batch
    from dropforge.application.watch_model import (
        Watched,
        WatchRequest,
        last_full_window,
        watch_model,
        window_at_once,
    )
    from dropforge.domain.drift.policy import WatchPolicy


class FunctionSettings(Settings):
    ledger_table: str
    predictions_table: str
    prediction_retention_days: int
    data_bucket: str
    training_machine_arn: str
    window_hours: float
    false_alarm_rate: float
    minimum_rows: int
    windows_to_alarm: int
    windows_considered: int
    cooldown_hours: float
    outcome_delay_days: float
    quality_tolerance: float
    watch_batches: Literal["yes", "no"]
    answer_seconds: int
    metrics_namespace: str
    powertools_service_name: str

    @property
    def policy(self) -> WatchPolicy:
        return WatchPolicy(
            false_alarm_rate=self.false_alarm_rate,
            minimum_rows=self.minimum_rows,
            windows_to_alarm=self.windows_to_alarm,
            windows_considered=self.windows_considered,
            cooldown_s=round(self.cooldown_hours * 3600),
            quality_window_s=round(self.outcome_delay_days * 86400),
            quality_tolerance=self.quality_tolerance,
        )


@function(FunctionSettings)
def handler(event: Json, settings: FunctionSettings) -> Json:
    if "batch" in event:
        return _watch_batch(event["batch"], settings)
    # The schedule's time, not the clock's: a retry watches the same window.
    now = from_iso(event["time"]) if "time" in event else bootstrap.now()
    length, data_uri = timedelta(hours=settings.window_hours), f"s3://{settings.data_bucket}"
    at_once = bool(event.get("at_once"))
    ledger, store = bootstrap.ledger(settings.ledger_table), bootstrap.object_store()
    start, end = (
        window_at_once(now, length, data_uri, ledger, store)
        if at_once
        else last_full_window(now - timedelta(seconds=settings.answer_seconds), length)
    )
    request = WatchRequest(
        start,
        end,
        data_uri,
        settings.policy,
        settings.training_machine_arn,
        at_once=at_once,
        salt=bootstrap.pseudonym_key(settings.ledger_table),
        length=length,
    )
    watched = watch_model(
        request,
        ledger,
        bootstrap.prediction_log(settings.predictions_table, settings.prediction_retention_days),
        store,
        bootstrap.workflows(),
    )
    return _told(watched, settings)


def _watch_batch(batch: Json, settings: FunctionSettings) -> Json:
    if settings.watch_batches == "no":
        return {"verdict": "not_watched", "report_uri": None, "message": "WatchBatches is no."}
    found = watch_batch(
        BatchToWatch(
            batch["plan_uri"],
            batch["output_uri"],
            f"s3://{settings.data_bucket}",
            settings.policy,
            settings.training_machine_arn,
            salt=bootstrap.pseudonym_key(settings.ledger_table),
            outcomes_uri=batch.get("outcomes_uri"),
        ),
        bootstrap.ledger(settings.ledger_table),
        bootstrap.object_store(),
        bootstrap.workflows(),
    )
    if isinstance(found, NotWatched):
        logger.info(found.message, reason=found.reason)
        return {"verdict": found.reason, "report_uri": None, "message": found.message}
    return _told(found, settings)


def _told(watched: Watched, settings: FunctionSettings) -> Json:
    for message, fields in watched.lines:
        logger.info(message, **fields)
    emit(settings.metrics_namespace, settings.powertools_service_name, watched.metrics)
    return {
        "verdict": watched.report.verdict,
        "report_uri": watched.report_uri,
        "rows": 0 if watched.report.assessment is None else watched.report.assessment.rows,
        "alarms": {kind: alarm.raised for kind, alarm in watched.report.alarms.items()},
    }
