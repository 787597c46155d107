"""The ports to AWS's services besides S3 and the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

EndpointMode = Literal["serverless", "real-time", "asynchronous"]
ExecutionState = Literal["running", "ended", "unknown"]


@dataclass(frozen=True)
class ExecutionEnd:
    """``status`` is Step Functions' own; ``error`` is its class and message, None where it succeeded."""

    status: str
    output: Mapping[str, Any]
    error: Mapping[str, str] | None


class Workflows(Protocol):
    """Step Functions."""

    def start(self, state_machine_arn: str, *, name: str, payload: Mapping[str, Any]) -> str:
        """Start an execution and return its ARN. The same name twice is one execution."""
        ...

    def state(self, execution_arn: str) -> ExecutionState:
        """Whether the execution runs or has ended.

        ``unknown`` is one that Step Functions does not know: not yet, since its answers are eventually
        consistent, or not any more, 90 days after its end.
        """
        ...

    def end_of(self, execution_arn: str) -> ExecutionEnd | None:
        """How the execution ended; None while it runs, and where Step Functions does not know it."""
        ...

    def input_of(self, execution_arn: str) -> str | None:
        """What the execution was started with, as JSON; None if Step Functions does not know it."""
        ...

    def resolve(self, task_token: str, result: Mapping[str, Any]) -> bool:
        """Give a waiting task its result. False if nobody waits on the token any more."""
        ...


@dataclass(frozen=True)
class NewPackage:
    """What a model package is registered with."""

    client_token: str
    description: str
    image: str
    model_data_url: str
    environment: Mapping[str, str]
    evaluation_uri: str
    profile_uri: str
    contract_uri: str
    metadata: Mapping[str, str]
    commit_id: str
    generated_by: str
    diagnostics_uri: str | None = None


@dataclass(frozen=True)
class Package:
    """A model package as the registry has it now.

    ``status`` is SageMaker's ModelApprovalStatus, ``card`` the content of its model card.
    """

    arn: str
    version: int
    status: str
    description: str | None
    modified_by: str | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    card: str | None = None


class Registry(Protocol):
    """SageMaker's model registry."""

    def register(self, package: NewPackage) -> Package:
        """Create the package, waiting for approval; the same client token twice is one package."""
        ...

    def describe(self, package_arn: str) -> Package: ...

    def reject(self, package_arn: str, reason: str) -> None:
        """Set the approval status to Rejected, with the reason."""
        ...

    def set_card(self, package_arn: str, content: str, status: str) -> None:
        """Give the package a model card, in the place of the one that it has.

        Args:
            content: JSON in one line, see ``dropforge.domain.model_card``.
            status: of the card itself.

        Raises:
            ServiceRejected: SageMaker doesn't take it, as when somebody archived the card.
        """
        ...

    def set_stage(self, package_arn: str, stage: str, status: str) -> None:
        """Set the package's ``ModelLifeCycle``."""
        ...


@dataclass(frozen=True)
class EndpointState:
    """``status`` is SageMaker's EndpointStatus; ``config`` the configuration that serves or is rolled out.

    ``mode`` is what ``EndpointMode`` calls its kind, and ``instances`` how many it runs; of one that never
    came into service nobody knows either.
    """

    status: str
    config: str
    mode: EndpointMode | None = None
    instances: int = 0


class Endpoints(Protocol):
    """SageMaker hosting."""

    def describe(self, endpoint_name: str) -> EndpointState | None:
        """The endpoint's state, or None if there is no such endpoint."""
        ...

    def requests_since(self, endpoint_name: str, start: datetime, end: datetime) -> float:
        """How many requests the endpoint had from one time to another, whoever sent them."""
        ...

    def delete(self, endpoint_name: str) -> None:
        """Delete the endpoint; one that is gone already is fine. Configuration and model stay."""
        ...

    def invoke(self, endpoint_name: str, body: bytes) -> bytes:
        """Send a JSON request and return the JSON answer.

        Raises:
            SmokeTestFailed: the container answered with an error.
        """
        ...

    def invoke_later(self, endpoint_name: str, input_uri: str, *, identifier: str) -> tuple[str, str]:
        """Queue a JSON request that lies in S3; returns the URIs of its answer and of its error."""
        ...

    def configs_created_before(self, name_prefix: str, moment: datetime) -> list[str]: ...

    def models_created_before(self, name_prefix: str, moment: datetime) -> list[str]: ...

    def delete_config(self, name: str) -> None:
        """Delete the configuration; one that is gone already is fine."""
        ...

    def delete_model(self, name: str) -> None:
        """Delete the model; one that is gone already is fine."""
        ...


class EndpointScaling(Protocol):
    """Application Auto Scaling of endpoints."""

    def bounds(self, endpoint_name: str) -> tuple[int, int] | None:
        """Between how many instances the endpoint is scaled; None where it isn't."""
        ...

    def scale(self, endpoint_name: str, minimum: int, maximum: int) -> None:
        """Have the endpoint scaled: from 0 by what waits for it, from 1 by what it is asked at once.

        Safe to run again, also after half of it.
        """
        ...

    def stop(self, endpoint_name: str) -> None:
        """Leave the endpoint at the instances that it has. One that isn't scaled is fine."""
        ...


@dataclass(frozen=True)
class RunningJob:
    """A training or transform job in progress, and the execution that began it."""

    kind: Literal["training", "transform"]
    name: str
    created_at: datetime
    execution_arn: str


class Jobs(Protocol):
    """SageMaker's jobs."""

    def in_progress(self, name_prefix: str) -> list[RunningJob]:
        """The jobs in progress whose names begin so, except those that no execution of ours began."""
        ...

    def stop(self, job: RunningJob) -> None:
        """Have SageMaker end the job, which takes up to two minutes; one that has ended is fine."""
        ...
