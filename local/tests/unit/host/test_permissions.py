"""What Step Functions needs of a machine's role, call by call."""

from __future__ import annotations

import pytest

from dropforge_local.permissions import (
    Place,
    UnknownIntegration,
    managed_rule_permissions,
    map_permissions,
    task_permissions,
)

PLACE = Place("aws", "us-east-1", "123456789012")
MACHINE = PLACE.arn("states", "stateMachine:big")


def needed(resource, arguments):
    return {(each.action, each.resource) for each in task_permissions(resource, arguments, PLACE)}


def test_a_job_that_is_waited_for_is_described_stopped_and_tagged_and_its_role_passed():
    found = task_permissions(
        "arn:aws:states:::sagemaker:createTrainingJob.sync",
        {"TrainingJobName": "job", "RoleArn": "arn:aws:iam::123456789012:role/training"},
        PLACE,
    )
    job = PLACE.arn("sagemaker", "training-job/job")
    verbs = ("CreateTrainingJob", "DescribeTrainingJob", "StopTrainingJob", "AddTags", "ListTags")
    assert [each.action for each in found if each.resource == job] == [f"sagemaker:{verb}" for verb in verbs]
    assert found[-1].action == "iam:PassRole"
    assert found[-1].context == {"iam:PassedToService": "sagemaker.amazonaws.com"}


def test_an_endpoint_is_checked_with_its_configuration_and_tagged_only_with_tags():
    arguments = {"EndpointName": "live", "EndpointConfigName": "live-v1"}
    resource = "arn:aws:states:::sagemaker:createEndpoint"
    places = {PLACE.arn("sagemaker", name) for name in ("endpoint/live", "endpoint-config/live-v1")}
    assert needed(resource, arguments) == {("sagemaker:CreateEndpoint", place) for place in places}
    tagged = needed(resource, {**arguments, "Tags": [{"Key": "a", "Value": "b"}]})
    assert ("sagemaker:AddTags", PLACE.arn("sagemaker", "endpoint/live")) in tagged


def test_a_child_execution_is_waited_for_only_where_the_pattern_says_so():
    arguments = {"StateMachineArn": MACHINE, "Input": {}}
    started = {("states:StartExecution", MACHINE)}
    assert needed("arn:aws:states:::states:startExecution", arguments) == started
    waited = needed("arn:aws:states:::states:startExecution.sync:2", arguments)
    assert {action for action, _ in waited - started} == {"states:DescribeExecution", "states:StopExecution"}


def test_managed_rules_follow_from_what_is_waited_for_inside_of_maps_too():
    job = {"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createTransformJob.sync"}
    inner = {"StartAt": "Job", "States": {"Job": job}}
    found = managed_rule_permissions({"States": {"Each": {"Type": "Map", "ItemProcessor": inner}}}, PLACE)
    rule = PLACE.arn("events", "rule/StepFunctionsGetEventsForSageMakerTransformJobsRule")
    assert {each.resource for each in found} == {rule}
    assert len(found) == 3


def test_a_distributed_map_starts_its_own_machine_reads_its_items_and_writes_its_results():
    state = {
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:listObjectsV2",
            "Arguments": {"Bucket": "data", "Prefix": "in/"},
        },
        "ResultWriter": {
            "Resource": "arn:aws:states:::s3:putObject",
            "Arguments": {"Bucket": "data", "Prefix": "out"},
        },
    }
    found = {each.action: each for each in map_permissions(state, MACHINE, "Chunks", PLACE)}
    assert found["states:StartExecution"].resource == MACHINE
    assert found["states:StopExecution"].resource.startswith(PLACE.arn("states", "execution:big/Chunks:"))
    assert found["s3:ListBucket"].context == {"s3:prefix": "in/"}
    assert found["s3:PutObject"].resource.startswith("arn:aws:s3:::data/out/")


@pytest.mark.parametrize("resource", ["arn:aws:states:::batch:submitJob.sync", "arn:aws:lambda:x"])
def test_an_integration_that_nobody_described_is_an_error(resource):
    with pytest.raises(UnknownIntegration, match=r"permissions\.py|no service integration"):
        task_permissions(resource, {}, PLACE)
