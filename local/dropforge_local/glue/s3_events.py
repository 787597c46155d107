"""Puts the object's version into S3's events on EventBridge, which MiniStack's lack.

On AWS ``detail.object.version-id`` is there for every object of a versioned bucket:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

import json
from contextvars import ContextVar
from typing import Any

from dropforge_local.glue.seams import eventbridge, s3

_version: ContextVar[str | None] = ContextVar("version of the object that an event is about", default=None)


def install() -> None:
    """Remember the version while S3 makes its event, and add it where EventBridge takes the event."""

    fire, dispatch = s3._fire_s3_event, eventbridge._dispatch_event

    def fire_with_version(*args: Any, version_id: str | None = None, **options: Any) -> None:
        token = _version.set(version_id)
        try:
            fire(*args, version_id=version_id, **options)
        finally:
            _version.reset(token)

    def dispatch_with_version(event: dict[str, Any], *args: Any, **options: Any) -> Any:
        version = _version.get()
        if version and event.get("Source") == "aws.s3":
            detail = json.loads(event["Detail"])
            detail["object"]["version-id"] = version
            event = {**event, "Detail": json.dumps(detail)}
        return dispatch(event, *args, **options)

    s3._fire_s3_event = fire_with_version
    eventbridge._dispatch_event = dispatch_with_version
