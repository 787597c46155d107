"""What EventBridge Scheduler puts into a target's input, and MiniStack leaves as it is written."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import Any

from dropforge_local.glue.seams import require, require_parameters

# MiniStack looks every ten seconds.
_TICK_S = 1


def install() -> None:
    """Replace the context attributes in a schedule's input.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
    """
    from ministack.services import eventbridge, scheduler  # noqa: PLC0415

    require(scheduler, "_at_time_epoch", "_to_epoch", "_SCHEDULE_TICK_INTERVAL")
    require_parameters(eventbridge._invoke_target, "target", "event", "rule")
    require_parameters(eventbridge._parse_rate_seconds, "expr")
    scheduler._SCHEDULE_TICK_INTERVAL = _TICK_S
    invoke_target = eventbridge._invoke_target

    def scheduled_time(schedule: dict[str, Any], now: float) -> float:
        """When the invocation was due: it comes up to one tick of the scheduler later."""
        expression = schedule.get("ScheduleExpression", "")
        if (at := scheduler._at_time_epoch(expression)) is not None:
            return float(at)
        if (every := eventbridge._parse_rate_seconds(expression)) is not None:
            start = scheduler._to_epoch(schedule.get("StartDate")) or float(schedule["CreationDate"])
            return float(start + (now - start) // every * every)
        return now // 60 * 60  # cron's smallest unit is a minute

    def invoke_with_context(target: dict[str, Any], event: dict[str, Any], rule: Any, *args: Any) -> Any:
        if event.get("Source") == "aws.scheduler" and isinstance(text := target.get("Input"), str):
            due = datetime.fromtimestamp(scheduled_time(rule, time.time()), UTC)
            for name, value in {
                "schedule-arn": rule["Arn"],
                "scheduled-time": f"{due:%Y-%m-%dT%H:%M:%SZ}",
                "execution-id": str(uuid.uuid4()),
                "attempt-number": "1",
            }.items():
                text = text.replace(f"<aws.scheduler.{name}>", value)
            target = {**target, "Input": text}
        return invoke_target(target, event, rule, *args)

    eventbridge._invoke_target = invoke_with_context
