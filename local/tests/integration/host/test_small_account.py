"""With a quota of functions at once the host throttles as an account does."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError
from local_host_support import eventually, task

from dropforge_local.errors import InvalidFault

if TYPE_CHECKING:
    from local_host_support import Deployed


RETRY = {
    "ErrorEquals": ["Lambda.TooManyRequestsException"],
    "IntervalSeconds": 10,
    "BackoffRate": 2,
    "MaxAttempts": 60,
    "MaxDelaySeconds": 60,
}


@pytest.fixture
def of_one(deployed: Deployed) -> Iterator[Deployed]:
    """An account that runs one function at once, which is busy for two seconds."""
    key = str(uuid.uuid4())
    deployed.host.limit_functions(1)
    call = {"FunctionName": deployed.outputs["Probe"], "Payload": {"do": "count", "key": key, "seconds": 2}}
    # Whoever records the bus is a function as well, and may be first.
    execution = deployed.start(task(call, Retry=[RETRY]))
    eventually(lambda: deployed.calls(key) == 1)
    try:
        yield deployed
    finally:
        deployed.host.clear_faults()
    assert deployed.ended(execution)["status"] == "SUCCEEDED"


def test_more_than_the_quota_is_throttled_by_its_name(of_one: Deployed) -> None:
    ended = of_one.ended(of_one.start(task({"FunctionName": of_one.outputs["Probe"], "Payload": {}})))
    assert (ended["status"], ended["error"]) == ("FAILED", "Lambda.TooManyRequestsException")
    with pytest.raises(ClientError, match="TooManyRequestsException"):
        of_one.invoke({"do": "echo"})


def test_a_retrier_of_its_own_waits_until_there_is_room(of_one: Deployed) -> None:
    call = {"FunctionName": of_one.outputs["Probe"], "Payload": {"do": "echo"}}
    output = of_one.run(task(call, Retry=[RETRY]))
    assert output["Payload"] == {"do": "echo"}


def test_an_event_that_is_throttled_stays_in_the_queue(of_one: Deployed) -> None:
    key = str(uuid.uuid4())
    of_one.host.client("lambda").invoke(
        FunctionName=of_one.outputs["Probe"],
        InvocationType="Event",
        Payload=json.dumps({"do": "count", "key": key}).encode(),
    )
    eventually(lambda: of_one.calls(key) == 1)


@pytest.mark.parametrize("at_once", [0, -1, "2", True, None])
def test_a_limit_that_is_none_is_refused(deployed: Deployed, at_once: object) -> None:
    with pytest.raises(InvalidFault, match="AtOnce"):
        deployed.host.administer("DropforgeHost.LimitFunctions", {"AtOnce": at_once})
