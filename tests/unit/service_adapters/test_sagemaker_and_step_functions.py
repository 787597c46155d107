"""The adapters' requests have AWS's shapes, and each of AWS's answers becomes what the port promises."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber
from tests.fakes.aws_clients import SageMakerClient, SageMakerRuntimeClient, StepFunctionsClient
from tests.fakes.records import TRAINING, at, execution

from dropforge.adapters.sagemaker import SageMakerEndpoints, SageMakerJobs, SageMakerRegistry
from dropforge.adapters.step_functions import StepFunctionsWorkflows
from dropforge.domain.errors import AccessDenied, ServiceRejected, ServiceUnavailable, SmokeTestFailed
from dropforge.domain.services import EndpointState, NewPackage, RunningJob


def refusal(code: str, message: str = "no", status: int = 400, **more) -> ClientError:
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **more,
    }
    return ClientError(response, "Operation")


class Refusing:
    """A client whose every operation is refused in the same way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str):
        def refuse(**_):
            raise self._error

        return refuse


def hosting(client, runtime, cloudwatch=None) -> SageMakerEndpoints:
    return SageMakerEndpoints(lambda: client, lambda: runtime, lambda: cloudwatch)


def package(token: str = "t" * 36) -> NewPackage:
    return NewPackage(
        client_token=token,
        description="Trained by run r",
        image="123456789012.dkr.ecr.us-east-1.amazonaws.com/image:1",
        model_data_url="s3://b/models/r/j/output/model.tar.gz",
        environment={"SAGEMAKER_PROGRAM": "inference.py"},
        evaluation_uri="s3://b/models/r/evaluation.json",
        profile_uri="s3://b/runs/r/profile.json",
        contract_uri="s3://b/runs/r/contract/schema.json",
        metadata={"run_id": "r"},
        commit_id="c" * 64,
        generated_by=execution("x"),
    )


# --- registry -----------------------------------------------------------------------------------


def test_registers_a_package_once_for_one_token():
    client = SageMakerClient()
    registry = SageMakerRegistry(client, "model")
    first, again = registry.register(package()), registry.register(package())
    assert first == again
    assert (first.version, first.status) == (1, "PendingManualApproval")
    assert registry.register(package("u" * 36)).version == 2


def test_a_package_carries_the_diagnostics_as_its_explanation():
    client = SageMakerClient()
    registry = SageMakerRegistry(client, "model")
    uri = "s3://b/models/r/diagnostics.json"
    arn = registry.register(replace(package(), diagnostics_uri=uri)).arn
    metrics = client.describe_model_package(ModelPackageName=arn)["ModelMetrics"]
    assert metrics["Explainability"]["Report"]["S3Uri"] == uri
    plain = registry.register(package("u" * 36)).arn
    assert "Explainability" not in client.describe_model_package(ModelPackageName=plain)["ModelMetrics"]


def test_rejects_with_a_reason_of_the_length_that_is_allowed():
    client = SageMakerClient()
    registry = SageMakerRegistry(client, "model")
    arn = registry.register(package()).arn
    registry.reject(arn, "x" * 3000)
    found = registry.describe(arn)
    assert found.status == "Rejected"
    assert found.description == "x" * 1024


def test_names_who_changed_a_package_last():
    client = SageMakerClient()
    registry = SageMakerRegistry(client, "model")
    arn = registry.register(package()).arn
    assert registry.describe(arn).modified_by is None
    client.packages[arn]["LastModifiedBy"] = {"IamIdentity": {"Arn": "arn:aws:iam::1:user/ann"}}
    assert registry.describe(arn).modified_by == "arn:aws:iam::1:user/ann"
    client.packages[arn]["LastModifiedBy"]["UserProfileName"] = "ann"
    assert registry.describe(arn).modified_by == "ann"


def test_sets_the_stage_and_leaves_the_approval():
    client = SageMakerClient()
    registry = SageMakerRegistry(client, "model")
    arn = registry.register(package()).arn
    registry.set_stage(arn, "Production", "Live")
    assert client.packages[arn]["ModelLifeCycle"] == {"Stage": "Production", "StageStatus": "Live"}
    assert registry.describe(arn).status == "PendingManualApproval"


# --- hosting ------------------------------------------------------------------------------------


def test_describes_an_endpoint_or_says_that_there_is_none():
    client = SageMakerClient()
    endpoints = hosting(client, SageMakerRuntimeClient())
    assert endpoints.describe("model") is None
    client.deploy("model", "model-v1-1")
    assert endpoints.describe("model") == EndpointState("InService", "model-v1-1")


