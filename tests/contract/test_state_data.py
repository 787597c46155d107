"""Every way through the state machines: each state finds what it reads, and every request has its shape."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import pytest
from proof.workflow.walk import Failure, Walk
from tests.contract.state_machine import ACCOUNT, ROOT, definition
from tests.contract.state_machine import go as walked

from dropforge.application.close_run import Ending
from dropforge.application.deploy import Plan, told_failure
from dropforge.domain.caught_errors import readable_error
from dropforge.domain.records import RunStatus

EXECUTION = f"arn:aws:states:{ACCOUNT}:execution:dropforge-training:x"
DEPLOYMENT = f"arn:aws:states:{ACCOUNT}:execution:dropforge-deployment:x"
VISITED: dict[str, set[str]] = {"training": set(), "deployment": set()}
RAN: set[str] = set()


@pytest.fixture(autouse=True)
def _ran(request):
    RAN.add(request.node.originalname)


def event(name: str) -> Any:
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


def invoked(payload: Any) -> dict[str, Any]:
    """What the optimized Lambda integration returns."""
    return {"ExecutedVersion": "$LATEST", "Payload": payload, "StatusCode": 200}


REGISTER = event("register_model")
JOB = f"model-{REGISTER['run_id']}-a0"
FOLDER = f"s3://dropforge-data-123456789012/models/{REGISTER['run_id']}/"
CHAMPION = {
    "version": 3,
    "model_package_arn": f"arn:aws:sagemaker:{ACCOUNT}:model-package/model/3",
    "model_data_url": f"{FOLDER}old/output/model.tar.gz",
    "model_sha256": "f" * 64,
}
ADMISSION = {
    "outcome": "admitted",
    "message": "Run trains on 1 object(s).",
    "run_id": REGISTER["run_id"],
    "token": 1,
    "trigger": "drop",
    "replay_of": None,
    "manifest_uri": event("prepare_data")["manifest_uri"],
    "started_at": "2026-11-21T09:00:01.000Z",
    "code_uri": f"s3://dropforge-data-123456789012/code/{'a' * 64}/",
    "code_sha256": "a" * 64,
    "source_commit": None,
    "metric_definitions": [{"Name": "validation:auc", "Regex": "validation:auc=([-+0-9.eE]+);"}],
    "champion": None,
}
BEGUN = {"TrainingJobArn": f"arn:aws:sagemaker:{ACCOUNT}:training-job/{JOB}"}
# The SDK integration's answer: what the API answers, times as text; tags are not in it.
TRAINED = {
    "TrainingJobName": JOB,
    **BEGUN,
    "TrainingJobStatus": "Completed",
    "SecondaryStatus": "Completed",
    "ModelArtifacts": {"S3ModelArtifacts": f"{FOLDER}{JOB}/output/model.tar.gz"},
    "OutputDataConfig": {"S3OutputPath": FOLDER, "KmsKeyId": ""},
    "CreationTime": "2026-11-21T09:00:00.123Z",
}
DECIDED = {"decision": "approved", "version": 1, "by": "ann", "reason": "fine"}


def told(kind: str) -> dict[str, str]:
    """What a function would have told, as ``Notify`` publishes it."""
    return {"kind": kind, "subject": f"{kind} of model", "message": f"This is {kind}."}


def closed(payload: dict[str, Any]) -> dict[str, Any]:
    """What `close_run` answers to the machine."""
    ending = Ending.from_event(payload)
    untold = ending.status in (RunStatus.REPLAYED, RunStatus.SUPERSEDED)
    error = readable_error(ending.error or {}) if ending.status is RunStatus.FAILED else None
    return {
        "notification": None if untold else told(f"closed as {ending.status}"),
        "error": error and {"Error": error["class"], "Cause": error["message"]},
    }


def settled(payload: dict[str, Any]) -> dict[str, Any]:
    """What `settle_deployment` answers to the machine."""
    plan = payload["plan"] and Plan(**payload["plan"])
    return told_failure(payload, plan, model_name="model")


RESULTS: dict[str, Any] = {
    "AdmitRun": invoked(ADMISSION),
    "PrepareData": invoked(REGISTER["prepared"]),
    "TrainModel": BEGUN,
    "DescribeTrainingJob": TRAINED,
    "JudgeModel": invoked(REGISTER["judgement"]),
    "RegisterModel": invoked(
        {
            "version": 1,
            "model_package_arn": f"arn:aws:sagemaker:{ACCOUNT}:model-package/model/1",
            "superseded": [],
            "follow_up": None,
            "notification": told("approval-needed"),
        }
    ),
    "AwaitApproval": DECIDED,
    "DeployModel": {"Status": "SUCCEEDED", "Output": {"version": 1}},
}
PLAN = event("promote_model")["plan"]
PREVIOUS = {**PLAN, "version": 2, "token": 2, "endpoint_config": "model-v2-2", "model_name": "model-v2-2"}
PREVIOUS |= {"previous_config": "model-v1-1", "previous_version": 1}


def serving(config: str, status: str = "InService", **more: Any) -> dict[str, Any]:
    return {"EndpointName": "model", "EndpointStatus": status, "EndpointConfigName": config, **more}


NOT_FOUND = Failure("SageMaker.SageMakerException", 'Could not find endpoint "model".')
DEPLOYING: dict[str, Any] = {
    "PlanDeployment": invoked(PLAN),
    "FindEndpoint": NOT_FOUND,
    "DescribeEndpoint": serving("model-v1-1"),
    "DescribeForRestore": serving("model-v1-1"),
    "SmokeTest": invoked({"rows": 32}),
    "PromoteModel": invoked({"version": 1, "endpoint_config": "model-v1-1"}),
    "ReadLivePointer": {},
    "RetireModels": invoked({"deleted": []}),
}


def go(
    machine: str, results: dict[str, Any], start: Any, first: str | None = None, **substitutions: str
) -> Walk:
    """Each state's result, or the list of its results in turn, of which the last stays."""

    def answer(state: str, request: Any, how_often: int) -> Any:
        given = results.get(state)
        if given is None:
            answered = {"CloseRun": closed, "SettleDeployment": settled}.get(state)
            given = invoked(answered(request["Payload"])) if answered else {"MessageId": "1"}
        if isinstance(given, list):
            given = given[min(how_often, len(given)) - 1]
        return given if isinstance(given, Failure) else copy.deepcopy(given)

    execution = EXECUTION if machine == "training" else DEPLOYMENT
    done = walked(machine, start, answer, execution, first, **substitutions)
    VISITED[machine].update(done.states)
    return done


