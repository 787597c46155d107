"""Every kind of thing that a stack makes: how to find them by their names, and how to delete one.

The stack's own go with it; those that it made while it ran, and those that it retains, are deleted here. All
are looked for afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from dropforge_ops.actions.teardown.names import MODEL_TAG, STACK_TAG, Names
from dropforge_ops.errors import code_of, message_of
from dropforge_ops.stack.target import Target

Find = Callable[[Target, Names], list[str]]
Delete = Callable[[Target, str], None]

# S3 deletes at most so many objects in one call.
_OBJECTS_A_CALL: Final = 1000
# A key is not deleted at once, on purpose: what it encrypted would be lost for ever.
_KEY_DAYS: Final = 7
_GONE: Final = (
    "NoSuchBucket",
    "ResourceNotFoundException",
    "ResourceNotFound",
    "NotFoundException",
    "NoSuchEntity",
    "NoSuchKey",
)
_BUSY: Final = ("ResourceInUse", "ResourceInUseException", "OperationAbortedException", "OperationAborted")
_GONE_WORDS: Final = ("not found", "does not exist", "could not find", "cannot find")


@dataclass(frozen=True)
class Kind:
    """A kind of thing.

    Attributes:
        delete: None for what only the stack's own deletion takes away.
        is_data: kept with ``--keep-data``.
    """

    name: str
    find: Find
    delete: Delete | None = None
    is_data: bool = False


def is_busy(error: ClientError) -> bool:
    """Whether the thing can't be deleted yet, because it is being changed or deleted already."""
    text = message_of(error).lower()
    return code_of(error) in _BUSY or any(words in text for words in ("in-progress", "in progress"))


def is_gone(error: ClientError) -> bool:
    """Whether the thing that was to be deleted is not there (any more)."""
    text = message_of(error).lower()
    return code_of(error) in _GONE or any(words in text for words in _GONE_WORDS)


def _paged(
    service: str, operation: str, member: str, field: str | None, **request: Any
) -> Callable[[Target], Iterator[str]]:
    def read(target: Target) -> Iterator[str]:
        client = target.client(service)
        if client.can_paginate(operation):
            pages = client.get_paginator(operation).paginate(**request)
        else:
            pages = [getattr(client, operation)(**request)]
        for page in pages:
            for each in page.get(member) or []:
                yield each if field is None else each[field]

    return read


def _of_stack(read: Callable[[Target], Iterator[str]]) -> Find:
    return lambda target, names: sorted(
        each for each in read(target) if names.is_of_stack(each.rpartition("/")[2].rpartition(":")[2])
    )


def _of_model(read: Callable[[Target], Iterator[str]]) -> Find:
    return lambda target, names: sorted(each for each in read(target) if names.is_of_model(each))


def _delete(service: str, operation: str, field: str, **more: Any) -> Delete:
    def delete(target: Target, name: str) -> None:
        getattr(target.client(service), operation)(**{field: name}, **more)

    return delete


def _packages(target: Target, names: Names) -> list[str]:
    if not names.model:
        return []
    read = _paged(
        "sagemaker",
        "list_model_packages",
        "ModelPackageSummaryList",
        "ModelPackageArn",
        ModelPackageGroupName=names.model,
    )
    try:
        return sorted(read(target))
    except ClientError as error:
        if is_gone(error):
            return []
        raise


def _groups(target: Target, names: Names) -> list[str]:
    read = _paged(
        "sagemaker", "list_model_package_groups", "ModelPackageGroupSummaryList", "ModelPackageGroupName"
    )
    return [each for each in read(target) if each == names.model]


def _log_groups(target: Target, names: Names) -> list[str]:
    """The stack's, the endpoint's, and what services make by themselves for the stack's functions and API."""
    own = (f"/aws/sagemaker/Endpoints/{names.model}",)
    read = _paged("logs", "describe_log_groups", "logGroups", "logGroupName")
    return sorted(each for each in read(target) if each in own or names.is_of_stack(each.rpartition("/")[2]))


_SHARED_LOGS: Final = ("/aws/sagemaker/TrainingJobs", "/aws/sagemaker/TransformJobs")


def _log_streams(target: Target, names: Names) -> list[str]:
    """Streams of the model's jobs in the groups that all jobs of an account share."""
    found: list[str] = []
    for group in _SHARED_LOGS if names.model else ():
        read = _paged(
            "logs",
            "describe_log_streams",
            "logStreams",
            "logStreamName",
            logGroupName=group,
            logStreamNamePrefix=f"{names.model}-",
        )
        try:
            found += [f"{group}:{each}" for each in read(target) if names.is_of_model(each.split("/")[0])]
        except ClientError as error:
            if not is_gone(error):
                raise
    return sorted(found)


