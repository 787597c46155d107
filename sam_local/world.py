"""A stack on the local host with a live model and a scored batch, and the example events in its terms."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from tests.workflow.stack import Stack, wait_for

from dropforge_local.host import LocalHost
from dropforge_ops.stack.samples import SAMPLES, write_samples
from sam_local.cases import Case

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = "breast-cancer"

# What stands in the example events for what a real stack gives its own names.
_EXAMPLE_ACCOUNT = "123456789012"
_EXAMPLE_BUCKET = f"dropforge-data-{_EXAMPLE_ACCOUNT}"
_EXAMPLE_RUN = "breast-cancer-4412189d074b"
_EXAMPLE_VERSION_ID = "yFgkWkgGnpIWzbdnOZfvhSTaTcGfmBeC"
_EXAMPLE_LARGE_DROP = ("3HL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY", "6805f2cfc46c0f04559748bb039d69ae", "125204")
_EXAMPLE_EXECUTION = "6a5df1c0-3e4b-6d1e-8f0a-0d3b5c2a9e11_0f9b7c55-8a41-2b1e-6c3d-5e7f90a1b2c3"
_EXAMPLE_BATCH = "new-patients-45b592a063ac"
_EXAMPLE_BATCH_KEY = "batch/in/may/new-patients.csv"


class World:
    """The deployed stack, once its model is live and its batch is scored."""

    def __init__(self, host: LocalHost, scratch: Path) -> None:
        self.host = host
        sample = SAMPLES[SAMPLE]
        write_samples(scratch)
        content = (scratch / f"{SAMPLE}.csv").read_bytes()
        first = next(csv.DictReader(io.StringIO(content.decode())))
        self.instance = {
            name: float(value) for name, value in first.items() if name not in (sample.target, sample.key)
        }
        # The names in the example events.
        parameters = {"ModelName": "model", "TargetColumn": sample.target, "IdColumn": sample.key}
        stack = self._stack = Stack(host, "dropforge", parameters, ROOT / "template.yaml")
        self.bucket = stack.bucket
        run = stack.wait_for_run_of(stack.train_and_deploy(content, f"{SAMPLE}.csv"))
        self.run_id, self.execution = run.run_id, str(run.execution_arn).rpartition(":")[2]
        dropped = stack.s3.head_object(Bucket=self.bucket, Key=f"incoming/{SAMPLE}.csv")
        self.version_id = dropped["VersionId"]
        self.large_drop = (self.version_id, dropped["ETag"].strip('"'), str(len(content)))
        self.batch_version_id = stack.s3.put_object(Bucket=self.bucket, Key=_EXAMPLE_BATCH_KEY, Body=content)[
            "VersionId"
        ]
        self.batch_id = wait_for("batch that is scored", self._scored_batch)

    def _scored_batch(self) -> str | None:
        """The id of the batch, once its execution has succeeded."""
        stack = self._stack
        listed = stack.stepfunctions.list_executions(stateMachineArn=stack.outputs["BatchStateMachine"])
        if [each["status"] for each in listed["executions"]] != ["SUCCEEDED"]:
            return None
        work = "batch/work/"
        found = stack.s3.list_objects_v2(Bucket=self.bucket, Prefix=work, Delimiter="/")["CommonPrefixes"]
        return str(found[0]["Prefix"]).removeprefix(work).rstrip("/")

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

    def payload(self, case: Case) -> bytes:
        """What the case's function is invoked with, in this stack's terms."""
        event = self.event(case.event)
        if case.into:
            outer = self.event(case.into)
            # An execution of its own: what an execution was told once, it is told again.
            event = {**outer, "execution_arn": f"{outer['execution_arn']}-{case.event}", "event": event}
        return json.dumps(event).encode()

    def answer(self, case: Case) -> str:
        """What the deployed function answers to the case on the local host."""
        answered = self.host.client("lambda").invoke(
            FunctionName=self._stack.resource(case.resource), Payload=self.payload(case)
        )
        return str(answered["Payload"].read().decode())

    def environment(self, function: str) -> dict[str, str]:
        """The variables that the stack gives a function, by its logical id."""
        name = self._stack.resource(function)
        configuration = self.host.client("lambda").get_function_configuration(FunctionName=name)
        variables: dict[str, str] = configuration["Environment"]["Variables"]
        return variables
