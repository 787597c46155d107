"""The end of a batch that has no result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dropforge.domain.batch_source import TRIGGER, drop_of_source, is_tried_again
from dropforge.domain.caught_errors import readable_error
from dropforge.domain.notifications import batch_failed, batch_stopped

STOPPED = "stopped"


def close_batch(event: Mapping[str, Any], *, model_name: str) -> dict[str, Any]:
    """Word how a batch ended; nothing is left to be freed or cleaned up.

    Args:
        event: ``batch``, with which its execution was started; ``execution_arn``; ``status``, which is
            ``stopped`` or ``failed``; and ``error``, which Step Functions caught (``Error``, ``Cause``).

    Returns:
        ``notification``, and ``error``: what the execution fails with, readable, or None.
    """
    source = _source(event["batch"])
    if event["status"] == STOPPED:
        return {"notification": asdict(batch_stopped(model_name, source)), "error": None}
    error = readable_error(event["error"] or {})
    told = batch_failed(
        model_name, source, error, execution_arn=event["execution_arn"], remedy=_remedy(event["batch"], error)
    )
    return {"notification": asdict(told), "error": {"Error": error["class"], "Cause": error["message"]}}


def _source(start: Any) -> str | None:
    """The file that the batch began with; None where it began with something else."""
    try:
        if drop := drop_of_source(start):
            return f"s3://{drop.bucket}/{drop.key}"
        return f"s3://{start['detail']['bucket']['name']}/{start['detail']['object']['key']}"
    except (KeyError, TypeError, AttributeError):
        return None


def _remedy(start: Any, error: Mapping[str, str]) -> str:
    """What becomes of the file, and what to do."""
    if not isinstance(start, dict) or start.get("trigger") != TRIGGER:
        return "The file is unchanged. Once the cause is fixed, drop it again."
    if is_tried_again(error, int(start.get("tries_left", 0))):
        return "The file is tried again with the next run of BatchSchedule."
    return (
        "The file is not tried again by itself, unless its content changes. Once the cause is fixed: "
        "dropforge batches retry"
    )
