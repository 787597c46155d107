"""The log groups of a host, as files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def write_log_groups(logs: Any, folder: Path) -> None:
    """Write each log group to ``<folder>/<its name>.log``: a line an event, the oldest first.

    Args:
        logs: a client of CloudWatch Logs.
        folder: is made where it is not there; files of former calls are replaced.
    """
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            name = group["logGroupName"]
            path = folder / f"{name.strip('/')}.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(_lines(logs, name)), encoding="utf-8")


def _lines(logs: Any, group: str) -> list[str]:
    events = [
        event
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        for event in page["events"]
    ]
    return [
        f"{datetime.fromtimestamp(event['timestamp'] / 1000, UTC).isoformat(timespec='milliseconds')} "
        f"{event['logStreamName']} {event['message'].rstrip()}\n"
        for event in sorted(events, key=lambda event: event["timestamp"])
    ]
