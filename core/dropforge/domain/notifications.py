"""What people are told, by e-mail or whatever else listens to the topic: every subject and every message.

Use cases return a notification with their answer, and the state machine's `Notify` publishes it. So a
function that runs twice tells nothing twice, and a message that can't be sent changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dropforge.domain.errors import cut
from dropforge.domain.figures import told_apart
from dropforge.domain.metric_registry import metric_title
from dropforge.domain.moments import iso, readable
from dropforge.domain.records import ModelVersion, Run, RunStatus
from dropforge.domain.triggers import RaisedAlarm

LONGEST_SUBJECT: Final = 99
"""Characters. SNS takes fewer than 100, without line breaks:
https://docs.aws.amazon.com/sns/latest/api/API_Publish.html"""
LONGEST_TEXT: Final = 12_000
"""Characters: the whole of an error's message, and what became of a wide table."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One message; subscribers filter by its kind, which is the message's attribute ``kind``."""

    kind: str
    subject: str
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "subject", " ".join(self.subject.split())[:LONGEST_SUBJECT])
        object.__setattr__(self, "message", cut(self.message, LONGEST_TEXT))


def _metric(metric: Mapping[str, Any] | None) -> str | None:
    """A metric by name and figure; None where it has no value, as with too few rows to judge on."""
    if metric is None or metric.get("value") is None:
        return None
    value, _ = told_apart(metric["value"], metric.get("threshold"))
    return f"{metric_title(metric['name'], metric.get('positive_class'))} {value}"


def _paragraphs(parts: Iterable[str | None]) -> str:
    return "\n\n".join(part for part in parts if part)


def _commands(version: int) -> str:
    return f"  dropforge approve {version}\n  dropforge reject {version} --reason TEXT"


# --- reviewing --------------------------------------------------------------------------------------


def approval_needed(model_name: str, model: ModelVersion, notes: Iterable[str], drops: str) -> Notification:
    """A candidate waits for its reviewers, who should know the notes."""
    metric = _metric(model.metric)
    return Notification(
        "approval-needed",
        f"Version {model.version} of {model_name} is waiting for approval",
        _paragraphs(
            [
                f"Run {model.run_id} trained version {model.version} of {model_name}"
                + (f": {metric} on the hold-out." if metric else "."),
                "\n".join(notes),
                drops,
                "Approve or reject it in SageMaker Studio, in the dropforge console, or with:\n"
                + _commands(model.version),
                model.model_package_arn,
            ]
        ),
    )


def approval_reminder(model_name: str, model: ModelVersion) -> Notification:
    """Nobody has decided yet."""
    metric = _metric(model.metric)
    return Notification(
        "approval-reminder",
        f"Reminder: version {model.version} of {model_name} is waiting for approval",
        f"Version {model.version} of {model_name} is still waiting for approval"
        + (f" ({metric} on the hold-out)" if metric else "")
        + (
            f". Its run ends on {readable(model.due_at)} if nobody has decided by then."
            if model.due_at
            else "."
        )
        + "\n"
        + _commands(model.version),
    )


def approval_overdue(model_name: str, model: ModelVersion) -> Notification:
    """Nobody has decided in time."""
    by = f" by {readable(model.due_at)}" if model.due_at else " in time"
    return Notification(
        "approval-overdue",
        f"Overdue: nobody decided on version {model.version} of {model_name}",
        f"Nobody approved or rejected version {model.version} of {model_name}{by}, so its run has ended. "
        "The live model stays. You can still approve the version, which deploys it:\n"
        f"  dropforge approve {model.version}",
    )


# --- a run's end ------------------------------------------------------------------------------------


