from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta

import pytest
from tests.fakes.records import BATCH, DEPLOYMENT, ENDPOINT, TRAINING, a_drop, at, execution
from tests.fakes.world import LEASE_S, World

from dropforge.application.close_run import Ending
from dropforge.application.idle_endpoint import SLEEPER
from dropforge.domain.caught_errors import readable_error
from dropforge.domain.errors import ServiceUnavailable
from dropforge.domain.records import Approval, LockName, RunStatus
from dropforge.domain.services import EndpointState, RunningJob


def started(world, machine):
    return [each for each in world.workflows.started(machine) if each.payload]


# --- closing ------------------------------------------------------------------------------------


def test_records_why_a_run_failed_and_frees_the_lock():
    world = World()
    admission = world.admit(a_drop(1))
    cause = json.dumps({"errorMessage": "row 3: no rows", "errorType": "EmptyData", "stackTrace": []})
    closing = world.close(admission, RunStatus.FAILED, error={"Error": "EmptyData", "Cause": cause})
    assert closing["error"] == {"Error": "EmptyData", "Cause": "row 3: no rows"}
    assert closing["notification"] == {
        "kind": "run-failed",
        "subject": "A run of model failed: EmptyData",
        "message": f"Run {admission.run.run_id} failed with EmptyData: row 3: no rows\n\n"
        "incoming/file-1.csv waits again and is tried with the next run, or now with 'dropforge runs start'."
        "\n\nThe dropped files are unchanged, and the live model keeps serving.\n\n"
        f"Execution: {admission.run.execution_arn}",
    }
    assert world.ledger.get_run(admission.run.run_id).error == {
        "class": "EmptyData",
        "message": "row 3: no rows",
    }
    assert world.ledger.held_lease(LockName.TRAINING) is None
    assert started(world, TRAINING) == []


def test_records_a_verdict_without_an_error():
    world = World()
    admission = world.admit(a_drop(1))
    reasons = [{"code": "threshold", "message": "auc 0.4 is below 0.7"}]
    closing = world.close(
        admission, RunStatus.REJECTED_BY_GATE, metric={"name": "auc", "value": 0.4}, reasons=reasons
    )
    run = world.ledger.get_run(admission.run.run_id)
    assert (run.status, run.reasons, run.error) == (RunStatus.REJECTED_BY_GATE, reasons, None)
    assert closing["error"] is None
    assert closing["notification"]["kind"] == "rejected-by-gate"


def test_closing_again_keeps_the_first_end_and_tells_the_same():
    world = World()
    admission = world.admit(a_drop(1))
    closing = world.close(admission, RunStatus.STOPPED)
    assert world.close(admission, RunStatus.STOPPED) == closing
    failing = world.close(admission, RunStatus.FAILED, error={"Error": "X", "Cause": ""})
    assert world.ledger.get_run(admission.run.run_id).status is RunStatus.STOPPED
    assert failing["error"] == {"Error": "X", "Cause": ""}, "the execution fails with what it met"


def test_an_execution_that_broke_before_it_had_a_run_closes_nothing_and_is_told():
    world = World()
    world.admit(a_drop(1))
    before = world.snapshot()
    ending = Ending.from_event(
        {
            "execution_arn": execution("lost"),
            "run_id": None,
            "token": None,
            "status": "failed",
            "error": {
                "Error": "InvalidEvent",
                "Cause": '{"errorMessage":"no event","errorType":"InvalidEvent"}',
            },
            "judgement": None,
            "approval": None,
        }
    )
    closing = world.end_with(ending)
    assert closing["error"] == {"Error": "InvalidEvent", "Cause": "no event"}
    assert execution("lost") in closing["notification"]["message"]
    assert world.snapshot() == before


JUDGEMENT = {
    "accepted": False,
    "metric": {"name": "auc", "value": 0.4},
    "reasons": [{"code": "ThresholdMissed", "message": "auc 0.4 is below the threshold 0.7."}],
}
DECISION = {"decision": "rejected", "version": 4, "by": "ann", "reason": "not better"}


