"""From a drop to a prediction, on the real state machines."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dropforge.domain.records import Approval, RunStatus, Stage
from dropforge_ops.samples import SAMPLES
from tests.cross_validation import ten_fold
from tests.workflow.stack import Stack, wait_for


def rows_of(path: Path, *, without: tuple[str, ...]) -> list[dict[str, float]]:
    """The rows of a sample as a client would send them: numbers, without target and id."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: float(value) for name, value in row.items() if name not in without}
            for row in csv.DictReader(file)
        ]


@contextmanager
def calling_throughout(stack: Stack, instance: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A client that calls the endpoint without a pause; every error is kept."""
    seen: dict[str, Any] = {"calls": 0, "errors": []}
    stop = threading.Event()

    def client() -> None:
        while not stop.is_set():
            try:
                stack.predict([instance])
            except Exception as error:
                seen["errors"].append(repr(error))
            seen["calls"] += 1

    thread = threading.Thread(target=client)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(timeout=30)


@pytest.mark.parametrize("sample", list(SAMPLES))
def test_a_drop_becomes_a_model_that_predicts(
    sample: str, deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    stack = deploy_sample(sample)
    described = SAMPLES[sample]

    version = stack.drop(samples[sample], f"{sample}.csv")
    model = stack.wait_for_version(1)
    run = stack.wait_for_run(RunStatus.AWAITING_APPROVAL)
    (trained_on,) = stack.read_json(run.manifest_uri)["objects"]
    assert trained_on["version_id"] == version, "a run is pinned to the version that was dropped"

    assert run.run_id.startswith(f"{sample}-")
    assert model.approval is Approval.PENDING
    assert model.task == described.task
    assert stack.ledger.live() is None, "nothing is live before somebody approved"
    package = stack.sagemaker.describe_model_package(ModelPackageName=model.model_package_arn)
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["CustomerMetadataProperties"]["model_digest"] == model.model_digest
    assert package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"] == model.evaluation_uri

    mean, deviation = ten_fold(sample)
    assert abs(model.metric["value"] - mean) <= 2 * deviation, (
        "the hold-out tells what cross-validation tells"
    )

    stack.approve(1, "good enough")
    live = stack.wait_for_live(1)
    run = stack.wait_for_run(RunStatus.SUCCEEDED)
    execution = stack.wait_for_execution(run.execution_arn)

    assert execution["status"] == "SUCCEEDED"
    endpoint = stack.sagemaker.describe_endpoint(EndpointName=stack.model_name)
    assert endpoint["EndpointStatus"] == "InService"
    assert endpoint["EndpointConfigName"] == live.endpoint_config
    promoted = stack.ledger.get_model(1)
    assert promoted is not None
    assert promoted.stage is Stage.PRODUCTION
    assert promoted.decision_reason == "good enough"
    package = stack.sagemaker.describe_model_package(ModelPackageName=model.model_package_arn)
    assert package["ModelLifeCycle"]["Stage"] == "Production"

    rows = rows_of(samples[sample], without=(described.target, described.key))
    predictions = stack.predict(rows[:3])
    assert len(predictions) == 3
    if described.task == "regression":
        assert all(isinstance(each["value"], float) for each in predictions)
    else:
        assert all(abs(sum(each["probabilities"].values()) - 1) < 1e-9 for each in predictions)

    lineage = stack.read_json(model.judgement_uri.replace("judgement.json", "lineage.json"))
    assert lineage["run"]["execution_arn"] == run.execution_arn
    assert lineage["libraries"]["scikit-learn"]
    assert lineage["training"]["data_version"] == lineage["run"]["data_version"]
    assert lineage["training"]["code_sha256"] == lineage["run"]["code_sha256"]
    kinds = [message["MessageAttributes"]["kind"]["Value"] for message in stack.notifications()]
    assert kinds == ["approval-needed", "promoted"]


def test_a_second_drop_updates_the_endpoint_without_one_failed_prediction(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    stack = deploy_sample("wine")
    first = stack.train_and_deploy(samples["wine"], "wine.csv")
    instance = rows_of(samples["wine"], without=("cultivar", "id"))[0]

    with calling_throughout(stack, instance) as seen:
        stack.drop(samples["wine"], "wine.csv")
        candidate = stack.wait_for_version(2)
        stack.approve(2)
        second = stack.wait_for_live(2)
        answered = seen["calls"]
        wait_for("calls after the update", lambda: seen["calls"] > answered + 5)

    assert seen["errors"] == []
    assert seen["calls"] > 20
    assert second.endpoint_config != first.endpoint_config
    assert second.previous_version == 1
    judgement = stack.read_json(candidate.judgement_uri)
    assert judgement["champion"]["scored"], "candidate and champion are scored on the same hold-out"
    assert judgement["champion"]["difference"]["value"] == pytest.approx(0, abs=1e-9)
    assert candidate.model_digest == stack.ledger.get_model(1).model_digest, "same data, same model"  # type: ignore[union-attr]
    assert stack.ledger.get_model(1).stage is Stage.ARCHIVED  # type: ignore[union-attr]


def test_a_candidate_below_the_threshold_ends_the_run_well_and_deploys_nothing(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    stack = deploy_sample("diabetes", QualityThreshold="0.99")

    stack.drop(samples["diabetes"], "diabetes.csv")
    run = stack.wait_for_run(RunStatus.REJECTED_BY_GATE)

    assert stack.wait_for_execution(run.execution_arn)["status"] == "SUCCEEDED"
    assert [reason["code"] for reason in run.reasons] == ["ThresholdMissed"]
    assert run.metric is not None
    assert run.metric["name"] == "r2"
    assert stack.ledger.list_models() == []
    assert stack.ledger.live() is None
    message = stack.wait_for_notification("rejected-by-gate")
    assert "0.99" in message["Message"]


def test_a_candidate_worse_than_the_champion_is_rejected_and_the_champion_stays(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    stack = deploy_sample("breast-cancer")
    champion = stack.train_and_deploy(samples["breast-cancer"], "good.csv")
    with samples["breast-cancer"].open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    # Half of the training rows get the wrong label; the same ids keep the hold-out's rows in the hold-out.
    for number, row in enumerate(rows[1:]):
        if number % 5 < 2:
            row[-1] = "benign" if row[-1] == "malignant" else "malignant"
    noisy = "\n".join(",".join(row) for row in rows).encode()

    stack.drop(noisy, "noisy.csv")
    run = stack.wait_for_run(RunStatus.REJECTED_BY_GATE, number=2)

    assert stack.ledger.live() == champion
    assert run.reasons
    assert stack.sagemaker.describe_endpoint(EndpointName=stack.model_name)["EndpointStatus"] == "InService"


def test_a_rejection_ends_the_run_well_with_who_and_why(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    stack = deploy_sample("wine")
    stack.drop(samples["wine"], "wine.csv")
    stack.wait_for_version(1)

    stack.reject(1, "the cultivar of 2024 is missing")
    run = stack.wait_for_run(RunStatus.REJECTED)

    assert run.reasons == [{"code": "Rejected", "message": "the cultivar of 2024 is missing"}]
    assert stack.wait_for_execution(run.execution_arn)["status"] == "SUCCEEDED"
    assert stack.ledger.live() is None
    assert "2024" in stack.wait_for_notification("rejected")["Message"]


def test_a_manual_start_trains_on_what_was_trained_on_last(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    stack = deploy_sample("wine")
    stack.train_and_deploy(samples["wine"], "wine.csv")

    stack.start(trigger="manual", requested_by="somebody")
    run = stack.wait_for_run(RunStatus.AWAITING_APPROVAL, number=2)

    assert run.trigger == "manual"
    assert run.requested_by == "somebody"
    assert run.keys == ["incoming/wine.csv"]


def test_a_schedule_with_nothing_new_ends_at_once(deploy_sample: Callable[..., Stack]) -> None:
    stack = deploy_sample("wine")

    arn = stack.start(trigger="schedule")
    execution = stack.wait_for_execution(arn)

    assert execution["status"] == "SUCCEEDED"
    assert stack.states(arn) == ["AdmitRun", "IsAdmitted", "NotAdmitted"]
    assert stack.runs() == []
