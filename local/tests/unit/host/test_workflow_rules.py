"""The rules of retries, errors, definitions and tokens, without a host."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from dropforge_local.glue.journal import Journal
from dropforge_local.glue.workflow.definition import problems
from dropforge_local.glue.workflow.fields import error_matches, retry_delay
from dropforge_local.glue.workflow.records import status_detail


@pytest.mark.parametrize(
    ("retrier", "retries", "delay"),
    [
        ({}, 0, 1.0),
        ({}, 3, 8.0),
        ({"IntervalSeconds": 5, "BackoffRate": 1.5}, 2, 11.25),
        ({"IntervalSeconds": 30, "MaxDelaySeconds": 100}, 9, 100.0),
    ],
)
def test_delays_grow_by_the_backoff_rate_up_to_the_maximum(
    retrier: dict[str, Any], retries: int, delay: float
) -> None:
    assert retry_delay(retrier, retries, random.Random(1)) == delay  # noqa: S311 - jitter


def test_full_jitter_draws_between_nothing_and_the_delay() -> None:
    seeded = [random.Random(number) for number in range(200)]  # noqa: S311 - jitter
    draws = [retry_delay({"IntervalSeconds": 10, "JitterStrategy": "FULL"}, 0, source) for source in seeded]
    assert 0 <= min(draws) < 1
    assert 9 < max(draws) <= 10


@pytest.mark.parametrize(
    ("names", "error", "matches"),
    [
        (["BadDrop"], "BadDrop", True),
        (["BadDrop"], "Other", False),
        (["States.ALL"], "Anything", True),
        (["States.ALL"], "States.Timeout", True),
        (["States.ALL"], "States.DataLimitExceeded", False),
        (["States.ALL"], "States.Runtime", False),
        (["States.TaskFailed"], "SageMaker.ResourceInUseException", True),
        (["States.TaskFailed"], "States.Timeout", False),
        (["States.TaskFailed"], "States.HeartbeatTimeout", False),
        (["States.Timeout"], "States.HeartbeatTimeout", True),
        (["States.DataLimitExceeded"], "States.DataLimitExceeded", True),
    ],
)
def test_wildcards_match_what_the_language_says(names: list[str], error: str, matches: bool) -> None:
    assert error_matches(names, error) is matches


def test_a_definition_without_problems_has_none() -> None:
    wait = {"Type": "Wait", "Seconds": "{% $states.input.seconds %}", "Next": "Work"}
    work = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Arguments": {"FunctionName": "work"},
        "TimeoutSeconds": 60,
        "Retry": [{"ErrorEquals": ["Throttled"]}, {"ErrorEquals": ["States.ALL"], "MaxAttempts": 1}],
        "Catch": [{"ErrorEquals": ["States.ALL"], "Output": "{% $states.errorOutput %}", "Next": "Gave up"}],
        "End": True,
    }
    definition = {
        "QueryLanguage": "JSONata",
        "StartAt": "Pause",
        "States": {"Pause": wait, "Work": work, "Gave up": {"Type": "Fail"}},
    }
    assert problems(json.dumps(definition)) == []


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"Type": "Nope"}, "'Nope' is no state type"),
        ({"Type": "Task", "End": True}, "needs a Resource"),
        ({"Type": "Wait", "End": True}, "exactly one of"),
        ({"Type": "Choice", "Default": "S"}, "needs Choices"),
        ({"Type": "Pass", "Next": "S", "End": True}, "either Next or End"),
        ({"Type": "Pass", "Parameters": {}, "End": True}, "Parameters is no field of a JSONata state"),
        ({"Type": "Pass", "QueryLanguage": "JSONPath", "Output": 1, "End": True}, "Output is no field"),
        (
            {"Type": "Task", "Resource": "r", "End": True, "Retry": [{"ErrorEquals": ["States.ALL", "X"]}]},
            "must stand alone and last",
        ),
        (
            {"Type": "Task", "Resource": "r", "End": True, "Catch": [{"ErrorEquals": ["X"], "Next": "Gone"}]},
            "no state 'Gone'",
        ),
        (
            {"Type": "Task", "Resource": "r", "End": True, "HeartbeatSeconds": 9, "TimeoutSeconds": 9},
            "smaller than TimeoutSeconds",
        ),
        (
            {
                "Type": "Map",
                "End": True,
                "ItemProcessor": {"StartAt": "A", "States": {"B": {"Type": "Succeed"}}},
            },
            "/States/S/ItemProcessor",
        ),
    ],
)
def test_names_each_problem_of_a_definition_with_its_place(state: dict[str, Any], problem: str) -> None:
    definition = {"QueryLanguage": "JSONata", "StartAt": "S", "States": {"S": state}}
    found = problems(json.dumps(definition))
    assert any(problem in text for text in found), found


def test_status_events_leave_out_data_that_is_too_large() -> None:
    execution = {
        "executionArn": "a",
        "stateMachineArn": "m",
        "name": "n",
        "status": "SUCCEEDED",
        "startDate": "2026-11-21T01:00:00.000Z",
        "stopDate": "2026-11-21T01:00:01.500Z",
        "input": "x" * 300_000,
        "output": "{}",
    }
    detail = status_detail(execution)
    assert (detail["input"], detail["inputDetails"]) == (None, {"included": False})
    assert (detail["output"], detail["outputDetails"]) == ("{}", {"included": True})
    assert detail["stopDate"] - detail["startDate"] == 1500


def test_the_journal_gives_back_what_was_committed_and_no_more(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    journal.save_execution(
        "arn", "1", "r", {"status": "RUNNING", "events": [1], "checkpoint": {"state": "A"}}
    )
    journal.save_event("arn", {"id": 1, "type": "ExecutionStarted"})
    first = journal.begin_invocation("f", {"a": 1})
    journal.begin_invocation("g", None)
    journal.end_invocation(first)
    number = journal.log_write("1", "r", "PutItem", {"x": 1})
    journal.log_write("1", "r", "DeleteItem", {"x": 2})
    # A second connection sees what a process that is killed now would leave.
    again = Journal(tmp_path / "j.sqlite")
    ((arn, _, _, record),) = again.executions()
    assert (arn, record["status"], record["events"]) == (
        "arn",
        "RUNNING",
        [{"id": 1, "type": "ExecutionStarted"}],
    )
    assert [row[1:] for row in again.invocations()] == [("g", None)]
    assert [row[3:] for row in again.writes_after(number)] == [("DeleteItem", {"x": 2})]
    journal.forget_writes(number + 1)
    assert again.writes_after(0) == []
    assert journal.log_write("1", "r", "PutItem", {"x": 3}) == number + 2
    journal.close()
    journal.save_event("arn", {"id": 2})  # a thread that outlives the host's end
    again.close()
