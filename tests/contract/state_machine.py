"""Walks a state machine's definition with scripted task results, as Step Functions would evaluate it.

JSONata is evaluated for real; a value that is undefined is an error, as it is on AWS. Requests are checked
against botocore's shapes.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonata
from tests.fakes.aws_clients import check_request

ROOT = Path(__file__).parents[2]
MACHINES = ("training", "deployment", "batch")
ACCOUNT = "us-east-1:123456789012"

SUBSTITUTIONS = {
    "ModelName": "model",
    "DataBucket": "dropforge-data-123456789012",
    "TrainingRoleArn": "arn:aws:iam::123456789012:role/dropforge-TrainingRole-1",
    "ServingRoleArn": "arn:aws:iam::123456789012:role/dropforge-ServingRole-1",
    "TrainingImage": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3",
    "TrainingInstanceTypes": "ml.m5.large,ml.m4.xlarge",
    "TrainingMaxRuntimeSeconds": "3600",
    "TrainingSeed": "20260101",
    "EncryptionKeyArn": "",
    "QualityMetric": "auto",
    "ApprovalTimeoutDays": "7",
    "ApprovalReminderHours": "24",
    "NotificationTopicArn": f"arn:aws:sns:{ACCOUNT}:dropforge-Notifications-1",
    "DeploymentStateMachineArn": f"arn:aws:states:{ACCOUNT}:stateMachine:dropforge-deployment",
    "LedgerTable": "dropforge-Ledger-1",
    "BatchInstanceTypes": "ml.m5.large,ml.m4.xlarge",
    "BatchMaxRuntimeSeconds": "3600",
    "EndpointMode": "serverless",
    "EndpointInstanceType": "ml.t2.medium",
    "ServerlessMemoryMB": "2048",
    "ServerlessMaxConcurrency": "5",
}


def source(machine: str) -> str:
    return (ROOT / "statemachine" / f"{machine}.asl.json").read_text()


def definition(machine: str, **changes: str) -> dict[str, Any]:
    """The machine with example values in place of the template's substitutions."""
    values = {**SUBSTITUTIONS, **changes}

    def value(match: re.Match[str]) -> str:
        name = match[1]
        default = f"arn:aws:lambda:{ACCOUNT}:function:{name}" if name.endswith("Function") else ""
        found = values.get(name, default)
        assert found or name in values, f"no example value for ${{{name}}}"
        return found

    found: dict[str, Any] = json.loads(re.sub(r"\$\{(\w+)\}", value, source(machine)))
    return found


@functools.cache
def _parsed(expression: str) -> jsonata.Jsonata:
    return jsonata.Jsonata(expression)


class Undefined(Exception):
    """An expression has no value: States.QueryEvaluationError on AWS."""


def evaluate(value: Any, states: Mapping[str, Any]) -> Any:
    """Evaluate every ``{% … %}`` in a field of a state."""
    if isinstance(value, dict):
        return {name: evaluate(each, states) for name, each in value.items()}
    if isinstance(value, list):
        return [evaluate(each, states) for each in value]
    if not (isinstance(value, str) and value.startswith("{%") and value.endswith("%}")):
        return value
    text = value[2:-2].strip()
    result = _run(text, states)
    # The library has one None for null and for undefined; only the second does not exist.
    if result is None and not _run(f"$exists(({text}))", states):
        raise Undefined(text)
    return json.loads(json.dumps(result, allow_nan=False))


def _run(expression: str, states: Mapping[str, Any]) -> Any:
    program = _parsed(expression)
    program.assign("states", states)
    return program.evaluate(None)


@dataclass(frozen=True)
class Failure:
    """What a task fails with."""

    error: str
    cause: str | None = ""

    def output(self) -> dict[str, Any]:
        return {"Error": self.error} if self.cause is None else {"Error": self.error, "Cause": self.cause}


@dataclass
class Walk:
    """What an execution did."""

    status: str = "RUNNING"
    output: Any = None
    error: str | None = None
    cause: str | None = None
    states: list[str] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)
    requests: dict[str, list[Any]] = field(default_factory=dict)
    waits: list[float] = field(default_factory=list)


Answer = Callable[[str, Any, int], Any]