@pytest.mark.parametrize(
    ("status", "details"),
    [
        ("replayed", {"metric": JUDGEMENT["metric"]}),
        ("rejected_by_gate", {"metric": JUDGEMENT["metric"], "reasons": JUDGEMENT["reasons"]}),
        ("rejected", {"reasons": [{"code": "Rejected", "message": "not better"}]}),
        ("superseded", {"reasons": [{"code": "Superseded", "message": "not better"}]}),
        ("stopped", {"reasons": [{"code": "Stopped", "message": "the training job was stopped"}]}),
        ("failed", {}),
    ],
)
def test_a_record_says_of_each_end_what_it_said_under_a_state_of_its_own(status, details):
    """The machines of 5f27fc0 to d0191a7 sent the details, and wrote their messages of the answer."""
    error = {"Error": "EmptyData", "Cause": "no rows"} if status == "failed" else None
    common = {"run_id": "r", "token": 1, "status": status, "error": error}
    earlier = Ending.from_event({**common, "details": details})
    today = Ending.from_event({**common, "execution_arn": "x", "judgement": JUDGEMENT, "approval": DECISION})
    assert today.details == earlier.details == details

    world = World()
    admission = world.admit(a_drop(1))
    run = admission.run
    common |= {"run_id": run.run_id, "token": run.token}
    closing = world.end_with(Ending.from_event({**common, "details": details}))
    assert world.ledger.get_run(run.run_id).status == status
    # As the earlier machines' states read it.
    assert closing["error_class"] == ("EmptyData" if error else "")
    assert closing["message"] == ("no rows" if error else "")
    assert isinstance(closing["drops"], str)
    assert isinstance(closing["data"], str)


def test_a_decision_without_a_reason_is_recorded_in_words():
    said = {
        status: Ending.from_event(
            {
                "run_id": "r",
                "token": 1,
                "status": status,
                "error": None,
                "judgement": JUDGEMENT,
                "approval": {**DECISION, "reason": None},
            }
        ).details["reasons"][0]["message"]
        for status in ("rejected", "superseded")
    }
    assert said == {"rejected": "no reason given", "superseded": "a newer candidate was registered"}


def test_a_zombie_that_closes_does_not_free_its_successors_lock():
    world = World()
    zombie = world.admit(a_drop(1))
    successor = world.admit(a_drop(2), now=at(LEASE_S + 1))
    # This one waits for the successor, who will start its follow-up.
    world.admit(a_drop(3), now=at(LEASE_S + 1))
    world.close(zombie, RunStatus.FAILED, error={}, now=at(LEASE_S + 2))
    assert world.ledger.held_lease(LockName.TRAINING).holder == successor.run.execution_arn
    assert started(world, TRAINING) == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            {"Error": "EmptyData", "Cause": '{"errorMessage":"no rows","errorType":"EmptyData"}'},
            ("EmptyData", "no rows"),
        ),
        (
            {
                "Error": "Sandbox.Timedout",
                "Cause": '{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: 1 Task timed out"}',
            },
            ("Sandbox.Timedout", "RequestId: 1 Task timed out"),
        ),
        (
            {
                "Error": "States.TaskFailed",
                "Cause": json.dumps(
                    {
                        "TrainingJobName": "model-x-a0",
                        "TrainingJobStatus": "Failed",
                        "FailureReason": "AlgorithmError: UnusableEstimator: no fit, exit code: 1",
                        "SecondaryStatus": "Failed",
                    }
                ),
            },
            ("TrainingFailed", "AlgorithmError: UnusableEstimator: no fit, exit code: 1"),
        ),
        (
            {"Error": "TrainingFailed", "Cause": "AlgorithmError: , exit code: 137"},
            (
                "TrainingFailed",
                "The training job was killed (exit code 137) before it could give a reason. Most often it "
                "needed more memory than its instance has: name a larger type in TrainingInstanceTypes. "
                "'dropforge logs RUN' shows what it printed.",
            ),
        ),
        (
            {"Error": "TrainingFailed", "Cause": ""},
            (
                "TrainingFailed",
                "The training job failed and gave no reason. 'dropforge logs RUN' shows what it printed.",
            ),
        ),
        (
            {
                "Error": "States.TaskFailed",
                "Cause": '{"TrainingJobStatus":"Stopped","SecondaryStatus":"MaxRuntimeExceeded"}',
            },
            ("TrainingFailed", "The training job ended as MaxRuntimeExceeded."),
        ),
        (
            {
                "Error": "States.TaskFailed",
                "Cause": json.dumps(
                    {
                        "ExecutionArn": execution("d", DEPLOYMENT),
                        "Status": "FAILED",
                        "Error": "SmokeTestFailed",
                        "Cause": '{"errorMessage":"row 1 differs","errorType":"SmokeTestFailed"}',
                    }
                ),
            },
            ("SmokeTestFailed", "row 1 differs"),
        ),
        (
            {
                "Error": "States.TaskFailed",
                "Cause": json.dumps({"Status": "FAILED", "Error": "DeploymentFailed", "Cause": "on v1"}),
            },
            ("DeploymentFailed", "on v1"),
        ),
        (
            {"Error": "States.TaskFailed", "Cause": '{"Status":"ABORTED","Error":"Stopped"}'},
            ("Stopped", '{"Status":"ABORTED","Error":"Stopped"}'),
        ),
        (
            {"Error": "SageMaker.ResourceLimitExceededException", "Cause": "The account-level limit is 0"},
            ("SageMaker.ResourceLimitExceededException", "The account-level limit is 0"),
        ),
        ({"Error": "States.Timeout"}, ("States.Timeout", "")),
        ({"Error": "States.Timeout", "Cause": None}, ("States.Timeout", "")),
        ({"Error": "X", "Cause": "[1, 2]"}, ("X", "[1, 2]")),
        ({}, ("Unknown", "")),
    ],
)
def test_finds_the_class_and_the_message_in_what_step_functions_caught(error, expected):
    assert tuple(readable_error(error).values()) == expected


