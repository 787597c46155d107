from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from cli_stack import CliStack, a_stack
from moto import mock_aws
from tests.command_line import invoke

from dropforge_local.template import load_template

_TEMPLATE = Path(__file__).parents[3] / "template.yaml"
_TABLE_PROPERTIES = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")


@dataclass
class Outcome:
    """What a command wrote, and how it ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


@pytest.fixture(scope="module")
def aws() -> Iterator[tuple[Any, Any]]:
    """Moto's S3 and DynamoDB, one for a module's tests: making clients takes longer than most tests.

    Not for the session: moto forgets its state only when no other mock is active any more.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        with mock_aws():
            yield (
                boto3.client("s3", region_name="us-east-1"),
                boto3.client("dynamodb", region_name="us-east-1"),
            )


@pytest.fixture(scope="session")
def table_properties() -> dict[str, Any]:
    resource = load_template(_TEMPLATE)["Resources"]["Ledger"]["Properties"]
    return {each: resource[each] for each in _TABLE_PROPERTIES}


@pytest.fixture
def stack(aws: tuple[Any, Any], table_properties: dict[str, Any]) -> CliStack:
    """A stack of its own: a new bucket and a new ledger table."""
    return a_stack(aws, table_properties)


@pytest.fixture
def dropforge(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Runs the command line; errors that it should have caught fail the test."""

    def run(*args: Any, stdin: str | bytes | None = None) -> Outcome:
        result = invoke(args, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def on_stack(
    stack: CliStack, dropforge: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """The command line, pointed at the stack."""
    monkeypatch.setattr("dropforge_ops.invocation.resolve", lambda options: stack.target)
    return dropforge


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is somebody at a terminal to ask."""
    monkeypatch.setattr("dropforge_ops.invocation.Invocation.asks", True)
