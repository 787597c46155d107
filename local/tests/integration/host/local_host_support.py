"""How the local host's tests talk to a deployed test project."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dropforge_local.forking.process import is_alive
from dropforge_local.host import LocalHost
from dropforge_local.testing.waiting import looked_for

PROJECT = Path(__file__).with_name("project")
# Makes a minute of waiting 0.6 s.
WAIT_SCALE = 0.01


def eventually[T](read: Callable[[], T], within_s: float = 20.0) -> T:
    """The first truthy value of ``read``; fails after ``within_s``."""
    value = looked_for(read, within_s, first_pause_s=0.02, last_pause_s=0.1)
    if not value:
        pytest.fail(f"nothing within {within_s} s; last: {value!r}")
    return value


@dataclass
class Deployed:
    """A host with the test project on it."""

    host: LocalHost
    outputs: dict[str, str]

    def invoke(self, event: dict[str, Any], function: str = "Probe") -> tuple[str | None, Any]:
        """(FunctionError, payload) of a synchronous invocation."""
        answer = self.host.client("lambda").invoke(
            FunctionName=self.outputs[function], Payload=json.dumps(event).encode()
        )
        return answer.get("FunctionError"), json.loads(answer["Payload"].read())

    def machine(self, definition: dict[str, Any], language: str = "JSONata") -> str:
        """Create a state machine; returns its ARN."""
        created = self.host.client("stepfunctions").create_state_machine(
            name=f"test-{uuid.uuid4().hex[:12]}",
            roleArn="arn:aws:iam::000000000000:role/test",
            definition=json.dumps({"QueryLanguage": language, **definition}),
        )
        return str(created["stateMachineArn"])

    def start(self, definition: dict[str, Any] | str, value: Any = None) -> str:
        """Start an execution of a definition or of a machine's ARN; returns the execution's ARN."""
        arn = definition if isinstance(definition, str) else self.machine(definition)
        started = self.host.client("stepfunctions").start_execution(
            stateMachineArn=arn, input=json.dumps({} if value is None else value)
        )
        return str(started["executionArn"])

    def describe(self, execution: str) -> dict[str, Any]:
        """DescribeExecution."""
        return dict(self.host.client("stepfunctions").describe_execution(executionArn=execution))

    def ended(self, execution: str, within_s: float = 20.0) -> dict[str, Any]:
        """DescribeExecution once it has ended."""

        def described() -> dict[str, Any] | None:
            found = self.describe(execution)
            return found if found["status"] != "RUNNING" else None

        return eventually(described, within_s)  # type: ignore[return-value]

    def run(self, definition: dict[str, Any] | str, value: Any = None) -> Any:
        """The output of an execution that succeeds."""
        ended = self.ended(self.start(definition, value))
        assert ended["status"] == "SUCCEEDED", ended
        return json.loads(ended["output"])

    def history(self, execution: str) -> list[dict[str, Any]]:
        """GetExecutionHistory."""
        return list(self.host.client("stepfunctions").get_execution_history(executionArn=execution)["events"])

    def item(self, key: str) -> dict[str, Any] | None:
        """An item of the test table."""
        client = self.host.client("dynamodb")
        found = client.get_item(TableName=self.outputs["Table"], Key={"id": {"S": key}}, ConsistentRead=True)
        return found.get("Item")

    def calls(self, key: str) -> int:
        """How often the counting action was called with ``key``."""
        item = self.item(key)
        return int(item["calls"]["N"]) if item else 0

    def recorded(self, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first event on the bus that matches."""

        def find() -> dict[str, Any] | None:
            table = self.host.client("dynamodb").scan(TableName=self.outputs["Table"], ConsistentRead=True)
            events = [json.loads(item["body"]["S"]) for item in table["Items"] if "body" in item]
            return next((event for event in events if matches(event)), None)

        return eventually(find)  # type: ignore[return-value]


def revived(deployed: Deployed) -> Deployed:
    """The same host, started again if it doesn't run."""
    if deployed.host.pid is None or not is_alive(deployed.host.pid):
        deployed.host.kill()
        deployed.host.start()
    return deployed


def task(arguments: dict[str, Any], resource: str = "lambda:invoke", **fields: Any) -> dict[str, Any]:
    """A machine of one Task state."""
    state = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Arguments": arguments, "End": True}
    return {"StartAt": "Only", "States": {"Only": {**state, **fields}}}
