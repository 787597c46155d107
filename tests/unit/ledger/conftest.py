"""Both ledgers: the one in memory, and the one on a DynamoDB table made from the template's own resource."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from tests.fakes.ledger import FakeLedger

from dropforge.adapters.dynamodb_ledger import DynamoDbLedger
from dropforge.domain.ledger import Ledger
from dropforge_local.template import load_template

_TEMPLATE = Path(__file__).parents[3] / "template.yaml"
_TABLE_PROPERTIES = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
_numbers = itertools.count()


# Not for the session: moto forgets its state only when no other mock is active any more.
@pytest.fixture(scope="module")
def dynamodb() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        with mock_aws():
            yield boto3.client("dynamodb", region_name="us-east-1")


@pytest.fixture(scope="module")
def new_table(dynamodb) -> Callable[[], str]:
    """Makes an empty table with the template's keys and indexes, and returns its name."""
    resource = load_template(_TEMPLATE)["Resources"]["Ledger"]["Properties"]

    def make() -> str:
        name = f"ledger-{next(_numbers)}"
        dynamodb.create_table(TableName=name, **{each: resource[each] for each in _TABLE_PROPERTIES})
        return name

    return make


@pytest.fixture(params=["memory", "dynamodb"])
def ledger(request) -> Ledger:
    if request.param == "memory":
        return FakeLedger()
    table = request.getfixturevalue("new_table")()
    return DynamoDbLedger(request.getfixturevalue("dynamodb"), table, pause=lambda _: None)
