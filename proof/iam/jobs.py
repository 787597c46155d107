"""What SageMaker does under the role that a job or a model is given.

https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from dropforge_local.permissions import Permission
from proof.iam.intrinsics import ACCOUNT, PARTITION, REGION
from proof.iam.keys import result_permissions, volume_permissions

_SERVING = "ServingRole"
_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com[^/]*/([^:@]+)")


def job_permissions(
    resource: str, request: Mapping[str, Any], roles: Mapping[str, str]
) -> Iterator[tuple[str, Permission]]:
    """(role, permission) of what follows from a machine's request.

    Args:
        roles: logical ids by ARN.
    """
    operation = resource.rpartition(":")[2].partition(".")[0]
    match operation:
        case "createTrainingJob":
            found = _training(request)
            role = roles[request["RoleArn"]]
        case "createTransformJob":
            found = _transform(request)
            role = _SERVING  # a transform job runs under its model's role
        case "createModel":
            found = _model(request)
            role = roles[request["ExecutionRoleArn"]]
        case _:
            return
    of_keys = (*volume_permissions(request), *result_permissions(request))
    for permission in (*found, *_connected(request.get("VpcConfig")), *of_keys):
        yield role, permission


def _training(request: Mapping[str, Any]) -> Iterator[Permission]:
    for channel in request["InputDataConfig"]:
        yield from _read(channel["DataSource"]["S3DataSource"]["S3Uri"])
    path = request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
    for archive in ("model", "output"):
        yield _written(f"{path}/{request['TrainingJobName']}/output/{archive}.tar.gz")
    yield from _observed("TrainingJobs", request["TrainingJobName"])
    yield from _image(request["AlgorithmSpecification"]["TrainingImage"])


def _transform(request: Mapping[str, Any]) -> Iterator[Permission]:
    yield from _read(request["TransformInput"]["DataSource"]["S3DataSource"]["S3Uri"])
    path = request["TransformOutput"]["S3OutputPath"].rstrip("/")
    written = _written(f"{path}/requests.jsonl.out")
    # Answers are uploaded in parts, as they come.
    yield from (written, Permission("s3:AbortMultipartUpload", written.resource))
    yield from _observed("TransformJobs", request["TransformJobName"])


def _model(request: Mapping[str, Any]) -> Iterator[Permission]:
    for container in [request.get("PrimaryContainer"), *request.get("Containers", [])]:
        if container and "ModelPackageName" in container:
            yield Permission("sagemaker:DescribeModelPackage", container["ModelPackageName"])
        if container and "ModelDataUrl" in container:
            yield from _read(container["ModelDataUrl"])
        if container and "Image" in container:
            yield from _image(container["Image"])
    yield from _observed("Endpoints", request["ModelName"])


def _read(uri: str) -> Iterator[Permission]:
    bucket, key = uri.removeprefix("s3://").split("/", 1)
    arn = f"arn:{PARTITION}:s3:::{bucket}"
    yield Permission("s3:ListBucket", arn, {"s3:prefix": key})
    yield Permission("s3:GetObject", f"{arn}/{key}{'<file>' if key.endswith('/') else ''}")


def _written(uri: str) -> Permission:
    return Permission("s3:PutObject", f"arn:{PARTITION}:s3:::{uri.removeprefix('s3://')}")


def _observed(group: str, stream: str) -> Iterator[Permission]:
    name = f"arn:{PARTITION}:logs:{REGION}:{ACCOUNT}:log-group:/aws/sagemaker/{group}"
    if group == "Endpoints":
        name = f"{name}/{stream}"
    for action in ("CreateLogGroup", "DescribeLogStreams"):
        yield Permission(f"logs:{action}", name)
    for action in ("CreateLogStream", "PutLogEvents"):
        yield Permission(f"logs:{action}", f"{name}:log-stream:{stream}")
    namespace = {"cloudwatch:namespace": f"/aws/sagemaker/{group}"}
    yield Permission("cloudwatch:PutMetricData", "*", namespace)


def _connected(vpc: Mapping[str, Any] | None) -> Iterator[Permission]:
    """What connects instances with a VPC; resources and keys of conditions are those of
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    """
    if vpc is None:
        return
    here = f"arn:{PARTITION}:ec2:{REGION}:{ACCOUNT}"
    for action in ("CreateNetworkInterface", "DeleteNetworkInterface"):
        for suffix in ("", "Permission"):
            yield Permission(f"ec2:{action}{suffix}", f"{here}:network-interface/eni-0123456789abcdef0")
    for subnet in vpc["Subnets"]:
        yield Permission("ec2:CreateNetworkInterface", f"{here}:subnet/{subnet}", {"ec2:SubnetID": subnet})
    for group in vpc["SecurityGroupIds"]:
        context = {"ec2:SecurityGroupID": group}
        yield Permission("ec2:CreateNetworkInterface", f"{here}:security-group/{group}", context)
    for what in ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs"):
        yield Permission(f"ec2:Describe{what}", "*")


def _image(uri: str) -> Iterator[Permission]:
    match = _IMAGE.match(uri)
    if match:
        account, region, name = match.groups()
        arn = f"arn:{PARTITION}:ecr:{region}:{account}:repository/{name}"
        for action in ("BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer"):
            yield Permission(f"ecr:{action}", arn)
        yield Permission("ecr:GetAuthorizationToken", "*")
