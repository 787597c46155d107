"""A real-time endpoint can't be updated to serverless: it is made anew, as is what was live if that fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.workflow.stack import Stack
from tests.workflow.test_breakage import change_script
from tests.workflow.test_main_job import TEMPLATE, rows_of

VPC = {"SubnetIds": "subnet-0a1b2c3d,subnet-0a1b2c3e", "SecurityGroupIds": "sg-0a1b2c3d"}


def running(stack: Stack) -> Mapping[str, Any]:
    (variant,) = stack.sagemaker.describe_endpoint(EndpointName=stack.model_name)["ProductionVariants"]
    return variant


def test_an_endpoint_becomes_serverless_behind_a_gap_and_real_time_again_where_that_fails(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path], product_copy: Path
) -> None:
    stack = deploy_sample("wine", EndpointMode="real-time", TrainingData="new-drops", **VPC)
    live = stack.live_or_first(samples["wine"])
    (job,) = stack.sagemaker.list_training_jobs(NameContains=live.run_id)["TrainingJobSummaries"]
    trained = stack.sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])
    (model,) = stack.sagemaker.list_models(NameContains=stack.model_name)["Models"]
    served = stack.sagemaker.describe_model(ModelName=model["ModelName"])
    in_vpc = {"Subnets": VPC["SubnetIds"].split(","), "SecurityGroupIds": [VPC["SecurityGroupIds"]]}
    assert trained["VpcConfig"] == served["VpcConfig"] == in_vpc
    assert trained["EnableNetworkIsolation"]
    assert served["EnableNetworkIsolation"]
    rows = rows_of(samples["wine"], without=("cultivar", "id"))[:10]
    answered = stack.predict(rows)
    assert running(stack)["CurrentInstanceCount"] == 1
    # Trains and scores, but can't be loaded where SageMaker serves.
    broken = change_script(
        product_copy,
        "import os\nif os.environ.get('SAGEMAKER_PROGRAM'):\n    raise RuntimeError('not here')",
        "inference.py",
    )

    stack.update(broken, EndpointMode="serverless", **dict.fromkeys(VPC, ""))
    stack.drop(samples["wine"], "broken.csv")
    stack.wait_for_version(2)
    stack.approve(2)
    run = stack.wait_for_failed_run(number=2)

    assert run.error is not None
    assert run.error["class"] == "DeploymentFailed"
    endpoint = stack.sagemaker.describe_endpoint(EndpointName=stack.model_name)
    assert (endpoint["EndpointStatus"], endpoint["EndpointConfigName"]) == ("InService", live.endpoint_config)
    assert running(stack)["CurrentInstanceCount"] == 1
    assert stack.predict(rows) == answered
    stack.wait_for_notification("endpoint-gap", "503")
    stack.wait_for_notification("deployment-failed", "serves again")

    stack.update(TEMPLATE, EndpointMode="serverless", **dict.fromkeys(VPC, ""))
    stack.drop(samples["wine"], "mended.csv")
    stack.wait_for_version(3)
    stack.approve(3)
    stack.wait_for_run_of(stack.wait_for_live(3))

    assert running(stack)["CurrentServerlessConfig"]["MemorySizeInMB"] == 2048
    assert [each["label"] for each in stack.predict(rows)] == [each["label"] for each in answered]
    assert "UpdateEndpoint" not in stack.states(stack.deployments()[-1]["executionArn"])
