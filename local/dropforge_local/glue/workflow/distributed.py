"""Distributed Map: items from S3 or the input, in batches, each a child execution; results to S3.

https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html
"""

from __future__ import annotations

import copy
import json
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dropforge_local.glue.authorization import Denied
from dropforge_local.glue.workflow.records import MAX_DATA_BYTES, now_iso
from dropforge_local.glue.workflow.run import Ended, Suspended

if TYPE_CHECKING:
    from dropforge_local.glue.authorization import Authorization
    from dropforge_local.glue.workflow.records import Records

_COUNTERS = (
    "pending",
    "running",
    "succeeded",
    "failed",
    "timedOut",
    "aborted",
    "total",
    "resultsWritten",
    "failuresNotRedrivable",
    "pendingRedrive",
)
type RunStates = Callable[[dict[str, Any], Any, dict[str, Any], dict[str, Any]], Any]
"""Runs the states of a processor on an input, within an execution and a context; returns the output."""

_WRITER = "arn:aws:states:::s3:putObject"


@dataclass(frozen=True)
class MapState:
    """A Map state as it was entered."""

    state: dict[str, Any]
    processor: dict[str, Any]
    raw_input: Any
    effective: Any
    execution: dict[str, Any]
    ctx: dict[str, Any]
    jsonata: bool
    run_states: RunStates


