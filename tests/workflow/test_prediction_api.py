"""The prediction API of a deployed stack: keys, predictions, outcomes, refusals, throttling."""

from __future__ import annotations

import csv
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from dropforge.adapters.prediction_log import DynamoDbPredictionLog
from dropforge.adapters.sigv4_http_services import DynamoDbHttp
from dropforge.domain.contract import Column, Contract
from dropforge_local.errors import DeployFailed
from dropforge_ops.actions.api_calls import LANGUAGES
from dropforge_ops.actions.prediction_api import PredictionApi
from dropforge_ops.errors import NotFound
from dropforge_ops.health import api as api_health
from dropforge_ops.health.findings import Status
from dropforge_ops.stack.samples import SAMPLES
from dropforge_ops.stack.target import Options, Target, resolve
from tests.workflow.prediction_api import CLOSED, Api, HttpAnswer, fuzz, run_program
from tests.workflow.stack import Stack

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"


def target_of(stack: Stack) -> Target:
    return resolve(Options(stack=stack.name, endpoint_url=stack.host.endpoint_url))


def environment(stack: Stack) -> dict[str, str]:
    return {
        "AWS_REGION": stack.host.region,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": stack.host.endpoint_url,
    }


def refusal(answer) -> str:
    error = answer.body["error"]
    assert error["request_id"] == answer.headers["x-request-id"]
    return error["type"]


