"""A host that is killed goes on where it was: executions, tokens, data, accepted events, deployments.

Each story has something under way, is interrupted by the one crash of all of them, and then looks at what has
become of it.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from local_host_support import eventually, revived, task

if TYPE_CHECKING:
    from local_host_support import Deployed

type Story = Callable[[Deployed], Iterator[None]]


def _payload(deployed: Deployed, event: dict[str, Any]) -> dict[str, Any]:
    return {"FunctionName": deployed.outputs["ProbeArn"], "Payload": event}


def a_waiting_execution_goes_on_with_its_variables_and_its_token(own_host: Deployed) -> Iterator[None]:
    key = f"before-{uuid.uuid4()}"
    ask = task(
        {
            "FunctionName": own_host.outputs["ProbeArn"],
            "Payload": {"token": "{% $states.context.Task.Token %}"},
        },
        "lambda:invoke.waitForTaskToken",
        TimeoutSeconds=90_000,
    )["States"]["Only"]
    machine = {
        "StartAt": "Count",
        "States": {
            "Count": {
                **task(_payload(own_host, {"do": "count", "key": key}))["States"]["Only"],
                "End": None,
                "Assign": {"seen": "{% $states.result.Payload.calls %}"},
                "Next": "Ask",
            },
            "Ask": {**ask, "Output": "{% {'answer': $states.result, 'seen': $seen} %}"},
        },
    }
    machine["States"]["Count"].pop("End")
    execution = own_host.start(machine)
    eventually(lambda: any(event["type"] == "TaskSubmitted" for event in own_host.history(execution)))
    scheduled = [event for event in own_host.history(execution) if event["type"] == "TaskScheduled"][-1]
    parameters = json.loads(scheduled["taskScheduledEventDetails"]["parameters"])
    yield
    assert own_host.describe(execution)["status"] == "RUNNING"
    client = own_host.host.client("stepfunctions")
    client.send_task_success(taskToken=parameters["Payload"]["token"], output='"yes"')
    assert json.loads(own_host.ended(execution)["output"]) == {"answer": "yes", "seen": 1}
    assert own_host.calls(key) == 1
    entered = [event for event in own_host.history(execution) if event["type"] == "TaskStateEntered"]
    assert len(entered) == 2


def a_function_in_flight_is_invoked_again(own_host: Deployed) -> Iterator[None]:
    key = f"flight-{uuid.uuid4()}"
    machine = task(_payload(own_host, {"do": "count", "key": key, "seconds": 2}), TimeoutSeconds=60)
    execution = own_host.start(machine)
    eventually(lambda: own_host.calls(key) == 1)
    yield
    assert own_host.ended(execution)["status"] == "SUCCEEDED"
    assert own_host.calls(key) == 2


def a_wait_keeps_its_end(own_host: Deployed) -> Iterator[None]:
    machine = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 300, "End": True}}}
    execution = own_host.start(machine)
    eventually(lambda: len(own_host.history(execution)) == 2)
    yield
    ended = own_host.ended(execution)
    assert 2.9 < (ended["stopDate"] - ended["startDate"]).total_seconds() < 9


def a_parent_still_waits_for_the_child_that_it_had_started(own_host: Deployed) -> Iterator[None]:
    child = own_host.machine(
        {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 300, "End": True}}}
    )
    parent = own_host.start(
        task({"StateMachineArn": child, "Input": {"x": 1}}, "states:startExecution.sync:2")
    )
    client = own_host.host.client("stepfunctions")
    eventually(lambda: client.list_executions(stateMachineArn=child)["executions"])
    yield
    assert json.loads(own_host.ended(parent)["output"])["Status"] == "SUCCEEDED"
    client = own_host.host.client("stepfunctions")
    assert len(client.list_executions(stateMachineArn=child)["executions"]) == 1


def every_answered_write_survives(own_host: Deployed) -> Iterator[None]:
    table, s3 = own_host.host.client("dynamodb"), own_host.host.client("s3")
    name = own_host.outputs["Table"]
    for number in range(40):
        table.put_item(TableName=name, Item={"id": {"S": f"n{number}"}, "value": {"N": str(number)}})
    table.transact_write_items(
        TransactItems=[
            {
                "Update": {
                    "TableName": name,
                    "Key": {"id": {"S": "n7"}},
                    "UpdateExpression": "ADD #value :one",
                    "ExpressionAttributeNames": {"#value": "value"},
                    "ExpressionAttributeValues": {":one": {"N": "1"}},
                }
            },
            {"Delete": {"TableName": name, "Key": {"id": {"S": "n8"}}}},
        ]
    )
    s3.put_object(Bucket=own_host.outputs["Bucket"], Key="incoming/ü x.csv", Body=b"a,b\n1,2\n")
    yield
    item = own_host.item("n7")
    assert item is not None
    assert item["value"]["N"] == "8"
    assert own_host.item("n8") is None
    assert own_host.item("n39") is not None
    body = own_host.host.client("s3").get_object(Bucket=own_host.outputs["Bucket"], Key="incoming/ü x.csv")
    assert body["Body"].read() == b"a,b\n1,2\n"


def an_accepted_event_is_delivered(own_host: Deployed) -> Iterator[None]:
    key = f"event-{uuid.uuid4()}"
    event = {"do": "count", "key": key, "seconds": 2}
    own_host.host.client("lambda").invoke(
        FunctionName=own_host.outputs["Probe"], InvocationType="Event", Payload=json.dumps(event).encode()
    )
    eventually(lambda: own_host.calls(key) == 1)
    yield
    eventually(lambda: own_host.calls(key) == 2)


def the_deployment_survives_and_deploying_again_changes_nothing(own_host: Deployed) -> Iterator[None]:
    yield
    client = own_host.host.client("cloudformation")
    before = client.describe_stacks(StackName="probe")["Stacks"][0]
    assert own_host.host.deploy("probe") == own_host.outputs
    assert client.describe_stacks(StackName="probe")["Stacks"][0].get("LastUpdatedTime") == before.get(
        "LastUpdatedTime"
    )
    assert own_host.invoke({"do": "echo"}) == (None, {"do": "echo"})


def what_was_just_made_is_there(own_host: Deployed) -> Iterator[None]:
    name = f"just-made-{uuid.uuid4().hex[:8]}"
    sqs, sns, machines = (own_host.host.client(each) for each in ("sqs", "sns", "stepfunctions"))
    topic = sns.create_topic(Name=name)["TopicArn"]
    machine = own_host.machine(task(_payload(own_host, {"do": "echo"})))
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    yield
    sqs, sns, machines = (own_host.host.client(each) for each in ("sqs", "sns", "stepfunctions"))
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == queue
    assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["TopicArn"] == topic
    assert machines.describe_state_machine(stateMachineArn=machine)["status"] == "ACTIVE"


STORIES: dict[str, Story] = {
    story.__name__: story
    for story in (
        the_deployment_survives_and_deploying_again_changes_nothing,
        every_answered_write_survives,
        a_waiting_execution_goes_on_with_its_variables_and_its_token,
        # What comes now takes 2 to 3 s, and is to be under way when the host is killed.
        a_wait_keeps_its_end,
        a_parent_still_waits_for_the_child_that_it_had_started,
        an_accepted_event_is_delivered,
        a_function_in_flight_is_invoked_again,
        what_was_just_made_is_there,
    )
}


@pytest.fixture(scope="module")
def interrupted(crashing: Deployed) -> dict[str, Iterator[None]]:
    """The stories, each after the crash."""
    own_host = revived(crashing)
    begun = {name: story(own_host) for name, story in STORIES.items()}
    for story in begun.values():
        next(story)
    own_host.host.kill()
    own_host.host.start()
    return begun


@pytest.mark.parametrize("story", STORIES)
def test_a_host_that_was_killed_goes_on(interrupted: dict[str, Iterator[None]], story: str) -> None:
    assert list(interrupted[story]) == []


def test_a_clean_restart_keeps_a_task_that_was_running(own_host: Deployed) -> None:
    key = f"clean-{uuid.uuid4()}"
    machine = task(_payload(own_host, {"do": "count", "key": key, "seconds": 1.5}), TimeoutSeconds=60)
    execution = own_host.start(machine)
    eventually(lambda: own_host.calls(key) == 1)
    own_host.host.restart()
    assert own_host.ended(execution)["status"] == "SUCCEEDED"
    assert own_host.calls(key) == 2


def test_the_log_of_writes_does_not_grow_with_what_a_snapshot_holds(own_host: Deployed) -> None:
    name = own_host.outputs["Table"]
    journal = own_host.host.state_dir / "journal.sqlite"

    def logged() -> int:
        with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as opened:
            found: int = opened.execute("SELECT count(*) FROM writes").fetchone()[0]
            return found

    key = f"kept-{uuid.uuid4()}"
    for number in range(20):
        own_host.host.client("dynamodb").put_item(
            TableName=name, Item={"id": {"S": key}, "value": {"N": str(number)}}
        )
    assert logged() >= 20
    own_host.host.restart()
    assert logged() < 20
    own_host.host.kill()
    own_host.host.start()
    item = own_host.item(key)
    assert item is not None
    assert item["value"]["N"] == "19"
