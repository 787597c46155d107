from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from tests.fakes.records import s3_event

from dropforge.domain.records import LockName, RunStatus


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cancer.csv"
    path.write_text("id,radius\n1,2\n")
    return path


def trains_at_once(stack, version=1):
    """Each drop gets a run of its own that trains and waits for approval."""

    def act(drop):
        stack.receive(drop)
        run = stack.open_run(drop.run_id, drops=[drop])
        stack.sfn.states(run.execution_arn, "AdmitRun", "PrepareData", "TrainModel")
        stack.register(run, version)

    stack.on_drop = act


def test_uploads_under_incoming_and_says_where(stack, on_stack, file):
    outcome = on_stack("drop", file)
    assert outcome.exit_code == 0
    assert f"s3://{stack.bucket}/incoming/cancer.csv" in outcome.stderr
    assert "dropforge runs" in outcome.stdout
    assert (
        stack.s3.get_object(Bucket=stack.bucket, Key="incoming/cancer.csv")["Body"].read()
        == file.read_bytes()
    )


def test_json_names_the_version_of_each_upload_and_nothing_else(stack, on_stack, file):
    document = on_stack("drop", file, "--prefix", "/2026/jan/", "--json").json
    [upload] = document["uploads"]
    assert upload["uri"] == f"s3://{stack.bucket}/incoming/2026/jan/cancer.csv"
    assert upload["version_id"] == stack.uploaded[0].version_id
    assert document["runs"] == []


def test_uploads_a_large_file_in_parts(stack, on_stack, tmp_path):
    path = tmp_path / "large.csv"
    path.write_bytes(b"x" * (17 * 1024**2))
    [upload] = on_stack("drop", path, "--json").json["uploads"]
    assert upload["size"] == 17 * 1024**2
    assert upload["etag"].endswith("-2")
    assert upload["version_id"] == stack.uploaded[0].version_id


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["missing.csv"], "there is no such file"),
        (["folder"], "is a folder"),
        (["a/same.csv", "b/same.csv"], "another file is named same.csv too"),
    ],
)
def test_refuses_what_is_no_file_before_anything_is_uploaded(stack, on_stack, tmp_path, file, names, problem):
    (tmp_path / "folder").mkdir()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.csv").write_text("x\n1\n")
    outcome = on_stack("drop", file, *(tmp_path / name for name in names))
    assert outcome.exit_code == 2
    assert problem in outcome.stderr
    assert "Nothing was uploaded" in outcome.stderr
    assert stack.uploaded == []


def test_refuses_a_prefix_that_leads_elsewhere(stack, on_stack, file):
    assert on_stack("drop", file, "--prefix", "../contract").exit_code == 2
    assert stack.uploaded == []


def test_waits_until_the_run_waits_for_approval(stack, on_stack, file):
    trains_at_once(stack)
    outcome = on_stack("drop", file, "--wait")
    assert outcome.exit_code == 0
    assert "PrepareData" in outcome.stderr
    assert "awaiting approval, version 1" in outcome.stdout
    assert "dropforge approve 1 --wait" in outcome.stdout


def test_approves_with_the_metrics_digest_and_follows_the_deployment(stack, on_stack, file):
    trains_at_once(stack)
    stack.apply_decisions()
    outcome = on_stack("drop", file, "--approve", "--json")
    assert outcome.exit_code == 0
    [run] = outcome.json["runs"]
    assert run["status"] == "succeeded"
    [update] = stack.sagemaker.updates
    shown = update["CustomerMetadataProperties"]["decision_judgement_sha256"]
    assert shown == stack.ledger.get_model(1).judgement_sha256
    assert "SmokeTest" in outcome.stderr


def test_leaves_to_a_person_what_the_gate_cannot_say(stack, on_stack, file):
    def act(drop):
        stack.receive(drop)
        run = stack.open_run(drop.run_id, drops=[drop])
        stack.sfn.enter(run.execution_arn, "AwaitApproval")
        stack.register(run, 1, undecided=True)

    stack.on_drop = act
    outcome = on_stack("drop", file, "--approve")
    assert outcome.exit_code == 1
    assert "The gate can't say" in outcome.stderr
    assert "dropforge approve 1 --reason TEXT" in outcome.stderr
    assert not stack.sagemaker.updates


def test_fails_with_the_runs_error(stack, on_stack, file):
    def act(drop):
        stack.receive(drop)
        run = stack.open_run(drop.run_id, drops=[drop])
        error = {"class": "MissingTarget", "message": "no column 'diagnosis'. Name it as in the file."}
        stack.end_run(run, RunStatus.FAILED, "FAILED", error=error)

    stack.on_drop = act
    outcome = on_stack("drop", file, "--wait", "--json")
    assert outcome.exit_code == 1
    assert "MissingTarget: no column 'diagnosis'" in outcome.json["error"]["message"]
    assert outcome.json["runs"][0]["status"] == "failed"


