"""SageMaker's model registry and hosting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, cast

from botocore.exceptions import ClientError

from dropforge.adapters.aws_errors import code_of, translated
from dropforge.domain.asynchronous import INVOCATION_TIMEOUT_S, REQUEST_TTL_S
from dropforge.domain.errors import SmokeTestFailed
from dropforge.domain.services import EndpointMode, EndpointState, NewPackage, Package, RunningJob

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

_JSON = "application/json"
# SageMaker says "Could not find …" with this code where other services have a class of their own.
_NOT_FOUND_CODE = "ValidationException"
_REASON_CHARACTERS = 1024
VARIANT = "live"
"""The endpoint's only variant, as statemachine/deployment.asl.yaml names it."""
_HOUR_S = 3600
EXECUTION_VARIABLE = "DROPFORGE_EXECUTION_ARN"
"""The variable in a job's environment that names the execution which began it, as in the state machines."""


class SageMakerRegistry:
    """See ``dropforge.domain.services.Registry``."""

    def __init__(self, client: SageMakerClient, group: str) -> None:
        self._client = client
        self._group = group

    def register(self, package: NewPackage) -> Package:
        def json_file(uri: str) -> dict[str, str]:
            return {"ContentType": _JSON, "S3Uri": uri}

        request: dict[str, Any] = {
            "ModelPackageGroupName": self._group,
            "ModelPackageDescription": package.description,
            "ModelApprovalStatus": "PendingManualApproval",
            "ClientToken": package.client_token,
            # The archive was trained and judged by our own job; SageMaker's validation would run it again.
            "SkipModelValidation": "All",
            "InferenceSpecification": {
                "Containers": [
                    {
                        "Image": package.image,
                        "ModelDataUrl": package.model_data_url,
                        "Environment": dict(package.environment),
                        "Framework": "SKLEARN",
                    }
                ],
                "SupportedContentTypes": [_JSON, "text/csv"],
                "SupportedResponseMIMETypes": [_JSON],
            },
            "ModelMetrics": {
                "ModelQuality": {"Statistics": json_file(package.evaluation_uri)},
                **(
                    {"Explainability": {"Report": json_file(package.diagnostics_uri)}}
                    if package.diagnostics_uri
                    else {}
                ),
            },
            "DriftCheckBaselines": {
                "ModelDataQuality": {
                    "Statistics": json_file(package.profile_uri),
                    "Constraints": json_file(package.contract_uri),
                }
            },
            "CustomerMetadataProperties": dict(package.metadata),
            "MetadataProperties": {
                "CommitId": package.commit_id,
                "GeneratedBy": package.generated_by,
            },
            "ModelLifeCycle": {"Stage": "Development", "StageStatus": "PendingApproval"},
        }
        with translated(f"registering a model of {self._group}"):
            created = self._client.create_model_package(**request)
        return self.describe(created["ModelPackageArn"])

    def describe(self, package_arn: str) -> Package:
        with translated(f"describing {package_arn}"):
            found = self._client.describe_model_package(ModelPackageName=package_arn)
        modified_by = cast("Mapping[str, Any]", found.get("LastModifiedBy") or {})
        identity = modified_by.get("IamIdentity") or {}
        return Package(
            arn=found["ModelPackageArn"],
            version=found["ModelPackageVersion"],
            status=found["ModelApprovalStatus"],
            description=found.get("ApprovalDescription"),
            modified_by=modified_by.get("UserProfileName") or identity.get("Arn"),
            metadata=found.get("CustomerMetadataProperties", {}),
            card=found.get("ModelCard", {}).get("ModelCardContent"),
        )

    def reject(self, package_arn: str, reason: str) -> None:
        with translated(f"rejecting {package_arn}"):
            self._client.update_model_package(
                ModelPackageArn=package_arn,
                ModelApprovalStatus="Rejected",
                ApprovalDescription=reason[:_REASON_CHARACTERS],
            )

    def set_card(self, package_arn: str, content: str, status: str) -> None:
        with translated(f"writing the model card of {package_arn}"):
            self._client.update_model_package(
                ModelPackageArn=package_arn,
                ModelCard={"ModelCardContent": content, "ModelCardStatus": cast("Any", status)},
            )

    def set_stage(self, package_arn: str, stage: str, status: str) -> None:
        with translated(f"setting the stage of {package_arn}"):
            self._client.update_model_package(
                ModelPackageArn=package_arn,
                ModelLifeCycle={"Stage": stage, "StageStatus": status},
            )


