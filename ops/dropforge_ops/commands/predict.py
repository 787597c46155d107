"""``dropforge predict``: ask the live model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from dropforge_ops import predictions
from dropforge_ops.errors import UsageError
from dropforge_ops.invocation import Invocation
from dropforge_ops.render import number, table


def predict(
    invocation: Invocation,
    *,
    row: Annotated[
        list[str] | None, typer.Option("--row", metavar="COL=VALUE,...", help="One row. Can be repeated.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", metavar="FILE", help="Rows as CSV with a header, or JSON lines; - is stdin."),
    ] = None,
    sample_rows: Annotated[
        int | None,
        typer.Option("--sample-rows", min=1, metavar="N", help="Rows of the live model's hold-out."),
    ] = None,
) -> None:
    """Predict rows with the live model."""
    if not row and file is None and sample_rows is None:
        raise UsageError(
            'Give rows: --row "column=value,...", --file FILE (- for stdin), or --sample-rows N.'
        )
    text = None if file is None else _read(file)
    model = predictions.live_model(invocation.ledger, invocation.documents)
    rows = [predictions.parse_row(each, model.contract) for each in row or []]
    if file is not None and text is not None:
        rows += predictions.parse_rows(text, predictions.kind_of(file, text), model.contract)
    if sample_rows is not None:
        rows += predictions.sample_rows(model.live, invocation.documents, sample_rows)
    answers = predictions.predict(
        invocation.target.client("sagemaker-runtime"), model.live.endpoint_name, rows
    )
    document: dict[str, Any] = {
        "version": model.live.version,
        "model_package_arn": model.live.model_package_arn,
        "endpoint_name": model.live.endpoint_name,
        "target": model.contract.target,
        "predictions": answers,
    }
    invocation.emit(document, lambda out: _show(out, model, answers))


def _show(out: Console, model: predictions.LiveModel, answers: list[dict[str, Any]]) -> None:
    target, classes = model.contract.target, model.contract.classes
    if classes is None:
        rows: list[list[Any]] = [
            [index, number(each["value"])] for index, each in enumerate(answers, start=1)
        ]
        out.print(table(["row", target], rows))
        return
    rows = [
        [index, each["label"], *(f"{each['probabilities'][name]:.4f}" for name in classes)]
        for index, each in enumerate(answers, start=1)
    ]
    out.print(table(["row", target, *(f"P({name})" for name in classes)], rows))


def _read(name: str) -> str:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise UsageError(f"--file {name} can't be read: {error.strerror}.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"--file {name} is not UTF-8: {error}.") from error
