"""What a user does with a deployed stack, and what a test wants to see of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dropforge.adapters.dynamodb_ledger import DynamoDbLedger
from dropforge.domain.records import Approval, Live, ModelVersion, Run, RunStatus
from dropforge_local.host import LocalHost
from dropforge_local.testing.waiting import looked_for

PATIENCE_S = 90.0
HARDENED = {
    "EncryptionKey": "create",
    "PermissionsBoundaryArn": "arn:aws:iam::aws:policy/PowerUserAccess",
    "AccessLogs": "true",
    "WebFirewall": "true",
    "PredictConcurrency": "5",
    "PredictRollout": "Canary10Percent5Minutes",
    "MonthlyBudgetUSD": "20",
    "NotificationEmail": "owners@example.com",
    "MaximumRunCostUSD": "5",
    "PromotionAccounts": "222222222222,333333333333",
}
"""Every parameter that guards a stack, its callers or its owners' money, on."""


def wait_for[Found](what: str, look: Callable[[], Found | None], patience_s: float = PATIENCE_S) -> Found:
    """Look until there is something, or fail."""
    found = looked_for(look, patience_s, first_pause_s=0.1, last_pause_s=0.4, growth=1.3)
    if not found:
        raise AssertionError(f"no {what} within {patience_s} s")
    return found


def kind_of(message: Mapping[str, Any]) -> str | None:
    """What a notification tells of; what an alarm sends has no attributes."""
    kind: str | None = message.get("MessageAttributes", {}).get("kind", {}).get("Value")
    return kind


def other_rows(table: bytes, number: int) -> bytes:
    """The CSV with its first fraction a little different for each number; as it is for 0."""
    header, first, *rest = table.decode().splitlines()
    values = first.split(",")
    place = next(i for i, value in enumerate(values) if "." in value)
    values[place] = f"{float(values[place]) + number / 1000:.6g}" if number else values[place]
    return "\n".join([header, ",".join(values), *rest, ""]).encode()