def test_bounds_the_message():
    assert len(readable_error({"Error": "X", "Cause": "y" * 30_000})["message"]) <= 5000


# --- reconciling --------------------------------------------------------------------------------


def test_leaves_what_is_well_alone():
    world = World()
    world.make_live(1)
    world.admit(a_drop(2), now=at(100))
    before = world.snapshot()
    repairs = asdict(world.reconcile())
    assert not any(repairs.values())
    assert world.snapshot() == before


def test_settles_the_run_of_a_dead_execution_and_passes_its_lock_on():
    world = World()
    dead = world.admit(a_drop(1))
    world.admit(a_drop(2), now=at(1))
    world.end(dead.run.execution_arn)
    repairs = world.reconcile()
    run = world.ledger.get_run(dead.run.run_id)
    assert run.status is RunStatus.FAILED
    assert run.error["class"] == "ExecutionEnded"
    assert (repairs.runs_failed, repairs.locks_freed) == ([dead.run.run_id], ["training"])
    (follow_up,) = started(world, TRAINING)
    assert world.admit(follow_up.payload, execution(follow_up.name), now=at(80)).outcome == "admitted"


@pytest.mark.parametrize(("kind", "machine"), [("training", TRAINING), ("transform", BATCH)])
def test_stops_the_job_of_an_execution_that_is_over_and_no_other(kind, machine):
    world = World()
    another = "arn:aws:states:us-east-1:123456789012:stateMachine:model-2-training"
    over, going, foreign = (world.running(*each) for each in (("a", machine), ("b", machine), ("c", another)))
    for name, arn in (("model-r1-a0", over), ("model-r2-a0", going), ("model-2-r1-a0", foreign)):
        world.jobs.begin(RunningJob(kind, name, at(0), arn))
    world.end(over)
    world.end(foreign)
    assert world.reconcile().jobs_stopped == ["model-r1-a0"]
    assert world.jobs.running.keys() == {"model-r2-a0", "model-2-r1-a0"}
    assert world.reconcile().jobs_stopped == []


def test_a_job_of_an_execution_that_step_functions_does_not_know_yet_goes_on_for_an_hour():
    world = World()
    world.jobs.begin(RunningJob("training", "model-r1-a0", at(0), execution("new")))
    assert world.reconcile(now=at(60)).jobs_stopped == []
    assert world.reconcile(now=at(3601)).jobs_stopped == ["model-r1-a0"]


