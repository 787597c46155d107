"""What Step Functions needs of a state machine's role for each of its calls, as actions on resources.

The rules are those of https://docs.aws.amazon.com/step-functions/latest/dg/service-integration-iam-templates.html,
the resources those of https://docs.aws.amazon.com/service-authorization/latest/reference/. The local host
enforces them, and the audit of the template holds the roles' policies to them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_INTEGRATION = "arn:aws:states:::"
_SAGEMAKER_ROLES = ("RoleArn", "ExecutionRoleArn")
# Who passes a role passes it to this service; https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-roles.html
_SAGEMAKER = "sagemaker.amazonaws.com"
_RULE_ACTIONS = ("events:PutTargets", "events:PutRule", "events:DescribeRule")
# By what a key's policies tell the machines apart whose data it encrypts.
_MACHINE_CONTEXT = "kms:EncryptionContext:aws:states:stateMachineArn"
# The rule by which Step Functions hears of the end of what a .sync task started.
_MANAGED_RULES = {
    "CreateTrainingJob": "StepFunctionsGetEventsForSageMakerTrainingJobsRule",
    "CreateProcessingJob": "StepFunctionsGetEventsForSageMakerProcessingJobsRule",
    "CreateTransformJob": "StepFunctionsGetEventsForSageMakerTransformJobsRule",
    "CreateHyperParameterTuningJob": "StepFunctionsGetEventsForSageMakerTuningJobsRule",
    "StartExecution": "StepFunctionsGetEventsForStepFunctionsExecutionRule",
}
# An operation of SageMaker is checked on these; the braces hold a member of its request.
_SAGEMAKER_RESOURCES = {
    **{f"{verb}TrainingJob": ("training-job/{TrainingJobName}",) for verb in ("Create", "Describe", "Stop")},
    **{
        f"{verb}TransformJob": ("transform-job/{TransformJobName}",)
        for verb in ("Create", "Describe", "Stop")
    },
    **{
        f"{verb}ProcessingJob": ("processing-job/{ProcessingJobName}",)
        for verb in ("Create", "Describe", "Stop")
    },
    **{f"{verb}Model": ("model/{ModelName}",) for verb in ("Create", "Describe", "Delete")},
    **{
        f"{verb}EndpointConfig": ("endpoint-config/{EndpointConfigName}",)
        for verb in ("Create", "Describe", "Delete")
    },
    **{f"{verb}Endpoint": ("endpoint/{EndpointName}",) for verb in ("Describe", "Delete")},
    **{
        f"{verb}Endpoint": ("endpoint/{EndpointName}", "endpoint-config/{EndpointConfigName}")
        for verb in ("Create", "Update")
    },
    **{f"InvokeEndpoint{kind}": ("endpoint/{EndpointName}",) for kind in ("", "Async")},
    "CreateModelPackage": (
        "model-package/{ModelPackageGroupName}/1",
        "model-package-group/{ModelPackageGroupName}",
    ),
    **{f"{verb}ModelPackage": ("{ModelPackageName}",) for verb in ("Describe", "Delete")},
    "UpdateModelPackage": ("{ModelPackageArn}",),
}


SCALING = "AnyScaleFrontendService."
"""Before the operations of Application Auto Scaling, in the header that names a request's target."""


class UnknownIntegration(Exception):
    """Nobody has written down what this integration needs."""


@dataclass(frozen=True)
class Place:
    """Where ARNs are."""

    partition: str
    region: str
    account: str

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource here."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"


@dataclass(frozen=True)
class Permission:
    """An action on a resource, and what a policy's conditions may ask about the request."""

    action: str
    resource: str
    context: Mapping[str, Any] = field(default_factory=dict, hash=False)


