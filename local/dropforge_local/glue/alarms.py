"""Metric alarms as CloudWatch evaluates them, and their changes told to EventBridge.

MiniStack evaluates when data is put, over every dimension and all periods at once, without regard to missing
data, and tells only SNS of a change.
"""

from __future__ import annotations

import contextvars
import json
import logging
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.alarm_rules import evaluate
from dropforge_local.glue.sagemaker_mount import emit_aws_event
from dropforge_local.glue.seams import require, require_parameters

if TYPE_CHECKING:
    from dropforge_local.glue import Installed

_log = logging.getLogger("dropforge.alarms")

# Data that is put is evaluated at once; this is for what passing time alone changes.
_EVALUATE_EVERY_S = 5.0


def install(installed: Installed) -> None:
    """Evaluate as AWS does; emit ``CloudWatch Alarm State Change`` whether or not actions are enabled."""
    from ministack.services import cloudwatch  # noqa: PLC0415

    require(cloudwatch, "_alarms", "_metrics", "_calc_stats", "_stat_value", "_dims_key", "_record_history")
    require(cloudwatch, "_evaluate_parent_alarms", "_evaluate_all_alarms")
    require_parameters(cloudwatch._evaluate_alarm, "alarm")
    require_parameters(cloudwatch._dispatch_alarm_actions, "alarm", "old_state", "new_state", "reason")
    dispatch = cloudwatch._dispatch_alarm_actions

    def dispatch_and_emit(alarm: dict[str, Any], old_state: str, new_state: str, reason: str) -> None:
        dispatch(alarm, old_state, new_state, reason)
        if old_state == new_state:
            return
        try:
            detail = state_change(alarm, old_state, new_state, reason)
            emit_aws_event("aws.cloudwatch", "CloudWatch Alarm State Change", detail, [alarm["AlarmArn"]])
        except Exception:  # an event that can't be delivered must not undo the alarm's transition
            _log.exception("no event for alarm %s", alarm.get("AlarmName"))

    def evaluate_alarm(alarm: dict[str, Any]) -> None:
        points = _points(cloudwatch, alarm)
        if not points:
            return  # no data ever: the state stays as it was made or set
        period = int(alarm.get("Period") or 60)
        by_period: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for point in points:
            by_period[int(point["Timestamp"] // period)].append(point)
        statistic = alarm.get("ExtendedStatistic") or alarm.get("Statistic") or "Average"
        values = {}
        for number, found in by_period.items():
            value = cloudwatch._stat_value(cloudwatch._calc_stats(found), statistic, found)
            if value is not None:
                values[number] = float(value)
        outcome = evaluate(alarm, values, time.time())
        if outcome is None or outcome[0] == alarm["StateValue"]:
            return
        old_state, (new_state, reason) = alarm["StateValue"], outcome
        alarm["StateValue"], alarm["StateReason"] = new_state, reason
        alarm["StateUpdatedTimestamp"] = int(time.time())
        cloudwatch._record_history(alarm["AlarmName"], old_state, new_state, reason)
        cloudwatch._dispatch_alarm_actions(alarm, old_state, new_state, reason)
        cloudwatch._evaluate_parent_alarms(alarm)

    stopping = threading.Event()

    def evaluate_always() -> None:
        while not stopping.wait(_EVALUATE_EVERY_S):
            contextvars.Context().run(cloudwatch._evaluate_all_alarms)

    cloudwatch._dispatch_alarm_actions = dispatch_and_emit
    cloudwatch._evaluate_alarm = evaluate_alarm
    thread = threading.Thread(target=evaluate_always, name="dropforge-alarms", daemon=True)
    installed.starting.append(thread.start)
    installed.suspending.append(stopping.set)


def _points(cloudwatch: Any, alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """The data of the alarm's own metric: namespace, name and exactly its dimensions."""
    if not alarm.get("MetricName"):
        return []
    dimensions = {dimension["Name"]: dimension["Value"] for dimension in alarm.get("Dimensions") or []}
    wanted = (alarm.get("Namespace"), alarm["MetricName"], cloudwatch._dims_key(dimensions))
    for key, points in list(cloudwatch._metrics.items()):
        if key == wanted:
            return list(points)
    return []


def state_change(alarm: dict[str, Any], old_state: str, new_state: str, reason: str) -> dict[str, Any]:
    """The event's detail.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"
    configuration: dict[str, Any] = {"description": alarm.get("AlarmDescription") or ""}
    if "MetricName" in alarm:
        configuration["metrics"] = [
            {
                "id": alarm["AlarmName"],
                "metricStat": {
                    "metric": {
                        "namespace": alarm.get("Namespace", ""),
                        "name": alarm.get("MetricName", ""),
                        "dimensions": {
                            dimension["Name"]: dimension["Value"]
                            for dimension in alarm.get("Dimensions") or []
                        },
                    },
                    "period": alarm.get("Period"),
                    "stat": alarm.get("Statistic") or alarm.get("ExtendedStatistic"),
                },
                "returnData": True,
            }
        ]
    elif alarm.get("AlarmRule"):
        configuration["alarmRule"] = alarm["AlarmRule"]
    reason_data = json.dumps({"version": "1.0", "queryDate": now})
    return {
        "alarmName": alarm["AlarmName"],
        "configuration": configuration,
        "previousState": {"value": old_state},
        "state": {"value": new_state, "reason": reason, "reasonData": reason_data, "timestamp": now},
    }
