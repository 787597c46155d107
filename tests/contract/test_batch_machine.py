"""Every way through the batch machine, from a dropped file to its end."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from proof.workflow.walk import Failure, Walk
from tests.contract.state_machine import ACCOUNT, ROOT, go, source

from dropforge.application.close_batch import close_batch
from dropforge.domain import errors

EXECUTION = f"arn:aws:states:{ACCOUNT}:execution:dropforge-batch:x"
STATES = json.loads(source("batch"))["States"]


def event(name: str) -> Any:
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


EVENT, COLLECT = event("s3_object_created_batch"), event("collect_batch")
WORK = COLLECT["plan_uri"].removesuffix("plan.json")
BATCH_ID = WORK.split("/")[-2]
PLAN = {
    "outcome": "planned",
    "message": "2 of 3 rows go to version 4.",
    "batch_id": BATCH_ID,
    "plan_uri": COLLECT["plan_uri"],
    "requests_uri": f"{WORK}input/requests.jsonl",
    "output_uri": f"{WORK}output/",
    "content_type": "application/json",
    "model_name": "model-v4-7",
    "model_version": 4,
    "rows_to_score": 2,
    "rows_rejected": 1,
}
BEGUN = {"TransformJobArn": COLLECT["transform_job_arn"]}
# The SDK integration's answer: what the API answers, times as text; tags are not in it.
TRANSFORMED = {
    "TransformJobName": f"model-b-{BATCH_ID}-a0",
    **BEGUN,
    "TransformJobStatus": "Completed",
    "CreationTime": "2026-11-21T09:00:00.123Z",
}
RUNNING = {**TRANSFORMED, "TransformJobStatus": "InProgress"}
STOPPED = {**TRANSFORMED, "TransformJobStatus": "Stopped"}
COLLECTED = {
    "outcome": "scored",
    "result_uri": "s3://dropforge-data-123456789012/batch/out/may/new-patients.csv",
    "manifest_uri": "s3://dropforge-data-123456789012/batch/out/may/new-patients.csv.manifest.json",
    "model_version": 4,
    "scored": 2,
    "rejected": 1,
    "notification": {"kind": "batch-scored", "subject": "Scored", "message": "2 rows were scored."},
}


def invoked(payload: Any) -> dict[str, Any]:
    return {"ExecutedVersion": "$LATEST", "Payload": payload, "StatusCode": 200}


RESULTS: dict[str, Any] = {
    "PlanBatch": invoked(PLAN),
    "TransformBatch": BEGUN,
    "DescribeTransformJob": TRANSFORMED,
    "CollectBatch": invoked(COLLECTED),
    "WatchBatch": invoked({"verdict": "quiet", "report_uri": None, "rows": 2, "alarms": {}}),
}
VISITED: set[str] = set()


def score(start: Any = None, first: str | None = None, **changes: Any) -> Walk:
    results = {**RESULTS, **changes}

    def answer(state: str, request: Any, how_often: int) -> Any:
        given = results.get(state, {})
        if state == "CloseBatch" and state not in results:
            given = invoked(close_batch(request["Payload"], model_name="model"))
        if isinstance(given, list):
            given = given[min(how_often, len(given)) - 1]
        return given if isinstance(given, Failure) else copy.deepcopy(given)

    done = go("batch", start or EVENT, answer, EXECUTION, first)
    VISITED.update(done.states)
    return done


def told(done: Walk) -> list[str]:
    return [each["MessageAttributes"]["kind"]["StringValue"] for each in done.requests.get("Notify", [])]


def test_names_of_classes_that_the_machine_raises_are_documented():
    named = set(re.findall(r"'Error': '([\w.]+)'", source("batch")))
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert named == {"TransformFailed", "TransformTimedOut"}
    assert all(f"| `{name}` |" in page for name in named)


# --- every way ----------------------------------------------------------------------------------


def test_a_dropped_file_is_planned_transformed_and_collected():
    done = score()
    assert (done.status, done.states[-1]) == ("SUCCEEDED", "BatchEnded")
    (planned,) = done.requests["PlanBatch"]
    assert planned["Payload"] == {"execution_arn": EXECUTION, "event": EVENT}
    assert planned["Payload"].keys() == event("plan_batch").keys()
    (collected,) = done.requests["CollectBatch"]
    assert collected["Payload"] == COLLECT
    (job,) = done.requests["TransformBatch"]
    assert job["Environment"] == {"DROPFORGE_EXECUTION_ARN": EXECUTION}
    assert job["ModelName"] == "model-v4-7"
    assert job["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"] == f"{WORK}input/requests.jsonl"
    assert job["TransformOutput"]["S3OutputPath"] == f"{WORK}output/a0"
    # One line is one request, whose answer is one line.
    assert (job["TransformInput"]["SplitType"], job["BatchStrategy"]) == ("Line", "SingleRecord")
    assert job["TransformOutput"]["AssembleWith"] == "Line"
    assert told(done) == ["batch-scored"]
    assert done.requests["Notify"][0]["Message"] == "2 rows were scored."
    assert "CloseBatch" not in done.states


def test_the_longest_name_of_a_model_and_of_a_file_gives_a_job_name():
    plan = {**PLAN, "batch_id": f"{'x' * 20}-{'0' * 12}"}
    names = {"ModelName": "m" * 20, "BatchInstanceTypes": ",".join(["ml.m5.large"] * 5)}
    refusal = Failure("SageMaker.ResourceLimitExceededException", "quota")
    results = {**RESULTS, "PlanBatch": invoked(plan), "TransformBatch": refusal}
    done = go("batch", EVENT, lambda state, *_: results.get(state, {}), EXECUTION, **names)
    found = [each["TransformJobName"] for each in done.requests["TransformBatch"]]
    assert len(set(found)) == 10
    assert all(re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name) for name in found)


@pytest.mark.parametrize("outcome", ["duplicate", "nothing"])
def test_what_is_not_planned_ends_well_and_starts_nothing(outcome):
    done = score(PlanBatch=invoked({"outcome": outcome, "message": "…"}))
    assert (done.status, done.states) == ("SUCCEEDED", ["PlanBatch", "IsPlanned", "NotPlanned"])


def test_what_was_scored_is_watched_with_the_output_of_the_job_that_completed():
    (watched,) = score().requests["WatchBatch"]
    assert watched["Payload"] == {
        "batch": {"plan_uri": COLLECT["plan_uri"], "output_uri": COLLECT["output_uri"]}
    }


def test_a_watch_that_breaks_is_told_with_the_result_and_changes_nothing():
    done = score(WatchBatch=Failure("InvalidProfile", "…"))
    assert (done.status, told(done)) == ("SUCCEEDED", ["batch-scored"])
    said = done.requests["Notify"][0]["Message"]
    assert said == "2 rows were scored. It could not be watched for drift: InvalidProfile."
    older = invoked({**COLLECTED, "outcome": "superseded", "notification": None})
    assert told(score(CollectBatch=older, WatchBatch=Failure("InvalidProfile", "…"))) == []


def test_an_older_file_of_the_same_name_ends_well_without_a_word():
    done = score(CollectBatch=invoked({**COLLECTED, "outcome": "superseded", "notification": None}))
    assert (done.status, done.states[-2:]) == ("SUCCEEDED", ["HowItEnded", "BatchEnded"])


def test_a_missing_quota_tries_each_type_twice_and_then_fails():
    done = score(TransformBatch=Failure("SageMaker.ResourceLimitExceededException", "limit is 0 Instances"))
    tried = [each["TransformResources"]["InstanceType"] for each in done.requests["TransformBatch"]]
    assert tried == ["ml.m5.large", "ml.m4.xlarge"] * 2
    outputs = [each["TransformOutput"]["S3OutputPath"] for each in done.requests["TransformBatch"]]
    assert outputs == [f"{WORK}output/a{attempt}" for attempt in range(4)]
    assert done.waits == [60, 120, 240]
    assert (done.status, done.error) == ("FAILED", "SageMaker.ResourceLimitExceededException")


def failed(reason: str) -> dict[str, Any]:
    return {**TRANSFORMED, "TransformJobStatus": "Failed", "FailureReason": reason}


def test_missing_capacity_tries_the_next_type_and_collects_its_output():
    done = score(DescribeTransformJob=[failed("CapacityError: Unable to provision"), TRANSFORMED])
    assert done.states[-1] == "BatchEnded"
    assert done.requests["CollectBatch"][0]["Payload"]["output_uri"] == f"{WORK}output/a1/"


def test_capacity_that_stays_missing_fails_with_the_jobs_reason():
    done = score(DescribeTransformJob=failed("CapacityError: Unable to provision"))
    assert len(done.requests["TransformBatch"]) == 4
    assert (done.status, done.error) == ("FAILED", "TransformFailed")
    assert "CapacityError: Unable to provision" in done.cause


def test_an_instance_type_that_the_region_lacks_is_no_capacity():
    refusal = Failure(
        "SageMaker.SageMakerException",
        "The requested resource transform-job/ml.m5.large is not available in this region",
    )
    assert score(TransformBatch=[refusal, BEGUN]).states[-1] == "BatchEnded"
    done = score(TransformBatch=refusal)
    assert len(done.requests["TransformBatch"]) == 4
    assert "not available in this region" in done.cause


def test_a_failed_job_fails_with_its_reason_and_where_to_look():
    done = score(DescribeTransformJob=failed('ClientError: See job logs for "more" information'))
    assert (done.status, done.error) == ("FAILED", "TransformFailed")
    assert 'ClientError: See job logs for "more" information' in done.cause
    assert "/aws/sagemaker/TransformJobs" in done.cause
    assert "StopTransformJob" not in done.states


def test_a_job_that_was_stopped_is_not_a_failure():
    done = score(DescribeTransformJob=STOPPED)
    assert (done.status, done.states[-1], told(done)) == ("SUCCEEDED", "BatchEnded", ["batch-stopped"])


def test_a_job_that_outran_its_time_is_stopped_and_fails_with_a_remedy():
    done = score(DescribeTransformJob=RUNNING)
    assert 3600 - 30 <= sum(done.waits) <= 3600
    assert done.requests["StopTransformJob"] == [{"TransformJobName": TRANSFORMED["TransformJobName"]}]
    assert (done.status, done.error) == ("FAILED", "TransformTimedOut")
    assert "BatchMaxRuntimeSeconds" in done.cause
    late = score().inputs["DescribeTransformJob"]
    late = {**late, "transform": {**late["transform"], "polls": 500, "waited_s": 500_000}}
    done = score(late, "DescribeTransformJob", DescribeTransformJob=RUNNING)
    assert (done.error, done.waits) == ("TransformTimedOut", [])


def test_a_job_whose_beginning_failed_may_be_there_and_is_stopped():
    done = score(TransformBatch=Failure("States.Timeout", None))
    assert done.requests["StopTransformJob"] == [{"TransformJobName": TRANSFORMED["TransformJobName"]}]
    assert (done.status, done.error) == ("FAILED", "States.Timeout")


def test_follows_a_job_that_an_unanswered_call_had_made():
    in_use = Failure("SageMaker.ResourceInUseException", "Job name must be unique")
    done = score(TransformBatch=in_use, DescribeTransformJob=[RUNNING, RUNNING, TRANSFORMED])
    assert (done.states[-1], done.waits) == ("BatchEnded", [1, 1])
    done = score(TransformBatch=in_use, DescribeTransformJob=failed("AlgorithmError: x"))
    assert done.error == "TransformFailed"
    assert "AlgorithmError: x" in done.cause
    again = score(done.inputs["ClassifyTransformFailure"], "ClassifyTransformFailure")
    assert (again.error, again.cause) == (done.error, done.cause)


@pytest.mark.parametrize("cause", [None, "", "not JSON"])
@pytest.mark.parametrize("state", ["PlanBatch", "TransformBatch", "DescribeTransformJob", "CollectBatch"])
def test_breakage_anywhere_is_told_and_fails_with_its_class(state, cause):
    changes: dict[str, Any] = {state: Failure("AccessDenied", cause)}
    done = score(**changes)
    assert (done.status, done.error, done.cause) == ("FAILED", "AccessDenied", cause or "")
    assert "batch/in/may/new-patients.csv" in done.requests["Notify"][0]["Message"]
    assert told(done) == ["batch-failed"]


@pytest.mark.parametrize("cause", [None, "", "not JSON"])
def test_breakage_while_a_batch_is_closed_is_told_with_what_broke_first(cause):
    refused = Failure("AccessDenied", cause)
    done = score(PlanBatch=Failure("UnscorableBatch", cause), CloseBatch=refused)
    assert (done.status, done.error, done.cause) == ("FAILED", "UnscorableBatch", cause or "")
    assert told(done) == ["batch-failed"]
    assert f"{EXECUTION}: UnscorableBatch: {cause or ''}" in done.requests["Notify"][0]["Message"]
    done = score(DescribeTransformJob=STOPPED, CloseBatch=refused)
    assert (done.status, done.error) == ("FAILED", "AccessDenied")


def test_what_an_execution_is_started_with_decides_nothing_and_is_told_of():
    start = {"verdict": "stopped", "transform": {"attempt": 9}, "notification": {"kind": "x"}}
    done = score(start, PlanBatch=Failure("InvalidEvent", "no event"))
    assert (done.status, done.error, told(done)) == ("FAILED", "InvalidEvent", ["batch-failed"])
    assert "A batch could not be scored. InvalidEvent: no event" in done.requests["Notify"][0]["Message"]
    assert score({**EVENT, "error": {"Error": "x"}, "verdict": "x"}).states[-1] == "BatchEnded"


def test_a_functions_message_is_what_people_read():
    message = "s3://b/x.csv: column 'dose' is missing.\nSay \"please\"."
    cause = json.dumps({"errorMessage": message, "errorType": "UnscorableBatch", "stackTrace": ["x"]})
    done = score(PlanBatch=Failure("UnscorableBatch", cause))
    assert issubclass(errors.UnscorableBatch, errors.PermanentError)
    assert done.cause == message
    assert message in done.requests["Notify"][0]["Message"]
    assert "stackTrace" not in done.requests["Notify"][0]["Message"]


@pytest.mark.parametrize("state", ["Notify", "StopTransformJob"])
def test_what_comes_after_the_outcome_never_changes_it(state):
    refused = {state: Failure("AccessDenied", None)}
    assert score(**refused).status == "SUCCEEDED"
    assert score(DescribeTransformJob=STOPPED, **refused).states[-1] == "BatchEnded"
    assert score(TransformBatch=Failure("States.Timeout", None), **refused).error == "States.Timeout"


def test_the_ways_above_go_through_every_state():
    # Each in one walk, so that this test stands on its own in any process.
    test_follows_a_job_that_an_unanswered_call_had_made()
    test_a_missing_quota_tries_each_type_twice_and_then_fails()
    test_a_job_that_was_stopped_is_not_a_failure()
    test_a_failed_job_fails_with_its_reason_and_where_to_look()
    test_a_job_that_outran_its_time_is_stopped_and_fails_with_a_remedy()
    test_what_is_not_planned_ends_well_and_starts_nothing("duplicate")
    test_an_older_file_of_the_same_name_ends_well_without_a_word()
    assert set(STATES) - VISITED == set()
