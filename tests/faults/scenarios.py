"""The ways through both state machines that between them reach every Task state."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from tests.faults.bed import PATIENCE_S, Bed
from tests.workflow.stack import wait_for

_DENIED = ("AccessDenied", '{"errorType": "AccessDenied", "errorMessage": "not authorized"}')


@dataclass(frozen=True)
class Outcome:
    """How an execution, its run and its notifications end.

    ``error`` is the class that the execution fails with, ``run`` the run's status (None: there is no run),
    ``run_error`` the class in its record, ``told`` a kind of notification that has to have been published.
    """

    error: str | None = None
    run: str | None = None
    run_error: str | None = None
    told: str | None = None
    moves_live: bool = False


@dataclass(frozen=True)
class Rule:
    """A fault that leads the way to the states of a scenario."""

    state: str
    kind: str
    error: str = ""
    cause: str = ""
    times: int = 1


@dataclass(frozen=True)
class Scenario:
    """A way through a state machine, the Task states that are tried on it, and how it ends undisturbed."""

    name: str
    machine: str
    states: Sequence[str]
    act: Callable[[Bed], str]
    outcome: Outcome
    rules: Sequence[Rule] = ()


@dataclass(frozen=True)
class Group:
    """Scenarios that share a stack."""

    name: str
    scenarios: Sequence[Scenario]
    prepare: Callable[[Bed], None] = lambda bed: bed.go_live()
    parameters: dict[str, str] = field(default_factory=dict)


# --- the main job ------------------------------------------------------------------------------------


def _update(bed: Bed) -> str:
    return bed.train_and_approve()


def _rejected(bed: Bed) -> str:
    execution = bed.drop()
    run = bed.wait_for_run(execution, "awaiting_approval")
    if run is not None and run.version is not None and not run.status.is_final:
        bed.stack.reject(run.version)
    bed.ended(execution)
    return execution


def _superseded(bed: Bed) -> str:
    # Another candidate that waits would be superseded first, and meet the fault in this one's place.
    for run in bed.stack.runs():
        if run.status == "awaiting_approval" and run.version is not None:
            bed.stack.reject(run.version)
            bed.ended(run.execution_arn)
    older = bed.drop()
    bed.wait_for_run(older, "awaiting_approval")
    newer = bed.drop()
    bed.ended(older)
    run = bed.wait_for_run(newer, "awaiting_approval")
    if run is not None and run.version is not None and not run.status.is_final:
        bed.stack.reject(run.version)
    bed.ended(newer)
    return older


def _reminded(bed: Bed) -> str:
    execution = bed.drop()
    run = bed.wait_for_run(execution, "awaiting_approval")

    def asked_again() -> bool:
        states = bed.stack.states(execution)
        over = bed.stack.execution(execution)["status"] != "RUNNING"
        return over or states.count("AwaitApproval") > 1

    wait_for("reminder", asked_again, PATIENCE_S)
    if run is not None and run.version is not None:
        bed.stack.reject(run.version)
    bed.ended(execution)
    return execution


def _dropped(bed: Bed) -> str:
    execution = bed.drop()
    bed.ended(execution)
    return execution


def _bad_data(bed: Bed) -> str:
    header = bed.data.read_bytes().splitlines()[0]
    execution = bed.drop(header + b"\n")
    bed.ended(execution)
    return execution


def _stopped(bed: Bed) -> str:
    execution = bed.drop()

    def stop() -> bool:
        run = bed.run_of(execution)
        if run is None:
            return bed.stack.execution(execution)["status"] != "RUNNING"
        try:
            bed.stack.sagemaker.stop_training_job(TrainingJobName=f"{bed.name}-{run.run_id}-a0")
        except ClientError:
            return bed.stack.execution(execution)["status"] != "RUNNING"
        return True

    wait_for("training job to stop", stop, PATIENCE_S)
    bed.ended(execution)
    return execution


def _replayed(bed: Bed) -> str:
    first = next(run for run in reversed(bed.stack.runs()) if run.status == "succeeded")
    execution = bed.started_by("training", lambda: bed.stack.start(trigger="replay", run_id=first.run_id))
    bed.ended(execution)
    return execution


_SUCCEEDED = Outcome(run="succeeded", told="promoted", moves_live=True)
_REJECTED = Outcome(run="rejected", told="rejected")


# --- deployments -------------------------------------------------------------------------------------


def _other_version(bed: Bed) -> int:
    live = bed.stack.ledger.live()
    return 1 if live is not None and live.version == 2 else 2


def _deployed(version: int | None, reason: str, bed: Bed) -> str:
    execution = bed.start_deployment(version, reason)
    bed.ended(execution)
    return execution


def _redeployed(bed: Bed) -> str:
    return _deployed(_other_version(bed), "late-approval", bed)


def _unneeded(bed: Bed) -> str:
    live = bed.stack.ledger.live()
    return _deployed(live.version if live else None, "late-approval", bed)


def _delete_endpoint(bed: Bed) -> None:
    bed.stack.sagemaker.delete_endpoint(EndpointName=bed.name)

    def gone() -> bool:
        try:
            bed.stack.sagemaker.describe_endpoint(EndpointName=bed.name)
        except ClientError:
            return True
        return False

    wait_for("end of the endpoint", gone, PATIENCE_S)


def _recreated(bed: Bed) -> str:
    """The endpoint is gone, as if somebody had deleted it in the console."""
    with bed.caller.paused():
        _delete_endpoint(bed)
        execution = _deployed(_other_version(bed), "late-approval", bed)
        wait_for("answer", bed.predicts, PATIENCE_S)
    return execution


def _over_a_failed_one(bed: Bed) -> str:
    """The endpoint has failed: there was no capacity when it was made anew in the console."""
    with bed.caller.paused():
        live = bed.stack.ledger.live()
        _delete_endpoint(bed)
        sagemaker_fault(bed, "CreateEndpoint", "CapacityError")
        bed.stack.sagemaker.create_endpoint(
            EndpointName=bed.name, EndpointConfigName=live.endpoint_config if live else ""
        )
        wait_for("failed endpoint", lambda: _status(bed) == "Failed", PATIENCE_S)
        execution = _deployed(_other_version(bed), "late-approval", bed)
        wait_for("answer", bed.predicts, PATIENCE_S)
    return execution


def _over_a_real_time_one(bed: Bed) -> str:
    """The endpoint is a real-time one, as it was before EndpointMode was changed."""
    sagemaker, config = bed.stack.sagemaker, f"{bed.name}-v0-real-time"
    with bed.caller.paused():
        live = bed.stack.ledger.live()
        _delete_endpoint(bed)
        variant = {
            "VariantName": "live",
            "ModelName": live.model_name if live else "",
            "InstanceType": "ml.t2.medium",
            "InitialInstanceCount": 1,
        }
        sagemaker.create_endpoint_config(EndpointConfigName=config, ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName=bed.name, EndpointConfigName=config)
        wait_for("real-time endpoint", lambda: _status(bed) == "InService", PATIENCE_S)
        execution = _deployed(_other_version(bed), "late-approval", bed)
        wait_for("answer", bed.predicts, PATIENCE_S)
    return execution


def _replaced_by_one_that_fails(bed: Bed) -> str:
    """The endpoint is gone, and there is no capacity for the one that is to take its place."""
    with bed.caller.paused():
        _delete_endpoint(bed)
        sagemaker_fault(bed, "CreateEndpoint", "CapacityError")
        execution = _deployed(2, "late-approval", bed)
        wait_for("answer", bed.predicts, PATIENCE_S)
    return execution


def _status(bed: Bed) -> str:
    status: str = bed.stack.sagemaker.describe_endpoint(EndpointName=bed.name)["EndpointStatus"]
    return status


def sagemaker_fault(bed: Bed, operation: str, error: str, times: int = 1) -> None:
    """Have the SageMaker service itself answer an operation with an error."""
    request = {"Operation": operation, "Error": error, "Times": times}
    bed.host.administer("SageMaker.dropforge:SetFault", request)


def _damage_smoke_rows(bed: Bed, version: int) -> None:
    """Have the endpoint's answers differ from what was recorded in training."""
    model = bed.stack.ledger.get_model(version)
    if model is None:
        raise AssertionError(f"there is no version {version}")
    rows = bed.stack.read_json(model.smoke_uri)
    for each in rows["predictions"]:
        each["label"] = "no such cultivar"
    bed.stack.s3.put_object(
        Bucket=bed.stack.bucket, Key=model.smoke_uri.split("/", 3)[3], Body=json.dumps(rows).encode()
    )


