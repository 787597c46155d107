"""The names that a Retry or Catch may match on, by what the state calls."""

from __future__ import annotations

from collections.abc import Iterator

from dropforge.domain import errors
from proof.findings import Finding
from proof.product import Product, states_of
from proof.workflow.operations import UnknownResource, operation_of

# https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
RESERVED = {
    "States.ALL",
    "States.BranchFailed",
    "States.DataLimitExceeded",
    "States.ExceedToleratedFailureThreshold",
    "States.HeartbeatTimeout",
    "States.ItemReaderFailed",
    "States.Permissions",
    "States.QueryEvaluationError",
    "States.ResultWriterFailed",
    "States.TaskFailed",
    "States.Timeout",
}
# What the optimised Lambda integration adds to Invoke's own errors, and what the runtime reports.
_LAMBDA = {
    "Lambda.AWSLambdaException",
    "Lambda.ClientExecutionTimeoutException",
    "Lambda.SdkClientException",
    "Lambda.ServiceException",
    "Lambda.Unknown",
    "Runtime.ExitError",
    "Sandbox.Timedout",
}
# What any call of a service may answer, beside what its operation models:
# https://docs.aws.amazon.com/sagemaker/latest/APIReference/CommonErrors.html and the other services' pages.
_COMMON = {
    "sagemaker": ("ThrottlingException", "InternalFailureException", "ServiceUnavailableException"),
    "sns": ("ThrottledException", "InternalErrorException"),
    "dynamodb": ("ThrottlingException", "InternalServerErrorException"),
    "states": ("ThrottlingException",),
    "s3": ("SlowDownException", "InternalErrorException", "ServiceUnavailableException"),
}
# (prefix, the SDK's base exception) of an optimised and of an SDK integration.
_NAMES = {
    "sagemaker": ("SageMaker", "AmazonSageMakerException", "SageMakerException"),
    "sns": ("SNS", "AmazonSNSException", "SnsException"),
    "dynamodb": ("DynamoDB", "AmazonDynamoDBException", "DynamoDbException"),
    "states": ("StepFunctions", "AWSStepFunctionsException", "SfnException"),
    "s3": ("S3", "AmazonS3Exception", "S3Exception"),
}

OWN = {
    name
    for name, each in vars(errors).items()
    if isinstance(each, type) and each.__module__ == errors.__name__
}


def check(product: Product) -> Iterator[Finding]:
    """Every name that a state matches on is one that its call can raise."""
    for machine in product.machines():
        for name, state in states_of(machine.definition()):
            known = _known(state)
            for field in ("Retry", "Catch"):
                for each in state.get(field, []):
                    for error in each["ErrorEquals"]:
                        if error not in known:
                            yield Finding(
                                "error-name",
                                f"{machine.path} {name}",
                                f"{field} matches {error}, which {state.get('Resource', 'the state')} "
                                "does not raise: no reserved name, no class of errors.py",
                            )


def _known(state: dict[str, object]) -> set[str]:
    if "Resource" not in state:
        return RESERVED | OWN  # a Map's children call anything; their errors end it by their class
    try:
        operation = operation_of(str(state["Resource"]))
    except UnknownResource:
        return RESERVED
    if operation.service == "lambda":
        return RESERVED | _LAMBDA | OWN | {f"Lambda.{error}" for error in operation.errors()}
    if operation.service not in _NAMES:
        return RESERVED
    prefix, optimised, sdk = _NAMES[operation.service]
    names = {*_COMMON[operation.service], *operation.errors(), "SdkClientException"}
    names.add(sdk if operation.is_sdk else optimised)
    return RESERVED | {f"{prefix}.{name}" for name in names}
