"""A file dropped under batch/in/ is scored with the live model; the result lies under batch/out/."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dropforge_local.testing.waiting import looked_for
from tests.workflow.stack import HARDENED, PATIENCE_S, Stack, wait_for
from tests.workflow.test_main_job import rows_of


class Batches:
    """The batches of a stack, as its users see them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.machine = stack.outputs["BatchStateMachine"]

    def drop(self, name: str, content: bytes) -> None:
        self.stack.s3.put_object(Bucket=self.stack.bucket, Key=f"batch/in/{name}", Body=content)

    def executions(self) -> list[str]:
        """Every execution's ARN, the oldest first."""
        found = self.stack.stepfunctions.list_executions(stateMachineArn=self.machine)["executions"]
        return [each["executionArn"] for each in reversed(found)]

    def ended(self, number: int) -> Mapping[str, Any]:
        """The ``number``-th execution, from 1, once it has ended."""
        arn = wait_for(
            f"batch {number}",
            lambda: found[number - 1] if len(found := self.executions()) >= number else None,
        )
        return self.stack.wait_for_execution(arn)

    def score(self, name: str, content: bytes) -> Mapping[str, Any]:
        """Drop a file and wait for its execution's end."""
        before = len(self.executions())
        self.drop(name, content)
        return self.ended(before + 1)

    def read(self, name: str) -> bytes:
        body: bytes = self.stack.s3.get_object(Bucket=self.stack.bucket, Key=f"batch/out/{name}")[
            "Body"
        ].read()
        return body

    def manifest(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self.read(f"{name}.manifest.json"))
        return found

    def jobs(self) -> list[Mapping[str, Any]]:
        """The stack's transform jobs, the newest first."""
        listed = self.stack.sagemaker.list_transform_jobs(NameContains=f"{self.stack.model_name}-b-")
        found: list[Mapping[str, Any]] = listed["TransformJobSummaries"]
        return found

    def running(self) -> str:
        """The name of a transform job that is in progress. Looks often: it must not end meanwhile."""

        def look() -> str | None:
            found = [each for each in self.jobs() if each["TransformJobStatus"] == "InProgress"]
            return found[0]["TransformJobName"] if found else None

        job = looked_for(look, PATIENCE_S, first_pause_s=0.05, last_pause_s=0.05)
        assert job, "no transform job"
        return job


def many_rows(content: bytes) -> bytes:
    """More rows than are scored while a test looks for the job."""
    lines = content.splitlines(keepends=True)
    return b"".join([lines[0], *lines[1:] * 40])


def as_predicted(row: Mapping[str, str]) -> dict[str, Any]:
    """A result's row as the endpoint answers it."""
    probabilities = {
        name.removeprefix("probability_"): float(value)
        for name, value in row.items()
        if name.startswith("probability_")
    }
    return {"label": row["label"], "probabilities": probabilities}


@pytest.fixture(scope="module")
def stack(deploy_sample: Callable[..., Stack]) -> Stack:
    """The tests' own stack; the first test finds it without a model, the next may find the first's.

    Everything that guards it is on: the whole way has to work with it as well.
    """
    return deploy_sample("breast-cancer", BatchInstanceTypes="ml.m5.large,ml.m5.xlarge", **HARDENED)


