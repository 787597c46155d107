"""Executions' records, as other threads see them."""

from __future__ import annotations

from typing import Any

import pytest

from dropforge_local.glue.workflow.records import Records


class Seen(dict[str, Any]):
    """An execution, and what somebody who looks right after each change finds."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(fields)
        self.looks: list[dict[str, Any]] = []

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self.looks.append({**self, "events": [event["type"] for event in self["events"]]})


@pytest.mark.parametrize(
    ("status", "told", "last_event"),
    [
        ("SUCCEEDED", {"output": {"rows": 3}}, "ExecutionSucceeded"),
        ("FAILED", {"error": "EmptyData", "cause": "no rows"}, "ExecutionFailed"),
    ],
)
def test_who_sees_that_an_execution_has_ended_sees_how(
    status: str, told: dict[str, Any], last_event: str
) -> None:
    # A child of a distributed map has no record of its own outside memory.
    execution = Seen(
        executionArn="arn", mapRunArn="arn", status="RUNNING", stopDate=None, output=None, events=[]
    )
    assert Records(store={}, journal=None).finish(execution, status, **told)  # type: ignore[arg-type]
    ended = [look for look in execution.looks if look["status"] != "RUNNING"]
    assert ended
    for look in ended:
        assert look["stopDate"] is not None
        assert all(look[name] is not None for name in told)
        assert look["events"] == [last_event]