def run_ended(
    model_name: str,
    status: RunStatus,
    run: Run,
    *,
    decision: Mapping[str, Any] | None,
    drops: str,
    data: str,
) -> Notification | None:
    """How a run ended, if that is for anybody to know: a replay is looked at by whoever asked for it, and of
    a newer candidate its reviewers hear anyway.

    Args:
        status: how the run's execution ends it; the record may say that something else was quicker.
        decision: ``version``, ``by`` and ``reason`` of a rejection.
        drops: what became of the run's drops, in words.
        data: what became of the data of a candidate that the gate rejected, in words.
    """
    if status is RunStatus.REJECTED_BY_GATE:
        metric = _metric(run.metric)
        reasons = "\n".join(f"- {each['message']}" for each in run.reasons)
        return Notification(
            "rejected-by-gate",
            f"The gate rejected a candidate for {model_name}",
            _paragraphs(
                [
                    f"The gate rejected the candidate of run {run.run_id}"
                    + (f" ({metric} on the hold-out)" if metric else "")
                    + f":\n{reasons}",
                    data,
                    drops,
                    "The live model stays.",
                    None
                    if run.alarm is None
                    else f"The run answered the {run.alarm['kind']} alarm of {readable(run.alarm['at'])}. "
                    "While what raised it lasts, it is raised again after the cooldown.",
                ]
            ),
        )
    if status is RunStatus.REJECTED and decision is not None:
        by, reason = decision.get("by"), decision.get("reason")
        return Notification(
            "rejected",
            f"Version {decision['version']} of {model_name} was rejected",
            f"Version {decision['version']} of {model_name} was rejected"
            + (f" by {by}" if by else "")
            + (f": {reason}" if reason else ".")
            + "\n\nThe live model stays.",
        )
    if status is RunStatus.STOPPED:
        return Notification(
            "stopped",
            f"A run of {model_name} was stopped",
            f"Run {run.run_id} ended because its training job was stopped. The live model stays. The run's "
            "drops wait for the next run; start one with 'dropforge runs start'.",
        )
    return None


def run_failed(
    model_name: str, error: Mapping[str, str], *, run_id: str | None, execution_arn: str, drops: str
) -> Notification:
    """A run broke, or what was to start one did.

    Args:
        error: its ``class`` and ``message``.
        run_id: None where it broke before there was a run.
    """
    return Notification(
        "run-failed",
        f"A run of {model_name} failed: {error['class']}",
        _paragraphs(
            [
                f"{f'Run {run_id}' if run_id else 'A start of a run'} failed with {error['class']}: "
                + error["message"],
                drops,
                "The dropped files are unchanged, and the live model keeps serving.",
                execution_arn and f"Execution: {execution_arn}",
            ]
        ),
    )


# --- an alarm -----------------------------------------------------------------------------------------


def alarm_led_nowhere(model_name: str, alarm: RaisedAlarm, why: str) -> Notification:
    """An alarm was raised and no run follows from it: somebody may want to do something."""
    version = f", about version {alarm.version}" if alarm.version is not None else ""
    return Notification(
        "alarm-unanswered",
        f"The {alarm.name} of {model_name} starts no run",
        _paragraphs(
            [
                f"The {alarm.name} of {model_name} was raised by the window that ended on "
                f"{readable(iso(alarm.at))}{version}: {alarm.reason}.",
                f"No run follows. {why}",
                "'dropforge drift latest' shows the columns, and 'dropforge watch alarms' what became of "
                "each alarm. 'dropforge runs start' retrains anyway; 'dropforge watch silence COLUMN' leaves "
                "a column out for a time.",
                alarm.report_uri and f"Report: {alarm.report_uri}",
            ]
        ),
    )


# --- a batch's end ----------------------------------------------------------------------------------


def batch_scored(
    model_name: str,
    source: str,
    version: int,
    *,
    scored: int,
    rejected: int,
    result_uri: str,
    manifest_uri: str,
) -> Notification:
    """A batch has its result."""
    left_out = ""
    if rejected:
        left_out = f" {rejected:,} {'rows break' if rejected > 1 else 'row breaks'} its contract and "
        left_out += f"{'were' if rejected > 1 else 'was'} not scored."
    return Notification(
        "batch-scored",
        f"A batch was scored by {model_name}",
        f"Version {version} of {model_name} scored {scored:,} row{'' if scored == 1 else 's'} of {source}."
        f"{left_out}\n\nResult: {result_uri}\nCounts, reasons and digest: {manifest_uri}",
    )