def test_frees_the_lock_of_an_execution_that_died_before_it_opened_a_run():
    world = World()
    world.ledger.record_drop(a_drop(1), received_by="dead", now=at(0))
    dead = world.running("dead", TRAINING)
    world.ledger.acquire(LockName.TRAINING, holder=dead, subject="r", now=at(0), lease_s=LEASE_S)
    world.end(dead)
    assert world.reconcile().locks_freed == ["training"]
    assert len(started(world, TRAINING)) == 1


def test_an_execution_that_step_functions_does_not_know_yet_keeps_its_lock_for_an_hour():
    world = World()
    world.ledger.acquire(LockName.TRAINING, holder="new", subject="r", now=at(0), lease_s=LEASE_S)
    assert world.reconcile(now=at(60)).locks_freed == []
    assert world.reconcile(now=at(3601)).locks_freed == ["training"]


def test_an_approval_while_the_run_ends_as_rejected_is_not_lost():
    world = World()
    admission, _ = world.candidate(1)
    world.ledger.decide(1, Approval.REJECTED, by="ann", reason=None, now=at(30))
    world.ledger.decide(1, Approval.APPROVED, by="bob", reason=None, now=at(31))
    world.close(admission, RunStatus.REJECTED)
    world.close(admission, RunStatus.REJECTED)
    (deployment,) = started(world, DEPLOYMENT)
    assert (deployment.payload["reason"], deployment.payload["version"]) == ("late-approval", 1)


def test_starts_what_waits_although_nobody_holds_the_lock():
    world = World()
    world.ledger.record_drop(a_drop(1), received_by="dead", now=at(0))
    assert len(world.reconcile().started) == 1


def test_does_not_start_again_at_once_what_failed_at_once():
    world = World()
    world.ledger.record_drop(a_drop(1), received_by="dead", now=at(0))
    for seconds in range(0, 600, 60):
        for arn in world.reconcile(at(seconds)).started:
            # The follow-up takes the lock and dies before it can open its run.
            world.ledger.acquire(LockName.TRAINING, holder=arn, subject="r", now=at(seconds), lease_s=60)
            world.end(arn)
    assert len(started(world, TRAINING)) == 1
    world.reconcile(at(900))
    assert len(started(world, TRAINING)) == 2


def test_a_run_that_died_while_it_waited_expires_and_its_version_stays_pending():
    world = World()
    admission, version = world.candidate(1)
    world.end(admission.run.execution_arn)
    assert world.reconcile().runs_expired == [admission.run.run_id]
    assert world.approve(version, now=at(99))["action"] == "deployment"


def test_a_run_that_died_after_its_approval_has_failed():
    world = World()
    admission, version = world.candidate(1)
    world.approve(version)
    world.end(admission.run.execution_arn)
    assert world.reconcile().runs_failed == [admission.run.run_id]
    assert world.ledger.get_run(admission.run.run_id).status is RunStatus.FAILED


def test_frees_the_endpoint_of_a_dead_deployment():
    world = World()
    world.make_live(1)
    world.plan(1, "repair", deployment="dead", now=at(50))
    world.end(execution("dead", DEPLOYMENT))
    assert world.reconcile().locks_freed == ["deployment"]
    assert world.ledger.held_lease(LockName.DEPLOYMENT) is None


@pytest.mark.parametrize(
    "state",
    [None, EndpointState("InService", "model-v9-9"), EndpointState("Failed", "model-v1-1")],
    ids=["gone", "another", "failed"],
)
def test_repairs_an_endpoint_that_does_not_serve_what_is_live(state):
    world = World()
    world.make_live(1)
    if state is None:
        world.endpoints.endpoints.clear()
    else:
        world.endpoints.endpoints[ENDPOINT] = state
    for seconds in (70, 80, 90):
        world.reconcile(at(seconds))
    (repair,) = started(world, DEPLOYMENT)
    assert repair.payload == {
        "reason": "repair",
        "version": 1,
        "run_id": None,
        "requested_by": "dropforge",
    }
    plan = world.plan(1, "repair", deployment=repair.name, now=at(95))
    world.endpoints.deploy(ENDPOINT, plan.endpoint_config, at(96))
    world.promote(plan, now=at(97))
    world.end(execution(repair.name, DEPLOYMENT))
    assert world.reconcile(at(2000)).started == []