class SageMakerEndpoints:
    """See ``dropforge.domain.services.Endpoints``.

    The clients are made when they are first used: SageMaker's own is the slowest of all to make, and a
    function that only invokes the endpoint has no use for it.
    """

    def __init__(
        self,
        client: Callable[[], SageMakerClient],
        runtime: Callable[[], SageMakerRuntimeClient],
        cloudwatch: Callable[[], Any],
    ) -> None:
        self._make_client = client
        self._make_runtime = runtime
        self._make_cloudwatch = cloudwatch

    @property
    def _client(self) -> SageMakerClient:
        return self._make_client()

    @property
    def _runtime(self) -> SageMakerRuntimeClient:
        return self._make_runtime()

    def describe(self, endpoint_name: str) -> EndpointState | None:
        with translated(f"describing endpoint {endpoint_name}"):
            try:
                found = self._client.describe_endpoint(EndpointName=endpoint_name)
            except ClientError as error:
                if not _is_not_found(error):
                    raise
                return None
        variants = found.get("ProductionVariants", [])
        mode: EndpointMode | None = None
        if variants:
            mode = "serverless" if "CurrentServerlessConfig" in variants[0] else "real-time"
            mode = "asynchronous" if found.get("AsyncInferenceConfig") else mode
        return EndpointState(
            status=found["EndpointStatus"],
            config=found.get("EndpointConfigName", ""),
            mode=mode,
            instances=sum(each.get("DesiredInstanceCount", 0) for each in variants),
        )

    def invoke(self, endpoint_name: str, body: bytes) -> bytes:
        with translated(f"invoking endpoint {endpoint_name}"):
            try:
                answer = self._runtime.invoke_endpoint(
                    EndpointName=endpoint_name, ContentType=_JSON, Accept=_JSON, Body=body
                )
            except ClientError as error:
                if code_of(error) != "ModelError":
                    raise
                raise SmokeTestFailed(
                    f"The container of {endpoint_name} answered "
                    f"{error.response.get('OriginalStatusCode')}: {error.response.get('OriginalMessage')}"
                ) from error
            return answer["Body"].read()

    def invoke_later(self, endpoint_name: str, input_uri: str, *, identifier: str) -> tuple[str, str]:
        with translated(f"invoking endpoint {endpoint_name}"):
            answer = self._runtime.invoke_endpoint_async(
                EndpointName=endpoint_name,
                InputLocation=input_uri,
                ContentType=_JSON,
                Accept=_JSON,
                InferenceId=identifier,
                RequestTTLSeconds=REQUEST_TTL_S,
                InvocationTimeoutSeconds=INVOCATION_TIMEOUT_S,
            )
        return answer["OutputLocation"], answer.get("FailureLocation", "")

    def requests_since(self, endpoint_name: str, start: datetime, end: datetime) -> float:
        with translated(f"reading the requests of {endpoint_name}"):
            points = self._make_cloudwatch().get_metric_statistics(
                Namespace="AWS/SageMaker",
                MetricName="Invocations",
                Dimensions=[
                    {"Name": "EndpointName", "Value": endpoint_name},
                    {"Name": "VariantName", "Value": VARIANT},
                ],
                StartTime=start,
                EndTime=end,
                Period=_HOUR_S,
                Statistics=["Sum"],
            )["Datapoints"]
        return float(sum(point.get("Sum", 0.0) for point in points))

    def delete(self, endpoint_name: str) -> None:
        with translated(f"deleting endpoint {endpoint_name}"):
            try:
                self._client.delete_endpoint(EndpointName=endpoint_name)
            except ClientError as error:
                if not _is_not_found(error):
                    raise

    def configs_created_before(self, name_prefix: str, moment: datetime) -> list[str]:
        with translated("listing endpoint configurations"):
            pages = self._client.get_paginator("list_endpoint_configs").paginate(
                NameContains=name_prefix, CreationTimeBefore=moment
            )
            names = [each["EndpointConfigName"] for page in pages for each in page["EndpointConfigs"]]
        return [name for name in names if name.startswith(name_prefix)]

    def models_created_before(self, name_prefix: str, moment: datetime) -> list[str]:
        with translated("listing models"):
            pages = self._client.get_paginator("list_models").paginate(
                NameContains=name_prefix, CreationTimeBefore=moment
            )
            names = [each["ModelName"] for page in pages for each in page["Models"]]
        return [name for name in names if name.startswith(name_prefix)]

    def delete_config(self, name: str) -> None:
        self._delete("endpoint_config", name)

    def delete_model(self, name: str) -> None:
        self._delete("model", name)

    def _delete(self, kind: Literal["endpoint_config", "model"], name: str) -> None:
        with translated(f"deleting {name}"):
            try:
                if kind == "model":
                    self._client.delete_model(ModelName=name)
                else:
                    self._client.delete_endpoint_config(EndpointConfigName=name)
            except ClientError as error:
                if not _is_not_found(error):
                    raise