def task_permissions(
    resource: str,
    arguments: Mapping[str, Any],
    place: Place,
    key_of: Callable[[str], str | None] = lambda machine_arn: None,
) -> list[Permission]:
    """What a task's call needs.

    Args:
        resource: the task's ``Resource``.
        arguments: its ``Arguments``, evaluated.
        key_of: the customer's key of the machine with an ARN, if it has one.

    Raises:
        UnknownIntegration: nothing is known of the integration.
    """
    service, operation, pattern = _parts(resource)
    match service:
        case "lambda" if operation == "Invoke":
            return [Permission("lambda:InvokeFunction", _function_arn(str(arguments["FunctionName"]), place))]
        case "sns" if operation == "Publish":
            return [Permission("sns:Publish", str(arguments["TopicArn"]))]
        case "states" if operation == "StartExecution":
            machine_arn = str(arguments["StateMachineArn"])
            needed = list(_execution_permissions(machine_arn, pattern, place))
            key = key_of(machine_arn) if pattern.startswith("sync") else None
            return needed if key is None else [*needed, reading_permission(key, machine_arn)]
        case "dynamodb":
            name = str(arguments["TableName"])
            arn = name if name.startswith("arn:") else place.arn("dynamodb", f"table/{name}")
            keys = [next(iter(value.values())) for value in list(arguments.get("Key", {}).values())[:1]]
            return [Permission(f"dynamodb:{operation}", arn, {"dynamodb:LeadingKeys": keys})]
        case "sagemaker" if operation in _SAGEMAKER_RESOURCES:
            return list(_sagemaker_permissions(operation, arguments, waits=pattern == "sync", place=place))
    raise UnknownIntegration(
        f"{resource}: nothing is known of what a role needs for it; add it to dropforge_local/permissions.py."
    )


def request_permissions(operation: str, request: Mapping[str, Any], place: Place) -> list[Permission]:
    """What a call of SageMaker needs of who makes it; listing and what is unknown name no resource."""
    if operation.startswith(SCALING):
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsapplicationautoscaling.html
        name = operation.removeprefix(SCALING)
        describes = name.startswith("Describe")
        target = "*" if describes else place.arn("application-autoscaling", "scalable-target/*")
        context = {
            "application-autoscaling:service-namespace": request.get("ServiceNamespace", ""),
            "application-autoscaling:scalable-dimension": request.get("ScalableDimension", ""),
        }
        return [Permission(f"application-autoscaling:{name}", target, {} if describes else context)]
    if operation not in _SAGEMAKER_RESOURCES:
        return [Permission(f"sagemaker:{operation}", "*")]
    return list(_sagemaker_permissions(operation, request, waits=False, place=place))


def managed_rule_permissions(definition: Any, place: Place) -> list[Permission]:
    """What creating a machine needs, because managed rules tell its ``.sync`` tasks of their jobs' ends."""
    rules = {
        _MANAGED_RULES[operation]
        for state in _states(definition)
        if str(state.get("Resource", "")).startswith(_INTEGRATION)
        for _, operation, pattern in [_parts(state["Resource"])]
        if pattern.startswith("sync") and operation in _MANAGED_RULES
    }
    return [
        Permission(action, place.arn("events", f"rule/{rule}"))
        for rule in sorted(rules)
        for action in _RULE_ACTIONS
    ]


def map_permissions(state: Mapping[str, Any], machine_arn: str, label: str, place: Place) -> list[Permission]:
    """What a distributed Map needs: its children are executions of the machine itself.

    Args:
        state: the Map state, its ItemReader's and ResultWriter's arguments evaluated.
        label: the state's Label, or its name.

    https://docs.aws.amazon.com/step-functions/latest/dg/iam-policies-eg-dist-map.html
    """
    name = machine_arn.rpartition(":")[2]
    children = place.arn("states", f"execution:{name}/{label}:child")
    found = [
        Permission("states:StartExecution", machine_arn),
        Permission("states:DescribeExecution", children),
        Permission("states:StopExecution", children),
    ]
    reader, writer = state.get("ItemReader"), state.get("ResultWriter")
    if reader:
        arguments = reader.get("Arguments") or reader.get("Parameters") or {}
        bucket = f"arn:{place.partition}:s3:::{arguments['Bucket']}"
        if reader["Resource"].endswith(":listObjectsV2"):
            prefix = arguments.get("Prefix", "")
            found.append(Permission("s3:ListBucket", bucket, {"s3:prefix": prefix}))
        else:
            found.append(Permission("s3:GetObject", f"{bucket}/{arguments['Key']}"))
    if writer and writer.get("Resource"):
        arguments = writer.get("Arguments") or writer.get("Parameters") or {}
        written = (
            f"arn:{place.partition}:s3:::{arguments['Bucket']}/{arguments.get('Prefix', '')}/map/result.json"
        )
        found += [
            Permission(f"s3:{action}", written)
            for action in ("PutObject", "GetObject", "ListMultipartUploadParts", "AbortMultipartUpload")
        ]
    return found


