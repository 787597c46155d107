"""``dropforge predict``: ask the live model."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from dropforge_ops.actions import predictions
from dropforge_ops.actions.prediction_api import PredictionApi
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.cli.terminal import read_text
from dropforge_ops.errors import UsageError
from dropforge_ops.render import number, table


def predict(
    invocation: Invocation,
    *,
    row: Annotated[
        list[str] | None,
        typer.Option("--row", metavar="COL=VALUE,...", help="One row, or the JSON of one. Can be repeated."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="FILE", help="Rows as CSV with a header, or JSON lines; - is stdin."),
    ] = None,
    sample_rows: Annotated[
        int | None,
        typer.Option("--sample-rows", min=1, metavar="N", help="Rows of the live model's hold-out."),
    ] = None,
    log: Annotated[
        bool,
        typer.Option(
            "--log",
            help="As a caller of the API: logged, watched for drift, with an id for 'dropforge outcome'.",
        ),
    ] = False,
    outcomes: Annotated[
        bool,
        typer.Option(
            "--outcomes", help="With --log: report the target column of FILE as what turned out to be true."
        ),
    ] = False,
) -> None:
    """Predict rows with the live model."""
    if not row and file is None and sample_rows is None:
        raise UsageError(
            'Give rows: --row "column=value,...", --file FILE (- for stdin), or --sample-rows N.'
        )
    if outcomes and (file is None or not log or row or sample_rows is not None):
        raise UsageError("--outcomes reports the target column of a file, with --log: give --file alone.")
    text = None if file is None else read_text(file)
    model = predictions.live_model(invocation.ledger, invocation.documents)
    truths: list[Any] = []
    if outcomes and file is not None and text is not None:
        truths = predictions.parse_truths(text, predictions.kind_of(file, text), model.contract)
    rows = [predictions.parse_row(each, model.contract) for each in row or []]
    if file is not None and text is not None:
        rows += predictions.parse_rows(text, predictions.kind_of(file, text), model.contract)
    if sample_rows is not None:
        rows += predictions.sample_rows(model.live, invocation.documents, sample_rows)
    answers = _logged(invocation, rows) if log else _asked(invocation, model, rows)
    if outcomes:
        field = "value" if model.contract.classes is None else "label"
        known = zip(answers, truths, strict=True)
        reported = [{"id": each["id"], field: truth} for each, truth in known if truth is not None]
        PredictionApi(invocation.target).record_outcomes(reported)
        invocation.note(f"Recorded {len(reported)} outcomes.")
    document: dict[str, Any] = {
        "version": model.live.version,
        "model_package_arn": model.live.model_package_arn,
        "endpoint_name": model.live.endpoint_name,
        "target": model.contract.target,
        "predictions": answers,
    }
    invocation.emit(document, lambda out: _show(out, model, answers))


def _asked(
    invocation: Invocation, model: predictions.LiveModel, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    return predictions.predict_live(invocation.target, model.live, rows)


def _logged(invocation: Invocation, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not rows:
        raise UsageError("There are no rows to predict.")
    answered = PredictionApi(invocation.target).predict(rows)
    found: list[dict[str, Any]] = answered["predictions"]
    return found


def _show(out: Console, model: predictions.LiveModel, answers: list[dict[str, Any]]) -> None:
    target, classes = model.contract.target, model.contract.classes
    logged = ["id"] if any("id" in each for each in answers) else []

    def cells(each: dict[str, Any]) -> list[Any]:
        if classes is None:
            return [number(each["value"])]
        return [each["label"], *(f"{each['probabilities'][name]:.4f}" for name in classes)]

    columns = [target] if classes is None else [target, *(f"P({name})" for name in classes)]
    rows = [
        [index, *cells(each), *(each[name] for name in logged)] for index, each in enumerate(answers, start=1)
    ]
    out.print(table(["row", *columns, *logged], rows))
