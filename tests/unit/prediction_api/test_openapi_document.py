"""openapi.yaml: whatever is sent, the answer is one that it describes, and it is the API that is deployed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from proof.product import ROOT, Product
from tests.fakes.predictions import PATIENT
from tests.unit.prediction_api.test_prediction_use_cases import service_for

from dropforge.application.predict import MAXIMUM_INSTANCES, RequestStamp
from dropforge.application.predict_http import MAXIMUM_BODY_BYTES, exchange
from proof import api_checks

OPENAPI = ROOT / "openapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(OPENAPI.read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]
OPERATIONS = [(method, path) for path, item in DOCUMENT["paths"].items() for method in item]
SCHEMES = {"api-key": "apiKey", "iam": "iam", "cognito": "cognito"}
"""The document's security scheme for each ApiAuth."""
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
        "stageVariables": {"ApiAuth": "api-key"},
        "requestContext": {
            "requestId": "r-1",
            "requestTimeEpoch": 1_795_251_600_000,
            "identity": {"apiKeyId": "k"},
        },
    }
    done = exchange(event, lambda: SERVICE, now=NOW)
    assert check(method, path, done.response) < 500


WHATEVER = {"body": BODIES, "headers": HEADERS, "identifier": st.just(KNOWN) | st.text(max_size=40)}


@pytest.mark.parametrize(("method", "path"), [each for each in OPERATIONS if each[0] == "post"])
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(**WHATEVER)
def test_every_answer_to_a_body_is_documented_and_none_is_a_5xx(method, path, body, headers, identifier):
    check_whatever_is_sent(method, path, body, headers, identifier)


@pytest.mark.parametrize(("method", "path"), [each for each in OPERATIONS if each[0] != "post"])
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(**WHATEVER)
def test_every_other_answer_is_documented_and_none_is_a_5xx(method, path, body, headers, identifier):
    """These operations have no body to read, so that less is to be tried."""
    check_whatever_is_sent(method, path, body, headers, identifier)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
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
        "stageVariables": {"ApiAuth": "api-key"},
        "requestContext": {"identity": {"apiKeyId": "k"}},
    }
    done = exchange(event, lambda: service, now=NOW)
    assert check(method, path, done.response) in (200, 404, 409)
    stranger = exchange({**event, "requestContext": {}}, lambda: service, now=NOW)
    assert check(method, path, stranger.response) == (200 if path == "/health" else 403)


def test_every_reference_leads_somewhere():
    for kind, name in re.findall(r"#/components/(\w+)/(\w+)", json.dumps(DOCUMENT)):
        assert name in DOCUMENT["components"][kind]


def deployed(way: str, origin: str = "none") -> dict[str, Any]:
    """What is imported into API Gateway with these parameters."""
    ((_, document),) = api_checks.documents(Product.load(), way, origin)
    return document


@pytest.mark.parametrize("origin", api_checks.ORIGINS)
@pytest.mark.parametrize("way", api_checks.WAYS)
def test_the_same_operations_are_deployed_with_the_same_parameters_and_the_same_security(way, origin):
    imported = dict(api_checks.operations(deployed(way, origin)))
    described = dict(api_checks.operations(DOCUMENT))
    assert imported.keys() - described.keys() == (
        set() if origin == "none" else {f"OPTIONS {path}" for path in DOCUMENT["paths"] if path != "/health"}
    )
    assert described.keys() <= imported.keys()
    for name, each in described.items():
        assert imported[name].get("parameters") == each.get("parameters")
        assert imported[name]["security"] == ([{"caller": []}] if each["security"] else [])


@pytest.mark.parametrize("way", api_checks.WAYS)
def test_the_described_scheme_is_the_deployed_one(way):
    scheme = deployed(way)["components"]["securitySchemes"]["caller"]
    described = DOCUMENT["components"]["securitySchemes"][SCHEMES[way]]
    for name in ("type", "name", "in"):
        assert scheme[name] == described[name]


def test_an_operation_is_open_to_anybody_or_to_any_of_the_three_ways():
    for name, each in api_checks.operations(DOCUMENT):
        assert each["security"] == ([] if name in api_checks.OPEN else [{s: []} for s in SCHEMES.values()])
        if each["security"]:
            assert {"401", "403"} <= each["responses"].keys()


def test_the_documents_limits_are_the_codes():
    for schema, items in (("PredictRequest", "instances"), ("OutcomesRequest", "outcomes")):
        many = SCHEMAS[schema]["oneOf"][1]["properties"][items]
        assert (many["minItems"], many["maxItems"]) == (1, MAXIMUM_INSTANCES)
    assert f"{MAXIMUM_BODY_BYTES:,}" in DOCUMENT["components"]["responses"]["TooLarge"]["description"]


def test_what_the_gateway_refuses_has_the_shape_of_every_refusal():
    for response in deployed("api-key")["x-amazon-apigateway-gateway-responses"].values():
        text = response["responseTemplates"]["application/json"]
        body = text.replace("$context.error.messageString", '"m"').replace("$context.requestId", "r")
        assert not list(mismatches({"$ref": "#/components/schemas/Error"}, json.loads(body)))


def test_browsers_read_what_the_gateway_refuses_where_an_origin_may_call():
    for origin in api_checks.ORIGINS:
        responses = deployed("api-key", origin)["x-amazon-apigateway-gateway-responses"]
        assert responses.keys() == {"DEFAULT_4XX", "DEFAULT_5XX", "THROTTLED"}
        for response in responses.values():
            found = {
                name.rpartition(".")[2]: value
                for name, value in response["responseParameters"].items()
                if "Access-Control" in name
            }
            assert found == (
                {}
                if origin == "none"
                else {
                    "Access-Control-Allow-Origin": f"'{origin}'",
                    "Access-Control-Expose-Headers": "'X-Request-Id,Retry-After'",
                }
            )


def test_a_preflight_allows_its_path_s_method_and_every_header_that_a_caller_sends():
    for name, each in api_checks.operations(deployed("api-key", "https://example.com")):
        if name.startswith("OPTIONS"):
            (response,) = each["x-amazon-apigateway-integration"]["responses"].values()
            headers = {k.rpartition(".")[2]: v.strip("'") for k, v in response["responseParameters"].items()}
            path = name.partition(" ")[2]
            (method,) = DOCUMENT["paths"][path]
            assert headers["Access-Control-Allow-Methods"] == f"{method.upper()},OPTIONS"
            assert headers["Access-Control-Allow-Origin"] == "https://example.com"
            allowed = {each.lower() for each in headers["Access-Control-Allow-Headers"].split(",")}
            sent = {each["name"].lower() for each in DOCUMENT["components"]["securitySchemes"].values()}
            assert {*sent, "content-type", "x-amz-date", "x-amz-security-token"} == allowed
