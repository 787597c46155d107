"""Step Functions, SageMaker's registry and its hosting, in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tests.fakes.records import GROUP, package_arn

from dropforge.domain.errors import ServiceRejected, SmokeTestFailed
from dropforge.domain.services import (
    EndpointState,
    ExecutionEnd,
    ExecutionState,
    NewPackage,
    Package,
    RunningJob,
)


@dataclass
class Execution:
    machine: str
    name: str
    payload: dict[str, Any]
    is_running: bool = True
    end: ExecutionEnd | None = None


class FakeWorkflows:
    """Executions by ARN, and what waiting tasks were told by their tokens."""

    def __init__(self) -> None:
        self.executions: dict[str, Execution] = {}
        self.waiting: set[str] = set()
        self.results: dict[str, dict[str, Any]] = {}

    def snapshot(self) -> dict[str, Any]:
        return {
            "executions": {arn: vars(each) for arn, each in self.executions.items()},
            "waiting": sorted(self.waiting),
            "results": self.results,
        }

    def started(self, machine: str) -> list[Execution]:
        return [each for each in self.executions.values() if each.machine == machine]

    def start(self, state_machine_arn: str, *, name: str, payload: Mapping[str, Any]) -> str:
        assert len(name) <= 80, name
        arn = f"{state_machine_arn.replace(':stateMachine:', ':execution:')}:{name}"
        # The payload has to survive the trip as JSON.
        payload = json.loads(json.dumps(payload))
        known = self.executions.setdefault(arn, Execution(state_machine_arn, name, payload))
        assert known.payload == payload, "the same name with another input is refused by Step Functions"
        return arn

    def state(self, execution_arn: str) -> ExecutionState:
        found = self.executions.get(execution_arn)
        if found is None:
            return "unknown"
        return "running" if found.is_running else "ended"

    def end_of(self, execution_arn: str) -> ExecutionEnd | None:
        found = self.executions.get(execution_arn)
        return None if found is None else found.end

    def input_of(self, execution_arn: str) -> str | None:
        found = self.executions.get(execution_arn)
        return None if found is None else json.dumps(found.payload)

    def resolve(self, task_token: str, result: Mapping[str, Any]) -> bool:
        if task_token not in self.waiting:
            return False
        self.waiting.remove(task_token)
        self.results[task_token] = json.loads(json.dumps(result))
        return True


@dataclass
class _Registered:
    package: Package
    request: NewPackage
    stages: list[tuple[str, str]] = field(default_factory=list)
    card_status: str | None = None


class FakeRegistry:
    """Packages by ARN; a client token makes one package however often it is sent."""

    def __init__(self) -> None:
        self.registered: dict[str, _Registered] = {}
        self.versions = 0

    def snapshot(self) -> dict[str, Any]:
        return {
            arn: (each.package, each.request, each.stages[-1:], each.card_status)
            for arn, each in self.registered.items()
        }

    def register(self, package: NewPackage) -> Package:
        assert 1 <= len(package.client_token) <= 36
        assert all(len(value) <= 256 for value in package.metadata.values())
        for each in self.registered.values():
            if each.request.client_token == package.client_token:
                return each.package
        # A version number is never given twice, also not after a package was deleted.
        self.versions += 1
        version = self.versions
        made = Package(
            arn=package_arn(version),
            version=version,
            status="PendingManualApproval",
            description=None,
            modified_by=None,
            metadata=dict(package.metadata),
        )
        self.registered[made.arn] = _Registered(made, package)
        return made

    def describe(self, package_arn: str) -> Package:
        return self._find(package_arn).package

    def reject(self, package_arn: str, reason: str) -> None:
        self.review(package_arn, "Rejected", reason=reason)

    def set_card(self, package_arn: str, content: str, status: str) -> None:
        found = self._find(package_arn)
        if found.card_status == "Archived":
            raise ServiceRejected("ValidationException: Model Card is in Archived state")
        json.loads(content)
        found.package = replace(found.package, card=content)
        found.card_status = status

    def set_stage(self, package_arn: str, stage: str, status: str) -> None:
        self._find(package_arn).stages.append((stage, status))

    def review(
        self,
        package_arn: str,
        status: str,
        *,
        by: str | None = None,
        reason: str | None = None,
        **metadata: str,
    ) -> dict[str, Any]:
        """What a person does in a console. Returns the event that SageMaker emits."""
        found = self._find(package_arn)
        found.package = replace(
            found.package,
            status=status,
            description=reason,
            modified_by=by,
            metadata={**found.package.metadata, **metadata},
        )
        return {
            "source": "aws.sagemaker",
            "detail-type": "SageMaker Model Package State Change",
            "detail": {
                "ModelPackageArn": package_arn,
                "ModelPackageGroupName": GROUP,
                "ModelPackageVersion": found.package.version,
                "ModelApprovalStatus": status,
                "UpdatedModelPackageFields": ["ModelApprovalStatus"],
            },
        }

    def _find(self, package_arn: str) -> _Registered:
        if package_arn not in self.registered:
            raise ServiceRejected(f"ValidationException: {package_arn} does not exist.")
        return self.registered[package_arn]


class FakeEndpoints:
    """Endpoints, configurations and models; ``answer`` is the container."""

    def __init__(self) -> None:
        self.endpoints: dict[str, EndpointState] = {}
        self.configs: dict[str, datetime] = {}
        self.models: dict[str, datetime] = {}
        self.requests: list[datetime] = []
        self.asked: list[tuple[str, str]] = []
        self.answer: Callable[[bytes], bytes] = self._no_container

    @staticmethod
    def _no_container(_: bytes) -> bytes:
        raise SmokeTestFailed("There is no container.")

    def snapshot(self) -> dict[str, Any]:
        return {
            "endpoints": dict(self.endpoints),
            "configs": dict(self.configs),
            "models": dict(self.models),
        }

    def deploy(self, endpoint: str, name: str, now: datetime) -> None:
        """What the deployment state machine does: a model, a configuration, an endpoint in service."""
        self.configs[name] = self.models[name] = now
        self.endpoints[endpoint] = EndpointState("InService", name)

    def describe(self, endpoint_name: str) -> EndpointState | None:
        return self.endpoints.get(endpoint_name)

    def requests_since(self, endpoint_name: str, start: datetime, end: datetime) -> float:
        return float(sum(start <= moment < end for moment in self.requests))

    def delete(self, endpoint_name: str) -> None:
        self.endpoints.pop(endpoint_name, None)

    def invoke(self, endpoint_name: str, body: bytes) -> bytes:
        return self.answer(body)

    def invoke_later(self, endpoint_name: str, input_uri: str, *, identifier: str) -> tuple[str, str]:
        self.asked.append((input_uri, identifier))
        return f"s3://data/out/{identifier}", f"s3://data/failed/{identifier}"

    def configs_created_before(self, name_prefix: str, moment: datetime) -> list[str]:
        return [n for n, made in self.configs.items() if n.startswith(name_prefix) and made < moment]

    def models_created_before(self, name_prefix: str, moment: datetime) -> list[str]:
        return [n for n, made in self.models.items() if n.startswith(name_prefix) and made < moment]

    def delete_config(self, name: str) -> None:
        self.configs.pop(name, None)

    def delete_model(self, name: str) -> None:
        self.models.pop(name, None)


class FakeScaling:
    """Bounds by endpoint."""

    def __init__(self) -> None:
        self.scaled: dict[str, tuple[int, int]] = {}

    def snapshot(self) -> dict[str, Any]:
        return dict(self.scaled)

    def bounds(self, endpoint_name: str) -> tuple[int, int] | None:
        return self.scaled.get(endpoint_name)

    def scale(self, endpoint_name: str, minimum: int, maximum: int) -> None:
        self.scaled[endpoint_name] = (minimum, maximum)

    def stop(self, endpoint_name: str) -> None:
        self.scaled.pop(endpoint_name, None)


class FakeJobs:
    """Jobs in progress, by name."""

    def __init__(self) -> None:
        self.running: dict[str, RunningJob] = {}

    def snapshot(self) -> dict[str, Any]:
        return dict(self.running)

    def begin(self, job: RunningJob) -> None:
        self.running[job.name] = job

    def in_progress(self, name_prefix: str) -> list[RunningJob]:
        return [job for name, job in self.running.items() if name.startswith(name_prefix)]

    def stop(self, job: RunningJob) -> None:
        self.running.pop(job.name, None)
