"""Which transform jobs this host executes, and what a request leaves to SageMaker's defaults."""

from __future__ import annotations

from typing import Any

from dropforge_local.sagemaker.errors import unsupported, validation
from dropforge_local.sagemaker.transform_filters import Processing
from dropforge_local.sagemaker.transform_records import MULTI_RECORD

_MB = 1 << 20
_MAX_PAYLOAD_MB = 100  # of MaxPayloadInMB, and of it times MaxConcurrentTransforms
_DEFAULT_PAYLOAD_MB = 6
_DEFAULT_TIMEOUT_S, _DEFAULT_RETRIES = 600, 3
_RESERVED = ("BATCH", "MAX_PAYLOAD_IN_MB", "BATCH_STRATEGY", "MAX_CONCURRENT_TRANSFORMS")


def check_transform(request: dict[str, Any]) -> None:
    """Refuse a CreateTransformJob request that this host would have to pretend to carry out.

    Raises:
        ServiceError: it asks for something that isn't there, or contradicts itself.
    """
    if request.get("DataCaptureConfig"):
        raise unsupported("DataCaptureConfig")
    if request["TransformResources"]["InstanceCount"] != 1:
        raise unsupported("several instances: TransformResources.InstanceCount must be 1")
    given, wanted = request["TransformInput"], request["TransformOutput"]
    source = given["DataSource"]["S3DataSource"]
    if source["S3DataType"] not in ("S3Prefix", "ManifestFile"):
        raise unsupported(f"S3DataType {source['S3DataType']}; use S3Prefix or ManifestFile")
    for member, uri in (("S3Uri", source["S3Uri"]), ("S3OutputPath", wanted["S3OutputPath"])):
        if not uri.startswith("s3://"):
            raise validation(f"{member} must begin with s3://, but is {uri}")
    split = given.get("SplitType", "None")
    if split not in ("None", "Line"):
        raise unsupported(f"SplitType {split}; use None or Line")
    size_mb = request.get("MaxPayloadInMB", _DEFAULT_PAYLOAD_MB)
    if size_mb == 0:
        raise unsupported("MaxPayloadInMB 0: it streams no payloads without a limit")
    if size_mb * max(request.get("MaxConcurrentTransforms", 1), 1) > _MAX_PAYLOAD_MB:
        raise validation(f"MaxPayloadInMB times MaxConcurrentTransforms exceeds {_MAX_PAYLOAD_MB} MB.")
    for variable, value in request.get("Environment", {}).items():
        if "\0" in variable or "\0" in value:
            raise validation(f"The environment variable {variable!r} holds a null character.")
    processing_of(request)


def with_defaults(request: dict[str, Any]) -> dict[str, Any]:
    """The request as DescribeTransformJob shows it, with what SageMaker fills in."""
    given, wanted = request["TransformInput"], request["TransformOutput"]
    return request | {
        "MaxConcurrentTransforms": request.get("MaxConcurrentTransforms", 0) or 1,
        "MaxPayloadInMB": request.get("MaxPayloadInMB", _DEFAULT_PAYLOAD_MB),
        "BatchStrategy": request.get("BatchStrategy", MULTI_RECORD),
        "Environment": request.get("Environment", {}),
        "TransformInput": {"CompressionType": "None", "SplitType": "None", **given},
        "TransformOutput": {"AssembleWith": "None", "KmsKeyId": "", **wanted},
        "DataProcessing": {
            "InputFilter": "$",
            "OutputFilter": "$",
            "JoinSource": "None",
            **request.get("DataProcessing", {}),
        },
    }


def processing_of(request: dict[str, Any]) -> Processing:
    """The request's filters and join.

    Raises:
        ServiceError: they can't be applied to what the job reads and writes.
    """
    return Processing(
        request.get("DataProcessing", {}),
        request["TransformInput"].get("ContentType"),
        request["TransformOutput"].get("Accept"),
    )


def payload_bytes(document: dict[str, Any]) -> int:
    """The largest payload, in bytes."""
    return int(document["MaxPayloadInMB"]) * _MB


def invocation_limits(document: dict[str, Any]) -> tuple[float, int]:
    """How long one request may take, in seconds, and how often it is tried again."""
    config = document.get("ModelClientConfig", {})
    return (
        float(config.get("InvocationsTimeoutInSeconds", _DEFAULT_TIMEOUT_S)),
        int(config.get("InvocationsMaxRetries", _DEFAULT_RETRIES)),
    )


def strategy_of(document: dict[str, Any]) -> str:
    """The batch strategy as the container and the data log are told it."""
    return "MULTI_RECORD" if document["BatchStrategy"] == MULTI_RECORD else "SINGLE_RECORD"


def container_environment(document: dict[str, Any]) -> dict[str, str]:
    """What SageMaker tells the container about the job, beside the job's own ``Environment``."""
    values = ("true", document["MaxPayloadInMB"], strategy_of(document), document["MaxConcurrentTransforms"])
    told = {f"SAGEMAKER_{name}": str(value) for name, value in zip(_RESERVED, values, strict=True)}
    return {**document["Environment"], **told}
