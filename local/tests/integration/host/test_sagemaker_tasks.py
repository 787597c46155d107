"""SageMaker through the host: the API, Step Functions' integrations, EventBridge, CloudFormation."""

from __future__ import annotations

import io
import json
import tarfile
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from local_host_support import eventually, task

if TYPE_CHECKING:
    from local_host_support import Deployed

_IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3"
_SCRIPT = """
import json, os, pathlib, sys, time
ml = pathlib.Path(os.environ.get("ML_ROOT", "/opt/ml"))
parameters = json.loads((ml / "input/config/hyperparameters.json").read_text())
time.sleep(float(parameters.get("seconds", "0")))
if parameters.get("fail"):
    (ml / "output/failure").write_text(parameters["fail"])
    sys.exit(1)
(ml / "model/model.json").write_text("{}")
"""


def _job(deployed: Deployed, name: str, **parameters: str) -> dict[str, Any]:
    bucket = deployed.outputs["Bucket"]
    deployed.host.client("s3").upload_fileobj(io.BytesIO(_SCRIPT.encode()), bucket, "code/train.py")
    return {
        "TrainingJobName": name,
        "RoleArn": "arn:aws:iam::000000000000:role/training",
        "AlgorithmSpecification": {
            "TrainingImage": _IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/train.py"],
        },
        "HyperParameters": {"seconds": "0", **parameters},
        "InputDataConfig": [
            {
                "ChannelName": "code",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/code/"}},
            }
        ],
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/models/"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 300},
    }


def _name() -> str:
    return f"job-{uuid.uuid4().hex[:12]}"


def test_a_sync_task_trains_and_returns_the_described_job(deployed: Deployed) -> None:
    name = _name()
    output = deployed.run(task(_job(deployed, name), "sagemaker:createTrainingJob.sync"))
    assert output["TrainingJobStatus"] == "Completed"
    assert output["TrainingEndTime"] > 10**12
    assert output["Tags"]["MANAGED_BY_AWS"] == "STARTED_BY_STEP_FUNCTIONS"
    artifact = output["ModelArtifacts"]["S3ModelArtifacts"]
    assert artifact == f"s3://{deployed.outputs['Bucket']}/models/{name}/output/model.tar.gz"
    event = deployed.recorded(
        lambda found: (
            found["source"] == "aws.sagemaker"
            and found["detail"].get("TrainingJobName") == name
            and found["detail"].get("TrainingJobStatus") == "Completed"
        )
    )
    assert event["detail-type"] == "SageMaker Training Job State Change"


def test_a_failed_job_is_states_taskfailed_with_the_described_job_as_cause(deployed: Deployed) -> None:
    arguments = _job(deployed, _name(), fail="no rows left")
    ended = deployed.ended(deployed.start(task(arguments, "sagemaker:createTrainingJob.sync")))
    assert ended["error"] == "States.TaskFailed"
    assert "no rows left" in json.loads(ended["cause"])["FailureReason"]


def test_a_taken_name_and_missing_capacity_have_names_of_their_own(deployed: Deployed) -> None:
    name = _name()
    arguments = _job(deployed, name)
    deployed.run(task(arguments, "sagemaker:createTrainingJob.sync"))
    ended = deployed.ended(deployed.start(task(arguments, "sagemaker:createTrainingJob.sync")))
    assert ended["error"] == "SageMaker.ResourceInUseException"
    refused = {**arguments, "TrainingJobName": "-"}
    ended = deployed.ended(deployed.start(task(refused, "sagemaker:createTrainingJob")))
    assert ended["error"] == "SageMaker.AmazonSageMakerException"


def test_stopping_the_execution_stops_its_job(deployed: Deployed) -> None:
    name = _name()
    execution = deployed.start(task(_job(deployed, name, seconds="60"), "sagemaker:createTrainingJob.sync"))
    sagemaker = deployed.host.client("sagemaker")
    eventually(lambda: any(event["type"] == "TaskSubmitted" for event in deployed.history(execution)))
    deployed.host.client("stepfunctions").stop_execution(executionArn=execution)
    eventually(
        lambda: sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] == "Stopped"
    )


@pytest.fixture(scope="module")
def group(deployed: Deployed) -> str:
    """The name of a deployed model package group."""
    deployed.host.deploy("models", template=deployed.host.root / "models.yaml")
    return "probe-group"


