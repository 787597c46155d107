"""Every run, the newest first."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from dropforge.domain.records import Run
from dropforge_ops.console.components.drop_zone import drop_zone
from dropforge_ops.console.components.feedback import empty_state
from dropforge_ops.console.components.layout import heading
from dropforge_ops.console.components.live import live
from dropforge_ops.console.components.tables import Column, Table
from dropforge_ops.console.components.text import link, moment, status_chip, took
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.reading.runs import RunsPage, read_runs
from dropforge_ops.render import files, metric, run_seconds, why


def _took(run: Run) -> None:
    took(run_seconds(run), None if run.ended_at else run.started_at)


_COLUMNS: Final[tuple[Column[Run], ...]] = (
    Column("Run", lambda run: link(run.run_id, f"/runs/{quote(run.run_id)}")),
    Column("Status", lambda run: status_chip(run.status)),
    Column("Trigger", lambda run: run.trigger, narrow=False),
    Column("Files", files, narrow=False),
    Column("Metric", lambda run: metric(run.metric), kind="number"),
    Column("Started", lambda run: moment(run.started_at)),
    Column("Took", _took, kind="number", narrow=False),
    Column("Why", why, narrow=False),
)


async def build(context: Context) -> None:
    """The newest runs; what changes is drawn again."""
    heading("Runs", "Every training, from a drop to its end")
    drop_zone(context)
    await live(context, lambda: read_runs(context.ledger), _show)


def _show(found: RunsPage) -> None:
    if not found.runs:
        empty_state("No run yet", "Drop a CSV, JSON lines or Parquet file to train the first model.")
        return
    Table(_COLUMNS, lambda run: run.run_id, label="Runs").show(found.runs)


PAGE: Final = Page("/runs", "Runs", build, icon="list")
