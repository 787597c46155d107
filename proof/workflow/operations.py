"""A task's resource as an operation of botocore's models."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, cast

import botocore.session
from botocore.exceptions import UnknownServiceError
from botocore.model import OperationModel, ServiceModel, StructureShape

_PREFIX = "arn:aws:states:::"
REMEDY = "call it by the SDK integration, arn:aws:states:::aws-sdk:…, which takes every member"
# Step Functions' own names of services, where they differ from botocore's.
_BOTOCORE = {"states": "stepfunctions", "sfn": "stepfunctions"}
_ITEM = (
    "TableName ConditionalOperator ConditionExpression Expected ExpressionAttributeNames "
    "ExpressionAttributeValues ReturnConsumedCapacity ReturnItemCollectionMetrics ReturnValues"
)
# The optimised integrations, of the services that we use, with the members that Step Functions' own pages
# list as supported: others are refused, some only at run time. Of members of members nothing is published.
# https://docs.aws.amazon.com/step-functions/latest/dg/integrate-optimized.html; today's page on SageMaker has
# lost its lists, which stand in https://github.com/awsdocs/aws-step-functions-developer-guide.
_OPTIMISED: dict[str, dict[str, str]] = {
    "dynamodb": {
        "getItem": "Key TableName AttributesToGet ConsistentRead ExpressionAttributeNames "
        "ProjectionExpression ReturnConsumedCapacity",
        "putItem": f"Item {_ITEM}",
        "updateItem": f"Key AttributeUpdates UpdateExpression {_ITEM}",
        "deleteItem": f"Key {_ITEM}",
    },
    "lambda": {"invoke": "ClientContext FunctionName InvocationType LogType Payload Qualifier"},
    "sagemaker": {
        "createEndpoint": "EndpointConfigName EndpointName Tags",
        "createEndpointConfig": "EndpointConfigName KmsKeyId ProductionVariants Tags",
        "createHyperParameterTuningJob": "HyperParameterTuningJobConfig HyperParameterTuningJobName Tags "
        "TrainingJobDefinition WarmStartConfig",
        "createLabelingJob": "HumanTaskConfig InputConfig LabelAttributeName LabelCategoryConfigS3Uri "
        "LabelingJobAlgorithmsConfig LabelingJobName OutputConfig RoleArn StoppingConditions Tags",
        "createModel": "Containers EnableNetworkIsolation ExecutionRoleArn ModelName PrimaryContainer Tags "
        "VpcConfig",
        "createProcessingJob": "AppSpecification Environment ExperimentConfig NetworkConfig "
        "ProcessingInputs ProcessingJobName ProcessingOutputConfig ProcessingResources RoleArn "
        "StoppingCondition Tags",
        "createTrainingJob": "AlgorithmSpecification HyperParameters InputDataConfig OutputDataConfig "
        "ResourceConfig RoleArn StoppingCondition Tags TrainingJobName VpcConfig",
        "createTransformJob": "BatchStrategy Environment MaxConcurrentTransforms MaxPayloadInMB ModelName "
        "Tags TransformInput TransformJobName TransformOutput TransformResources",
        "updateEndpoint": "EndpointConfigName EndpointName",
    },
    "sns": {
        "publish": "Message MessageAttributes MessageDeduplicationId MessageGroupId MessageStructure "
        "PhoneNumber Subject TargetArn TopicArn"
    },
    "sqs": {
        "sendMessage": "DelaySeconds MessageAttributes MessageBody MessageDeduplicationId MessageGroupId "
        "QueueUrl"
    },
    "states": {"startExecution": "Input Name StateMachineArn TraceHeader"},
}
_PATTERNS = {
    "lambda": {"", "waitForTaskToken"},
    "sns": {"", "waitForTaskToken"},
    "sqs": {"", "waitForTaskToken"},
    "states": {"", "sync", "sync:2", "waitForTaskToken"},
    "dynamodb": {""},
}
_SAGEMAKER_JOBS = {name for name in _OPTIMISED["sagemaker"] if name.endswith("Job")}


class UnknownResource(Exception):
    """A task's resource that Step Functions would refuse."""


@dataclass(frozen=True)
class Operation:
    """An operation: Step Functions' name of the service, the operation's, and the integration's kind."""

    service: str
    name: str
    pattern: str
    is_sdk: bool
    model: OperationModel

    def errors(self) -> set[str]:
        """The errors that the operation models, as Step Functions ends their names."""
        names = {shape.name for shape in self.model.error_shapes}
        return {name if name.endswith("Exception") else f"{name}Exception" for name in names}

    @property
    def supported(self) -> frozenset[str] | None:
        """The members that an optimised integration takes; None where it is all of the operation's."""
        if self.is_sdk:
            return None
        action = f"{self.name[0].lower()}{self.name[1:]}"
        return frozenset(_OPTIMISED[self.service][action].split())

    @property
    def input_shape(self) -> StructureShape:
        """The shape of the request."""
        return cast("StructureShape", self.model.input_shape)

    @property
    def output_shape(self) -> StructureShape | None:
        """The shape of the answer; a job that is waited for is described by it."""
        described = self.name.replace("Create", "Describe", 1)
        if self.pattern == "sync" and described in self.model.service_model.operation_names:
            return self.model.service_model.operation_model(described).output_shape
        return self.model.output_shape


@functools.cache
def operation_of(resource: str) -> Operation:
    """The operation that a task's resource names.

    Raises:
        UnknownResource: there is no such integration; the message says what is wrong with it.
    """
    if not resource.startswith(_PREFIX):
        raise UnknownResource(f"{resource} is no service integration, which begin with {_PREFIX}")
    name = resource.removeprefix(_PREFIX)
    is_sdk = name.startswith("aws-sdk:")
    service, _, rest = name.removeprefix("aws-sdk:").partition(":")
    action, _, pattern = rest.partition(".")
    if is_sdk and pattern not in ("", "waitForTaskToken"):
        raise UnknownResource(f"{resource}: an SDK integration has no pattern {pattern!r}")
    if not is_sdk and not _is_optimised(service, action, pattern):
        raise UnknownResource(f"{resource} is no optimised integration")
    try:
        model = service_model(_BOTOCORE.get(service, service))
    except UnknownServiceError as error:
        raise UnknownResource(f"{resource}: there is no service {service}") from error
    operation = f"{action[:1].upper()}{action[1:]}"
    if operation not in model.operation_names:
        raise UnknownResource(f"{resource}: {service} has no operation {operation}")
    return Operation(service, operation, pattern, is_sdk, model.operation_model(operation))


def _is_optimised(service: str, action: str, pattern: str) -> bool:
    if action not in _OPTIMISED.get(service, ()):
        return False
    if service == "sagemaker":
        return pattern == "" or (pattern == "sync" and action in _SAGEMAKER_JOBS)
    return pattern in _PATTERNS[service]


@functools.cache
def service_model(service: str) -> ServiceModel:
    """botocore's model of a service."""
    session: Any = _session()
    model: ServiceModel = session.get_service_model(service)
    return model


@functools.cache
def _session() -> Any:
    return botocore.session.Session()
