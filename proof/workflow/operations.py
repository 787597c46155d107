"""A task's resource as an operation of botocore's models."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, cast

import botocore.session
from botocore.exceptions import UnknownServiceError
from botocore.model import OperationModel, ServiceModel, StructureShape

_PREFIX = "arn:aws:states:::"
# Step Functions' own names of services, where they differ from botocore's.
_BOTOCORE = {"states": "stepfunctions", "sfn": "stepfunctions"}
# https://docs.aws.amazon.com/step-functions/latest/dg/integrate-optimized.html, of the services that we use.
_OPTIMISED = {
    "dynamodb": {"getItem", "putItem", "updateItem", "deleteItem"},
    "lambda": {"invoke"},
    "sagemaker": {
        "createEndpoint",
        "createEndpointConfig",
        "createHyperParameterTuningJob",
        "createLabelingJob",
        "createModel",
        "createProcessingJob",
        "createTrainingJob",
        "createTransformJob",
        "updateEndpoint",
    },
    "sns": {"publish"},
    "sqs": {"sendMessage"},
    "states": {"startExecution"},
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
