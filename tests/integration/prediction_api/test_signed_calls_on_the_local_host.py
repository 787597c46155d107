"""The prediction log over signed HTTP on a real server, which checks signatures and permissions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dropforge.adapters.prediction_log import DynamoDbPredictionLog
from dropforge.adapters.sigv4_http_services import DynamoDbHttp, ObjectsHttp
from dropforge.domain.errors import AccessDenied, ObjectMissing, ServiceRejected
from dropforge.domain.moments import iso
from dropforge.domain.predictions import OutcomeStatus, PredictionRecord, epoch_ms, prediction_id
from dropforge_local.host import LocalHost
from dropforge_local.template import load_template
from dropforge_local.testing.forked_host import ForkedHost

ROOT = Path(__file__).parents[3]
TABLE = "predictions"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def host() -> Iterator[LocalHost]:
    with ForkedHost(ROOT, auth=True) as running:
        resource = load_template(ROOT / "template.yaml")["Resources"]["Predictions"]["Properties"]
        keys = ("BillingMode", "AttributeDefinitions", "KeySchema")
        running.client("dynamodb").create_table(TableName=TABLE, **{each: resource[each] for each in keys})
        running.client("s3").create_bucket(Bucket="data")
        running.client("s3").put_object(Bucket="data", Key="a b+c/ü.json", Body=b"content")
        yield running


@pytest.fixture(scope="module")
def user(host: LocalHost) -> dict[str, str]:
    """The environment of a user who may read and write items of the one table, and read the bucket."""
    iam = host.client("iam")
    iam.create_user(UserName="caller")
    statements = [
        {
            "Effect": "Allow",
            "Action": [
                "dynamodb:GetItem",
                "dynamodb:BatchWriteItem",
                "dynamodb:UpdateItem",
                "dynamodb:Query",
            ],
            "Resource": f"arn:aws:dynamodb:{host.region}:{host.account_id}:table/{TABLE}",
        },
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "arn:aws:s3:::data*"},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName="caller", PolicyName="items", PolicyDocument=policy)
    key = iam.create_access_key(UserName="caller")["AccessKey"]
    return {
        "AWS_REGION": host.region,
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_ENDPOINT_URL": host.endpoint_url,
    }


def records(count: int) -> list[PredictionRecord]:
    return [
        PredictionRecord(
            prediction_id(epoch_ms(NOON), "request", index),
            iso(NOON),
            1,
            {"x": index, "name": "ü"},
            {"value": index / 3},
            1.5,
        )
        for index in range(count)
    ]


def test_writes_reads_and_completes_predictions(user: dict[str, str]) -> None:
    log = DynamoDbPredictionLog(DynamoDbHttp.from_env(user), TABLE, retention_days=90)
    written = records(120)
    log.write(written)
    assert log.get(written[7].prediction_id) == written[7]
    window = log.window(NOON, NOON + timedelta(hours=1))
    assert sorted(window.columns["x"]) == list(range(120))
    outcomes = {each.prediction_id: float(index) for index, each in enumerate(written)}
    assert set(log.record_outcomes(outcomes, now=NOON).values()) == {OutcomeStatus.RECORDED}
    later = NOON + timedelta(days=60)
    assert set(log.record_outcomes(outcomes, now=later).values()) == {OutcomeStatus.ALREADY_RECORDED}
    assert log.record_outcomes({"f" * 32: 1.0}, now=later) == {"f" * 32: OutcomeStatus.UNKNOWN_PREDICTION}


def test_a_wrong_secret_is_refused(user: dict[str, str]) -> None:
    wrong = DynamoDbHttp.from_env({**user, "AWS_SECRET_ACCESS_KEY": "wrong"})
    with pytest.raises((AccessDenied, ServiceRejected), match="ignature"):
        wrong.call("GetItem", {"TableName": TABLE, "Key": {"pk": {"S": "x"}, "sk": {"S": "y"}}})


def test_what_is_not_granted_is_denied_by_class(user: dict[str, str]) -> None:
    with pytest.raises(AccessDenied, match="Grant the function's role"):
        DynamoDbHttp.from_env(user).call("Scan", {"TableName": TABLE})


def test_reads_an_object_whose_key_needs_encoding(user: dict[str, str]) -> None:
    objects = ObjectsHttp(user)
    assert objects.read("s3://data/a b+c/ü.json") == b"content"
    with pytest.raises(ObjectMissing):
        objects.read("s3://data/none")
