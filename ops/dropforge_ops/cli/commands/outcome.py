"""``dropforge outcome``: report what turned out to be true, or look a prediction up."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console

from dropforge.domain.contract import Contract
from dropforge.domain.predictions import is_prediction_id
from dropforge_ops.actions import predictions
from dropforge_ops.actions.batch_outcomes import report_outcomes
from dropforge_ops.actions.prediction_api import PredictionApi
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.cli.terminal import read_text
from dropforge_ops.errors import UsageError
from dropforge_ops.render import duration, facts, moment, number, say


def outcome(
    invocation: Invocation,
    *,
    outcomes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID=TRUTH]...",
            help="A prediction's id and its true class or value; an id alone shows it.",
        ),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help="CSV with a header 'id,label' (or 'id,value'), or JSON lines; - is stdin.",
        ),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option(
            "--batch",
            metavar="NAME",
            help="Of a scored file, by its name below batch/in/: FILE's ids are its rows'.",
        ),
    ] = None,
) -> None:
    """Report what turned out to be true, by prediction id. What is recorded is never overwritten."""
    given = outcomes or []
    if batch is not None:
        _of_batch(invocation, batch, given, file)
        return
    if not given and file is None:
        raise UsageError(
            "Give outcomes: ID=TRUTH, or --file FILE (- for stdin). An ID alone shows a prediction."
        )
    api = PredictionApi(invocation.target)
    if file is None and len(given) == 1 and "=" not in given[0]:
        _show_prediction(invocation, api.find(_checked_id(given[0], "the argument")))
        return
    contract = predictions.live_model(invocation.ledger, invocation.documents).contract
    found = [_pair(each, contract) for each in given]
    if file is not None:
        found += parse_outcomes(read_text(file), predictions.kind_of, file, contract)
    if not found:
        raise UsageError(f"--file {file} holds no outcome.")
    recorded = api.record_outcomes(found)
    document = {"recorded": recorded, "outcomes": found}
    invocation.emit(document, lambda out: say(out, f"Recorded {recorded} outcome(s)."))


def _of_batch(invocation: Invocation, batch: str, given: Sequence[str], file: str | None) -> None:
    if file is None or given:
        raise UsageError("--batch takes the outcomes of its rows from --file FILE (- for stdin).")
    contract = predictions.live_model(invocation.ledger, invocation.documents).contract
    found = parse_outcomes(read_text(file), predictions.kind_of, file, contract, of_rows=True)
    if not found:
        raise UsageError(f"--file {file} holds no outcome.")
    answer = report_outcomes(invocation.target, batch, found, _field(contract))
    report = invocation.documents.find(answer["report_uri"])
    quality = None if report is None else report.content["quality"]
    message = f"Recorded {len(found)} outcome(s) of {batch}."
    if quality is not None:
        message += f" Quality: {quality['verdict'].replace('_', ' ')}, on {quality['labelled']} rows."
    elif answer.get("message"):
        message += f" No window was watched with them: {answer['message']}"
    document = {
        "recorded": len(found),
        "outcomes": found,
        "report_uri": answer["report_uri"],
        "quality": quality,
    }
    invocation.emit(document, lambda out: say(out, message))


def parse_outcomes(
    text: str, kind_of: Any, name: str, contract: Contract, *, of_rows: bool = False
) -> list[dict[str, Any]]:
    """Read outcomes from CSV with a header, or from JSON lines, each with ``id`` and ``label`` or ``value``.

    Args:
        of_rows: whether ids are those of a scored file's rows, instead of predictions'.

    Raises:
        UsageError: the text is neither, or a line lacks a field; the line is named.
    """
    rows: list[tuple[str, Mapping[str, Any]]] = []
    if kind_of(name, text) == "jsonl":
        for line_number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                rows.append((f"line {line_number}", predictions.json_object(line, f"line {line_number}")))
    else:
        reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff"), newline=""))
        rows = [(f"line {reader.line_num}", row) for row in reader]
    return [_outcome(row, where, contract, of_rows) for where, row in rows]


def _outcome(row: Mapping[str, Any], where: str, contract: Contract, of_rows: bool) -> dict[str, Any]:
    field = _field(contract)
    if not row.get("id") or row.get(field) in (None, ""):
        raise UsageError(
            f"{where}: needs 'id' and {field!r}, and has {', '.join(map(str, row)) or 'nothing'}."
        )
    identifier = str(row["id"]) if of_rows else _checked_id(str(row["id"]), where)
    return {"id": identifier, field: _truth(row[field], where, contract)}


def _pair(text: str, contract: Contract) -> dict[str, Any]:
    name, separator, truth = text.partition("=")
    if not separator or not truth:
        raise UsageError(f"{text!r} is not of the form ID=TRUTH. One ID alone shows that prediction.")
    return {"id": _checked_id(name, repr(text)), _field(contract): _truth(truth, repr(text), contract)}


def _field(contract: Contract) -> str:
    return "value" if contract.classes is None else "label"


def _truth(value: Any, where: str, contract: Contract) -> str | float:
    if contract.classes is not None:
        if str(value) not in contract.classes:
            raise UsageError(f"{where}: {value!r} is none of the classes {', '.join(contract.classes)}.")
        return str(value)
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise UsageError(f"{where}: {value!r} is no number, which {contract.target!r} is.")
    return found


def _checked_id(text: str, where: str) -> str:
    if not is_prediction_id(text):
        raise UsageError(
            f"{where}: {text!r} is no prediction's id (32 hexadecimal digits), as the prediction API and "
            "'dropforge predict --log' answer it."
        )
    return text


def _show_prediction(invocation: Invocation, found: Mapping[str, Any]) -> None:
    def show(out: Console) -> None:
        answer = found["prediction"]
        facts(
            out,
            [
                ("prediction", found["id"]),
                ("asked", moment(found["at"])),
                ("version", found["model_version"]),
                ("answer", answer.get("label", number(answer.get("value")))),
                ("took", duration(found["latency_ms"] / 1000)),
                ("outcome", "not reported yet" if found["outcome"] is None else number(found["outcome"])),
                ("reported", moment(found["outcome_at"])),
                ("inputs", _inputs(found["inputs"])),
            ],
        )

    invocation.emit({name: value for name, value in found.items() if name != "request_id"}, show)


def _inputs(inputs: Mapping[str, Any]) -> str:
    pairs: Sequence[str] = [f"{name}={'' if value is None else value}" for name, value in inputs.items()]
    return ", ".join(pairs)
