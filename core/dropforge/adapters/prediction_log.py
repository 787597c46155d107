"""The prediction log on one DynamoDB table: partitions by hour and shard, items by id, no index.

An item holds the JSON of inputs, output and outcome as text: it is written and read as a whole, and text is a
third of the size and of the parsing time of DynamoDB's typed maps.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dropforge.domain.errors import ServiceUnavailable
from dropforge.domain.moments import iso
from dropforge.domain.predictions import (
    SHARDS,
    Label,
    OutcomeStatus,
    PredictionRecord,
    Window,
    id_time_ms,
    is_prediction_id,
    lower_bound,
    partition_of,
    partitions,
    sampling_rank,
    window_of,
)
from dropforge.ledger_table.calls import ConditionFailed, DynamoDbCalls

# https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
BATCH_ITEMS = 25
_ATTEMPTS = 8
_FIRST_PAUSE_S = 0.025
_LONGEST_PAUSE_S = 1.0
_WRITERS = 4
_READERS = 16
_PARTITIONS_A_DAY = 24 * SHARDS

Item = Mapping[str, Mapping[str, Any]]


class DynamoDbPredictionLog:
    """See ``dropforge.domain.predictions.PredictionLog`` for what each method promises.

    Args:
        retention_days: after how many days a record may be deleted by the table's TTL.
    """

    def __init__(
        self,
        dynamodb: DynamoDbCalls,
        table: str,
        *,
        retention_days: int,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._dynamodb, self._table = dynamodb, table
        self._retention_s = retention_days * 86400
        self._pause = pause

    def write(self, records: Sequence[PredictionRecord]) -> None:
        items = [self._item(record) for record in records]
        batches = [items[start : start + BATCH_ITEMS] for start in range(0, len(items), BATCH_ITEMS)]
        for _ in _in_parallel(self._write_batch, batches, _WRITERS):
            pass

    def write_once(self, records: Sequence[PredictionRecord]) -> list[PredictionRecord]:
        return list(_in_parallel(self._write_once, records, _READERS))

    def find(self, prediction_ids: Sequence[str]) -> dict[str, PredictionRecord]:
        found = _in_parallel(self.get, prediction_ids, _READERS)
        return {record.prediction_id: record for record in found if record is not None}

    def get(self, prediction_id: str) -> PredictionRecord | None:
        if not is_prediction_id(prediction_id):
            return None
        answer = self._dynamodb.call(
            "GetItem",
            {"TableName": self._table, "Key": _key(prediction_id), "ConsistentRead": True},
        )
        item = answer.get("Item")
        return None if item is None else _record(item)

    def record_outcomes(self, outcomes: Mapping[str, Label], *, now: datetime) -> dict[str, OutcomeStatus]:
        at = iso(now)

        def record(each: tuple[str, Label]) -> tuple[str, OutcomeStatus]:
            return each[0], self._record_outcome(each[0], each[1], at)

        return dict(_in_parallel(record, list(outcomes.items()), _READERS))

    def window(
        self,
        start: datetime,
        end: datetime,
        *,
        model_version: int | None = None,
        at_most: int | None = None,
    ) -> Window:
        if end <= start:
            return Window(start, end)
        sample = _Sample(at_most)

        def read(partition: str) -> None:
            for records in self._pages(partition, start, end, model_version):
                sample.add(records)

        wanted = partitions(start, end)
        if at_most is None:
            _in_parallel(read, wanted, _READERS)
            return window_of(start, end, sample.records)
        # A shard holds every eighth prediction of any time, so a few shards are a sample already.
        for shard in range(SHARDS):
            _in_parallel(read, wanted[shard::SHARDS], _READERS)
            if sample.is_thinned:
                break
        return window_of(start, end, sample.records, is_sample=sample.is_thinned)

    def labelled(
        self, start: datetime, end: datetime, *, since: datetime, until: datetime
    ) -> Iterator[PredictionRecord]:
        reported = (iso(since), iso(until))

        def read(partition: str) -> list[PredictionRecord]:
            pages = self._pages(partition, start, end, None, reported)
            return [record for records in pages for record in records]

        if end <= start:
            return
        wanted = partitions(start, end)
        for first in range(0, len(wanted), _PARTITIONS_A_DAY):
            found = _in_parallel(read, wanted[first : first + _PARTITIONS_A_DAY], _READERS)
            records = [record for records in found for record in records]
            yield from sorted(records, key=lambda record: record.prediction_id)

    # --- items ----------------------------------------------------------------------------------------

    def _item(self, record: PredictionRecord) -> Item:
        expires_at = id_time_ms(record.prediction_id) // 1000 + self._retention_s
        return {
            **_key(record.prediction_id),
            "model_version": {"N": str(record.model_version)},
            "inputs": {"S": _text(record.inputs)},
            "output": {"S": _text(record.output)},
            "latency_ms": {"N": repr(round(record.latency_ms, 3))},
            "expires_at": {"N": str(expires_at)},
        }

    def _write_batch(self, items: Sequence[Item]) -> None:
        waiting: list[Any] = [{"PutRequest": {"Item": item}} for item in items]
        for attempt in range(_ATTEMPTS):
            if attempt:
                longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt)
                self._pause(random.uniform(0, longest))  # noqa: S311 - no secret
            answer = self._dynamodb.call("BatchWriteItem", {"RequestItems": {self._table: waiting}})
            waiting = answer.get("UnprocessedItems", {}).get(self._table, [])
            if not waiting:
                return
        raise ServiceUnavailable(
            f"DynamoDB left {len(waiting)} of {len(items)} predictions unprocessed after {_ATTEMPTS} tries."
        )

    def _write_once(self, record: PredictionRecord) -> PredictionRecord:
        condition = "attribute_not_exists(pk)"
        request = {"TableName": self._table, "Item": self._item(record), "ConditionExpression": condition}
        try:
            self._dynamodb.call("PutItem", request)
        except ConditionFailed:
            # Another delivery was faster; or this very call, whose first answer was lost on its way.
            return self.get(record.prediction_id) or record
        return record

    def _record_outcome(self, prediction_id: str, outcome: Label, at: str) -> OutcomeStatus:
        if not is_prediction_id(prediction_id):
            return OutcomeStatus.UNKNOWN_PREDICTION
        try:
            self._dynamodb.call(
                "UpdateItem",
                {
                    "TableName": self._table,
                    "Key": _key(prediction_id),
                    "UpdateExpression": "SET outcome = :outcome, outcome_at = :at",
                    "ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(outcome)",
                    "ExpressionAttributeValues": {":outcome": {"S": _text(outcome)}, ":at": {"S": at}},
                },
            )
        except ConditionFailed:
            known = self.get(prediction_id)
            if known is None:
                return OutcomeStatus.UNKNOWN_PREDICTION
            if known.outcome != outcome:
                return OutcomeStatus.CONFLICTING
            # The same instant is this very call, whose first answer was lost on its way.
            return OutcomeStatus.RECORDED if known.outcome_at == at else OutcomeStatus.ALREADY_RECORDED
        return OutcomeStatus.RECORDED

    def _pages(
        self,
        partition: str,
        start: datetime,
        end: datetime,
        model_version: int | None,
        reported: tuple[str, str] | None = None,
    ) -> Iterator[list[PredictionRecord]]:
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
            "ExpressionAttributeValues": {
                ":pk": {"S": partition},
                ":first": {"S": lower_bound(start)},
                # No id is as short as a bound, so the end itself is not among what is found.
                ":last": {"S": lower_bound(end)},
            },
        }
        if model_version is not None:
            request["FilterExpression"] = "model_version = :version"
            request["ExpressionAttributeValues"][":version"] = {"N": str(model_version)}
        if reported is not None:
            # Times of one form and zone sort as text does.
            request["FilterExpression"] = "outcome_at >= :since AND outcome_at < :until"
            request["ExpressionAttributeValues"] |= {
                ":since": {"S": reported[0]},
                ":until": {"S": reported[1]},
            }
        while True:
            answer = self._dynamodb.call("Query", request)
            yield [_record(item) for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


class _Sample:
    """Records of several threads, thinned to at most ``at_most``: those of the lowest ranks stay."""

    def __init__(self, at_most: int | None) -> None:
        self._at_most = at_most
        self._below = 2**32
        self._adding = threading.Lock()
        self.records: list[PredictionRecord] = []

    def add(self, records: Iterable[PredictionRecord]) -> None:
        with self._adding:
            self.records += self._low(records)
            while self._at_most is not None and len(self.records) > self._at_most:
                self._below //= 2
                self.records = self._low(self.records)

    def _low(self, records: Iterable[PredictionRecord]) -> list[PredictionRecord]:
        return [record for record in records if sampling_rank(record.prediction_id) < self._below]

    @property
    def is_thinned(self) -> bool:
        return self._below < 2**32


def _in_parallel[Given, Made](
    work: Callable[[Given], Made], given: Sequence[Given], workers: int
) -> Iterable[Made]:
    """Do all of it and return the results in order; the first failure is raised after the rest has ended."""
    if len(given) <= 1:
        return [work(each) for each in given]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - one record needs no thread

    with ThreadPoolExecutor(min(workers, len(given))) as pool:
        return list(pool.map(work, given))


def _key(prediction_id: str) -> dict[str, dict[str, str]]:
    return {"pk": {"S": partition_of(prediction_id)}, "sk": {"S": prediction_id}}


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _record(item: Item) -> PredictionRecord:
    identifier = item["sk"]["S"]
    outcome = item.get("outcome")
    return PredictionRecord(
        prediction_id=identifier,
        at=iso(datetime.fromtimestamp(id_time_ms(identifier) / 1000, UTC)),
        model_version=int(item["model_version"]["N"]),
        # Thousands of records name the same columns: each name is held once.
        inputs={sys.intern(name): value for name, value in json.loads(item["inputs"]["S"]).items()},
        output=json.loads(item["output"]["S"]),
        latency_ms=float(item["latency_ms"]["N"]),
        outcome=None if outcome is None else json.loads(outcome["S"]),
        outcome_at=item["outcome_at"]["S"] if "outcome_at" in item else None,
    )
