"""What EventBridge Scheduler does beside what MiniStack's does: context in inputs, and names taken."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import Any

from dropforge_local.glue.seams import eventbridge, provisioners, scheduler

# MiniStack looks every ten seconds.
_TICK_S = 1


def install() -> None:
    """Replace the context attributes in a schedule's input; refuse a template's schedule whose name is taken.

    https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
    """

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

    handlers = provisioners._RESOURCE_HANDLERS["AWS::Scheduler::Schedule"]
    create = handlers["create"]

    def create_unless_taken(logical_id: str, props: dict[str, Any], stack_name: str) -> Any:
        group, name = props.get("GroupName", "default"), props.get("Name")
        if name and f"{group}/{name}" in scheduler._schedules:
            raise ValueError(f"Schedule {name} already exists in group {group}.")
        return create(logical_id, props, stack_name)

    handlers["create"] = create_unless_taken
