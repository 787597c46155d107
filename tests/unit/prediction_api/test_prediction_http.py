"""HTTP in, HTTP out: what each request is answered with, and what is logged of it."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fakes.predictions import PATIENT
from tests.unit.prediction_api.test_prediction_use_cases import service_for

from dropforge.application.predict_http import MAXIMUM_BODY_BYTES, exchange
from dropforge.domain.errors import EndpointMissing, InvalidSettings, ModelError, ServiceUnavailable

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
EVENT = json.loads((Path(__file__).parents[3] / "events" / "predict.json").read_text())


@pytest.fixture
def service():
    return service_for()


def event(method="POST", resource="/predict", body=None, headers=None, **more):
    return {
        **EVENT,
        "httpMethod": method,
        "resource": resource,
        "body": body if body is None or isinstance(body, str) else json.dumps(body),
        "headers": {"Content-Type": "application/json"} if headers is None else headers,
        **more,
    }


def ask(service, *arguments, **more):
    done = exchange(event(*arguments, **more), lambda: service, now=NOW)
    response = done.response
    return response["statusCode"], json.loads(response["body"] or "null"), response["headers"], done.log


def refused(service, *arguments, **more):
    status, body, headers, log = ask(service, *arguments, **more)
    assert 400 <= status < 500
    error = body["error"]
    assert error.keys() == {"type", "message", "problems", "request_id"}
    assert error["request_id"] == headers["X-Request-Id"] == log["request_id"]
    assert log["status"] == status
    assert log["error"] == error["type"]
    return status, error["type"]


def test_predicts_one_instance_or_a_list(service):
    status, body, headers, log = ask(service, body={"instance": PATIENT})
    assert status == 200
    assert len(body["predictions"]) == 1
    assert body["model_version"] == log["model_version"] == 1
    assert body["request_id"] == headers["X-Request-Id"] == EVENT["requestContext"]["requestId"]
    assert headers["Content-Type"] == "application/json"
    assert len(ask(service, body={"instances": [PATIENT] * 4})[1]["predictions"]) == 4


def test_the_time_of_a_prediction_is_that_of_its_request(service):
    identifier = ask(service, body={"instance": PATIENT})[1]["predictions"][0]["id"]
    found = ask(service, "GET", "/predictions/{id}", pathParameters={"id": identifier})[1]
    assert found["at"] == "2026-11-21T09:00:00.000Z"
    assert found["inputs"] == PATIENT


def test_takes_an_outcome_once(service):
    identifier = ask(service, body={"instance": PATIENT})[1]["predictions"][0]["id"]
    outcome = {"outcome": {"id": identifier, "label": "yes"}}
    assert ask(service, "POST", "/outcomes", outcome)[:2] == (
        200,
        {"recorded": 1, "request_id": EVENT["requestContext"]["requestId"]},
    )
    later = exchange(
        event("POST", "/outcomes", outcome),
        lambda: service,
        now=NOW.replace(hour=13),
    )
    assert later.response["statusCode"] == 409
    assert json.loads(later.response["body"])["recorded"] == 0


def test_describes_the_model_and_its_health(service):
    assert ask(service, "GET", "/model")[1]["target"] == "sick"
    assert ask(service, "GET", "/health")[1]["status"] == "ok"


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "",
        "\ud800",
        '{"instance": {"weight": NaN}}',
        '{"instance": {"weight": -Infinity}}',
        "[" * 100_000,
        "1" * 5000,
        "nul",
    ],
)
def test_refuses_what_is_no_json(service, body):
    assert refused(service, body=body) == (400, "MalformedJson")


def test_refuses_no_body_at_all(service):
    assert refused(service, body=None) == (400, "MalformedJson")


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        None,
        "x",
        7,
        {"instances": {}},
        {"instances": None},
        {"instance": {}, "instances": []},
        {"instances": [], "more": 1},
        {"outcomes": []},
    ],
)
def test_refuses_another_shape(service, body):
    assert refused(service, body=json.dumps(body)) == (422, "InvalidShape")


def test_a_number_beyond_double_precision_is_refused_like_infinity(service):
    text = json.dumps({"instance": PATIENT}).replace("71.5", "1e999")
    assert refused(service, body=text) == (422, "InvalidInstances")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/csv"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": ""},
        None,
    ],
)
def test_refuses_another_content_type(service, headers):
    found = exchange(
        {**event(body={"instance": PATIENT}), "headers": headers},
        lambda: service,
        now=NOW,
    )
    assert found.response["statusCode"] == 415
    assert service.log.records == {}


@pytest.mark.parametrize("name", ["content-type", "CONTENT-TYPE"])
@pytest.mark.parametrize("value", ["application/json; charset=UTF-8", "Application/JSON"])
def test_headers_have_no_case(service, name, value):
    assert ask(service, body={"instance": PATIENT}, headers={name: value})[0] == 200


def test_refuses_a_large_body(service):
    assert refused(service, body=" " * 10_000_000) == (413, "RequestTooLarge")
    assert refused(service, body="é" * (MAXIMUM_BODY_BYTES // 2 + 1)) == (413, "RequestTooLarge")


def test_reads_a_body_in_base64(service):
    body = base64.b64encode(json.dumps({"instance": PATIENT}).encode()).decode()
    assert ask(service, body=body, isBase64Encoded=True)[0] == 200
    assert refused(service, body="%%%", isBase64Encoded=True) == (400, "MalformedJson")
    assert refused(service, body=base64.b64encode(b"\xff").decode(), isBase64Encoded=True)[0] == 400


@pytest.mark.parametrize("route", [("DELETE", "/predict"), ("GET", "/"), ("POST", "/{proxy+}")])
def test_an_unknown_route_is_not_found(service, route):
    assert refused(service, *route) == (404, "UnknownRoute")


@pytest.mark.parametrize("identifier", [None, {}, {"id": ""}, {"id": "../../x"}, {"id": "0" * 32}])
def test_an_unknown_prediction_is_not_found(service, identifier):
    found = refused(service, "GET", "/predictions/{id}", pathParameters=identifier)
    assert found == (404, "UnknownPrediction")


def test_a_busy_service_asks_to_come_again(service):
    service.scorer.error = ServiceUnavailable("throttled")
    status, body, headers, log = ask(service, body={"instance": PATIENT})
    assert (status, body["error"]["type"], headers["Retry-After"]) == (503, "ServiceUnavailable", "1")
    assert log["message"] == "throttled"


def test_a_missing_endpoint_is_told_with_what_brings_it_back(service):
    service.scorer.error = EndpointMissing("The endpoint is not there. 'dropforge wake' brings it back.")
    status, body, *_ = ask(service, body={"instance": PATIENT})
    assert (status, body["error"]["type"]) == (503, "EndpointMissing")
    assert "dropforge wake" in body["error"]["message"]


def test_a_failing_model_is_a_bad_gateway(service):
    service.scorer.error = ModelError(500, "private")
    status, body, _, log = ask(service, body={"instance": PATIENT})
    assert (status, body["error"]["type"]) == (502, "ModelError")
    assert "private" not in json.dumps([body, log])


def test_a_fault_of_ours_is_an_answer_and_a_place_in_the_log_without_data(service):
    service.scorer.error = RuntimeError("a value such as 71.5")
    status, body, _, log = ask(service, body={"instance": PATIENT})
    assert (status, body["error"]["type"]) == (500, "InternalError")
    assert "71.5" not in json.dumps([body, log])
    assert any("predictions.py" in place for place in log["at"])


def test_wrong_settings_are_an_answer_too():
    def broken():
        raise InvalidSettings("AWS_ACCESS_KEY_ID is missing")

    done = exchange(event("GET", "/health"), broken, now=NOW)
    assert done.response["statusCode"] == 500
    assert done.log["message"] == "AWS_ACCESS_KEY_ID is missing"


def test_no_value_is_ever_logged(service):
    marker = "Frau-Sommer-1964"
    for body in ({"instance": {**PATIENT, "ward": marker}}, {"instance": {marker: marker}}, marker):
        _, _, _, log = ask(service, body=body)
        assert marker not in json.dumps(log)


@pytest.mark.parametrize(
    ("variable", "origin"), [("https://example.com", "https://example.com"), ("any", "*"), ("none", None)]
)
def test_pages_of_the_allowed_origin_may_read_every_answer(service, variable, origin):
    allowing = {"stageVariables": {"ApiAuth": "api-key", "CorsAllowedOrigin": variable}}
    for headers in (
        ask(service, "GET", "/model", **allowing)[2],
        ask(service, body="{", **allowing)[2],
        ask(service, "GET", "/model", requestContext={}, **allowing)[2],
    ):
        assert headers.get("Access-Control-Allow-Origin") == origin
        assert ("Access-Control-Expose-Headers" in headers) == (origin is not None)


CALLERS = {
    "api-key": {"identity": {"apiKeyId": "k1l2m3n4o5", "sourceIp": "203.0.113.7"}},
    "iam": {"identity": {"userArn": "arn:aws:iam::123456789012:user/alice"}},
    "cognito": {"authorizer": {"claims": {"sub": "alice"}}},
}
CLOSED = [("GET", "/model"), ("POST", "/predict"), ("GET", "/predictions/{id}"), ("POST", "/outcomes")]


@pytest.mark.parametrize("auth", CALLERS)
def test_who_is_known_in_the_way_that_is_asked_for_is_let_in(service, auth):
    for route in CLOSED:
        status, body, *_ = ask(
            service, *route, stageVariables={"ApiAuth": auth}, requestContext=CALLERS[auth]
        )
        assert status not in (401, 403), body


@pytest.mark.parametrize("route", CLOSED)
@pytest.mark.parametrize("auth", [*CALLERS, "", None])
def test_who_is_not_known_so_is_refused_whatever_api_gateway_let_through(service, auth, route):
    strangers = [
        *(caller for way, caller in CALLERS.items() if way != auth),
        *({}, None, {"identity": None}, {"identity": {"apiKeyId": None, "userArn": ""}}),
        *({"authorizer": None}, {"authorizer": {"claims": {}}}, {"authorizer": {"claims": None}}),
    ]
    for stranger in strangers:
        variables = None if auth is None else {"ApiAuth": auth}
        request = {"requestContext": stranger, "stageVariables": variables}
        assert refused(service, *route, {"instance": PATIENT}, **request) == (403, "UnknownCaller")
    assert service.log.records == {}


@pytest.mark.parametrize("auth", CALLERS)
def test_health_is_for_anybody(service, auth):
    found = ask(service, "GET", "/health", stageVariables={"ApiAuth": auth}, requestContext={})
    assert found[0] == 200


def test_an_event_without_a_context_is_answered(service):
    done = exchange(
        {"httpMethod": "GET", "resource": "/health"},
        lambda: service,
        now=NOW,
    )
    assert done.response["statusCode"] == 200
