"""A stack on the local host with a live model and a scored batch, and the example events in its terms."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dropforge_local.host import LocalHost
from dropforge_ops.stack.samples import SAMPLES, write_samples

ROOT = Path(__file__).resolve().parent.parent
STACK = "dropforge"
MODEL = "model"
SAMPLE = "breast-cancer"
_PATIENCE_S = 180.0

# What stands in the example events for what a real stack gives its own names.
_EXAMPLE_ACCOUNT = "123456789012"
_EXAMPLE_BUCKET = f"dropforge-data-{_EXAMPLE_ACCOUNT}"
_EXAMPLE_RUN = "breast-cancer-4412189d074b"
_EXAMPLE_VERSION_ID = "yFgkWkgGnpIWzbdnOZfvhSTaTcGfmBeC"
_EXAMPLE_LARGE_DROP = ("3HL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY", "6805f2cfc46c0f04559748bb039d69ae", "125204")
_EXAMPLE_EXECUTION = "6a5df1c0-3e4b-6d1e-8f0a-0d3b5c2a9e11_0f9b7c55-8a41-2b1e-6c3d-5e7f90a1b2c3"
_EXAMPLE_BATCH = "new-patients-45b592a063ac"
_EXAMPLE_BATCH_KEY = "batch/in/may/new-patients.csv"
_EXAMPLE_DROP_KEY = f"incoming/{SAMPLE}.csv"


class NotReady(Exception):
    """The stack did not get where it had to; the message says what was waited for."""


class World:
    """The deployed stack, once its model is live and its batch is scored."""

    def __init__(self, host: LocalHost, scratch: Path) -> None:
        self.host = host
        sample = SAMPLES[SAMPLE]
        self.outputs = host.deploy(
            STACK, {"ModelName": MODEL, "TargetColumn": sample.target, "IdColumn": sample.key}
        )
        self.bucket = self.outputs["DataBucket"]
        self._s3, self._states = host.client("s3"), host.client("stepfunctions")
        write_samples(scratch)
        content = (scratch / f"{SAMPLE}.csv").read_bytes()
        first = next(csv.DictReader(io.StringIO(content.decode())))
        self.instance = {
            name: float(value) for name, value in first.items() if name not in (sample.target, sample.key)
        }
        self.version_id = self._put(_EXAMPLE_DROP_KEY, content)
        self.large_drop = (self.version_id, hashlib.md5(content).hexdigest(), str(len(content)))  # noqa: S324 - its ETag
        self._approve()
        self.execution = self._succeeded(self.outputs["TrainingStateMachine"])
        self.batch_version_id = self._put(_EXAMPLE_BATCH_KEY, content)
        self.batch_execution = self._succeeded(self.outputs["BatchStateMachine"])
        (self.run_id,) = self._folders("runs/")
        (self.batch_id,) = self._folders("batch/work/")

    def _put(self, key: str, content: bytes) -> str:
        version: str = self._s3.put_object(Bucket=self.bucket, Key=key, Body=content)["VersionId"]
        return version

    def _folders(self, prefix: str) -> list[str]:
        listed = self._s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix, Delimiter="/")
        return [each["Prefix"].removeprefix(prefix).rstrip("/") for each in listed["CommonPrefixes"]]

    def _approve(self) -> None:
        sagemaker = self.host.client("sagemaker")

        def waiting() -> str | None:
            listed = sagemaker.list_model_packages(
                ModelPackageGroupName=MODEL, ModelApprovalStatus="PendingManualApproval"
            )["ModelPackageSummaryList"]
            return listed[0]["ModelPackageArn"] if listed else None

        arn = _wait_for("a version that waits for approval", waiting)
        sagemaker.update_model_package(
            ModelPackageArn=arn, ModelApprovalStatus="Approved", ApprovalDescription="sam local"
        )

    def _succeeded(self, machine: str) -> str:
        """The name of the machine's execution, once it has succeeded."""

        def look() -> dict[str, Any] | None:
            listed = self._states.list_executions(stateMachineArn=machine)["executions"]
            return listed[0] if listed and listed[0]["status"] != "RUNNING" else None

        ended = _wait_for(f"the end of {machine.rpartition(':')[2]}", look)
        if ended["status"] != "SUCCEEDED":
            described = self._states.describe_execution(executionArn=ended["executionArn"])
            raise NotReady(f"{ended['name']} is {ended['status']}: {described.get('cause')}")
        name: str = ended["name"]
        return name

    def event(self, name: str) -> Any:
        """The example event ``events/<name>.json`` in this stack's terms."""
        text = (ROOT / "events" / f"{name}.json").read_text()
        versions = self.batch_version_id if _EXAMPLE_BATCH_KEY in text else self.version_id
        for example, real in (
            (_EXAMPLE_BUCKET, self.bucket),
            (_EXAMPLE_RUN, self.run_id),
            (_EXAMPLE_BATCH, self.batch_id),
            (_EXAMPLE_VERSION_ID, versions),
            (_EXAMPLE_EXECUTION, self.execution),
            *zip(_EXAMPLE_LARGE_DROP, self.large_drop, strict=True),
            (_EXAMPLE_ACCOUNT, self.host.account_id),
        ):
            text = text.replace(example, real)
        event = json.loads(text)
        if name == "predict":
            event["body"] = json.dumps({"instance": self.instance})
        return event

    def environment(self, function: str) -> dict[str, str]:
        """The variables that the stack gives a function, by its logical id."""
        resources = self.host.client("cloudformation").describe_stack_resource(
            StackName=STACK, LogicalResourceId=function
        )
        name = resources["StackResourceDetail"]["PhysicalResourceId"]
        configuration = self.host.client("lambda").get_function_configuration(FunctionName=name)
        variables: dict[str, str] = configuration["Environment"]["Variables"]
        return variables


def _wait_for[Found](what: str, look: Callable[[], Found | None]) -> Found:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if (found := look()) is not None:
            return found
        time.sleep(0.2)
    raise NotReady(f"no {what} within {_PATIENCE_S:g} s")
