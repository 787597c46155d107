"""A SageMaker that executes on this machine: training and transform jobs, endpoints, the model registry.

Not SageMaker's whole interface: an operation that isn't listed here answers ``UnsupportedOperation``, and
a member that would change what is executed, and that this host can't carry out, is refused. What only says
where something runs on AWS (instance types, volume sizes, ``VpcConfig``, a serverless variant's memory) is
stored and shown, and has no effect: there is one machine, with one network and one disk.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dropforge_local.sagemaker import faults as fault_operations
from dropforge_local.sagemaker.arns import Arns
from dropforge_local.sagemaker.asynchronous import AsynchronousRequests
from dropforge_local.sagemaker.container import Image
from dropforge_local.sagemaker.context import Context
from dropforge_local.sagemaker.deployment import Deployment
from dropforge_local.sagemaker.endpoints import Endpoints
from dropforge_local.sagemaker.errors import UNAVAILABLE_OPERATION, ServiceError
from dropforge_local.sagemaker.events import Outbox
from dropforge_local.sagemaker.faults import FaultSwitch
from dropforge_local.sagemaker.models import Models
from dropforge_local.sagemaker.ports import HostPorts, Limits
from dropforge_local.sagemaker.registry import Registry
from dropforge_local.sagemaker.runtime import Runtime
from dropforge_local.sagemaker.scaling import Scaling
from dropforge_local.sagemaker.store import Store
from dropforge_local.sagemaker.tags import Tags
from dropforge_local.sagemaker.training import TrainingJobs
from dropforge_local.sagemaker.transform import TransformJobs
from dropforge_local.sagemaker.validation import check_request, control_model, runtime_model
from dropforge_local.sagemaker.wire import InvocationResult, dispatch

__all__ = ["HostPorts", "InvocationResult", "Limits", "SageMaker", "ServiceError"]

logger = logging.getLogger(__name__)

Operation = Callable[[dict[str, Any]], dict[str, Any]]


class SageMaker:
    """The service. ``start`` before the first call, ``stop`` at the end; safe to call from many threads.

    Args:
        state_dir: everything that survives a restart, and the private folders of what runs now.
        ports: the host's side.
        python: the interpreter that jobs and model servers run with; it has the image's packages.
        clock: epoch seconds, for the times that the service shows.
        container_path: folders put first in a container's PATH; by default the interpreter's own.
        limits: waits and sizes; the defaults are SageMaker's.
    """

    def __init__(
        self,
        state_dir: Path,
        ports: HostPorts,
        *,
        account_id: str = "000000000000",
        region: str = "us-east-1",
        python: str = sys.executable,
        clock: Callable[[], float] = time.time,
        container_path: list[str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.faults = FaultSwitch()
        self._state_dir = state_dir.absolute()
        self._ports = ports
        self._arns = Arns(account_id, region)
        self._python = python
        self._clock = clock
        self._container_path = container_path
        self._limits = limits or Limits()
        self._running: _Running | None = None

    def start(self) -> None:
        """Open the state and go on with what was running when the last process ended, however it ended."""
        if self._running is not None:
            return
        self._state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._container_path if self._container_path is not None else [str(Path(self._python).parent)]
        context = Context(
            state_dir=self._state_dir,
            store=Store(self._state_dir / "sagemaker.sqlite"),
            arns=self._arns,
            ports=self._ports,
            limits=self._limits,
            image=Image(self._python, path, self._state_dir / "bin"),
            clock=self._clock,
        )
        self._running = _Running(context, self.faults)
        self._running.recover()

    def stop(self) -> None:
        """End every process of the service and close the state, which stays for the next start."""
        running, self._running = self._running, None
        if running is not None:
            running.shut_down()

    @property
    def operations(self) -> list[str]:
        """The operations of the control plane that are served; the runtime's is InvokeEndpoint."""
        return sorted(self._started().operations)

    def handle(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one operation of the control plane; times in the answer are epoch seconds.

        ``dropforge:SetFault``, ``dropforge:ClearFaults`` and ``dropforge:ListFaults`` work the fault switch.

        Raises:
            ServiceError: the operation is refused, unsupported, or fails by an injected fault.
        """
        running = self._started()
        if (admin := running.admin.get(operation)) is not None:
            return admin(request)
        if operation not in control_model().operation_names:
            raise ServiceError("UnknownOperationException", f"SageMaker has no operation {operation}.", 404)
        carry_out = running.operations.get(operation)
        if carry_out is None:
            raise ServiceError(
                UNAVAILABLE_OPERATION, f"The local host does not support {operation} of SageMaker."
            )
        capacity_error = self.faults.check(operation)
        check_request(operation, request)
        return _carried_out(operation, lambda: carry_out(request, capacity_error))

    def scale(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one operation of Application Auto Scaling, of the service namespace ``sagemaker``.

        Raises:
            ServiceError: the operation is refused, unsupported, or fails by an injected fault.
        """
        scaling = self._started().scaling
        self.faults.check(operation)
        return _carried_out(operation, lambda: scaling.handle(operation, request))

    def invoke_endpoint_async(self, request: dict[str, Any]) -> dict[str, Any]:
        """InvokeEndpointAsync of the runtime: the request waits, its answer will be in S3.

        Raises:
            ServiceError: ``ValidationError`` without such an endpoint in service or for a wrong request, or
                an injected fault.
        """
        running = self._started()
        self.faults.check("InvokeEndpointAsync")
        check_request("InvokeEndpointAsync", request, runtime_model)
        return running.requests.accept(self._live(request["EndpointName"]), request)

    def invoke_endpoint(
        self,
        endpoint_name: str,
        body: bytes,
        *,
        content_type: str | None = None,
        accept: str | None = None,
        custom_attributes: str | None = None,
        target_variant: str | None = None,
        inference_id: str | None = None,
    ) -> InvocationResult:
        """InvokeEndpoint of the runtime: the model's answer.

        Raises:
            ServiceError: ``ValidationError`` without such an endpoint in service, ``ModelError`` (424) with
                ``OriginalStatusCode``, ``OriginalMessage`` and ``LogStreamArn`` where the model answered no
                2xx, 413 for too large a payload, or an injected fault.
        """
        running = self._started()
        self.faults.check("InvokeEndpoint")
        live = self._live(endpoint_name)
        if live.fleet is not None and live.fleet.asynchronous is not None:
            raise ServiceError(
                "ValidationError",
                f"Endpoint {endpoint_name} is asynchronous: it takes requests by InvokeEndpointAsync.",
            )
        sent = {
            "Content-Type": content_type,
            "Accept": accept,
            "X-Amzn-SageMaker-Custom-Attributes": custom_attributes,
            "X-Amzn-SageMaker-Inference-Id": inference_id,
        }
        headers = {name: value for name, value in sent.items() if value is not None}
        return running.runtime.invoke(live.traffic, endpoint_name, body, headers, target_variant)

    def http(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        query: Mapping[str, Any] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Answer an HTTP request of either protocol; never raises a ``ServiceError``.

        Neither protocol has query parameters: ``query`` is ignored.
        """
        return dispatch(self, method, path, headers, body)

    def wait_training_job(self, name: str, timeout_s: float | None = None) -> dict[str, Any]:
        """Block until a training job has ended; returns the output of Step Functions' ``.sync``.

        Raises:
            ServiceError: there is no such job.
            TimeoutError: it runs still after ``timeout_s`` seconds.
        """
        return self.wait_job("TrainingJob", name, timeout_s)

    def wait_job(self, kind: str, name: str, timeout_s: float | None = None) -> dict[str, Any]:
        """Block until a ``TrainingJob`` or ``TransformJob`` has ended, as ``wait_training_job`` does."""
        return self._started().jobs[kind].wait(name, timeout_s)

    def _live(self, endpoint_name: str) -> Deployment:
        live = self._started().endpoints.live(endpoint_name)
        if live is None:
            raise ServiceError(
                "ValidationError", f"Endpoint {endpoint_name} of account {self._arns.account_id} not found."
            )
        return live

    def _started(self) -> _Running:
        if self._running is None:
            raise ServiceError("ServiceUnavailable", "The SageMaker service is not started.", 503)
        return self._running


def _carried_out(operation: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return call()
    except ServiceError:
        raise
    except Exception as error:
        logger.exception("%s broke", operation)
        raise ServiceError(
            "InternalFailure", f"{operation} failed inside the local host: {error}", 500
        ) from error


def _without_capacity(call: Operation) -> Callable[[dict[str, Any], str | None], dict[str, Any]]:
    """An operation that starts nothing and so can't lack capacity."""
    return lambda request, _capacity_error: call(request)


class _Running:
    """The parts of a started service, and which of them carries out which operation."""

    def __init__(self, context: Context, faults: FaultSwitch) -> None:
        self._context = context
        self._outbox = Outbox(context.store, context.ports.emit_event)
        self.training = TrainingJobs(context, faults)
        self.registry = Registry(context)
        self.models = Models(context, self.registry)
        self.transform = TransformJobs(context, self.models)
        self.jobs: dict[str, TrainingJobs | TransformJobs] = {
            "TrainingJob": self.training,
            "TransformJob": self.transform,
        }
        self.endpoints = Endpoints(context, self.models)
        self.runtime = Runtime(context)
        self.requests = AsynchronousRequests(context, self.endpoints, self.runtime)
        self.scaling = Scaling(context, self.endpoints, self.requests)
        tags = Tags(context)
        plain: dict[str, Operation] = {
            "DescribeTrainingJob": self.training.describe,
            "ListTrainingJobs": self.training.list_page,
            "StopTrainingJob": self.training.stop,
            "DeleteTrainingJob": self.training.delete,
            "DescribeTransformJob": self.transform.describe,
            "ListTransformJobs": self.transform.list_page,
            "StopTransformJob": self.transform.stop,
            "CreateModel": self.models.create,
            "DescribeModel": self.models.describe,
            "ListModels": self.models.list_page,
            "DeleteModel": self.models.delete,
            "CreateEndpointConfig": self.models.create_config,
            "DescribeEndpointConfig": self.models.describe_config,
            "ListEndpointConfigs": self.models.list_configs,
            "DeleteEndpointConfig": self.models.delete_config,
            "UpdateEndpointWeightsAndCapacities": self.endpoints.update_weights,
            "DescribeEndpoint": self.endpoints.describe,
            "ListEndpoints": self.endpoints.list_page,
            "DeleteEndpoint": self.endpoints.delete,
            "CreateModelPackageGroup": self._create_group,
            "DescribeModelPackageGroup": self.registry.describe_group,
            "ListModelPackageGroups": self.registry.list_groups,
            "DeleteModelPackageGroup": self.registry.delete_group,
            "CreateModelPackage": self.registry.create,
            "DescribeModelPackage": self.registry.describe,
            "UpdateModelPackage": self.registry.update,
            "ListModelPackages": self.registry.list_page,
            "DeleteModelPackage": self.registry.delete,
            "AddTags": tags.add,
            "ListTags": tags.list_page,
            "DeleteTags": tags.delete,
        }
        self.operations: dict[str, Callable[[dict[str, Any], str | None], dict[str, Any]]] = {
            name: _without_capacity(call) for name, call in plain.items()
        }
        self.operations["CreateTrainingJob"] = self._create_training_job
        self.operations["CreateTransformJob"] = self.transform.create
        self.operations["CreateEndpoint"] = self.endpoints.create
        self.operations["UpdateEndpoint"] = self.endpoints.update
        self.admin: dict[str, Operation] = {
            "dropforge:SetFault": lambda request: fault_operations.set_fault(faults, request),
            "dropforge:ClearFaults": lambda request: fault_operations.clear_faults(faults, request),
            "dropforge:ListFaults": lambda request: fault_operations.list_faults(faults, request),
        }

    def _create_group(self, request: dict[str, Any]) -> dict[str, Any]:
        answer = self.registry.create_group(request)
        # Who makes a place for models is about to train.
        self._context.image.load_libraries()
        return answer

    def _create_training_job(
        self, request: dict[str, Any], capacity_error: str | None = None
    ) -> dict[str, Any]:
        if self._has_groups():
            self._context.image.load_libraries()  # the process that the group was made in may have ended
        return self.training.create(request, capacity_error)

    def _has_groups(self) -> bool:
        return bool(self.registry.list_groups({})["ModelPackageGroupSummaryList"])

    def recover(self) -> None:
        self._outbox.start()
        if (
            self._has_groups()
            and self.training.list_page({"StatusEquals": "InProgress"})["TrainingJobSummaries"]
        ):
            self._context.image.load_libraries()
        for jobs in self.jobs.values():
            jobs.recover()
        self.endpoints.recover()
        self.requests.start()
        self.scaling.start()

    def shut_down(self) -> None:
        self.scaling.shut_down()
        self.requests.shut_down()
        for jobs in self.jobs.values():
            jobs.shut_down()
        self.endpoints.shut_down()
        self._context.image.close()
        self._outbox.stop()
        self._context.store.close()
