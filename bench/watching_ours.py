"""Child of the benchmark of watching: lays windows out on disk, and watches them as the functions do.

python -m bench.watching_ours lay-out {predictions,file} <folder> <rows> <columns>
python -m bench.watching_ours watch {predictions,file} <folder>
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.ma
from tests.fakes.predictions import live
from tests.fakes.records import TRAINING, a_drop
from tests.fakes.services import FakeWorkflows

from bench.folder_store import FolderStore
from bench.measured import report
from bench.studies.baselines import entries_of
from dropforge.adapters.prediction_log import DynamoDbPredictionLog
from dropforge.application.watch_batch import BatchToWatch, watch_batch
from dropforge.application.watch_model import WatchRequest, watch_model
from dropforge.domain.batch import BatchPlaces
from dropforge.domain.contract import Column, Contract
from dropforge.domain.drift.policy import WatchPolicy
from dropforge.domain.predictions import epoch_ms, partition_of, prediction_id
from dropforge.domain.records import Live

START = datetime(2026, 11, 24, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
TRAINED, PAGE_BYTES, PER_REQUEST = 5_000, 1 << 20, 500
DATA, CONTRACT, PROFILE, ITEMS = "s3://data", "s3://data/contract.json", "s3://data/profile.json", "items"


class OnlyLive:
    """The part of the ledger that watching reads."""

    def __init__(self, contract: Contract) -> None:
        self._live = replace(
            live(contract), contract_uri=CONTRACT, profile_uri=PROFILE, metric={"name": "r2", "value": 0.9}
        )

    def live(self) -> Live:
        return self._live


class ItemsOnDisk:
    """DynamoDB's Query over items that lie in a file per shard, a page of a megabyte at a time.

    Every hour has the same predictions: outcomes are looked for a day back, which would be 24 times as much.
    `bytes` is what was read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self.bytes = folder, 0

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        assert operation == "Query"  # noqa: S101 - watching does nothing else
        path = self._folder / request["ExpressionAttributeValues"][":pk"]["S"].rpartition("#")[2]
        with path.open("rb") as file:
            file.seek(int(request.get("ExclusiveStartKey", {"at": 0})["at"]))
            lines = file.readlines(PAGE_BYTES)
            at = file.tell()
        self.bytes += sum(map(len, lines))
        answer: dict[str, Any] = {"Items": [json.loads(line) for line in lines]}
        return answer | ({"LastEvaluatedKey": {"at": at}} if at < path.stat().st_size else {})


def contract_of(columns: int) -> Contract:
    names = [f"a sensor's reading, number {number:04}" for number in range(columns)]
    return Contract(
        "y",
        None,
        "regression",
        None,
        (*(Column(each, "number") for each in names), Column("y", "number", "target")),
    )


def lay_out(kind: str, folder: Path, rows: int, columns: int) -> None:
    """Leave a model's contract and profile, and an hour of its predictions or a file that it has scored."""
    store, contract, rng = FolderStore(folder), contract_of(columns), np.random.default_rng(1)
    names = [each.name for each in contract.features]
    store.write(CONTRACT, contract.to_json().encode())
    entries = entries_of({name: rng.normal(size=TRAINED) for name in names})
    store.write(PROFILE, json.dumps({"format": 1, "rows": TRAINED, "columns": entries}).encode())
    {"predictions": _lay_out_predictions, "file": _lay_out_file}[kind](folder, names, rows, rng)


