"""Endpoints that answer: creation, invocation, health, errors, deletion."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sagemaker_host import (
    ECHO,
    IMAGE,
    ROLE,
    SERVING,
    Host,
    add_config,
    add_endpoint,
    add_model,
    ask,
    await_endpoint,
    model_archive,
    server_pids,
    wait_until,
)

from dropforge_local.sagemaker.service import Limits, SageMaker


def test_endpoint_comes_into_service_and_predicts(sagemaker: Any, runtime: Any, host: Host) -> None:
    description = add_endpoint(host, sagemaker, "Live")
    assert description["EndpointStatus"] == "InService"
    assert description["EndpointArn"].endswith(":endpoint/live")
    (variant,) = description["ProductionVariants"]
    assert (variant["VariantName"], variant["CurrentInstanceCount"]) == ("AllTraffic", 1)
    answer = runtime.invoke_endpoint(
        EndpointName="Live", Body=b"x", ContentType="text/csv", Accept="text/csv"
    )
    assert answer["Body"].read() == b"one"
    assert answer["ContentType"].startswith("text/csv")
    assert answer["InvokedProductionVariant"] == "AllTraffic"


def test_events_use_upper_snake_statuses(sagemaker: Any, host: Host) -> None:
    add_endpoint(host, sagemaker)
    sagemaker.delete_endpoint(EndpointName="ep")
    wait_until(lambda: len(host.events) >= 4)
    assert {detail_type for detail_type, _, _ in host.events} == {"SageMaker Endpoint State Change"}
    assert [d["EndpointStatus"] for _, d, _ in host.events] == [
        "CREATING",
        "IN_SERVICE",
        "DELETING",
        "DELETED",
    ]
    _, detail, resources = host.events[1]
    assert detail["EndpointName"] == "ep"
    assert detail["EndpointConfigName"] == "config-one"
    assert isinstance(detail["CreationTime"], int)
    assert resources == [detail["EndpointArn"]]


def test_container_answer_that_is_no_success_is_a_model_error(
    sagemaker: Any, runtime: Any, host: Host
) -> None:
    add_endpoint(host, sagemaker)
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        ask(runtime, body=b"status")
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 418
    assert response["OriginalMessage"] == "no such thing"
    assert response["LogStreamArn"].endswith(":log-group:/aws/sagemaker/Endpoints/ep")
    assert 'Received client error (418) from primary with message "no such thing"' in str(caught.value)
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        ask(runtime, body=b"raise")
    assert caught.value.response["OriginalStatusCode"] == 500
    wait_until(lambda: "ValueError: broken" in host.log("/aws/sagemaker/Endpoints/ep"))
    with pytest.raises(runtime.exceptions.ModelError, match="ended while it handled the request"):
        ask(runtime, body=b"cut")


def test_unknown_and_starting_endpoints_are_not_found(sagemaker: Any, runtime: Any, host: Host) -> None:
    with pytest.raises(
        ClientError, match=r"\(ValidationError\).*Endpoint nope of account 000000000000 not found"
    ):
        ask(runtime, "nope")
    slow = "import time; time.sleep(2)\n" + ECHO
    add_model(host, sagemaker, "slow", slow)
    add_config(sagemaker, "config", "slow")
    sagemaker.create_endpoint(EndpointName="starting", EndpointConfigName="config")
    with pytest.raises(ClientError, match="not found"):
        ask(runtime, "starting")
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        sagemaker.delete_endpoint(EndpointName="starting")
    with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
        sagemaker.update_endpoint(EndpointName="starting", EndpointConfigName="config")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("raise RuntimeError('not importable')", "not importable"),
        ("def model_fn(folder): raise RuntimeError('not loadable')", "not loadable"),
        ("def predict_fn(data, model): return 1", "Please provide a model_fn implementation"),
    ],
)
def test_model_that_cannot_be_loaded_fails_the_endpoint(
    sagemaker: Any, host: Host, script: str, said: str
) -> None:
    add_model(host, sagemaker, "broken", script)
    add_config(sagemaker, "config", "broken")
    sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config")
    description = await_endpoint(sagemaker, "ep")
    assert description["EndpointStatus"] == "Failed"
    assert description["FailureReason"] == (
        "The primary container for production variant AllTraffic did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint."
    )
    assert said in host.log("/aws/sagemaker/Endpoints/ep")
    with pytest.raises(ClientError, match="DeleteEndpoint is the only operation"):
        sagemaker.update_endpoint(EndpointName="ep", EndpointConfigName="config")
    sagemaker.delete_endpoint(EndpointName="ep")


class TestSlowStart:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(health_check_s=1.0, ping_timeout_s=0.3, restart_backoff_s=0.05, log_flush_s=0.05)

    def test_endpoint_that_never_gets_healthy_fails_in_bounded_time(self, sagemaker: Any, host: Host) -> None:
        add_model(host, sagemaker, "hanging", "import time; time.sleep(60)")
        add_config(sagemaker, "config", "hanging")
        started = time.monotonic()
        sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config")
        assert await_endpoint(sagemaker, "ep")["EndpointStatus"] == "Failed"
        assert time.monotonic() - started < 10


def test_missing_requirements_are_named_in_the_log(sagemaker: Any, host: Host) -> None:
    archive = model_archive(
        {
            "code/inference.py": ECHO,
            "version.txt": "1",
            "code/requirements.txt": "flask\nno-such-package==1\n",
        }
    )
    host.s3.put_object(Bucket="data", Key="models/needy.tar.gz", Body=archive)
    container = {"Image": IMAGE, "ModelDataUrl": "s3://data/models/needy.tar.gz", "Environment": SERVING}
    sagemaker.create_model(ModelName="needy", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    add_config(sagemaker, "config", "needy")
    sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config")
    assert await_endpoint(sagemaker, "ep")["EndpointStatus"] == "Failed"
    assert "no-such-package==1" in host.log("/aws/sagemaker/Endpoints/ep")


def test_archive_that_leaves_its_folder_fails_the_endpoint(
    sagemaker: Any, host: Host, tmp_path: Path
) -> None:
    host.s3.put_object(Bucket="data", Key="models/evil.tar.gz", Body=model_archive({"../../evil": "x"}))
    container = {"Image": IMAGE, "ModelDataUrl": "s3://data/models/evil.tar.gz", "Environment": SERVING}
    sagemaker.create_model(ModelName="evil", ExecutionRoleArn=ROLE, PrimaryContainer=container)
    add_config(sagemaker, "config", "evil")
    sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config")
    description = await_endpoint(sagemaker, "ep")
    assert "Failed to extract model data archive" in description["FailureReason"]
    assert not list(tmp_path.rglob("evil"))


def test_archive_that_went_away_fails_the_endpoint(sagemaker: Any, host: Host) -> None:
    add_model(host, sagemaker, "one")
    add_config(sagemaker, "config", "one")
    host.s3.delete_object(Bucket="data", Key="models/one.tar.gz")
    sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config")
    description = await_endpoint(sagemaker, "ep")
    assert "Failed to download model data for container" in description["FailureReason"]
    with pytest.raises(ClientError, match="Could not find model data at s3://data/models/one"):
        sagemaker.create_model(
            ModelName="again",
            ExecutionRoleArn=ROLE,
            PrimaryContainer={"Image": IMAGE, "ModelDataUrl": "s3://data/models/one.tar.gz"},
        )


def test_payload_beyond_the_limit_is_refused(
    service: SageMaker, sagemaker: Any, runtime: Any, host: Host
) -> None:
    add_endpoint(host, sagemaker)
    with pytest.raises(ClientError, match=r"\(413\).*exceeded 26214400 bytes") as caught:
        ask(runtime, body=b"x" * (25 * 1024 * 1024 + 1))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


class TestInvocationTime:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(health_check_s=20.0, invocation_timeout_s=0.5, log_flush_s=0.05)

    def test_model_that_answers_too_late_is_a_model_error(
        self, sagemaker: Any, runtime: Any, host: Host
    ) -> None:
        add_endpoint(host, sagemaker)
        with pytest.raises(runtime.exceptions.ModelError, match="Your invocation timed out") as caught:
            ask(runtime, body=b"sleep 1.5")
        assert caught.value.response["OriginalStatusCode"] == 0


def test_model_server_that_crashes_is_started_again(sagemaker: Any, runtime: Any, host: Host) -> None:
    add_endpoint(host, sagemaker)
    server, worker = server_pids(runtime)
    os.kill(server, signal.SIGKILL)

    def answers_anew() -> bool:
        try:
            return server_pids(runtime)[1] != worker
        except runtime.exceptions.ModelError:  # the request that met the dying server
            return False

    wait_until(answers_anew)
    assert ask(runtime) == "one"


def test_worker_that_dies_in_a_request_is_a_model_error_and_is_replaced(
    sagemaker: Any, runtime: Any, host: Host
) -> None:
    add_endpoint(host, sagemaker)
    with pytest.raises(runtime.exceptions.ModelError, match="ended while it handled the request"):
        ask(runtime, body=b"exit")
    assert ask(runtime) == "one"


class TestCrashLoop:
    @pytest.fixture
    def limits(self) -> Limits:
        return Limits(health_check_s=20.0, crash_restarts=1, restart_backoff_s=0.01, log_flush_s=0.05)

    def test_server_that_keeps_crashing_is_given_up(self, sagemaker: Any, runtime: Any, host: Host) -> None:
        add_endpoint(host, sagemaker)

        def crash() -> bool:
            try:
                server, _ = server_pids(runtime)
            except ClientError as error:
                return error.response["Error"]["Code"] == "ServiceUnavailable"
            with contextlib.suppress(ProcessLookupError):  # killed before, and its worker has answered for it
                os.kill(server, signal.SIGKILL)
            return False

        wait_until(crash)


def test_variants_get_traffic_by_weight_and_by_name(sagemaker: Any, runtime: Any, host: Host) -> None:
    for name in ("one", "two"):
        add_model(host, sagemaker, name)
    variants = [
        {
            "VariantName": name,
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
            "InitialVariantWeight": weight,
        }
        for name, weight in (("one", 3.0), ("two", 1.0))
    ]
    sagemaker.create_endpoint_config(EndpointConfigName="config", ProductionVariants=variants)
    sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config")
    await_endpoint(sagemaker, "ep")
    assert Counter(ask(runtime) for _ in range(16)) == {"one": 12, "two": 4}
    assert {ask(runtime, TargetVariant="two") for _ in range(3)} == {"two"}
    with pytest.raises(ClientError, match="Variant three was not found"):
        ask(runtime, TargetVariant="three")

    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="ep",
        DesiredWeightsAndCapacities=[
            {"VariantName": "one", "DesiredWeight": 0.0},
            {"VariantName": "two", "DesiredInstanceCount": 2},
        ],
    )
    description = await_endpoint(sagemaker, "ep")
    assert [v["CurrentWeight"] for v in description["ProductionVariants"]] == [0.0, 1.0]
    assert [v["CurrentInstanceCount"] for v in description["ProductionVariants"]] == [1, 2]
    assert {ask(runtime) for _ in range(4)} == {"two"}
    assert len({server_pids(runtime) for _ in range(4)}) == 2


def test_serverless_endpoint_holds_its_concurrency(sagemaker: Any, runtime: Any, host: Host) -> None:
    add_model(host, sagemaker, "one")
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "one",
        "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 1},
    }
    sagemaker.create_endpoint_config(EndpointConfigName="serverless", ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="serverless")
    description = await_endpoint(sagemaker, "ep")
    assert description["ProductionVariants"][0]["CurrentServerlessConfig"]["MaxConcurrency"] == 1

    def outcome(_: int) -> str:
        try:
            return ask(runtime, body=b"sleep 1")
        except ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(outcome, range(3))) == ["ThrottlingException", "ThrottlingException", "one"]
    assert ask(runtime) == "one"
    with pytest.raises(ClientError, match=r"\(413\).*exceeded 4194304 bytes"):
        ask(runtime, body=b"x" * (4 * 1024 * 1024 + 1))


def test_real_time_cannot_become_serverless_but_the_other_way_round(
    sagemaker: Any, runtime: Any, host: Host
) -> None:
    add_endpoint(host, sagemaker)
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "one",
        "ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 5},
    }
    sagemaker.create_endpoint_config(EndpointConfigName="serverless", ProductionVariants=[variant])
    with pytest.raises(ClientError, match=r"ValidationException.*real-time endpoint to a serverless"):
        sagemaker.update_endpoint(EndpointName="ep", EndpointConfigName="serverless")
    sagemaker.create_endpoint(EndpointName="sl", EndpointConfigName="serverless")
    await_endpoint(sagemaker, "sl")
    sagemaker.update_endpoint(EndpointName="sl", EndpointConfigName="config-one")
    assert await_endpoint(sagemaker, "sl")["EndpointConfigName"] == "config-one"


def test_default_functions_serve_an_estimator(sagemaker: Any, runtime: Any, host: Host) -> None:
    script = """
    class Doubler:
        def predict(self, data):
            assert str(data.dtype) == "float32"
            return data * 2

    def model_fn(folder):
        return Doubler()
    """
    add_model(host, sagemaker, "doubler", script)
    add_config(sagemaker, "config", "doubler")
    sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config")
    await_endpoint(sagemaker, "ep")
    assert ask(runtime, body=b"1,2\n3,4\n", Accept="application/json") == "[[2.0, 4.0], [6.0, 8.0]]"
    answer = runtime.invoke_endpoint(
        EndpointName="ep", Body=b"[[1, 2]]", ContentType="application/json", Accept="text/csv"
    )
    assert answer["Body"].read() == b"2.0,4.0\n"
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        runtime.invoke_endpoint(EndpointName="ep", Body=b"x", ContentType="image/png")
    assert caught.value.response["OriginalStatusCode"] == 500


def test_deleted_endpoint_ends_its_processes_and_frees_its_name(
    service: SageMaker, sagemaker: Any, runtime: Any, host: Host
) -> None:
    add_endpoint(host, sagemaker)
    pid, _ = server_pids(runtime)
    sagemaker.delete_endpoint(EndpointName="ep")

    def gone() -> bool:
        try:
            sagemaker.describe_endpoint(EndpointName="ep")
        except ClientError as error:
            return "Could not find endpoint" in str(error)
        return False

    wait_until(gone)
    assert not Path(f"/proc/{pid}").exists()
    sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config-one")
    assert await_endpoint(sagemaker, "ep")["EndpointStatus"] == "InService"


def test_model_package_has_to_be_approved_to_be_deployed(sagemaker: Any, runtime: Any, host: Host) -> None:
    archive = model_archive({"code/inference.py": ECHO, "version.txt": "packaged"})
    host.s3.put_object(Bucket="data", Key="models/p.tar.gz", Body=archive)
    sagemaker.create_model_package_group(ModelPackageGroupName="group")
    container = {"Image": IMAGE, "ModelDataUrl": "s3://data/models/p.tar.gz", "Environment": SERVING}
    arn = sagemaker.create_model_package(
        ModelPackageGroupName="group",
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )["ModelPackageArn"]
    model = {"ModelName": "packaged", "ExecutionRoleArn": ROLE, "PrimaryContainer": {"ModelPackageName": arn}}
    with pytest.raises(ClientError, match="only an Approved model package can be deployed"):
        sagemaker.create_model(**model)
    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    sagemaker.create_model(**model)
    add_config(sagemaker, "config", "packaged")
    sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config")
    await_endpoint(sagemaker, "ep")
    assert ask(runtime) == "packaged"