def _two_versions(bed: Bed) -> None:
    bed.go_live(versions=2)


def _one_good_one_bad(bed: Bed) -> None:
    """Version 1 is live; version 2 is approved, but never passes the smoke test."""
    bed.go_live()
    execution = bed.drop()
    run = bed.wait_for_run(execution, "awaiting_approval")
    if run is None or run.version != 2:
        raise AssertionError(f"no second version: {run}")
    _damage_smoke_rows(bed, 2)
    bed.stack.approve(2)
    bed.ended(execution)


def _nothing_live_one_bad(bed: Bed) -> None:
    """Version 1 is approved, but never passes the smoke test; there has never been an endpoint."""
    execution = bed.drop()
    run = bed.wait_for_run(execution, "awaiting_approval")
    if run is None or run.version != 1:
        raise AssertionError(f"no version: {run}")
    _damage_smoke_rows(bed, 1)
    bed.stack.approve(1)
    bed.ended(execution)


def _gate_says_no(bed: Bed) -> None:
    bed.go_live()
    bed.update(MinimumHoldoutRows="1000")


def _reminders_come_soon(bed: Bed) -> None:
    bed.go_live()
    bed.update(ApprovalReminderHours="0.01")


def _nobody_decides(bed: Bed) -> None:
    bed.go_live()
    # The host's short waits can end before a cold RequestApproval has noted a date: then a reminder is due.
    bed.update(ApprovalTimeoutDays="0.00001", ApprovalReminderHours="0.001")