def _delete_log_stream(target: Target, name: str) -> None:
    group, _, stream = name.partition(":")
    target.client("logs").delete_log_stream(logGroupName=group, logStreamName=stream)


def _running(noun: str) -> Find:
    """Jobs that go on; what has ended costs nothing, and of transform jobs AWS keeps the records."""

    def find(target: Target, names: Names) -> list[str]:
        if not names.model:
            return []
        read = _paged(
            "sagemaker",
            f"list_{noun.lower()}_jobs",
            f"{noun}JobSummaries",
            f"{noun}JobName",
            NameContains=names.model,
        )
        status = f"{noun}JobStatus"
        client = target.client("sagemaker")
        describe = getattr(client, f"describe_{noun.lower()}_job")
        return sorted(
            name
            for name in read(target)
            if names.is_of_model(name)
            and describe(**{f"{noun}JobName": name})[status] in ("InProgress", "Stopping")
        )

    return find


def _buckets(target: Target, names: Names) -> list[str]:
    return sorted(
        each["Name"]
        for each in target.client("s3").list_buckets()["Buckets"]
        if names.is_of_stack(each["Name"])
    )


def empty_bucket(target: Target, bucket: str, prefix: str = "") -> int:
    """Delete every version, every delete marker and every unfinished upload. Returns how many."""
    s3, deleted = target.client("s3"), 0
    while True:
        page = s3.list_object_versions(Bucket=bucket, Prefix=prefix, MaxKeys=_OBJECTS_A_CALL)
        found = [
            {"Key": each["Key"], "VersionId": each["VersionId"]}
            for each in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        ]
        if not found:
            break
        answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": found, "Quiet": True})
        if errors := answer.get("Errors"):
            first = errors[0]
            raise ClientError(
                {
                    "Error": {
                        "Code": first.get("Code", ""),
                        "Message": f"{first['Key']}: {first.get('Message')}",
                    }
                },
                "DeleteObjects",
            )
        deleted += len(found)
    for page in s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        for upload in page.get("Uploads", []):
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
            deleted += 1
    return deleted


def _delete_bucket(target: Target, bucket: str) -> None:
    empty_bucket(target, bucket)
    target.client("s3").delete_bucket(Bucket=bucket)


# What packages name, and they are gone: the archives that training left are among the data.
_COPIES: Final = "registered/"


def _copies(target: Target, names: Names) -> list[str]:
    s3 = target.client("s3")
    pages = {
        bucket: s3.list_object_versions(Bucket=bucket, Prefix=_COPIES, MaxKeys=1)
        for bucket in _buckets(target, names)
    }
    return [
        f"{bucket}/{_COPIES}"
        for bucket, page in pages.items()
        if page.get("Versions") or page.get("DeleteMarkers")
    ]


def _delete_copies(target: Target, place: str) -> None:
    bucket, _, prefix = place.partition("/")
    empty_bucket(target, bucket, prefix)


def _keys(target: Target, names: Names) -> list[str]:
    """Keys that the stack made and that are not to be deleted yet; they have no name, but a tag."""
    client, found = target.client("kms"), []
    for key in _paged("kms", "list_keys", "Keys", "KeyId")(target):
        described = client.describe_key(KeyId=key)["KeyMetadata"]
        if described.get("KeyManager") != "CUSTOMER" or described["KeyState"] == "PendingDeletion":
            continue
        tags = {each["TagKey"]: each["TagValue"] for each in client.list_resource_tags(KeyId=key)["Tags"]}
        if tags.get(STACK_TAG) == names.stack or tags.get("dropforge:stack") == names.stack:
            found.append(key)
    return sorted(found)


def _tagged(target: Target, names: Names) -> list[str]:
    """Whatever still carries the stack's or the model's tag, of any service that the tagging API knows.

    Job records, which AWS keeps as history, and keys that wait for their deletion are left out.
    """
    client, found = target.client("resourcegroupstaggingapi"), set()
    for tag, value in ((STACK_TAG, names.stack), (MODEL_TAG, names.model or names.stack)):
        pages = client.get_paginator("get_resources").paginate(TagFilters=[{"Key": tag, "Values": [value]}])
        found |= {each["ResourceARN"] for page in pages for each in page["ResourceTagMappingList"]}
    history = (":training-job/", ":transform-job/", ":kms:", ":execution:")
    return sorted(arn for arn in found if not any(part in arn for part in history))


