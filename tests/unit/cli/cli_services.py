"""The rest of AWS as the command line sees it: functions, CloudFormation, alarms, subscriptions, quotas."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from cli_stack import CONTRACT, CliStack, FakeStepFunctions
from tests.fakes.predictions import FakeLiveModels, FakePredictionLog, FakeScorer, prediction_service
from tests.fakes.records import execution, s3_event

from dropforge.application.predict_http import exchange
from dropforge.domain.batch import BatchPlaces
from dropforge.domain.batch_source import next_attempt
from dropforge.domain.moments import iso
from dropforge.domain.ports import ObjectRef
from dropforge.domain.triggers import Drop

BATCH = "arn:aws:states:us-east-1:123456789012:stateMachine:dropforge-batch"
TOPIC = "arn:aws:sns:us-east-1:123456789012:dropforge-notifications"
ALARMS = ("DriftAlarm", "FailedExecutionsAlarm")


class FakeLambda:
    """The predict function's own HTTP side, on a model, a scorer and a log in memory."""

    def __init__(self) -> None:
        self.log = FakePredictionLog()
        self.concurrency = 1000
        self._service = prediction_service(FakeLiveModels(CONTRACT), FakeScorer(CONTRACT), self.log)
        self.breaks = False

    def invoke(self, *, FunctionName: str, Qualifier: str, Payload: bytes) -> dict[str, Any]:
        assert (FunctionName, Qualifier) == ("dropforge-PredictFunction", "live")
        if self.breaks:
            said = {"errorMessage": "out of memory", "errorType": "Runtime.OutOfMemory"}
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(said).encode())}
        done = exchange(
            json.loads(Payload),
            lambda: self._service,
            now=datetime.now(UTC),
        )
        return {"Payload": io.BytesIO(json.dumps(done.response).encode())}

    def get_account_settings(self) -> dict[str, Any]:
        return {
            "AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": self.concurrency}
        }


class FakeCloudFormation:
    """One stack, whole unless a test says otherwise."""

    def __init__(self) -> None:
        self.status: str | None = "CREATE_COMPLETE"
        self.created_at = datetime(2026, 1, 1, tzinfo=UTC)
        self.parameters = {"TargetColumn": "diagnosis", "IdColumn": "id", "TaskType": "binary"}
        self.parameters["PredictionRetentionDays"] = "90"

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:
        if self.status is None:
            return {"Stacks": []}
        parameters = [{"ParameterKey": k, "ParameterValue": v} for k, v in self.parameters.items()]
        arn = f"arn:aws:cloudformation:us-east-1:123456789012:stack/{StackName}/1"
        described = {"StackName": StackName, "StackId": arn, "StackStatus": self.status}
        described["CreationTime"] = self.created_at
        return {"Stacks": [{**described, "Parameters": parameters}]}

    def get_template(self, *, StackName: str, TemplateStage: str) -> dict[str, Any]:
        assert TemplateStage == "Processed"
        widget = {
            "type": "metric",
            "x": 0,
            "y": 0,
            "width": 12,
            "height": 6,
            "properties": {
                "title": "Quality of ${TargetColumn}",
                "region": "${AWS::Region}",
                "stat": "Average",
                "period": 3600,
                "metrics": [["Dropforge", "LiveQuality", "Model", "${AWS::StackName}"]],
            },
        }
        body = {"DashboardBody": {"Fn::Sub": json.dumps({"widgets": [widget]})}}
        resources = {**{name: {} for name in ALARMS}, "ModelDashboard": {"Properties": body}}
        return {"TemplateBody": {"Resources": resources}}

    def describe_stack_resource(self, *, StackName: str, LogicalResourceId: str) -> dict[str, Any]:
        return {"StackResourceDetail": {"PhysicalResourceId": f"{StackName}-{LogicalResourceId}"}}

    def get_paginator(self, operation: str) -> Any:
        alarms = [
            {
                "LogicalResourceId": name,
                "PhysicalResourceId": f"dropforge-{name}",
                "ResourceType": "AWS::CloudWatch::Alarm",
            }
            for name in ALARMS
        ]
        return Pages({"list_stack_resources": {"StackResourceSummaries": alarms}}).get_paginator(operation)


class FakeCloudWatch:
    """The stack's alarms; ``states`` by logical id."""

    def __init__(self) -> None:
        self.states = dict.fromkeys(ALARMS, "OK")

    def get_paginator(self, operation: str) -> Any:
        metric = {"Namespace": "Dropforge", "MetricName": "DriftAlarm", "Statistic": "Maximum", "Period": 60}
        alarms = [{"AlarmName": f"dropforge-{name}", "Threshold": 0.0, **metric} for name in ALARMS]
        return Pages({"describe_alarms": {"MetricAlarms": alarms}}).get_paginator(operation)

    def describe_alarms(self, *, AlarmNames: list[str], MaxRecords: int) -> dict[str, Any]:
        assert len(AlarmNames) <= MaxRecords
        found = [
            {
                "AlarmName": f"dropforge-{name}",
                "StateValue": state,
                "AlarmActions": [TOPIC],
                "ActionsEnabled": True,
            }
            for name, state in self.states.items()
        ]
        return {"MetricAlarms": [each for each in found if each["AlarmName"] in AlarmNames]}


