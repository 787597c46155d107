"""With ``auth`` the host holds state machines and their functions to their roles' policies, as AWS does."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from local_host_support import WAIT_SCALE, Deployed

from dropforge_local.host import LocalHost
from dropforge_local.testing.forked_host import ForkedHost

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
_RULE = "arn:aws:events:us-east-1:000000000000:rule/StepFunctionsGetEventsForSageMakerTrainingJobsRule"


@pytest.fixture(scope="module")
def authorizing(project: Path) -> Iterator[Deployed]:
    with ForkedHost(project, wait_scale=WAIT_SCALE, auth=True) as host:
        yield Deployed(host, {})


@pytest.fixture(scope="module")
def topic(authorizing: Deployed) -> str:
    return str(authorizing.host.client("sns").create_topic(Name="told")["TopicArn"])


@pytest.fixture(scope="module")
def table(authorizing: Deployed) -> str:
    client = authorizing.host.client("dynamodb")
    client.create_table(
        TableName="items",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
    )
    return str(client.describe_table(TableName="items")["Table"]["TableArn"])


def role(host: LocalHost, *statements: dict[str, Any]) -> str:
    """A role of state machines with these statements."""
    iam, name = host.client("iam"), f"role-{uuid.uuid4().hex[:8]}"
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(_TRUST))["Role"]["Arn"]
    if statements:
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        iam.put_role_policy(RoleName=name, PolicyName="allowed", PolicyDocument=policy)
    return str(arn)


def allow(action: str, resource: str, **conditions: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"Effect": "Allow", "Action": action, "Resource": resource}
    return {**found, "Condition": conditions} if conditions else found


def ended(deployed: Deployed, role_arn: str, resource: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The ended execution of a machine that makes one call under the role."""
    state = {"Type": "Task", "Resource": resource, "Arguments": arguments, "End": True}
    client = deployed.host.client("stepfunctions")
    arn = client.create_state_machine(
        name=f"machine-{uuid.uuid4().hex[:8]}",
        roleArn=role_arn,
        definition=json.dumps({"QueryLanguage": "JSONata", "StartAt": "Call", "States": {"Call": state}}),
    )["stateMachineArn"]
    return deployed.ended(client.start_execution(stateMachineArn=arn)["executionArn"])


def test_a_machine_calls_what_its_role_may_and_nothing_else(authorizing: Deployed, topic: str) -> None:
    call = ("arn:aws:states:::sns:publish", {"TopicArn": topic, "Message": "done"})
    allowed = ended(authorizing, role(authorizing.host, allow("sns:Publish", topic)), *call)
    assert allowed["status"] == "SUCCEEDED", allowed
    refused = ended(authorizing, role(authorizing.host, allow("sns:Publish", f"{topic}-other")), *call)
    assert (refused["status"], refused["error"]) == ("FAILED", "SNS.AuthorizationErrorException")
    assert f"is not authorized to perform: sns:Publish on resource: {topic}" in refused["cause"]


