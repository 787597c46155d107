"""Which training jobs this host executes."""

from __future__ import annotations

import re
from typing import Any

from dropforge_local.sagemaker.container import Image
from dropforge_local.sagemaker.context import check_image
from dropforge_local.sagemaker.errors import unsupported, validation

# Members that would change what is executed, and that this host can't carry out.
_REFUSED = (
    "DebugRuleConfigurations",
    "ProfilerRuleConfigurations",
    "TensorBoardOutputConfig",
    "SessionChainingConfig",
    "ServerlessJobConfig",
    "MlflowConfig",
    "ModelPackageConfig",
)


DEFAULT_MAX_RUNTIME_S = 86_400  # SageMaker's default of MaxRuntimeInSeconds


def check_executable(request: dict[str, Any], image: Image) -> None:
    """Refuse a CreateTrainingJob request that this host would have to pretend to carry out.

    Raises:
        ServiceError: it asks for something that isn't there, or contradicts itself.
    """
    for member in _REFUSED:
        if request.get(member):
            raise unsupported(member)
    if request.get("RemoteDebugConfig", {}).get("EnableRemoteDebug"):
        raise unsupported("RemoteDebugConfig")
    algorithm = request.get("AlgorithmSpecification")
    resources = request.get("ResourceConfig")
    if algorithm is None or resources is None:
        raise validation("AlgorithmSpecification and ResourceConfig are required.")
    _check_algorithm(algorithm)
    if resources.get("InstanceGroups"):
        raise unsupported("ResourceConfig.InstanceGroups")
    if resources.get("InstanceType") is None:
        raise validation("ResourceConfig.InstanceType is required.")
    if resources.get("InstanceCount", 1) > 1:
        _check_several(request, image)
    names = [channel["ChannelName"] for channel in request.get("InputDataConfig", [])]
    if len(set(names)) != len(names):
        raise validation("Channel names in InputDataConfig must be unique.")
    for channel in request.get("InputDataConfig", []):
        _check_channel(channel)
    _check_spot(request)
    path = request.get("CheckpointConfig", {}).get("LocalPath", "/opt/ml/checkpoints")
    if not path.startswith("/opt/ml/") or ".." in path.split("/"):
        raise unsupported("a CheckpointConfig.LocalPath outside /opt/ml")
    for variable, value in request.get("Environment", {}).items():
        if "\0" in variable or "\0" in value:
            raise validation(f"The environment variable {variable!r} holds a null character.")


def _check_several(request: dict[str, Any], image: Image) -> None:
    """Several instances are containers that share a network of their own, and nothing else."""
    several = "several training instances (ResourceConfig.InstanceCount)"
    if not image.namespaces:
        raise unsupported(f"{several} on a machine that gives ordinary users no namespaces")
    if not request.get("EnableNetworkIsolation"):
        raise unsupported(f"{several} without EnableNetworkIsolation")
    if request.get("CheckpointConfig"):
        raise unsupported(f"{several} with CheckpointConfig")


def _check_spot(request: dict[str, Any]) -> None:
    stopping = request.get("StoppingCondition", {})
    run_s = stopping.get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME_S)
    wait_s = stopping.get("MaxWaitTimeInSeconds")
    if request.get("EnableManagedSpotTraining"):
        if wait_s is None or wait_s < run_s:
            raise validation(
                "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
                "MaxRuntimeInSeconds"
            )
    elif wait_s is not None:
        raise validation("MaxWaitTimeInSeconds is only for jobs with EnableManagedSpotTraining.")


def _check_algorithm(algorithm: dict[str, Any]) -> None:
    if algorithm.get("AlgorithmName"):
        raise unsupported("AlgorithmSpecification.AlgorithmName")
    check_image(algorithm.get("TrainingImage"), "AlgorithmSpecification.TrainingImage")
    if not algorithm.get("ContainerEntrypoint"):
        raise unsupported(
            "a training job without AlgorithmSpecification.ContainerEntrypoint: it has no toolkit of the "
            "image that would find the script. Name it, for example "
            '["python3", "/opt/ml/input/data/code/train.py"]'
        )
    if algorithm["TrainingInputMode"] == "Pipe":
        raise unsupported("TrainingInputMode Pipe")
    for definition in algorithm.get("MetricDefinitions", []):
        try:
            groups = re.compile(definition["Regex"]).groups
        except re.error as error:
            raise validation(
                f"The regular expression of metric {definition['Name']} is invalid: {error}"
            ) from error
        if groups < 1:
            raise validation(f"The regular expression of metric {definition['Name']} has no capture group.")


def _check_channel(channel: dict[str, Any]) -> None:
    name = channel["ChannelName"]
    source = channel["DataSource"].get("S3DataSource")
    if source is None:
        raise unsupported(f"a data source other than S3DataSource (channel {name})")
    if source["S3DataType"] != "S3Prefix":
        raise unsupported(f"S3DataType {source['S3DataType']} (channel {name}); use S3Prefix")
    if channel.get("InputMode") == "Pipe":
        raise unsupported(f"InputMode Pipe (channel {name})")
    if channel.get("RecordWrapperType", "None") != "None":
        raise unsupported(f"RecordWrapperType {channel['RecordWrapperType']} (channel {name})")
    if not source["S3Uri"].startswith("s3://"):
        raise validation(f"The S3Uri of channel {name} must begin with s3://")
