"""A live model, a bucket, and a transform job that asks for the staged requests what a container would."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
from tests.fakes.ledger import FakeLedger
from tests.fakes.records import BUCKET, START, a_drop, a_pointer, a_version, s3_event
from tests.in_memory_store import InMemoryObjectStore

from dropforge.adapters.tables.batch_tables import BLOCK_BYTES, StreamedBatchTables
from dropforge.application.collect_batch import CollectedBatch, collect_batch
from dropforge.application.plan_batch import BatchPlan, plan_batch
from dropforge.domain.contract import Column, Contract
from dropforge.domain.instances import columns_of_json
from dropforge.domain.triggers import Drop

EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:dropforge-batch:x"
JOB = "arn:aws:sagemaker:us-east-1:123456789012:transform-job/model-b-x-a0"
FEATURES = (
    Column("age", "integer", nullable=True, minimum=0),
    Column("dose", "number"),
    Column("ward", "category", categories=("A", "B")),
    Column("smokes", "boolean", nullable=True),
    Column("since", "timestamp", nullable=True),
    Column("remark", "text", "ignored", nullable=True),
)
LABEL = Column("ill", "category", "target")
KEYED = Contract(
    "ill", "patient", "binary", ("no", "yes"), (Column("patient", "text", "key"), *FEATURES, LABEL)
)
UNKEYED = Contract("ill", None, "binary", ("no", "yes"), (*FEATURES, LABEL))
REGRESSION = Contract("dose", None, "regression", None, (FEATURES[0], Column("dose", "number", "target")))
HEADER = "patient,age,dose,ward,smokes,since"


def predicted(instance: dict[str, Any]) -> dict[str, Any]:
    """What the model says of an instance: something that depends on all of it."""
    share = zlib.crc32(json.dumps(instance, sort_keys=True).encode()) % 1000 / 1000
    return {"label": "yes" if share >= 0.5 else "no", "probabilities": {"no": 1 - share, "yes": share}}


class World:
    """One bucket and the version that is live, if any."""

    def __init__(self, contract: Contract | None = KEYED, store: InMemoryObjectStore | None = None) -> None:
        self.store = store or InMemoryObjectStore()
        self.ledger = FakeLedger()
        self.contract = contract
        if contract is not None:
            self.promote(contract)

    def promote(self, contract: Contract, version: int = 1) -> None:
        model = a_version(version, run_id=f"run-{version}", task=contract.task, contract_hash=contract.hash)
        self.store.write(model.contract_uri, contract.to_json().encode())
        self.ledger.pointer = a_pointer(model, token=version)
        self.contract = contract

    def plan(
        self,
        content: bytes | str,
        name: str = "new.csv",
        *,
        number: int = 1,
        execution: str = EXECUTION,
        block_bytes: int = BLOCK_BYTES,
    ) -> BatchPlan:
        """Drop the content and plan it."""
        drop = a_drop(number, key=f"batch/in/{name}")
        self.store.write(
            f"s3://{BUCKET}/{drop.key}", content.encode() if isinstance(content, str) else content
        )
        return self.plan_again(drop, execution=execution, block_bytes=block_bytes)

    def plan_again(
        self, drop: Drop, *, execution: str = EXECUTION, block_bytes: int = BLOCK_BYTES
    ) -> BatchPlan:
        return self.plan_event(s3_event(drop), execution=execution, block_bytes=block_bytes)

    def plan_event(
        self, event: dict[str, Any], *, execution: str = EXECUTION, block_bytes: int = BLOCK_BYTES
    ) -> BatchPlan:
        return plan_batch(
            event,
            execution_arn=execution,
            data_bucket=BUCKET,
            ledger=self.ledger,  # type: ignore[arg-type]
            store=self.store,
            tables=StreamedBatchTables(self.store, block_bytes),
            now=START,
        )

    def requests(self, plan: BatchPlan) -> list[list[dict[str, Any]]]:
        assert plan.requests_uri is not None
        return [json.loads(line)["instances"] for line in self.store.read(plan.requests_uri).splitlines()]

    def transform(
        self, plan: BatchPlan, predict: Callable[[dict[str, Any]], dict[str, Any]] = predicted
    ) -> str:
        """Answer the requests as the container does, by the serving contract; the output's folder."""
        assert plan.requests_uri is not None
        assert self.contract is not None
        answers = []
        for line in self.store.read(plan.requests_uri).splitlines():
            columns_of_json(self.contract, line)
            answers.append(
                json.dumps({"predictions": [predict(each) for each in json.loads(line)["instances"]]})
            )
        return self.put_output(plan, answers)

    def put_output(self, plan: BatchPlan, answers: Sequence[str]) -> str:
        folder = f"{plan.output_uri}a0/"
        self.store.write(f"{folder}requests.jsonl.out", "".join(f"{each}\n" for each in answers).encode())
        return folder

    def collect(self, plan: BatchPlan, output_uri: str) -> CollectedBatch:
        assert plan.plan_uri is not None
        tables = StreamedBatchTables(self.store)
        return collect_batch(
            plan.plan_uri,
            output_uri,
            transform_job_arn=JOB,
            model_name="model",
            store=self.store,
            tables=tables,
        )

    def score(self, content: bytes | str, name: str = "new.csv", **options: Any) -> CollectedBatch:
        """Drop, plan, transform, collect."""
        plan = self.plan(content, name, **options)
        assert plan.outcome == "planned", plan
        return self.collect(plan, self.transform(plan))

    def result(self, name: str = "new.csv") -> bytes:
        return self.store.read(f"s3://{BUCKET}/batch/out/{name}")

    def manifest(self, name: str = "new.csv") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.result(f"{name}.manifest.json"))
        return found

    def rejected(self, name: str = "new.csv") -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.result(f"{name}.rejected.jsonl").splitlines()]


def unpacked(data: bytes, kind: str) -> bytes:
    if kind == "gzip":
        return gzip.decompress(data)
    with pa.CompressedInputStream(io.BytesIO(data), kind) as stream:
        return bytes(stream.read())
