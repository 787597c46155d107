"""Clients of SageMaker and Step Functions that check each request against botocore's own shapes.

They stand in where moto drops what the product depends on (``ModelLifeCycle``) or lacks the operation.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import re
from datetime import UTC, datetime
from typing import Any

import botocore.session
from botocore.exceptions import ClientError
from botocore.model import ServiceModel
from botocore.validate import validate_parameters

from dropforge.ledger_table.calls import ConditionFailed

_ACCOUNT = "us-east-1:123456789012"


@functools.cache
def _service(name: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(name)


def check_request(service: str, operation: str, request: dict[str, Any]) -> None:
    """Raise if the request has unknown or malformed members, or lacks a required one."""
    shape = _service(service).operation_model(operation).input_shape
    validate_parameters(request, shape)
    unknown = request.keys() - shape.members.keys()
    assert not unknown, f"{operation} has no {sorted(unknown)}"


def _refused(operation: str, code: str, message: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


class _Client:
    service: str

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        operation = "".join(part.title() for part in name.split("_"))
        method = object.__getattribute__(self, f"do_{name}")

        def call(**request: Any) -> Any:
            check_request(self.service, operation, request)
            self.calls.append(operation)
            return method(**request)

        return call


class SageMakerClient(_Client):
    service = "sagemaker"

    def __init__(self) -> None:
        super().__init__()
        self.packages: dict[str, dict[str, Any]] = {}
        self.tokens: dict[str, str] = {}
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.configs: dict[str, datetime] = {}
        self.models: dict[str, datetime] = {}
        self.training_jobs: dict[str, dict[str, Any]] = {}
        self.transform_jobs: dict[str, dict[str, Any]] = {}

    def do_create_model_package(self, **request: Any) -> dict[str, Any]:
        token = request.pop("ClientToken")
        if token not in self.tokens:
            version = len(self.packages) + 1
            group = request["ModelPackageGroupName"]
            arn = f"arn:aws:sagemaker:{_ACCOUNT}:model-package/{group}/{version}"
            self.packages[arn] = {**request, "ModelPackageArn": arn, "ModelPackageVersion": version}
            self.tokens[token] = arn
        return {"ModelPackageArn": self.tokens[token]}

    def do_describe_model_package(self, ModelPackageName: str) -> dict[str, Any]:
        if ModelPackageName not in self.packages:
            raise _refused("DescribeModelPackage", "ValidationException", "ModelPackage does not exist.")
        return self.packages[ModelPackageName]

    def do_update_model_package(self, ModelPackageArn: str, **changes: Any) -> dict[str, Any]:
        self.packages[ModelPackageArn].update(changes)
        return {"ModelPackageArn": ModelPackageArn}

    def do_describe_endpoint(self, EndpointName: str) -> dict[str, Any]:
        if EndpointName not in self.endpoints:
            raise _refused("DescribeEndpoint", "ValidationException", 'Could not find endpoint "x".')
        return self.endpoints[EndpointName]

    def do_delete_endpoint_config(self, EndpointConfigName: str) -> dict[str, Any]:
        if self.configs.pop(EndpointConfigName, None) is None:
            message = f'Could not find endpoint configuration "{EndpointConfigName}".'
            raise _refused("DeleteEndpointConfig", "ValidationException", message)
        return {}

    def do_delete_model(self, ModelName: str) -> dict[str, Any]:
        if self.models.pop(ModelName, None) is None:
            raise _refused("DeleteModel", "ValidationException", f'Could not find model "{ModelName}".')
        return {}

    def do_describe_training_job(self, TrainingJobName: str) -> dict[str, Any]:
        return self.training_jobs[TrainingJobName]

    def do_describe_transform_job(self, TransformJobName: str) -> dict[str, Any]:
        return self.transform_jobs[TransformJobName]

    def do_stop_training_job(self, TrainingJobName: str) -> dict[str, Any]:
        return self._stop("Training", self.training_jobs, TrainingJobName)

    def do_stop_transform_job(self, TransformJobName: str) -> dict[str, Any]:
        return self._stop("Transform", self.transform_jobs, TransformJobName)

    def _stop(self, noun: str, jobs: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
        operation = f"Stop{noun}Job"
        if name not in jobs:
            raise _refused(operation, "ResourceNotFound", "Requested resource not found.")
        if (status := jobs[name][f"{noun}JobStatus"]) != "InProgress":
            message = f"The request was rejected because the {noun.lower()} job is in status {status}."
            raise _refused(operation, "ValidationException", message)
        jobs[name][f"{noun}JobStatus"] = "Stopping"
        return {}

    def begin(self, noun: str, name: str, environment: dict[str, str], status: str = "InProgress") -> None:
        """A training or transform job as SageMaker describes it."""
        jobs = {"Training": self.training_jobs, "Transform": self.transform_jobs}[noun]
        jobs[name] = {
            f"{noun}JobName": name,
            f"{noun}JobStatus": status,
            "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
            "Environment": environment,
        }

    def get_paginator(self, name: str) -> Any:
        if name in ("list_training_jobs", "list_transform_jobs"):
            return self._jobs("Training" if name == "list_training_jobs" else "Transform")
        kind, member, held = {
            "list_endpoint_configs": ("EndpointConfigs", "EndpointConfigName", self.configs),
            "list_models": ("Models", "ModelName", self.models),
        }[name]
        operation = "".join(part.title() for part in name.split("_"))

        class Paginator:
            def paginate(self, **request: Any) -> Any:
                check_request("sagemaker", operation, request)
                found = [
                    {member: each}
                    for each, made in sorted(held.items())
                    if request["NameContains"] in each and made < request["CreationTimeBefore"]
                ]
                return [{kind: list(page)} for page in itertools.batched(found, 2)] or [{kind: []}]

        return Paginator()

    def _jobs(self, noun: str) -> Any:
        jobs = {"Training": self.training_jobs, "Transform": self.transform_jobs}[noun]

        class Paginator:
            def paginate(self, **request: Any) -> Any:
                check_request("sagemaker", f"List{noun}Jobs", request)
                found = [
                    {key: each[key] for key in (f"{noun}JobName", f"{noun}JobStatus", "CreationTime")}
                    for name, each in sorted(jobs.items())
                    if request["NameContains"] in name and each[f"{noun}JobStatus"] == request["StatusEquals"]
                ]
                pages = list(itertools.batched(found, 2)) or [()]
                return [{f"{noun}JobSummaries": list(page)} for page in pages]

        return Paginator()

    def deploy(self, endpoint: str, name: str) -> None:
        self.configs[name] = self.models[name] = datetime(2026, 1, 1, tzinfo=UTC)
        self.endpoints[endpoint] = {"EndpointStatus": "InService", "EndpointConfigName": name}


class SageMakerRuntimeClient(_Client):
    service = "sagemaker-runtime"

    def __init__(self) -> None:
        super().__init__()
        self.answer: bytes | ClientError = b"{}"

    def do_invoke_endpoint(self, **_: Any) -> dict[str, Any]:
        if isinstance(self.answer, ClientError):
            raise self.answer
        return {"Body": io.BytesIO(self.answer)}


class StepFunctionsClient(_Client):
    service = "stepfunctions"

    def __init__(self) -> None:
        super().__init__()
        self.executions: dict[str, dict[str, Any]] = {}
        self.waiting: set[str] = set()
        self.results: dict[str, Any] = {}

    def do_start_execution(self, stateMachineArn: str, name: str, input: str) -> dict[str, Any]:
        arn = f"{stateMachineArn.replace(':stateMachine:', ':execution:')}:{name}"
        known = self.executions.setdefault(arn, {"status": "RUNNING", "input": input})
        if known["status"] != "RUNNING" or json.loads(known["input"]) != json.loads(input):
            raise _refused("StartExecution", "ExecutionAlreadyExists", arn)
        return {"executionArn": arn}

    def do_describe_execution(self, executionArn: str, includedData: str) -> dict[str, Any]:
        if executionArn not in self.executions:
            raise _refused("DescribeExecution", "ExecutionDoesNotExist", executionArn)
        found = self.executions[executionArn]
        return found if includedData == "ALL_DATA" else {"status": found["status"]}

    def do_send_task_success(self, taskToken: str, output: str) -> dict[str, Any]:
        if taskToken not in self.waiting:
            raise _refused("SendTaskSuccess", "TaskTimedOut", "Task Timed Out")
        self.waiting.remove(taskToken)
        self.results[taskToken] = json.loads(output)
        return {}


class BotoDynamoDb:
    """`DynamoDbCalls` through the SDK, which checks every request's shape."""

    def __init__(self, client) -> None:
        self.client = client
        self.unprocessed: list[int] = []
        self.lost_answers = 0

    def call(self, operation, request):
        if operation == "BatchWriteItem" and self.unprocessed:
            (table, items), kept = *request["RequestItems"].items(), self.unprocessed.pop(0)
            if items[kept:]:
                request = {"RequestItems": {table: items[: kept or None]}} if kept else None
            answer = {} if request is None else self._call(operation, request)
            return {**answer, "UnprocessedItems": {table: items[kept:]} if items[kept:] else {}}
        answer = self._call(operation, request)
        if operation == "UpdateItem" and self.lost_answers:
            self.lost_answers -= 1
            return self._call(operation, request)  # as the HTTP adapter's retry does
        return answer

    def _call(self, operation, request):
        method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
        try:
            return getattr(self.client, method)(**request)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                raise ConditionFailed from error
            raise
