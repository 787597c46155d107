"""From a drop to a prediction, on the real state machines.

Each sample has one stack here, and what comes after the first drop happens on it.
"""

from __future__ import annotations

import csv
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dropforge.domain.data_report import TITLE
from dropforge.domain.model_card import Identity, RunDocuments, draft
from dropforge.domain.records import Approval, RunStatus, Stage
from dropforge_ops.actions import contracts
from dropforge_ops.actions.compared_runs import compare_runs
from dropforge_ops.stack.local_host import target_of
from dropforge_ops.stack.samples import SAMPLES
from tests.card_numbers import check_numbers
from tests.published_card_schema import problems
from tests.workflow.stack import Stack, kind_of, other_rows, wait_for

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"


# A client without any pause would take the processor from the update that it watches.
CALLER_PAUSE_S = 0.02


def rows_of(path: Path, *, without: tuple[str, ...]) -> list[dict[str, float]]:
    """The rows of a sample as a client would send them: numbers, without target and id."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: float(value) for name, value in row.items() if name not in without}
            for row in csv.DictReader(file)
        ]


@contextmanager
def calling_throughout(stack: Stack, instance: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A client that calls the endpoint dozens of times a second; every error is kept."""
    seen: dict[str, Any] = {"calls": 0, "errors": []}
    stop = threading.Event()

    def client() -> None:
        while not stop.wait(CALLER_PAUSE_S):
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


def image_of(package: Mapping[str, Any]) -> str:
    image: str = package["InferenceSpecification"]["Containers"][0]["Image"]
    return image


@pytest.mark.parametrize("sample", list(SAMPLES))
def test_a_drop_becomes_a_model_that_predicts(
    sample: str,
    stack_of: Callable[[str], Stack],
    samples: Mapping[str, Path],
    ten_fold: Callable[[str], tuple[float, float]],
) -> None:
    stack = stack_of(sample)
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
    assert package["ModelMetrics"]["Explainability"]["Report"]["S3Uri"] == model.diagnostics_uri
    features = {each["name"] for each in stack.read_json(model.diagnostics_uri)["importance"]["features"]}
    assert features, "the report says what the model goes by"

    # The card that was drafted is read back: by AWS's schema, and with no number but the run's.
    card = json.loads(package["ModelCard"]["ModelCardContent"])
    assert package["ModelCard"]["ModelCardStatus"] == "PendingReview"
    assert problems(card) == []
    identity = Identity(stack.model_name, run.run_id, model.model_data_url, image_of(package))
    left = RunDocuments.read(stack.bucket, run.run_id, stack.read_json)
    assert left.missing == []
    check_numbers(card, identity, left)
    assert card == draft(identity, left)

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
    signed = json.loads(package["ModelCard"]["ModelCardContent"])
    details = signed["additional_information"]["custom_details"]
    assert package["ModelCard"]["ModelCardStatus"] == "Approved"
    assert (details["decision"], details["decision_reason"]) == ("approved", "good enough")
    assert signed["evaluation_details"] == card["evaluation_details"]

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
    kinds = [kind_of(message) for message in stack.notifications()]
    assert kinds == ["approval-needed", "promoted"]