def batch_stopped(model_name: str, source: str | None) -> Notification:
    """Somebody stopped the transform job."""
    return Notification(
        "batch-stopped",
        f"A batch of {model_name} was stopped",
        f"{source or 'A batch'} was not scored, because its transform job was stopped. To score it, drop the "
        "file again.",
    )


def batch_failed(
    model_name: str, source: str | None, error: Mapping[str, str], *, execution_arn: str, remedy: str
) -> Notification:
    """A batch broke.

    Args:
        source: the file; None where the execution was started with something else.
        error: its ``class`` and ``message``.
        remedy: what becomes of the file, and what to do.
    """
    return Notification(
        "batch-failed",
        f"A batch of {model_name} failed: {error['class']}",
        _paragraphs(
            [
                f"{source or 'A batch'} could not be scored. {error['class']}: {error['message']}",
                remedy,
                f"Execution: {execution_arn}",
            ]
        ),
    )


# --- a deployment -----------------------------------------------------------------------------------


def endpoint_gap(model_name: str, version: int, endpoint_name: str, mode: str) -> Notification:
    """Nothing will answer for some minutes."""
    return Notification(
        "endpoint-gap",
        f"The endpoint of {model_name} becomes {mode}: no answers for some minutes",
        f"EndpointMode is {mode}, but the endpoint {endpoint_name} is of another kind, which SageMaker can't "
        f"update to this one. It is deleted now and created again with version {version}. Until it "
        "is in service, the API answers 503 (EndpointMissing). Another message will tell you when it serves "
        "again. If it doesn't come up, what is live now is brought back.",
    )


def promoted(
    model_name: str,
    version: int,
    endpoint_name: str,
    *,
    reason: str,
    requested_by: str | None,
    previous_version: int | None,
) -> Notification:
    """A version is live."""
    by = f", by {requested_by}" if requested_by else ""
    replaced = ""
    if previous_version is not None and previous_version != version:
        replaced = f" It replaced version {previous_version}."
    return Notification(
        "promoted",
        f"Version {version} of {model_name} is live",
        f"Version {version} of {model_name} is live on the endpoint {endpoint_name} ({reason}{by})."
        + replaced,
    )


def restore_failed(
    model_name: str, version: int, endpoint_name: str, previous_config: str | None
) -> Notification:
    """Somebody has to look at the endpoint."""
    return Notification(
        "restore-failed",
        f"URGENT: the endpoint of {model_name} could not be restored",
        f"A deployment of version {version} failed, and the endpoint {endpoint_name} could not be brought "
        f"back to {previous_config or 'what was live'}. Look at it in the SageMaker console. The "
        "reconciliation will try again.",
    )


def deployment_failed(
    model_name: str,
    error: Mapping[str, str],
    *,
    version: int | None,
    execution_arn: str,
    is_restored: bool,
    is_replaced: bool,
) -> Notification:
    """A deployment broke.

    Args:
        error: its ``class`` and ``message``.
        version: None where it broke before it was known.
        is_restored: whether what was live serves as before.
        is_replaced: whether the endpoint was deleted meanwhile.
    """
    what = "A deployment" if version is None else f"The deployment of version {version}"
    serving = "What was live before keeps serving."
    if not is_restored:
        serving = "The endpoint could not be brought back to what was live before."
    elif is_replaced:
        serving = "What was live before serves again, on an endpoint that was created anew."
    return Notification(
        "deployment-failed",
        f"A deployment of {model_name} failed: {error['class']}",
        _paragraphs(
            [
                f"{what} failed with {error['class']}: {error['message']}",
                serving,
                f"Execution: {execution_arn}",
            ]
        ),
    )
