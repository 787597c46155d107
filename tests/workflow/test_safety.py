"""Never deploy the wrong model, never lose a drop: on the real state machines.

All of it happens to one stack, one thing after the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dropforge.domain.records import Approval, LockName, RunStatus, Stage
from tests.workflow.stack import Stack, wait_for
from tests.workflow.test_main_job import TEMPLATE, calling_throughout, rows_of

DAYS_PER_SECOND = 1 / 86400
HOURS_PER_SECOND = 1 / 3600


def test_an_approval_of_metrics_that_were_changed_is_taken_back(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    live, (runs, versions) = stack.ledger.live(), stack.counts()
    stack.drop(samples["wine"], "wine.csv")
    model = stack.wait_for_version(versions + 1)

    stack.s3.put_object(
        Bucket=stack.bucket, Key=model.judgement_uri.split("/", 3)[3], Body=b'{"accepted": true}'
    )
    stack.approve(model.version)
    run = stack.wait_for_run(RunStatus.REJECTED, number=runs + 1)

    assert "changed after the version was registered" in run.reasons[0]["message"]
    assert stack.ledger.live() == live


def test_a_drop_delivered_again_starts_nothing_at_any_time_later(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    run = stack.wait_for_run_of(stack.live_or_first(samples["wine"]))
    runs, _ = stack.counts()
    event = json.loads(stack.execution(run.execution_arn)["input"])

    again = stack.start(**event)

    assert stack.wait_for_execution(again)["status"] == "SUCCEEDED"
    assert stack.states(again)[-1] == "NotAdmitted"
    assert len(stack.runs()) == runs
    drop = stack.ledger.get_drop(stack.ledger.newest_versions(run.keys)[run.keys[0]])
    assert drop is not None
    assert drop.duplicates == 1


def test_approving_twice_or_two_at_once_is_harmless(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    first = stack.live_or_first(samples["wine"])
    (runs, versions), deployments = stack.counts(), len(stack.deployments())
    version = versions + 1
    stack.drop(samples["wine"], "second.csv")
    stack.wait_for_version(version)

    stack.approve(first.version)  # live already
    stack.approve(version)
    stack.approve(version)
    live = stack.wait_for_live(version)
    stack.wait_for_run(RunStatus.SUCCEEDED, number=runs + 1)

    assert stack.ledger.live() == live
    assert len(stack.deployments()) == deployments + 1


def test_rejecting_the_live_version_rolls_back_and_the_endpoint_keeps_answering(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    last = stack.live_or_first(samples["wine"])
    if last.previous_version is None:
        last = stack.train_and_deploy(samples["wine"], "wine-again.csv")
    previous = last.previous_version
    assert previous is not None
    instance = rows_of(samples["wine"], without=("cultivar", "id"))[0]

    with calling_throughout(stack, instance) as seen:
        stack.reject(last.version, "it prefers the first cultivar")
        live = stack.wait_for_live(previous)

    assert seen["errors"] == []
    assert stack.ledger.get_model(last.version).stage is Stage.ARCHIVED  # type: ignore[union-attr]
    endpoint = stack.sagemaker.describe_endpoint(EndpointName=stack.model_name)
    assert endpoint["EndpointConfigName"] == live.endpoint_config
    history = [(str(change.stage), change.reason) for change in stack.ledger.history(last.version)]
    assert ("Production", "it prefers the first cultivar") in history
    assert history[-1] == ("Archived", f"version {previous} went live")


def test_replaying_a_run_gives_the_same_model_and_registers_nothing(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    original = stack.wait_for_run_of(stack.live_or_first(samples["wine"]))
    runs, versions = stack.counts()

    stack.start(trigger="replay", run_id=original.run_id)
    replay = stack.wait_for_run(RunStatus.REPLAYED, number=runs + 1)

    def digest(run_id: str) -> str:
        judged: str = stack.read_json(f"s3://{stack.bucket}/models/{run_id}/judgement.json")["model_digest"]
        return judged

    assert digest(replay.run_id) == digest(original.run_id)
    assert len(stack.ledger.list_models()) == versions


@pytest.mark.parametrize("interruptions", [1, 2])
def test_an_interruption_of_spot_capacity_changes_nothing_in_the_model(
    interruptions: int,
    stack_of: Callable[[str], Stack],
    samples: Mapping[str, Path],
    product_copy: Path,
) -> None:
    stack = stack_of("wine")
    original = stack.wait_for_run_of(stack.live_or_first(samples["wine"]))
    runs, _ = stack.counts()
    stack.update(product_copy, TrainingSpot="2")
    fault = {"Operation": "CreateTrainingJob", "Error": "SpotInterruption"}
    stack.host.administer(
        "SageMaker.dropforge:SetFault", {**fault, "Times": interruptions, "DelaySeconds": 0.5}
    )

    stack.start(trigger="replay", run_id=original.run_id)
    replay = stack.wait_for_run(RunStatus.REPLAYED, number=runs + 1)

    digests = {
        stack.read_json(f"s3://{stack.bucket}/models/{run.run_id}/judgement.json")["model_digest"]
        for run in (original, replay)
    }
    assert len(digests) == 1

    def job(attempt: int) -> dict[str, Any]:
        name = f"{stack.model_name}-{replay.run_id}-a{attempt}"
        return stack.sagemaker.describe_training_job(TrainingJobName=name)

    steps = [each["Status"] for each in job(0)["SecondaryStatusTransitions"]]
    assert (job(0)["EnableManagedSpotTraining"], steps.count("Interrupted")) == (True, interruptions)
    if interruptions == 1:
        assert job(0)["TrainingJobStatus"] == "Completed"
        assert job(0)["BillableTimeInSeconds"] < job(0)["TrainingTimeInSeconds"]
    else:
        wait_for("the job on Spot capacity to stop", lambda: job(0)["TrainingJobStatus"] == "Stopped")
        assert (job(1)["EnableManagedSpotTraining"], job(1)["TrainingJobStatus"]) == (False, "Completed")


def test_a_run_by_hand_has_hyperparameters_of_its_own_and_so_has_its_replay(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    stack.live_or_first(samples["wine"])
    runs, _ = stack.counts()
    stack.start(trigger="manual", hyperparameters={"estimator": "boosted", "max_iter": 7})
    run = stack.wait_for_run(RunStatus.AWAITING_APPROVAL, RunStatus.REJECTED_BY_GATE, number=runs + 1)
    wait_for("a free lock", lambda: stack.ledger.held_lease(LockName.TRAINING) is None)
    stack.start(trigger="replay", run_id=run.run_id)
    replay = stack.wait_for_run(RunStatus.REPLAYED, number=runs + 2)

    first, second = (
        stack.read_json(f"s3://{stack.bucket}/models/{each.run_id}/lineage.json") for each in (run, replay)
    )
    assert first["estimator"] == "boosted"
    assert {"estimator": "boosted", "max_iter": "7"}.items() <= first["hyperparameters"].items()
    assert second["hyperparameters"] == first["hyperparameters"]
    assert second["model_digest"] == first["model_digest"]
    assert sum(first["fitted"].values()) > first["fitted"]["train"], "validation rows are fitted as well"


def test_a_stopped_training_job_is_not_a_failure(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    runs, _ = stack.counts()
    stack.drop(samples["wine"], "wine.csv")

    def job() -> str | None:
        jobs = stack.sagemaker.list_training_jobs(NameContains=stack.model_name, StatusEquals="InProgress")[
            "TrainingJobSummaries"
        ]
        return jobs[0]["TrainingJobName"] if jobs else None

    stack.sagemaker.stop_training_job(TrainingJobName=wait_for("a training job", job))
    run = stack.wait_for_run(RunStatus.STOPPED, number=runs + 1)

    assert stack.wait_for_execution(run.execution_arn)["status"] == "SUCCEEDED"
    stack.wait_for_notification("stopped")


def test_drops_during_a_run_are_covered_by_exactly_one_more_run_which_supersedes_the_first(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    lines = samples["wine"].read_text(encoding="utf-8").splitlines()
    runs, versions = stack.counts()

    stack.drop(samples["wine"], "first.csv")
    wait_for("the first run", lambda: len(stack.runs()) > runs)
    # Wine is sorted by class: every second row keeps all classes in both files.
    stack.drop("\n".join([lines[0], *lines[1::2]]).encode(), "second.csv")
    stack.drop("\n".join([lines[0], *lines[2::2]]).encode(), "third.csv")
    stack.wait_for_version(versions + 2)

    first, second = sorted(stack.runs(), key=lambda run: run.started_at)[runs:]
    # With what a run that was stopped has given back, where there was one.
    assert "incoming/first.csv" in stack.taken(first)
    assert stack.taken(second) == ["incoming/second.csv", "incoming/third.csv"]
    assert second.trigger == "follow-up"
    ended = stack.wait_for_run(RunStatus.SUPERSEDED, number=runs + 1)
    assert stack.wait_for_execution(ended.execution_arn)["status"] == "SUCCEEDED"
    model = stack.ledger.get_model(versions + 1)
    assert model is not None
    assert model.approval is Approval.SUPERSEDED
    package = stack.sagemaker.describe_model_package(ModelPackageName=model.model_package_arn)
    assert package["ModelApprovalStatus"] == "Rejected"
    assert package["ApprovalDescription"].startswith(f"superseded by version {versions + 2}")


def test_an_execution_stopped_by_hand_leaves_no_lock_and_what_waits_runs(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    runs, versions = stack.counts()
    stack.drop(samples["wine"], "first.csv")
    wait_for("the first run", lambda: len(stack.runs()) > runs)
    run = sorted(stack.runs(), key=lambda each: each.started_at)[-1]
    stack.drop(samples["wine"], "second.csv")
    wait_for("the second drop", stack.ledger.waiting_drops)

    stack.stepfunctions.stop_execution(executionArn=run.execution_arn)
    stack.wait_for_version(versions + 1, ignoring=run.run_id)

    first, second = sorted(stack.runs(), key=lambda each: each.started_at)[runs:]
    assert first.status is RunStatus.FAILED
    assert first.error is not None
    assert first.error["class"] == "ExecutionStopped"
    assert stack.taken(second) == ["incoming/first.csv", "incoming/second.csv"], "what it held comes along"
    jobs = stack.sagemaker.list_training_jobs(NameContains=stack.model_name, StatusEquals="InProgress")
    assert jobs["TrainingJobSummaries"] == []


def test_nobody_decides_reminders_then_escalation_and_a_late_approval_still_deploys(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    before, (runs, versions) = stack.ledger.live(), stack.counts()
    stack.update(
        TEMPLATE,
        ApprovalTimeoutDays=f"{4 * DAYS_PER_SECOND:.7f}",
        ApprovalReminderHours=f"{2 * HOURS_PER_SECOND:.7f}",
    )
    stack.drop(samples["wine"], "wine.csv")
    run = stack.wait_for_run(RunStatus.EXPIRED, number=runs + 1)

    assert stack.wait_for_execution(run.execution_arn)["status"] == "SUCCEEDED"
    stack.wait_for_notification("approval-reminder")
    stack.wait_for_notification("approval-overdue")
    assert stack.ledger.live() == before

    stack.approve(versions + 1, "sorry, I was away")
    live = stack.wait_for_live(versions + 1)

    assert live.previous_version == (before.version if before is not None else None)
    assert json.loads(stack.deployments()[-1]["input"])["reason"] == "late-approval"