class Pages:
    """A client whose operations are paged; ``answers`` by operation."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = dict(answers)

    def get_paginator(self, operation: str) -> Any:
        answer = self.answers[operation]

        class Paginator:
            def paginate(self, **_: Any) -> Any:
                if isinstance(answer, Exception):
                    raise answer
                return [answer]

        return Paginator()


class FakeIdentity:
    def get_caller_identity(self) -> dict[str, str]:
        return {"Arn": "arn:aws:iam::123456789012:user/alice"}


def complete(stack: CliStack) -> CliStack:
    """Give the stack the clients and outputs that only some commands need."""
    outputs = {
        **stack.target.outputs,
        "BatchStateMachine": BATCH,
        "PredictionsTable": "dropforge-Predictions",
        "NotificationTopic": TOPIC,
        "ApiUrl": "https://abc.execute-api.us-east-1.amazonaws.com/v1",
    }
    object.__setattr__(stack.target, "known_outputs", outputs)
    stack.target.__dict__.pop("outputs", None)
    subscription = {"SubscriptionArn": f"{TOPIC}:1", "Endpoint": "team@example.com"}
    stack.target._clients.update(
        {
            "lambda": FakeLambda(),
            "cloudformation": FakeCloudFormation(),
            "cloudwatch": FakeCloudWatch(),
            "sts": FakeIdentity(),
            "sns": Pages({"list_subscriptions_by_topic": {"Subscriptions": [subscription]}}),
            "service-quotas": Pages(
                {"list_aws_default_service_quotas": {"Quotas": []}, "list_service_quotas": {"Quotas": []}}
            ),
        }
    )
    return stack


def has_a_source(stack: CliStack) -> list[Any]:
    """The stack has a batch source with a scored and a failed file; returns what its function is asked."""
    complete(stack)
    stack.target.known_outputs["BatchSource"] = "s3://lake/daily/"  # type: ignore[index]
    asked: list[Any] = []

    def invoke(*, FunctionName: str, Payload: bytes) -> dict[str, Any]:
        asked.append((FunctionName, json.loads(Payload)))
        answer = {"message": "1 of 3 new files under s3://lake/daily/ are scored now.", "started": 1}
        counts = {"in_progress": 1, "left": 2, "scored": 0, "failed": 0}
        return {"Payload": io.BytesIO(json.dumps({**answer, **counts}).encode())}

    stack.target._clients["lambda"] = SimpleNamespace(invoke=invoke)
    for name, error in (("a.csv", None), ("b.csv", {"class": "EmptyData", "message": "no rows"})):
        ref = ObjectRef("lake", f"daily/{name}", None, "e", 9)
        file = next_attempt(None, ref, iso(datetime.now(UTC)), datetime.now(UTC))
        if not any(each.key == ref.key for each in stack.ledger.source_files("lake")):
            assert stack.ledger.put_source_file(file.ended(error, iso(datetime.now(UTC))), known=None)
    return asked


def scores_batches(stack: CliStack, *, rejected: int = 0, fails: tuple[str, str] | None = None) -> None:
    """From now on a file under batch/in/ is scored, as the batch machine does; its event comes twice."""

    def act(drop: Drop) -> None:
        sfn: FakeStepFunctions = stack.sfn
        event = s3_event(drop)
        again = sfn.begin(BATCH, f"{drop.run_id}-again", event)
        sfn.end(again, output={"plan": {"outcome": "duplicate"}})
        arn = sfn.begin(BATCH, drop.run_id, event)
        assert arn == execution(drop.run_id, BATCH)
        sfn.states(arn, "PlanBatch")
        if fails is not None:
            sfn.end(arn, "FAILED", error=fails[0], cause=fails[1])
            return
        sfn.states(arn, "TransformBatch", "CollectBatch")
        write_result(stack, drop, rejected)
        sfn.end(arn, output={"plan": {"outcome": "planned"}})

    stack.on_drop = act


def write_result(stack: CliStack, drop: Drop, rejected: int) -> None:
    places = BatchPlaces(drop, drop.bucket)
    result = b"id,label\n1,benign\n"
    if rejected:
        stack.write(places.rejected_uri.split("/", 3)[3], b'{"row": 2}\n')
    stack.write(places.result_uri.split("/", 3)[3], result)
    manifest = {
        "format": 1,
        "drop": asdict(drop),
        "model": {"version": 1},
        "rows": {"read": 1 + rejected, "scored": 1, "rejected": rejected},
        "result": {
            "uri": places.result_uri,
            "bytes": len(result),
            "sha256": hashlib.sha256(result).hexdigest(),
        },
        "rejected": {
            "uri": places.rejected_uri if rejected else None,
            "reasons": [{"rule": "type", "column": "radius", "rows": rejected, "examples": []}]
            if rejected
            else [],
        },
    }
    stack.write(places.manifest_uri.split("/", 3)[3], manifest)