@pytest.mark.parametrize("status", ["Updating", "Creating", "RollingBack"])
def test_leaves_an_endpoint_that_is_being_changed_alone(status):
    world = World()
    world.make_live(1)
    world.endpoints.endpoints[ENDPOINT] = EndpointState(status, "model-v9-9")
    assert world.reconcile().started == []


def test_leaves_the_endpoint_of_a_running_deployment_alone():
    world = World()
    world.make_live(1)
    world.plan(1, "repair", deployment="running", now=at(50))
    world.endpoints.deploy(ENDPOINT, "model-v9-9", at(51))
    assert asdict(world.reconcile())["started"] == []
    assert world.ledger.held_lease(LockName.DEPLOYMENT) is not None


S3_EVENT = {
    "source": "aws.s3",
    "detail": {
        "bucket": {"name": "data"},
        "object": {
            "key": "incoming/a.csv",
            "version-id": "v1",
            "etag": "e",
            "sequencer": "01",
            "size": 9,
        },
    },
}


def test_recovers_the_drop_of_an_execution_that_failed_before_it_recorded_it():
    world = World()
    dead = execution("x1")
    status_change = {
        "detail": {"stateMachineArn": TRAINING, "executionArn": dead, "input": json.dumps(S3_EVENT)}
    }

    repairs = world.reconcile(event=status_change)

    assert repairs.drops_recovered == ["incoming/a.csv"]
    assert [each.payload for each in started(world, TRAINING)] == [{"trigger": "follow-up"}]
    assert world.reconcile(event=status_change).drops_recovered == []


def test_recovers_the_drop_of_an_execution_whose_event_left_its_input_out():
    world = World()
    dead = world.workflows.start(TRAINING, name="x1", payload=S3_EVENT)
    world.workflows.executions[dead].is_running = False
    detail = {"stateMachineArn": TRAINING, "executionArn": dead, "input": None}

    assert world.reconcile(event={"detail": detail}).drops_recovered == ["incoming/a.csv"]


def test_an_event_waits_until_its_execution_can_be_read():
    world = World()
    detail = {"stateMachineArn": TRAINING, "executionArn": execution("x1"), "input": None}
    with pytest.raises(ServiceUnavailable, match=execution("x1")):
        world.reconcile(event={"detail": detail})


@pytest.mark.parametrize("given", ["no JSON", "{}", '{"trigger": "schedule"}'])
def test_an_execution_without_a_drop_leaves_nothing_to_recover(given):
    world = World()
    detail = {"stateMachineArn": TRAINING, "executionArn": execution("x1"), "input": given}

    assert world.reconcile(event={"detail": detail}).drops_recovered == []


# --- an endpoint that nobody asks ---------------------------------------------------------------

IDLE = timedelta(hours=2)
LONG_AFTER = 3 * 3600


def test_an_endpoint_that_nobody_asked_for_long_enough_is_put_to_sleep_and_not_repaired():
    world = World()
    live = world.make_live(1)
    assert world.reconcile(at(LONG_AFTER), idle=IDLE).put_to_sleep == [ENDPOINT]
    assert world.endpoints.endpoints == {}
    assert world.endpoints.configs  # what it is brought back with
    assert world.ledger.live() == live
    assert world.ledger.held_lease(LockName.DEPLOYMENT) is None

    again = world.reconcile(at(LONG_AFTER + 900), idle=IDLE)
    assert (again.started, again.put_to_sleep) == ([], [])


@pytest.mark.parametrize(
    ("requests", "seconds", "idle"),
    [
        ([LONG_AFTER - 60], LONG_AFTER, IDLE),
        ([], 3600, IDLE),
        ([], LONG_AFTER, None),
    ],
    ids=["somebody asked", "just promoted", "never sleeps"],
)
def test_an_endpoint_that_is_needed_stays(requests, seconds, idle):
    world = World()
    world.make_live(1)
    world.endpoints.requests = [at(each) for each in requests]
    assert world.reconcile(at(seconds), idle=idle).put_to_sleep == []
    assert ENDPOINT in world.endpoints.endpoints