def _lay_out_predictions(folder: Path, names: list[str], rows: int, rng: np.random.Generator) -> None:
    (folder / ITEMS).mkdir()
    for row in range(rows):
        identifier = prediction_id(epoch_ms(START) + row * 3_600_000 // rows, "bench", row)
        inputs = dict(zip(names, rng.normal(size=len(names)).tolist(), strict=True))
        item = {
            "pk": {"S": partition_of(identifier)}, "sk": {"S": identifier}, "model_version": {"N": "1"},
            "inputs": {"S": json.dumps(inputs, separators=(",", ":"))}, "output": {"S": '{"value":1.5}'},
            "latency_ms": {"N": "5.0"}, "expires_at": {"N": "1"},
        }  # fmt: skip
        with (folder / ITEMS / partition_of(identifier).rpartition("#")[2]).open("a") as file:
            file.write(f"{json.dumps(item)}\n")


def _lay_out_file(folder: Path, names: list[str], rows: int, rng: np.random.Generator) -> None:
    """As planning and the transform job leave it."""
    store = FolderStore(folder)
    places = BatchPlaces(a_drop(1, key="batch/in/file.csv", written_at=None), "data")
    plan = {
        "model": {"version": 1}, "drop": asdict(places.drop), "batch_id": "b", "rows": {"to_score": rows},
        "planned_at": "2026-11-24T10:00:00.000Z",
    }  # fmt: skip
    store.write(places.plan_uri, json.dumps(plan).encode())
    output = f"{DATA}/batch/output/requests.jsonl.out"
    for uri in (places.ids_uri, places.requests_uri, output):
        store.path(uri).parent.mkdir(parents=True, exist_ok=True)
    with (
        store.path(places.ids_uri).open("w") as ids,
        store.path(places.requests_uri).open("w") as requests,
        store.path(output).open("w") as answers,
    ):
        for first in range(0, rows, PER_REQUEST):
            count = min(PER_REQUEST, rows - first)
            drawn = np.round(rng.normal(size=(count, len(names))), 6).tolist()
            ids.write(json.dumps([f"row-{first + each}" for each in range(count)]) + "\n")
            instances = [dict(zip(names, each, strict=True)) for each in drawn]
            requests.write(json.dumps({"instances": instances}) + "\n")
            answers.write(json.dumps({"predictions": [{"value": 1.5}] * count}) + "\n")
    (folder / "plan").write_text(places.plan_uri)


def watch_predictions(folder: Path) -> dict[str, object]:
    """Watch the hour's predictions; returns how large what is left is."""
    store = FolderStore(folder)
    contract = Contract.from_json(store.read(CONTRACT))
    items = ItemsOnDisk(folder / ITEMS)
    log = DynamoDbPredictionLog(items, "predictions", retention_days=30)
    request = WatchRequest(START, START + HOUR, DATA, WatchPolicy(), TRAINING, length=HOUR)
    watched = watch_model(request, OnlyLive(contract), log, store, FakeWorkflows())
    return {
        "rows": watched.report.assessment.rows if watched.report.assessment else 0,
        "report_bytes": len(store.read(watched.report_uri or "")),
        "line_bytes": max(len(json.dumps({"message": each, **fields})) for each, fields in watched.lines),
        "lines": len(watched.lines),
        "metrics": len(watched.metrics),
        "phase_bytes": max(
            path.stat().st_size for path in (folder / "data" / "monitoring" / "phases").rglob("*.json")
        ),
        "item_bytes": max(len(line) for path in (folder / ITEMS).iterdir() for line in path.open("rb")),
        "read_bytes": items.bytes,
    }


def watch_file(folder: Path) -> dict[str, object]:
    store = FolderStore(folder)
    contract = Contract.from_json(store.read(CONTRACT))
    batch = BatchToWatch(
        (folder / "plan").read_text(), f"{DATA}/batch/output/", DATA, WatchPolicy(), TRAINING
    )
    watched = watch_batch(batch, OnlyLive(contract), store, FakeWorkflows())
    found = json.loads(store.read(watched.report_uri))
    return {"rows": found["batch"]["rows"], "looked_at": found["rows"], "verdict": found["verdict"]}


if __name__ == "__main__":
    work, kind, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if work == "lay-out":
        lay_out(kind, folder, *map(int, sys.argv[4:]))
    else:
        started = time.perf_counter(), time.process_time()
        report(started, {"predictions": watch_predictions, "file": watch_file}[kind](folder))
