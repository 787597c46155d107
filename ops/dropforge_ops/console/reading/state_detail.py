"""What happened in one state of an execution: what went in, what came out, what broke, what was logged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import ClientError

from dropforge_ops.console.reading.state_graph import State
from dropforge_ops.errors import code_of
from dropforge_ops.stack.target import Target

_MASKED: Final = "(not shown: it is a key to the waiting run)"
_SECRETS: Final = frozenset({"task_token", "tasktoken"})
_PAGE_EVENTS: Final = 1000
_MOST_LINES: Final = 200
_MOST_LOG_PAGES: Final = 5
# Lines arrive a little before and after Step Functions' own clock says so.
_SLACK: Final = timedelta(seconds=5)
_TRAINING_GROUP: Final = "/aws/sagemaker/TrainingJobs"
_TRAINING_CALL = re.compile(r":(create|describe)TrainingJob\b")


@dataclass(frozen=True)
class Failure:
    """An attempt that failed."""

    at: datetime
    error: str
    cause: str


@dataclass(frozen=True)
class Stay:
    """One stay in the state; ``given`` and ``result`` are its input and output as indented JSON."""

    entered_at: datetime
    left_at: datetime | None
    given: str
    result: str | None
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class LogLine:
    """One structured line. ``facts`` are the fields besides time, level and message."""

    at: datetime
    level: str
    message: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LogLines:
    """What was logged in the state, and the log group it stands in; ``missing`` says why there is none."""

    lines: tuple[LogLine, ...] = ()
    group: str | None = None
    missing: str | None = None


def read_stays(sfn: Any, execution_arn: str, state: str) -> tuple[Stay, ...]:
    """Every stay in a state, the last one first."""
    found: list[Stay] = []
    for event in _events(sfn, execution_arn):
        kind: str = event["type"]
        if kind.endswith("StateEntered"):
            details = event["stateEnteredEventDetails"]
            if details["name"] == state:
                given = readable(details.get("input"))
                found.append(Stay(event["timestamp"].astimezone(UTC), None, given, None, ()))
        elif not found or found[-1].left_at is not None:
            continue
        elif kind.endswith("StateExited") and event["stateExitedEventDetails"]["name"] == state:
            output = readable(event["stateExitedEventDetails"].get("output"))
            found[-1] = replace(found[-1], left_at=event["timestamp"].astimezone(UTC), result=output)
        else:
            failure = _failure(event)
            if failure is not None:
                found[-1] = replace(found[-1], failures=(*found[-1].failures, failure))
    return tuple(reversed(found))


def read_log(target: Target, state: State, stay: Stay, run_id: str) -> LogLines:
    """The structured lines that were logged during a stay: of this run, the oldest first.

    A training job goes on beside the states that begin and follow it, so both show what it has logged so far.
    What a training script or a library prints may hold data, so only the job's metrics are shown; the whole
    log is in CloudWatch.
    """
    if state.function is not None:
        configuration = target.client("lambda").get_function_configuration(FunctionName=state.function)
        name = state.function.rsplit(":", 1)[-1]
        group = (configuration.get("LoggingConfig") or {}).get("LogGroup") or f"/aws/lambda/{name}"
        return _lines(target, group, lambda event: function_line(event, run_id), **_window(stay))
    if state.resource is not None and _TRAINING_CALL.search(state.resource):
        job = _training_job(stay.given)
        if job is None:
            return LogLines(missing="The state's input names no training job.")
        return _lines(target, _TRAINING_GROUP, metric_line, logStreamNamePrefix=f"{job}/")
    return LogLines(missing="This state calls no function and trains nothing, so it logs nothing.")


def readable(text: str | None) -> str:
    """JSON as people read it, with a waiting task's token masked."""
    try:
        document = json.loads(text or "null")
    except ValueError:
        return text or ""
    return json.dumps(masked(document), indent=2, ensure_ascii=False)


def masked(value: Any) -> Any:
    """A document without task tokens: whoever has one can decide in a reviewer's place.

    >>> masked({"approval": {"task_token": "AQCAAAA"}, "version": 3})["version"]
    3
    """
    if isinstance(value, dict):
        return {name: _MASKED if name.lower() in _SECRETS else masked(each) for name, each in value.items()}
    return [masked(each) for each in value] if isinstance(value, list) else value


def function_line(event: Mapping[str, Any], run_id: str) -> LogLine | None:
    """A line of ours, or None: the platform's lines and other runs' are left out."""
    try:
        document = json.loads(event["message"])
    except ValueError:
        return None
    if not isinstance(document, dict) or "level" not in document or "message" not in document:
        return None
    if document.get("run_id") not in (None, run_id):
        return None
    return LogLine(
        at=_time_of(event),
        level=str(document["level"]),
        message=str(document["message"]),
        facts={
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in masked(document).items()
            if name not in _QUIET_FIELDS
        },
    )


_QUIET_FIELDS: Final = frozenset(
    {
        "level",
        "message",
        "timestamp",
        "service",
        "cold_start",
        "function_name",
        "function_memory_size",
        "function_arn",
        "function_request_id",
        "xray_trace_id",
        "run_id",
        "correlation_id",
        "location",
    }
)
_METRIC = re.compile(r"(?P<name>[a-z]+:[\w.-]+)=(?P<value>[-+.\deE]+|nan|inf|-inf);")


def metric_line(event: Mapping[str, Any]) -> LogLine | None:
    """A training job's metric, or None for any other line."""
    match = _METRIC.fullmatch(event["message"].strip())
    if match is None:
        return None
    return LogLine(_time_of(event), "METRIC", match["name"], {"value": match["value"]})


def _window(stay: Stay) -> dict[str, int]:
    begin, end = stay.entered_at - _SLACK, (stay.left_at or datetime.now(UTC)) + _SLACK
    return {"startTime": int(begin.timestamp() * 1000), "endTime": int(end.timestamp() * 1000)}


def _lines(target: Target, group: str, read: Any, **request: Any) -> LogLines:
    request["logGroupName"] = group
    found: list[LogLine] = []
    try:
        for _ in range(_MOST_LOG_PAGES):
            answer = target.client("logs").filter_log_events(**request)
            found += [line for line in map(read, answer["events"]) if line is not None]
            if not answer.get("nextToken") or len(found) >= _MOST_LINES:
                break
            request["nextToken"] = answer["nextToken"]
    except ClientError as error:
        if code_of(error) != "ResourceNotFoundException":
            raise
        return LogLines(group=group, missing=f"There is no log group {group} (yet).")
    return LogLines(tuple(found[:_MOST_LINES]), group, None if found else "Nothing was logged.")


def _events(sfn: Any, execution_arn: str) -> Iterator[Mapping[str, Any]]:
    request = {"executionArn": execution_arn, "includeExecutionData": True, "maxResults": _PAGE_EVENTS}
    while True:
        answer = sfn.get_execution_history(**request)
        yield from answer["events"]
        if not answer.get("nextToken"):
            return
        request["nextToken"] = answer["nextToken"]


def _failure(event: Mapping[str, Any]) -> Failure | None:
    if not event["type"].endswith(("Failed", "TimedOut", "Aborted")):
        return None
    details: Mapping[str, Any] = next(
        (value for name, value in event.items() if name.endswith("EventDetails")), {}
    )
    error = str(details.get("error") or event["type"])
    return Failure(event["timestamp"].astimezone(UTC), error, readable(details.get("cause")))


def _training_job(given: str) -> str | None:
    try:
        job = json.loads(given)["training"]["job_name"]
    except (ValueError, KeyError, TypeError):
        return None
    return job if isinstance(job, str) else None


def _time_of(event: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