def test_a_second_drop_updates_the_endpoint_without_one_failed_prediction(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    first = stack.live_or_first(samples["wine"])
    version = stack.counts()[1] + 1
    instance = rows_of(samples["wine"], without=("cultivar", "id"))[0]

    with calling_throughout(stack, instance) as seen:
        stack.drop(samples["wine"], "wine.csv")
        candidate = stack.wait_for_version(version)
        stack.approve(version)
        second = stack.wait_for_live(version)
        answered = seen["calls"]
        wait_for("calls after the update", lambda: seen["calls"] > answered + 5)

    assert seen["errors"] == []
    assert seen["calls"] > 20
    assert second.endpoint_config != first.endpoint_config
    assert second.previous_version == first.version
    judgement = stack.read_json(candidate.judgement_uri)
    assert judgement["champion"]["scored"], "candidate and champion are scored on the same hold-out"
    assert judgement["champion"]["difference"]["value"] == pytest.approx(0, abs=0.05)
    target = target_of(stack.host, stack.name, dict(stack.outputs))
    compared = compare_runs(f"v{first.version}", candidate.run_id, target)
    assert compared.paired.rows == judgement["rows"], "the judged hold-out is what both were scored on"
    name = judgement["metric"]["name"]
    assert compared.paired.metrics[name]["difference"] == judgement["champion"]["difference"]
    turned = compare_runs(candidate.run_id, f"v{first.version}", target)
    assert turned.paired.metrics[name]["difference"]["value"] == -judgement["champion"]["difference"]["value"]
    replaced = stack.ledger.get_model(first.version)
    assert replaced is not None
    assert candidate.model_digest != replaced.model_digest, "other data, another model"
    assert replaced.stage is Stage.ARCHIVED


def test_a_candidate_below_the_threshold_ends_the_run_well_and_deploys_nothing(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("diabetes")
    live, (runs, versions) = stack.ledger.live(), stack.counts()
    stack.update(TEMPLATE, QualityThreshold="0.99")

    stack.drop(samples["diabetes"], "diabetes.csv")
    run = stack.wait_for_run(RunStatus.REJECTED_BY_GATE, number=runs + 1)

    assert stack.wait_for_execution(run.execution_arn)["status"] == "SUCCEEDED"
    assert [reason["code"] for reason in run.reasons] == ["ThresholdMissed"]
    assert run.metric is not None
    assert run.metric["name"] == "r2"
    assert len(stack.ledger.list_models()) == versions
    assert stack.ledger.live() == live
    message = stack.wait_for_notification("rejected-by-gate")
    assert TITLE in message["Message"]
    assert "rows read" in message["Message"]
    assert "0.99" in message["Message"]


def test_a_candidate_worse_than_the_champion_is_rejected_and_the_champion_stays(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("breast-cancer")
    champion = stack.live_or_first(samples["breast-cancer"])
    runs, _ = stack.counts()
    with samples["breast-cancer"].open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    # Half of the training rows get the wrong label; the same ids keep the hold-out's rows in the hold-out.
    for number, row in enumerate(rows[1:]):
        if number % 5 < 2:
            row[-1] = "benign" if row[-1] == "malignant" else "malignant"
    noisy = "\n".join(",".join(row) for row in rows).encode()

    stack.drop(noisy, "noisy.csv")
    run = stack.wait_for_run(RunStatus.REJECTED_BY_GATE, number=runs + 1)

    assert stack.ledger.live() == champion
    assert run.reasons
    assert stack.sagemaker.describe_endpoint(EndpointName=stack.model_name)["EndpointStatus"] == "InService"


def test_a_rejection_ends_the_run_well_with_who_and_why(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    live, (runs, versions) = stack.ledger.live(), stack.counts()
    stack.drop(samples["wine"], "wine.csv")
    stack.wait_for_version(versions + 1)

    stack.reject(versions + 1, "the cultivar of 2024 is missing")
    run = stack.wait_for_run(RunStatus.REJECTED, number=runs + 1)

    assert run.reasons == [{"code": "Rejected", "message": "the cultivar of 2024 is missing"}]
    assert stack.wait_for_execution(run.execution_arn)["status"] == "SUCCEEDED"
    assert stack.ledger.live() == live
    assert "2024" in stack.wait_for_notification("rejected")["Message"]


def test_a_manual_start_trains_on_what_was_trained_on_last(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    stack.live_or_first(samples["wine"])
    runs, _ = stack.counts()

    # Otherwise than the live version was trained, or the model would be the live one once more.
    stack.start(trigger="manual", requested_by="somebody", hyperparameters={"estimator": "linear", "C": 0.7})
    run = stack.wait_for_run(RunStatus.AWAITING_APPROVAL, number=runs + 1)

    assert run.trigger == "manual"
    assert run.requested_by == "somebody"
    assert run.keys == ["incoming/wine.csv"]


def test_a_schedule_with_nothing_new_ends_at_once(stack_of: Callable[[str], Stack]) -> None:
    stack = stack_of("wine")
    runs, _ = stack.counts()

    arn = stack.start(trigger="schedule")
    execution = stack.wait_for_execution(arn)

    assert execution["status"] == "SUCCEEDED"
    assert stack.states(arn) == ["AdmitRun", "IsAdmitted", "NotAdmitted"]
    assert len(stack.runs()) == runs


def test_an_account_that_runs_ten_functions_at_once_is_enough_for_more_chunks_than_that(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    stack.live_or_first(samples["wine"])
    runs, versions = stack.counts()
    # More at once than the account allows, as a stack of an earlier release goes on with.
    stack.update(TEMPLATE, ScaleOutMegabytes="0", ScaleOutChunkMegabytes="0.0003", ScaleOutConcurrency="40")
    stack.host.limit_functions(10)
    try:
        stack.drop(samples["wine"], "wine.csv")
        stack.wait_for_version(versions + 1)
    finally:
        stack.host.clear_faults()
        stack.update(TEMPLATE)
    run = stack.wait_for_run(RunStatus.AWAITING_APPROVAL, number=runs + 1)

    throttles = stack.host.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Lambda",
        MetricName="Throttles",
        Dimensions=[{"Name": "FunctionName", "Value": stack.resources()["PrepareChunkFunction"]}],
        StartTime=datetime.now(UTC) - timedelta(hours=1),
        EndTime=datetime.now(UTC) + timedelta(minutes=1),
        Period=3600,
        Statistics=["Sum"],
    )["Datapoints"]
    assert sum(each["Sum"] for each in throttles) > 0, "the account was never busy"
    assert stack.states(run.execution_arn).count("PrepareChunks") == 4


def test_large_drops_are_prepared_in_chunks_to_the_same_rows_and_a_changed_schema_is_accepted_by_command(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("wine")
    stack.live_or_first(samples["wine"])
    content = other_rows(samples["wine"].read_bytes(), 500)
    stack.drop(content, "wine.csv")
    in_one_function = stack.wait_for_version(stack.counts()[1] + 1)
    runs, versions = stack.counts()
    stack.update(TEMPLATE, ScaleOutMegabytes="0", ScaleOutChunkMegabytes="0.006")
    bucket = contracts.Contracts(stack.s3, stack.bucket)

    stack.drop(content, "wine.csv")
    stack.wait_for_version(versions + 1)
    run = stack.wait_for_run(RunStatus.AWAITING_APPROVAL, number=runs + 1)
    renamed = samples["wine"].read_bytes().replace(b"alcohol,", b"ethanol,", 1)
    stack.drop(renamed, "renamed.csv")
    refused = stack.wait_for_failed_run(number=runs + 2)
    proposed, pinned = contracts.acceptable(bucket, refused, None)
    bucket.pin(proposed, pinned)
    again = contracts.drop_again(stack.s3, refused, stack.bucket)
    stack.update(TEMPLATE)
    stack.wait_for_version(versions + 2, ignoring=refused.run_id)
    accepted = stack.wait_for_run(RunStatus.AWAITING_APPROVAL, number=runs + 3)

    assert stack.states(run.execution_arn).count("PrepareChunks") == 4, "scan, check, reduce, write"
    in_one, in_chunks = (f"s3://{stack.bucket}/runs/{each}/" for each in (in_one_function.run_id, run.run_id))
    assert rows_under(stack, in_chunks) == rows_under(stack, in_one)
    one, chunks = (stack.read_json(f"{each}profile.json") for each in (in_one, in_chunks))
    assert chunks["columns"] == one["columns"]
    left = stack.s3.list_objects_v2(Bucket=stack.bucket, Prefix=f"scratch/{run.run_id}/")["Contents"]
    assert [each["Key"] for each in left] == [f"scratch/{run.run_id}/answer.json"]
    assert refused.error is not None
    assert refused.error["class"] == "SchemaChanged"
    assert f"dropforge contract accept {refused.run_id} --hash" in refused.error["message"]
    assert again == ["incoming/renamed.csv"]
    contract = stack.read_json(f"s3://{stack.bucket}/runs/{accepted.run_id}/contract/schema.json")
    assert "ethanol" in [column["name"] for column in contract["columns"]]


def rows_under(stack: Stack, prefix: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of the splits of a run, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for split in ("train", "validation", "test"):
        folder = f"{prefix}{split}/".split("/", 3)[3]
        listed = stack.s3.list_objects_v2(Bucket=stack.bucket, Prefix=folder)["Contents"]
        parts = [stack.s3.get_object(Bucket=stack.bucket, Key=each["Key"])["Body"].read() for each in listed]
        found[split] = [row for part in parts for row in pq.read_table(io.BytesIO(part)).to_pylist()]
    return found


def test_labels_by_what_errors_cost_are_the_same_wherever_the_model_serves(
    stack_of: Callable[[str], Stack], samples: Mapping[str, Path]
) -> None:
    stack = stack_of("breast-cancer")
    before = stack.live_or_first(samples["breast-cancer"])
    version = stack.counts()[1] + 1
    stack.update(TEMPLATE, PositiveClass="malignant", FalsePositiveCost="1", FalseNegativeCost="400")

    stack.drop(samples["breast-cancer"], "costs.csv")
    model = stack.wait_for_version(version)
    stack.update(TEMPLATE)
    judgement = stack.read_json(model.judgement_uri)
    stack.approve(version)
    live = stack.wait_for_live(version)

    assert live.version != before.version
    assert judgement["champion"]["scored"], "a live model without a threshold is judged by its own labels"
    decision = judgement["decision"]
    assert decision["positive_class"] == "malignant"
    assert decision["threshold"] < 0.1
    assert decision["chosen"]["cost_per_1000"]["value"] <= decision["argmax"]["cost_per_1000"]["value"]
    package = stack.sagemaker.describe_model_package(ModelPackageName=model.model_package_arn)
    told = package["CustomerMetadataProperties"]
    assert float(told["decision_threshold"]) == decision["threshold"]
    assert float(told["cost_per_1000_rows_high"]) == decision["chosen"]["cost_per_1000"]["high"]
    mail = stack.wait_for_notification("approval-needed", "called 'malignant' from a probability of")
    assert "Errors cost" in mail["Message"]
    rows = rows_of(samples["breast-cancer"], without=("diagnosis", "id"))
    answers = [
        each for start in range(0, len(rows), 200) for each in stack.predict(rows[start : start + 200])
    ]
    for each in answers:
        called = each["probabilities"]["malignant"] >= decision["threshold"]
        assert each["label"] == ("malignant" if called else "benign")
    assert any(each["label"] == "malignant" and each["probabilities"]["malignant"] < 0.5 for each in answers)
    content = samples["breast-cancer"].read_bytes()
    stack.s3.put_object(Bucket=stack.bucket, Key="batch/in/costs.csv", Body=content)

    def scored() -> str | None:
        found = stack.s3.list_objects_v2(Bucket=stack.bucket, Prefix="batch/out/costs.csv").get(
            "Contents", []
        )
        if "batch/out/costs.csv.manifest.json" not in (each["Key"] for each in found):
            return None
        return stack.s3.get_object(Bucket=stack.bucket, Key="batch/out/costs.csv")["Body"].read().decode()

    labels = [row["label"] for row in csv.DictReader(io.StringIO(wait_for("the scored batch", scored)))]
    assert labels == [each["label"] for each in answers]
