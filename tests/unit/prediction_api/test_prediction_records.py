"""Records of streams and queues: answered once by id, set aside, or named so that they come again."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.fakes.predictions import (
    BINARY,
    PATIENT,
    FakeLiveModels,
    FakePredictionLog,
    FakeScorer,
    prediction_service,
)

from dropforge.application import predict_records
from dropforge.application.predict_records import MOST_RECEIVES, AnsweredRecords, answer_records
from dropforge.domain.errors import EndpointMissing, ModelError, ServiceUnavailable

STREAM = "arn:aws:kinesis:us-east-1:123456789012:stream/s"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:q"
GOOD = json.dumps({"instance": PATIENT})


class Killed(BaseException):
    """The sandbox is gone in the middle of something."""


@dataclass
class Bus:
    published: list[dict[str, Any]] = field(default_factory=list)
    dead: list[dict[str, Any]] = field(default_factory=list)
    breaks: BaseException | None = None
    refuses: frozenset[int] = frozenset()

    def publish(self, details: Sequence[str]) -> list[bool]:
        if self.breaks is not None:
            raise self.breaks
        taken = [at not in self.refuses for at in range(len(details))]
        self.published += [json.loads(each) for each, is_in in zip(details, taken, strict=True) if is_in]
        return taken

    def set_aside(self, message: str) -> None:
        if self.breaks is not None:
            raise self.breaks
        assert len(message.encode()) < 256 * 1024
        self.dead.append(json.loads(message))


@dataclass
class Desk:
    models: FakeLiveModels = field(default_factory=lambda: FakeLiveModels(BINARY))
    scorer: FakeScorer = field(default_factory=lambda: FakeScorer(BINARY))
    log: FakePredictionLog = field(default_factory=FakePredictionLog)
    bus: Bus = field(default_factory=Bus)

    def take(self, *records: dict[str, Any]) -> AnsweredRecords:
        service = prediction_service(self.models, self.scorer, self.log)
        return answer_records({"Records": list(records)}, service, self.bus, model_name="model")

    def ids(self) -> list[str]:
        return [each["id"] for event in self.bus.published for each in event["predictions"]]


def of_stream(number: int, data: str | bytes = GOOD) -> dict[str, Any]:
    raw = data.encode() if isinstance(data, str) else data
    return {
        "kinesis": {
            "sequenceNumber": str(number),
            "partitionKey": f"k{number}",
            "data": base64.b64encode(raw).decode(),
            "approximateArrivalTimestamp": 1_795_251_600.25,
        },
        "eventSource": "aws:kinesis",
        "eventID": f"shardId-000000000000:{number}",
        "eventSourceARN": STREAM,
    }


def of_queue(name: str, body: str = GOOD, receives: int = 1) -> dict[str, Any]:
    attributes = {"SentTimestamp": "1795251600000", "ApproximateReceiveCount": str(receives)}
    return {
        "messageId": name,
        "body": body,
        "attributes": attributes,
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE,
    }


def failed(done: AnsweredRecords) -> list[str]:
    return [each["itemIdentifier"] for each in done.response["batchItemFailures"]]


def test_records_of_both_kinds_are_answered_with_their_place() -> None:
    desk = Desk()
    done = desk.take(of_stream(1), of_queue("m"))
    assert (done.answered, done.poison, failed(done)) == (2, 0, [])
    stream, queue = desk.bus.published
    assert stream["record"] == {
        "source": STREAM,
        "id": "shardId-000000000000:1",
        "partition_key": "k1",
    }
    assert queue["record"] == {"source": QUEUE, "id": "m"}
    assert stream["model"] == "model"
    assert {desk.log.get(each) is not None for each in desk.ids()} == {True}
    assert len(set(desk.ids())) == 2


@pytest.mark.parametrize("breaks", [Killed(), ServiceUnavailable("the bus")])
def test_what_is_cut_off_after_the_log_gets_the_same_answer_from_any_later_model(breaks) -> None:
    desk = Desk()
    desk.bus.breaks = breaks
    if isinstance(breaks, Killed):
        with pytest.raises(Killed):
            desk.take(of_stream(1))
    else:
        assert failed(desk.take(of_stream(1))) == ["1"]
    desk.bus.breaks = None
    desk.models.promote(BINARY, 2)
    desk.models.current(fresh=True)
    desk.take(of_stream(1))
    desk.take(of_stream(1))
    first, second = desk.bus.published
    assert first == second
    assert first["predictions"][0]["model_version"] == 1
    assert len(desk.scorer.requests) == 1


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"{no json", "MalformedJson"),
        (b"\xff\xfe", "MalformedJson"),
        (b'{"rows": []}', "InvalidShape"),
        (b'{"instances": []}', "TooMany"),
        (json.dumps({"instance": {**PATIENT, "age": "old"}}).encode(), "InvalidInstances"),
        (b" " * 4_000_001, "RequestTooLarge"),
    ],
)
def test_poison_is_set_aside_with_its_reason_and_holds_nothing_up(data: bytes, kind: str) -> None:
    desk = Desk()
    done = desk.take(of_stream(1), of_stream(2, data), of_stream(3))
    assert (done.answered, done.poison, failed(done)) == (2, 1, [])
    [dead] = desk.bus.dead
    assert dead["error"]["type"] == kind
    assert dead["record"]["id"].endswith(":2")
    if kind == "InvalidInstances":
        assert dead["error"]["problems"][0]["column"] == "age"
    if len(data) < 1000 and data != b"\xff\xfe":
        assert dead["data"] == data.decode()


def test_poison_that_the_queue_does_not_take_comes_again() -> None:
    desk = Desk()
    desk.bus.breaks = ServiceUnavailable("no queue")
    assert failed(desk.take(of_stream(1, "{"))) == ["1"]


@pytest.mark.parametrize("error", [ServiceUnavailable("busy"), EndpointMissing("asleep")])
def test_what_may_pass_comes_again_whole(error: Exception) -> None:
    desk = Desk()
    desk.scorer.error = error
    assert failed(desk.take(of_stream(1), of_stream(2))) == ["1", "2"]
    assert desk.bus.dead == []


def test_without_a_live_model_records_wait() -> None:
    desk = Desk(models=FakeLiveModels(None))
    assert failed(desk.take(of_queue("m"))) == ["m"]
    assert desk.bus.dead == []


def test_a_record_that_the_model_fails_on_among_others_is_poison() -> None:
    desk = Desk()
    bad = json.dumps({"instance": {**PATIENT, "age": 99}})
    invoke = desk.scorer.invoke

    def breaking(endpoint_name: str, body: bytes) -> bytes:
        if b'"age":99' in body:
            raise ModelError(500, "boom")
        return invoke(endpoint_name, body)

    desk.scorer.invoke = breaking  # type: ignore[method-assign]
    done = desk.take(of_stream(1), of_stream(2, bad), of_stream(3))
    assert (done.answered, done.poison, failed(done)) == (2, 1, [])


def test_a_model_that_fails_on_all_is_to_blame_itself_until_messages_have_come_too_often() -> None:
    desk = Desk()
    desk.scorer.error = ModelError(500, "boom")
    assert failed(desk.take(of_queue("a"), of_queue("b"))) == ["a", "b"]
    done = desk.take(of_queue("a", receives=MOST_RECEIVES), of_queue("b"))
    assert (done.poison, failed(done)) == (1, ["b"])


def test_an_event_that_the_bus_refuses_fails_its_record_alone() -> None:
    desk = Desk()
    desk.bus.refuses = frozenset({1})
    done = desk.take(of_stream(1), of_stream(2), of_stream(3))
    assert (done.answered, failed(done)) == (2, ["2"])


def test_many_records_are_asked_for_together_within_what_a_request_holds() -> None:
    desk = Desk()
    desk.take(*(of_stream(number) for number in range(300)))
    assert len(desk.scorer.requests) == 1
    desk.take(*(of_stream(1000 + at, json.dumps({"instances": [PATIENT] * 400})) for at in range(2)))
    assert len(desk.scorer.requests) == 3
    assert len(desk.ids()) == 300 + 800


def test_an_answer_that_no_event_holds_is_sent_as_several(monkeypatch) -> None:
    monkeypatch.setattr(predict_records, "_DETAIL_BYTES", 1000)
    desk = Desk()
    desk.take(of_stream(1, json.dumps({"instances": [PATIENT] * 100})))
    assert len(desk.bus.published) > 5
    assert len(set(desk.ids())) == 100
    assert {event["record"]["id"] for event in desk.bus.published} == {"shardId-000000000000:1"}


class Unreliable:
    """Kills whoever calls, before or after what was asked for is done, now and then."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def wrap(self, owner: Any, name: str) -> None:
        done = getattr(owner, name)

        def may_kill(*args: Any, **options: Any) -> Any:
            if self.chance.random() < 0.1:
                raise Killed
            answer = done(*args, **options)
            if self.chance.random() < 0.1:
                raise Killed
            return answer

        setattr(owner, name, may_kill)