class Stack:
    """One deployed stack, as its users see it."""

    def __init__(self, host: LocalHost, name: str, parameters: Mapping[str, str], template: Path) -> None:
        self.host = host
        self.name = name
        self.parameters = {"ModelName": name, **parameters}
        self.outputs: Mapping[str, str] = {}
        self.update(template)
        outputs = self.outputs
        self.model_name = outputs["ModelName"]
        self.bucket = outputs["DataBucket"]
        self.s3 = host.client("s3")
        self.stepfunctions = host.client("stepfunctions")
        self.sagemaker = host.client("sagemaker")
        self.runtime = host.client("sagemaker-runtime")
        self.sqs = host.client("sqs")
        self.ledger = DynamoDbLedger(host.client("dynamodb"), outputs["LedgerTable"])
        self._inbox = self._subscribe()
        self._received: list[Mapping[str, Any]] = []
        self._known_failures: set[str] = set()
        self._samples_dropped = 0

    def _subscribe(self) -> str:
        url: str = self.sqs.create_queue(QueueName=f"{self.model_name}-inbox")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        topic = self.outputs["NotificationTopic"]
        allowed = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        self.sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
        self.host.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        return url

    def update(self, template: Path, **parameters: str) -> None:
        """Deploy another template to the same stack, keeping the parameters that are not given."""
        self.outputs = self.host.deploy(self.name, {**self.parameters, **parameters}, template=template)

    def resources(self) -> dict[str, str]:
        """The physical id of each of the stack's resources, by logical id."""
        pages = self.host.client("cloudformation").get_paginator("list_stack_resources")
        return {
            each["LogicalResourceId"]: each["PhysicalResourceId"]
            for page in pages.paginate(StackName=self.name)
            for each in page["StackResourceSummaries"]
        }

    def unsubscribe(self) -> None:
        """Take away what only the tests made: nothing but the stack's own is left."""
        self.sqs.delete_queue(QueueUrl=self._inbox)

    # --- doing ----------------------------------------------------------------------------------

    def drop(self, content: bytes | Path, name: str = "data.csv") -> str:
        """Put a file under incoming/ and return its version id."""
        body = content
        if isinstance(content, Path):
            # The same rows again would give the live model once more, which nobody is asked about.
            body = other_rows(content.read_bytes(), self._samples_dropped)
            self._samples_dropped += 1
        version: str = self.s3.put_object(Bucket=self.bucket, Key=f"incoming/{name}", Body=body)["VersionId"]
        return version

    def taken(self, run: Run) -> list[str]:
        """The keys of the objects that the run was started for."""
        return sorted(each["key"] for each in self.read_json(run.manifest_uri)["objects"] if each["is_new"])

    def start(self, **payload: Any) -> str:
        """Start the training state machine by hand and return the execution's ARN."""
        started: str = self.stepfunctions.start_execution(
            stateMachineArn=self.outputs["TrainingStateMachine"], input=json.dumps(payload)
        )["executionArn"]
        return started

    def invoke(self, function: str, **payload: str) -> Any:
        """Invoke a function of the stack; without a payload as its schedule does."""
        answer = self.host.client("lambda").invoke(
            FunctionName=self.resource(f"{function}Function"), Payload=json.dumps(payload).encode()
        )
        document = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise AssertionError(f"{function} failed: {document}")
        return document

    def decide(self, version: int, status: str, **fields: Any) -> None:
        """Change a package's approval status through SageMaker's API, as any console does."""
        model = self.ledger.get_model(version)
        assert model is not None
        self.sagemaker.update_model_package(
            ModelPackageArn=model.model_package_arn, ModelApprovalStatus=status, **fields
        )

    def approve(self, version: int, reason: str = "looks good") -> None:
        self.decide(version, "Approved", ApprovalDescription=reason)

    def reject(self, version: int, reason: str = "does not look good") -> None:
        self.decide(version, "Rejected", ApprovalDescription=reason)

    def train_and_deploy(self, content: bytes | Path, name: str = "data.csv") -> Live:
        """Drop, wait, approve, wait until it is live."""
        before = len(self.ledger.list_models())
        self.drop(content, name)
        model = self.wait_for_version(before + 1)
        self.approve(model.version)
        return self.wait_for_live(model.version)

    def live_or_first(self, content: Path) -> Live:
        """What is live, once its run has ended; where nothing is, a version trained on the content."""
        live = self.ledger.live() or self.train_and_deploy(content, content.name)
        self.wait_for_run_of(live)
        return live

    def predict(self, instances: list[dict[str, Any]], endpoint: str | None = None) -> list[dict[str, Any]]:
        answer = self.runtime.invoke_endpoint(
            EndpointName=endpoint or self.model_name,
            ContentType="application/json",
            Body=json.dumps({"instances": instances}),
        )
        predictions: list[dict[str, Any]] = json.loads(answer["Body"].read())["predictions"]
        return predictions

    # --- seeing ---------------------------------------------------------------------------------

    def runs(self) -> list[Run]:
        return self.ledger.list_runs()

    def counts(self) -> tuple[int, int]:
        """How many runs and how many versions there have been: what comes next has the next number."""
        return len(self.runs()), len(self.ledger.list_models())

    def wait_for_run_of(self, live: Live) -> Run:
        """The run that trained what is live, once it has ended."""

        def look() -> Run | None:
            run = self.ledger.get_run(live.run_id)
            return run if run is not None and run.status.is_final else None

        return wait_for(f"end of run {live.run_id}", look)

    def wait_for_run(self, *statuses: RunStatus, number: int = 1, patience_s: float = PATIENCE_S) -> Run:
        """The ``number``-th run of the stack, counted from the first, once it has one of the statuses."""

        def look() -> Run | None:
            runs = sorted(self.runs(), key=lambda run: run.started_at)
            if len(runs) < number:
                return None
            run = runs[number - 1]
            if run.status in statuses:
                return run
            if run.status.is_final:
                raise AssertionError(f"run {run.run_id} is {run.status}: {run.error or run.reasons}")
            return None

        return wait_for(f"run {number} in {[str(status) for status in statuses]}", look, patience_s)

    def wait_for_failed_run(self, number: int = 1) -> Run:
        def look() -> Run | None:
            runs = sorted(self.runs(), key=lambda run: run.started_at)
            return runs[number - 1] if len(runs) >= number and runs[number - 1].status.is_final else None

        run = wait_for(f"end of run {number}", look)
        assert run.status is RunStatus.FAILED, run
        self._known_failures.add(run.run_id)
        return run

    def wait_for_version(self, version: int, ignoring: str = "") -> ModelVersion:
        """The version, once its run waits for the decision.

        A failed run is an error where nobody waited for its failure and it isn't to be ignored.
        """
        self._known_failures.add(ignoring)

        def look() -> ModelVersion | None:
            for run in self.runs():
                if run.status is RunStatus.FAILED and run.run_id not in self._known_failures:
                    raise AssertionError(f"run {run.run_id} failed: {run.error}")
            model = self.ledger.get_model(version)
            return (
                model
                if model is not None and (model.task_token or model.approval is not Approval.PENDING)
                else None
            )

        return wait_for(f"version {version}", look)

    def wait_for_live(self, version: int) -> Live:
        def look() -> Live | None:
            live = self.ledger.live()
            return live if live is not None and live.version == version else None

        return wait_for(f"live version {version}", look)

    def deployments(self) -> list[Mapping[str, Any]]:
        """Every execution of the deployment machine, the oldest first."""
        listed = self.stepfunctions.list_executions(stateMachineArn=self.outputs["DeploymentStateMachine"])
        return [self.execution(each["executionArn"]) for each in reversed(listed["executions"])]

    def execution(self, arn: str) -> Mapping[str, Any]:
        described: Mapping[str, Any] = self.stepfunctions.describe_execution(executionArn=arn)
        return described

    def wait_for_execution(self, arn: str) -> Mapping[str, Any]:
        return wait_for(
            f"end of {arn}",
            lambda: described if (described := self.execution(arn))["status"] != "RUNNING" else None,
        )

    def states(self, arn: str) -> list[str]:
        """The states that the execution entered, in order."""
        pages = self.stepfunctions.get_paginator("get_execution_history").paginate(executionArn=arn)
        return [
            event["stateEnteredEventDetails"]["name"]
            for page in pages
            for event in page["events"]
            if "stateEnteredEventDetails" in event
        ]

    def resource(self, logical_id: str) -> str:
        """The physical id of one of the stack's resources."""
        detail = self.host.client("cloudformation").describe_stack_resource(
            StackName=self.name, LogicalResourceId=logical_id
        )["StackResourceDetail"]
        return str(detail["PhysicalResourceId"])

    def read(self, uri: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket=self.bucket, Key=uri.split("/", 3)[3])["Body"].read()
        return content

    def read_json(self, uri: str) -> Any:
        return json.loads(self.read(uri))

    def notifications(self) -> list[Mapping[str, Any]]:
        """Every message published to the stack's topic so far: Subject, Message, MessageAttributes."""
        while messages := self.sqs.receive_message(
            QueueUrl=self._inbox, MaxNumberOfMessages=10, WaitTimeSeconds=0
        ).get("Messages"):
            for message in messages:
                self._received.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self._inbox, ReceiptHandle=message["ReceiptHandle"])
        return self._received

    def wait_for_notification(self, kind: str, saying: str = "") -> Mapping[str, Any]:
        """The first message of the kind whose text says that."""

        def look() -> Mapping[str, Any] | None:
            for message in self.notifications():
                if kind_of(message) == kind and saying in message["Message"]:
                    return message
            return None

        return wait_for(f"notification {kind} {saying}".rstrip(), look)
