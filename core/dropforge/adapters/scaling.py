"""Application Auto Scaling of SageMaker's endpoints.

https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling.html,
https://docs.aws.amazon.com/sagemaker/latest/dg/async-inference-autoscale.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import ClientError

from dropforge.adapters.aws_errors import code_of, translated
from dropforge.adapters.sagemaker import VARIANT

_DIMENSION: Final = "sagemaker:variant:DesiredInstanceCount"
_BACKLOG_PER_INSTANCE: Final = 5.0
"""What AWS's own example keeps an asynchronous endpoint at."""
_REQUESTS_AT_ONCE: Final = 2.0
"""A container answers one request after the other: at two, the instance works two thirds of the time, since a
queue of one server has ρ / (1 - ρ) requests in it on average."""
_COOLDOWN_S: Final = {"ScaleInCooldown": 300, "ScaleOutCooldown": 60}


class ApplicationAutoScaling:
    """See ``dropforge.domain.services.EndpointScaling``. Clients are made when they are first used."""

    def __init__(self, client: Callable[[], Any], cloudwatch: Callable[[], Any]) -> None:
        self._make_client, self._make_cloudwatch = client, cloudwatch

    def bounds(self, endpoint_name: str) -> tuple[int, int] | None:
        with translated(f"looking at the scaling of {endpoint_name}"):
            found = self._make_client().describe_scalable_targets(
                ServiceNamespace="sagemaker", ResourceIds=[_resource(endpoint_name)]
            )["ScalableTargets"]
        return (found[0]["MinCapacity"], found[0]["MaxCapacity"]) if found else None

    def scale(self, endpoint_name: str, minimum: int, maximum: int) -> None:
        client, target = self._make_client(), _target(endpoint_name)
        with translated(f"scaling endpoint {endpoint_name}"):
            # The bounds last: whoever finds them finds the rest as well. A new target needs them first.
            bounded = {**target, "MinCapacity": minimum, "MaxCapacity": maximum}
            if self.bounds(endpoint_name) is None:
                client.register_scalable_target(**{**bounded, "MinCapacity": max(minimum, 1)})
            client.put_scaling_policy(
                **target,
                PolicyName="load",
                PolicyType="TargetTrackingScaling",
                TargetTrackingScalingPolicyConfiguration={
                    **(_backlog(endpoint_name) if minimum == 0 else _AT_ONCE),
                    **_COOLDOWN_S,
                },
            )
            if minimum == 0:
                self._lift_from_zero(client, target, endpoint_name)
            client.register_scalable_target(**bounded)

    def stop(self, endpoint_name: str) -> None:
        with translated(f"stopping the scaling of {endpoint_name}"):
            try:
                self._make_client().deregister_scalable_target(**_target(endpoint_name))
            except ClientError as error:
                if code_of(error) != "ObjectNotFoundException":
                    raise
            self._make_cloudwatch().delete_alarms(AlarmNames=[backlog_alarm(endpoint_name)])

    def _lift_from_zero(self, client: Any, target: dict[str, str], endpoint_name: str) -> None:
        """Without an instance there is no backlog per instance to follow."""
        policy = client.put_scaling_policy(
            **target,
            PolicyName="from-zero",
            PolicyType="StepScaling",
            StepScalingPolicyConfiguration={
                "AdjustmentType": "ChangeInCapacity",
                "MetricAggregationType": "Average",
                "Cooldown": 300,
                "StepAdjustments": [{"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}],
            },
        )
        self._make_cloudwatch().put_metric_alarm(
            AlarmName=backlog_alarm(endpoint_name),
            AlarmDescription="Requests wait for an endpoint without instances: it gets one.",
            Namespace="AWS/SageMaker",
            MetricName="HasBacklogWithoutCapacity",
            Dimensions=[{"Name": "EndpointName", "Value": endpoint_name}],
            Statistic="Average",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1.0,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="missing",
            AlarmActions=[policy["PolicyARN"]],
        )


def backlog_alarm(endpoint_name: str) -> str:
    """The name of the alarm that lifts an endpoint from zero instances."""
    return f"{endpoint_name}-HasBacklogWithoutCapacity"


_AT_ONCE: Final[dict[str, Any]] = {
    "TargetValue": _REQUESTS_AT_ONCE,
    "PredefinedMetricSpecification": {
        "PredefinedMetricType": "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    },
}


def _backlog(endpoint_name: str) -> dict[str, Any]:
    return {
        "TargetValue": _BACKLOG_PER_INSTANCE,
        "CustomizedMetricSpecification": {
            "MetricName": "ApproximateBacklogSizePerInstance",
            "Namespace": "AWS/SageMaker",
            "Dimensions": [{"Name": "EndpointName", "Value": endpoint_name}],
            "Statistic": "Average",
        },
    }


def _resource(endpoint_name: str) -> str:
    return f"endpoint/{endpoint_name}/variant/{VARIANT}"


def _target(endpoint_name: str) -> dict[str, str]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": _resource(endpoint_name),
        "ScalableDimension": _DIMENSION,
    }
