from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from cli_services import complete
from tests.fakes.records import TRAINING, a_drop
from tests.unit.drift.test_watch_model import START, World

from dropforge.domain.batch import BatchPlaces
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


def test_says_so_where_no_window_was_watched_yet(on_stack):
    assert on_stack("watch", "alarms").stdout.strip() == "No window has been watched yet."


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


def a_scored_file(stack):
    """The manifest and the answers of a file that was scored; what the watch was asked with."""
    complete(stack).lives(1)
    drop = a_drop(3, key="batch/in/may/new.csv")
    places = BatchPlaces(replace(drop, bucket=stack.bucket), stack.bucket)
    stack.write("batch/out/may/new.csv.manifest.json", {"drop": asdict(places.drop)})
    for attempt in ("a0", "a1"):
        stack.write(f"{places.output_uri.split('/', 3)[3]}{attempt}/requests.jsonl.out", b"{}\n")
    asked = []

    def invoke(*, FunctionName, Payload):
        asked.append(json.loads(Payload))
        said = {"report_uri": None, "verdict": "waits", "message": "20 rows wait."}
        return {"Payload": io.BytesIO(json.dumps(said).encode())}

    stack.target._clients["lambda"] = SimpleNamespace(invoke=invoke)
    return places, asked


def test_outcomes_of_a_scored_file_are_kept_by_row_and_watched(stack, on_stack, tmp_path):
    places, asked = a_scored_file(stack)
    for truth in ("7,malignant\nx-8,benign\n", "9,benign\n"):
        (tmp_path / "truth.csv").write_text(f"id,label\n{truth}")
        outcome = on_stack("outcome", "--batch", "may/new.csv", "--file", str(tmp_path / "truth.csv"))
        assert outcome.exit_code == 0, outcome.stderr
    assert "No window was watched with them: 20 rows wait." in outcome.stdout
    key = f"{places.work_uri}outcomes.jsonl".split("/", 3)[3]
    lines = stack.s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["7", "x-8", "9"], "added, never overwritten"
    assert asked[1]["batch"] == {
        "plan_uri": places.plan_uri,
        "output_uri": f"{places.output_uri}a1/",
        "outcomes_uri": f"{places.work_uri}outcomes.jsonl",
    }


def test_outcomes_of_a_file_that_was_not_scored_or_without_rows_are_refused(stack, on_stack, tmp_path):
    a_scored_file(stack)
    (tmp_path / "truth.csv").write_text("id,label\n7,benign\n")
    (tmp_path / "empty.csv").write_text("id,label\n")
    assert on_stack("outcome", "--batch", "june.csv", "--file", str(tmp_path / "truth.csv")).exit_code == 3
    assert on_stack("outcome", "--batch", "may/new.csv").exit_code == 2
    named = ("outcome", "--batch", "may/new.csv", "--file")
    assert on_stack(*named, str(tmp_path / "empty.csv")).exit_code == 2
    (tmp_path / "truth.csv").write_text("id,label\n7,unheard\n")
    assert "none of the classes" in on_stack(*named, str(tmp_path / "truth.csv")).stderr


def test_the_target_of_a_file_is_reported_with_its_predictions(stack, on_stack, tmp_path):
    complete(stack).lives(1)
    path = tmp_path / "rows.csv"
    path.write_text("id,radius,count,smoker,site,diagnosis\n1,2,3,true,left,benign\n2,2,3,true,left,\n")
    outcome = on_stack("predict", "--file", str(path), "--log", "--outcomes", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    known = [
        on_stack("outcome", each["id"], "--json").json["outcome"] for each in outcome.json["predictions"]
    ]
    assert known == ["benign", None]


@pytest.mark.parametrize(
    ("more", "said"),
    [(("--log", "--sample-rows", "1"), "give --file alone"), ((), "with --log")],
)
def test_outcomes_need_a_file_and_a_log(stack, on_stack, tmp_path, more, said):
    path = tmp_path / "rows.csv"
    path.write_text("id,radius,diagnosis\n1,2,benign\n")
    outcome = on_stack("predict", "--file", str(path), "--outcomes", *more)
    assert outcome.exit_code == 2
    assert said in " ".join(outcome.stderr.split())