def train(
    start: Any = None,
    TrainingMaxRuntimeSeconds: str = "3600",
    substitutions: dict[str, str] | None = None,
    **changes: Any,
) -> Walk:
    return go(
        "training",
        {**RESULTS, **changes},
        start or event("s3_object_created"),
        TrainingMaxRuntimeSeconds=TrainingMaxRuntimeSeconds,
        **(substitutions or {}),
    )


def deploy(substitutions: dict[str, str] | None = None, **changes: Any) -> Walk:
    start = {"reason": "approval", "version": 1, "run_id": PLAN["run_id"], "requested_by": "ann"}
    return go("deployment", {**DEPLOYING, **changes}, start, **(substitutions or {}))


def admitted(**changes: Any) -> dict[str, Any]:
    return invoked({**ADMISSION, **changes})


# --- training -----------------------------------------------------------------------------------


def live_with(token: int) -> dict[str, Any]:
    return {"Item": {"pk": {"S": "LIVE"}, "sk": {"S": "LIVE"}, "token": {"N": str(token)}}}


def test_a_promotion_whose_answer_was_lost_is_not_undone():
    lost = Failure("Lambda.Unknown", "The service is gone")
    done = deploy(PromoteModel=lost, ReadLivePointer=live_with(PLAN["token"]))
    assert (done.status, done.states[-1]) == ("SUCCEEDED", "Deployed")
    assert "RetireModels" in done.states
    assert kinds_told(done) == ["promoted"]
    (request,) = done.requests["ReadLivePointer"]
    assert request["ConsistentRead"]
    done = deploy(PlanDeployment=invoked(PREVIOUS), PromoteModel=lost, ReadLivePointer=live_with(1))
    assert (done.status, "DescribeForRestore" in done.states) == ("FAILED", True)


@pytest.mark.parametrize("trigger", ["s3_object_created", "schedule", "manual", "follow_up", "replay"])
def test_every_trigger_reaches_a_deployed_model(trigger):
    done = train(event(trigger))
    assert (done.status, done.states[-1]) == ("SUCCEEDED", "RunEnded")
    (request,) = done.requests["AdmitRun"]
    assert request["Payload"] == {"execution_arn": EXECUTION, "event": event(trigger)}


def test_payloads_have_the_fields_of_the_example_events():
    done = train()
    for state in ("AdmitRun", "PrepareData", "JudgeModel", "RegisterModel"):
        function = "".join(f"_{each.lower()}" if each.isupper() else each for each in state).strip("_")
        (request,) = done.requests[state]
        assert request["Payload"].keys() == event(function).keys(), state
    assert done.requests["RegisterModel"][0]["Payload"]["judgement"] == REGISTER["judgement"]
    assert done.requests["AwaitApproval"][0]["Payload"].keys() == event("request_approval").keys()
    planned = deploy().requests["PlanDeployment"][0]["Payload"]
    assert planned.keys() == event("plan_deployment").keys()


def in_phases(*names: str) -> dict[str, Any]:
    """Answers of a preparation in chunks: a phase after the other, then the prepared data."""
    run_id = REGISTER["run_id"]
    phases = [
        invoked(
            {
                "phase": {
                    "run_id": run_id,
                    "name": name,
                    "items": 1,
                    "items_key": f"scratch/{run_id}/{name}/items.json",
                    "results_prefix": f"scratch/{run_id}/{name}/map",
                }
            }
        )
        for name in names
    ]
    return {
        "PrepareData": phases[0],
        "MergeChunks": [*phases[1:], invoked(REGISTER["prepared"])],
        "PrepareChunks": {"MapRunArn": f"arn:aws:states:{ACCOUNT}:mapRun:dropforge-training/PrepareChunks:1"},
    }


def test_large_drops_are_prepared_phase_by_phase_and_then_trained_on_like_any():
    phases = ("scan", "survey", "check", "reduce", "write")
    done = train(**in_phases(*phases))
    assert (done.status, done.states[-1]) == ("SUCCEEDED", "RunEnded")
    assert [each["Payload"]["phase"] for each in done.requests["MergeChunks"]] == list(phases)
    assert all(
        each["Payload"].keys() == event("merge_chunks").keys() for each in done.requests["MergeChunks"]
    )
    readers = [each["ItemReader"]["Arguments"] for each in done.requests["PrepareChunks"]]
    assert [each["Key"] for each in readers] == [
        f"scratch/{REGISTER['run_id']}/{phase}/items.json" for phase in phases
    ]
    assert {each["MaxConcurrency"] for each in done.requests["PrepareChunks"]} == {40}
    assert done.requests["RegisterModel"] == train().requests["RegisterModel"]


@pytest.mark.parametrize(
    ("failure", "error_class", "says"),
    [
        (
            Failure("States.ExceedToleratedFailureThreshold", "The threshold was exceeded"),
            "ChunkFailed",
            "ScaleOutChunkMegabytes",
        ),
        (Failure("States.ItemReaderFailed", "no such key"), "States.ItemReaderFailed", "no such key"),
    ],
)
def test_a_chunk_that_can_not_be_prepared_fails_the_run_by_class(failure, error_class, says):
    done = train(**{**in_phases("scan"), "PrepareChunks": failure})
    closing = done.requests["CloseRun"][0]["Payload"]["error"]
    assert done.status == "FAILED"
    assert closing["Error"] == error_class
    assert says in closing["Cause"]


def test_a_merge_that_fails_ends_the_run_with_its_class():
    done = train(**{**in_phases("scan"), "MergeChunks": Failure("EmptyData", None)})
    assert (done.status, done.error) == ("FAILED", "EmptyData")