def walk(
    machine: Mapping[str, Any], start: Any, answer: Answer, execution: str, first: str | None = None
) -> Walk:
    """Run the machine; ``answer(state, request, how_often)`` gives each task's result or a Failure.

    ``first`` begins in the middle, with ``start`` as that state's input.
    """
    done = Walk()
    context = {
        "Execution": {"Id": execution, "Name": execution.rsplit(":", 1)[-1], "Input": start},
        "State": {"RetryCount": 0},
        "Task": {"Token": "AQCEAAAAKgAAAAMAAAAAAAAAAR2l1vDqHkLz5V0p"},
    }
    name, held = first or machine["StartAt"], start
    while done.status == "RUNNING":
        assert len(done.states) < 2000, f"no end: {done.states[-20:]}"
        done.states.append(name)
        done.inputs[name] = held
        name, held = _step(machine["States"][name], name, held, context, answer, done)
    return done


def _step(
    state: Mapping[str, Any],
    name: str,
    held: Any,
    context: Mapping[str, Any],
    answer: Answer,
    done: Walk,
) -> tuple[str, Any]:
    states = {"input": held, "context": {**context, "State": {"Name": name, "RetryCount": 0}}}
    kind = state["Type"]
    if kind == "Task":
        return _task(state, name, states, answer, done)
    if kind == "Choice":
        for choice in state["Choices"]:
            chosen = evaluate(choice["Condition"], states)
            assert isinstance(chosen, bool), f"{name}: {choice['Condition']} is {chosen!r}"
            if chosen:
                return choice["Next"], evaluate(choice.get("Output", held), states)
        return state["Default"], evaluate(state.get("Output", held), states)
    if kind == "Wait":
        seconds = evaluate(state["Seconds"], states)
        assert isinstance(seconds, int), f"{name} waits {seconds!r}"
        assert 0 <= seconds <= 99_999_999
        done.waits.append(seconds)
    if kind == "Fail":
        done.status = "FAILED"
        done.error, done.cause = evaluate(state["Error"], states), evaluate(state["Cause"], states)
        assert isinstance(done.error, str)
        assert isinstance(done.cause, str)
        return "", held
    output = evaluate(state.get("Output", held), states)
    if kind == "Succeed":
        done.status, done.output = "SUCCEEDED", output
        return "", output
    return state["Next"], output


def _task(
    state: Mapping[str, Any], name: str, states: dict[str, Any], answer: Answer, done: Walk
) -> tuple[str, Any]:
    request = evaluate(state["Arguments"], states)
    timeout_s = evaluate(state["TimeoutSeconds"], states)
    assert isinstance(timeout_s, int), f"{name}: TimeoutSeconds is {timeout_s!r}"
    assert 0 < timeout_s <= 99_999_999
    check_task(state["Resource"], request)
    before = done.requests.setdefault(name, [])
    before.append(request)
    result = answer(name, request, len(before))
    if not isinstance(result, Failure):
        return state["Next"], evaluate(state["Output"], {**states, "result": result})
    for catch in state["Catch"]:
        if result.error in catch["ErrorEquals"] or "States.ALL" in catch["ErrorEquals"]:
            states["errorOutput"] = result.output()
            return catch["Next"], evaluate(catch["Output"], states)
    raise AssertionError(f"{name} catches no {result.error}")


def check_task(resource: str, request: dict[str, Any]) -> None:
    """Check a task's request against the shape of the AWS operation that it calls."""
    integration = resource.removeprefix("arn:aws:states:::").removeprefix("aws-sdk:")
    service, operation = integration.split(":")[:2]
    operation = operation.split(".")[0]
    operation = operation[0].upper() + operation[1:]
    if service == "states":
        service = "stepfunctions"
        request = {key[0].lower() + key[1:]: value for key, value in request.items()}
        request["input"] = json.dumps(request["input"])
        assert re.fullmatch(r"[\w-]{1,80}", request["name"]), request["name"]
    if service == "lambda":
        request = {**request, "Payload": json.dumps(request["Payload"])}
    if operation == "CreateTrainingJob":
        assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", request["TrainingJobName"])
        assert all(len(value) <= 512 for value in request["Environment"].values())
    if operation == "Publish":
        # https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
        assert 0 < len(request["Subject"]) <= 100
        assert request["Subject"].isascii()
        assert "\n" not in request["Subject"]
    check_request(service, operation, request)
