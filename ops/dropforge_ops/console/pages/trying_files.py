"""Predict the rows of a file: while one waits, or as a batch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from nicegui import events, html, ui

from dropforge.domain.figures import percent
from dropforge_ops.console.components.actions import button
from dropforge_ops.console.components.feedback import error_banner, notice
from dropforge_ops.console.components.layout import card
from dropforge_ops.console.components.live import live
from dropforge_ops.console.components.tables import Column, Table
from dropforge_ops.console.components.text import chip, facts
from dropforge_ops.console.context import Context
from dropforge_ops.console.dropping import safe_name
from dropforge_ops.console.reading.batch_scoring import FAILED, SCORED, Batch, BatchState
from dropforge_ops.console.reading.trying import (
    MOST_UPLOADED_BYTES,
    MOST_UPLOADED_ROWS,
    Answers,
    Form,
    Row,
    Upload,
    ask,
    read_upload,
    result_csv,
)
from dropforge_ops.errors import CommandError

_SHOWN_ROWS: Final = 50
_NOW, _BATCH = "now", "batch"


def draw_files(context: Context, form: Form) -> None:
    """The card that takes a file."""
    with card("Many rows"):
        html.p(
            "A CSV with a header that names every feature; the result is the same file with what "
            "was predicted beside "
            "each row, or what is wrong with it."
        ).classes("dim")
        way = ui.radio(
            {
                _NOW: f"Now, up to {MOST_UPLOADED_ROWS:,} rows",
                _BATCH: "As a batch, by a transform job: its result is kept under batch/out/",
            },
            value=_NOW,
        )
        way.props("dense").classes("ways")
        log = ui.checkbox("Log them", value=False).props("dense")
        html.p("Logged rows count in the watch for drift: leave it off for rows that you made up.").classes(
            "hint"
        )
        log.bind_enabled_from(way, "value", lambda value: value == _NOW)
        outcome = html.div().classes("stacked").props("aria-live=polite")

        async def take(event: events.UploadEventArguments) -> None:
            data = await event.file.read()
            upload.reset()
            outcome.clear()
            with outcome:
                try:
                    name = safe_name(event.file.name)
                    if way.value == _BATCH:
                        await _score(context, name, data)
                    else:
                        await _predict(context, form, name, data, log=bool(log.value))
                except CommandError as error:
                    error_banner(str(error))

        def refused() -> None:
            outcome.clear()
            with outcome:
                error_banner(
                    f"The file is no CSV, or larger than {MOST_UPLOADED_BYTES // 1024**2} MiB. "
                    "'dropforge batch "
                    "FILE' scores larger ones."
                )

        upload = ui.upload(
            on_upload=take, on_rejected=refused, max_file_size=MOST_UPLOADED_BYTES, auto_upload=True
        )
        upload.props('accept=".csv,text/csv"').classes("hidden")
        choose = button("Choose a CSV file", lambda: upload.run_method("pickFiles"), icon="upload_file")
        choose.move(target_index=choose.parent_slot.children.index(outcome))  # type: ignore[union-attr]


async def _predict(context: Context, form: Form, name: str, data: bytes, *, log: bool) -> None:
    upload = await context.read(read_upload, data, form.contract)
    answers = await context.read(ask, context.target, form, upload.good, log=log)
    bad = len(upload.rows) - len(answers.predictions)
    tone = "ok" if not bad else "warn"
    with notice(f"{len(answers.predictions):,} of {len(upload.rows):,} rows were predicted.", tone=tone):
        pass
    for note in upload.notes:
        notice(note)
    result = result_csv(upload, answers, form.contract)
    button(
        "Download the result",
        lambda: ui.download.content(result.encode(), f"predicted-{name}", "text/csv"),
        icon="download",
    )
    if bad:
        html.h3(f"{bad:,} rows with problems")
        troubled = [row for row in upload.rows if row.number not in answers.predictions]
        _show_some(troubled, partial(_problem_columns, answers), "Rows with problems")
    html.h3("Predicted rows")
    _show_some(
        [row for row in upload.rows if row.number in answers.predictions],
        partial(_answer_columns, form, upload, answers),
        "Predicted rows",
    )


def _show_some(rows: list[Row], columns: Any, label: str) -> None:
    if not rows:
        html.p("None.").classes("dim")
        return
    Table(columns(), lambda row: str(row.number), label=label).show(rows[:_SHOWN_ROWS])
    if len(rows) > _SHOWN_ROWS:
        html.p(f"The first {_SHOWN_ROWS} of {len(rows):,} are shown; the download has all of them.").classes(
            "dim"
        )


def _problem_columns(answers: Answers) -> list[Column[Row]]:
    def problem(row: Row) -> str:
        return answers.problems.get(row.number) or "; ".join(row.problems)

    return [Column("Row", lambda row: str(row.number), kind="number"), Column("Problem", problem)]


def _answer_columns(form: Form, upload: Upload, answers: Answers) -> list[Column[Row]]:
    contract = form.contract

    def said(row: Row) -> Mapping[str, Any]:
        return answers.predictions[row.number]

    columns: list[Column[Row]] = [Column("Row", lambda row: str(row.number), kind="number")]
    if contract.key is not None and contract.key in upload.header:
        key = contract.key
        columns.append(Column(key, lambda row: row.texts.get(key, "")))
    if contract.classes is None:
        columns.append(Column(f"{contract.target}", lambda row: f"{said(row)['value']:.6g}", kind="number"))
    else:
        columns.append(Column(contract.target, lambda row: str(said(row)["label"])))
        columns.append(
            Column(
                "How sure",
                lambda row: percent(said(row)["probabilities"][said(row)["label"]]),
                kind="number",
            )
        )
    if contract.target in upload.header:
        columns.append(Column("In the file", lambda row: row.texts.get(contract.target, ""), narrow=False))
    if any("id" in each for each in answers.predictions.values()):
        columns.append(Column("Prediction id", lambda row: str(said(row).get("id", "")), narrow=False))
    return columns


async def _score(context: Context, name: str, data: bytes) -> None:
    batch = await context.read(Batch.send, context.target, context.documents, name, data)
    html.p(f"Sent to {batch.sent.uri}.").classes("dim")
    await live(context, batch.look, partial(_show_batch, context, batch), until=lambda found: found.is_final)


def _show_batch(context: Context, batch: Batch, found: BatchState) -> None:
    if found.status == FAILED:
        error_banner(f"It was not scored: {found.problem}")
        return
    if found.status != SCORED or found.manifest is None:
        with html.div().classes("inline"):
            chip(found.status, "run")
            html.span(found.state or "The event that starts the scoring is on its way.").classes("dim")
        return
    manifest = found.manifest
    rows = manifest["rows"]
    notice(
        f"{rows['scored']:,} of {rows['read']:,} rows were scored by version {manifest['model']['version']}.",
        tone="ok" if not rows["rejected"] else "warn",
    )
    reasons = {
        f"{each['column'] or 'row'}: {each['rule']}": f"{each['rows']:,}"
        for each in manifest["rejected"]["reasons"]
    }
    facts({"result": manifest["result"]["uri"], "rejected rows": manifest["rejected"]["uri"], **reasons})
    problem = html.div().classes("stacked")

    async def download() -> None:
        try:
            data = await context.read(batch.result, manifest)
        except CommandError as error:
            problem.clear()
            with problem:
                error_banner(str(error))
            return
        ui.download.content(data, f"scored-{batch.sent.key.rpartition('/')[2]}")

    button("Download the result", download, icon="download")
