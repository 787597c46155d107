"""What is live: read from the ledger and S3, kept for a few seconds, with the salt made once."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from boto3.dynamodb.types import TypeSerializer
from tests.fakes.predictions import BINARY, REGRESSION, live
from tests.fakes.records import a_version
from tests.unit.prediction_api.test_prediction_ids import with_privacy

from dropforge.adapters.sigv4_http_live_model import KEPT_S, LedgerLiveModels
from dropforge.domain.errors import ArtifactChanged, ServiceUnavailable
from dropforge.ledger_table.calls import ConditionFailed

SERIALIZE = TypeSerializer().serialize


class Table:
    """GetItem and a conditional PutItem on one table in memory."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], dict] = {}
        self.reads = 0

    def put(self, item: dict) -> None:
        plain = json.loads(json.dumps(item), parse_float=Decimal)
        self.items[item["pk"], item["sk"]] = {name: SERIALIZE(value) for name, value in plain.items()}

    def promote(self, contract, version: int = 1) -> None:
        self.put({"pk": "LIVE", "sk": "LIVE", **live(contract, version).to_dict()})

    def call(self, operation: str, request: dict) -> dict:
        assert request["TableName"] == "ledger"
        if operation == "GetItem":
            self.reads += 1
            key = request["Key"]["pk"]["S"], request["Key"]["sk"]["S"]
            return {"Item": self.items[key]} if key in self.items else {}
        assert operation == "PutItem"
        assert request["ConditionExpression"] == "attribute_not_exists(pk)"
        key = request["Item"]["pk"]["S"], request["Item"]["sk"]["S"]
        if key in self.items:
            raise ConditionFailed
        self.items[key] = request["Item"]
        return {}


class Objects:
    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.reads: list[str] = []

    def read(self, uri: str) -> bytes:
        self.reads.append(uri)
        return self.content[uri]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def table():
    return Table()


@pytest.fixture
def objects():
    return Objects()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def models(table, objects, clock):
    return LedgerLiveModels(table, "ledger", lambda: objects, clock=clock)


def publish(table, objects, contract, version=1):
    table.promote(contract, version)
    objects.content[live(contract).contract_uri] = contract.to_json().encode()


def test_reads_the_live_version_and_its_contract(models, table, objects):
    publish(table, objects, BINARY)
    found = models.current()
    assert found.live == live(BINARY)
    assert found.contract == BINARY
    assert found.salt == b""


def test_nothing_is_live_at_first_and_that_is_not_kept(models, table, objects):
    assert models.current() is None
    publish(table, objects, BINARY)
    assert models.current().live.version == 1


def test_keeps_the_pointer_for_a_few_seconds(models, table, objects, clock):
    publish(table, objects, BINARY)
    models.current()
    publish(table, objects, REGRESSION, 2)
    clock.now += KEPT_S - 0.1
    assert models.current().live.version == 1
    assert table.reads == 1
    clock.now += 0.2
    assert models.current().live.version == 2
    assert models.current().contract == REGRESSION


def test_a_fresh_look_goes_past_the_cache(models, table, objects):
    publish(table, objects, BINARY)
    models.current()
    publish(table, objects, REGRESSION, 2)
    assert models.current(fresh=True).live.version == 2


def test_the_same_contract_is_read_once(models, table, objects, clock):
    publish(table, objects, BINARY)
    models.current()
    table.promote(BINARY, 2)
    clock.now += KEPT_S
    assert models.current().live.version == 2
    assert len(objects.reads) == 1


def test_refuses_a_contract_that_is_not_the_trained_one(models, table, objects):
    publish(table, objects, BINARY)
    objects.content[live(BINARY).contract_uri] = REGRESSION.to_json().encode()
    with pytest.raises(ArtifactChanged):
        models.current()


def test_makes_one_salt_for_everybody(table, objects):
    publish(table, objects, with_privacy("hash"))
    first, second = (LedgerLiveModels(table, "ledger", lambda: objects).current().salt for _ in range(2))
    assert first == second
    assert len(first) == 32


def test_whoever_comes_second_takes_the_first_ones_salt(table, objects):
    publish(table, objects, with_privacy("hash"))
    late = LedgerLiveModels(table, "ledger", lambda: objects)
    call, raced = table.call, []

    def race(operation, request):
        if operation == "PutItem" and not raced:
            raced.append(1)
            raced.append(LedgerLiveModels(table, "ledger", lambda: objects).current().salt)
        return call(operation, request)

    table.call = race
    assert late.current().salt == raced[1]


def test_reads_the_metrics_of_a_version_once(models, table, objects):
    publish(table, objects, BINARY)
    uri = "s3://data/models/run-1/evaluation.json"
    table.put({"pk": "MODEL", "sk": "00000001", **a_version(1, evaluation_uri=uri).to_dict()})
    objects.content[uri] = b'{"regression_metrics": {}}'
    found = models.current().live
    assert models.evaluation(found) == models.evaluation(found) == {"regression_metrics": {}}
    assert objects.reads.count(uri) == 1


def test_a_live_version_without_its_record_is_retried(models, table, objects):
    publish(table, objects, BINARY)
    with pytest.raises(ServiceUnavailable):
        models.evaluation(models.current().live)