_REDEPLOYED = Outcome(told="promoted", moves_live=True)
_SMOKE_FAILED = Outcome(error="SmokeTestFailed", told="deployment-failed")

GROUPS: Sequence[Group] = (
    Group(
        "updates",
        [
            Scenario(
                "an update of the endpoint",
                "training",
                (
                    "AdmitRun",
                    "PrepareData",
                    "TrainModel",
                    "DescribeTrainingJob",
                    "JudgeModel",
                    "RegisterModel",
                    "AskReviewers",
                    "AwaitApproval",
                    "DeployModel",
                ),
                _update,
                _SUCCEEDED,
            )
        ],
    ),
    Group(
        "chunks",
        [
            Scenario(
                "a drop that is prepared in chunks",
                "training",
                ("MergeChunks",),
                _update,
                _SUCCEEDED,
            )
        ],
        parameters={"ScaleOutMegabytes": "0", "ScaleOutChunkMegabytes": "0.005"},
    ),
    Group(
        "jobs",
        [
            Scenario(
                "a job that nobody waits for any more",
                "training",
                ("StopTrainingJob",),
                _dropped,
                Outcome(error="AccessDenied", run="failed", run_error="AccessDenied", told="run-failed"),
                [Rule("DescribeTrainingJob", "before", *_DENIED)],
            ),
            Scenario(
                "a stopped job",
                "training",
                ("CloseRun",),
                _stopped,
                Outcome(run="stopped", told="stopped"),
            ),
        ],
    ),
    Group(
        "verdicts",
        [
            Scenario(
                "a gate that says no",
                "training",
                ("CloseRun", "Notify"),
                _dropped,
                Outcome(run="rejected_by_gate", told="rejected-by-gate"),
            )
        ],
        _gate_says_no,
    ),
    Group(
        "decisions",
        [
            Scenario("a rejection", "training", ("CloseRun",), _rejected, _REJECTED),
            Scenario("a newer candidate", "training", ("CloseRun",), _superseded, Outcome(run="superseded")),
            Scenario("a replay", "training", ("CloseRun",), _replayed, Outcome(run="replayed")),
            Scenario(
                "bad data",
                "training",
                ("CloseRun", "Notify"),
                _bad_data,
                Outcome(error="EmptyData", run="failed", run_error="EmptyData", told="run-failed"),
            ),
        ],
    ),
    Group(
        "reminders",
        [
            Scenario(
                "a reviewer who takes time",
                "training",
                ("CheckApproval",),
                _reminded,
                _REJECTED,
            )
        ],
        _reminders_come_soon,
    ),
    Group(
        "overdue",
        [
            Scenario(
                "nobody who decides",
                "training",
                ("Notify",),
                _dropped,
                Outcome(run="expired", told="approval-overdue"),
            )
        ],
        _nobody_decides,
    ),
    Group(
        "deployments",
        [
            Scenario(
                "a deployment",
                "deployment",
                (
                    "PlanDeployment",
                    "CreateModel",
                    "CreateEndpointConfig",
                    "FindEndpoint",
                    "UpdateEndpoint",
                    "DescribeEndpoint",
                    "SmokeTest",
                    "PromoteModel",
                    "RetireModels",
                    "Notify",
                ),
                _redeployed,
                _REDEPLOYED,
            )
        ],
        _two_versions,
    ),
    Group(
        "repairs",
        [
            Scenario(
                "a model that is there already",
                "deployment",
                ("FindModel",),
                _redeployed,
                _REDEPLOYED,
                [Rule("CreateModel", "twice")],
            ),
            Scenario(
                "a configuration that is there already",
                "deployment",
                ("FindEndpointConfig",),
                _redeployed,
                _REDEPLOYED,
                [Rule("CreateEndpointConfig", "twice")],
            ),
            Scenario(
                "an update that is under way already",
                "deployment",
                ("FindChange",),
                _redeployed,
                _REDEPLOYED,
                [Rule("UpdateEndpoint", "after", "SageMaker.AmazonSageMakerException", "no answer", 5)],
            ),
            Scenario(
                "a promotion whose answer is lost",
                "deployment",
                ("ReadLivePointer",),
                _redeployed,
                _REDEPLOYED,
                [Rule("PromoteModel", "after", *_DENIED)],
            ),
            Scenario("the live version again", "deployment", ("SettleDeployment",), _unneeded, Outcome()),
            Scenario("an endpoint that is gone", "deployment", ("CreateEndpoint",), _recreated, _REDEPLOYED),
            Scenario(
                "an endpoint that failed",
                "deployment",
                ("DeleteEndpoint",),
                _over_a_failed_one,
                _REDEPLOYED,
            ),
            Scenario(
                "an endpoint of the other kind",
                "deployment",
                ("AnnounceGap",),
                _over_a_real_time_one,
                _REDEPLOYED,
            ),
        ],
        _two_versions,
    ),
    Group(
        "restores",
        [
            Scenario(
                "a smoke test that fails",
                "deployment",
                (
                    "DescribePreviousConfig",
                    "DescribeForRestore",
                    "RestoreEndpoint",
                    "SettleDeployment",
                    "Notify",
                ),
                lambda bed: _deployed(2, "late-approval", bed),
                _SMOKE_FAILED,
            ),
            Scenario(
                "an endpoint that fails where there was none",
                "deployment",
                ("DeleteForRestore", "CreatePreviousEndpoint"),
                _replaced_by_one_that_fails,
                Outcome(error="DeploymentFailed", told="deployment-failed"),
            ),
            Scenario(
                "a restore that fails",
                "deployment",
                ("RestoreFailed",),
                lambda bed: _deployed(2, "late-approval", bed),
                Outcome(error="SmokeTestFailed", told="restore-failed"),
                [Rule("RestoreEndpoint", "before", *_DENIED)],
            ),
        ],
        _one_good_one_bad,
    ),
    Group(
        "first deployments",
        [
            Scenario(
                "a first deployment whose smoke test fails",
                "deployment",
                ("DeleteUnverifiedEndpoint",),
                lambda bed: _deployed(1, "late-approval", bed),
                _SMOKE_FAILED,
            )
        ],
        _nothing_live_one_bad,
    ),
)

