"""What the page of a run reads: the graph of a definition, how its states stand, and what one of them did."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from dropforge.domain.drop_life import RecordedDrop
from dropforge.domain.records import Approval, Run, RunStatus
from dropforge.domain.triggers import Drop
from dropforge_ops.console.reading.aws_pages import execution_page, log_group_page
from dropforge_ops.console.reading.run_view import (
    Progress,
    SeenDrop,
    machine_view,
    seen_drops,
    timeline,
)
from dropforge_ops.console.reading.state_detail import (
    function_line,
    masked,
    metric_line,
    read_log,
    read_stays,
)
from dropforge_ops.console.reading.state_graph import State, StateGraph, Step
from dropforge_ops.stack.progress import Visit

ROOT = Path(__file__).parents[3]
BEGIN = datetime(2026, 11, 21, 12, tzinfo=UTC)
SMALL = {
    "StartAt": "Admit",
    "States": {
        "Admit": {
            "Type": "Task",
            "Next": "Train",
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Close"}],
        },
        "Train": {
            "Type": "Task",
            "Next": "Good",
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Close"}],
        },
        "Good": {
            "Type": "Choice",
            "Choices": [{"Condition": "{% true %}", "Next": "Done"}],
            "Default": "Worse",
        },
        "Done": {"Type": "Succeed"},
        "Worse": {"Type": "Succeed"},
        "Close": {"Type": "Task", "Next": "Failed"},
        "Failed": {"Type": "Fail"},
    },
}


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def stay(name: str, entered: float, left: float | None = None, **more: Any) -> Visit:
    return Visit(name, "Task", more.pop("depth", 0), at(entered), None if left is None else at(left), **more)


def machine(visits: list[Visit], status: str = "RUNNING"):
    follower: Any = SimpleNamespace(visits=visits, arn="arn", status=status)
    return machine_view("Training", follower, StateGraph.of(json.dumps(SMALL)))


@pytest.mark.parametrize("name", ["training", "deployment", "batch"])
def test_every_state_of_the_products_machines_is_a_node_with_its_edges(name: str):
    text = (ROOT / "statemachine" / f"{name}.asl.json").read_text()
    graph = StateGraph.of(text)
    assert graph.states.keys() == json.loads(text)["States"].keys()
    assert all(edge.target in graph.states for edge in graph.edges)
    drawn = graph.to_mermaid()
    assert drawn.count("-->") + drawn.count("-.->") == len(graph.edges)


def test_what_only_errors_lead_to_is_drawn_once_an_error_led_there():
    graph = StateGraph.of(json.dumps(SMALL))
    assert graph.worth_drawing(frozenset({"Admit"}), with_errors=False).states.keys() == {
        "Admit",
        "Train",
        "Good",
        "Done",
        "Worse",
    }
    went = graph.worth_drawing(frozenset({"Admit", "Train", "Close"}), with_errors=False)
    assert "Close" in went.states
    assert [edge.source for edge in went.edges if edge.step is Step.CATCH] == ["Admit", "Train"]
    assert graph.worth_drawing(frozenset(), with_errors=True) is graph


def test_names_that_mermaid_would_read_as_its_own_language_are_only_names():
    odd = 'a"]--><script>#x;'
    drawn = StateGraph.of(json.dumps({"StartAt": odd, "States": {odd: {"Type": "Succeed"}}})).to_mermaid()
    assert drawn == 'flowchart TB\ns0(["a#quot;]--#gt;#lt;script#gt;#35;x;"])'


def test_states_stand_as_the_execution_left_them():
    shown = machine([stay("Admit", 0, 1), stay("Train", 1, 9, errors=2), stay("Good", 9, 9), stay("Done", 9)])
    assert {name: each.progress for name, each in shown.states.items()} == {
        "Admit": Progress.DONE,
        "Train": Progress.DONE,
        "Good": Progress.DONE,
        "Done": Progress.NOW,
    }
    assert shown.states["Train"].errors == 2
    assert shown.states["Train"].seconds == 8
    assert shown.current == "Done"
    assert ("Admit", "Train") in shown.steps


def test_an_error_that_was_caught_is_told_from_the_failure_of_the_execution():
    shown = machine(
        [stay("Admit", 0, 1), stay("Train", 1, 2, errors=1), stay("Close", 2, 3), stay("Failed", 3, 3)],
        "FAILED",
    )
    assert shown.states["Train"].progress is Progress.CAUGHT
    assert shown.states["Close"].progress is Progress.DONE
    assert shown.states["Failed"].progress is Progress.FAILED
    assert shown.current == "Failed"


@pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED"])
def test_an_error_that_the_execution_gets_over_is_no_failure(status):
    shown = machine([stay("Admit", 0, 1), stay("Train", 1, 2, errors=1), stay("Close", 2, 3)], status)
    assert shown.states["Train"].progress is Progress.WENT_ON


def test_stays_that_repeat_are_counted_and_add_up():
    shown = machine([stay("Train", 0, 2), stay("Train", 5, 6), stay("Train", 8)])
    train = shown.states["Train"]
    assert (train.progress, train.stays, train.seconds) == (Progress.NOW, 3, 3.0)


def test_the_time_line_goes_from_the_drop_to_the_decision_and_on():
    run = Run(
        run_id="r",
        status=RunStatus.SUCCEEDED,
        trigger="drop",
        execution_arn="arn",
        token=1,
        started_at="2026-11-21T12:00:01.000Z",
        ended_at="2026-11-21T12:05:00.000Z",
        manifest_uri="",
    )
    model: Any = SimpleNamespace(
        version=3,
        approval=Approval.APPROVED,
        decided_at="2026-11-21T12:04:00.000Z",
        decided_by="ada",
        decision_reason="good",
    )
    told = timeline(
        run,
        [SeenDrop("x.csv", "s3://b/incoming/x.csv", at(0))],
        model,
        [
            stay("Train", 2, 9),
            stay("Wait", 10, 11, depth=1),
            stay("Wait", 12, 13, depth=1, errors=1),
            Visit("IsGood", "Choice", 0, at(9), at(9)),
        ],
    )
    assert [each.title for each in told] == [
        "Dropped x.csv",
        "Run started",
        "Train",
        "Wait",
        "Version 3 approved by ada",
        "Run succeeded",
    ]
    wait = told[3]
    assert (wait.at, wait.ended_at, wait.detail) == (at(10), at(13), "2 times, 1 failed attempt")
    assert wait.tone == "run"


def test_a_drop_is_told_from_its_upload_or_where_the_object_is_gone_from_its_receipt():
    def head(*, Key: str, **_: Any) -> Any:
        if Key.endswith("gone.csv"):
            raise ClientError({"Error": {"Code": "404", "Message": "Not Found"}}, "HeadObject")
        return {"LastModified": at(-3)}

    def recorded(key: str) -> RecordedDrop:
        drop = Drop(bucket="b", key=key, version_id="v", etag="e", sequencer="1", size=1)
        return RecordedDrop(drop, "2026-11-21T12:00:00.000Z", "arn", "r", 0)

    s3: Any = SimpleNamespace(head_object=head)
    told = seen_drops(s3, [recorded("incoming/there.csv"), recorded("incoming/gone.csv")])
    assert [(each.name, each.at) for each in told] == [("there.csv", at(-3)), ("gone.csv", at(0))]


def history(*events: dict[str, Any]) -> Any:
    """Step Functions with this history, two events a page."""
    numbered = [{"id": n, "timestamp": at(n), **event} for n, event in enumerate(events, start=1)]

    def page(*, nextToken: str = "0", **_: Any) -> dict[str, Any]:
        start = int(nextToken)
        more = {"nextToken": str(start + 2)} if start + 2 < len(numbered) else {}
        return {"events": numbered[start : start + 2], **more}

    return SimpleNamespace(get_execution_history=page)


def entered(name: str, given: str) -> dict[str, Any]:
    return {"type": "TaskStateEntered", "stateEnteredEventDetails": {"name": name, "input": given}}


def left(name: str, output: str) -> dict[str, Any]:
    return {"type": "TaskStateExited", "stateExitedEventDetails": {"name": name, "output": output}}


def failed(error: str) -> dict[str, Any]:
    return {"type": "TaskFailed", "taskFailedEventDetails": {"error": error, "cause": "because"}}


def test_a_states_input_output_and_failures_are_told_of_its_last_stay_first():
    sfn = history(
        entered("Admit", '{"n": 0}'),
        failed("Other"),
        left("Admit", "{}"),
        entered("Train", '{"n": 1}'),
        failed("Throttled"),
        left("Train", '{"model": "m", "task_token": "AQCEAAAA"}'),
        entered("Train", '{"n": 2}'),
    )
    last, first = read_stays(sfn, "arn", "Train")
    assert (json.loads(last.given), last.result, last.left_at) == ({"n": 2}, None, None)
    assert [each.error for each in first.failures] == ["Throttled"]
    assert "AQCEAAAA" not in (first.result or "")
    assert json.loads(first.result or "")["model"] == "m"


def test_a_key_to_a_waiting_run_is_masked_wherever_it_lies():
    assert "AQ" not in str(masked({"a": [{"TaskToken": "AQ"}, {"task_token": "AQ"}]}))


LINE = {"level": "INFO", "message": "prepared", "run_id": "r1", "rows": {"kept": 3}, "function_arn": "arn"}


def test_of_a_functions_log_only_structured_lines_of_this_run_are_shown():
    def event(message: Any) -> dict[str, Any]:
        text = message if isinstance(message, str) else json.dumps(message)
        return {"timestamp": BEGIN.timestamp() * 1000, "message": text}

    line = function_line(event(LINE), "r1")
    assert line is not None
    assert (line.at, line.level, line.message, line.facts) == (
        BEGIN,
        "INFO",
        "prepared",
        {"rows": '{"kept": 3}'},
    )
    assert function_line(event(LINE), "r2") is None
    for other in ("START RequestId: 1", {"type": "platform.start"}, "[1]", "row 3: Ada Lovelace"):
        assert function_line(event(other), "r1") is None


def test_of_a_training_job_only_metrics_are_shown_since_a_model_may_print_data():
    shown = metric_line({"timestamp": 0, "message": "validation:auc=0.97;"})
    assert shown is not None
    assert (shown.message, shown.facts) == ("validation:auc", {"value": "0.97"})
    assert metric_line({"timestamp": 0, "message": "fitting row 3: Ada Lovelace"}) is None


@pytest.mark.parametrize("call", ["create", "describe"])
def test_a_jobs_metrics_are_shown_in_the_states_that_begin_and_follow_it_whenever_it_logged_them(call):
    asked: list[dict[str, Any]] = []

    def answer(**request: Any) -> dict[str, Any]:
        asked.append(request)
        return {"events": [{"timestamp": 0, "message": "validation:auc=0.97;"}]}

    target: Any = SimpleNamespace(client={"logs": SimpleNamespace(filter_log_events=answer)}.__getitem__)
    given = json.dumps({"training": {"job_name": "model-r-a0"}})
    state = State("S", "Task", "", f"arn:aws:states:::aws-sdk:sagemaker:{call}TrainingJob", None)
    found = read_log(target, state, read_stays(history(entered("S", given)), "arn", "S")[0], "r")
    assert [line.message for line in found.lines] == ["validation:auc"]
    assert asked == [{"logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamNamePrefix": "model-r-a0/"}]


def test_a_log_group_that_is_not_there_yet_is_said_to_be():
    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": ""}}, "FilterLogEvents")

    clients = {
        "lambda": SimpleNamespace(get_function_configuration=lambda **_: {}),
        "logs": SimpleNamespace(filter_log_events=refuse),
    }
    target: Any = SimpleNamespace(client=clients.__getitem__)
    stay_, state = read_stays(history(entered("S", "{}")), "arn", "S")[0], State("S", "Task", "", None, "f:x")
    found = read_log(target, state, stay_, "r")
    assert (found.group, found.missing) == ("/aws/lambda/x", "There is no log group /aws/lambda/x (yet).")


def test_aws_own_pages_are_linked_in_every_partition_and_never_for_this_machine():
    arn = "arn:aws-cn:states:cn-north-1:1:execution:m:e"
    outputs = {"TrainingStateMachine": "arn:aws:states:eu-west-1:1:stateMachine:m"}
    aws: Any = SimpleNamespace(endpoint_url=None, outputs=outputs)
    here: Any = SimpleNamespace(endpoint_url="http://127.0.0.1:1", outputs=outputs)
    page = execution_page(aws, arn)
    assert page is not None
    assert page.startswith("https://cn-north-1.console.amazonaws.cn/states/home?region=cn-north-1#")
    assert (log_group_page(aws, "/aws/x") or "").endswith("log-group/$252Faws$252Fx")
    assert execution_page(here, arn) is None
    assert log_group_page(here, "/aws/x") is None
