"""What can go wrong with a task, named as AWS reports it for the kind of resource that the task calls."""

from __future__ import annotations

import json
from dataclasses import dataclass

#: The columns of the matrix, in order.
KINDS = (
    "throttle",
    "5xx",
    "timeout",
    "permanent",
    "crash-before",
    "crash-after",
    "duplicate",
    "quota",
    "capacity",
    "kill-before",
    "kill-after",
)

# More often than any Retry tries: the error stays.
_FOR_GOOD = 40


@dataclass(frozen=True)
class Fault:
    """A rule for the host: see ``LocalHost.inject``."""

    kind: str
    rule: str
    error: str = ""
    cause: str = ""
    times: int = 1

    @property
    def is_permanent(self) -> bool:
        """Whether no retry mends it."""
        return self.kind == "permanent"


def faults_of(resource: str) -> list[Fault]:
    """The seven faults of a Task state's resource."""
    throttled, broken, crashed, denied = _errors_of(resource)
    return [
        Fault("throttle", "before", *throttled, times=2),
        Fault("5xx", "before", *broken, times=2),
        Fault("timeout", "hang"),
        Fault("permanent", "before", *denied, times=_FOR_GOOD),
        Fault("crash-before", "before", *crashed),
        Fault("crash-after", "after", *crashed),
        Fault("duplicate", "twice"),
    ]


def error_class(resource: str) -> str:
    """What a run's record and its notification call the resource's permanent error."""
    return _errors_of(resource)[3][0]


_Error = tuple[str, str]


def _errors_of(resource: str) -> tuple[_Error, _Error, _Error, _Error]:
    """Throttling, an error of the service, a lost call, and a refusal."""
    if ":lambda:" in resource:
        return (
            ("Lambda.TooManyRequestsException", "Rate Exceeded. (Service: Lambda, Status Code: 429)"),
            ("Lambda.ServiceException", "Service error. (Service: Lambda, Status Code: 500)"),
            _function_error("Runtime.ExitError", "Runtime exited with error: signal: killed"),
            _function_error("AccessDenied", "GetItem failed: AccessDeniedException: not authorized"),
        )
    if ":sns:" in resource:
        return (
            ("SNS.ThrottledException", "Rate exceeded (Service: AmazonSNS; Status Code: 400)"),
            ("SNS.InternalErrorException", "Internal error (Service: AmazonSNS; Status Code: 500)"),
            ("SNS.SdkClientException", "Unable to execute HTTP request: Connection reset"),
            ("SNS.AuthorizationErrorException", "not authorized (Service: AmazonSNS; Status Code: 403)"),
        )
    if ":dynamodb:" in resource:
        name = "DynamoDB.AmazonDynamoDBException"
        return (
            ("DynamoDB.ThrottlingException", "Rate exceeded (Service: AmazonDynamoDBv2; Status Code: 400)"),
            ("DynamoDB.InternalServerErrorException", "(Service: AmazonDynamoDBv2; Status Code: 500)"),
            ("DynamoDB.SdkClientException", "Unable to execute HTTP request: Connection reset"),
            (name, "not authorized (Service: AmazonDynamoDBv2; Error Code: AccessDeniedException)"),
        )
    if ":states:startExecution" in resource:
        return (
            ("StepFunctions.ThrottlingException", "Rate exceeded"),
            ("StepFunctions.AWSStepFunctionsException", "Service error (Status Code: 500)"),
            ("StepFunctions.SdkClientException", "Unable to execute HTTP request: Connection reset"),
            ("StepFunctions.AccessDeniedException", "not authorized to perform states:StartExecution"),
        )
    if ":aws-sdk:sagemaker:" in resource:
        # The SDK has no class for these: only status and text differ.
        name = "SageMaker.SageMakerException"
        return (
            (name, "Rate exceeded (Service: SageMaker, Status Code: 400, Request ID: 1)"),
            (name, "Service unavailable (Service: SageMaker, Status Code: 503, Request ID: 1)"),
            ("SageMaker.SdkClientException", "Unable to execute HTTP request: Connection reset"),
            (name, "not authorized to perform this (Service: SageMaker, Status Code: 400, Request ID: 1)"),
        )
    name = "SageMaker.AmazonSageMakerException"
    service = "Service: AmazonSageMaker; Status Code: 400; Error Code"
    return (
        (name, f"Rate exceeded ({service}: ThrottlingException)"),
        ("SageMaker.InternalFailureException", "(Service: AmazonSageMaker; Status Code: 500)"),
        ("SageMaker.SdkClientException", "Unable to execute HTTP request: Connection reset"),
        (name, f"not authorized to perform this ({service}: AccessDeniedException)"),
    )


def _function_error(name: str, message: str) -> _Error:
    return name, json.dumps({"errorType": name, "errorMessage": message})