@pytest.mark.parametrize("seed", range(3))
def test_of_a_thousand_records_each_is_answered_once_or_set_aside_through_kills_and_redelivery(seed) -> None:
    chance, desk = random.Random(seed), Desk()  # noqa: S311 - a simulation's randomness
    poison = {f"m{number}" for number in range(0, 1000, 37)}
    messages = {
        f"m{number}": of_queue(f"m{number}", "{" if f"m{number}" in poison else GOOD)
        for number in range(1000)
    }
    unreliable = Unreliable(chance)
    for owner, name in ((desk.log, "write_once"), (desk.log, "find"), (desk.scorer, "invoke")):
        unreliable.wrap(owner, name)
    for name in ("publish", "set_aside"):
        unreliable.wrap(desk.bus, name)
    version = 1
    while messages:
        batch = chance.sample(sorted(messages), min(10, len(messages)))
        if chance.random() < 0.05:
            version += 1
            desk.models.promote(BINARY, version)
            desk.models.current(fresh=True)
        try:
            done = desk.take(*(messages[name] for name in batch))
        except Killed:
            continue  # the messages become visible again
        if chance.random() < 0.1:
            continue  # and so they do where the answer is lost on its way
        for name in set(batch) - set(failed(done)):
            del messages[name]
    answers: dict[str, list[Any]] = {}
    for event in desk.bus.published:
        answers.setdefault(event["record"]["id"], []).append(event["predictions"])
    assert {each["record"]["id"] for each in desk.bus.dead} == poison
    assert len(answers) == 1000 - len(poison)
    assert all(each == told[0] for told in answers.values() for each in told)
    assert version > 1
    logged = {told[0][0]["id"] for told in answers.values()}
    assert set(desk.log.records) == logged
    assert len(logged) == len(answers)
