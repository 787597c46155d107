"""Asynchronous endpoints: requests wait, answers go to S3, instances come and go with the backlog."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sagemaker_host import Host, Server, add_config, add_model, ask, await_endpoint, wait_until

from dropforge_local.sagemaker.service import Limits, SageMaker

RESOURCE = "endpoint/ep/variant/AllTraffic"
TARGET: dict[str, Any] = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": RESOURCE,
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
TRACKING = {
    "PolicyName": "backlog",
    "PolicyType": "TargetTrackingScaling",
    "TargetTrackingScalingPolicyConfiguration": {
        "TargetValue": 5.0,
        "CustomizedMetricSpecification": {
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Namespace": "AWS/SageMaker",
            "Dimensions": [{"Name": "EndpointName", "Value": "ep"}],
            "Statistic": "Average",
        },
        "ScaleInCooldown": 60,
        "ScaleOutCooldown": 60,
    },
}
STEP = {
    "PolicyName": "from-zero",
    "PolicyType": "StepScaling",
    "StepScalingPolicyConfiguration": {
        "AdjustmentType": "ChangeInCapacity",
        "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
    },
}


@pytest.fixture
def limits(limits: Limits) -> Limits:
    """Minutes are a fifth of a second."""
    return Limits(**{**vars(limits), "scaling_period_s": 0.2, "scaling_look_s": 0.02})


@pytest.fixture
def scaling(server: Server) -> Any:
    return server.client("application-autoscaling")


def add_asynchronous(host: Host, sagemaker: Any, name: str = "ep", model: str = "one", **output: str) -> None:
    add_model(host, sagemaker, model)
    sagemaker.create_endpoint_config(
        EndpointConfigName=f"config-{model}",
        ProductionVariants=[
            {"VariantName": "AllTraffic", "ModelName": model, "InstanceType": "ml.m5.large"}
            | {"InitialInstanceCount": 1}
        ],
        AsyncInferenceConfig={
            "OutputConfig": {
                "S3OutputPath": "s3://data/out",
                "S3FailurePath": "s3://data/failed",
                **output,
            }
        },
    )
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=f"config-{model}")
    assert await_endpoint(sagemaker, name)["EndpointStatus"] == "InService"


def put(host: Host, text: bytes, name: str = "x") -> str:
    host.s3.put_object(Bucket="data", Key=f"in/{name}", Body=text)
    return f"s3://data/in/{name}"


def read(host: Host, uri: str) -> str | None:
    key = uri.removeprefix("s3://data/")
    try:
        body: bytes = host.s3.get_object(Bucket="data", Key=key)["Body"].read()
    except ClientError:
        return None
    return body.decode()


def invoke(runtime: Any, location: str, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = runtime.invoke_endpoint_async(
        EndpointName="ep", InputLocation=location, ContentType="text/csv", **more
    )
    return answer


def scale_to(sagemaker: Any, count: int) -> None:
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="ep",
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": count}],
    )
    await_endpoint(sagemaker, "ep")


def instances(sagemaker: Any) -> int:
    (variant,) = sagemaker.describe_endpoint(EndpointName="ep")["ProductionVariants"]
    return int(variant["CurrentInstanceCount"])


def latest(host: Host, name: str) -> float | None:
    return next((value for metric, value, *_ in reversed(list(host.metrics)) if metric == name), None)


def test_the_answer_is_put_where_the_request_was_told_it_would_be(
    host: Host, sagemaker: Any, runtime: Any
) -> None:
    add_asynchronous(host, sagemaker)
    described = sagemaker.describe_endpoint(EndpointName="ep")
    assert described["AsyncInferenceConfig"]["OutputConfig"]["S3OutputPath"] == "s3://data/out"

    answer = invoke(runtime, put(host, b"x"), InferenceId="mine")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["InferenceId"] == "mine"
    assert answer["OutputLocation"].startswith("s3://data/out/")
    assert answer["FailureLocation"].startswith("s3://data/failed/")
    assert wait_until(lambda: read(host, answer["OutputLocation"])) == "one"

    named = invoke(runtime, put(host, b"x"), Filename="mine.json", S3OutputPathExtension="a/b")
    assert named["OutputLocation"] == "s3://data/out/a/b/mine.json"
    assert wait_until(lambda: read(host, named["OutputLocation"])) == "one"
    wait_until(lambda: [m[0] for m in list(host.metrics)].count("InvocationsProcessed") == 2)


@pytest.mark.parametrize(
    ("body", "said"), [(b"status", "no such thing"), (b"raise", "broken"), (None, "does not exist")]
)
def test_what_fails_is_put_to_the_failure_location(
    host: Host, sagemaker: Any, runtime: Any, body: bytes | None, said: str
) -> None:
    add_asynchronous(host, sagemaker)
    location = "s3://data/in/missing" if body is None else put(host, body)
    answer = invoke(runtime, location)
    found = wait_until(lambda: read(host, answer["FailureLocation"]))
    assert said in found or "Received server error (500)" in found
    assert read(host, answer["OutputLocation"]) is None
    wait_until(lambda: latest(host, "InvocationFailures") == 1.0)


def test_a_request_that_takes_too_long_fails(host: Host, sagemaker: Any, runtime: Any) -> None:
    add_asynchronous(host, sagemaker)
    answer = invoke(runtime, put(host, b"sleep 20"), InvocationTimeoutSeconds=1)
    assert "timed out" in wait_until(lambda: read(host, answer["FailureLocation"]))


def test_the_two_ways_of_asking_exclude_each_other(host: Host, sagemaker: Any, runtime: Any) -> None:
    add_asynchronous(host, sagemaker)
    with pytest.raises(ClientError, match="is asynchronous"):
        ask(runtime)
    add_model(host, sagemaker, "two")
    add_config(sagemaker, "config-two", "two")
    sagemaker.create_endpoint(EndpointName="plain", EndpointConfigName="config-two")
    await_endpoint(sagemaker, "plain")
    with pytest.raises(ClientError, match="not an asynchronous endpoint"):
        runtime.invoke_endpoint_async(EndpointName="plain", InputLocation="s3://data/in/x")
    with pytest.raises(ClientError, match="not found"):
        runtime.invoke_endpoint_async(EndpointName="nobody", InputLocation="s3://data/in/x")
    with pytest.raises(ClientError, match="requestTTLSeconds"):
        invoke(runtime, "s3://data/in/x", RequestTTLSeconds=21_601)
    with pytest.raises(ClientError, match="from or to asynchronous"):
        sagemaker.update_endpoint(EndpointName="plain", EndpointConfigName="config-one")
    with pytest.raises(ClientError, match="Only an asynchronous endpoint"):
        sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="plain",
            DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 0}],
        )


def test_requests_wait_for_an_instance_also_across_a_restart_and_an_update(
    host: Host, sagemaker: Any, runtime: Any, service: SageMaker
) -> None:
    add_asynchronous(host, sagemaker)
    scale_to(sagemaker, 0)
    assert instances(sagemaker) == 0
    answer = invoke(runtime, put(host, b"x"))
    service.stop()
    service.start()
    await_endpoint(sagemaker, "ep")
    assert read(host, answer["OutputLocation"]) is None
    add_model(host, sagemaker, "two")
    sagemaker.create_endpoint_config(
        EndpointConfigName="config-two",
        ProductionVariants=[
            {"VariantName": "AllTraffic", "ModelName": "two", "InstanceType": "ml.m5.large"}
            | {"InitialInstanceCount": 1}
        ],
        AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": "s3://data/elsewhere"}},
    )
    sagemaker.update_endpoint(EndpointName="ep", EndpointConfigName="config-two")
    assert wait_until(lambda: read(host, answer["OutputLocation"])) == "two"


def test_what_waits_too_long_expires_and_a_deleted_endpoint_forgets(
    tmp_path: Path, host: Host, limits: Limits
) -> None:
    now = [1_800_000_000.0]
    service = SageMaker(tmp_path / "state", host.ports(), limits=limits, clock=lambda: now[0])
    service.start()
    server = Server(service)
    try:
        sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
        add_asynchronous(host, sagemaker)
        scale_to(sagemaker, 0)
        expired = invoke(runtime, put(host, b"x"), RequestTTLSeconds=60)
        now[0] += 61
        wait_until(lambda: latest(host, "ExpiredRequests") == 1.0)
        scale_to(sagemaker, 1)
        kept = invoke(runtime, put(host, b"x"))
        assert wait_until(lambda: read(host, kept["OutputLocation"])) == "one"
        assert read(host, expired["OutputLocation"]) is None
    finally:
        server.close()
        service.stop()


def test_a_backlog_lifts_the_endpoint_from_zero_and_idleness_brings_it_back(
    host: Host, sagemaker: Any, runtime: Any, scaling: Any
) -> None:
    add_asynchronous(host, sagemaker)
    scaling.register_scalable_target(**TARGET, MinCapacity=0, MaxCapacity=2)
    scaling.put_scaling_policy(**TARGET, **TRACKING)
    action = scaling.put_scaling_policy(**TARGET, **STEP)["PolicyARN"]
    assert ":scalingPolicy:" in action
    host.breaches = {action: lambda: 0.0 if latest(host, "HasBacklogWithoutCapacity") else None}

    wait_until(lambda: instances(sagemaker) == 0)  # nothing waits for fifteen of its minutes
    answer = invoke(runtime, put(host, b"x"))
    assert wait_until(lambda: read(host, answer["OutputLocation"])) == "one"
    assert instances(sagemaker) == 1
    slow = [invoke(runtime, put(host, b"sleep 0.5", str(number))) for number in range(60)]
    wait_until(lambda: instances(sagemaker) == 2)
    for each in slow:
        assert wait_until(lambda each=each: read(host, each["OutputLocation"])) == "one"
    wait_until(lambda: instances(sagemaker) == 0)
    (found,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (found["MinCapacity"], found["MaxCapacity"]) == (0, 2)
    policies = scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
    assert {each["PolicyName"] for each in policies} == {"backlog", "from-zero"}


def test_what_scaling_does_not_carry_out_is_refused_by_name(host: Host, sagemaker: Any, scaling: Any) -> None:
    with pytest.raises(ClientError, match="Could not find endpoint"):
        scaling.register_scalable_target(**TARGET, MinCapacity=0, MaxCapacity=1)
    add_asynchronous(host, sagemaker)
    with pytest.raises(ClientError, match="scaling of ecs"):
        scaling.register_scalable_target(**{**TARGET, "ServiceNamespace": "ecs"}, MinCapacity=0)
    with pytest.raises(ClientError, match="SuspendedState"):
        scaling.register_scalable_target(**TARGET, SuspendedState={"DynamicScalingInSuspended": True})
    with pytest.raises(ClientError, match="MinCapacity and MaxCapacity must be given"):
        scaling.register_scalable_target(**TARGET)
    with pytest.raises(ClientError, match="No scalable target registered"):
        scaling.put_scaling_policy(**TARGET, **STEP)
    with pytest.raises(ClientError, match="does not support PutScheduledAction"):
        scaling.put_scheduled_action(**TARGET, ScheduledActionName="x", Schedule="rate(1 day)")
    scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=1)
    cpu = {
        "TargetValue": 50.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
    }
    with pytest.raises(ClientError, match="target tracking of ECSServiceAverageCPUUtilization"):
        scaling.put_scaling_policy(
            **TARGET,
            PolicyName="cpu",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=cpu,
        )
    scaling.deregister_scalable_target(**TARGET)
    with pytest.raises(scaling.exceptions.ObjectNotFoundException):
        scaling.deregister_scalable_target(**TARGET)


def test_a_scaled_variant_keeps_its_instance_type_until_it_is_deregistered(
    host: Host, sagemaker: Any, scaling: Any
) -> None:
    add_asynchronous(host, sagemaker)
    scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=1)
    sagemaker.create_endpoint_config(
        EndpointConfigName="larger",
        ProductionVariants=[
            {"VariantName": "AllTraffic", "ModelName": "one", "InstanceType": "ml.m5.xlarge"}
            | {"InitialInstanceCount": 1}
        ],
        AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": "s3://data/out"}},
    )
    with pytest.raises(ClientError, match="deregister it before"):
        sagemaker.update_endpoint(EndpointName="ep", EndpointConfigName="larger")
    scaling.deregister_scalable_target(**TARGET)
    sagemaker.update_endpoint(EndpointName="ep", EndpointConfigName="larger")
    assert await_endpoint(sagemaker, "ep")["EndpointConfigName"] == "larger"
    scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=1)
    sagemaker.delete_endpoint(EndpointName="ep")
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


def test_a_real_time_endpoint_follows_how_much_it_is_asked_at_once(
    host: Host, sagemaker: Any, runtime: Any, scaling: Any
) -> None:
    add_model(host, sagemaker, "one")
    add_config(sagemaker, "config-one", "one")
    sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config-one")
    await_endpoint(sagemaker, "ep")
    with pytest.raises(ClientError, match="Only an asynchronous endpoint"):
        scaling.register_scalable_target(**TARGET, MinCapacity=0, MaxCapacity=3)
    scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=3)
    kind = {"PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"}
    scaling.put_scaling_policy(
        **TARGET,
        PolicyName="busy",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={"TargetValue": 2.0, "PredefinedMetricSpecification": kind},
    )
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, runtime, "ep", b"sleep 0.5") for _ in range(60)]
        wait_until(lambda: instances(sagemaker) == 3)
        assert {each.result() for each in asked} == {"one"}
    wait_until(lambda: instances(sagemaker) == 1)
