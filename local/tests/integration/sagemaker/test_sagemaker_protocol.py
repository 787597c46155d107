"""The wire: what botocore reads of answers and errors, and what is refused."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sagemaker_host import Host, Server, put_script, training_request

from dropforge_local.sagemaker.service import SageMaker, ServiceError


def test_operation_that_is_not_served_says_so(sagemaker: Any, runtime: Any) -> None:
    with pytest.raises(ClientError, match="does not support CreateProcessingJob") as caught:
        sagemaker.create_processing_job(
            ProcessingJobName="p",
            ProcessingResources={
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
            },
            AppSpecification={"ImageUri": "x"},
            RoleArn="arn:aws:iam::000000000000:role/r",
        )
    assert caught.value.response["Error"]["Code"] == "UnsupportedOperation"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    with pytest.raises(ClientError, match=r"UnsupportedOperation.*InvokeEndpointWithResponseStream"):
        runtime.invoke_endpoint_with_response_stream(EndpointName="e", Body=b"x")


def test_every_broken_constraint_is_named(sagemaker: Any) -> None:
    request = training_request("not_a_name", RoleArn="arn:aws:iam::1:role/too-short")
    with pytest.raises(ClientError, match="2 validation errors detected") as caught:
        sagemaker.create_training_job(**request)
    message = caught.value.response["Error"]["Message"]
    assert "Value 'not_a_name' at 'trainingJobName' failed to satisfy constraint" in message
    assert "at 'roleArn' failed" in message


@pytest.mark.parametrize(
    ("target", "body", "status", "code"),
    [
        ("SageMaker.CreateTrainingJob", b"{", 400, "SerializationException"),
        ("SageMaker.CreateTrainingJob", b"[]", 400, "SerializationException"),
        ("SageMaker.CreateTrainingJob", b"{}", 400, "ValidationException"),
        ("SageMaker.ListModels", b'{"MaxResults": "ten"}', 400, "SerializationException"),
        ("SageMaker.ListModels", b'{"MaxResults": 0}', 400, "ValidationException"),
        ("SageMaker.ListModels", b'{"SortBy": "Colour"}', 400, "ValidationException"),
        ("SageMaker.NoSuchOperation", b"{}", 404, "UnknownOperationException"),
        ("Other.ListModels", b"{}", 404, "UnknownOperationException"),
    ],
)
def test_malformed_requests_get_an_error_of_their_own(
    service: SageMaker, target: str, body: bytes, status: int, code: str
) -> None:
    answer = service.http("POST", "/", {"X-Amz-Target": target}, body, {})
    assert answer[0] == status
    assert answer[1]["x-amzn-errortype"] == json.loads(answer[2])["__type"] == code


def test_other_paths_are_not_found(service: SageMaker) -> None:
    assert service.http("GET", "/", {}, b"", {})[0] == 404
    assert service.http("GET", "/endpoints/x/invocations", {}, b"", {})[0] == 404


def test_service_that_is_not_started_says_so(tmp_path: Any, host: Host) -> None:
    with pytest.raises(ServiceError, match="not started"):
        SageMaker(tmp_path / "state", host.ports()).handle("ListModels", {})


def test_faults_are_set_over_the_wire_and_end(service: SageMaker, sagemaker: Any, runtime: Any) -> None:
    def admin(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        status, _, body = service.http(
            "POST",
            "/",
            {"X-Amz-Target": f"SageMaker.dropforge:{operation}"},
            json.dumps(request).encode(),
            {},
        )
        assert status == 200
        return json.loads(body)

    admin("SetFault", {"Operation": "ListModels", "Error": "ThrottlingException", "Times": 1})
    assert admin("ListFaults", {})["Faults"]["ListModels"]["Error"] == "ThrottlingException"
    with pytest.raises(ClientError, match="ThrottlingException"):
        sagemaker.list_models()
    assert sagemaker.list_models()["Models"] == []
    admin("SetFault", {"Operation": "InvokeEndpoint", "Error": "ServiceUnavailable"})
    with pytest.raises(runtime.exceptions.ServiceUnavailable):
        runtime.invoke_endpoint(EndpointName="e", Body=b"")
    admin("ClearFaults", {})
    with pytest.raises(runtime.exceptions.ValidationError):
        runtime.invoke_endpoint(EndpointName="e", Body=b"")


def test_one_of_many_equal_requests_wins(server: Server, host: Host, service: SageMaker) -> None:
    put_script(host, "pass")
    outcomes: list[str] = []

    def create() -> None:
        try:
            server.client("sagemaker").create_training_job(**training_request("race"))
        except ClientError as error:
            outcomes.append(error.response["Error"]["Code"])
        else:
            outcomes.append("created")

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["ResourceInUse"] * 5 + ["created"]
    service.wait_training_job("race", 20)


def test_wait_is_bounded(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(host, "import time; time.sleep(60)")
    sagemaker.create_training_job(**training_request("endless"))
    with pytest.raises(TimeoutError):
        service.wait_training_job("endless", 0.2)
    with pytest.raises(ServiceError, match="Requested resource not found"):
        service.wait_training_job("unknown")
