"""The OpenAPI document in the template: whatever is sent, the answer is one that the document describes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.predictions import PATIENT
from tests.unit.prediction_api.test_prediction_use_cases import service_for

from dropforge.application.predict import MAXIMUM_INSTANCES, RequestStamp
from dropforge.application.predict_http import MAXIMUM_BODY_BYTES, exchange
from dropforge_local.template import load_template

TEMPLATE = load_template(Path(__file__).parents[3] / "template.yaml")
DOCUMENT = TEMPLATE["Resources"]["PredictionApi"]["Properties"]["DefinitionBody"]
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = [
    (method, path)
    for path, item in DOCUMENT["paths"].items()
    for method in item
    if method in ("get", "post", "options")
]
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SERVICE = service_for()
KNOWN = SERVICE.predict([PATIENT], RequestStamp("r", 1))["predictions"][0]["id"]

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None), max_size=20)
    | st.sampled_from([KNOWN, "yes", "no", "a", "2026-11-21T09:00:00Z"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NEARLY_VALID = st.fixed_dictionaries(
    {}, optional={name: st.just(value) | JSON_VALUES for name, value in PATIENT.items()}
)
OUTCOME = st.fixed_dictionaries({}, optional={"id": st.just(KNOWN) | JSON_VALUES, "label": JSON_VALUES})
DOCUMENTS = (
    JSON_VALUES
    | st.fixed_dictionaries({"instance": NEARLY_VALID | JSON_VALUES})
    | st.fixed_dictionaries({"instances": st.lists(NEARLY_VALID | JSON_VALUES, max_size=4)})
    | st.fixed_dictionaries({"outcome": OUTCOME | JSON_VALUES})
    | st.fixed_dictionaries({"outcomes": st.lists(OUTCOME | JSON_VALUES, max_size=4)})
)
BODIES = DOCUMENTS.map(json.dumps) | st.text(max_size=60) | st.none()
HEADERS = st.just({"Content-Type": "application/json"}) | st.dictionaries(
    st.sampled_from(["Content-Type", "content-type", "Accept", "X"]), st.text(max_size=30), max_size=3
)


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return SCHEMAS[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def mismatches(schema: Mapping[str, Any], value: Any, where: str = "$") -> Iterator[str]:
    """What of the value does not fit the schema: the part of JSON schema that the document uses."""
    schema = resolved(schema)
    if value is None and schema.get("nullable"):
        return
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "number": int | float}
    kind = schema.get("type")
    if kind is not None and (not isinstance(value, kinds[kind]) or isinstance(value, bool)):
        yield f"{where} is no {kind}: {value!r}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is none of {schema['enum']}"
    if isinstance(value, dict):
        yield from (f"{where} lacks {name}" for name in schema.get("required", []) if name not in value)
        for name, each in value.items():
            yield from mismatches(schema.get("properties", {}).get(name, {}), each, f"{where}.{name}")
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from mismatches(schema.get("items", {}), each, f"{where}[{index}]")


def operation(method: str, path: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = DOCUMENT["paths"][path][method]
    return found


def response_of(method: str, path: str, status: int) -> Mapping[str, Any]:
    described = operation(method, path)["responses"]
    assert str(status) in described, f"{method} {path} answered {status}, which is not documented"
    response = described[str(status)]
    return (
        DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
        if "$ref" in response
        else response
    )


def check(method: str, path: str, response: Mapping[str, Any]) -> int:
    status: int = response["statusCode"]
    described = response_of(method, path, status)
    if "content" in described:
        schema = described["content"]["application/json"]["schema"]
        assert not list(mismatches(schema, json.loads(response["body"])))
    return status


def check_whatever_is_sent(method, path, body, headers, identifier):
    event = {
        "httpMethod": method.upper(),
        "resource": path,
        "headers": headers,
        "body": body,
        "pathParameters": {"id": identifier} if "{id}" in path else None,
        "requestContext": {"requestId": "r-1", "requestTimeEpoch": 1_795_251_600_000},
    }
    done = exchange(event, lambda: SERVICE, cors_origin="none", now=NOW)
    assert check(method, path, done.response) < 500


WHATEVER = {"body": BODIES, "headers": HEADERS, "identifier": st.just(KNOWN) | st.text(max_size=40)}


@pytest.mark.parametrize(("method", "path"), [each for each in OPERATIONS if each[0] == "post"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(**WHATEVER)
def test_every_answer_to_a_body_is_documented_and_none_is_a_5xx(method, path, body, headers, identifier):
    check_whatever_is_sent(method, path, body, headers, identifier)


@pytest.mark.parametrize(("method", "path"), [each for each in OPERATIONS if each[0] != "post"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(**WHATEVER)
def test_every_other_answer_is_documented_and_none_is_a_5xx(method, path, body, headers, identifier):
    """These operations have no body to read, so that less is to be tried."""
    check_whatever_is_sent(method, path, body, headers, identifier)


@pytest.mark.parametrize(("method", "path"), [each for each in OPERATIONS if each[0] != "options"])
def test_every_operation_answers_documented_without_a_live_model(method, path):
    service = service_for(None)
    body = json.dumps(
        {"instance": PATIENT} if path == "/predict" else {"outcome": {"id": KNOWN, "label": "no"}}
    )
    event = {
        "httpMethod": method.upper(),
        "resource": path,
        "headers": {"content-type": "application/json"},
        "body": body,
        "pathParameters": {"id": KNOWN},
    }
    done = exchange(event, lambda: service, cors_origin="none", now=NOW)
    assert check(method, path, done.response) in (200, 404, 409)


def test_every_reference_leads_somewhere():
    for kind, name in re.findall(r"#/components/(\w+)/(\w+)", json.dumps(DOCUMENT)):
        assert name in DOCUMENT["components"][kind]


def test_every_operation_calls_the_predict_function():
    for method, path in OPERATIONS:
        integration = operation(method, path)["x-amazon-apigateway-integration"]
        assert (integration["type"], integration["httpMethod"]) == ("aws_proxy", "POST")
        assert {"Alias": {"Ref": "PredictFunction.Alias"}} in integration["uri"]["Fn::Sub"]


def test_only_health_and_preflights_are_open():
    for method, path in OPERATIONS:
        is_open = operation(method, path).get("security") == []
        assert is_open == (method == "options" or path == "/health")


def test_every_path_may_be_asked_about_by_browsers_except_health():
    assert {path for method, path in OPERATIONS if method == "options"} == set(DOCUMENT["paths"]) - {
        "/health"
    }


def test_the_documents_limits_are_the_codes():
    for schema, items in (("PredictRequest", "instances"), ("OutcomesRequest", "outcomes")):
        many = SCHEMAS[schema]["oneOf"][1]["properties"][items]
        assert (many["minItems"], many["maxItems"]) == (1, MAXIMUM_INSTANCES)
    assert f"{MAXIMUM_BODY_BYTES:,}" in DOCUMENT["components"]["responses"]["TooLarge"]["description"]


def test_what_the_gateway_refuses_has_the_shape_of_every_refusal():
    for response in DOCUMENT["x-amazon-apigateway-gateway-responses"].values():
        text = response["responseTemplates"]["application/json"]
        body = text.replace("$context.error.messageString", '"m"').replace("$context.requestId", "r")
        assert not list(mismatches({"$ref": "#/components/schemas/Error"}, json.loads(body)))