def test_a_deployment_keeps_its_endpoint_awake():
    world = World()
    world.make_live(1)
    world.plan(1, "repair", deployment="running", now=at(LONG_AFTER))
    assert world.reconcile(at(LONG_AFTER + 1), idle=IDLE).put_to_sleep == []


def test_the_next_deployment_wakes_the_endpoint():
    world = World()
    world.make_live(1)
    world.reconcile(at(LONG_AFTER), idle=IDLE)
    plan = world.plan(1, "repair", deployment="wake", now=at(LONG_AFTER + 60))
    world.endpoints.deploy(ENDPOINT, plan.endpoint_config, at(LONG_AFTER + 61))
    world.promote(plan, now=at(LONG_AFTER + 62))
    world.end(execution("wake", DEPLOYMENT))
    assert world.reconcile(at(LONG_AFTER + 120), idle=IDLE).put_to_sleep == []
    # One that is lost now is repaired again.
    world.endpoints.endpoints.clear()
    assert len(world.reconcile(at(LONG_AFTER + 180), idle=IDLE).started) == 1


def test_an_endpoint_that_slept_comes_back_when_none_is_to_sleep_any_more():
    world = World()
    world.make_live(1)
    world.reconcile(at(LONG_AFTER), idle=IDLE)
    assert len(world.reconcile(at(LONG_AFTER + 60), idle=None).started) == 1


def test_a_deletion_that_was_cut_off_is_done_by_the_next_reconciliation():
    world = World()
    live = world.make_live(1)
    world.ledger.fall_asleep(live.token, now=at(LONG_AFTER))
    lease = world.ledger.acquire(
        LockName.DEPLOYMENT, holder=SLEEPER, subject="x", now=at(LONG_AFTER), lease_s=300
    )
    assert world.reconcile(at(LONG_AFTER + 10), idle=IDLE).put_to_sleep == []
    assert world.reconcile(at(LONG_AFTER + 900), idle=IDLE).put_to_sleep == [ENDPOINT]
    assert world.ledger.release(LockName.DEPLOYMENT, token=lease.token) is False


# --- an endpoint with instances -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "most", "known", "wanted"),
    [
        ("asynchronous", 1, None, (0, 1)),
        ("asynchronous", 3, (0, 2), (0, 3)),
        ("real-time", 3, None, (1, 3)),
        ("real-time", 1, (1, 3), (1, 1)),
    ],
)
def test_an_endpoint_with_instances_is_scaled_as_the_parameters_say(mode, most, known, wanted):
    world = World(most_instances=most)
    live = world.make_live(1)
    world.endpoints.endpoints[ENDPOINT] = EndpointState("InService", live.endpoint_config, mode, 1)
    if known is not None:
        world.scaling.scale(ENDPOINT, *known)
    assert world.reconcile().scaled == [ENDPOINT]
    assert world.scaling.bounds(ENDPOINT) == wanted
    assert world.reconcile().scaled == []


@pytest.mark.parametrize(
    ("mode", "status", "most"),
    [
        ("serverless", "InService", 3),
        (None, "Creating", 3),
        ("real-time", "InService", 1),
        ("real-time", "Updating", 3),
    ],
)
def test_nothing_else_is_scaled(mode, status, most):
    world = World(most_instances=most)
    live = world.make_live(1)
    world.endpoints.endpoints[ENDPOINT] = EndpointState(status, live.endpoint_config, mode, 1)
    assert world.reconcile().scaled == []
    assert world.scaling.bounds(ENDPOINT) is None


def test_an_endpoint_that_a_deployment_moves_is_not_scaled():
    world = World(most_instances=3)
    live = world.make_live(1)
    world.endpoints.endpoints[ENDPOINT] = EndpointState("InService", live.endpoint_config, "real-time", 1)
    world.plan(1, "repair")
    assert world.reconcile().scaled == []