def test_predicts_logs_and_takes_outcomes_with_the_live_model(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path], tmp_path: Path
) -> None:
    stack = deploy_sample("breast-cancer", CorsAllowedOrigin="https://example.com", ApiBurstLimit="5000")
    api = Api(stack)

    # Before a model is live.
    assert api.send("GET", "/health").body["model_version"] is None
    assert refusal(api.call("GET", "/model")) == "NoLiveModel"
    assert (api.call("POST", "/predict", {"instance": {}}).status) == 409

    # Who may call.
    for headers in ({}, {"x-api-key": "wrong"}):
        answer = api.send("GET", "/model", headers=headers)
        assert (answer.status, refusal(answer)) == (403, "INVALID_API_KEY")
        assert answer.headers["access-control-allow-origin"] == "https://example.com"
    assert api.call("GET", "/nowhere").status == 403
    preflight = api.send("OPTIONS", "/predict", headers={"Origin": "https://example.com"})
    assert (preflight.status, preflight.body) == (204, None)
    assert preflight.headers["access-control-allow-origin"] == "https://example.com"
    assert preflight.headers["access-control-allow-methods"] == "POST,OPTIONS"
    assert "x-request-id" not in preflight.headers, "no function was asked"

    live = stack.train_and_deploy(samples["breast-cancer"])
    smoke = stack.read_json(live.smoke_uri)
    instances: list[dict[str, Any]] = smoke["instances"]
    started = datetime.now(UTC) - timedelta(seconds=5)

    # Predictions are those of the endpoint, and each is in the log.
    answer = api.call("POST", "/predict", {"instances": instances})
    assert answer.status == 200
    assert answer.body["model_version"] == live.version
    assert answer.body["request_id"] == answer.headers["x-request-id"]
    ids = [each.pop("id") for each in answer.body["predictions"]]
    assert answer.body["predictions"] == stack.predict(instances)
    for identifier, instance in zip(ids[:3], instances, strict=False):
        found = api.call("GET", f"/predictions/{identifier}")
        assert found.body["inputs"] == instance
        assert found.body["outcome"] is None
    assert len(api.call("POST", "/predict", {"instances": (instances * 20)[:500]}).body["predictions"]) == 500
    log = DynamoDbPredictionLog(
        DynamoDbHttp.from_env(environment(stack)), stack.outputs["PredictionsTable"], retention_days=90
    )
    window = log.window(started, started + timedelta(hours=1), model_version=live.version)
    assert len(window) == len(instances) + 500
    assert set(ids) <= set(window.ids)
    assert set(window.columns) == set(instances[0])

    # Outcomes, once each.
    label = answer.body["predictions"][0]["label"]
    outcomes = [{"id": identifier, "label": label} for identifier in ids]
    assert api.call("POST", "/outcomes", {"outcomes": outcomes}).body["recorded"] == len(ids)
    replayed = api.call("POST", "/outcomes", {"outcomes": outcomes})
    assert (replayed.status, refusal(replayed)) == (409, "OutcomeAlreadyRecorded")
    assert len(replayed.body["error"]["problems"]) == len(ids)
    assert api.call("GET", f"/predictions/{ids[0]}").body["outcome"] == label
    early = api.call("POST", "/outcomes", {"outcome": {"id": "f" * 32, "label": label}})
    assert (early.status, refusal(early)) == (404, "UnknownPrediction")
    window = log.window(started, started + timedelta(hours=1))
    assert sum(outcome is not None for outcome in window.outcomes) == len(ids)

    # What serves now.
    model = api.call("GET", "/model").body
    assert model["model_version"] == live.version
    assert model["metric"] == json.loads(json.dumps(live.metric))
    assert "binary_classification_metrics" in model["metrics"]
    assert {each["name"] for each in model["schema"]["columns"]} >= set(instances[0])

    # Refusals.
    key = {"x-api-key": api.key or "", "Content-Type": "application/json"}
    spoilt = {**instances[0], "diagnosis": "benign", "extra": 1, "mean radius": "wide"}
    spoilt.pop("mean area")
    refused = api.call("POST", "/predict", {"instances": [instances[0], spoilt]})
    assert (refused.status, refusal(refused)) == (422, "InvalidInstances")
    assert {(each["instance"], each["column"]) for each in refused.body["error"]["problems"]} == {
        (1, "diagnosis"),
        (1, "extra"),
        (1, "mean radius"),
        (1, "mean area"),
    }
    finite = json.dumps({"instance": instances[0]}, separators=(",", ":"))
    first = next(iter(instances[0]))
    cases: list[tuple[int, str, bytes, dict[str, str]]] = [
        (400, "MalformedJson", b'{"instance": {', key),
        (400, "MalformedJson", b"\xff\xfe", key),
        (400, "MalformedJson", finite.replace(str(instances[0][first]), "NaN", 1).encode(), key),
        (400, "MalformedJson", finite.replace(str(instances[0][first]), "-Infinity", 1).encode(), key),
        (422, "InvalidInstances", finite.replace(str(instances[0][first]), "1e999", 1).encode(), key),
        (415, "UnsupportedMediaType", finite.encode(), {**key, "Content-Type": "text/csv"}),
        (413, "RequestTooLarge", b" " * 10_000_000, key),
        (422, "TooMany", json.dumps({"instances": instances[:1] * 501}).encode(), key),
    ]
    for status, kind, body, headers in cases:
        refused = api.send("POST", "/predict", body, headers)
        assert (refused.status, refusal(refused)) == (status, kind)
    unknown = api.call("GET", f"/predictions/{'0' * 32}")
    assert (unknown.status, refusal(unknown)) == (404, "UnknownPrediction")
    # Nothing of all that was logged, and nothing was lost.
    assert len(log.window(started, started + timedelta(hours=1))) == len(window)

    # Whatever a fuzzer makes of the OpenAPI document gets an answer that the document describes, and no 5xx.
    fuzzed = fuzz(api, tmp_path, examples=15)
    assert fuzzed.returncode == 0, fuzzed.stdout + fuzzed.stderr

    # The programs that 'dropforge api' writes all ask for the same, with a key and with a signature.
    where = ["--stack", stack.name, "--endpoint-url", stack.host.endpoint_url, "--region", stack.host.region]
    (expected,) = stack.predict(instances[:1])
    for language in LANGUAGES:
        assert run_program(language, where, tmp_path) == expected, language
    stack.update(TEMPLATE, ApiAuth="iam")
    for language in LANGUAGES:
        assert run_program(language, where, tmp_path) == expected, language


def test_throttles_and_says_when_to_come_again(deploy_sample: Callable[..., Stack]) -> None:
    api = Api(deploy_sample("breast-cancer", ApiRateLimit="1", ApiBurstLimit="3"))
    answers = itertools.islice(iter(lambda: api.call("GET", "/model"), None), 20)
    throttled = next(answer for answer in answers if answer.status == 429)
    assert refusal(throttled) == "THROTTLED"
    assert throttled.headers["retry-after"] == "1"


def signed(api: Api, stack: Stack) -> HttpAnswer:
    """The answer to a signed GET /model."""
    request = AWSRequest("GET", f"{api.url}/model")
    SigV4Auth(Credentials("test", "test"), "execute-api", stack.host.region).add_auth(request)
    return api.send("GET", "/model", headers=dict(request.headers.items()))


def refused_by_api_gateway(api: Api) -> set[tuple[int, str]]:
    """(status, type) of each refusal of a request without credentials; the function was never asked."""
    answers = [api.send(method, path) for method, path in CLOSED]
    return {(each.status, each.body["error"]["type"]) for each in answers}


