"""Both ledgers: the one in memory, and the one on a DynamoDB table made from the template's own resource."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.ledger import FakeLedger
from tests.mocked_aws import create_table, mocked_aws

from dropforge.adapters.dynamodb_ledger import DynamoDbLedger
from dropforge.domain.ledger import Ledger
from dropforge_local.template import load_template

_TEMPLATE = Path(__file__).parents[3] / "template.yaml"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def dynamodb() -> Iterator[Any]:
    with mocked_aws() as client:
        yield client("dynamodb")


@pytest.fixture(scope="module")
def new_table(dynamodb) -> Callable[[], str]:
    """Makes an empty table with the template's keys and indexes, and returns its name."""
    resource = load_template(_TEMPLATE)["Resources"]["Ledger"]["Properties"]

    def make() -> str:
        name = f"ledger-{next(_numbers)}"
        create_table(dynamodb, name, resource)
        return name

    return make


@pytest.fixture(params=["memory", "dynamodb"])
def ledger(request) -> Ledger:
    if request.param == "memory":
        return FakeLedger()
    table = request.getfixturevalue("new_table")()
    return DynamoDbLedger(request.getfixturevalue("dynamodb"), table, pause=lambda _: None)