def test_conditions_on_partition_keys_hold_for_machines(authorizing: Deployed, table: str) -> None:
    limited = role(
        authorizing.host,
        allow("dynamodb:GetItem", table, **{"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["LIVE"]}}),
    )
    resource = "arn:aws:states:::dynamodb:getItem"
    seen = ended(authorizing, limited, resource, {"TableName": "items", "Key": {"pk": {"S": "LIVE"}}})
    assert seen["status"] == "SUCCEEDED", seen
    hidden = ended(authorizing, limited, resource, {"TableName": "items", "Key": {"pk": {"S": "RUN"}}})
    assert hidden["error"] == "DynamoDB.AmazonDynamoDBException"
    assert "dynamodb:GetItem" in hidden["cause"]


def test_a_machine_that_waits_for_jobs_needs_their_managed_rule(authorizing: Deployed) -> None:
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
        "Arguments": {"TrainingJobName": "job"},
        "End": True,
    }
    definition = json.dumps({"QueryLanguage": "JSONata", "StartAt": "Train", "States": {"Train": state}})
    client = authorizing.host.client("stepfunctions")
    with pytest.raises(ClientError, match=r"not authorized to create managed-rule.*events:PutTargets"):
        client.create_state_machine(name="waits", roleArn=role(authorizing.host), definition=definition)
    told = role(authorizing.host, allow("events:*", _RULE))
    arn = client.create_state_machine(name="waits", roleArn=told, definition=definition)["stateMachineArn"]
    execution = client.start_execution(stateMachineArn=arn)["executionArn"]
    refused = authorizing.ended(execution)
    assert refused["error"] == "SageMaker.AmazonSageMakerException"
    assert "sagemaker:CreateTrainingJob" in refused["cause"]


def test_what_roles_asked_for_is_remembered_with_the_answer(authorizing: Deployed, topic: str) -> None:
    ended(
        authorizing,
        role(authorizing.host),
        "arn:aws:states:::sns:publish",
        {"TopicArn": topic, "Message": "x"},
    )
    calls = {(each["action"], each["resource"], each["allowed"]) for each in authorizing.host.calls()}
    assert ("sns:Publish", topic, False) in calls


def test_a_bucket_that_insists_on_tls_is_reached(authorizing: Deployed) -> None:
    s3 = authorizing.host.client("s3")
    s3.create_bucket(Bucket="over-tls")
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": "arn:aws:s3:::over-tls/*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    s3.put_bucket_policy(Bucket="over-tls", Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    s3.put_object(Bucket="over-tls", Key="a", Body=b"1")


# --- machines whose histories a customer's key encrypts ----------------------------------------------

_KEY = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab"
_FAILING = {"StartAt": "No", "States": {"No": {"Type": "Fail", "Error": "Bad", "Cause": "said"}}}


def encrypted(deployed: Deployed, role_arn: str, definition: dict[str, Any] = _FAILING) -> str:
    """A machine under a customer's key."""
    found: str = deployed.host.client("stepfunctions").create_state_machine(
        name=f"machine-{uuid.uuid4().hex[:8]}",
        roleArn=role_arn,
        definition=json.dumps(definition),
        encryptionConfiguration={"type": "CUSTOMER_MANAGED_KMS_KEY", "kmsKeyId": _KEY},
    )["stateMachineArn"]
    return found


def of_machine(action: str, machine: str, **more: str) -> dict[str, Any]:
    context = {"kms:EncryptionContext:aws:states:stateMachineArn": machine, **more}
    return allow(action, _KEY, StringLike=context)


def using(host: LocalHost, role_arn: str, service: str) -> Any:
    """A client with the credentials of a session of the role."""
    session = host.client("sts").assume_role(RoleArn=role_arn, RoleSessionName="reader")["Credentials"]
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=host.client(service).meta.endpoint_url,
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )


@pytest.mark.parametrize("missing", ["kms:Decrypt", "kms:GenerateDataKey"])
def test_a_machine_under_a_key_starts_where_its_role_may_use_the_key_for_it(
    authorizing: Deployed, missing: str
) -> None:
    client = authorizing.host.client("stepfunctions")
    both = {"kms:Decrypt", "kms:GenerateDataKey"}
    lacking = encrypted(
        authorizing, role(authorizing.host, *(of_machine(each, "*") for each in both - {missing}))
    )
    with pytest.raises(ClientError, match=f"KmsAccessDeniedException.*{missing}"):
        client.start_execution(stateMachineArn=lacking)
    other = encrypted(authorizing, role(authorizing.host, *(of_machine(each, "*:other") for each in both)))
    with pytest.raises(ClientError, match="KmsAccessDeniedException"):
        client.start_execution(stateMachineArn=other)
    whole = encrypted(authorizing, role(authorizing.host, *(of_machine(each, "*") for each in both)))
    execution = client.start_execution(stateMachineArn=whole)["executionArn"]
    assert authorizing.ended(execution)["error"] == "Bad"


def test_the_data_of_an_encrypted_execution_are_for_whoever_may_decrypt_them(authorizing: Deployed) -> None:
    host = authorizing.host
    machine = encrypted(authorizing, role(host, of_machine("kms:*", "*")))
    execution = host.client("stepfunctions").start_execution(stateMachineArn=machine, input='{"a": 1}')[
        "executionArn"
    ]
    authorizing.ended(execution)
    describing = allow("states:*", "*")
    plain = using(host, role(host, describing), "stepfunctions")
    for refused in (
        lambda: plain.describe_execution(executionArn=execution),
        lambda: plain.get_execution_history(executionArn=execution),
        lambda: plain.describe_state_machine(stateMachineArn=machine),
        lambda: plain.describe_state_machine_for_execution(executionArn=execution),
    ):
        with pytest.raises(ClientError, match=r"KmsAccessDeniedException.*kms:Decrypt"):
            refused()
    seen = plain.describe_execution(executionArn=execution, includedData="METADATA_ONLY")
    assert seen["status"] == "FAILED"
    assert not seen.keys() & {"input", "error", "cause"}
    only = plain.describe_state_machine(stateMachineArn=machine, includedData="METADATA_ONLY")
    assert (only["status"], only["definition"]) == ("ACTIVE", "{}")

    through = {"kms:ViaService": "states.us-east-1.amazonaws.com"}
    reader = using(
        host, role(host, describing, of_machine("kms:Decrypt", machine, **through)), "stepfunctions"
    )
    assert reader.describe_execution(executionArn=execution)["input"] == '{"a": 1}'
    assert reader.get_execution_history(executionArn=execution)["events"]


def test_who_waits_for_an_encrypted_execution_needs_its_key(authorizing: Deployed) -> None:
    host = authorizing.host
    passing = {"StartAt": "Yes", "States": {"Yes": {"Type": "Succeed"}}}
    child = encrypted(authorizing, role(host, of_machine("kms:*", "*")), passing)
    rule = "arn:aws:events:us-east-1:000000000000:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule"
    waiting = [allow("states:*", "*"), allow("events:*", rule)]
    call = ("arn:aws:states:::states:startExecution.sync:2", {"StateMachineArn": child, "Input": {}})
    refused = ended(authorizing, role(host, *waiting), *call)
    assert refused["error"] == "StepFunctions.AWSStepFunctionsException"
    assert "kms:Decrypt" in refused["cause"]
    waited = ended(authorizing, role(host, *waiting, of_machine("kms:Decrypt", child)), *call)
    assert waited["status"] == "SUCCEEDED", waited