def test_a_dropped_file_has_the_endpoints_predictions_under_its_ids(
    stack: Stack, samples: Mapping[str, Path]
) -> None:
    batches = Batches(stack)
    content = samples["breast-cancer"].read_bytes()

    # Before a model is live.
    early = batches.score("early.csv", content)
    assert (early["status"], early["error"]) == ("FAILED", "NoLiveModel")
    assert "no model is live yet" in early["cause"]
    assert "batch/in/early.csv" in stack.wait_for_notification("batch-failed")["Message"]
    assert batches.jobs() == []

    live = stack.train_and_deploy(content)
    assert len(stack.runs()) == 1  # a batch is no training data

    # All rows, and two bad ones among them.
    lines = content.decode().splitlines()
    header = lines[0].split(",")
    bad = lines[5].split(",")
    bad[header.index("mean radius")] = "wide"
    dropped = "\n".join([*lines[:3], ",".join(bad), *lines[3:], "too,short"]) + "\n"
    done = batches.score("may/patients.csv", dropped.encode())
    assert done["status"] == "SUCCEEDED", done

    given = list(csv.DictReader(io.StringIO(content.decode())))
    result = list(csv.DictReader(io.StringIO(batches.read("may/patients.csv").decode())))
    assert [row["id"] for row in result] == [row["id"] for row in given]
    instances = rows_of(samples["breast-cancer"], without=("diagnosis", "id"))
    assert [as_predicted(row) for row in result] == stack.predict(instances)

    manifest = batches.manifest("may/patients.csv")
    assert manifest["model"]["version"] == live.version
    assert manifest["rows"] == {"read": len(given) + 2, "scored": len(given), "rejected": 2}
    assert manifest["result"]["sha256"] == hashlib.sha256(batches.read("may/patients.csv")).hexdigest()
    rejected = [json.loads(line) for line in batches.read("may/patients.csv.rejected.jsonl").splitlines()]
    assert [row["row"] for row in rejected] == [3, len(given) + 2]
    assert rejected[0]["problems"] == [{"rule": "type", "column": "mean radius", "value": "wide"}]
    source = stack.s3.get_object(Bucket=stack.bucket, Key="batch/in/may/patients.csv")["Body"].read()
    assert source == dropped.encode()
    message = stack.wait_for_notification("batch-scored")["Message"]
    assert f"s3://{stack.bucket}/batch/out/may/patients.csv" in message
    assert "2 rows break its contract" in message

    # The same event delivered once more, at any time later.
    event = json.loads(done["input"])
    again = stack.stepfunctions.start_execution(stateMachineArn=batches.machine, input=json.dumps(event))
    assert stack.wait_for_execution(again["executionArn"])["status"] == "SUCCEEDED"
    assert stack.states(again["executionArn"])[-1] == "NotPlanned"
    assert len(batches.jobs()) == 1

    # The target is not needed; JSON lines, compressed.
    rows = [{**instance, "id": int(row["id"])} for instance, row in zip(instances, given, strict=True)][:50]
    packed = gzip.compress("\n".join(map(json.dumps, rows)).encode())
    assert batches.score("june.jsonl.gz", packed)["status"] == "SUCCEEDED"
    answers = [json.loads(line) for line in gzip.decompress(batches.read("june.jsonl.gz")).splitlines()]
    assert [answer.pop("id") for answer in answers] == [row["id"] for row in rows]
    assert answers == stack.predict(instances[:50])

    # A damaged file, and one of other columns.
    broken = batches.score("broken.csv.gz", packed[:-30])
    assert (broken["status"], broken["error"]) == ("FAILED", "UnreadableData")
    foreign = batches.score("wine.csv", samples["wine"].read_bytes())
    assert (foreign["status"], foreign["error"]) == ("FAILED", "UnscorableBatch")
    assert "column 'mean radius' is missing" in foreign["cause"]
    written = stack.s3.list_objects_v2(Bucket=stack.bucket, Prefix="batch/out/")["Contents"]
    assert not [each["Key"] for each in written if "broken" in each["Key"] or "wine" in each["Key"]]


