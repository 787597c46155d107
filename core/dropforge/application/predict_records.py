"""Predictions for records of a stream or a queue: one id, one logged prediction, however often delivered.

A record's data are what ``POST /predict`` takes. Its predictions' ids derive from its place in its source, so
that a record which comes again gets the ids and the answers that it got before.

https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html, …/with-sqs.html
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from dropforge.application.predict import MAXIMUM_INSTANCES, PredictionService
from dropforge.application.predict_http import MAXIMUM_BODY_BYTES, instances_of
from dropforge.application.predict_refusals import Refusal, malformed
from dropforge.domain.errors import DropforgeError, EndpointMissing, ModelError, RetryableError
from dropforge.domain.instance_rules import parse_json
from dropforge.domain.predictions import PredictionRecord, prediction_id

MOST_RECEIVES: Final = 5
"""How often a message comes that the model fails on before it counts as poison."""
_DETAIL_BYTES: Final = 200_000
"""Of an event, with room for what stands around it: EventBridge takes 256 KB.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html"""
_KEPT_BYTES: Final = 150_000
"""Of a poison record's text, which may double as JSON; the rest is in the stream as long as that keeps it."""


class Deliveries(Protocol):
    """Where answers and poison go."""

    def publish(self, details: Sequence[str]) -> list[bool]:
        """Send events of the type ``Prediction`` with these details; whether each was taken.

        Raises:
            RetryableError, ServiceRejected: none was.
        """
        ...

    def set_aside(self, message: str) -> None:
        """Put a message into the dead-letter queue.

        Raises:
            RetryableError, ServiceRejected: it was not taken.
        """
        ...


@dataclass(frozen=True)
class StreamRecord:
    """A record as Lambda delivers it.

    Attributes:
        identifier: by which Lambda is told that it failed.
        place: where it stands in its source; ``source`` and ``id``, and of Kinesis ``partition_key``.
        at_ms: when it was sent, in milliseconds since 1970-01-01 UTC.
        data: its text; None where it isn't any.
        receives: how often it was received; 1 where the source doesn't count.
    """

    identifier: str
    place: Mapping[str, str]
    at_ms: int
    data: bytes
    receives: int = 1

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> StreamRecord:
        """Read one of a function's event's ``Records``, of Kinesis or SQS."""
        source = raw["eventSourceARN"]
        if raw.get("eventSource") == "aws:kinesis":
            told = raw["kinesis"]
            number = told["sequenceNumber"]
            place = {"source": source, "id": raw["eventID"], "partition_key": told["partitionKey"]}
            sent_ms = int(float(told["approximateArrivalTimestamp"]) * 1000)
            return cls(number, place, sent_ms, base64.b64decode(told["data"]))
        told = raw["attributes"]
        return cls(
            raw["messageId"],
            {"source": source, "id": raw["messageId"]},
            int(told["SentTimestamp"]),
            raw["body"].encode("utf-8", "surrogatepass"),
            int(told.get("ApproximateReceiveCount", 1)),
        )

    def instances(self) -> dict[str, Any]:
        """What is to be predicted, by prediction id.

        Raises:
            Refusal: the data are nothing that ``POST /predict`` takes.
        """
        if len(self.data) > MAXIMUM_BODY_BYTES:
            raise Refusal(413, "RequestTooLarge", f"The record has more than {MAXIMUM_BODY_BYTES} bytes.")
        try:
            document = parse_json(self.data)
        except ValueError as error:
            raise malformed(str(error)) from error
        found = instances_of(document)
        if not 1 <= len(found) <= MAXIMUM_INSTANCES:
            raise Refusal(422, "TooMany", f"A record has 1 to {MAXIMUM_INSTANCES} instances.")
        name = f"{self.place['source']}/{self.place['id']}"
        return {prediction_id(self.at_ms, name, index): each for index, each in enumerate(found)}


@dataclass
class AnsweredRecords:
    """What became of a batch of records."""

    answered: int = 0
    poison: int = 0
    failed: list[str] = field(default_factory=list)
    errors: set[str] = field(default_factory=set)

    @property
    def response(self) -> dict[str, Any]:
        """What Lambda is told: these come again."""
        return {"batchItemFailures": [{"itemIdentifier": each} for each in self.failed]}

    def fail(self, records: Sequence[StreamRecord], error: BaseException) -> None:
        self.failed += [each.identifier for each in records]
        self.errors.add(type(error).__name__)


@dataclass(frozen=True)
class _Asked:
    record: StreamRecord
    instances: Mapping[str, Any]


def answer_records(
    event: Mapping[str, Any], service: PredictionService, deliveries: Deliveries, *, model_name: str
) -> AnsweredRecords:
    """Predict a batch of records, log and publish the predictions, and set poison aside.

    A record that can never be answered (no JSON, instances that break the contract, one that the model fails
    on where it answers others) goes to the dead-letter queue with its reason, and holds nothing up. What may
    pass (no endpoint, throttling, no live model) fails, so that Lambda delivers it again.

    Effect: a prediction is logged before it is published. Safe to run twice, also at the same time: ids and
    answers stay, and the same events are published again.
    """
    done = AnsweredRecords()
    asked: list[_Asked] = []
    for raw in event["Records"]:
        record = StreamRecord.of(raw)
        try:
            asked.append(_Asked(record, record.instances()))
        except Refusal as refusal:
            _set_aside(record, refusal, deliveries, done)
    for together in _chunks(asked):
        _answer(together, service, deliveries, model_name, done)
    return done