def observation_permissions(*, logs: bool, traces: bool) -> list[Permission]:
    """What a machine needs to log and to be traced; none of it knows resources.

    https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html,
    https://docs.aws.amazon.com/step-functions/latest/dg/xray-iam.html
    """
    deliveries = ("CreateLogDelivery", "GetLogDelivery", "UpdateLogDelivery", "DeleteLogDelivery")
    policies = ("ListLogDeliveries", "PutResourcePolicy", "DescribeResourcePolicies", "DescribeLogGroups")
    segments = ("PutTraceSegments", "PutTelemetryRecords", "GetSamplingRules", "GetSamplingTargets")
    return [Permission(f"logs:{name}", "*") for name in deliveries + policies if logs] + [
        Permission(f"xray:{name}", "*") for name in segments if traces
    ]


def reading_permission(key: str, machine_arn: str) -> Permission:
    """What describing a machine's definition, executions or histories needs, but for METADATA_ONLY."""
    return Permission("kms:Decrypt", key, {_MACHINE_CONTEXT: machine_arn})


def history_permissions(key: str, machine_arn: str) -> list[Permission]:
    """What executing a machine needs whose definition and histories a customer's key encrypts.

    https://docs.aws.amazon.com/step-functions/latest/dg/encryption-at-rest.html
    """
    writing = Permission("kms:GenerateDataKey", key, {_MACHINE_CONTEXT: machine_arn})
    return [reading_permission(key, machine_arn), writing]


def log_delivery_permission(key: str, place: Place) -> Permission:
    """What such a machine needs to log; the page of ``history_permissions`` says so."""
    return Permission("kms:GenerateDataKey", key, {"kms:EncryptionContext:SourceArn": place.arn("logs", "*")})


def _parts(resource: str) -> tuple[str, str, str]:
    """(service, Operation, pattern) of a task's resource; the pattern may be empty."""
    name = resource.removeprefix(_INTEGRATION).removeprefix("aws-sdk:")
    service, _, rest = name.partition(":")
    operation, _, pattern = rest.partition(".")
    if not resource.startswith(_INTEGRATION) or not operation:
        raise UnknownIntegration(f"{resource} is no service integration.")
    service = {"sfn": "states"}.get(service, service)
    return service, operation[0].upper() + operation[1:], pattern


def _function_arn(name: str, place: Place) -> str:
    return name if name.startswith("arn:") else place.arn("lambda", f"function:{name}")


def _execution_permissions(machine_arn: str, pattern: str, place: Place) -> Iterator[Permission]:
    yield Permission("states:StartExecution", machine_arn)
    if pattern.startswith("sync"):
        child = place.arn("states", f"execution:{machine_arn.rpartition(':')[2]}:child")
        yield Permission("states:DescribeExecution", child)
        yield Permission("states:StopExecution", child)


def _sagemaker_permissions(
    operation: str, arguments: Mapping[str, Any], *, waits: bool, place: Place
) -> Iterator[Permission]:
    named = [each.format_map(arguments) for each in _SAGEMAKER_RESOURCES[operation]]
    resources = [name if name.startswith("arn:") else place.arn("sagemaker", name) for name in named]
    operations = [operation]
    if waits:
        operations += [operation.replace("Create", verb) for verb in ("Describe", "Stop")]
    for each in operations:
        yield from (Permission(f"sagemaker:{each}", resource) for resource in resources)
    # Step Functions marks what it waits for with a tag of its own.
    if waits or arguments.get("Tags"):
        yield Permission("sagemaker:AddTags", resources[0])
    if waits:
        yield Permission("sagemaker:ListTags", resources[0])
    for name in _SAGEMAKER_ROLES:
        if name in arguments:
            yield Permission("iam:PassRole", str(arguments[name]), {"iam:PassedToService": _SAGEMAKER})
    containers = [arguments.get("PrimaryContainer"), *(arguments.get("Containers") or [])]
    for container in containers:
        if container and "ModelPackageName" in container:
            yield Permission("sagemaker:DescribeModelPackage", str(container["ModelPackageName"]))


def _states(definition: Any) -> Iterator[dict[str, Any]]:
    """Every state, those inside of Map and Parallel states too."""
    if isinstance(definition, str):
        definition = json.loads(definition)
    for state in definition.get("States", {}).values():
        yield state
        inner = [state.get("ItemProcessor"), state.get("Iterator"), *(state.get("Branches") or [])]
        for each in inner:
            if each:
                yield from _states(each)
