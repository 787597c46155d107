from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from cli_services import complete
from tests.fakes.records import TRAINING
from tests.unit.drift.test_watch_model import START, World

from dropforge.domain.drift.silences import silences_of
from dropforge.domain.records import RunStatus
from dropforge.domain.triggers import parse_trigger

HOUR = timedelta(hours=1)
SILENCED = "monitoring/silenced.json"


@pytest.fixture
def world():
    """Two windows of drift, each of which raises an alarm."""
    world = World(cooldown_s=0, windows_to_alarm=1, windows_considered=1)
    for hour in (0, 1):
        world.serve(200, hour=hour, shift=2.0, labelled=False)
        world.watch(hour)
    return world


@pytest.fixture
def watched(stack, world):
    for uri, content in world.store.objects.items():
        if "/monitoring/" in uri:
            stack.write(uri.split("/", 3)[3], content)
    return stack


def kept_by(stack):
    return stack.s3.get_object(Bucket=stack.bucket, Key=SILENCED)["Body"].read()


def answer(stack, world, number, **said):
    """What admission writes of an alarm."""
    payload = world.workflows.started(TRAINING)[number].payload
    alarm = parse_trigger(payload).alarm
    stack.write(alarm.answer_uri.split("/", 3)[3], {"format": 1, **said})


def test_lists_alarms_the_newest_first_with_what_became_of_each(watched, world, on_stack):
    run = watched.open_run("drift-1")
    answer(watched, world, 0, outcome="admitted", message="…", run_id="drift-1")
    answer(watched, world, 1, outcome="nothing-new", message="There is nothing to train on.", run_id=None)
    watched.end_run(run, RunStatus.REJECTED_BY_GATE, "SUCCEEDED")
    found = on_stack("watch", "alarms", "--json").json
    assert [each["in_words"] for each in found["alarms"]] == [
        "There is nothing to train on.",
        "run drift-1: rejected by gate",
    ]
    newest, oldest = on_stack("watch", "alarms").stdout.splitlines()[1:]
    assert "nothing to train on" in newest
    assert "rejected by gate" in oldest


def test_an_alarm_that_nobody_has_answered_yet_says_so(watched, on_stack):
    assert on_stack("drift", "latest").stdout.count("what became of the drift alarm: not answered yet") == 1
    assert [each["outcome"] for each in on_stack("watch", "alarms", "--json").json["alarms"]] == [None, None]


def test_says_so_where_no_window_raised_an_alarm(on_stack):
    assert "None of the last 0 windows raised an alarm" in on_stack("watch", "alarms").stdout


def test_silences_a_column_for_a_time_with_whom_and_why_and_ends_it(watched, on_stack):
    made = on_stack("watch", "silence", "x", "--for", "12h", "--reason", "a new sensor", "--json").json
    (kept,) = silences_of(kept_by(watched))
    assert (kept.column, kept.reason, kept.by) == ("x", "a new sensor", made["by"])
    assert datetime.fromisoformat(kept.until) - datetime.fromisoformat(kept.since) == 12 * HOUR
    assert kept.covers(datetime.now(UTC) + HOUR)
    listed = on_stack("watch", "silences").stdout
    assert "a new sensor" in listed
    assert "silenced" in listed
    assert on_stack("watch", "unsilence", "x").exit_code == 0
    assert on_stack("watch", "silences", "--json").json["silences"][0]["holds"] is False
    (ended,) = silences_of(kept_by(watched))
    assert not ended.covers(datetime.now(UTC) + HOUR)
    assert on_stack("watch", "unsilence", "x").exit_code == 3


def test_silencing_again_replaces_the_time_and_keeps_the_history(watched, on_stack):
    for hours in ("1h", "2d"):
        assert on_stack("watch", "silence", "x", "--for", hours, "--reason", "why").exit_code == 0
    found = on_stack("watch", "silences", "--json").json["silences"]
    assert [each["holds"] for each in found] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("y", "--reason", "why"), "No column 'y' is watched. There are: predicted score, ward, x"),
        (("x", "--reason", "  "), "Say why"),
        (("x", "--reason", "why", "--for", "soon"), "is no time"),
        (("x", "--reason", "why", "--for", "900d"), "up to 366 days"),
        (("x",), "--reason"),
    ],
)
def test_refuses_to_silence_what_is_not_watched_or_without_saying_why_or_for_how_long(
    watched, on_stack, arguments, said
):
    outcome = on_stack("watch", "silence", *arguments)
    assert outcome.exit_code == 2
    assert said in " ".join(outcome.stderr.split())


def test_two_people_who_silence_at_once_are_told(watched, on_stack, monkeypatch):
    assert on_stack("watch", "silence", "x", "--reason", "why").exit_code == 0
    put = watched.s3.put_object

    def meanwhile(**request):
        if request["Key"] == SILENCED and "IfMatch" in request:
            put(Bucket=request["Bucket"], Key=SILENCED, Body=kept_by(watched) + b"\n")
        return put(**request)

    monkeypatch.setattr(watched.s3, "put_object", meanwhile)
    outcome = on_stack("watch", "silence", "ward", "--reason", "why")
    assert outcome.exit_code == 1
    assert "changed by somebody else" in outcome.stderr


def test_watches_a_window_at_once_and_shows_it(stack, on_stack, world):
    asked = []

    def invoke(*, FunctionName, Payload):
        asked.append((FunctionName, json.loads(Payload)))
        watched = world.watch_at_once(START + HOUR + timedelta(minutes=30))
        bucket_uri = watched.report_uri.replace("s3://data", f"s3://{stack.bucket}")
        stack.write(watched.report_uri.split("/", 3)[3], world.store.read(watched.report_uri))
        return {"Payload": io.BytesIO(json.dumps({"report_uri": bucket_uri}).encode())}

    complete(stack).target._clients["lambda"] = SimpleNamespace(invoke=invoke)
    outcome = on_stack("watch")
    assert outcome.exit_code == 0, outcome.stderr
    assert "drifted" in outcome.stdout
    ((name, event),) = asked
    assert name == "dropforge-WatchModelFunction"
    assert event["at_once"] is True


def test_without_a_live_model_or_where_the_watch_breaks_the_command_says_so(stack, on_stack):
    def answers(**content):
        def invoke(**_):
            failed = {"FunctionError": "Unhandled"} if "errorType" in content else {}
            return {"Payload": io.BytesIO(json.dumps(content).encode()), **failed}

        complete(stack).target._clients["lambda"] = SimpleNamespace(invoke=invoke)

    answers(report_uri=None, verdict="no_live_model")
    assert on_stack("watch", "now").exit_code == 3
    answers(errorType="InvalidProfile", errorMessage="the profile can't be read.")
    outcome = on_stack("watch", "now")
    assert (outcome.exit_code, "InvalidProfile" in outcome.stderr) == (1, True)
