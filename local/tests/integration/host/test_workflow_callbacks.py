"""Callback tasks: the token, who may answer it and when, heartbeats, and errors of what carries it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from local_host_support import eventually, task

if TYPE_CHECKING:
    from local_host_support import Deployed

_TOKEN = "{% $states.context.Task.Token %}"


def _carry(deployed: Deployed, event: dict[str, Any], **fields: Any) -> dict[str, Any]:
    arguments = {"FunctionName": deployed.outputs["ProbeArn"], "Payload": event}
    return task(arguments, "lambda:invoke.waitForTaskToken", **fields)


def _token(deployed: Deployed, execution: str) -> str:
    """The token that the execution's task was scheduled with, once it has been handed out."""

    def find() -> str | None:
        events = deployed.history(execution)
        if not any(event["type"] == "TaskSubmitted" for event in events):
            return None
        scheduled = next(event for event in events if event["type"] == "TaskScheduled")
        parameters = json.loads(scheduled["taskScheduledEventDetails"]["parameters"])
        return str(parameters["Payload"]["token"])

    return str(eventually(find))


def test_waits_until_the_token_is_answered(deployed: Deployed) -> None:
    execution = deployed.start(_carry(deployed, {"do": "echo", "token": _TOKEN}))
    token = _token(deployed, execution)
    assert deployed.describe(execution)["status"] == "RUNNING"
    deployed.host.client("stepfunctions").send_task_success(taskToken=token, output='{"approved": true}')
    assert json.loads(deployed.ended(execution)["output"]) == {"approved": True}


def test_the_function_that_gets_the_token_may_answer_it_itself(deployed: Deployed) -> None:
    machine = _carry(deployed, {"do": "send", "token": _TOKEN}, TimeoutSeconds=3000)
    assert deployed.run(machine) == {"by": "handler"}


def test_an_error_of_the_function_fails_the_task(deployed: Deployed) -> None:
    ended = deployed.ended(deployed.start(_carry(deployed, {"do": "raise", "token": _TOKEN})))
    assert ended["error"] == "BadDrop"


def test_a_sent_failure_is_the_tasks_error(deployed: Deployed) -> None:
    execution = deployed.start(_carry(deployed, {"do": "echo", "token": _TOKEN}))
    client = deployed.host.client("stepfunctions")
    client.send_task_failure(taskToken=_token(deployed, execution), error="Rejected", cause="by ann")
    ended = deployed.ended(execution)
    assert (ended["error"], ended["cause"]) == ("Rejected", "by ann")


def test_nobody_answering_is_states_timeout(deployed: Deployed) -> None:
    machine = _carry(deployed, {"do": "echo", "token": _TOKEN}, TimeoutSeconds="{% 60 * 2 %}")
    assert deployed.ended(deployed.start(machine))["error"] == "States.Timeout"


def test_missing_heartbeats_are_a_heartbeat_timeout(deployed: Deployed) -> None:
    machine = _carry(deployed, {"do": "echo", "token": _TOKEN}, TimeoutSeconds=90_000, HeartbeatSeconds=60)
    assert deployed.ended(deployed.start(machine))["error"] == "States.HeartbeatTimeout"


def test_heartbeats_keep_the_task_alive(deployed: Deployed) -> None:
    machine = _carry(deployed, {"do": "echo", "token": _TOKEN}, TimeoutSeconds=90_000, HeartbeatSeconds=100)
    execution = deployed.start(machine)
    token, client = _token(deployed, execution), deployed.host.client("stepfunctions")
    for _ in range(30):  # 1 s is the heartbeat's limit; beats come for longer
        client.send_task_heartbeat(taskToken=token)
        eventually(lambda: True)
        if deployed.describe(execution)["status"] != "RUNNING":
            break
    client.send_task_success(taskToken=token, output="1")
    assert deployed.ended(execution)["output"] == "1"


def test_a_token_is_answered_once_and_not_after_its_task(deployed: Deployed) -> None:
    execution = deployed.start(_carry(deployed, {"do": "echo", "token": _TOKEN}))
    token, client = _token(deployed, execution), deployed.host.client("stepfunctions")
    client.send_task_success(taskToken=token, output="1")
    deployed.ended(execution)
    for send in (
        lambda: client.send_task_success(taskToken=token, output="2"),
        lambda: client.send_task_heartbeat(taskToken=token),
    ):
        with pytest.raises(ClientError, match="TaskTimedOut"):
            send()
    with pytest.raises(ClientError, match="InvalidToken"):
        client.send_task_success(taskToken="forged", output="2")


def test_output_that_is_no_json_is_refused_and_leaves_the_token_open(deployed: Deployed) -> None:
    execution = deployed.start(_carry(deployed, {"do": "echo", "token": _TOKEN}))
    token, client = _token(deployed, execution), deployed.host.client("stepfunctions")
    with pytest.raises(ClientError, match="InvalidOutput"):
        client.send_task_success(taskToken=token, output="{")
    client.send_task_success(taskToken=token, output="{}")
    assert deployed.ended(execution)["status"] == "SUCCEEDED"


def test_each_retry_hands_out_a_token_of_its_own(deployed: Deployed) -> None:
    retry = {"ErrorEquals": ["Again"], "IntervalSeconds": 1, "MaxAttempts": 1}
    execution = deployed.start(_carry(deployed, {"do": "echo", "token": _TOKEN}, Retry=[retry]))
    first, client = _token(deployed, execution), deployed.host.client("stepfunctions")
    client.send_task_failure(taskToken=first, error="Again", cause="")

    def second() -> str | None:
        scheduled = [event for event in deployed.history(execution) if event["type"] == "TaskScheduled"]
        if len(scheduled) < 2:
            return None
        return str(json.loads(scheduled[1]["taskScheduledEventDetails"]["parameters"])["Payload"]["token"])

    token = str(eventually(second))
    assert token != first
    client.send_task_success(taskToken=token, output="1")
    assert deployed.ended(execution)["output"] == "1"
