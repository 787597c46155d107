"""Predict, look up, take outcomes, describe: the use cases on a model, an endpoint and a log in memory."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime

import pytest
from tests.fakes.predictions import (
    BINARY,
    PATIENT,
    REGRESSION,
    FakeLiveModels,
    FakePredictionLog,
    FakeScorer,
    prediction_service,
    refused_by_container,
)

from dropforge.application.predict import (
    MAXIMUM_INSTANCES,
    MAXIMUM_LOGGED_BYTES,
    PredictionService,
    RequestStamp,
)
from dropforge.application.predict_refusals import Refusal
from dropforge.domain.contract import Column, Contract
from dropforge.domain.errors import ModelError, ServiceUnavailable
from dropforge.domain.predictions import pseudonym

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
STAMP = RequestStamp("request-1", 1_795_251_600_000)


def service_for(contract: Contract | None = BINARY) -> PredictionService:
    ticks = itertools.count()
    return prediction_service(
        FakeLiveModels(contract), FakeScorer(contract), FakePredictionLog(), lambda: next(ticks) * 0.25
    )


@pytest.fixture
def service():
    return service_for()


def refusal_of(call, *arguments) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        call(*arguments)
    return refusal.value


# --- predict ---------------------------------------------------------------------------------------------


def test_answers_one_prediction_per_instance_in_order_and_logs_each(service):
    answer = service.predict([PATIENT, {**PATIENT, "age": 41}], STAMP)
    assert answer["model_version"] == 1
    first, second = answer["predictions"]
    assert first == {"id": first["id"], "label": "no", "probabilities": {"no": 0.5, "yes": 0.5}}
    assert service.log.get(first["id"]).inputs == PATIENT
    logged = service.log.get(second["id"])
    assert logged.inputs["age"] == 41
    assert (logged.at, logged.model_version) == ("2026-11-21T09:00:00.000Z", 1)
    assert logged.latency_ms == 250.0
    assert logged.output == {"label": "no", "probabilities": {"no": 0.5, "yes": 0.5}}


def test_the_endpoint_gets_the_features_and_nothing_else(service):
    service.predict([{**PATIENT, "id": "p1", "note": "private"}], STAMP)
    assert service.scorer.requests == [{"instances": [PATIENT]}]


def test_a_request_handled_twice_is_logged_once(service):
    assert service.predict([PATIENT], STAMP) == service.predict([PATIENT], STAMP)
    assert len(service.log.records) == 1


def test_predicts_values_of_a_regression():
    service = service_for(REGRESSION)
    (found,) = service.predict([{"x": 1}], STAMP)["predictions"]
    assert found["value"] == 1.5


def test_names_every_problem_of_every_instance(service):
    broken = {"age": 200, "weight": "heavy", "ward": "c", "seen": "noon", "sick": "yes", "extra": 1}
    refusal = refusal_of(service.predict, [PATIENT, broken, 7], STAMP)
    assert (refusal.status, refusal.kind) == (422, "InvalidInstances")
    found = {(each["instance"], each["column"]): each["problem"] for each in refusal.problems}
    assert found == {
        (1, "sick"): "is the target, which is predicted; leave it out",
        (1, "extra"): "is no column of the contract",
        (1, "age"): "200 is above the maximum 150",
        (1, "weight"): "must be a number, not the string 'heavy'",
        (1, "ward"): "'c' is none of the categories a, b",
        (1, "smoker"): "is missing",
        (1, "seen"): "must be a timestamp in ISO 8601, not the string 'noon'",
        (2, None): "must be an object, not a number",
    }
    assert service.log.records == {}
    assert service.scorer.requests == []


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), 1e308 * 10, 10**400])
def test_refuses_infinities(service, value):
    refusal = refusal_of(service.predict, [{**PATIENT, "weight": value}], STAMP)
    assert refusal.problems == [{"instance": 0, "column": "weight", "problem": "must be a finite number"}]


def test_refuses_an_empty_request(service):
    assert refusal_of(service.predict, [], STAMP).status == 422


def test_refuses_one_instance_too_many_and_takes_one_less(service):
    refusal = refusal_of(service.predict, [PATIENT] * (MAXIMUM_INSTANCES + 1), STAMP)
    assert (refusal.status, refusal.kind) == (422, "TooMany")
    assert len(service.predict([PATIENT] * MAXIMUM_INSTANCES, STAMP)["predictions"]) == 500


def test_refuses_an_instance_that_the_log_could_not_hold(service):
    refusal = refusal_of(service.predict, [PATIENT, {**PATIENT, "id": "x" * MAXIMUM_LOGGED_BYTES}], STAMP)
    assert refusal.status == 422
    assert refusal.problems[0]["instance"] == 1


def test_without_a_live_model_says_so():
    refusal = refusal_of(service_for(None).predict, [PATIENT], STAMP)
    assert (refusal.status, refusal.kind) == (409, "NoLiveModel")


def test_a_contract_that_changed_behind_the_cache_is_read_anew(service):
    service.models.promote(REGRESSION, 2)
    answer = service.predict([{"x": 1.0}], STAMP)
    assert answer["model_version"] == 2
    (record,) = service.log.records.values()
    assert (record.model_version, record.inputs) == (2, {"x": 1.0})


def test_what_the_container_refuses_is_refused_with_its_problems(service):
    service.scorer.error = refused_by_container("age")
    refusal = refusal_of(service.predict, [PATIENT], STAMP)
    assert refusal.status == 422
    assert refusal.problems == [{"instance": 0, "column": "age", "problem": "is missing"}]


def test_a_refusal_of_the_container_that_says_nothing_is_still_a_refusal(service):
    service.scorer.error = ModelError(400, "<html>")
    assert refusal_of(service.predict, [PATIENT], STAMP).problems[0]["problem"] == (
        "the model refused the request"
    )


def test_instances_on_which_the_models_own_code_fails_are_refused_by_a_name_of_their_own(service):
    problems = [{"instance": 0, "column": None, "problem": "Pipeline.predict fails on rows: ValueError: x"}]
    body = {"error": {"type": "UnusableEstimator", "problems": problems}}
    service.scorer.error = ModelError(422, json.dumps(body))
    refusal = refusal_of(service.predict, [PATIENT], STAMP)
    assert (refusal.status, refusal.kind) == (422, "UnscorableInstances")
    assert refusal.problems == problems
    assert service.log.records == {}


@pytest.mark.parametrize(
    "error", [ModelError(500, "boom"), ServiceUnavailable("throttled")], ids=["model", "busy"]
)
def test_a_failing_endpoint_fails_the_request_and_logs_nothing(service, error):
    service.scorer.error = error
    with pytest.raises(type(error)):
        service.predict([PATIENT], STAMP)
    assert service.log.records == {}


@pytest.mark.parametrize("answer", [b"[]", b'{"predictions": []}', b'{"predictions": {}}'])
def test_an_answer_without_one_prediction_per_instance_is_the_models_error(service, answer):
    service.scorer.answer = answer
    with pytest.raises(ModelError):
        service.predict([PATIENT], STAMP)


def test_what_could_not_be_logged_is_not_answered(service):
    service.log.error = ServiceUnavailable("throttled")
    with pytest.raises(ServiceUnavailable):
        service.predict([PATIENT], STAMP)


def test_private_columns_reach_the_model_and_not_the_log():
    columns = tuple(
        Column("ward", "category", categories=("a", "b"), privacy="hash")
        if each.name == "ward"
        else Column("age", "integer", privacy="drop")
        if each.name == "age"
        else each
        for each in BINARY.columns
    )
    service = service_for(Contract("sick", "id", "binary", ("no", "yes"), columns))
    (answered,) = service.predict([PATIENT], STAMP)["predictions"]
    assert service.scorer.requests == [{"instances": [PATIENT]}]
    logged = service.find_prediction(answered["id"], NOW)["inputs"]
    assert "age" not in logged
    assert logged["ward"] == pseudonym("a", b"pepper")


def test_half_a_surrogate_pair_is_no_obstacle():
    contract = Contract(
        "y", None, "regression", None, (Column("w", "category"), Column("y", "number", "target"))
    )
    service = service_for(contract)
    service.predict([{"w": "\ud800"}], STAMP)
    assert service.scorer.requests == [{"instances": [{"w": "\ud800"}]}]


# --- look up ---------------------------------------------------------------------------------------------


def test_finds_a_prediction_with_its_outcome(service):
    identifier = service.predict([PATIENT], STAMP)["predictions"][0]["id"]
    service.record_outcomes([{"id": identifier, "label": "yes"}], NOW)
    assert service.find_prediction(identifier, NOW) == {
        "id": identifier,
        "at": "2026-11-21T09:00:00.000Z",
        "model_version": 1,
        "inputs": PATIENT,
        "prediction": {"label": "no", "probabilities": {"no": 0.5, "yes": 0.5}},
        "latency_ms": 250.0,
        "outcome": "yes",
        "outcome_at": "2026-11-21T12:00:00.000Z",
    }


def test_an_unknown_prediction_is_not_found(service):
    refusal = refusal_of(service.find_prediction, "0" * 32, NOW)
    assert (refusal.status, refusal.kind) == (404, "UnknownPrediction")


# --- outcomes --------------------------------------------------------------------------------------------


@pytest.fixture
def ids(service):
    return [each["id"] for each in service.predict([PATIENT] * 3, STAMP)["predictions"]]


def test_records_many_outcomes(service, ids):
    assert service.record_outcomes([{"id": each, "label": "no"} for each in ids], NOW) == {"recorded": 3}
    assert {record.outcome for record in service.log.records.values()} == {"no"}


def test_a_replayed_outcome_is_refused_and_changes_nothing(service, ids):
    service.record_outcomes([{"id": ids[0], "label": "no"}], NOW)
    later = NOW.replace(hour=13)
    refusal = refusal_of(service.record_outcomes, [{"id": ids[0], "label": "no"}], later)
    assert (refusal.status, refusal.kind) == (409, "OutcomeAlreadyRecorded")
    assert refusal.problems[0]["problem"].startswith("this very outcome was recorded before")
    assert service.log.get(ids[0]).outcome_at == "2026-11-21T12:00:00.000Z"


def test_another_outcome_than_the_recorded_one_is_refused(service, ids):
    service.record_outcomes([{"id": ids[0], "label": "no"}], NOW)
    refusal = refusal_of(service.record_outcomes, [{"id": ids[0], "label": "yes"}], NOW)
    assert refusal.status == 409
    assert service.log.get(ids[0]).outcome == "no"


def test_what_is_refused_does_not_lose_the_rest(service, ids):
    service.record_outcomes([{"id": ids[0], "label": "no"}], NOW)
    later = NOW.replace(hour=13)
    sent = [{"id": ids[0], "label": "no"}, {"id": "f" * 32, "label": "no"}, {"id": ids[1], "label": "yes"}]
    refusal = refusal_of(service.record_outcomes, sent, later)
    assert (refusal.status, refusal.kind) == (404, "UnknownPrediction")
    assert [each["outcome"] for each in refusal.problems] == [0, 1]
    assert refusal.beside == {"recorded": 1}
    assert service.log.get(ids[1]).outcome == "yes"


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        ({"label": "no"}, 'must be {"id"'),
        ({"id": 7, "label": "no"}, 'must be {"id"'),
        ({"id": "x", "value": 1}, 'must be {"id"'),
        ({"id": "x", "label": "no", "more": 1}, 'must be {"id"'),
        ("x", 'must be {"id"'),
        ({"id": "x", "label": "maybe"}, "label must be one of the classes no, yes"),
        ({"id": "x", "label": True}, "label must be one of the classes no, yes"),
        ({"id": "x", "label": ["no"]}, "label must be a string, not a list"),
        ({"id": "x", "label": " NA "}, "label must be one of the classes no, yes"),
    ],
)
def test_refuses_what_is_no_outcome_and_records_none_of_the_request(service, ids, outcome, problem):
    refusal = refusal_of(service.record_outcomes, [{"id": ids[0], "label": "no"}, outcome], NOW)
    assert (refusal.status, refusal.kind) == (422, "InvalidOutcomes")
    assert refusal.problems[0]["outcome"] == 1
    assert refusal.problems[0]["problem"].startswith(problem)
    assert service.log.get(ids[0]).outcome is None


@pytest.mark.parametrize("value", ["one", "NA", True, None, float("inf"), 10**400])
def test_the_outcome_of_a_regression_is_a_finite_number(value):
    service = service_for(REGRESSION)
    identifier = service.predict([{"x": 1}], STAMP)["predictions"][0]["id"]
    assert refusal_of(service.record_outcomes, [{"id": identifier, "value": value}], NOW).status == 422
    assert service.record_outcomes([{"id": identifier, "value": " 3 "}], NOW) == {"recorded": 1}
    assert service.log.get(identifier).outcome == 3.0


def test_one_id_with_two_outcomes_in_a_request_is_refused(service, ids):
    sent = [{"id": ids[0], "label": "no"}, {"id": ids[0], "label": "yes"}]
    assert refusal_of(service.record_outcomes, sent, NOW).problems[0]["outcome"] == 1
    same = [{"id": ids[0], "label": "no"}, {"id": ids[0], "label": "no"}]
    assert service.record_outcomes(same, NOW) == {"recorded": 1}


@pytest.mark.parametrize("count", [0, 501])
def test_refuses_no_outcome_and_too_many(service, count):
    sent = [{"id": "f" * 32, "label": "no"}] * count
    assert refusal_of(service.record_outcomes, sent, NOW).status == 422


# --- describe --------------------------------------------------------------------------------------------


def test_describes_the_live_model(service):
    described = service.describe_model()
    assert described["model_version"] == 1
    assert described["classes"] == ["no", "yes"]
    assert described["schema"] == BINARY.to_dict()
    assert described["metrics"]["binary_classification_metrics"]["auc"] == {"value": 0.9}


def test_is_healthy_with_and_without_a_live_model(service):
    assert service.health() == {"status": "ok", "model_version": 1}
    assert service_for(None).health() == {"status": "ok", "model_version": None}