#: Faults of SageMaker itself rather than of a task: state, kind, operation, error, scenario and its end.
SERVICE_FAULTS: Sequence[tuple[str, str, Scenario, str, tuple[str, str]]] = (
    (
        "updates",
        "quota",
        Scenario("no quota for an instance type", "training", ("TrainModel",), _update, _SUCCEEDED),
        "TrainModel",
        ("CreateTrainingJob", "ResourceLimitExceeded"),
    ),
    (
        "updates",
        "capacity",
        Scenario("no capacity for an instance type", "training", ("TrainModel",), _update, _SUCCEEDED),
        "TrainModel",
        ("CreateTrainingJob", "CapacityError"),
    ),
    (
        "deployments",
        "capacity",
        Scenario(
            "an endpoint that never comes up",
            "deployment",
            ("DescribeEndpoint",),
            _redeployed,
            Outcome(error="DeploymentFailed", told="deployment-failed"),
        ),
        "DescribeEndpoint",
        ("UpdateEndpoint", "CapacityError"),
    ),
)


def task_states(definition: dict[str, Any]) -> dict[str, str]:
    """The Task states of a machine with their resources; other states make no call that could fail."""
    return {
        name: state["Resource"] for name, state in definition["States"].items() if state["Type"] == "Task"
    }