def test_lists_only_names_that_begin_with_the_prefix_over_all_pages():
    client = SageMakerClient()
    for name in ("model-v1-1", "my-model-v1-1", "model-v2-2", "model-v3-3", "model-v4-4"):
        client.configs[name] = client.models[name] = at(0)
    endpoints = hosting(client, SageMakerRuntimeClient())
    names = ["model-v1-1", "model-v2-2", "model-v3-3", "model-v4-4"]
    assert endpoints.configs_created_before("model-v", at(1)) == names
    assert endpoints.models_created_before("model-v", at(1)) == names
    assert endpoints.models_created_before("model-v", at(0)) == []


def test_deletes_what_is_there_and_takes_what_is_gone_as_done():
    client = SageMakerClient()
    client.deploy("model", "model-v1-1")
    endpoints = hosting(client, SageMakerRuntimeClient())
    for _ in range(2):
        endpoints.delete_config("model-v1-1")
        endpoints.delete_model("model-v1-1")
    assert client.configs == client.models == {}


def test_passes_the_containers_answer_on_as_it_is():
    runtime = SageMakerRuntimeClient()
    runtime.answer = b"<html>"
    assert hosting(SageMakerClient(), runtime).invoke("model", b"{}") == b"<html>"


def test_a_container_that_answers_with_an_error_fails_the_smoke_test():
    runtime = SageMakerRuntimeClient()
    runtime.answer = refusal("ModelError", status=424, OriginalStatusCode=500, OriginalMessage="boom")
    with pytest.raises(SmokeTestFailed, match="500: boom"):
        hosting(SageMakerClient(), runtime).invoke("model", b"{}")


@pytest.mark.parametrize(
    ("variant", "more", "mode"),
    [
        ({"CurrentServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5}}, {}, "serverless"),
        ({"CurrentInstanceCount": 2, "DesiredInstanceCount": 3}, {}, "real-time"),
        (
            {"CurrentInstanceCount": 0, "DesiredInstanceCount": 0},
            {"AsyncInferenceConfig": {"OutputConfig": {}}},
            "asynchronous",
        ),
    ],
)
def test_tells_the_kinds_of_endpoints_apart(variant, more, mode):
    client = boto3.client("sagemaker", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    described = {
        "EndpointName": "model",
        "EndpointArn": "arn:aws:sagemaker:us-east-1:123456789012:endpoint/model",
        "EndpointConfigName": "model-v1-1",
        "EndpointStatus": "InService",
        "CreationTime": at(0),
        "LastModifiedTime": at(0),
        "ProductionVariants": [{"VariantName": "live", **variant}],
        **more,
    }
    with Stubber(client) as stub:
        stub.add_response("describe_endpoint", described, {"EndpointName": "model"})
        state = hosting(client, None).describe("model")
    assert state == EndpointState("InService", "model-v1-1", mode, variant.get("DesiredInstanceCount", 0))


def test_asks_an_asynchronous_endpoint_for_what_lies_in_the_bucket():
    runtime = boto3.client("sagemaker-runtime", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(runtime) as stub:
        stub.add_response(
            "invoke_endpoint_async",
            {"InferenceId": "i", "OutputLocation": "s3://b/out/x", "FailureLocation": "s3://b/failed/x"},
            {
                "EndpointName": "model",
                "InputLocation": "s3://b/in/x",
                "ContentType": "application/json",
                "Accept": "application/json",
                "InferenceId": "i",
                "RequestTTLSeconds": 3600,
                "InvocationTimeoutSeconds": 60,
            },
        )
        places = hosting(None, runtime).invoke_later("model", "s3://b/in/x", identifier="i")
    assert places == ("s3://b/out/x", "s3://b/failed/x")


def test_adds_up_the_requests_that_the_live_variant_got_hour_by_hour():
    cloudwatch = boto3.client("cloudwatch", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(cloudwatch) as stub:
        stub.add_response(
            "get_metric_statistics",
            {"Datapoints": [{"Sum": 2.0}, {"Sum": 3.0}]},
            {
                "Namespace": "AWS/SageMaker",
                "MetricName": "Invocations",
                "Dimensions": [
                    {"Name": "EndpointName", "Value": "model"},
                    {"Name": "VariantName", "Value": "live"},
                ],
                "StartTime": at(0),
                "EndTime": at(7200),
                "Period": 3600,
                "Statistics": ["Sum"],
            },
        )
        assert hosting(None, None, cloudwatch).requests_since("model", at(0), at(7200)) == 5.0


# --- jobs ---------------------------------------------------------------------------------------

BEGAN = {"DROPFORGE_EXECUTION_ARN": execution("x")}


def test_finds_the_jobs_in_progress_with_the_executions_that_began_them():
    client = SageMakerClient()
    for number in range(3):
        client.begin("Training", f"model-r{number}-a0", BEGAN)
    client.begin("Training", "model-r4-a0", BEGAN, status="Completed")
    client.begin("Training", "other-model-r5-a0", BEGAN)
    client.begin("Training", "model-made-by-hand", {})
    client.begin("Transform", "model-b-x-a0", BEGAN)
    found = SageMakerJobs(client).in_progress("model-")
    assert [(job.kind, job.name) for job in found] == [
        ("training", "model-r0-a0"),
        ("training", "model-r1-a0"),
        ("training", "model-r2-a0"),
        ("transform", "model-b-x-a0"),
    ]
    assert {job.execution_arn for job in found} == {execution("x")}


def test_stops_a_job_and_takes_one_that_has_ended_as_done():
    client = SageMakerClient()
    jobs = SageMakerJobs(client)
    client.begin("Training", "model-r-a0", BEGAN)
    client.begin("Transform", "model-b-x-a0", BEGAN)
    for job in jobs.in_progress("model-"):
        jobs.stop(job)
        jobs.stop(job)
    assert client.training_jobs["model-r-a0"]["TrainingJobStatus"] == "Stopping"
    assert client.transform_jobs["model-b-x-a0"]["TransformJobStatus"] == "Stopping"
    jobs.stop(RunningJob("training", "model-gone", datetime(2026, 1, 1, tzinfo=UTC), execution("x")))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refusal("ThrottlingException"), ServiceUnavailable),
        (refusal("Anything", status=503), ServiceUnavailable),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), ServiceUnavailable),
        (refusal("AccessDeniedException"), AccessDenied),
        (refusal("ValidationException", "1 validation error detected"), ServiceRejected),
    ],
)
def test_every_refusal_becomes_one_of_our_classes(error, expected):
    client = Refusing(error)
    endpoints, registry = hosting(client, client, client), SageMakerRegistry(client, "model")
    workflows = StepFunctionsWorkflows(client)
    for call in (
        lambda: endpoints.describe("model"),
        lambda: endpoints.invoke("model", b"{}"),
        lambda: endpoints.delete_model("x"),
        lambda: endpoints.requests_since("model", at(0), at(7200)),
        lambda: registry.register(package()),
        lambda: registry.describe("arn"),
        lambda: registry.reject("arn", "no"),
        lambda: registry.set_stage("arn", "Production", "Live"),
        lambda: workflows.start(TRAINING, name="x", payload={}),
        lambda: workflows.state(execution("x")),
        lambda: workflows.resolve("t", {}),
    ):
        with pytest.raises(expected):
            call()