def _chunks(asked: Sequence[_Asked]) -> Iterator[list[_Asked]]:
    """Records whose instances are asked for in one request."""
    chunk: list[_Asked] = []
    for each in asked:
        count = sum(len(other.instances) for other in chunk) + len(each.instances)
        size = sum(len(other.record.data) for other in chunk) + len(each.record.data)
        if chunk and (count > MAXIMUM_INSTANCES or size > MAXIMUM_BODY_BYTES):
            yield chunk
            chunk = []
        chunk.append(each)
    if chunk:
        yield chunk


def _answer(
    asked: list[_Asked],
    service: PredictionService,
    deliveries: Deliveries,
    model_name: str,
    done: AnsweredRecords,
) -> None:
    while asked:
        records = [each.record for each in asked]
        wanted = {name: instance for each in asked for name, instance in each.instances.items()}
        try:
            found = service.predict_once(wanted)
        except Refusal as refusal:
            if refusal.kind == "NoLiveModel":
                done.fail(records, refusal)
                return
            bad = {
                refusal.names[problem["instance"]]: problem
                for problem in refusal.problems
                if isinstance(problem.get("instance"), int) and problem["instance"] < len(refusal.names)
            }
            poison = [each for each in asked if bad.keys() & each.instances.keys()]
            if not poison and len(asked) > 1:
                for each in asked:  # which of them is to blame is not said
                    _answer([each], service, deliveries, model_name, done)
                return
            for each in poison or asked:
                mine = [bad[name] for name in each.instances if name in bad]
                _set_aside(each.record, refusal, deliveries, done, mine)
            asked = [each for each in asked if each not in (poison or asked)]
        except ModelError as error:
            _answer_apart(asked, error, service, deliveries, model_name, done)
            return
        except (RetryableError, EndpointMissing) as error:
            done.fail(records, error)
            return
        else:
            _publish(asked, found, deliveries, model_name, done)
            return


def _answer_apart(
    asked: list[_Asked],
    error: ModelError,
    service: PredictionService,
    deliveries: Deliveries,
    model_name: str,
    done: AnsweredRecords,
) -> None:
    """The model failed on the records together: where it answers others alone, the ones left are poison.

    Where it fails on each, the model is broken and the records are not; a message that came often enough is
    set aside all the same.
    """
    broken: list[_Asked] = []
    for each in asked if len(asked) > 1 else []:
        try:
            found = service.predict_once(each.instances)
        except ModelError:
            broken.append(each)
        except (Refusal, RetryableError, EndpointMissing) as other:
            done.fail([each.record], other)
        else:
            _publish([each], found, deliveries, model_name, done)
    if len(asked) == 1:
        broken = asked
    for each in broken:
        if len(broken) < len(asked) or each.record.receives >= MOST_RECEIVES:
            _set_aside(each.record, error, deliveries, done)
        else:
            done.fail([each.record], error)


def _publish(
    asked: Sequence[_Asked],
    found: Mapping[str, PredictionRecord],
    deliveries: Deliveries,
    model_name: str,
    done: AnsweredRecords,
) -> None:
    details = [
        (each, detail)
        for each in asked
        for detail in _details(each.record, [found[name] for name in each.instances], model_name)
    ]
    try:
        taken = deliveries.publish([detail for _, detail in details])
    except DropforgeError as error:
        done.fail([each.record for each in asked], error)
        return
    lost = {id(each) for (each, _), is_taken in zip(details, taken, strict=True) if not is_taken}
    done.answered += sum(id(each) not in lost for each in asked)
    if lost:
        done.failed += [each.record.identifier for each in asked if id(each) in lost]
        done.errors.add("EventNotTaken")


def _details(record: StreamRecord, predictions: Sequence[PredictionRecord], model_name: str) -> Iterator[str]:
    """A record's answer as events: one, unless it has more predictions than an event holds."""
    parts: list[list[str]] = [[]]
    size = 0
    for each in predictions:
        text = json.dumps({"id": each.prediction_id, "model_version": each.model_version, **each.output})
        if parts[-1] and size + len(text) > _DETAIL_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(text)
        size += len(text)
    for part in parts:
        about = json.dumps({"model": model_name, "record": record.place, "sent_at_ms": record.at_ms})
        yield f'{about[:-1]}, "predictions": [{", ".join(part)}]}}'


def _set_aside(
    record: StreamRecord,
    error: DropforgeError,
    deliveries: Deliveries,
    done: AnsweredRecords,
    problems: Sequence[Mapping[str, Any]] = (),
) -> None:
    kind = error.kind if isinstance(error, Refusal) else type(error).__name__
    try:
        text = record.data.decode()
        kept = {"data": text}
    except UnicodeDecodeError:
        kept = {"data_base64": base64.b64encode(record.data).decode()}
    if len(json.dumps(kept)) > _KEPT_BYTES:
        kept = {"data_bytes": str(len(record.data))}
    told = {"record": record.place, "error": {"type": kind, "message": str(error), "problems": problems}}
    try:
        deliveries.set_aside(json.dumps({**told, **kept}))
    except DropforgeError as lost:
        done.fail([record], lost)
    else:
        done.poison += 1
        done.errors.add(kind)