class SageMakerJobs:
    """See ``dropforge.domain.services.Jobs``."""

    def __init__(self, client: SageMakerClient) -> None:
        self._client = client

    def in_progress(self, name_prefix: str) -> list[RunningJob]:
        with translated("listing jobs"):
            found = [*self._training_jobs(name_prefix), *self._transform_jobs(name_prefix)]
        return [job for job in found if job.execution_arn]

    def stop(self, job: RunningJob) -> None:
        with translated(f"stopping the {job.kind} job {job.name}"):
            try:
                if job.kind == "training":
                    self._client.stop_training_job(TrainingJobName=job.name)
                else:
                    self._client.stop_transform_job(TransformJobName=job.name)
            except ClientError as error:
                if not _has_ended(error):
                    raise

    def _training_jobs(self, name_prefix: str) -> Iterator[RunningJob]:
        pages = self._client.get_paginator("list_training_jobs").paginate(
            NameContains=name_prefix, StatusEquals="InProgress"
        )
        for each in (job for page in pages for job in page["TrainingJobSummaries"]):
            name = each["TrainingJobName"]
            if name.startswith(name_prefix):
                environment = self._client.describe_training_job(TrainingJobName=name).get("Environment", {})
                yield RunningJob(
                    "training", name, each["CreationTime"], environment.get(EXECUTION_VARIABLE, "")
                )

    def _transform_jobs(self, name_prefix: str) -> Iterator[RunningJob]:
        pages = self._client.get_paginator("list_transform_jobs").paginate(
            NameContains=name_prefix, StatusEquals="InProgress"
        )
        for each in (job for page in pages for job in page["TransformJobSummaries"]):
            name = each["TransformJobName"]
            if name.startswith(name_prefix):
                environment = self._client.describe_transform_job(TransformJobName=name).get(
                    "Environment", {}
                )
                yield RunningJob(
                    "transform", name, each["CreationTime"], environment.get(EXECUTION_VARIABLE, "")
                )


def _has_ended(error: ClientError) -> bool:
    """Whether a job can't be stopped because it is gone, stopped or stopping already."""
    message = error.response.get("Error", {}).get("Message", "").lower()
    return _is_not_found(error) or (code_of(error) == _NOT_FOUND_CODE and "in status" in message)


def _is_not_found(error: ClientError) -> bool:
    message = error.response.get("Error", {}).get("Message", "").lower()
    return code_of(error) == "ResourceNotFound" or (
        code_of(error) == _NOT_FOUND_CODE and "could not find" in message
    )
