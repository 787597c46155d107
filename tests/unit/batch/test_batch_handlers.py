"""The batch functions on their example events and a real S3 and DynamoDB behaviour; twice the same end."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from moto.s3.models import s3_backends
from tests.fakes.functions import event, load
from tests.fakes.records import a_pointer, a_run, a_version
from tests.mocked_aws import create_table, mocked_aws
from tests.unit.batch.batch_world import HEADER, KEYED, predicted

from dropforge import bootstrap
from dropforge.domain.errors import NoLiveModel
from dropforge.domain.ports import ObjectRef
from dropforge.domain.records import Approval, LockName
from dropforge.domain.triggers import parse_trigger
from dropforge_local.template import load_template

ROOT = Path(__file__).parents[3]
LEDGER = load_template(ROOT / "template.yaml")["Resources"]["Ledger"]["Properties"]
FILE = f"{HEADER}\np1,1,0.5,A,,\nbad,-1,0.5,A,,\np2,2,1,B,true,\n".encode()


DROP = parse_trigger(event("s3_object_created_batch")).drop
assert DROP is not None
FOLDER = f"s3://{DROP.bucket}/batch/work/{DROP.run_id}/"


class Stack:
    """S3 and DynamoDB around the handlers."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self.s3 = client("s3")
        self.s3.create_bucket(Bucket=DROP.bucket)
        self.s3.put_bucket_versioning(Bucket=DROP.bucket, VersioningConfiguration={"Status": "Enabled"})
        dynamodb = client("dynamodb")
        create_table(dynamodb, "ledger", LEDGER)
        self.clients = {"s3": self.s3, "dynamodb": dynamodb}

    def put(self, uri: str, body: bytes) -> None:
        ref = ObjectRef.from_uri(uri)
        self.s3.put_object(Bucket=ref.bucket, Key=ref.key, Body=body)

    def read(self, uri: str) -> bytes:
        ref = ObjectRef.from_uri(uri)
        body: bytes = self.s3.get_object(Bucket=ref.bucket, Key=ref.key)["Body"].read()
        return body

    def drop(self, content: bytes = FILE) -> None:
        """The file of the example event, in the very version that the event names."""
        self.put(f"s3://{DROP.bucket}/{DROP.key}", content)
        stored = s3_backends["123456789012"]["aws"].buckets[DROP.bucket].keys[DROP.key]
        stored._version_id, stored._etag = DROP.version_id, DROP.etag

    def go_live(self) -> None:
        """Promote a version of the batch's contract, through the real ledger."""
        ledger, now = bootstrap.ledger("ledger"), bootstrap.now()
        uri = f"s3://{DROP.bucket}/runs/run-1/contract/schema.json"
        self.put(uri, KEYED.to_json().encode())
        model = a_version(1, contract_uri=uri, contract_hash=KEYED.hash)
        lease = ledger.acquire(LockName.TRAINING, holder="x", subject="run-1", now=now, lease_s=60)
        assert lease is not None
        ledger.open_run(a_run("run-1", token=lease.token))
        ledger.register_model(model, token=lease.token, now=now)
        ledger.decide(1, Approval.APPROVED, by=None, reason=None, now=now)
        lease = ledger.acquire(LockName.DEPLOYMENT, holder="x", subject="run-1", now=now, lease_s=60)
        assert lease is not None
        ledger.promote(a_pointer(model, token=lease.token), by="x", now=now, settles_run=None)

    def run(self, function: str, payload: Any = None) -> Any:
        """Invoke the handler twice, as a retry does; its second answer, which has to be JSON."""
        context = SimpleNamespace(
            function_name=function,
            memory_limit_in_mb=256,
            invoked_function_arn=f"arn:aws:lambda:us-east-1:123456789012:function:{function}",
            aws_request_id="52fdfc07-2182-454f-963f-5f0f9a621d72",
        )
        handler = load(function).handler
        payload = event(function) if payload is None else payload
        handler(json.loads(json.dumps(payload)), context)
        return json.loads(json.dumps(handler(json.loads(json.dumps(payload)), context), allow_nan=False))


@pytest.fixture
def stack(monkeypatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for name in ("POWERTOOLS_SERVICE_NAME", "TRAINING_MACHINE_ARN", "DEPLOYMENT_MACHINE_ARN"):
        monkeypatch.setenv(name, name.lower())
    monkeypatch.setenv("LEDGER_TABLE", "ledger")
    monkeypatch.setenv("DATA_BUCKET", DROP.bucket)
    with mocked_aws() as client:
        made = Stack(client)
        monkeypatch.setattr(bootstrap, "_client", made.clients.__getitem__)
        yield made


def test_plans_and_collects_the_example_batch(stack):
    stack.go_live()
    stack.drop()
    plan = stack.run("plan_batch")
    assert plan["plan_uri"] == event("collect_batch")["plan_uri"] == f"{FOLDER}plan.json"
    assert (plan["outcome"], plan["rows_to_score"], plan["rows_rejected"]) == ("planned", 2, 1)
    assert plan["model_name"] == "model-v1-1"

    (request,) = stack.read(plan["requests_uri"]).splitlines()
    answer = {"predictions": [predicted(each) for each in json.loads(request)["instances"]]}
    output = event("collect_batch")["output_uri"]
    assert output.startswith(plan["output_uri"])
    stack.put(f"{output}requests.jsonl.out", json.dumps(answer).encode() + b"\n")
    collected = stack.run("collect_batch")
    assert (collected["outcome"], collected["scored"], collected["rejected"]) == ("scored", 2, 1)
    lines = stack.read(collected["result_uri"]).decode().splitlines()
    assert [line.split(",")[0] for line in lines] == ["id", "p1", "p2"]
    manifest = json.loads(stack.read(collected["manifest_uri"]))
    assert manifest["transform_job_arn"] == event("collect_batch")["transform_job_arn"]
    assert collected["notification"]["kind"] == "batch-scored"
    assert collected["result_uri"] in collected["notification"]["message"]


def test_words_how_the_example_batch_failed(stack):
    ending = {
        "execution_arn": event("plan_batch")["execution_arn"],
        "batch": event("plan_batch")["event"],
        "status": "failed",
        "error": {"Error": "NoLiveModel", "Cause": '{"errorMessage":"None.","errorType":"NoLiveModel"}'},
    }
    answer = stack.run("close_run", ending)
    assert answer["error"] == {"Error": "NoLiveModel", "Cause": "None."}
    file = "s3://dropforge-data-123456789012/batch/in/may/new-patients.csv"
    assert answer["notification"]["message"].startswith(f"{file} could not be scored. NoLiveModel: None.")


def test_another_execution_of_the_example_event_is_a_duplicate(stack):
    stack.go_live()
    stack.drop(gzip.compress(FILE))
    stack.run("plan_batch")
    other = {**event("plan_batch"), "execution_arn": "another"}
    assert stack.run("plan_batch", other)["outcome"] == "duplicate"


def test_refuses_the_example_batch_while_nothing_is_live(stack):
    stack.drop()
    with pytest.raises(NoLiveModel):
        stack.run("plan_batch")