def test_a_verdict_is_no_failure_unless_approval_was_asked_for(stack, on_stack, file):
    def act(drop):
        stack.receive(drop)
        run = stack.open_run(drop.run_id, drops=[drop])
        reasons = [{"code": "ThresholdMissed", "message": "auc 0.5 is below the threshold 0.7."}]
        stack.end_run(run, RunStatus.REJECTED_BY_GATE, reasons=reasons)

    stack.on_drop = act
    outcome = on_stack("drop", file, "--wait")
    assert outcome.exit_code == 0
    assert "auc 0.5 is below the threshold 0.7." in outcome.stdout
    assert on_stack("drop", file, "--approve").exit_code == 1


def test_finds_the_follow_up_run_that_covers_a_drop_which_came_during_training(stack, on_stack, file):
    first = stack.open_run("other-run")
    looked = []

    def act(drop):
        stack.receive(drop)
        list_executions = stack.sfn.list_executions

        def later(**request):
            looked.append(request)
            stack.sfn.list_executions = list_executions
            stack.end_run(first, RunStatus.SUCCEEDED)
            run = stack.open_run(drop.run_id, drops=[drop], trigger="follow-up")
            stack.register(run, 1)
            return {"executions": []}

        stack.sfn.list_executions = later

    stack.on_drop = act
    outcome = on_stack("drop", file, "--wait", "--json")
    assert outcome.exit_code == 0
    assert looked
    [note] = outcome.json["notes"]
    assert "came while another run trained" in note
    assert outcome.json["runs"][0]["trigger"] == "follow-up"


def test_names_the_run_that_is_waited_for_when_time_is_up(stack, on_stack, file):
    stack.open_run("other-run")
    stack.on_drop = stack.receive
    outcome = on_stack("drop", file, "--wait", "--timeout", "0")
    assert outcome.exit_code == 5
    assert (
        "Run other-run is training; one more run will follow and cover incoming/cancer.csv" in outcome.stderr
    )
    assert stack.ledger.held_lease(LockName.TRAINING) is not None


def test_follows_one_run_for_several_drops_that_it_covers(stack, on_stack, tmp_path):
    paths = []
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(name)
        paths.append(tmp_path / name)

    def act(drop):
        stack.receive(drop)
        if len(stack.uploaded) == 2:
            run = stack.open_run(drop.run_id, drops=stack.uploaded)
            stack.register(run, 1)

    stack.on_drop = act
    outcome = on_stack("drop", *paths, "--wait", "--json")
    assert outcome.exit_code == 0
    assert len(outcome.json["runs"]) == 1


def test_says_that_an_event_came_twice(stack, on_stack, file):
    def act(drop):
        stack.receive(drop)
        stack.ledger.record_drop(drop, received_by="another", now=datetime.now(UTC))
        stack.register(stack.open_run(drop.run_id, drops=[drop]), 1)

    stack.on_drop = act
    [note] = on_stack("drop", file, "--wait", "--json").json["notes"]
    assert "was delivered 2 times; it counts once" in note


def test_an_earlier_drop_of_the_same_content_is_not_taken_for_this_one(stack, on_stack, file):
    stack.s3.put_bucket_versioning(Bucket=stack.bucket, VersioningConfiguration={"Status": "Suspended"})
    on_stack("drop", file)
    [earlier] = stack.uploaded
    stack.receive(earlier)
    run = stack.open_run(earlier.run_id, drops=[earlier])
    stack.end_run(run, RunStatus.REJECTED_BY_GATE)
    trains_at_once(stack)
    outcome = on_stack("drop", file, "--wait", "--json")
    assert [each["run_id"] for each in outcome.json["runs"]] == [stack.uploaded[1].run_id]


def test_tells_of_an_execution_that_broke_before_it_recorded_a_run(stack, on_stack, file):
    def act(drop):
        event = s3_event(drop)
        arn = stack.sfn.begin(stack.target.outputs["TrainingStateMachine"], "broken", event)
        cause = json.dumps({"errorType": "InvalidSettings", "errorMessage": "LEDGER_TABLE is missing"})
        stack.sfn.end(arn, "FAILED", error="InvalidSettings", cause=cause)

    stack.on_drop = act
    outcome = on_stack("drop", file, "--wait", "--timeout", "30")
    assert outcome.exit_code == 1
    assert "InvalidSettings: LEDGER_TABLE is missing" in outcome.stderr
