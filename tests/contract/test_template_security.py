"""What guards a stack, in the template as CloudFormation deploys it: as it comes, and with everything on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from proof.iam.roles import values_of
from scan.scanners import CONFIGURATIONS, DEFAULT, HARDENED, ROOT, rendered

from dropforge_local.template import load_template

TEMPLATES = {name: rendered(parameters)["Resources"] for name, parameters in CONFIGURATIONS.items()}
HARD = TEMPLATES["hardened"]
NAMES = values_of((ROOT / "template.yaml").read_text(), HARDENED)
KEY = NAMES.arn("DataKey")
WRITTEN = load_template(ROOT / "template.yaml")["Resources"]
SERVICES = {
    "AWS::S3::Bucket": "s3",
    "AWS::SNS::Topic": "sns",
    "AWS::SQS::Queue": "sqs",
}


def of(kind: str, configuration: str = "hardened") -> dict[str, dict[str, Any]]:
    return {
        name: each.get("Properties", {})
        for name, each in TEMPLATES[configuration].items()
        if each["Type"] == kind
    }


def role_of(arn: str) -> str:
    """The logical id of a role."""
    (name,) = (name for name in of("AWS::IAM::Role") if NAMES.arn(name) == arn)
    return name


def statements(policy: Any) -> Iterator[dict[str, Any]]:
    found = policy["Statement"]
    yield from found if isinstance(found, list) else [found]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_buckets_topics_and_queues_refuse_what_does_not_come_over_tls(configuration):
    refusing = {
        str(statement["Resource"])
        for kind in ("AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy")
        for each in of(kind, configuration).values()
        for statement in statements(each["PolicyDocument"])
        if statement["Effect"] == "Deny"
        and statement["Principal"] == "*"
        and statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
    }
    for kind in SERVICES:
        for name in of(kind, configuration):
            assert any(NAMES.arn(name) in resource for resource in refusing), name


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_nothing_in_a_bucket_can_be_made_public(configuration):
    for name, bucket in of("AWS::S3::Bucket", configuration).items():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}, name
        assert len(bucket["PublicAccessBlockConfiguration"]) == 4
        assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_every_log_group_forgets_and_every_table_can_be_restored(configuration):
    for name, group in of("AWS::Logs::LogGroup", configuration).items():
        assert int(group["RetentionInDays"]) == int(
            CONFIGURATIONS[configuration].get("LogRetentionDays", 30)
        ), name
    for name, table in of("AWS::DynamoDB::Table", configuration).items():
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}, name


def test_as_it_comes_the_stack_has_nothing_that_costs_while_idle():
    kinds = {each["Type"] for each in TEMPLATES["default"].values()}
    assert not kinds & {"AWS::KMS::Key", "AWS::WAFv2::WebACL"}
    assert len(of("AWS::S3::Bucket", "default")) == 1


def encrypted_by(key: Any) -> dict[str, Any]:
    """A machine's configuration; a data key, which costs a request, serves as long as AWS lets it."""
    return {"Type": "CUSTOMER_MANAGED_KMS_KEY", "KmsKeyId": key, "KmsDataKeyReusePeriodSeconds": 900}


