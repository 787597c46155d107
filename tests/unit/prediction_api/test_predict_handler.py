"""The handler on its example event, in a process of its own: what it imports, logs and answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.fakes.functions import load

from dropforge.domain.errors import ServiceUnavailable

ROOT = Path(__file__).parents[3]
SCRIPT = """
import json, sys
sys.path[:0] = [{core!r}, {function!r}]
import app
from types import SimpleNamespace
event = json.load(open({event!r}))
print(json.dumps(app.handler(event, SimpleNamespace(aws_request_id="lambda-1"))))
print(json.dumps(sorted(sys.modules)))
"""
TOO_HEAVY = {
    "boto3",
    "botocore",
    "numpy",
    "pandas",
    "pyarrow",
    "aws_lambda_powertools",
    "requests",
    "pydantic",
}


@pytest.fixture(scope="module")
def lines():
    script = SCRIPT.format(
        core=str(ROOT / "core"),
        function=str(ROOT / "functions" / "predict"),
        event=str(ROOT / "events" / "predict.json"),
    )
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "secret",
        # Nothing listens there: the example event meets a ledger that does not answer.
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "LEDGER_TABLE": "ledger",
        "PREDICTIONS_TABLE": "predictions",
        "DATA_BUCKET": "data",
        "PREDICTION_RETENTION_DAYS": "90",
        "POWERTOOLS_SERVICE_NAME": "model",
        "METRICS_NAMESPACE": "Dropforge",
        "UNDELIVERED_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/undelivered",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_counts_an_answer_that_speaks_against_the_version_and_no_other(monkeypatch, capsys):
    class Broken:
        def health(self):
            raise RuntimeError("what a release breaks")

    monkeypatch.setenv("METRICS_NAMESPACE", "Dropforge")
    monkeypatch.setenv(
        "UNDELIVERED_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/undelivered"
    )
    for name, value in (("LEDGER_TABLE", "l"), ("PREDICTIONS_TABLE", "p"), ("DATA_BUCKET", "d")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PREDICTION_RETENTION_DAYS", "90")
    app = load("predict")
    context = SimpleNamespace(aws_request_id="1", function_name="f", function_version="7")

    def logged(service: object) -> dict:
        monkeypatch.setattr(app, "_service", lambda: service)
        app.handler({"httpMethod": "GET", "resource": "/health"}, context)
        return json.loads(capsys.readouterr().out)

    log = logged(Broken())
    (directive,) = log["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "Dropforge"
    assert directive["Dimensions"] == [["FunctionName", "FunctionVersion"]]
    assert [each["Name"] for each in directive["Metrics"]] == ["ServerErrors"]
    assert (log["FunctionName"], log["FunctionVersion"], log["ServerErrors"]) == ("f", "7", 1)
    for answered in (SimpleNamespace(health=dict), SimpleNamespace(health=busy)):
        assert "_aws" not in logged(answered)


def busy() -> dict:
    raise ServiceUnavailable("the endpoint is starting")


def test_loads_neither_the_sdk_nor_an_array_library(lines):
    assert not TOO_HEAVY & {name.partition(".")[0] for name in lines[2]}


def test_logs_one_line_with_the_request_and_never_its_data(lines):
    log = lines[0]
    assert log["level"] == "ERROR"
    assert log["request_id"] == "6b0f2d2c-2f0e-4e5c-9d5a-0d1f5a3b8c11"
    assert log["function_request_id"] == "lambda-1"
    assert (log["route"], log["status"]) == ("POST /predict", 503)
    assert log["duration_ms"] > 0
    assert "radius" not in json.dumps(log)


def test_answers_even_when_nothing_answers_it(lines):
    assert lines[1]["statusCode"] == 503
    assert json.loads(lines[1]["body"])["error"]["type"] == "ServiceUnavailable"