def test_who_may_call_and_from_where_changes_by_parameters_alone(deploy_sample: Callable[..., Stack]) -> None:
    stack = deploy_sample("breast-cancer")
    api = Api(stack)
    assert refused_by_api_gateway(api) == {(403, "INVALID_API_KEY")}
    assert refusal(api.call("GET", "/model")) == "NoLiveModel"
    # No page may call, so that a browser's question costs nothing.
    assert refusal(api.send("OPTIONS", "/model")) == "MISSING_AUTHENTICATION_TOKEN"

    stack.update(TEMPLATE, ApiAuth="iam")
    assert Api(stack).url == api.url, "callers keep the URL"
    assert "ApiKeyId" not in stack.outputs
    assert refused_by_api_gateway(api) == {(403, "MISSING_AUTHENTICATION_TOKEN")}
    assert api.call("GET", "/model").status == 403, "the key opens nothing any more"
    assert refusal(signed(api, stack)) == "NoLiveModel"

    pool = "arn:aws:cognito-idp:us-east-1:000000000000:userpool/us-east-1_"
    for name in ("One", "Two"):
        stack.update(TEMPLATE, ApiAuth="cognito", UserPoolArn=f"{pool}{name}")
        assert refused_by_api_gateway(api) == {(401, "UNAUTHORIZED")}
        assert api.send("GET", "/health").status == 200
        (authorizer,) = stack.host.client("apigateway").get_authorizers(
            restApiId=stack.resource("PredictionApi")
        )["items"]
        assert authorizer["providerARNs"] == [f"{pool}{name}"]

    stack.update(TEMPLATE, CorsAllowedOrigin="https://example.com")
    preflight = api.send("OPTIONS", "/model")
    assert (preflight.status, preflight.headers["access-control-allow-methods"]) == (204, "GET,OPTIONS")
    assert api.send("GET", "/model").headers["access-control-allow-origin"] == "https://example.com"
    stack.update(TEMPLATE, CorsAllowedOrigin="*")
    assert api.send("OPTIONS", "/model").headers["access-control-allow-origin"] == "*"
    assert api.send("GET", "/health").headers["access-control-allow-origin"] == "*", "the function says so"


def test_a_key_is_exchanged_without_a_moment_in_which_nobody_has_one(
    deploy_sample: Callable[..., Stack],
) -> None:
    stack = deploy_sample("breast-cancer")
    first = Api(stack)
    stack.update(TEMPLATE, ApiKeys="both")
    second = Api(stack, "SecondApiKeyId")
    assert first.key != second.key
    assert [refusal(each.call("GET", "/model")) for each in (first, second)] == ["NoLiveModel"] * 2

    stack.update(TEMPLATE, ApiKeys="second")
    assert refusal(first.call("GET", "/model")) == "INVALID_API_KEY"
    assert refusal(second.call("GET", "/model")) == "NoLiveModel"
    assert "ApiKeyId" not in stack.outputs

    # And back: the first is another one now.
    stack.update(TEMPLATE, ApiKeys="both")
    third = Api(stack)
    assert third.key not in (first.key, second.key)
    stack.update(TEMPLATE)
    assert refusal(third.call("GET", "/model")) == "NoLiveModel"
    for each in (first, second):
        assert refusal(each.call("GET", "/model")) == "INVALID_API_KEY"


@pytest.mark.parametrize("way", ["api-key", "iam", "cognito"])
def test_who_operates_a_stack_needs_no_key_of_its_callers(
    deploy_sample: Callable[..., Stack], way: str
) -> None:
    pool = {"UserPoolArn": "arn:aws:cognito-idp:us-east-1:000000000000:userpool/us-east-1_Pool"}
    stack = deploy_sample("breast-cancer", ApiAuth=way, **(pool if way == "cognito" else {}))
    with pytest.raises(NotFound, match="NoLiveModel"):
        PredictionApi(target_of(stack)).predict([{}])