def test_any_operation_is_an_sdk_integration(deployed: Deployed, group: str) -> None:
    described = deployed.run(
        task({"ModelPackageGroupName": group}, "aws-sdk:sagemaker:describeModelPackageGroup")
    )
    assert described["ModelPackageGroupStatus"] == "Completed"
    missing = task({"ModelPackageGroupName": "nobody"}, "aws-sdk:sagemaker:describeModelPackageGroup")
    assert deployed.ended(deployed.start(missing))["error"].startswith("SageMaker.")


def test_the_api_answers_boto3_and_its_errors_are_client_errors(deployed: Deployed, group: str) -> None:
    client = deployed.host.client("sagemaker")
    groups = client.list_model_package_groups()["ModelPackageGroupSummaryList"]
    assert group in {each["ModelPackageGroupName"] for each in groups}
    with pytest.raises(ClientError, match="ValidationException"):
        client.describe_training_job(TrainingJobName="nobody")


def test_a_crash_during_training_creates_no_second_job(own_host: Deployed) -> None:
    name = _name()
    machine = task(_job(own_host, name, seconds="2"), "sagemaker:createTrainingJob.sync", TimeoutSeconds=120)
    execution = own_host.start(machine)
    eventually(lambda: any(event["type"] == "TaskSubmitted" for event in own_host.history(execution)))
    time.sleep(0.2)
    own_host.host.kill()
    own_host.host.start()
    ended = own_host.ended(execution, within_s=60)
    if ended["status"] == "SUCCEEDED":
        assert json.loads(ended["output"])["TrainingJobName"] == name
    else:  # the instance went with the host, as one can on AWS; the task reports the job's failure
        assert ended["error"] == "States.TaskFailed"
        assert json.loads(ended["cause"])["TrainingJobName"] == name
    jobs = own_host.host.client("sagemaker").list_training_jobs(NameContains=name)["TrainingJobSummaries"]
    assert len(jobs) == 1


_SERVING = """
import flask

def model_fn(folder):
    return None

def transform_fn(model, body, content_type, accept):
    status = 400 if body == "bad" else 200
    return flask.Response(str(len(body)), status=status, mimetype=accept)
"""


def _transform(deployed: Deployed, name: str, content: bytes) -> dict[str, Any]:
    """A transform job over one file, with a model of its own."""
    bucket = deployed.outputs["Bucket"]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("code/inference.py")
        entry.size = len(_SERVING)
        archive.addfile(entry, io.BytesIO(_SERVING.encode()))
    s3 = deployed.host.client("s3")
    s3.put_object(Bucket=bucket, Key=f"models/{name}.tar.gz", Body=packed.getvalue())
    s3.put_object(Bucket=bucket, Key=f"in/{name}/rows.csv", Body=content)
    deployed.host.client("sagemaker").create_model(
        ModelName=name,
        ExecutionRoleArn="arn:aws:iam::000000000000:role/serving",
        PrimaryContainer={
            "Image": _IMAGE,
            "ModelDataUrl": f"s3://{bucket}/models/{name}.tar.gz",
            "Environment": {
                "SAGEMAKER_PROGRAM": "inference.py",
                "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
                "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
            },
        },
    )
    return {
        "TransformJobName": name,
        "ModelName": name,
        "BatchStrategy": "SingleRecord",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/in/{name}/"}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        "TransformOutput": {"S3OutputPath": f"s3://{bucket}/out/{name}", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }


def test_a_sync_task_transforms_and_returns_the_described_job(deployed: Deployed) -> None:
    name = _name()
    arguments = _transform(deployed, name, b"a\nbb\n")
    output = deployed.run(task(arguments, "sagemaker:createTransformJob.sync"))
    assert output["TransformJobStatus"] == "Completed"
    assert output["TransformEndTime"] > 10**12
    assert output["Tags"]["MANAGED_BY_AWS"] == "STARTED_BY_STEP_FUNCTIONS"
    stored = deployed.host.client("s3").get_object(
        Bucket=deployed.outputs["Bucket"], Key=f"out/{name}/rows.csv.out"
    )
    assert stored["Body"].read() == b"1\n2\n"
    ended = deployed.ended(deployed.start(task(arguments, "sagemaker:createTransformJob.sync")))
    assert ended["error"] == "SageMaker.ResourceInUseException"


def test_a_failed_transform_job_is_states_taskfailed(deployed: Deployed) -> None:
    arguments = _transform(deployed, _name(), b"bad\n")
    ended = deployed.ended(deployed.start(task(arguments, "sagemaker:createTransformJob.sync")))
    assert ended["error"] == "States.TaskFailed"
    assert json.loads(ended["cause"])["FailureReason"] == "ClientError: See job logs for more information"
