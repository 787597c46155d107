"""Predictions of an asynchronous endpoint: 202 with ids, the answer later, each logged once."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.functions import load
from tests.fakes.predictions import (
    REGRESSION,
    FakeLiveModels,
    FakePredictionLog,
    FakeQueue,
    FakeScorer,
    prediction_service,
)

from dropforge.application.predict import PredictionService
from dropforge.application.predict_asynchronously import AsynchronousPredictions
from dropforge.application.predict_http import exchange
from dropforge.application.predict_refusals import Refusal
from dropforge.domain.asynchronous import (
    SETTLED_AFTER_S,
    id_in_request,
    is_request_id,
    request_id,
    request_of,
    request_of_output,
)
from dropforge.domain.errors import EndpointMissing, ModelError, ServiceUnavailable
from dropforge.domain.predictions import SHARDS, id_time_ms, is_prediction_id, partition_of
from dropforge.domain.serving import LiveModel

AT_MS = 1_795_251_600_000
NOW = datetime.fromtimestamp(AT_MS / 1000, UTC)
ANSWERED = json.loads((Path(__file__).parents[3] / "events" / "predict_answer.json").read_text())


@dataclass
class Api:
    """The prediction API on an asynchronous endpoint."""

    models: FakeLiveModels = field(default_factory=lambda: FakeLiveModels(REGRESSION))
    log: FakePredictionLog = field(default_factory=FakePredictionLog)
    queue: FakeQueue = field(default_factory=FakeQueue)

    def __post_init__(self) -> None:
        self.promote(1)

    def promote(self, version: int, at: str = "2026-11-20T00:00:00.000Z", *, waits: bool = True) -> None:
        self.models.promote(REGRESSION, version)
        model = self.models.newest
        assert model is not None
        live = replace(model.live, is_asynchronous=waits, promoted_at=at)
        self.models.newest = self.models.cached = LiveModel(live, model.contract, model.salt)

    @property
    def service(self) -> PredictionService:
        return prediction_service(self.models, FakeScorer(REGRESSION), self.log, queue=self.queue)

    def call(
        self, method: str, resource: str, body: Any = None, now: datetime = NOW, **path: str
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        event = {
            "httpMethod": method,
            "resource": resource,
            "pathParameters": path or None,
            "headers": {"Content-Type": "application/json"},
            "requestContext": {
                "requestId": "52fdfc07",
                "requestTimeEpoch": AT_MS,
                "identity": {"apiKeyId": "k"},
            },
            "stageVariables": {"ApiAuth": "api-key"},
            "body": None if body is None else json.dumps(body),
        }
        response = exchange(event, lambda: self.service, now=now).response
        return response["statusCode"], json.loads(response["body"]), response["headers"]

    def ask(self, *values: float) -> dict[str, Any]:
        status, body, headers = self.call(
            "POST", "/predict", {"instances": [{"x": value} for value in values]}
        )
        assert (status, headers["Location"]) == (202, f"predictions/{body['id']}")
        return body

    def look(self, identifier: str, now: datetime = NOW) -> tuple[int, dict[str, Any], dict[str, str]]:
        return self.call("GET", "/predictions/{id}", now=now, id=identifier)


def later_of(api: Api) -> AsynchronousPredictions:
    assert api.service.later is not None
    return api.service.later()


@pytest.fixture
def api() -> Api:
    return Api()


def test_a_request_waits_and_is_answered_by_its_own_id_and_by_each_predictions(api: Api) -> None:
    asked = api.ask(1.0, 2.0)
    assert asked["status"] == "waiting"
    assert asked["model_version"] == 1
    ids = [each["id"] for each in asked["predictions"]]
    for identifier in (asked["id"], *ids):
        status, body, headers = api.look(identifier)
        assert (status, body["id"], body["status"]) == (202, identifier, "waiting")
        assert headers["Retry-After"] == "1"
        assert "Location" not in headers
    assert not api.log.records

    api.queue.now_ms += 7000
    api.queue.answer(asked["id"])
    status, body, _ = api.look(asked["id"])
    assert status == 200
    assert body["predictions"] == [{"id": each, "value": 1.5} for each in ids]
    assert body["model_version"] == 1
    for identifier, value in zip(ids, (1.0, 2.0), strict=True):
        status, body, _ = api.look(identifier)
        assert (status, body["inputs"], body["prediction"]) == (200, {"x": value}, {"value": 1.5})
        assert (body["latency_ms"], body["outcome"]) == (7000.0, None)
    assert set(api.log.records) == set(ids)
    assert api.call("POST", "/outcomes", {"outcomes": [{"id": ids[0], "value": 2}]})[0] == 200


def test_an_answer_is_logged_by_its_event_whoever_asks_and_only_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = api.ask(1.0)
    assert asked["id"] == request_of_output(ANSWERED)
    app = load("predict")
    monkeypatch.setattr(app, "_service", lambda: api.service)
    context = SimpleNamespace(aws_request_id="1", function_name="f", function_version="7")
    api.queue.answer(asked["id"])
    assert app.handler(ANSWERED, context) == {"request": asked["id"]}
    (record,) = api.log.records.values()
    api.log.record_outcomes({record.prediction_id: 3.0}, now=NOW)
    app.handler(ANSWERED, context)
    assert api.look(asked["id"])[0] == 200
    assert [each.outcome for each in api.log.records.values()] == [3.0]
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (first["message"], second["message"]) == ("answer logged", "answer logged")


def test_an_event_that_comes_before_what_was_asked_is_noted_comes_again(api: Api) -> None:
    asked = api.ask(1.0)
    api.queue.answer(asked["id"])
    del api.queue.objects[f"s3://data/asynchronous/asked/{asked['id']}.json"]
    with pytest.raises(ServiceUnavailable):
        later_of(api).settle(asked["id"], None, is_due=True)


def test_other_objects_that_an_endpoint_writes_are_no_answers(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = load("predict")
    monkeypatch.setattr(app, "_service", lambda: api.service)
    context = SimpleNamespace(aws_request_id="1", function_name="f", function_version="7")
    for key in ("asynchronous/out/6f1c.out", "asynchronous/out/smoke/1a1fd557a80822f3c8b97.json"):
        event = {**ANSWERED, "detail": {"object": {"key": key}}}
        assert app.handler(event, context) == {"request": None}


def test_what_the_model_fails_on_is_named(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = api.ask(1.0)
    api.queue.answer(asked["id"], failure=b"Received server error (500)")
    status, body, _ = api.look(asked["id"])
    assert (status, body["error"]["type"]) == (502, "ModelError")
    assert not api.log.records
    for broken in (b"[]", b"no json", b'{"predictions": []}'):
        api.queue.answer(asked["id"], broken)
        assert api.look(asked["id"])[0] == 502
    app = load("predict")
    monkeypatch.setattr(app, "_service", lambda: api.service)
    app.handler(ANSWERED, SimpleNamespace(aws_request_id="1", function_name="f", function_version="7"))
    assert "answered 200" in json.loads(capsys.readouterr().out)["message"]


def test_what_nobody_answered_in_time_has_expired_and_says_so(api: Api) -> None:
    asked = api.ask(1.0)
    late = NOW + timedelta(seconds=SETTLED_AFTER_S)
    assert api.look(asked["id"], late)[0] == 202
    status, body, _ = api.look(asked["id"], late + timedelta(seconds=1))
    assert (status, body["error"]["type"]) == (410, "PredictionExpired")
    api.queue.answer(asked["id"])
    assert api.look(asked["id"], late + timedelta(days=1))[0] == 200


def test_an_unknown_id_is_unknown(api: Api) -> None:
    asked = api.ask(1.0)
    api.queue.answer(asked["id"])
    other = id_in_request(asked["id"], 1)
    for identifier in ("x", "a" * 21, "a" * 32, "A" * 21, other):
        status, body, _ = api.look(identifier)
        assert (status, body["error"]["type"]) == (404, "UnknownPrediction"), identifier
    assert api.look(asked["predictions"][0]["id"])[0] == 200
    api.log.records.clear()  # it was kept as long as the log keeps it
    assert api.look(asked["predictions"][0]["id"])[0] == 404


def test_a_request_that_breaks_the_contract_or_finds_no_endpoint_is_refused_at_once(api: Api) -> None:
    status, body, _ = api.call("POST", "/predict", {"instance": {"x": "many"}})
    assert (status, body["error"]["type"]) == (422, "InvalidInstances")
    assert not api.queue.objects
    api.queue.error = EndpointMissing("not there")
    status, body, _ = api.call("POST", "/predict", {"instance": {"x": 1}})
    assert (status, body["error"]["type"]) == (503, "EndpointMissing")
    assert not any("/asked/" in uri for uri in api.queue.objects)


def test_a_contract_that_changed_within_the_cache_is_looked_up_again(api: Api) -> None:
    stale = api.models.newest
    api.models.promote(REGRESSION, 2)
    assert api.models.newest is not None
    api.models.cached = LiveModel(
        replace(stale.live, is_asynchronous=True),  # type: ignore[union-attr]
        replace(REGRESSION, columns=(replace(REGRESSION.columns[0], name="z"), REGRESSION.columns[1])),
        b"",
    )
    # The newer version is asked at once.
    status, body, _ = api.call("POST", "/predict", {"instance": {"x": 1}})
    assert (status, body["model_version"]) == (200, 2)


def test_who_waits_over_a_promotion_is_answered_by_the_new_version(api: Api) -> None:
    asked = api.ask(1.0)
    api.queue.now_ms += 60_000
    api.promote(2, "2026-11-21T09:00:30.000Z")
    api.queue.answer(asked["id"])
    assert api.look(asked["id"])[1]["model_version"] == 2
    earlier = Api()
    asked = earlier.ask(1.0)
    earlier.queue.answer(asked["id"])
    earlier.promote(2, "2026-11-21T09:00:30.000Z", waits=False)
    assert earlier.look(asked["id"])[1]["model_version"] == 1


def test_what_waits_is_answered_after_the_endpoint_became_another(api: Api) -> None:
    asked = api.ask(1.0)
    api.promote(2, "2026-11-22T09:00:00.000Z", waits=False)
    assert api.call("POST", "/predict", {"instance": {"x": 1}})[0] == 200
    assert api.look(asked["id"])[0] == 202


def test_settling_without_a_live_model_keeps_the_asked_version(api: Api) -> None:
    asked = api.ask(1.0)
    api.queue.answer(asked["id"])
    answer = later_of(api).settle(asked["id"], None)
    assert answer is not None
    assert answer["model_version"] == 1


@given(
    at_ms=st.integers(0, 16**11 - 1),
    request=st.text(min_size=1),
    indices=st.sets(st.integers(0, 499), min_size=2),
)
def test_ids_of_a_request_lead_to_it_and_stay_apart(at_ms: int, request: str, indices: set[int]) -> None:
    whole = request_id(at_ms, request.encode("utf-8", "replace").decode())
    assert is_request_id(whole)
    assert not is_prediction_id(whole)
    ids = [id_in_request(whole, index) for index in indices]
    assert len(set(ids)) == len(indices)
    for each in ids:
        assert is_prediction_id(each)
        assert not is_request_id(each)
        assert request_of(each) == whole
        assert id_time_ms(each) == at_ms


def test_predictions_of_a_request_spread_over_the_shards_and_the_ranks() -> None:
    whole = request_id(AT_MS, "52fdfc07")
    ids = [id_in_request(whole, index) for index in range(500)]
    shards = Counter(partition_of(each) for each in ids)
    assert len(shards) == SHARDS
    assert max(shards.values()) < 100
    assert len({each[-8:] for each in ids}) == 500


def test_a_failure_without_a_place_for_it_waits_until_it_expires(api: Api) -> None:
    asked = api.ask(1.0)
    uri = f"s3://data/asynchronous/asked/{asked['id']}.json"
    document = json.loads(api.queue.objects[uri][0]) | {"failure": ""}
    api.queue.write(uri, json.dumps(document).encode())
    assert api.look(asked["id"])[0] == 202


def test_errors_are_those_that_the_api_documents(api: Api) -> None:
    with pytest.raises(Refusal):
        api.service.find_prediction("x", NOW)
    asked = api.ask(1.0)
    api.queue.answer(asked["id"], failure=b"no")
    with pytest.raises(ModelError):
        api.service.find_prediction(asked["id"], NOW)