@pytest.mark.parametrize(("method", "path"), [("get", "/model"), ("post", "/outcomes")])
def test_an_open_operation_is_refused_by_the_function_and_fails_the_smoke_test(
    deploy: Callable[..., Stack], product_copy: Path, method: str, path: str
) -> None:
    text = product_copy.read_text()
    start = text.index(f"          {path}:\n            {method}: ")
    closed = "security: [{caller: []}]"
    at = text.index(closed, start)
    product_copy.write_text(text[:at] + "security: []" + text[at + len(closed) :])
    stack = deploy(template=product_copy, TargetColumn="diagnosis")
    api = Api(stack)
    assert refusal(api.send(method.upper(), path)) == "UnknownCaller"
    assert refusal(api.call(method.upper(), path, {})) == "UnknownCaller", "an open method names no key"

    (finding,) = api_health.check(target_of(stack))
    assert finding.status is Status.FAIL
    assert f"{method.upper()} {path} is open" in finding.detail
    command = [str(Path(sys.executable).with_name("dropforge")), "doctor", "--json"]
    command += ["--stack", stack.name, "--endpoint-url", stack.host.endpoint_url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "API" in json.loads(done.stdout)["error"]["message"]

    stack.update(TEMPLATE)
    (finding,) = api_health.check(target_of(stack))
    assert finding.status is Status.OK


def test_an_api_that_somebody_opened_by_hand_is_found_and_closed_by_another_document(
    deploy_sample: Callable[..., Stack],
) -> None:
    stack = deploy_sample("breast-cancer")
    gateway, api_id = stack.host.client("apigateway"), stack.resource("PredictionApi")
    ids = {each["path"]: each["id"] for each in gateway.get_resources(restApiId=api_id)["items"]}
    opened = {"op": "replace", "path": "/apiKeyRequired", "value": "false"}
    gateway.update_method(
        restApiId=api_id, resourceId=ids["/model"], httpMethod="GET", patchOperations=[opened]
    )
    assert refused_by_api_gateway(Api(stack)) == {(403, "INVALID_API_KEY")}, "not deployed yet"
    stack.update(TEMPLATE)
    (finding,) = api_health.check(target_of(stack))
    assert (finding.status, "GET /model is open" in finding.detail) == (Status.FAIL, True)

    stack.update(TEMPLATE, CorsAllowedOrigin="https://example.com")
    stack.update(TEMPLATE)
    (finding,) = api_health.check(target_of(stack))
    assert finding.status is Status.OK


def test_with_cognito_a_pool_has_to_be_given(deploy_sample: Callable[..., Stack]) -> None:
    with pytest.raises(DeployFailed, match="UserPoolArn"):
        deploy_sample("breast-cancer", ApiAuth="cognito")


def test_private_columns_reach_the_model_and_neither_the_log_nor_any_log_group(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    sample = SAMPLES["diabetes"]
    stack = deploy_sample("diabetes")
    with samples["diabetes"].open(encoding="utf-8") as file:
        header = next(csv.reader(file))
    names = [name for name in header if name not in (sample.key, sample.target)]
    roles = {sample.key: "key", sample.target: "target"}
    private = {names[0]: "drop", names[1]: "hash"}
    columns = tuple(
        Column(
            name,
            "integer" if name == sample.key else "number",
            roles.get(name, "feature"),
            privacy=private.get(name),
        )
        for name in header
    )
    contract = Contract(sample.target, sample.key or None, "regression", None, columns)
    stack.s3.put_object(Bucket=stack.bucket, Key="contract/schema.json", Body=contract.to_json().encode())
    live = stack.train_and_deploy(samples["diabetes"])
    api = Api(stack)
    instance = {
        **stack.read_json(live.smoke_uri)["instances"][0],
        names[0]: 0.0123454321,
        names[1]: 0.0567898765,
    }

    (prediction,) = api.call("POST", "/predict", {"instance": instance}).body["predictions"]
    assert [prediction["value"]] == [each["value"] for each in stack.predict([instance])]
    found = api.call("GET", f"/predictions/{prediction['id']}").body
    assert set(found["inputs"]) == set(instance) - {names[0]}
    assert len(found["inputs"][names[1]]) == 32
    (again,) = api.call("POST", "/predict", {"instance": instance}).body["predictions"]
    assert api.call("GET", f"/predictions/{again['id']}").body["inputs"] == found["inputs"]
    refused = api.call("POST", "/predict", {"instance": {**instance, names[1]: "0.0567898765 or so"}})
    assert refused.status == 422

    outcome = {"id": prediction["id"], "value": 151.5}
    assert api.call("POST", "/outcomes", {"outcome": outcome}).body["recorded"] == 1
    assert api.call("GET", f"/predictions/{prediction['id']}").body["outcome"] == 151.5
    assert api.call("POST", "/outcomes", {"outcome": {**outcome, "value": "high"}}).status == 422

    logs = stack.host.client("logs")
    messages = [
        event["message"]
        for groups in logs.get_paginator("describe_log_groups").paginate()
        for group in groups["logGroups"]
        for events in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        for event in events["events"]
    ]
    assert any('"POST /predict"' in message for message in messages)
    assert not any("0.0123454321" in message or "0.0567898765" in message for message in messages)