class DistributedMap:
    """Runs map runs.

    Args:
        together: runs calls, at most so many at a time, and raises the first failure.
        s3: makes an S3 client, for the result writer.
        records: keeps the history.
    """

    def __init__(
        self,
        interpreter: Any,
        together: Callable[[list[Callable[[], Any]], int], list[Any]],
        s3: Callable[[], Any],
        authorization: Authorization,
        records: Records,
    ) -> None:
        self._asl = interpreter
        self._records = records
        self._together = together
        self._s3 = s3
        self._authorization = authorization

    def run(self, entered: MapState, items: Callable[[], list[Any]], limit: int) -> Any:
        """The state's result: the children's outputs, or where they were written."""
        self._authorize(entered)
        inputs = self._inputs(entered, self._read(entered) if "ItemReader" in entered.state else items())
        record = self._record(entered, len(inputs), limit)
        self._asl._map_runs[record["mapRunArn"]] = record
        lock = threading.Lock()
        children: list[dict[str, Any]] = [
            self._child(record, entered.execution, value) for _, value in inputs
        ]

        def call(index: int) -> Callable[[], Any]:
            return lambda: self._run_child(entered, record, children[index], inputs[index][0], lock)

        details = {"mapRunArn": record["mapRunArn"]}
        length = {"mapStateStartedEventDetails": {"length": len(inputs)}}
        self._records.add_event(entered.execution, "MapStateStarted", length)
        self._records.add_event(entered.execution, "MapRunStarted", {"mapRunStartedEventDetails": details})
        try:
            self._together([call(index) for index in range(len(inputs))], limit)
        except self._asl._ExecutionError as error:
            record["status"], record["stopDate"] = "FAILED", now_iso()
            if "ResultWriter" in entered.state:
                self._write(entered, record, children)
            failed = {"error": error.error, "cause": error.cause}
            self._records.add_event(entered.execution, "MapRunFailed", {"mapRunFailedEventDetails": failed})
            raise
        record["status"], record["stopDate"] = "SUCCEEDED", now_iso()
        self._records.add_event(entered.execution, "MapRunSucceeded")
        self._records.add_event(entered.execution, "MapStateSucceeded")
        succeeded = [child for child in children if child["status"] == "SUCCEEDED"]
        if "ResultWriter" in entered.state:
            return self._write(entered, record, children)
        return [json.loads(child["output"]) for child in succeeded]

    def _authorize(self, entered: MapState) -> None:
        parts = {
            name: {**part, "Arguments": self._evaluated(entered, _arguments(part))}
            for name in ("ItemReader", "ResultWriter")
            if (part := entered.state.get(name))
        }
        arn = entered.execution["stateMachineArn"]
        machine = self._asl._state_machines.get(arn) or {}
        try:
            label = entered.state.get("Label") or entered.ctx["State"]["Name"]
            self._authorization.map(machine.get("roleArn", ""), parts, arn, label)
        except Denied as denied:
            raise self._asl._ExecutionError("States.Runtime", str(denied)) from denied

    # --- items ---------------------------------------------------------------------------------------

    def _evaluated(self, entered: MapState, value: Any, ctx: dict[str, Any] | None = None) -> Any:
        if entered.jsonata:
            return self._asl._apply_jsonata_template(value, entered.raw_input, ctx or entered.ctx)
        return self._asl._resolve_params_obj(value, entered.effective, ctx or entered.ctx)

    def _read(self, entered: MapState) -> list[Any]:
        reader = entered.state["ItemReader"]
        parameters = self._evaluated(entered, _arguments(reader))
        config = reader.get("ReaderConfig") or {}
        if entered.jsonata:
            config = self._evaluated(entered, config)
        resolved = {"Resource": reader.get("Resource", ""), "Parameters": parameters, "ReaderConfig": config}
        items: list[Any] = self._asl._read_map_items(resolved, entered.effective, entered.ctx)
        return items

    def _inputs(self, entered: MapState, items: list[Any]) -> list[tuple[dict[str, Any], Any]]:
        """(context, input) per child: one item each, or a batch."""
        selector = entered.state.get("ItemSelector") or entered.state.get("Parameters")
        values = []
        for index, item in enumerate(items):
            ctx = copy.deepcopy(entered.ctx)
            ctx["Map"] = {"Item": {"Index": index, "Value": item}}
            values.append((ctx, self._evaluated(entered, selector, ctx) if selector else item))
        batcher = entered.state.get("ItemBatcher")
        if not batcher:
            return values
        settings = self._evaluated(entered, batcher)
        most = int(settings.get("MaxItemsPerBatch") or len(values) or 1)
        most_bytes = int(settings.get("MaxInputBytesPerBatch") or MAX_DATA_BYTES)
        batches: list[list[Any]] = []
        size = 0
        for _, value in values:
            length = len(json.dumps(value).encode())
            if not batches or len(batches[-1]) >= most or size + length > most_bytes:
                batches.append([])
                size = 0
            batches[-1].append(value)
            size += length
        shared = {"BatchInput": settings["BatchInput"]} if "BatchInput" in settings else {}
        return [(copy.deepcopy(entered.ctx), {**shared, "Items": batch}) for batch in batches]

    # --- children ------------------------------------------------------------------------------------

    def _record(self, entered: MapState, total: int, limit: int) -> dict[str, Any]:
        *_, region, account, _, name = entered.execution["stateMachineArn"].split(":")
        label = entered.state.get("Label") or str(uuid.uuid4())
        counts = {**dict.fromkeys(_COUNTERS, 0), "total": total, "pending": total}
        state = entered.state
        share = state.get("ToleratedFailurePercentage")
        count = state.get("ToleratedFailureCount")
        return {
            "mapRunArn": f"arn:aws:states:{region}:{account}:mapRun:{name}/{label}:{uuid.uuid4()}",
            "executionArn": entered.execution["executionArn"],
            "status": "RUNNING",
            "startDate": now_iso(),
            "maxConcurrency": limit,
            "toleratedFailurePercentage": float(self._evaluated(entered, share) if share is not None else 0),
            "toleratedFailureCount": int(self._evaluated(entered, count) if count is not None else 0),
            "itemCounts": dict(counts),
            "executionCounts": dict(counts),
            "redriveCount": 0,
            "_stateMachineArn": f"arn:aws:states:{region}:{account}:stateMachine:{name}/{label}",
        }

    def _child(self, record: dict[str, Any], parent: dict[str, Any], value: Any) -> dict[str, Any]:
        *_, region, account, _, name = record["_stateMachineArn"].split(":")
        child_name = str(uuid.uuid4())
        return {
            "executionArn": f"arn:aws:states:{region}:{account}:execution:{name}:{child_name}",
            "stateMachineArn": record["_stateMachineArn"],
            "name": child_name,
            "status": "RUNNING",
            "startDate": now_iso(),
            "stopDate": None,
            "input": json.dumps(value),
            "output": None,
            "mapRunArn": record["mapRunArn"],
            "testCase": parent.get("testCase"),
            "mockAttempts": {},
            "events": [],
        }

    def _run_child(
        self,
        entered: MapState,
        record: dict[str, Any],
        child: dict[str, Any],
        ctx: dict[str, Any],
        lock: threading.Lock,
    ) -> None:
        self._asl._executions[child["executionArn"]] = child
        _move(record, lock, "pending", "running")
        try:
            output = entered.run_states(entered.processor, json.loads(child["input"]), child, ctx)
            child.update(status="SUCCEEDED", output=json.dumps(output))
        except self._asl._ExecutionError as error:
            child.update(status="FAILED", error=error.error, cause=error.cause)
        except Ended:
            child.update(status="ABORTED")
            raise
        except Suspended:
            raise
        finally:
            child["stopDate"] = now_iso()
            _move(record, lock, "running", child["status"].lower())
        failed, total = record["itemCounts"]["failed"], record["itemCounts"]["total"]
        state = entered.state
        limits = [
            failed > record["toleratedFailureCount"] if "ToleratedFailureCount" in state else None,
            failed * 100 > record["toleratedFailurePercentage"] * total
            if "ToleratedFailurePercentage" in state
            else None,
        ]
        given = [limit for limit in limits if limit is not None]
        if failed and (any(given) if given else True):
            raise self._asl._ExecutionError(
                "States.ExceedToleratedFailureThreshold",
                "The specified tolerated failure threshold was exceeded",
            )

    # --- results -------------------------------------------------------------------------------------

    def _write(
        self, entered: MapState, record: dict[str, Any], children: list[dict[str, Any]]
    ) -> dict[str, Any]:
        writer = entered.state["ResultWriter"]
        if writer.get("Resource") != _WRITER:
            raise self._asl._ExecutionError(
                "States.ResultWriterFailed", f"ResultWriter.Resource must be {_WRITER}."
            )
        target = self._evaluated(entered, _arguments(writer))
        bucket, prefix = target["Bucket"], target.get("Prefix", "").rstrip("/")
        folder = "/".join(part for part in (prefix, record["mapRunArn"].rpartition(":")[2]) if part)
        files: dict[str, list[dict[str, Any]]] = {"SUCCEEDED": [], "FAILED": [], "PENDING": []}
        s3 = self._s3()
        for status in ("SUCCEEDED", "FAILED"):
            results = [_result(child) for child in children if child["status"] == status]
            if results:
                body, key = json.dumps(results).encode(), f"{folder}/{status}_0.json"
                s3.put_object(Bucket=bucket, Key=key, Body=body)
                files[status].append({"Key": key, "Size": len(body)})
        manifest = {"DestinationBucket": bucket, "MapRunArn": record["mapRunArn"], "ResultFiles": files}
        s3.put_object(Bucket=bucket, Key=f"{folder}/manifest.json", Body=json.dumps(manifest).encode())
        details = {"Bucket": bucket, "Key": f"{folder}/manifest.json"}
        return {"MapRunArn": record["mapRunArn"], "ResultWriterDetails": details}


def _arguments(part: dict[str, Any]) -> Any:
    return part.get("Arguments") or part.get("Parameters") or {}


def _move(record: dict[str, Any], lock: threading.Lock, before: str, after: str) -> None:
    with lock:
        for counts in (record["itemCounts"], record["executionCounts"]):
            counts[before] -= 1
            counts[after] += 1


def _result(child: dict[str, Any]) -> dict[str, Any]:
    described = {
        "ExecutionArn": child["executionArn"],
        "Input": child["input"],
        "Name": child["name"],
        "StartDate": child["startDate"],
        "StateMachineArn": child["stateMachineArn"],
        "Status": child["status"],
        "StopDate": child["stopDate"],
    }
    described |= {key.capitalize(): child[key] for key in ("output", "error", "cause") if child.get(key)}
    return described
