"""An asynchronous endpoint from its first deployment to its last: asked, watched, scaled, replaced, left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.workflow.prediction_api import Api, HttpAnswer
from tests.workflow.stack import Stack, wait_for
from tests.workflow.test_main_job import TEMPLATE, rows_of

SCALED: Mapping[str, Any] = {
    "ServiceNamespace": "sagemaker",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


def variant(stack: Stack) -> Mapping[str, Any]:
    (found,) = stack.sagemaker.describe_endpoint(EndpointName=stack.model_name)["ProductionVariants"]
    return found


def answered(api: Api, identifier: str) -> HttpAnswer:
    def look() -> HttpAnswer | None:
        found = api.call("GET", f"/predictions/{identifier}")
        return None if found.status == 202 else found

    return wait_for("answer", look)


def logged(stack: Stack, identifier: str) -> Mapping[str, Any] | None:
    table = stack.host.client("dynamodb")
    found = table.scan(
        TableName=stack.outputs["PredictionsTable"],
        FilterExpression="sk = :id",
        ExpressionAttributeValues={":id": {"S": identifier}},
    )["Items"]
    assert len(found) <= 1
    return found[0] if found else None


def test_an_asynchronous_endpoint_answers_later_has_no_instance_meanwhile_and_can_be_left(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    stack = deploy_sample(
        "wine", EndpointMode="asynchronous", EndpointMaxInstances="2", TrainingData="new-drops"
    )
    live = stack.live_or_first(samples["wine"])
    assert live.is_asynchronous
    api = Api(stack)
    rows = rows_of(samples["wine"], without=("cultivar", "id"))[:3]
    scaling, cloudwatch = stack.host.client("application-autoscaling"), stack.host.client("cloudwatch")

    asked = api.call("POST", "/predict", {"instances": rows})
    assert asked.status == 202
    assert asked.headers["location"] == f"predictions/{asked.body['id']}"
    found = answered(api, asked.body["id"])
    assert found.status == 200
    assert [each["id"] for each in found.body["predictions"]] == [
        each["id"] for each in asked.body["predictions"]
    ]
    labels = [each["label"] for each in found.body["predictions"]]
    one = api.call("GET", f"/predictions/{asked.body['predictions'][0]['id']}")
    assert (one.status, one.body["prediction"]["label"]) == (200, labels[0])

    # Nobody asks for this one: it is logged all the same.
    unread = api.call("POST", "/predict", {"instance": rows[0]}).body["predictions"][0]["id"]
    wait_for("logged prediction", lambda: logged(stack, unread))
    assert api.call("GET", f"/predictions/{unread}").status == 200

    # The reconciliation has it scaled, between none and two.
    stack.invoke("ReconcileRuns")
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 2)
    alarm = f"{stack.model_name}-HasBacklogWithoutCapacity"
    assert cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
    # What target tracking does after a quarter of an hour without a backlog.
    stack.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=stack.model_name,
        DesiredWeightsAndCapacities=[{"VariantName": "live", "DesiredInstanceCount": 0}],
    )
    wait_for("endpoint without instances", lambda: variant(stack)["CurrentInstanceCount"] == 0 or None)
    waits = api.call("POST", "/predict", {"instance": rows[1]}).body["id"]
    assert api.call("GET", f"/predictions/{waits}").status == 202
    found = answered(api, waits)
    assert found.body["predictions"][0]["label"] == labels[1]
    assert variant(stack)["CurrentInstanceCount"] == 1

    # Another version takes over by an update; what waits meanwhile is answered, and the scaling comes again.
    stack.update(TEMPLATE, EndpointMode="asynchronous", EndpointMaxInstances="3")
    stack.drop(samples["wine"], "more.csv")
    stack.wait_for_version(2)
    stack.approve(2)
    stack.wait_for_run_of(stack.wait_for_live(2))
    assert "UpdateEndpoint" in stack.states(stack.deployments()[-1]["executionArn"])
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []
    stack.invoke("ReconcileRuns")
    (target,) = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 3)

    # A window is watched once everything in it has been answered.
    now = time.time()
    stack.invoke("WatchModel", time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 2 * 3600)))

    stack.update(TEMPLATE, EndpointMode="serverless")
    last = api.call("POST", "/predict", {"instance": rows[2]})
    assert last.status == 202  # the endpoint is what it was until something is deployed
    stack.drop(samples["wine"], "serverless.csv")
    stack.wait_for_version(3)
    stack.approve(3)
    stack.wait_for_run_of(stack.wait_for_live(3))
    stack.wait_for_notification("endpoint-gap", "EndpointMode is serverless")
    assert variant(stack)["CurrentServerlessConfig"]
    assert not cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"]

    def at_once_or_not() -> HttpAnswer | None:
        # For some seconds the function knows the pointer of before.
        found = api.call("POST", "/predict", {"instances": rows})
        assert found.status in (200, 503)
        return found if found.status == 200 else None

    at_once = wait_for("answer at once", at_once_or_not)
    assert [each["label"] for each in at_once.body["predictions"]] == labels
    assert api.call("GET", f"/predictions/{waits}").body["predictions"] == found.body["predictions"]
    assert answered(api, last.body["id"]).body["predictions"][0]["label"] == labels[2]
