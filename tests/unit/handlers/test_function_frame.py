"""What stands around every handler: settings, the log, the answer, errors."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from dropforge.config import Settings
from dropforge.domain.errors import EmptyData, InvalidSettings
from dropforge.function import Json, function, logger

CONTEXT = SimpleNamespace(
    function_name="close",
    memory_limit_in_mb=256,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:close",
    aws_request_id="52fdfc07-2182-454f-963f-5f0f9a621d72",
)


class TableSettings(Settings):
    ledger_table: str
    minimum_rows: int


@dataclass(frozen=True)
class Answer:
    rows: int
    tables: tuple[str, ...]


@function(TableSettings)
def handler(event: Json, settings: TableSettings) -> Any:
    logger.info("at work")
    if event.get("is_empty"):
        raise EmptyData("no rows")
    return Answer(settings.minimum_rows, (settings.ledger_table,))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEDGER_TABLE", "ledger")
    monkeypatch.setenv("MINIMUM_ROWS", "50")


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """What is logged; the logger has kept the stream that stood for standard output at its import."""
    said = io.StringIO()
    kept = logger.registered_handler.setStream(said)
    yield said
    logger.registered_handler.setStream(kept)


def lines(said: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.getvalue().splitlines()]


def test_a_records_fields_are_the_answer() -> None:
    assert handler({}, CONTEXT) == {"rows": 50, "tables": ("ledger",)}


def test_settings_are_parsed_once_and_a_failure_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []

    class Counting(TableSettings):
        def __post_init__(self) -> None:
            parsed.append(self)

    counted = function(Counting)(lambda event, settings: {"rows": settings.minimum_rows})
    monkeypatch.setenv("MINIMUM_ROWS", "many")
    monkeypatch.delenv("LEDGER_TABLE")
    with pytest.raises(InvalidSettings, match=r"LEDGER_TABLE is missing; MINIMUM_ROWS='many'"):
        counted({}, CONTEXT)
    monkeypatch.setenv("MINIMUM_ROWS", "7")
    monkeypatch.setenv("LEDGER_TABLE", "ledger")
    assert [counted({}, CONTEXT) for _ in range(2)] == [{"rows": 7}] * 2
    assert len(parsed) == 1


def test_every_line_names_the_run_and_the_next_event_not_the_last_ones_run(
    said: io.StringIO,
) -> None:
    handler({"run_id": "drop-1", "execution_arn": "arn:e", "rows": [1]}, CONTEXT)
    handler({}, CONTEXT)
    line, next_line = lines(said)
    assert (line["run_id"], line["execution_arn"], line["function_name"]) == ("drop-1", "arn:e", "close")
    assert "rows" not in line
    assert {"run_id", "execution_arn"} & next_line.keys() == set()
    assert line["timestamp"][10] == "T"


def test_an_error_passes_under_its_name_and_its_line_names_the_run(
    said: io.StringIO,
) -> None:
    with pytest.raises(EmptyData, match="no rows"):
        handler({"run_id": "drop-1", "is_empty": True}, CONTEXT)
    line = lines(said)[-1]
    assert (line["level"], line["message"], line["exception_name"]) == ("ERROR", "failed", "EmptyData")
    assert line["run_id"] == "drop-1"
