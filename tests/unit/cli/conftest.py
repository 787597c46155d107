from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli_stack import CONTRACT, PINNED, WIDER, CliStack, a_stack
from tests.command_line import invoke
from tests.mocked_aws import mocked_aws

from dropforge.domain.records import RunStatus
from dropforge_local.template import load_template

_TEMPLATE = Path(__file__).parents[3] / "template.yaml"


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
    """Moto's S3 and DynamoDB, one for a module's tests."""
    with mocked_aws() as client:
        yield client("s3"), client("dynamodb")


@pytest.fixture(scope="session")
def ledger_resource() -> dict[str, Any]:
    properties: dict[str, Any] = load_template(_TEMPLATE)["Resources"]["Ledger"]["Properties"]
    return properties


@pytest.fixture
def stack(aws: tuple[Any, Any], ledger_resource: dict[str, Any]) -> CliStack:
    """A stack of its own: a new bucket and a new ledger table."""
    return a_stack(aws, ledger_resource)


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
    monkeypatch.setattr("dropforge_ops.cli.invocation.resolve", lambda options: stack.target)
    return dropforge


@pytest.fixture(scope="module")
def live_stack(aws: tuple[Any, Any], ledger_resource: dict[str, Any]) -> CliStack:
    """A stack on which a version is live, for all tests of a module that leave it as it is."""
    made = a_stack(aws, ledger_resource)
    made.lives(1)
    return made


@pytest.fixture
def on_live_stack(
    live_stack: CliStack, dropforge: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """The command line, pointed at the stack on which a version is live."""
    monkeypatch.setattr("dropforge_ops.cli.invocation.resolve", lambda options: live_stack.target)
    return dropforge


@pytest.fixture
def failed(stack: CliStack) -> str:
    """A run that met another schema and proposes what would fit."""
    stack.write(PINNED, CONTRACT.to_json().encode())
    run = stack.open_run("bad-run", keys=["incoming/new.csv", "runs/bad-run/labelled/predictions.jsonl"])
    stack.write("incoming/new.csv", b"id,age\n1,2\n")
    stack.write("runs/bad-run/contract/schema.json", CONTRACT.to_json().encode())
    stack.write("runs/bad-run/contract/proposed.json", WIDER.to_json().encode())
    error = {"class": "SchemaChanged", "message": "columns changed"}
    stack.end_run(run, RunStatus.FAILED, "FAILED", error=error)
    return run.run_id


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is somebody at a terminal to ask."""
    monkeypatch.setattr("dropforge_ops.cli.invocation.Invocation.asks", True)