_FROM_THE_STACK: Final[Mapping[str, Find]] = {
    "Lambda function": _of_stack(_paged("lambda", "list_functions", "Functions", "FunctionName")),
    "Lambda layer": _of_stack(_paged("lambda", "list_layers", "Layers", "LayerName")),
    "state machine": _of_stack(_paged("stepfunctions", "list_state_machines", "stateMachines", "name")),
    "event rule": _of_stack(_paged("events", "list_rules", "Rules", "Name")),
    "schedule": _of_stack(_paged("scheduler", "list_schedules", "Schedules", "Name")),
    "alarm": _of_stack(_paged("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName")),
    "dashboard": _of_stack(_paged("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName")),
    "topic": _of_stack(_paged("sns", "list_topics", "Topics", "TopicArn")),
    "queue": _of_stack(_paged("sqs", "list_queues", "QueueUrls", None)),
    "role": _of_stack(_paged("iam", "list_roles", "Roles", "RoleName")),
    "REST API": _of_stack(_paged("apigateway", "get_rest_apis", "items", "name")),
    "API key": _of_stack(_paged("apigateway", "get_api_keys", "items", "name")),
    "usage plan": _of_stack(_paged("apigateway", "get_usage_plans", "items", "name")),
    "parameter": _of_stack(_paged("ssm", "describe_parameters", "Parameters", "Name")),
}

RUNNING_JOBS: Final = (
    Kind(
        "training job in progress",
        _running("Training"),
        _delete("sagemaker", "stop_training_job", "TrainingJobName"),
    ),
    Kind(
        "transform job in progress",
        _running("Transform"),
        _delete("sagemaker", "stop_transform_job", "TransformJobName"),
    ),
)
PACKAGES: Final = Kind(
    "model package", _packages, _delete("sagemaker", "delete_model_package", "ModelPackageName")
)
# In the order in which they can go, once the stack is gone.
AFTER_THE_STACK: Final = (
    Kind(
        "model package group",
        _groups,
        _delete("sagemaker", "delete_model_package_group", "ModelPackageGroupName"),
    ),
    Kind(
        "alarm of the endpoint's scaling",
        lambda target, names: [
            each["AlarmName"]
            for each in target.client("cloudwatch").describe_alarms(
                AlarmNames=[f"{names.model}-HasBacklogWithoutCapacity"]
            )["MetricAlarms"]
        ],
        lambda target, name: target.client("cloudwatch").delete_alarms(AlarmNames=[name]),
    ),
    Kind(
        "endpoint",
        _of_model(_paged("sagemaker", "list_endpoints", "Endpoints", "EndpointName")),
        _delete("sagemaker", "delete_endpoint", "EndpointName"),
    ),
    Kind(
        "endpoint configuration",
        _of_model(_paged("sagemaker", "list_endpoint_configs", "EndpointConfigs", "EndpointConfigName")),
        _delete("sagemaker", "delete_endpoint_config", "EndpointConfigName"),
    ),
    Kind(
        "model",
        _of_model(_paged("sagemaker", "list_models", "Models", "ModelName")),
        _delete("sagemaker", "delete_model", "ModelName"),
    ),
    Kind(
        "training job",
        _of_model(_paged("sagemaker", "list_training_jobs", "TrainingJobSummaries", "TrainingJobName")),
        _delete("sagemaker", "delete_training_job", "TrainingJobName"),
    ),
    Kind("log group", _log_groups, _delete("logs", "delete_log_group", "logGroupName")),
    Kind("log stream", _log_streams, _delete_log_stream),
    Kind(
        "table",
        _of_stack(_paged("dynamodb", "list_tables", "TableNames", None)),
        _delete("dynamodb", "delete_table", "TableName"),
        is_data=True,
    ),
    Kind("registered archive", _copies, _delete_copies),
    Kind("bucket", _buckets, _delete_bucket, is_data=True),
    Kind(
        "encryption key",
        _keys,
        _delete("kms", "schedule_key_deletion", "KeyId", PendingWindowInDays=_KEY_DAYS),
        is_data=True,
    ),
)
LOOKED_FOR: Final = (
    *RUNNING_JOBS,
    PACKAGES,
    *AFTER_THE_STACK,
    *(Kind(name, find) for name, find in _FROM_THE_STACK.items()),
)
TAGGED: Final = Kind("tagged resource", _tagged)
