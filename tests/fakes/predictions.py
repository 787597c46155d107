"""A live model, an endpoint and a prediction log in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from dropforge.application.predict import PredictionService
from dropforge.application.predict_asynchronously import AsynchronousPredictions
from dropforge.domain.contract import Column, Contract
from dropforge.domain.errors import ModelError
from dropforge.domain.moments import iso
from dropforge.domain.predictions import (
    Label,
    OutcomeStatus,
    PredictionRecord,
    Window,
    epoch_ms,
    id_time_ms,
    sampling_rank,
    window_of,
)
from dropforge.domain.records import Live
from dropforge.domain.serving import LiveModel

BINARY = Contract(
    "sick",
    "id",
    "binary",
    ("no", "yes"),
    (
        Column("id", "text", "key"),
        Column("age", "integer", minimum=0, maximum=150),
        Column("weight", "number", nullable=True),
        Column("ward", "category", categories=("a", "b")),
        Column("smoker", "boolean"),
        Column("seen", "timestamp"),
        Column("note", "text", "ignored", nullable=True),
        Column("sick", "category", "target"),
    ),
)
REGRESSION = Contract("y", None, "regression", None, (Column("x", "number"), Column("y", "number", "target")))
PATIENT = {"age": 40, "weight": 71.5, "ward": "a", "smoker": False, "seen": "2026-11-21T09:00:00Z"}


def live(contract: Contract, version: int = 1) -> Live:
    return Live(
        version=version,
        model_package_arn=f"arn:aws:sagemaker:us-east-1:123456789012:model-package/model/{version}",
        run_id="run-1",
        endpoint_name="model",
        endpoint_config=f"model-v{version}-1",
        model_name=f"model-v{version}-1",
        model_data_url="s3://data/models/run-1/job/output/model.tar.gz",
        model_sha256="a" * 64,
        contract_uri="s3://data/runs/run-1/contract/schema.json",
        contract_hash=contract.hash,
        profile_uri="s3://data/runs/run-1/profile.json",
        smoke_uri="s3://data/models/run-1/smoke.json",
        task=contract.task,
        metric={"name": "auc", "value": 0.9},
        promoted_at="2026-11-20T00:00:00.000Z",
        token=version,
    )


class FakeLiveModels:
    """`cached` is what a reader of the cache sees, `newest` what the ledger says."""

    def __init__(self, contract: Contract | None, salt: bytes = b"pepper") -> None:
        self.cached = None if contract is None else LiveModel(live(contract), contract, salt)
        self.newest = self.cached

    def promote(self, contract: Contract, version: int) -> None:
        self.newest = LiveModel(live(contract, version), contract, b"pepper")

    def current(self, *, fresh: bool = False) -> LiveModel | None:
        if fresh:
            self.cached = self.newest
        return self.cached

    def evaluation(self, live: Live) -> Mapping[str, Any]:
        return {"binary_classification_metrics": {"auc": {"value": live.metric["value"]}}}


class FakeScorer:
    """Answers every instance alike, or fails with `error`."""

    def __init__(self, contract: Contract | None) -> None:
        self.requests: list[Any] = []
        self.error: Exception | None = None
        self.answer: bytes | None = None
        self._prediction: Mapping[str, Any] = {"value": 1.5}
        if contract is not None and contract.classes is not None:
            share = 1 / len(contract.classes)
            self._prediction = {
                "label": contract.classes[0],
                "probabilities": dict.fromkeys(contract.classes, share),
            }

    def invoke(self, endpoint_name: str, body: bytes) -> bytes:
        assert endpoint_name == "model"
        request = json.loads(body)
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        if self.answer is not None:
            return self.answer
        return json.dumps({"predictions": [self._prediction] * len(request["instances"])}).encode()


def refused_by_container(column: str) -> ModelError:
    problems = [{"instance": 0, "column": column, "problem": "is missing"}]
    return ModelError(400, json.dumps({"error": {"type": "InvalidRequest", "problems": problems}}))


class FakeQueue:
    """An asynchronous endpoint and the bucket that it answers into; ``answer`` has it answer, or fail."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.submitted: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self.now_ms = 1_795_251_600_000

    def find(self, uri: str) -> tuple[bytes, int] | None:
        return self.objects.get(uri)

    def write(self, uri: str, content: bytes) -> None:
        self.objects[uri] = (content, self.now_ms)

    def submit(
        self, endpoint_name: str, input_uri: str, *, identifier: str, filename: str
    ) -> tuple[str, str]:
        assert endpoint_name == "model"
        assert input_uri in self.objects
        if self.error is not None:
            raise self.error
        self.submitted.append((identifier, input_uri))
        return f"s3://data/asynchronous/out/{filename}", f"s3://data/asynchronous/failed/{identifier}"

    def answer(self, identifier: str, body: bytes | None = None, *, failure: bytes | None = None) -> None:
        asked = json.loads(self.objects[dict(self.submitted)[identifier]][0])
        if failure is not None:
            self.write(f"s3://data/asynchronous/failed/{identifier}", failure)
            return
        made = json.dumps({"predictions": [{"value": 1.5}] * len(asked["instances"])}).encode()
        self.write(f"s3://data/asynchronous/out/{identifier}.json", made if body is None else body)


