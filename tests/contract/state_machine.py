"""The state machines with example values in place of what the template substitutes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from proof.record import Observed
from proof.workflow.walk import Answer, Failure, Walk, walk

ROOT = Path(__file__).parents[2]
MACHINES = ("training", "deployment", "batch")
ACCOUNT = "us-east-1:123456789012"

SUBSTITUTIONS = {
    "ModelName": "model",
    "DataBucket": "dropforge-data-123456789012",
    "TrainingRoleArn": "arn:aws:iam::123456789012:role/dropforge-TrainingRole-1",
    "ServingRoleArn": "arn:aws:iam::123456789012:role/dropforge-ServingRole-1",
    "TrainingImage": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3",
    "TrainingInstanceTypes": "ml.m5.large,ml.m4.xlarge",
    "TrainingMaxRuntimeSeconds": "3600",
    "TrainingInstanceCount": "1",
    "TrainingSpot": "0",
    "TuningTrials": "0",
    "TuningMinutes": "30",
    "TrainingSeed": "20260101",
    "EncryptionKeyArn": "",
    "SubnetIds": "",
    "SecurityGroupIds": "",
    "QualityMetric": "auto",
    "ApprovalTimeoutDays": "7",
    "ApprovalReminderHours": "24",
    "NotificationTopicArn": f"arn:aws:sns:{ACCOUNT}:dropforge-Notifications-1",
    "DeploymentStateMachineArn": f"arn:aws:states:{ACCOUNT}:stateMachine:dropforge-deployment",
    "LedgerTable": "dropforge-Ledger-1",
    "BatchInstanceTypes": "ml.m5.large,ml.m4.xlarge",
    "BatchMaxRuntimeSeconds": "3600",
    "EndpointMode": "serverless",
    "EndpointInstanceType": "ml.t2.medium",
    "ServerlessMemoryMB": "2048",
    "ServerlessMaxConcurrency": "5",
    "ScaleOutConcurrency": "40",
}


def source(machine: str) -> str:
    return (ROOT / "statemachine" / f"{machine}.asl.json").read_text()


def definition(machine: str, **changes: str) -> dict[str, Any]:
    """The machine with example values in place of the template's substitutions."""
    values = {**SUBSTITUTIONS, **changes}

    def value(match: re.Match[str]) -> str:
        name = match[1]
        default = f"arn:aws:lambda:{ACCOUNT}:function:{name}" if name.endswith("Function") else ""
        found = values.get(name, default)
        assert found or name in values, f"no example value for ${{{name}}}"
        return found

    found: dict[str, Any] = json.loads(re.sub(r"\$\{(\w+)\}", value, source(machine)))
    return found


OBSERVED = Observed()


def go(
    machine: str, start: Any, answer: Answer, execution: str, first: str | None = None, **changes: str
) -> Walk:
    """Walk the machine with example substitutions, and keep what it was given for ``make record``."""

    def observed(state: str, request: Any, how_often: int) -> Any:
        given = answer(state, request, how_often)
        if isinstance(given, Failure):
            OBSERVED.add(machine, "errors", state, given.output())
        else:
            OBSERVED.add(machine, "results", state, given)
        return given

    described = definition(machine, **changes)
    OBSERVED.add(machine, "inputs", first or described["StartAt"], start)
    return walk(described, start, observed, execution, first)