def test_the_key_encrypts_everything_at_rest():
    (encryption,) = HARD["DataBucket"]["Properties"]["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY}
    for kind, field in {
        "AWS::DynamoDB::Table": "SSESpecification",
        "AWS::SNS::Topic": "KmsMasterKeyId",
        "AWS::SQS::Queue": "KmsMasterKeyId",
        "AWS::Logs::LogGroup": "KmsKeyId",
        "AWS::Lambda::Function": "KmsKeyArn",
    }.items():
        for name, each in of(kind).items():
            value = each[field]
            assert (value["KMSMasterKeyId"] if field == "SSESpecification" else value) == KEY, name
    machines = list(of("AWS::StepFunctions::StateMachine").values())
    assert [each["DefinitionSubstitutions"]["EncryptionKeyArn"] for each in machines] == [KEY] * len(machines)
    assert [each["EncryptionConfiguration"] for each in machines] == [encrypted_by(KEY)] * len(machines)
    assert HARD["DataKey"]["Properties"]["EnableKeyRotation"] is True


def test_a_key_of_ones_own_is_used_in_place_of_one_made_here():
    arn = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    resources = rendered({**DEFAULT, "EncryptionKey": arn})["Resources"]
    assert "DataKey" not in resources
    assert resources["Ledger"]["Properties"]["SSESpecification"]["KMSMasterKeyId"] == arn
    assert resources["DataKeyUse"]["Properties"]["PolicyDocument"]["Statement"][0]["Resource"] == arn
    machines = [each for each in resources.values() if each["Type"] == "AWS::StepFunctions::StateMachine"]
    assert [each["Properties"]["EncryptionConfiguration"] for each in machines] == [encrypted_by(arn)] * 3


def test_without_a_key_machines_go_back_to_awss_own():
    # A template that says nothing would leave an updated machine the key that its roles may no longer use.
    for machine in of("AWS::StepFunctions::StateMachine", "default").values():
        assert machine["EncryptionConfiguration"] == {"Type": "AWS_OWNED_KEY"}


def test_a_machine_has_its_key_after_its_role_may_use_it():
    for machine in of("AWS::StepFunctions::StateMachine").values():
        role = of("AWS::IAM::Role")[role_of(machine["RoleArn"])]
        (policy,) = role["Policies"]
        allowed = [each for each in statements(policy["PolicyDocument"]) if each["Resource"] == KEY]
        assert {"kms:Decrypt", "kms:GenerateDataKey"} <= {each for one in allowed for each in one["Action"]}


def test_without_a_key_no_machines_role_names_one():
    for machine in of("AWS::StepFunctions::StateMachine", "default").values():
        role = of("AWS::IAM::Role", "default")[role_of(machine["RoleArn"])]
        (policy,) = role["Policies"]
        granted = [action for each in statements(policy["PolicyDocument"]) for action in each["Action"]]
        assert not [action for action in granted if action.startswith("kms:")]


def test_whoever_touches_encrypted_data_may_use_the_key_through_its_services_alone():
    touching = set()
    for name, role in of("AWS::IAM::Role").items():
        granted = {
            action
            for policy in role.get("Policies", [])
            for statement in statements(policy["PolicyDocument"])
            for action in (
                [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            )
        }
        if any(action.split(":")[0] in ("s3", "dynamodb", "sns", "sqs") for action in granted):
            touching.add(name)
    functions = {role_of(each["Role"]) for each in of("AWS::Lambda::Function").values()}
    using = HARD["DataKeyUse"]["Properties"]
    assert set(using["Roles"]) == {NAMES.name(role) for role in touching | functions}
    for statement in using["PolicyDocument"]["Statement"]:
        assert statement["Resource"] == KEY
        assert statement["Condition"]


def test_every_role_has_the_boundary():
    roles = of("AWS::IAM::Role")
    assert len(roles) > 20
    for name, role in roles.items():
        assert role.get("PermissionsBoundary") == HARDENED["PermissionsBoundaryArn"], name
    assert all("PermissionsBoundary" not in role for role in of("AWS::IAM::Role", "default").values())


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_a_service_assumes_a_role_for_this_account_alone(configuration):
    for name, role in of("AWS::IAM::Role", configuration).items():
        for statement in statements(role["AssumeRolePolicyDocument"]):
            if name in WRITTEN:
                assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}, name
            else:
                assert statement["Principal"] == {"Service": ["lambda.amazonaws.com"]}, name


def test_the_firewall_limits_the_rate_and_lets_a_full_request_through():
    rules = {each["Name"]: each for each in HARD["ApiFirewall"]["Properties"]["Rules"]}
    assert rules["RatePerAddress"]["Statement"]["RateBasedStatement"]["Limit"] == 1000
    managed = {
        each["Statement"]["ManagedRuleGroupStatement"]["Name"]
        for each in rules.values()
        if "ManagedRuleGroupStatement" in each["Statement"]
    }
    assert "AWSManagedRulesKnownBadInputsRuleSet" in managed
    overrides = rules["Common"]["Statement"]["ManagedRuleGroupStatement"]["RuleActionOverrides"]
    assert overrides == [{"Name": "SizeRestrictions_BODY", "ActionToUse": {"Count": {}}}]


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_no_variable_parameter_or_output_holds_a_secret(configuration):
    suspicious = ("SECRET", "PASSWORD", "TOKEN", "API_KEY", "PRIVATE_KEY")
    for name, function in of("AWS::Lambda::Function", configuration).items():
        for variable in function["Environment"]["Variables"]:
            assert not any(word in variable.upper() for word in suspicious), (name, variable)
