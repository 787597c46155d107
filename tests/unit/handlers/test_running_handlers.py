"""A handler can be run, and looked into, in a process of one's own."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from scripts.run_handler import ROOT, Context, Unusable, debugger_at, handler_of, logical_id, main


@pytest.mark.parametrize(
    "path", sorted((ROOT / "functions").glob("*/app.py")), ids=lambda path: path.parent.name
)
def test_every_function_is_known_by_its_folder_and_has_an_event(path: Path) -> None:
    folder = path.parent.name
    assert logical_id(folder) == "".join(word.title() for word in folder.split("_")) + "Function"
    assert json.loads((ROOT / "events" / f"{folder}.json").read_text())


def test_an_unknown_function_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(Unusable, match=r"no function is called 'close'; there are .*close_run"):
        logical_id("close")


def test_without_a_local_host_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scripts.run_handler.ROOT", tmp_path)
    assert main(["close_run"]) == 2
    assert "start one with 'make up'" in capsys.readouterr().err


def test_the_debugger_stops_at_the_first_line_of_the_handler_behind_its_decorators(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handler = handler_of("close_run")
    event: dict[str, Any] = {}
    names = ("POWERTOOLS_SERVICE_NAME", "LEDGER_TABLE", "TRAINING_MACHINE_ARN", "DEPLOYMENT_MACHINE_ARN")
    for name in names:
        monkeypatch.setenv(name, name)
    said = io.StringIO()
    context = Context("close", "arn:aws:lambda:us-east-1:123456789012:function:close", 512)
    debugger = debugger_at(handler, stdin=io.StringIO("p sorted(event)\nq\n"), stdout=said)
    debugger.runcall(handler, event, context)
    assert "functions/close_run/app.py" in said.getvalue()
    assert 'if "batch" in event' in said.getvalue()


def test_a_call_has_time_left_and_an_id_of_its_own() -> None:
    first, second = (Context("name", "arn", 128) for _ in range(2))
    assert 0 < first.get_remaining_time_in_millis() <= 900_000
    assert first.aws_request_id != second.aws_request_id
