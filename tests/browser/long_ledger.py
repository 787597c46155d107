"""A ledger of years on a local host: 1,000 runs and 200 versions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeSerializer

from dropforge.domain.moments import iso
from dropforge.domain.records import Approval, Live, ModelVersion, Run, RunStatus, Stage
from dropforge.ledger_table import keys
from dropforge_local.host import LocalHost
from dropforge_local.template import load_template
from dropforge_ops.console.context import Context
from dropforge_ops.stack.target import Options, resolve
from tests.browser.beds import ROOT

RUNS, VERSIONS = 1000, 200
STACK = "long"

_METRIC = {"name": "auc", "value": 0.97, "low": 0.95, "high": 0.99, "threshold": 0.7}
_serialize = TypeSerializer().serialize


def records() -> Iterator[dict[str, Any]]:
    """The items of the ledger, the last run waiting for a decision on the last version."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(RUNS):
        at = iso(begin + timedelta(hours=6 * number))
        version = number - (RUNS - VERSIONS) + 1
        is_last = number == RUNS - 1
        run = Run(
            run_id=f"day-{number:04d}",
            status=RunStatus.AWAITING_APPROVAL if is_last else RunStatus.REJECTED_BY_GATE,
            trigger="drop",
            execution_arn=f"arn:aws:states:us-east-1:000000000000:execution:{STACK}-training:{number}",
            token=number,
            started_at=at,
            ended_at=None if is_last else at,
            manifest_uri=f"s3://{STACK}/runs/day-{number:04d}/manifest.json",
            keys=[f"incoming/day-{number:04d}.csv"],
            drop_ids=[f"drop-{number}"],
            metric=_METRIC,
            reasons=[{"message": "The candidate is worse than the live model, which stays. " * 4}],
        )
        yield {**keys.run(run.run_id), **run.to_dict(), "kind": keys.RUN_KIND, "at": at}
        if version >= 1:
            yield {**keys.model(version), **_model(version, run).to_dict(), "kind": keys.MODEL_KIND, "at": at}
    yield {**keys.LIVE, **_live().to_dict()}


def _wire(item: dict[str, Any]) -> dict[str, Any]:
    exact = json.loads(json.dumps(item), parse_float=Decimal)
    return {name: _serialize(value) for name, value in exact.items()}


def _model(version: int, run: Run) -> ModelVersion:
    prefix = f"s3://{STACK}/models/{run.run_id}"
    return ModelVersion(
        version=version,
        model_package_arn=f"arn:aws:sagemaker:us-east-1:000000000000:model-package/{STACK}/{version}",
        run_id=run.run_id,
        registered_at=run.started_at,
        model_data_url=f"{prefix}/model.tar.gz",
        model_sha256="0" * 64,
        model_digest="0" * 64,
        contract_uri=f"s3://{STACK}/contract/schema.json",
        contract_hash="0" * 64,
        profile_uri=f"{prefix}/profile.json",
        evaluation_uri=f"{prefix}/evaluation.json",
        judgement_uri=f"{prefix}/judgement.json",
        judgement_sha256="0" * 64,
        smoke_uri=f"{prefix}/smoke.json",
        task="binary",
        metric=_METRIC,
        stage=Stage.STAGING if version == VERSIONS else Stage.ARCHIVED,
        approval=Approval.PENDING if version == VERSIONS else Approval.APPROVED,
    )


def _live() -> Live:
    return Live(
        version=VERSIONS - 1,
        model_package_arn=f"arn:aws:sagemaker:us-east-1:000000000000:model-package/{STACK}/{VERSIONS - 1}",
        run_id="day-0998",
        endpoint_name=STACK,
        endpoint_config=f"{STACK}-v199",
        model_name=f"{STACK}-v199",
        model_data_url=f"s3://{STACK}/models/day-0998/model.tar.gz",
        model_sha256="0" * 64,
        contract_uri=f"s3://{STACK}/contract/schema.json",
        contract_hash="0" * 64,
        profile_uri=f"s3://{STACK}/models/day-0998/profile.json",
        smoke_uri=f"s3://{STACK}/models/day-0998/smoke.json",
        task="binary",
        metric=_METRIC,
        promoted_at="2026-09-01T00:00:00.000Z",
        token=1,
    )


def long_stack_on(host: LocalHost) -> Context:
    """Deploy a stack that has only the template's ledger and a bucket, and write all of it."""
    ledger = load_template(ROOT / "template.yaml")["Resources"]["Ledger"]["Properties"]
    kept = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    machine = f"arn:aws:states:us-east-1:000000000000:stateMachine:{STACK}-training"
    template = {
        "Resources": {
            "Ledger": {"Type": "AWS::DynamoDB::Table", "Properties": {name: ledger[name] for name in kept}},
            "Data": {"Type": "AWS::S3::Bucket"},
        },
        "Outputs": {
            "LedgerTable": {"Value": {"Ref": "Ledger"}},
            "DataBucket": {"Value": {"Ref": "Data"}},
            "TrainingStateMachine": {"Value": machine},
        },
    }
    cloudformation = host.client("cloudformation")
    cloudformation.create_stack(StackName=STACK, TemplateBody=json.dumps(template))
    cloudformation.get_waiter("stack_create_complete").wait(
        StackName=STACK, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )
    context = Context(resolve(Options(stack=STACK, endpoint_url=host.endpoint_url), env={}))
    table, dynamodb = context.target.outputs["LedgerTable"], host.client("dynamodb")
    for batch in itertools.batched(records(), 25):
        items = [{"PutRequest": {"Item": _wire(each)}} for each in batch]
        assert not dynamodb.batch_write_item(RequestItems={table: items})["UnprocessedItems"]
    return context