# --- executions ---------------------------------------------------------------------------------


def test_starts_one_execution_for_one_name_also_after_it_has_ended():
    client = StepFunctionsClient()
    workflows = StepFunctionsWorkflows(client)
    arns = [workflows.start(TRAINING, name="follow-up-1", payload={"trigger": "follow-up"})]
    arns.append(workflows.start(TRAINING, name="follow-up-1", payload={"trigger": "follow-up"}))
    client.executions[arns[0]]["status"] = "SUCCEEDED"
    arns.append(workflows.start(TRAINING, name="follow-up-1", payload={"trigger": "follow-up"}))
    assert set(arns) == {execution("follow-up-1")}


def test_tells_an_execution_that_runs_from_one_that_ended_and_from_an_unknown_one():
    client = StepFunctionsClient()
    workflows = StepFunctionsWorkflows(client)
    arn = workflows.start(TRAINING, name="x", payload={})
    assert workflows.state(arn) == "running"
    client.executions[arn]["status"] = "TIMED_OUT"
    assert workflows.state(arn) == "ended"
    assert workflows.state(execution("unknown")) == "unknown"


def test_reads_what_an_execution_was_started_with():
    client = StepFunctionsClient()
    workflows = StepFunctionsWorkflows(client)
    arn = workflows.start(TRAINING, name="x", payload={"trigger": "follow-up"})
    assert json.loads(workflows.input_of(arn) or "") == {"trigger": "follow-up"}
    assert workflows.input_of(execution("unknown")) is None


@pytest.mark.parametrize(
    ("code", "error"),
    [("KmsAccessDeniedException", AccessDenied), ("KmsThrottlingException", ServiceUnavailable)],
)
def test_says_why_the_key_of_a_history_was_refused(code, error):
    with pytest.raises(error, match=code):
        StepFunctionsWorkflows(Refusing(refusal(code))).input_of(execution("x"))


def test_tells_a_waiting_task_once():
    client = StepFunctionsClient()
    client.waiting.add("t1")
    workflows = StepFunctionsWorkflows(client)
    assert workflows.resolve("t1", {"decision": "approved"})
    assert not workflows.resolve("t1", {"decision": "approved"})
    assert client.results == {"t1": {"decision": "approved"}}


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_nobody_waits_on_a_dead_token(code):
    assert not StepFunctionsWorkflows(Refusing(refusal(code))).resolve("t1", {})
