"""The prediction API of a deployed stack: keys, predictions, outcomes, refusals, throttling."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from dropforge import predict_bootstrap
from dropforge.domain.contract import Column, Contract
from dropforge_ops.samples import SAMPLES
from tests.workflow.prediction_api import Api, fuzz
from tests.workflow.stack import Stack


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
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "https://example.com"

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
    log = predict_bootstrap.prediction_log(
        environment(stack), predictions_table=stack.outputs["PredictionsTable"], retention_days=90
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


def test_throttles_and_says_when_to_come_again(deploy_sample: Callable[..., Stack]) -> None:
    api = Api(deploy_sample("breast-cancer", ApiRateLimit="1", ApiBurstLimit="3"))
    answers = itertools.islice(iter(lambda: api.call("GET", "/model"), None), 20)
    throttled = next(answer for answer in answers if answer.status == 429)
    assert refusal(throttled) == "THROTTLED"
    assert throttled.headers["retry-after"] == "1"


def test_with_iam_only_a_signature_opens_the_api(deploy_sample: Callable[..., Stack]) -> None:
    stack = deploy_sample("breast-cancer", ApiAuth="iam")
    api = Api(stack)
    assert "ApiKeyId" not in stack.outputs
    assert api.call("GET", "/model").status == 403
    request = AWSRequest("GET", f"{api.url}/model")
    SigV4Auth(Credentials("test", "test"), "execute-api", stack.host.region).add_auth(request)
    signed = api.send("GET", "/model", headers=dict(request.headers.items()))
    assert (signed.status, refusal(signed)) == (409, "NoLiveModel")


@pytest.mark.parametrize("given_pool", [True, False])
def test_with_cognito_only_a_pools_user_opens_the_api(
    deploy_sample: Callable[..., Stack], given_pool: bool
) -> None:
    if not given_pool:
        with pytest.raises(Exception, match="UserPoolArn"):
            deploy_sample("breast-cancer", ApiAuth="cognito")
        return
    arn = "arn:aws:cognito-idp:us-east-1:000000000000:userpool/us-east-1_Pool"
    api = Api(deploy_sample("breast-cancer", ApiAuth="cognito", UserPoolArn=arn))
    answer = api.call("GET", "/model")
    assert (answer.status, refusal(answer)) == (401, "UNAUTHORIZED")
    assert api.send("GET", "/health").status == 200


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
    refused = api.call("POST", "/predict", {"instance": {**instance, names[1]: "0.0567898765"}})
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
