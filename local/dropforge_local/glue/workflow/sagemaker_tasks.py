"""Step Functions' optimised SageMaker integrations, on our SageMaker service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dropforge_local.sagemaker.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dropforge_local.sagemaker.service import SageMaker

# https://docs.aws.amazon.com/step-functions/latest/dg/connect-sagemaker.html; .sync job -> its kind.
_JOBS = {"createTrainingJob": "TrainingJob", "createTransformJob": "TransformJob"}
_NAMED = {
    "ResourceLimitExceeded": "ResourceLimitExceededException",
    "ResourceInUse": "ResourceInUseException",
    "ResourceNotFound": "ResourceNotFoundException",
}
# Step Functions marks what it starts and waits for.
_OWNER = {"Key": "MANAGED_BY_AWS", "Value": "STARTED_BY_STEP_FUNCTIONS"}
_ACTIONS = frozenset(
    {
        "createEndpoint",
        "createEndpointConfig",
        "createHyperParameterTuningJob",
        "createModel",
        "createProcessingJob",
        "createTrainingJob",
        "createTransformJob",
        "updateEndpoint",
    }
)


class SageMakerTasks:
    """Calls the service and gives its errors the names that Step Functions gives them."""

    def __init__(self, service: SageMaker, error: Callable[[str, str], Exception]) -> None:
        self._service = service
        self._error = error

    def call(self, action: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A request-response integration."""
        if action not in _ACTIONS:
            raise self._error("States.Runtime", f"There is no optimised integration sagemaker:{action}.")
        return self.handle(f"{action[0].upper()}{action[1:]}", arguments)

    def job(self, action: str, arguments: dict[str, Any]) -> Job:
        """A job that a ``.sync`` task waits for."""
        if action not in _JOBS:
            raise self._error("States.Runtime", f"The local host does not run sagemaker:{action}.sync.")
        return Job(self, self._service, _JOBS[action], arguments, self._error)

    def handle(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """One operation; errors as ``SageMaker.…Exception``."""
        try:
            return self._service.handle(operation, request)
        except ServiceError as error:
            name = _NAMED.get(error.code, "AmazonSageMakerException")
            cause = (
                f"{error.message} (Service: AmazonSageMaker; Status Code: {error.http_status}; "
                f"Error Code: {error.code})"
            )
            raise self._error(f"SageMaker.{name}", cause) from error


class Job:
    """One job: created, waited for, or stopped."""

    def __init__(
        self,
        tasks: SageMakerTasks,
        service: SageMaker,
        kind: str,
        arguments: dict[str, Any],
        error: Callable[[str, str], Exception],
    ) -> None:
        self._tasks, self._service, self._kind, self._error = tasks, service, kind, error
        tags = [*(arguments.get("Tags") or [])]
        self._request = {**arguments, "Tags": tags if _OWNER in tags else [*tags, _OWNER]}
        self._name = {f"{kind}Name": arguments.get(f"{kind}Name", "")}

    def create(self) -> dict[str, Any]:
        """Create the job."""
        return self._tasks.handle(f"Create{self._kind}", self._request)

    def exists_since(self, moment: float) -> bool:
        """Whether the job is there and was created after the epoch time ``moment``, by this very attempt."""
        try:
            described = self._service.handle(f"Describe{self._kind}", self._name)
        except ServiceError:
            return False
        return bool(described["CreationTime"] >= moment - 0.001)

    def wait(self) -> dict[str, Any]:
        """The ended job as ``.sync`` returns it; a job that did not complete is States.TaskFailed."""
        try:
            ended = self._service.wait_job(self._kind, self._name[f"{self._kind}Name"])
        except ServiceError as error:
            raise self._error("SageMaker.AmazonSageMakerException", error.message) from error
        if ended[f"{self._kind}Status"] != "Completed":
            raise self._error("States.TaskFailed", json.dumps(ended))
        return ended

    def stop(self) -> None:
        """Stop the job with the execution that waited for it; a job that has ended stays as it is."""
        try:
            self._service.handle(f"Stop{self._kind}", self._name)
        except ServiceError:
            return
