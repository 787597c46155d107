"""Example records: complete, and consistent with each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from dropforge.domain.moments import iso
from dropforge.domain.records import Approval, Live, ModelVersion, Run, RunStatus, Stage
from dropforge.domain.triggers import Drop

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TRAINING = "arn:aws:states:us-east-1:123456789012:stateMachine:dropforge-training"
DEPLOYMENT = "arn:aws:states:us-east-1:123456789012:stateMachine:dropforge-deployment"
BATCH = "arn:aws:states:us-east-1:123456789012:stateMachine:dropforge-batch"
GROUP = "model"
ENDPOINT = "model"
BUCKET = "data"


def at(seconds: float) -> datetime:
    """So many seconds after the start of the test's time."""
    return START + timedelta(seconds=seconds)


def execution(name: str, machine: str = TRAINING) -> str:
    return f"{machine.replace(':stateMachine:', ':execution:')}:{name}"


def package_arn(version: int) -> str:
    return f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{GROUP}/{version}"


def a_drop(number: int = 1, **changes: Any) -> Drop:
    fields = {
        "bucket": BUCKET,
        "key": f"incoming/file-{number}.csv",
        "version_id": f"v{number}",
        "etag": f"{number:032x}",
        "sequencer": f"{number:018X}",
        "size": 100 + number,
        "written_at": iso(at(number)),
    }
    return Drop(**{**fields, **changes})


def s3_event(drop: Drop) -> dict[str, Any]:
    """The event that EventBridge delivers for the drop."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": drop.written_at,
        "region": "us-east-1",
        "resources": [f"arn:aws:s3:::{drop.bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": drop.bucket},
            "object": {
                "key": drop.key,
                "size": drop.size,
                "etag": drop.etag,
                "version-id": drop.version_id,
                "sequencer": drop.sequencer,
            },
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "192.0.2.1",
            "reason": "PutObject",
        },
    }


def a_run(run_id: str = "run-1", *, token: int = 1, **changes: Any) -> Run:
    fields = {
        "run_id": run_id,
        "status": RunStatus.RUNNING,
        "trigger": "drop",
        "execution_arn": execution(run_id),
        "token": token,
        "started_at": iso(START),
        "manifest_uri": f"s3://{BUCKET}/runs/{run_id}/manifest.json",
    }
    return Run(**{**fields, **changes})


def a_version(version: int = 1, *, run_id: str = "run-1", **changes: Any) -> ModelVersion:
    folder = f"s3://{BUCKET}/models/{run_id}"
    fields = {
        "version": version,
        "model_package_arn": package_arn(version),
        "run_id": run_id,
        "registered_at": iso(START),
        "model_data_url": f"{folder}/job/output/model.tar.gz",
        "model_sha256": f"{version:064x}",
        "model_digest": f"{version + 1:064x}",
        "contract_uri": f"s3://{BUCKET}/runs/{run_id}/contract/schema.json",
        "contract_hash": f"{version + 2:064x}",
        "profile_uri": f"s3://{BUCKET}/runs/{run_id}/profile.json",
        "evaluation_uri": f"{folder}/evaluation.json",
        "judgement_uri": f"{folder}/judgement.json",
        "judgement_sha256": f"{version + 3:064x}",
        "smoke_uri": f"{folder}/smoke.json",
        "task": "binary",
        "metric": {"name": "auc", "value": 0.9731, "threshold": 0.7},
        "stage": Stage.DEVELOPMENT,
        "approval": Approval.PENDING,
    }
    return ModelVersion(**{**fields, **changes})


def a_pointer(model: ModelVersion, *, token: int, now: datetime = START, **changes: Any) -> Live:
    """The live pointer as a deployment of the version under this token would write it."""
    name = f"{ENDPOINT}-v{model.version}-{token}"
    fields = {
        "version": model.version,
        "model_package_arn": model.model_package_arn,
        "run_id": model.run_id,
        "endpoint_name": ENDPOINT,
        "endpoint_config": name,
        "model_name": name,
        "model_data_url": model.model_data_url,
        "model_sha256": model.model_sha256,
        "contract_uri": model.contract_uri,
        "contract_hash": model.contract_hash,
        "profile_uri": model.profile_uri,
        "smoke_uri": model.smoke_uri,
        "task": model.task,
        "metric": model.metric,
        "promoted_at": iso(now),
        "token": token,
    }
    return Live(**{**fields, **changes})


def alarm_event(kind: str, moment: datetime, *, state: str = "ALARM", previous: str = "OK") -> dict[str, Any]:
    """The event that EventBridge delivers when the alarm on drift or on quality changes its state."""
    arn = f"arn:aws:cloudwatch:us-east-1:123456789012:alarm:model-{kind}"
    return {
        "version": "0",
        "id": "c4c1c1c9-6542-e61b-6ef0-8c4d36933a92",
        "detail-type": "CloudWatch Alarm State Change",
        "source": "aws.cloudwatch",
        "account": "123456789012",
        "time": iso(moment),
        "region": "us-east-1",
        "resources": [arn],
        "detail": {
            "alarmName": f"model-{kind}",
            "configuration": {
                "description": "The live model's predictions have drifted",
                "metrics": [
                    {
                        "id": "5a1f1c3d-2f0c-6d7a-0e76-9c3d1f6a1c1b",
                        "metricStat": {
                            "metric": {
                                "namespace": "Dropforge",
                                "name": {"drift": "DriftAlarm", "quality": "QualityAlarm"}[kind],
                                "dimensions": {"Model": "model"},
                            },
                            "period": 300,
                            "stat": "Maximum",
                        },
                        "returnData": True,
                    }
                ],
            },
            "previousState": {
                "reason": "Threshold Crossed: no datapoint was greater than the threshold (0.0).",
                "timestamp": "2026-01-02T03:00:00.000+0000",
                "value": previous,
            },
            "state": {
                "reason": "Threshold Crossed: 1 datapoint [1.0] was greater than the threshold (0.0).",
                "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
                "value": state,
            },
        },
    }
