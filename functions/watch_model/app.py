"""Watch the live model over the last full window: drift, live quality, and the metrics that alarms look at.

Example event: ``events/watch_model.json``.
"""

from __future__ import annotations

from datetime import timedelta

from dropforge import bootstrap
from dropforge.config import Settings
from dropforge.domain.moments import from_iso
from dropforge.function import Json, function, logger
from dropforge.importing import without_collection
from dropforge.metrics import emit

with without_collection():
    from dropforge.application.watch_model import WatchRequest, last_full_window, watch_model
    from dropforge.domain.drift.policy import WatchPolicy


class FunctionSettings(Settings):
    ledger_table: str
    predictions_table: str
    prediction_retention_days: int
    data_bucket: str
    window_hours: float
    false_alarm_rate: float
    minimum_rows: int
    windows_to_alarm: int
    windows_considered: int
    cooldown_hours: float
    outcome_delay_days: float
    quality_tolerance: float
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
    # The schedule's time, not the clock's: a retry watches the same window.
    now = from_iso(event["time"]) if "time" in event else bootstrap.now()
    start, end = last_full_window(now, timedelta(hours=settings.window_hours))
    request = WatchRequest(
        start,
        end,
        f"s3://{settings.data_bucket}",
        settings.policy,
        salt=bootstrap.pseudonym_key(settings.ledger_table),
    )
    watched = watch_model(
        request,
        bootstrap.ledger(settings.ledger_table),
        bootstrap.prediction_log(settings.predictions_table, settings.prediction_retention_days),
        bootstrap.object_store(),
    )
    for message, fields in watched.lines:
        logger.info(message, **fields)
    emit(settings.metrics_namespace, settings.powertools_service_name, watched.metrics)
    return {
        "verdict": watched.report.verdict,
        "report_uri": watched.report_uri,
        "alarms": {kind: alarm.raised for kind, alarm in watched.report.alarms.items()},
    }
