"""dropforge logs: what a run's training job has printed."""

from __future__ import annotations

import contextlib
import itertools
import time

import pytest
from tests.mocked_aws import mocked_aws

from dropforge.domain.records import RunStatus
from dropforge_ops.actions.job_logs import GROUP


@pytest.fixture
def printed(stack, monkeypatch):
    """Returns a function that lets a training job of the model print lines."""
    with mocked_aws() as client:
        logs = client("logs")
        monkeypatch.setitem(stack.target._clients, "logs", logs)
        known = set()

        def lines(job: str, *messages: str) -> None:
            stream = f"{job}/algo-1-1790000000"
            with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
                logs.create_log_group(logGroupName=GROUP)
            if stream not in known:
                logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
                known.add(stream)
            now = int(time.time() * 1000)
            events = [{"timestamp": now, "message": each} for each in messages]
            logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)

        yield lines


def test_shows_what_the_jobs_of_a_run_printed_and_no_others(stack, on_stack, printed):
    stack.trained(1, "r-1")
    printed("model-r-1-a0", "loading", "[bold]7[/] rows \x1b[2J", "validation:auc=0.99;")
    printed("model-r-1-a1", "once more")
    printed("model-r-12-a0", "of another run")
    outcome = on_stack("logs", "r-1")
    assert outcome.exit_code == 0
    messages = [line.split("  ", 1)[1] for line in outcome.stdout.splitlines()]
    assert messages == ["loading", "[bold]7[/] rows \ufffd[2J", "validation:auc=0.99;", "once more"]
    document = on_stack("logs", "latest", "--json").json
    assert (document["run_id"], document["log_group"]) == ("r-1", GROUP)
    assert [(each["job"], each["message"]) for each in document["lines"]][::3] == [
        ("model-r-1-a0", "loading"),
        ("model-r-1-a1", "once more"),
    ]


def test_follows_a_run_until_it_is_judged_and_writes_each_line_once(stack, on_stack, printed, monkeypatch):
    run, rounds = stack.open_run("r-2"), itertools.count()

    def go_on(*_) -> None:
        number = next(rounds)
        printed("model-r-2-a0", f"round {number}", f"still {number}")
        if number == 3:
            stack.end_run(run, RunStatus.REJECTED_BY_GATE)

    monkeypatch.setattr("dropforge_ops.actions.waiting.Deadline.pause", go_on)
    outcome = on_stack("logs", "r-2", "--follow")
    assert outcome.exit_code == 0
    assert [line.split("  ", 1)[1] for line in outcome.stdout.splitlines()] == [
        f"{word} {number}" for number in range(4) for word in ("round", "still")
    ]


def test_a_run_that_failed_before_its_job_says_why_there_are_no_lines(stack, on_stack, printed):
    run = stack.open_run("r-3")
    assert "has printed nothing yet; --follow waits" in on_stack("logs", "r-3").stdout
    error = {"class": "EmptyData", "message": "incoming/empty.csv has no rows."}
    stack.end_run(run, RunStatus.FAILED, "FAILED", error=error)
    told = on_stack("logs", "r-3", "--follow").stdout
    assert "the run is failed. EmptyData: incoming/empty.csv has no rows." in told
    assert on_stack("logs", "r-3", "--json").json["lines"] == []


def test_follow_and_json_exclude_each_other(stack, on_stack):
    assert on_stack("logs", "latest", "--follow", "--json").exit_code == 2