def prediction_service(
    models: FakeLiveModels,
    scorer: FakeScorer,
    log: FakePredictionLog,
    clock: Callable[[], float] = lambda: 0.0,
    queue: FakeQueue | None = None,
) -> PredictionService:
    queue = queue or FakeQueue()
    later = AsynchronousPredictions(queue, queue, log, "data")
    return PredictionService(models, scorer, log, clock, lambda: later)


class FakePredictionLog:
    """See ``dropforge.domain.predictions.PredictionLog``; test_prediction_log.py holds it to the real one."""

    def __init__(self) -> None:
        self.records: dict[str, PredictionRecord] = {}
        self.error: Exception | None = None

    def write(self, records: Sequence[PredictionRecord]) -> None:
        if self.error is not None:
            raise self.error
        self.records |= {record.prediction_id: record for record in records}

    def write_once(self, records: Sequence[PredictionRecord]) -> list[PredictionRecord]:
        self.write([each for each in records if self.get(each.prediction_id) is None])
        return [self.get(each.prediction_id) or each for each in records]

    def find(self, prediction_ids: Sequence[str]) -> dict[str, PredictionRecord]:
        found = [self.get(each) for each in prediction_ids]
        return {each.prediction_id: each for each in found if each is not None}

    def get(self, prediction_id: str) -> PredictionRecord | None:
        return self.records.get(prediction_id)

    def record_outcomes(self, outcomes: Mapping[str, Label], *, now: datetime) -> dict[str, OutcomeStatus]:
        found: dict[str, OutcomeStatus] = {}
        for identifier, outcome in outcomes.items():
            record = self.records.get(identifier)
            if record is None:
                found[identifier] = OutcomeStatus.UNKNOWN_PREDICTION
            elif record.outcome is None:
                self.records[identifier] = replace(record, outcome=outcome, outcome_at=iso(now))
                found[identifier] = OutcomeStatus.RECORDED
            elif record.outcome != outcome:
                found[identifier] = OutcomeStatus.CONFLICTING
            elif record.outcome_at == iso(now):
                found[identifier] = OutcomeStatus.RECORDED
            else:
                found[identifier] = OutcomeStatus.ALREADY_RECORDED
        return found

    def window(
        self,
        start: datetime,
        end: datetime,
        *,
        model_version: int | None = None,
        at_most: int | None = None,
    ) -> Window:
        found = [
            record
            for record in self.records.values()
            if epoch_ms(start) <= id_time_ms(record.prediction_id) < epoch_ms(end)
            and model_version in (None, record.model_version)
        ]
        is_sample = at_most is not None and len(found) > at_most
        if is_sample:
            found = sorted(found, key=lambda each: sampling_rank(each.prediction_id))[:at_most]
        return window_of(start, end, found, is_sample=is_sample)

    def labelled(
        self, start: datetime, end: datetime, *, since: datetime, until: datetime
    ) -> Iterator[PredictionRecord]:
        for record in sorted(self.records.values(), key=lambda each: each.prediction_id):
            is_asked = epoch_ms(start) <= id_time_ms(record.prediction_id) < epoch_ms(end)
            if is_asked and record.outcome_at is not None and iso(since) <= record.outcome_at < iso(until):
                yield record
