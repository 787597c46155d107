"""The model registry: versions, approval, metadata, and the events that tell of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sagemaker_host import IMAGE, Host, wait_until

INFERENCE = {
    "Containers": [{"Image": IMAGE, "ModelDataUrl": "s3://data/m.tar.gz", "Environment": {"A": "b"}}],
    "SupportedContentTypes": ["application/json"],
    "SupportedResponseMIMETypes": ["application/json"],
}
EVENT = "SageMaker Model Package State Change"


@pytest.fixture
def group(sagemaker: Any) -> str:
    sagemaker.create_model_package_group(ModelPackageGroupName="Churn", ModelPackageGroupDescription="churn")
    return "Churn"


def add_version(client: Any, **changes: Any) -> str:
    request = {"ModelPackageGroupName": "Churn", "InferenceSpecification": INFERENCE} | changes
    return client.create_model_package(**request)["ModelPackageArn"]


def events(host: Host, count: int) -> list[dict[str, Any]]:
    wait_until(lambda: len(host.events) >= count)
    assert {detail_type for detail_type, _, _ in host.events} == {EVENT}
    return [detail for _, detail, _ in host.events]


def test_versions_count_up_and_are_never_used_again(sagemaker: Any, group: str) -> None:
    arns = [add_version(sagemaker) for _ in range(2)]
    assert arns == [f"arn:aws:sagemaker:us-east-1:000000000000:model-package/churn/{n}" for n in (1, 2)]
    sagemaker.delete_model_package(ModelPackageName=arns[1])
    assert add_version(sagemaker).endswith("/3")
    with pytest.raises(ClientError, match=r"ModelPackage .*churn/2 does not exist"):
        sagemaker.describe_model_package(ModelPackageName=arns[1])


def test_everything_that_was_registered_is_returned(sagemaker: Any, group: str) -> None:
    request = {
        "ModelPackageDescription": "first",
        "ModelApprovalStatus": "PendingManualApproval",
        "SkipModelValidation": "All",
        "ModelMetrics": {
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": "s3://data/e.json"}}
        },
        "DriftCheckBaselines": {
            "ModelDataQuality": {
                "Statistics": {"ContentType": "application/json", "S3Uri": "s3://data/s.json"},
                "Constraints": {"ContentType": "application/json", "S3Uri": "s3://data/c.json"},
            }
        },
        "CustomerMetadataProperties": {"git_sha": "abc"},
        "MetadataProperties": {"CommitId": "abc", "GeneratedBy": "arn:aws:states:x"},
        "ModelLifeCycle": {"Stage": "Staging", "StageStatus": "PendingApproval"},
        "ModelCard": {
            "ModelCardStatus": "Draft",
            "ModelCardContent": json.dumps({"model_overview": {"model_creator": "a"}}),
        },
    }
    arn = add_version(sagemaker, **request)
    described = sagemaker.describe_model_package(ModelPackageName=arn)
    assert {name: described[name] for name in request} == request
    assert described["InferenceSpecification"] == INFERENCE
    assert described["ModelPackageGroupName"] == "Churn"
    assert described["ModelPackageVersion"] == 1
    assert described["ModelPackageStatus"] == "Completed"


def test_same_client_token_gives_the_same_version(sagemaker: Any, group: str) -> None:
    first = add_version(sagemaker, ClientToken="token-1")
    assert add_version(sagemaker, ClientToken="token-1") == first
    assert add_version(sagemaker, ClientToken="token-2") != first
    with pytest.raises(sagemaker.exceptions.ConflictException, match="used with other parameters"):
        add_version(sagemaker, ClientToken="token-1", ModelPackageDescription="other")


def test_approval_event_names_the_updated_field(sagemaker: Any, host: Host, group: str) -> None:
    arn = add_version(sagemaker, CustomerMetadataProperties={"a": "1"})
    sagemaker.update_model_package(
        ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription="looks good"
    )
    sagemaker.update_model_package(ModelPackageArn=arn, CustomerMetadataProperties={"b": "2"})
    created, approved, annotated = events(host, 3)
    assert "UpdatedModelPackageFields" not in created
    assert created["ModelApprovalStatus"] == "PendingManualApproval"
    assert created["CreationTime"].endswith("Z")
    assert approved["UpdatedModelPackageFields"] == ["ModelApprovalStatus", "ApprovalDescription"]
    assert approved["ModelApprovalStatus"] == "Approved"
    assert (approved["ModelPackageGroupName"], approved["ModelPackageVersion"]) == ("Churn", 1)
    assert approved["ModelPackageArn"] == arn
    assert host.events[1][2] == [arn]
    assert annotated["UpdatedModelPackageFields"] == ["CustomerMetadataProperties"]
    assert annotated["ModelApprovalStatus"] == "Approved"


def test_metadata_is_merged_and_removed(sagemaker: Any, group: str) -> None:
    arn = add_version(sagemaker, CustomerMetadataProperties={"a": "1", "b": "2"})
    sagemaker.update_model_package(
        ModelPackageArn=arn,
        CustomerMetadataProperties={"b": "3", "c": "4"},
        CustomerMetadataPropertiesToRemove=["a", "missing"],
    )
    described = sagemaker.describe_model_package(ModelPackageName=arn)
    assert described["CustomerMetadataProperties"] == {"b": "3", "c": "4"}


def test_life_cycle_and_card_are_updated(sagemaker: Any, group: str) -> None:
    arn = add_version(sagemaker, ModelCard={"ModelCardStatus": "Draft", "ModelCardContent": "{}"})
    sagemaker.update_model_package(
        ModelPackageArn=arn,
        ModelLifeCycle={"Stage": "Production", "StageStatus": "Approved"},
        ModelCard={"ModelCardStatus": "Approved"},
    )
    described = sagemaker.describe_model_package(ModelPackageName=arn)
    assert described["ModelLifeCycle"] == {"Stage": "Production", "StageStatus": "Approved"}
    assert described["ModelCard"] == {"ModelCardStatus": "Approved", "ModelCardContent": "{}"}


def test_update_without_a_change_is_refused(sagemaker: Any, group: str) -> None:
    arn = add_version(sagemaker)
    with pytest.raises(ClientError, match="At least one field"):
        sagemaker.update_model_package(ModelPackageArn=arn)


def test_list_filters_by_group_and_status_and_pages(sagemaker: Any, group: str) -> None:
    sagemaker.create_model_package_group(ModelPackageGroupName="Other")
    add_version(sagemaker, ModelPackageGroupName="Other")
    arns = [add_version(sagemaker) for _ in range(11)]
    for arn in arns[::2]:
        sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName="Churn", SortBy="Name", SortOrder="Descending", PaginationConfig={"PageSize": 4}
    )
    versions = [[item["ModelPackageVersion"] for item in page["ModelPackageSummaryList"]] for page in pages]
    assert versions == [[11, 10, 9, 8], [7, 6, 5, 4], [3, 2, 1]]
    approved = sagemaker.list_model_packages(
        ModelPackageGroupName=arns[0].replace("model-package/", "model-package-group/").rsplit("/", 1)[0],
        ModelApprovalStatus="Approved",
        SortOrder="Descending",
        MaxResults=1,
    )["ModelPackageSummaryList"]
    assert [item["ModelPackageVersion"] for item in approved] == [11]
    assert sagemaker.list_model_packages()["ModelPackageSummaryList"] == []


def test_group_that_holds_versions_cannot_be_deleted(sagemaker: Any, group: str) -> None:
    arn = add_version(sagemaker)
    with pytest.raises(sagemaker.exceptions.ConflictException, match="still contains Model Packages"):
        sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    sagemaker.delete_model_package(ModelPackageName=arn)
    sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    with pytest.raises(ClientError, match="does not exist"):
        sagemaker.describe_model_package_group(ModelPackageGroupName=group)


def test_group_names_are_unique(sagemaker: Any, group: str) -> None:
    with pytest.raises(ClientError, match="Model Package Group already exists"):
        sagemaker.create_model_package_group(ModelPackageGroupName="churn")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ModelPackageGroupName": "missing"}, "does not exist"),
        ({"InferenceSpecification": None}, "InferenceSpecification or SourceUri is required"),
        ({"ModelCard": {"ModelCardStatus": "Draft", "ModelCardContent": "{"}}, "no JSON"),
        ({"CertifyForMarketplace": True}, "does not support CertifyForMarketplace"),
    ],
)
def test_refuses_a_version_that_cannot_be(
    sagemaker: Any, group: str, changes: dict[str, Any], message: str
) -> None:
    request = {"ModelPackageGroupName": "Churn", "InferenceSpecification": INFERENCE} | changes
    with pytest.raises(ClientError, match=message):
        sagemaker.create_model_package(**{k: v for k, v in request.items() if v is not None})


def test_tags_are_added_listed_and_removed(sagemaker: Any, group: str) -> None:
    arn = sagemaker.describe_model_package_group(ModelPackageGroupName=group)["ModelPackageGroupArn"]
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "1"}, {"Key": "a", "Value": "1"}])
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [
        {"Key": "a", "Value": "1"},
        {"Key": "b", "Value": "2"},
    ]
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["a", "missing"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]
    with pytest.raises(ClientError, match="not found"):
        sagemaker.list_tags(ResourceArn=arn + "-missing")
