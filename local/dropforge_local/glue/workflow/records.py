"""Executions' records: their history, their checkpoint, and the journal that both survive in."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.sagemaker_mount import emit_aws_event
from dropforge_local.glue.seams import cloudwatch
from dropforge_local.glue.workflow.run import Run, is_suspended

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dropforge_local.glue.journal import Journal

_log = logging.getLogger("dropforge.workflow")

# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
MAX_DATA_BYTES = 262_144
MAX_EVENTS = 25_000
# Input and output above this are left out of status events:
# https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html
_MAX_EVENT_DATA = 248 * 1024


def now_iso() -> str:
    """The current time as Step Functions' records show it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def epoch_ms(iso: str | None) -> int | None:
    """A record's time in epoch milliseconds."""
    return int(datetime.fromisoformat(iso).timestamp() * 1000) if iso else None


def customer_key(record: Mapping[str, Any]) -> str | None:
    """The customer's key that encrypts a machine's or an execution's data, if one does."""
    # What an earlier release of the host has kept has no such member.
    key: str | None = (record.get("encryptionConfiguration") or {}).get("kmsKeyId")
    return key


class Records:
    """The executions of this process. ``lock`` orders their changes of status."""

    def __init__(self, store: Any, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self.lock = threading.RLock()
        self._runs: dict[str, Run] = {}
        self._waiting: dict[str, list[Run]] = {}

    # --- runs ----------------------------------------------------------------------------------------

    def run_of(self, arn: str) -> Run | None:
        """The execution's run in this process, while it runs."""
        return self._runs.get(arn)

    def begin(self, arn: str, run: Run) -> None:
        """Note that the execution runs."""
        with self.lock:
            self._runs[arn] = run

    def leave(self, arn: str) -> None:
        """Note that the execution's thread has ended."""
        with self.lock:
            self._runs.pop(arn, None)

    def runs(self) -> list[Run]:
        """Every run in this process."""
        with self.lock:
            return list(self._runs.values())

    def wake_at_end(self, arn: str, run: Run) -> None:
        """Notify ``run`` when the execution ``arn`` ends."""
        with self.lock:
            self._waiting.setdefault(arn, []).append(run)

    # --- records -------------------------------------------------------------------------------------

    def save(self, execution: dict[str, Any]) -> None:
        """Make the record durable. Children of a distributed map are part of their parent's state."""
        if is_suspended() or "mapRunArn" in execution:
            return
        arn = execution["executionArn"]
        _, _, _, region, account, *_ = arn.split(":")
        with self.lock:
            self._journal.save_execution(arn, account, region, execution)

    def add_event(
        self, execution: dict[str, Any], kind: str, details: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Append to the history."""
        with self.lock:
            number = len(execution["events"]) + 1
            event = {"id": number, "previousEventId": number - 1, "type": kind, "timestamp": now_iso()}
            event.update(details or {})
            execution["events"].append(event)
        if "mapRunArn" not in execution and not is_suspended():
            self._journal.save_event(execution["executionArn"], event)
        return event

    def finish(
        self,
        execution: dict[str, Any],
        status: str,
        *,
        output: Any = None,
        error: str | None = None,
        cause: str | None = None,
    ) -> bool:
        """End the execution; False where it has ended before."""
        details: dict[str, Any]
        with self.lock:
            if execution["status"] != "RUNNING" or is_suspended():
                return False
            if status == "SUCCEEDED":
                execution["output"] = json.dumps(output)
                details = {"output": execution["output"]}
            else:
                execution["error"], execution["cause"] = error, cause
                details = {key: value for key, value in (("error", error), ("cause", cause)) if value}
            execution["stopDate"] = now_iso()
            execution.pop("checkpoint", None)
            names = {
                "SUCCEEDED": "Succeeded",
                "FAILED": "Failed",
                "ABORTED": "Aborted",
                "TIMED_OUT": "TimedOut",
            }
            name = f"Execution{names[status]}"
            self.add_event(execution, name, {f"e{name[1:]}EventDetails": details})
            # Last: whoever describes the execution meanwhile must not see an end that lacks its reason.
            execution["status"] = status
            self.save(execution)
            waiting = self._waiting.pop(execution["executionArn"], [])
        for run in waiting:
            run.notify()
        self.emit_status(execution)
        return True

    def emit_status(self, execution: dict[str, Any]) -> None:
        """Put "Step Functions Execution Status Change" and the metrics; express executions emit no event."""
        if "mapRunArn" in execution:
            return
        _count(execution)
        if execution.get("sync") or ":express:" in execution["executionArn"]:
            return
        try:
            emit_aws_event(
                "aws.states",
                "Step Functions Execution Status Change",
                status_detail(execution),
                [execution["executionArn"]],
            )
        except Exception:  # delivery is best effort, as on AWS; it must not change the execution
            _log.exception("no status event for %s", execution["executionArn"])


# https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html
_METRICS = {
    "RUNNING": "ExecutionsStarted",
    "SUCCEEDED": "ExecutionsSucceeded",
    "FAILED": "ExecutionsFailed",
    "TIMED_OUT": "ExecutionsTimedOut",
    "ABORTED": "ExecutionsAborted",
}


def _count(execution: dict[str, Any]) -> None:
    """The metrics of ``AWS/States`` for the execution's new status."""

    dimensions = {"StateMachineArn": execution["stateMachineArn"]}
    cloudwatch.record_metric("AWS/States", _METRICS[execution["status"]], 1, "Count", dimensions)
    started, stopped = epoch_ms(execution["startDate"]), epoch_ms(execution.get("stopDate"))
    if started is not None and stopped is not None:
        cloudwatch.record_metric("AWS/States", "ExecutionTime", stopped - started, "Milliseconds", dimensions)


def status_detail(execution: dict[str, Any]) -> dict[str, Any]:
    """The detail of a status event; what a customer's key encrypts is left out.

    https://docs.aws.amazon.com/step-functions/latest/dg/eventbridge-integration.html,
    https://docs.aws.amazon.com/step-functions/latest/dg/encryption-at-rest.html
    """
    status, encrypted = execution["status"], customer_key(execution) is not None
    redrivable = status in {"FAILED", "TIMED_OUT", "ABORTED"}
    reason = "is redrivable" if redrivable else "cannot be redriven"
    detail: dict[str, Any] = {
        "executionArn": execution["executionArn"],
        "stateMachineArn": execution["stateMachineArn"],
        "name": execution["name"],
        "status": status,
        "startDate": epoch_ms(execution["startDate"]),
        "stopDate": epoch_ms(execution.get("stopDate")),
        "stateMachineVersionArn": None,
        "stateMachineAliasArn": None,
        "redriveCount": 0,
        "redriveDate": None,
        "redriveStatus": "REDRIVABLE" if redrivable else "NOT_REDRIVABLE",
        "redriveStatusReason": f"Execution is {status} and {reason}",
        "error": None if encrypted else execution.get("error"),
        "cause": None if encrypted else execution.get("cause"),
    }
    for name, value in (
        ("input", execution.get("input")),
        ("output", execution.get("output") if status == "SUCCEEDED" else None),
    ):
        included = value is None or (len(value) <= _MAX_EVENT_DATA and not encrypted)
        detail[name] = value if included else None
        detail[f"{name}Details"] = {"included": included} if value is not None else None
    return detail