def test_the_first_model_is_trained_without_a_champion():
    (request,) = train().requests["TrainModel"]
    assert [each["ChannelName"] for each in request["InputDataConfig"]] == [
        "code",
        "contract",
        "train",
        "validation",
        "test",
    ]
    assert request["HyperParameters"] == {"metric": "auto", "seed": "20260101"}
    assert request["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600}


VPC = {
    "SubnetIds": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "SecurityGroupIds": "sg-0123456789abcdef0",
}
VPC_CONFIG = {
    "Subnets": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
    "SecurityGroupIds": ["sg-0123456789abcdef0"],
}


def test_a_job_runs_in_the_vpc_that_is_named_and_says_nothing_of_one_otherwise():
    (request,) = train(substitutions=VPC).requests["TrainModel"]
    assert request["VpcConfig"] == VPC_CONFIG
    (request,) = train().requests["TrainModel"]
    assert "VpcConfig" not in request


def test_what_a_run_sets_reaches_its_job_and_never_replaces_what_the_workflow_sets():
    chosen = {"max_iter": "300", "seed": "1"}
    (request,) = train(AdmitRun=admitted(hyperparameters=chosen)).requests["TrainModel"]
    assert request["HyperParameters"] == {"max_iter": "300", "metric": "auto", "seed": "20260101"}
    (request,) = train(AdmitRun=admitted(hyperparameters={})).requests["TrainModel"]
    assert request["HyperParameters"] == {"metric": "auto", "seed": "20260101"}


def test_a_search_is_asked_for_where_the_stack_makes_one_and_a_replay_makes_its_own():
    tuned = {"TuningTrials": "20", "TuningMinutes": "15"}
    (request,) = train(substitutions=tuned).requests["TrainModel"]
    asked = {"tuning_trials": "20", "tuning_minutes": "15", "metric": "auto", "seed": "20260101"}
    assert request["HyperParameters"] == asked
    its_own = {"tuning_trials": "7", "tuning_minutes": "0"}
    for stack in (tuned, {}):
        done = train(AdmitRun=admitted(hyperparameters=its_own), substitutions=stack)
        assert done.requests["TrainModel"][0]["HyperParameters"] == {**asked, **its_own}


def test_a_later_model_is_trained_beside_the_champion():
    done = train(AdmitRun=admitted(champion=CHAMPION))
    (request,) = done.requests["TrainModel"]
    assert request["InputDataConfig"][-1]["ChannelName"] == "champion"
    assert request["HyperParameters"]["champion_sha256"] == "f" * 64
    assert done.requests["JudgeModel"][0]["Payload"]["champion"] == CHAMPION


@pytest.mark.parametrize("outcome", ["duplicate", "coalesced", "nothing-new"])
def test_what_is_not_admitted_ends_well(outcome):
    done = train(AdmitRun=invoked({"outcome": outcome, "message": "…"}))
    assert done.states == ["AdmitRun", "IsAdmitted", "NotAdmitted"]


def test_an_alarm_that_nothing_follows_is_told_before_it_ends_well():
    told = {"kind": "alarm-unanswered", "subject": "The drift alarm starts no run", "message": "…"}
    done = train(AdmitRun=invoked({"outcome": "nothing-new", "message": "…", "notification": told}))
    assert done.states == ["AdmitRun", "IsAdmitted", "Notify", "HowItEnded", "RunEnded"]
    assert kinds_told(done) == ["alarm-unanswered"]


def test_a_run_above_the_cap_fails_with_its_own_class_before_it_prepares():
    cause = json.dumps({"errorType": "RunTooExpensive", "errorMessage": "too dear"})
    error = {"Error": "RunTooExpensive", "Cause": cause}
    done = train(AdmitRun=admitted(outcome="too-expensive", error=error))
    assert done.states[:4] == ["AdmitRun", "IsAdmitted", "CloseRun", "HowItEnded"]
    assert (done.status, done.error, done.cause) == ("FAILED", "RunTooExpensive", "too dear")
    assert done.requests["CloseRun"][0]["Payload"]["error"] == error


def test_a_run_with_hyperparameters_that_the_model_does_not_take_fails_before_anything_is_prepared():
    cause = json.dumps({"errorType": "InvalidHyperparameters", "errorMessage": "no max_itre"})
    error = {"Error": "InvalidHyperparameters", "Cause": cause}
    done = train(AdmitRun=admitted(outcome="refused", error=error))
    assert done.states[:4] == ["AdmitRun", "IsAdmitted", "CloseRun", "HowItEnded"]
    assert (done.status, done.error, done.cause) == ("FAILED", "InvalidHyperparameters", "no max_itre")


def test_a_candidate_that_is_not_good_enough_ends_well():
    judgement = {**REGISTER["judgement"], "verdict": "rejected", "accepted": False}
    done = train(JudgeModel=invoked(judgement))
    assert (done.status, done.states[-4:]) == (
        "SUCCEEDED",
        ["HowItEnded", "Notify", "HowItEnded", "RunEnded"],
    )
    (closing,) = done.requests["CloseRun"]
    assert (closing["Payload"]["status"], closing["Payload"]["error"]) == ("rejected_by_gate", None)
    assert closing["Payload"]["judgement"] == judgement
    assert kinds_told(done) == ["closed as rejected_by_gate"]


def test_a_replay_ends_after_the_judgement():
    done = train(AdmitRun=admitted(trigger="replay", replay_of="x"))
    assert done.states[-4:] == ["IsGoodEnough", "CloseRun", "HowItEnded", "RunEnded"]
    assert done.requests["CloseRun"][0]["Payload"]["status"] == "replayed"


@pytest.mark.parametrize("by", ["ann", None])
@pytest.mark.parametrize(
    ("decision", "kinds"),
    [("approved", []), ("rejected", ["closed as rejected"]), ("superseded", [])],
)
def test_each_decision_has_its_end(by, decision, kinds):
    approval = {"decision": decision, "version": 1, "by": by, "reason": by}
    done = train(AwaitApproval=approval)
    assert (done.status, done.states[-1]) == ("SUCCEEDED", "RunEnded")
    assert kinds_told(done) == ["approval-needed", *kinds]
    assert ("CloseRun" in done.states) == (decision != "approved")
    if decision != "approved":
        (closing,) = done.requests["CloseRun"]
        assert (closing["Payload"]["status"], closing["Payload"]["approval"]) == (decision, approval)
    if decision == "approved":
        assert done.requests["DeployModel"][0]["Input"]["requested_by"] == by


def checked(outcome: str, decision: str = "pending", wait_s: int = 0) -> dict[str, Any]:
    fields = {"decision": decision, "version": 1, "by": None, "reason": None}
    notification = None if outcome == "decided" else told(outcome)
    return invoked({"outcome": outcome, "wait_s": wait_s, "notification": notification, **fields})


def kinds_told(done: Walk) -> list[str]:
    requests = [*done.requests.get("AskReviewers", []), *done.requests.get("Notify", [])]
    kinds = [each["MessageAttributes"]["kind"]["StringValue"] for each in requests]
    for kind, request in zip(kinds, requests, strict=True):
        if kind in ("approval-needed", "waiting", "overdue") or kind.startswith("closed"):
            assert (request["Subject"], request["Message"]) == (told(kind)["subject"], told(kind)["message"])
    return kinds


def test_reminds_until_somebody_decides():
    timeout = Failure("States.Timeout", None)
    done = train(
        AwaitApproval=[timeout, timeout, timeout],
        CheckApproval=[
            checked("waiting", wait_s=60),
            checked("waiting", wait_s=5),
            checked("decided", "approved"),
        ],
    )
    assert kinds_told(done) == ["approval-needed", "waiting", "waiting"]
    assert done.states[-1] == "RunEnded"


def test_expires_when_nobody_decides():
    done = train(AwaitApproval=Failure("States.Timeout", None), CheckApproval=checked("overdue"))
    assert (done.status, done.states[-1]) == ("SUCCEEDED", "RunEnded")
    assert kinds_told(done) == ["approval-needed", "overdue"]
    assert "CloseRun" not in done.states, "the check has closed it"


def test_a_missing_quota_tries_each_type_twice_and_then_fails():
    refusal = Failure("SageMaker.ResourceLimitExceededException", "The account-level limit is 0 Instances")
    done = train(TrainModel=refusal)
    tried = [each["ResourceConfig"]["InstanceType"] for each in done.requests["TrainModel"]]
    assert tried == ["ml.m5.large", "ml.m4.xlarge"] * 2
    assert len({each["TrainingJobName"] for each in done.requests["TrainModel"]}) == 4
    assert done.waits == [60, 120, 240]
    assert done.status == "FAILED"


def running(status: str, **more: Any) -> dict[str, Any]:
    described = {**TRAINED, "TrainingJobStatus": status, "SecondaryStatus": "Training", **more}
    del described["ModelArtifacts"]
    return described


NO_CAPACITY = running(
    "Failed", FailureReason="CapacityError: Unable to provision requested ML compute capacity."
)


def taken(times: int, **more: Any) -> dict[str, Any]:
    steps = ["Starting", "Training", *["Interrupted", "Starting"] * times]
    return running("InProgress", SecondaryStatusTransitions=[{"Status": each} for each in steps], **more)


ON_SPOT = {"TrainingSpot": "2"}


def attempts(done: Walk) -> list[tuple[str, bool, dict[str, int]]]:
    return [
        (
            each["ResourceConfig"]["InstanceType"],
            each["EnableManagedSpotTraining"],
            each["StoppingCondition"],
        )
        for each in done.requests["TrainModel"]
    ]


RUNS_S, WAITS_S = {"MaxRuntimeInSeconds": 3600}, {"MaxWaitTimeInSeconds": 7200}
SPOT = ("ml.m5.large", True, {**RUNS_S, **WAITS_S})
DEMAND = ("ml.m5.large", False, RUNS_S)


def test_trains_on_demand_unless_told():
    assert attempts(train()) == [DEMAND]


def test_several_instances_have_the_files_of_the_training_rows_dealt_out():
    def dealt(done: Walk) -> dict[str, str]:
        (job,) = done.requests["TrainModel"]
        sources = {e["ChannelName"]: e["DataSource"]["S3DataSource"] for e in job["InputDataConfig"]}
        return {name: source["S3DataDistributionType"] for name, source in sources.items()}

    several = train(substitutions={"TrainingInstanceCount": "3"})
    (job,), (alone,) = several.requests["TrainModel"], train().requests["TrainModel"]
    assert (job["ResourceConfig"]["InstanceCount"], alone["ResourceConfig"]["InstanceCount"]) == (3, 1)
    assert set(dealt(train()).values()) == {"FullyReplicated"}
    assert dealt(several) == {**dealt(train()), "train": "ShardedByS3Key"}
    assert job["EnableNetworkIsolation"]
    assert job["EnableInterContainerTrafficEncryption"]


def test_spot_capacity_that_stays_is_all_that_is_used():
    looks = [taken(0), taken(1), TRAINED]
    done = train(substitutions=ON_SPOT, DescribeTrainingJob=looks)
    assert attempts(done) == [SPOT]
    assert done.states[-1] == "RunEnded"


def test_goes_on_demand_once_interrupted_as_often_as_is_allowed():
    done = train(substitutions=ON_SPOT, DescribeTrainingJob=[taken(1), taken(2), taken(0), TRAINED])
    assert attempts(done) == [SPOT, DEMAND]
    assert done.requests["StopTrainingJob"] == [{"TrainingJobName": JOB}]
    assert done.states[-1] == "RunEnded"
    # An interrupted job that can't be stopped any more has ended by itself.
    ended = Failure("SageMaker.SageMakerException", "The training job is in status Stopped")
    done = train(
        substitutions=ON_SPOT, DescribeTrainingJob=[taken(2), taken(0), TRAINED], StopTrainingJob=ended
    )
    assert attempts(done) == [SPOT, DEMAND]


@pytest.mark.parametrize(
    "changes",
    [
        {"TrainModel": [Failure("SageMaker.ResourceLimitExceededException", "0 Instances"), BEGUN]},
        {"DescribeTrainingJob": [NO_CAPACITY, TRAINED]},
        {"DescribeTrainingJob": [running("Stopped", SecondaryStatus="MaxWaitTimeExceeded"), TRAINED]},
    ],
)
def test_without_spot_capacity_the_same_type_is_used_on_demand_at_once(changes):
    done = train(substitutions=ON_SPOT, **changes)
    assert attempts(done) == [SPOT, DEMAND]
    assert "WaitForCapacity" not in done.states
    assert "StopTrainingJob" not in done.states


def test_after_spot_capacity_the_list_is_tried_twice_on_demand():
    refusal = Failure("SageMaker.ResourceLimitExceededException", "The account-level limit is 0 Instances")
    done = train(substitutions=ON_SPOT, TrainModel=refusal)
    other = ("ml.m4.xlarge", *DEMAND[1:])
    assert attempts(done) == [SPOT, DEMAND, other, DEMAND, other]
    assert done.status == "FAILED"


def test_a_spot_job_is_followed_as_long_as_it_may_wait():
    done = train(substitutions=ON_SPOT, DescribeTrainingJob=taken(1))
    assert 2 * 3600 + 3600 - 120 <= sum(done.waits) <= 2 * 3600 + 3600
    assert done.requests["CloseRun"][0]["Payload"]["error"]["Error"] == "States.Timeout"


def test_a_spot_job_that_somebody_stopped_is_not_begun_again():
    done = train(substitutions=ON_SPOT, DescribeTrainingJob=running("Stopped", SecondaryStatus="Stopped"))
    assert attempts(done) == [SPOT]
    assert done.requests["CloseRun"][0]["Payload"]["status"] == "stopped"


def test_missing_capacity_tries_the_next_type():
    done = train(DescribeTrainingJob=[NO_CAPACITY, TRAINED])
    assert done.states[-1] == "RunEnded"
    assert done.requests["JudgeModel"][0]["Payload"]["lineage"]["instance_type"] == "ml.m4.xlarge"


def test_an_instance_type_that_the_region_lacks_is_no_capacity():
    refusal = Failure(
        "SageMaker.SageMakerException",
        "The requested resource training-job/ml.m5.large is not available in this region "
        "(Service: SageMaker, Status Code: 400, Request ID: 1)",
    )
    done = train(TrainModel=[refusal, BEGUN])
    assert done.states[-1] == "RunEnded"
    done = train(TrainModel=refusal)
    assert len(done.requests["TrainModel"]) == 4
    assert "StopTrainingJob" not in done.states
    assert "not available in this region" in done.requests["CloseRun"][0]["Payload"]["error"]["Cause"]


def test_a_training_job_that_fails_fails_the_run_with_its_reason():
    done = train(DescribeTrainingJob=running("Failed", FailureReason="AlgorithmError: x"))
    assert done.requests["CloseRun"][0]["Payload"]["error"] == {
        "Error": "TrainingFailed",
        "Cause": "AlgorithmError: x",
    }
    assert "StopTrainingJob" not in done.states


@pytest.mark.parametrize("cause", [None, "", "not JSON"])
@pytest.mark.parametrize("error", ["States.Timeout", "SageMaker.SageMakerException"])
def test_a_job_whose_beginning_failed_may_be_there_and_is_stopped(error, cause):
    done = train(TrainModel=Failure(error, cause))
    assert done.requests["StopTrainingJob"] == [{"TrainingJobName": JOB}]
    assert (done.status, done.error, done.cause) == ("FAILED", error, cause or "")


def test_a_training_job_that_was_stopped_is_not_a_failure():
    done = train(DescribeTrainingJob=running("Stopped", SecondaryStatus="Stopped"))
    assert (done.status, done.states[-1]) == ("SUCCEEDED", "RunEnded")
    assert done.requests["CloseRun"][0]["Payload"]["status"] == "stopped"
    assert kinds_told(done) == ["closed as stopped"]


def test_a_training_job_that_outran_its_time_is_a_failure_with_a_remedy():
    done = train(DescribeTrainingJob=running("Stopped", SecondaryStatus="MaxRuntimeExceeded"))
    assert done.status == "FAILED"
    assert "TrainingMaxRuntimeSeconds" in done.requests["CloseRun"][0]["Payload"]["error"]["Cause"]


def test_follows_a_job_that_an_unanswered_call_had_made():
    in_use = Failure("SageMaker.ResourceInUseException", "Training job names must be unique")
    done = train(TrainModel=in_use, DescribeTrainingJob=[running("InProgress"), TRAINED])
    assert done.states[-1] == "RunEnded"
    assert len(done.requests["TrainModel"]) == 1


def test_looks_at_a_job_soon_then_every_half_minute_then_after_a_share_of_its_time():
    done = train(
        DescribeTrainingJob=[running("InProgress")] * 100 + [TRAINED], TrainingMaxRuntimeSeconds="86400"
    )
    assert done.states[-1] == "RunEnded"
    assert done.waits[:12] == [1, 1, 2, 3, 5, 7, 10, 13, 17, 21, 26, 30]
    assert done.waits[-1] == 30
    start = done.inputs["DescribeTrainingJob"]
    late = {**start, "training": {**start["training"], "polls": 500, "waited_s": 40_000}}
    done = go(
        "training",
        {**RESULTS, "DescribeTrainingJob": [running("InProgress"), TRAINED]},
        late,
        "DescribeTrainingJob",
        TrainingMaxRuntimeSeconds="86400",
    )
    assert done.waits == [400]


def test_follows_a_job_no_longer_than_it_may_run():
    done = train(DescribeTrainingJob=running("InProgress"))
    assert 7200 - 75 <= sum(done.waits) <= 7200
    assert done.requests["CloseRun"][0]["Payload"]["error"]["Error"] == "States.Timeout"
    assert done.requests["StopTrainingJob"] == [{"TrainingJobName": JOB}]


def test_the_time_of_one_attempt_is_not_taken_from_the_next():
    looks = [running("InProgress")] * 150 + [NO_CAPACITY] + [running("InProgress")] * 65 + [TRAINED]
    done = train(DescribeTrainingJob=looks)
    assert done.states[-1] == "RunEnded"
    assert sum(done.waits) > 7200


FAILING = (
    "AdmitRun",
    "PrepareData",
    "TrainModel",
    "JudgeModel",
    "RegisterModel",
    "AwaitApproval",
    "DeployModel",
)


@pytest.mark.parametrize("cause", [None, '{"errorMessage":"x","errorType":"EmptyData"}'])
@pytest.mark.parametrize("state", FAILING)
def test_breakage_anywhere_is_recorded_told_and_fails(state, cause):
    done = train(**{state: Failure("EmptyData", cause)})
    assert done.status == "FAILED"
    assert (done.error, done.cause) == ("EmptyData", "x" if cause else "")
    assert kinds_told(done)[-1] == "closed as failed"
    (closing,) = done.requests["CloseRun"]
    assert closing["Payload"].keys() == event("close_run").keys()
    run_id = None if state == "AdmitRun" else REGISTER["run_id"]
    assert (closing["Payload"]["run_id"], closing["Payload"]["status"]) == (run_id, "failed")


def test_what_somebody_starts_an_execution_with_closes_no_run_of_another():
    start = {"admission": {"run_id": "theirs", "token": 7}, "verdict": "replayed", "training": {"attempt": 1}}
    done = train(start, AdmitRun=Failure("InvalidEvent", None))
    (closing,) = done.requests["CloseRun"]
    assert (closing["Payload"]["run_id"], closing["Payload"]["token"]) == (None, None)
    assert (closing["Payload"]["status"], done.status, done.error) == ("failed", "FAILED", "InvalidEvent")


@pytest.mark.parametrize("cause", [None, "x"])
def test_breakage_while_closing_is_told_and_ends_in_a_failure_with_what_broke_first(cause):
    for before in (
        {"PrepareData": Failure("EmptyData", cause)},
        {"JudgeModel": invoked({**REGISTER["judgement"], "verdict": "rejected", "accepted": False})},
        {"AdmitRun": admitted(trigger="replay")},
        {"AwaitApproval": {**DECIDED, "decision": "rejected"}},
        {"AwaitApproval": {**DECIDED, "decision": "superseded"}},
        {"DescribeTrainingJob": running("Stopped", SecondaryStatus="Stopped")},
    ):
        done = train(**before, CloseRun=Failure("AccessDenied", cause))
        broke = "EmptyData" if "PrepareData" in before else "AccessDenied"
        assert (done.status, done.error, done.cause) == ("FAILED", broke, cause or ""), before
        assert kinds_told(done)[-1] == "run-failed"
        said = done.requests["Notify"][-1]
        assert said["Subject"] == "A run of model failed"
        assert f"{broke}: {cause or ''}" in said["Message"]
    failure = Failure("AccessDenied", cause)
    assert train(DescribeTrainingJob=failure).status == "FAILED"
    assert train(AwaitApproval=Failure("States.Timeout", None), CheckApproval=failure).status == "FAILED"


def test_a_notification_that_fails_is_not_repeated_and_changes_no_outcome():
    silent: dict[str, Any] = dict.fromkeys(
        ["AskReviewers", "Notify"], Failure("SNS.AmazonSNSException", "no")
    )
    done = train(**silent)
    assert (done.states[-1], done.states.count("AskReviewers")) == ("RunEnded", 1)
    rejected = train(**silent, AwaitApproval={**DECIDED, "decision": "rejected"})
    assert (rejected.states[-1], rejected.states.count("Notify")) == ("RunEnded", 1)
    assert train(**silent, PrepareData=Failure("EmptyData")).states[-1] == "RunFailed"
    done = train(
        **silent,
        AwaitApproval=Failure("States.Timeout", None),
        CheckApproval=[checked("waiting", wait_s=1), checked("overdue")],
    )
    assert done.states[-1] == "RunEnded"


# --- deployment ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["serverless", "real-time", "asynchronous"])
def test_a_first_deployment_makes_an_endpoint(mode):
    done = deploy({"EndpointMode": mode})
    assert (done.status, done.states[-1]) == ("SUCCEEDED", "Deployed")
    assert "CreateEndpoint" in done.states
    assert done.output["version"] == 1
    (variant,) = done.requests["CreateEndpointConfig"][0]["ProductionVariants"]
    assert ("ServerlessConfig" in variant) == (mode == "serverless")
    assert ("InstanceType" in variant) == (mode != "serverless")
    assert ("AsyncInferenceConfig" in done.requests["CreateEndpointConfig"][0]) == (mode == "asynchronous")
    for state, function in {"SmokeTest": "smoke_test", "PromoteModel": "promote_model"}.items():
        assert done.requests[state][0]["Payload"] == event(function)


def test_a_model_lies_in_the_vpc_that_is_named_and_says_nothing_of_one_otherwise():
    (request,) = deploy({"EndpointMode": "real-time", **VPC}).requests["CreateModel"]
    assert request["VpcConfig"] == VPC_CONFIG
    assert request["EnableNetworkIsolation"]
    (request,) = deploy({"EndpointMode": "real-time"}).requests["CreateModel"]
    assert "VpcConfig" not in request


def replacing(**changes: Any) -> Walk:
    results = {
        "PlanDeployment": invoked(PREVIOUS),
        "FindEndpoint": serving("model-v1-1"),
        "DescribeEndpoint": serving("model-v2-2"),
    }
    return deploy(**{**results, **changes})


def test_a_later_deployment_updates_the_endpoint():
    done = replacing()
    assert (done.status, done.states[-1]) == ("SUCCEEDED", "Deployed")
    assert "UpdateEndpoint" in done.states
    assert "SettleDeployment" not in done.states
    assert [each["Message"] for each in done.requests["Notify"]] == [
        PREVIOUS["announcements"]["promoted"]["message"]
    ]


def test_what_is_live_already_is_left_alone():
    done = deploy(PlanDeployment=invoked({**PLAN, "already_live": True}))
    assert done.states == ["PlanDeployment", "IsLiveAlready", "SettleDeployment", "HowItEnded", "Deployed"]
    assert (done.status, kinds_told(done)) == ("SUCCEEDED", [])


def test_finds_what_an_unanswered_call_had_made():
    exists = Failure("SageMaker.AmazonSageMakerException", "Cannot create already existing model")
    known = Failure("SageMaker.SageMakerException", "Cannot create already existing endpoint configuration")
    done = deploy(
        CreateModel=exists, CreateEndpointConfig=known, FindEndpoint=serving("model-v1-1", "Creating")
    )
    assert done.states[-1] == "Deployed"
    assert {"FindModel", "FindEndpointConfig"} <= set(done.states)
    assert "CreateEndpoint" not in done.states


def test_waits_for_another_change_and_replaces_a_failed_endpoint():
    busy = serving("model-v1-1", "Updating")
    done = replacing(FindEndpoint=[busy, busy, serving("model-v1-1", "Failed", FailureReason="x"), NOT_FOUND])
    assert done.states[-1] == "Deployed"
    assert {"DeleteEndpoint", "CreateEndpoint"} <= set(done.states)
    stuck = late(done, "FindEndpoint", {"FindEndpoint": busy})
    assert (stuck.status, stuck.error) == ("FAILED", "DeploymentFailed")


BROKEN = Failure("SmokeTestFailed", '{"errorMessage":"row 1"}')
INSTANCES = {"ProductionVariants": [{"VariantName": "live", "CurrentInstanceCount": 1}]}
SERVERLESS = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
FUNCTIONS = {
    "ProductionVariants": [
        {"VariantName": "live", "CurrentInstanceCount": 0, "CurrentServerlessConfig": SERVERLESS}
    ]
}


def config_of(serverless: bool) -> dict[str, Any]:
    kind = {"ServerlessConfig": SERVERLESS} if serverless else {"InstanceType": "ml.t2.medium"}
    return {"EndpointConfigName": "model-v1-1", "ProductionVariants": [{"VariantName": "live", **kind}]}


def test_a_real_time_endpoint_becomes_serverless_behind_an_announced_gap():
    running = serving("model-v1-1", **INSTANCES)
    done = replacing(FindEndpoint=[running, serving("model-v1-1", "Deleting"), NOT_FOUND])
    assert (done.status, done.states[-1]) == ("SUCCEEDED", "Deployed")
    assert "UpdateEndpoint" not in done.states
    gap = [state for state in done.states if state in ("AnnounceGap", "DeleteEndpoint", "CreateEndpoint")]
    assert gap == ["AnnounceGap", "DeleteEndpoint", "CreateEndpoint"]
    assert "503" in done.requests["AnnounceGap"][0]["Message"]
    unannounced = replacing(FindEndpoint=[running, NOT_FOUND], AnnounceGap=Failure("AccessDenied", None))
    assert unannounced.states[-1] == "Deployed"


@pytest.mark.parametrize(
    ("mode", "running"), [("serverless", FUNCTIONS), ("real-time", INSTANCES), ("real-time", FUNCTIONS)]
)
def test_no_gap_where_sagemaker_can_update(mode, running):
    changes = {"FindEndpoint": serving("model-v1-1", **running), "DescribeEndpoint": serving("model-v2-2")}
    done = deploy({"EndpointMode": mode}, PlanDeployment=invoked(PREVIOUS), **changes)
    assert "UpdateEndpoint" in done.states
    assert "DeleteEndpoint" not in done.states


def test_a_real_time_endpoint_that_cannot_be_deleted_keeps_serving():
    running = serving("model-v1-1", **INSTANCES)
    refused = Failure("SageMaker.SageMakerException", "Cannot update in-progress endpoint.")
    done = replacing(FindEndpoint=running, DeleteEndpoint=refused, DescribePreviousConfig=config_of(False))
    assert (done.status, done.error) == ("FAILED", refused.error)
    assert done.states.count("AnnounceGap") == 1
    assert "RestoreFailed" not in done.states
    assert "keeps serving" in done.requests["Notify"][0]["Message"]


@pytest.mark.parametrize("came", ["not at all", "failed", "wrong"])
def test_after_a_gap_what_was_live_is_made_anew(came):
    """The endpoint was deleted: no update leads back to what was live."""
    there = {
        "not at all": [NOT_FOUND],
        "failed": [serving("model-v2-2", "Failed"), serving("model-v2-2", "Deleting"), NOT_FOUND],
        "wrong": [serving("model-v2-2", **FUNCTIONS)],
    }[came]
    back = [serving("model-v1-1", "Creating"), serving("model-v1-1", **INSTANCES)]
    changes: dict[str, Any] = {
        "FindEndpoint": [serving("model-v1-1", **INSTANCES), NOT_FOUND],
        "DescribePreviousConfig": config_of(False),
        "DescribeForRestore": [*there, *back],
    }
    if came == "not at all":
        limit = Failure("SageMaker.ResourceLimitExceededException", "no serverless endpoint more")
        done = replacing(CreateEndpoint=limit, **changes)
    else:
        done = replacing(SmokeTest=BROKEN, **changes)
    assert done.status == "FAILED"
    assert "RestoreFailed" not in done.states
    assert ("DeleteForRestore" in done.states) == (came == "failed")
    assert ("RestoreEndpoint" in done.states) == (came == "wrong")
    if came != "wrong":
        (request,) = done.requests["CreatePreviousEndpoint"]
        assert request["EndpointConfigName"] == "model-v1-1"
    assert "serves again" in done.requests["Notify"][0]["Message"]


LATER = {"AsyncInferenceConfig": {"OutputConfig": {}}, **INSTANCES}


@pytest.mark.parametrize(
    ("mode", "running"),
    [
        ("serverless", LATER),
        ("real-time", LATER),
        ("asynchronous", INSTANCES),
        ("asynchronous", FUNCTIONS),
    ],
)
def test_to_and_from_an_asynchronous_endpoint_there_is_a_gap(mode, running):
    found = [serving("model-v1-1", **running), NOT_FOUND]
    done = deploy({"EndpointMode": mode}, PlanDeployment=invoked(PREVIOUS), FindEndpoint=found)
    assert {"AnnounceGap", "DeleteEndpoint", "CreateEndpoint"} <= set(done.states)


def test_an_asynchronous_endpoint_answers_into_the_bucket_under_the_stacks_key():
    key = {"EncryptionKeyArn": "arn:aws:kms:us-east-1:123456789012:key/k"}
    done = deploy({"EndpointMode": "asynchronous", **key})
    (request,) = done.requests["CreateEndpointConfig"]
    assert request["AsyncInferenceConfig"]["OutputConfig"] == {
        "S3OutputPath": "s3://dropforge-data-123456789012/asynchronous/out",
        "S3FailurePath": "s3://dropforge-data-123456789012/asynchronous/failed",
        "KmsKeyId": key["EncryptionKeyArn"],
    }


@pytest.mark.parametrize(("mode", "count"), [("real-time", 3), ("asynchronous", 1)])
def test_a_real_time_endpoint_keeps_the_instances_that_it_has(mode, count):
    running = {"real-time": INSTANCES, "asynchronous": LATER}[mode]
    done = deploy(
        {"EndpointMode": mode},
        PlanDeployment=invoked({**PREVIOUS, "instances": 3}),
        FindEndpoint=serving("model-v1-1", **running),
        DescribeEndpoint=serving("model-v2-2"),
    )
    (variant,) = done.requests["CreateEndpointConfig"][0]["ProductionVariants"]
    assert variant["InitialInstanceCount"] == count
    assert "UpdateEndpoint" in done.states


def test_going_back_from_real_time_to_serverless_is_a_gap_as_well():
    wrong = serving("model-v2-2", **INSTANCES)
    back = [serving("model-v2-2", "Deleting"), NOT_FOUND, serving("model-v1-1", **FUNCTIONS)]
    done = deploy(
        {"EndpointMode": "real-time"},
        PlanDeployment=invoked(PREVIOUS),
        FindEndpoint=serving("model-v1-1", **FUNCTIONS),
        DescribeEndpoint=serving("model-v2-2"),
        SmokeTest=BROKEN,
        DescribePreviousConfig=config_of(True),
        DescribeForRestore=[wrong, *back],
    )
    assert {"UpdateEndpoint", "DeleteForRestore", "CreatePreviousEndpoint"} <= set(done.states)
    assert not {"RestoreEndpoint", "RestoreFailed"} & set(done.states)


def test_what_was_live_is_made_anew_once():
    failed = serving("model-v1-1", "Failed")
    done = replacing(SmokeTest=BROKEN, DescribeForRestore=[failed, NOT_FOUND, failed])
    assert done.states.count("CreatePreviousEndpoint") == 1
    assert "RestoreFailed" in done.states
    assert "could not be brought back" in done.requests["Notify"][0]["Message"]
    throttled = Failure("SageMaker.SageMakerException", "Rate exceeded")
    done = replacing(SmokeTest=BROKEN, DescribeForRestore=[throttled, serving("model-v1-1")])
    assert "RestoreFailed" not in done.states
    for state in ("DeleteForRestore", "CreatePreviousEndpoint"):
        for error in ("AccessDenied", "SageMaker.SageMakerException", "SageMaker.AmazonSageMakerException"):
            done = replacing(
                SmokeTest=BROKEN, DescribeForRestore=[failed, NOT_FOUND], **{state: Failure(error, None)}
            )
            assert (done.error, "RestoreFailed" in done.states) == ("SmokeTestFailed", True), (state, error)


def late(done: Walk, state: str, results: dict[str, Any]) -> Walk:
    """Go on from the last time that the state was entered, when almost all polls are used up."""
    held = {**done.inputs[state], "poll": {"count": 59}}
    return go("deployment", {**DEPLOYING, **results}, held, state)


def test_asks_again_when_sagemaker_refuses_for_another_reason_than_a_missing_endpoint():
    throttled = Failure("SageMaker.SageMakerException", "Rate exceeded")
    assert deploy(FindEndpoint=[throttled, throttled, NOT_FOUND]).states[-1] == "Deployed"
    refused = deploy(FindEndpoint=throttled)
    assert "CreateEndpoint" not in refused.states
    assert refused.error == "SageMaker.SageMakerException"


def test_follows_a_change_that_an_unanswered_call_had_begun():
    refused = Failure("SageMaker.AmazonSageMakerException", "Cannot update in-progress endpoint.")
    begun = serving("model-v2-2", "Updating")
    done = replacing(UpdateEndpoint=refused, FindChange=begun)
    assert done.states[-1] == "Deployed"
    assert replacing(UpdateEndpoint=refused, FindChange=serving("model-v1-1")).error == refused.error
    done = deploy(CreateEndpoint=refused, FindChange=serving("model-v1-1", "Creating"))
    assert done.states[-1] == "Deployed"


def test_polls_until_the_endpoint_is_ready():
    waiting = serving("model-v1-1", "Updating")
    done = replacing(DescribeEndpoint=[waiting] * 5 + [serving("model-v2-2")])
    assert done.states[-1] == "Deployed"
    assert done.waits == sorted(done.waits)
    assert late(done, "DescribeEndpoint", {"DescribeEndpoint": waiting}).error == "DeploymentFailed"


def test_a_silent_rollback_by_sagemaker_is_a_failure():
    done = replacing(DescribeEndpoint=serving("model-v1-1", FailureReason="unhealthy"))
    assert (done.status, done.error) == ("FAILED", "DeploymentFailed")
    assert "unhealthy" in done.cause
    assert "SettleDeployment" in done.states


def test_a_failed_smoke_test_restores_what_was_live():
    wrong, back = serving("model-v2-2"), serving("model-v1-1")
    done = replacing(SmokeTest=BROKEN, DescribeForRestore=[wrong, serving("model-v1-1", "Updating"), back])
    assert (done.status, done.error) == ("FAILED", "SmokeTestFailed")
    assert done.requests["RestoreEndpoint"][0]["EndpointConfigName"] == "model-v1-1"
    (request,) = done.requests["SettleDeployment"]
    assert request["Payload"].keys() == event("settle_deployment").keys()
    assert request["Payload"]["plan"] == PREVIOUS
    assert kinds_told(done) == ["deployment-failed"]
    assert "RestoreFailed" not in done.states


def test_an_endpoint_that_cannot_be_restored_is_told():
    stuck = {"DescribeForRestore": serving("model-v2-2", "Updating")}
    assert "RestoreFailed" in late(replacing(SmokeTest=BROKEN), "DescribeForRestore", stuck).states
    for state in ("DescribeForRestore", "RestoreEndpoint"):
        changes = {"DescribeForRestore": serving("model-v2-2"), state: Failure("States.Timeout", None)}
        done = replacing(SmokeTest=BROKEN, **changes)
        assert "RestoreFailed" in done.states
        assert (done.status, done.error) == ("FAILED", "SmokeTestFailed")


def test_a_first_endpoint_that_fails_is_taken_away():
    done = deploy(SmokeTest=BROKEN)
    assert done.requests["DeleteUnverifiedEndpoint"] == [{"EndpointName": "model"}]
    assert done.status == "FAILED"


STEPS = (
    "PlanDeployment",
    "CreateModel",
    "CreateEndpointConfig",
    "FindEndpoint",
    "UpdateEndpoint",
    "DescribeEndpoint",
    "SmokeTest",
    "PromoteModel",
)


@pytest.mark.parametrize("cause", [None, "x"])
@pytest.mark.parametrize("state", STEPS)
def test_breakage_anywhere_ends_with_its_own_class(state, cause):
    done = replacing(**{state: Failure("AccessDenied", cause)})
    assert (done.status, done.error) == ("FAILED", "AccessDenied")
    assert done.cause == (cause or "")
    (request,) = done.requests["SettleDeployment"]
    assert (request["Payload"]["plan"] is None) == (state == "PlanDeployment")
    assert kinds_told(done) == ["deployment-failed"]


def test_breakage_of_a_clean_up_does_not_hide_the_outcome():
    refused = Failure("AccessDenied", None)
    assert replacing(RetireModels=refused, Notify=refused).states[-1] == "Deployed"
    already_live = invoked({**PLAN, "already_live": True})
    unsettled = deploy(PlanDeployment=already_live, SettleDeployment=refused)
    assert (unsettled.error, kinds_told(unsettled)) == ("AccessDenied", ["deployment-failed"])
    unsettled = deploy(SmokeTest=BROKEN, SettleDeployment=refused)
    assert (unsettled.error, kinds_told(unsettled)) == ("SmokeTestFailed", ["deployment-failed"])
    assert "SmokeTestFailed: " in unsettled.requests["Notify"][0]["Message"]
    for state in ("FindModel", "FindEndpointConfig"):
        exists = Failure("SageMaker.AmazonSageMakerException", "exists")
        done = replacing(CreateModel=exists, CreateEndpointConfig=exists, **{state: refused})
        assert done.error == "SageMaker.AmazonSageMakerException"
    for state in ("DeleteUnverifiedEndpoint", "SettleDeployment", "Notify", "CreateEndpoint"):
        broken = deploy(SmokeTest=BROKEN, **{state: refused})
        assert broken.status == "FAILED"
        assert state == "CreateEndpoint" or broken.error == "SmokeTestFailed"
    assert replacing(FindEndpoint=serving("x", "Failed"), DeleteEndpoint=refused).status == "FAILED"
    untold = {"DescribeForRestore": refused, "RestoreFailed": refused}
    assert replacing(SmokeTest=BROKEN, **untold).error == "SmokeTestFailed"


def test_attempts_of_a_run_have_names_of_their_own():
    names = [
        train(
            TrainModel=[Failure("SageMaker.ResourceLimitExceededException", "")] * failures + [BEGUN]
        ).requests["TrainModel"][-1]["TrainingJobName"]
        for failures in range(4)
    ]
    assert all(one != other for one, other in itertools.combinations(names, 2))


def test_the_ways_above_go_through_every_state():
    if not {name for name in globals() if name.startswith("test_")} <= RAN:
        pytest.skip("needs every test of this file in one process")
    for machine, visited in VISITED.items():
        assert set(definition(machine)["States"]) - visited == set(), machine
