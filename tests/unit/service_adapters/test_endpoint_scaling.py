"""Application Auto Scaling is asked in its own shapes, in an order that half of it is taken up from."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from dropforge.adapters.scaling import ApplicationAutoScaling, backlog_alarm
from dropforge.domain.errors import AccessDenied

TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/model/variant/live",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
ARN = "arn:aws:autoscaling:us-east-1:123456789012:scalingPolicy:p:resource/sagemaker/x:policyName/from-zero"


class Recorded:
    """Clients whose requests botocore has checked, and what they were asked."""

    def __init__(self, bounds: tuple[int, int] | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._bounds = bounds
        keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
        self.scaling = boto3.client("application-autoscaling", "us-east-1", **keys)
        self.cloudwatch = boto3.client("cloudwatch", "us-east-1", **keys)
        for client in (self.scaling, self.cloudwatch):
            client.meta.events.register("before-call", self._answer)

    def _answer(self, model: Any, params: dict[str, Any], **_: Any) -> Any:
        body = params["body"]
        request = json.loads(body) if isinstance(body, bytes | str) else dict(body)
        self.asked.append((model.name, request))
        found = []
        if self._bounds is not None:
            low, high = self._bounds
            found = [{**TARGET, "MinCapacity": low, "MaxCapacity": high}]
        answers = {
            "DescribeScalableTargets": {"ScalableTargets": found},
            "PutScalingPolicy": {"PolicyARN": ARN},
        }
        ok = type("Response", (), {"status_code": 200, "headers": {}})()
        return ok, {"ResponseMetadata": {"HTTPStatusCode": 200}, **answers.get(model.name, {})}

    @property
    def adapter(self) -> ApplicationAutoScaling:
        return ApplicationAutoScaling(lambda: self.scaling, lambda: self.cloudwatch)

    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


def test_an_asynchronous_endpoint_follows_its_backlog_and_is_lifted_from_zero_by_an_alarm():
    clients = Recorded()
    clients.adapter.scale("model", 0, 3)
    assert clients.names() == [
        "DescribeScalableTargets",
        "RegisterScalableTarget",
        "PutScalingPolicy",
        "PutScalingPolicy",
        "PutMetricAlarm",
        "RegisterScalableTarget",
    ]
    # Nothing is at zero before there is something that lifts it.
    first, last = clients.asked[1][1], clients.asked[-1][1]
    assert (first["MinCapacity"], last["MinCapacity"], last["MaxCapacity"]) == (1, 0, 3)
    tracking = clients.asked[2][1]["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["CustomizedMetricSpecification"]["MetricName"] == "ApproximateBacklogSizePerInstance"
    alarm = clients.asked[4][1]
    assert ARN in str(alarm)
    assert "HasBacklogWithoutCapacity" in str(alarm)


def test_a_real_time_endpoint_follows_its_concurrency():
    clients = Recorded((1, 2))
    clients.adapter.scale("model", 1, 4)
    assert clients.names() == ["DescribeScalableTargets", "PutScalingPolicy", "RegisterScalableTarget"]
    tracking = clients.asked[1][1]["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["PredefinedMetricSpecification"]["PredefinedMetricType"].endswith("HighResolution")


def test_bounds_are_those_of_the_live_variant():
    assert Recorded((0, 3)).adapter.bounds("model") == (0, 3)
    assert Recorded().adapter.bounds("model") is None


@pytest.mark.parametrize("code", ["ObjectNotFoundException", "AccessDeniedException"])
def test_scaling_that_is_gone_is_fine_to_stop(code):
    clients = Recorded()
    scaling = boto3.client(
        "application-autoscaling", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    with Stubber(scaling) as stub:
        stub.add_client_error("deregister_scalable_target", code, expected_params=TARGET)
        adapter = ApplicationAutoScaling(lambda: scaling, lambda: clients.cloudwatch)
        if code == "ObjectNotFoundException":
            adapter.stop("model")
            assert clients.names() == ["DeleteAlarms"]
            assert backlog_alarm("model") in str(clients.asked[0][1])
        else:
            with pytest.raises(AccessDenied):
                adapter.stop("model")
            assert clients.names() == []
