"""CloudWatch tells EventBridge when an alarm changes its state; MiniStack only tells SNS."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from dropforge_local.glue.sagemaker_mount import emit_aws_event
from dropforge_local.glue.seams import require_parameters

_log = logging.getLogger("dropforge.alarms")


def install() -> None:
    """Emit ``CloudWatch Alarm State Change`` at every transition, whether or not actions are enabled."""
    from ministack.services import cloudwatch  # noqa: PLC0415

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

    cloudwatch._dispatch_alarm_actions = dispatch_and_emit


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