def test_quota_and_throttling_are_waited_out_and_a_stopped_job_is_no_failure(
    stack: Stack, samples: Mapping[str, Path]
) -> None:
    stack.live_or_first(samples["breast-cancer"])
    batches = Batches(stack)
    before = len(batches.executions())
    content = samples["breast-cancer"].read_bytes()

    def fault(error: str, **fields: Any) -> None:
        request = {"Operation": "CreateTransformJob", "Error": error, **fields}
        stack.host.administer("SageMaker.dropforge:SetFault", request)

    fault("ThrottlingException", Times=2)
    assert batches.score("throttled.csv", content)["status"] == "SUCCEEDED"
    fault("CapacityError", Times=1)
    done = batches.score("capacity.csv", content)
    assert done["status"] == "SUCCEEDED", done
    job = stack.sagemaker.describe_transform_job(
        TransformJobName=batches.manifest("capacity.csv")["transform_job_arn"].rpartition("/")[2]
    )
    assert job["TransformResources"]["InstanceType"] == "ml.m5.xlarge"
    assert job["TransformJobName"].endswith("-a1")
    assert batches.read("capacity.csv") == batches.read("throttled.csv")

    # More rows than are scored before somebody stops the job.
    batches.drop("large.csv", many_rows(content))
    stack.sagemaker.stop_transform_job(TransformJobName=batches.running())
    done = batches.ended(before + 3)
    assert (done["status"], stack.states(done["executionArn"])[-1]) == ("SUCCEEDED", "BatchEnded")
    stack.wait_for_notification("batch-stopped")


def test_a_stopped_execution_leaves_no_job_that_costs(stack: Stack, samples: Mapping[str, Path]) -> None:
    stack.live_or_first(samples["breast-cancer"])
    batches = Batches(stack)
    batches.drop("abandoned.csv", many_rows(samples["breast-cancer"].read_bytes()))
    name = batches.running()

    def job() -> Mapping[str, Any]:
        described: Mapping[str, Any] = stack.sagemaker.describe_transform_job(TransformJobName=name)
        return described

    execution = job()["Environment"]["DROPFORGE_EXECUTION_ARN"]
    stack.stepfunctions.stop_execution(executionArn=execution)
    stopped_at = time.monotonic()

    wait_for("end of the job", lambda: job()["TransformJobStatus"] != "InProgress")
    assert time.monotonic() - stopped_at < 120
    assert stack.execution(execution)["status"] == "ABORTED"
    wait_for("a stopped job", lambda: job()["TransformJobStatus"] == "Stopped")


def test_what_runs_make_is_encrypted_with_the_stacks_own_key(
    stack: Stack, samples: Mapping[str, Path]
) -> None:
    live = stack.live_or_first(samples["breast-cancer"])
    if not Batches(stack).jobs():
        Batches(stack).score("encrypted.csv", samples["breast-cancer"].read_bytes())
    resources = stack.resources()
    key = stack.host.client("kms").describe_key(KeyId=resources["DataKey"])["KeyMetadata"]["Arn"]
    groups = stack.host.client("logs").get_paginator("describe_log_groups").paginate()
    of_stack = [
        group for page in groups for group in page["logGroups"] if group["logGroupName"] in resources.values()
    ]
    assert len(of_stack) > 20
    assert {group.get("kmsKeyId") for group in of_stack} == {key}

    (training,) = stack.sagemaker.list_training_jobs(NameContains=live.run_id)["TrainingJobSummaries"]
    job = stack.sagemaker.describe_training_job(TrainingJobName=training["TrainingJobName"])
    assert job["ResourceConfig"]["VolumeKmsKeyId"] == job["OutputDataConfig"]["KmsKeyId"] == key
    assert job["EnableNetworkIsolation"]
    assert job["EnableInterContainerTrafficEncryption"]
    endpoint = stack.sagemaker.describe_endpoint(EndpointName=stack.model_name)
    config = stack.sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    assert config["KmsKeyId"] == key
    batch = stack.sagemaker.describe_transform_job(
        TransformJobName=Batches(stack).jobs()[0]["TransformJobName"]
    )
    assert batch["TransformResources"]["VolumeKmsKeyId"] == batch["TransformOutput"]["KmsKeyId"] == key


def test_a_web_acl_stands_before_the_api(stack: Stack) -> None:
    resources = stack.resources()
    stage = f"arn:aws:apigateway:{stack.host.region}::/restapis/{resources['PredictionApi']}/stages/v1"
    acl = stack.host.client("wafv2").get_web_acl_for_resource(ResourceArn=stage)["WebACL"]
    assert {rule["Name"] for rule in acl["Rules"]} == {
        "RatePerAddress",
        "BadAddresses",
        "KnownBadInputs",
        "Common",
    }
