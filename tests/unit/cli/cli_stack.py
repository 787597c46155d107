"""A deployed stack as the command line sees it: S3 and DynamoDB of moto, the product's own ledger, and fakes
of Step Functions and SageMaker that record what they are asked and do what the product would do next."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError
from tests.fakes.records import DEPLOYMENT, TRAINING, execution, package_arn
from tests.mocked_aws import create_table

from dropforge.adapters.dynamodb_ledger import DynamoDbLedger
from dropforge.domain.contract import Column, Contract
from dropforge.domain.drop_life import Ending, let_go, taken
from dropforge.domain.moments import iso
from dropforge.domain.records import Approval, Live, LockName, ModelVersion, Run, RunStatus
from dropforge.domain.run_manifest import RunManifest
from dropforge.domain.training_data import manifest_objects
from dropforge.domain.triggers import Drop
from dropforge_ops.stack.target import Target

CONTRACT = Contract(
    target="diagnosis",
    key="id",
    task="binary",
    classes=("benign", "malignant"),
    columns=(
        Column("id", "integer", "key"),
        Column("radius", "number"),
        Column("count", "integer"),
        Column("smoker", "boolean"),
        Column("site", "category", nullable=True),
        Column("diagnosis", "category", "target"),
    ),
)
ROWS = [
    {"radius": 1.5, "count": 3, "smoker": True, "site": "left"},
    {"radius": 0.5, "count": 1, "smoker": False, "site": None},
]
ANSWERS = [
    {"label": "malignant", "probabilities": {"benign": 0.25, "malignant": 0.75}},
    {"label": "benign", "probabilities": {"benign": 0.875, "malignant": 0.125}},
]


def refusal(code: str, message: str, operation: str, **more: Any) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}, **more}, operation)  # type: ignore[typeddict-item]


class FakeStepFunctions:
    """Executions with histories; pages are short, so that paging is exercised."""

    def __init__(self) -> None:
        self.executions: dict[str, dict[str, Any]] = {}
        self.on_start: Callable[[str], None] = lambda arn: None
        self._clock = datetime.now(UTC)

    def begin(self, machine: str, name: str, payload: Mapping[str, Any] | None = None) -> str:
        arn = execution(name, machine)
        self.executions[arn] = {
            "executionArn": arn,
            "stateMachineArn": machine,
            "name": name,
            "status": "RUNNING",
            "startDate": datetime.now(UTC),
            "input": json.dumps(payload or {}),
            "events": [],
        }
        self._add(arn, "ExecutionStarted")
        return arn

    def enter(self, arn: str, state: str, kind: str = "Task") -> None:
        self._add(arn, f"{kind}StateEntered", stateEnteredEventDetails={"name": state, "input": "{}"})

    def leave(self, arn: str, state: str, kind: str = "Task") -> None:
        self._add(arn, f"{kind}StateExited", stateExitedEventDetails={"name": state, "output": "{}"})

    def states(self, arn: str, *names: str) -> None:
        for name in names:
            self.enter(arn, name)
            self.leave(arn, name)

    def submit(self, arn: str, child: str) -> None:
        output = json.dumps({"ExecutionArn": child, "StartDate": 1})
        self._add(arn, "TaskSubmitted", taskSubmittedEventDetails={"output": output})

    def fail_task(self, arn: str) -> None:
        self._add(arn, "TaskFailed", taskFailedEventDetails={"error": "E", "cause": "C"})

    def end(
        self, arn: str, status: str = "SUCCEEDED", *, error: str = "", cause: str = "", output: Any = None
    ) -> None:
        kinds = {"SUCCEEDED": "Succeeded", "FAILED": "Failed", "ABORTED": "Aborted", "TIMED_OUT": "TimedOut"}
        self._add(arn, f"Execution{kinds[status]}")
        self.executions[arn] |= {"status": status, "error": error, "cause": cause}
        self.executions[arn]["output"] = json.dumps(output or {})

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> dict[str, Any]:
        arn = self.begin(stateMachineArn, name, json.loads(input))
        self.on_start(arn)
        return {"executionArn": arn, "startDate": self.executions[arn]["startDate"]}

    def describe_execution(self, *, executionArn: str) -> dict[str, Any]:
        return {name: value for name, value in self._known(executionArn).items() if name != "events"}

    def list_executions(
        self,
        *,
        stateMachineArn: str,
        maxResults: int,
        statusFilter: str | None = None,
        nextToken: str = "0",
    ) -> dict[str, Any]:
        found = [
            each
            for each in reversed(self.executions.values())
            if each["stateMachineArn"] == stateMachineArn and statusFilter in (None, each["status"])
        ]
        start, size = int(nextToken), min(maxResults, 5)
        more = {"nextToken": str(start + size)} if start + size < len(found) else {}
        return {"executions": found[start : start + size], **more}

    def get_execution_history(
        self,
        *,
        executionArn: str,
        reverseOrder: bool,
        includeExecutionData: bool,
        maxResults: int,
        nextToken: str = "0",
    ) -> dict[str, Any]:
        assert reverseOrder
        events = self._known(executionArn)["events"][::-1]
        start, size = int(nextToken), min(maxResults, 7)
        page = [_shown(event, includeExecutionData) for event in events[start : start + size]]
        more = {"nextToken": str(start + size)} if start + size < len(events) else {}
        return {"events": page, **more}

    def _known(self, arn: str) -> dict[str, Any]:
        if arn not in self.executions:
            raise refusal("ExecutionDoesNotExist", f"Execution {arn} not found", "DescribeExecution")
        return self.executions[arn]

    def _add(self, arn: str, kind: str, **details: Any) -> None:
        self._clock += timedelta(milliseconds=250)
        events = self.executions[arn]["events"]
        events.append({"id": len(events) + 1, "type": kind, "timestamp": self._clock, **details})


def _shown(event: Mapping[str, Any], with_data: bool) -> dict[str, Any]:
    if with_data:
        return dict(event)
    hidden = ("input", "output")
    return {
        name: {key: each for key, each in value.items() if key not in hidden}
        if isinstance(value, dict)
        else value
        for name, value in event.items()
    }


class FakeSageMaker:
    """The registry, where ``on_update`` does what the product does at its event; and ``training_jobs``."""

    def __init__(self) -> None:
        self.training_jobs: list[dict[str, Any]] = []
        self.hides_training_jobs = False
        self.updates: list[dict[str, Any]] = []
        self.packages: dict[str, dict[str, Any]] = {}
        self.on_update: Callable[[dict[str, Any]], None] = lambda update: None

    def update_model_package(self, **update: Any) -> dict[str, Any]:
        self.updates.append(update)
        self.packages.setdefault(update["ModelPackageArn"], {}).update(update)
        self.on_update(update)
        return {"ModelPackageArn": update["ModelPackageArn"]}

    def describe_model_package(self, *, ModelPackageName: str) -> dict[str, Any]:
        return self.packages.get(ModelPackageName, {"ModelApprovalStatus": "PendingManualApproval"})

    def get_paginator(self, operation: str) -> Any:
        assert operation == "list_training_jobs"

        def paginate(*, NameContains: str, SortBy: str, SortOrder: str) -> Iterator[dict[str, Any]]:
            assert (SortBy, SortOrder) == ("CreationTime", "Ascending")
            if self.hides_training_jobs:
                raise refusal("AccessDeniedException", "not authorized", "ListTrainingJobs")
            for each in self.training_jobs:
                if NameContains in each["TrainingJobName"]:
                    yield {"TrainingJobSummaries": [each]}

        return SimpleNamespace(paginate=paginate)

    def describe_training_job(self, *, TrainingJobName: str) -> dict[str, Any]:
        (found,) = [each for each in self.training_jobs if each["TrainingJobName"] == TrainingJobName]
        return found


class FakeRuntime:
    """An endpoint that answers with what was recorded, or with an error."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.error: ClientError | None = None
        self.later = "answers"
        self.s3: Any = None
        self.bucket = ""

    def invoke_endpoint(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        count = len(json.loads(request["Body"])["instances"])
        answers = [ANSWERS[index % len(ANSWERS)] for index in range(count)]
        return {"Body": io.BytesIO(json.dumps({"predictions": answers}).encode())}

    def invoke_endpoint_async(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        places = {name: f"s3://{self.bucket}/asynchronous/{name}" for name in ("out", "failed")}
        bucket, _, key = request["InputLocation"].removeprefix("s3://").partition("/")
        asked = json.loads(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())
        answer = json.dumps({"predictions": ANSWERS[: len(asked["instances"])]}).encode()
        for name, body in {"answers": ("out", answer), "fails": ("failed", b"boom")}.items():
            if self.later == name:
                self.s3.put_object(Bucket=bucket, Key=f"asynchronous/{body[0]}", Body=body[1])
        return {"OutputLocation": places["out"], "FailureLocation": places["failed"]}

    @property
    def instances(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.requests[-1]["Body"])["instances"]
        return found


class NotifyingS3:
    """An S3 client whose uploads are events, too."""

    def __init__(self, client: Any, on_upload: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._client = client
        self._on_upload = on_upload

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **request: Any) -> Any:
        answer = self._client.put_object(**request)
        self._on_upload(request["Key"], answer)
        return answer

    def upload_file(self, *args: Any, **options: Any) -> None:
        self._client.upload_file(*args, **options)
        self._on_upload(args[2], self._client.head_object(Bucket=args[1], Key=args[2]))


PINNED = "contract/schema.json"
WIDER = replace(CONTRACT, columns=(*CONTRACT.columns, Column("age", "integer")))


class CliStack:
    """The stack, what a test does to it, and what it does by itself after an upload or a decision."""

    def __init__(self, s3: Any, dynamodb: Any, bucket: str, table: str) -> None:
        self.bucket = bucket
        self.sfn, self.sagemaker, self.runtime = FakeStepFunctions(), FakeSageMaker(), FakeRuntime()
        self.ledger = DynamoDbLedger(dynamodb, table, pause=lambda _: None)
        self.uploaded: list[Drop] = []
        self.on_drop: Callable[[Drop], None] = lambda drop: None
        self.s3 = self.runtime.s3 = s3
        self.runtime.bucket = bucket
        self.archive: bytes | None = None
        """What is registered from now on, where a test reads it."""
        outputs = {
            "DataBucket": self.bucket,
            "LedgerTable": table,
            "TrainingStateMachine": TRAINING,
            "DeploymentStateMachine": DEPLOYMENT,
            "ModelName": "model",
        }
        clients = {
            "s3": NotifyingS3(s3, self._uploaded),
            "dynamodb": dynamodb,
            "stepfunctions": self.sfn,
            "sagemaker": self.sagemaker,
            "sagemaker-runtime": self.runtime,
        }
        self.target = Target("dropforge", None, "http://127.0.0.1:4566", outputs, clients)
        self._numbers = 0

    # --- documents ------------------------------------------------------------------------------

    def write(self, key: str, content: Any) -> bytes:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data)
        return data

    def holds(self, key: str) -> bool:
        """Whether there is such an object."""
        return "Contents" in self.s3.list_objects_v2(Bucket=self.bucket, Prefix=key)

    # --- what the product does ------------------------------------------------------------------

    def receive(self, drop: Drop) -> None:
        self.ledger.record_drop(drop, received_by=execution(drop.run_id), now=datetime.now(UTC))

    def set_aside(self, name: str, message: str = "There is no column 'y'.") -> None:
        """A drop that a run found to be bad by itself."""
        drop = Drop(self.bucket, f"incoming/{name}", "v1", "e", "01", 9, iso(datetime.now(UTC)))
        self.receive(drop)
        run = self.open_run(f"bad-{name.partition('.')[0]}", drops=[drop])
        self.end_run(run, RunStatus.FAILED, "FAILED", error={"class": "MissingTarget", "message": message})
        reason = {drop.drop_id: {"class": "MissingTarget", "message": message}}
        ending = Ending(run.run_id, False, None, False, reason)
        self.ledger.change_drops(
            [drop.drop_id], lambda each, newest: let_go(each, ending, newest, datetime.now(UTC))
        )

    def open_run(self, run_id: str, *, drops: list[Drop] | None = None, **changes: Any) -> Run:
        """A run that trains, with its lock and its execution."""
        arn = changes.pop("execution_arn", None) or self.sfn.begin(TRAINING, run_id)
        now = datetime.now(UTC)
        lease = self.ledger.acquire(LockName.TRAINING, holder=arn, subject=run_id, now=now, lease_s=600)
        assert lease is not None
        fields = {
            "run_id": run_id,
            "status": RunStatus.RUNNING,
            "trigger": "drop",
            "execution_arn": arn,
            "token": lease.token,
            "started_at": iso(now),
            "manifest_uri": f"s3://{self.bucket}/runs/{run_id}/manifest.json",
            "drop_count": len(drops or []),
            "object_count": len(drops or []),
            "keys": [drop.key for drop in drops or []],
        }
        run = self.ledger.open_run(Run(**{**fields, **changes}))
        recorded = [each for drop in drops or [] if (each := self.ledger.get_drop(drop.drop_id)) is not None]
        objects = tuple(manifest_objects(recorded, ()))
        self.write(f"runs/{run_id}/manifest.json", RunManifest(run_id, run.trigger, objects).to_json())
        taking = (each.drop_id for each in recorded)
        self.ledger.change_drops(taking, lambda each, _: taken(each, run_id), token=run.token)
        return run

    def free(self, run: Run) -> None:
        self.ledger.release(LockName.TRAINING, token=run.token)

    def end_run(
        self, run: Run, status: RunStatus, execution_status: str = "SUCCEEDED", **changes: Any
    ) -> Run:
        ended = self.ledger.advance_run(run.run_id, status, ended_at=iso(datetime.now(UTC)), **changes)
        self.free(run)
        self.sfn.end(run.execution_arn, execution_status)
        return ended

    def register(
        self, run: Run, version: int, *, champion: bool = False, undecided: bool = False
    ) -> ModelVersion:
        """What judging and registering leave behind."""
        judgement = self.write_judgement(run.run_id, champion=champion, undecided=undecided)
        digest = hashlib.sha256(judgement).hexdigest()
        prefix = f"s3://{self.bucket}/models/{run.run_id}"
        model = ModelVersion(
            version=version,
            model_package_arn=package_arn(version),
            run_id=run.run_id,
            registered_at=iso(datetime.now(UTC)),
            model_data_url=f"{prefix}/job/output/model.tar.gz",
            model_sha256="ab" * 32 if self.archive is None else hashlib.sha256(self.archive).hexdigest(),
            model_digest="cd" * 32,
            contract_uri=f"s3://{self.bucket}/runs/{run.run_id}/contract/schema.json",
            contract_hash=CONTRACT.hash,
            profile_uri=f"s3://{self.bucket}/runs/{run.run_id}/profile.json",
            evaluation_uri=f"{prefix}/evaluation.json",
            judgement_uri=f"{prefix}/judgement.json",
            judgement_sha256=digest,
            smoke_uri=f"{prefix}/smoke.json",
            task="binary",
            metric={"name": "auc", "value": 0.9931, "low": 0.98, "high": 1.0, "threshold": 0.7},
        )
        self.write(f"runs/{run.run_id}/contract/schema.json", CONTRACT.to_json().encode())
        if self.archive is not None:
            self.write(f"models/{run.run_id}/job/output/model.tar.gz", self.archive)
            self.write(f"models/{run.run_id}/evaluation.json", {"binary_classification_metrics": {}})
        self.write(f"models/{run.run_id}/smoke.json", {"instances": ROWS, "predictions": ANSWERS})
        registered = self.ledger.register_model(model, token=run.token, now=datetime.now(UTC))
        self.free(run)
        return registered

    def write_judgement(
        self, run_id: str, *, champion: bool = False, undecided: bool = False, digest: str = "cd" * 32
    ) -> bytes:
        content: dict[str, Any] = {
            "format": 1,
            "accepted": True,
            "metric": {"name": "auc", "value": 0.9931, "low": 0.98, "high": 1.0, "threshold": 0.7,
                       "positive_class": "malignant"},
            "metrics": {"auc": 0.9931, "accuracy": 0.95, "f1": 0.9},
            "reasons": [{"code": "ThresholdMet", "message": "auc 0.9931 meets the threshold 0.7."}],
            "rows": 55,
            "champion": None,
            "difference": None,
            "model_digest": digest,
        }  # fmt: skip
        if undecided:
            message = "It can't be said how sure auc is: of 'yes' there are 3."
            content |= {"verdict": "undecided", "accepted": False}
            content["reasons"] = [{"code": "TooFewToTell", "message": message}]
        if champion:
            content["champion"] = {"scored": True, "metric": {"value": 0.99, "low": 0.97, "high": 1.0}}
            content["difference"] = {"value": 0.0031, "low": -0.001, "high": 0.007}
        return self.write(f"models/{run_id}/judgement.json", content)

    def trained(self, version: int, run_id: str | None = None, **options: Any) -> ModelVersion:
        """A whole run that waits for the decision on its version."""
        run = self.open_run(run_id or f"cancer-{version}")
        self.sfn.states(
            run.execution_arn, "AdmitRun", "PrepareData", "TrainModel", "JudgeModel", "RegisterModel"
        )
        self.sfn.enter(run.execution_arn, "AwaitApproval")
        return self.register(run, version, **options)

    def decide(self, version: int, approval: Approval, by: str = "alice", reason: str | None = None) -> None:
        self.ledger.decide(version, approval, by=by, reason=reason, now=datetime.now(UTC))

    def go_live(self, version: int, *, settles: str | None = None, is_asynchronous: bool = False) -> Live:
        model = self.ledger.get_model(version)
        assert model is not None
        self._numbers += 1
        lease = self.ledger.acquire(
            LockName.DEPLOYMENT,
            holder=f"deployment-{self._numbers}",
            subject="test",
            now=datetime.now(UTC),
            lease_s=600,
        )
        assert lease is not None
        before = self.ledger.live()
        live = Live(
            version=version,
            model_package_arn=model.model_package_arn,
            run_id=model.run_id,
            endpoint_name="model",
            endpoint_config=f"model-v{version}-{lease.token}",
            model_name=f"model-v{version}-{lease.token}",
            model_data_url=model.model_data_url,
            model_sha256=model.model_sha256,
            contract_uri=model.contract_uri,
            contract_hash=model.contract_hash,
            profile_uri=model.profile_uri,
            smoke_uri=model.smoke_uri,
            task=model.task,
            metric=model.metric,
            promoted_at=iso(datetime.now(UTC)),
            token=lease.token,
            previous_version=None if before is None else before.version,
            is_asynchronous=is_asynchronous,
        )
        promoted = self.ledger.promote(live, by="alice", now=datetime.now(UTC), settles_run=settles)
        self.ledger.release(LockName.DEPLOYMENT, token=lease.token)
        return promoted

    def lives(self, version: int, *, is_asynchronous: bool = False) -> Live:
        """A version that was trained, approved and deployed."""
        model = self.trained(version)
        self.decide(version, Approval.APPROVED)
        return self.go_live(version, settles=model.run_id, is_asynchronous=is_asynchronous)

    def apply_decisions(self, *, deploys: bool = True, breaks: bool = False) -> None:
        """From now on a decision in the registry is acted on, as the product's functions do."""

        def act(update: dict[str, Any]) -> None:
            version = int(update["ModelPackageArn"].rsplit("/", 1)[1])
            approval = Approval.APPROVED if update["ModelApprovalStatus"] == "Approved" else Approval.REJECTED
            metadata = update["CustomerMetadataProperties"]
            self.decide(version, approval, by=metadata["decided_by"], reason=update["ApprovalDescription"])
            if approval is not Approval.APPROVED or not deploys:
                return
            model = self.ledger.get_model(version)
            assert model is not None
            parent = execution(model.run_id)
            child = self.sfn.begin(DEPLOYMENT, f"run-{model.run_id}-v{version}-0")
            self.sfn.leave(parent, "AwaitApproval")
            self.sfn.enter(parent, "DeployModel")
            self.sfn.submit(parent, child)
            self.sfn.states(child, "PlanDeployment", "SmokeTest")
            if breaks:
                cause = json.dumps({"errorType": "SmokeTestFailed", "errorMessage": "row 1 differs."})
                self.sfn.end(child, "FAILED", error="SmokeTestFailed", cause=cause)
                return
            self.sfn.states(child, "PromoteModel")
            self.go_live(version, settles=model.run_id)
            self.sfn.end(child)
            self.sfn.leave(parent, "DeployModel")
            self.sfn.end(parent)

        self.sagemaker.on_update = act

    def _uploaded(self, key: str, answer: Mapping[str, Any]) -> None:
        drop = Drop(
            bucket=self.bucket,
            key=key,
            version_id=answer.get("VersionId"),
            etag=answer["ETag"].strip('"'),
            sequencer=f"{len(self.uploaded):018X}",
            size=1,
        )
        self.uploaded.append(drop)
        self.on_drop(drop)


_numbers = itertools.count()


def a_stack(aws: tuple[Any, Any], ledger_resource: Mapping[str, Any]) -> CliStack:
    """A stack with a new bucket and a new ledger table."""
    s3, dynamodb = aws
    number = next(_numbers)
    bucket, table = f"data-bucket-{number}", f"cli-ledger-{number}"
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    create_table(dynamodb, table, ledger_resource)
    return CliStack(s3, dynamodb, bucket, table)


def contract_of(stack: CliStack) -> Contract:
    """The pinned contract."""
    return Contract.from_json(stack.s3.get_object(Bucket=stack.bucket, Key=PINNED)["Body"].read())


def keeps_predictions(stack: CliStack) -> str:
    """The stack has a prediction log, too; returns its table."""
    dynamodb, table = stack.target.client("dynamodb"), f"predictions-{stack.bucket}"
    keys = {"pk": "HASH", "sk": "RANGE"}
    dynamodb.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
        BillingMode="PAY_PER_REQUEST",
    )
    stack.target.known_outputs["PredictionsTable"] = table  # type: ignore[index]
    return table
