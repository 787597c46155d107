"""Every run, the newest first, a page at a time."""

from __future__ import annotations

from functools import partial
from typing import Final
from urllib.parse import quote

from nicegui import html, ui

from dropforge.domain.records import Run
from dropforge.ledger_table.reader import Cursor
from dropforge_ops.console.components.actions import button
from dropforge_ops.console.components.drop_zone import drop_zone
from dropforge_ops.console.components.feedback import empty_state, error_banner
from dropforge_ops.console.components.layout import heading
from dropforge_ops.console.components.live import poll
from dropforge_ops.console.components.tables import Column, Table
from dropforge_ops.console.components.text import link, moment, status_chip, took
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.reading.runs import PAGE_ROWS, RunsPage, read_runs
from dropforge_ops.errors import CommandError
from dropforge_ops.render import files, metric, run_seconds, why


def _took(run: Run) -> None:
    took(run_seconds(run), None if run.ended_at else run.started_at)


COLUMNS: Final[tuple[Column[Run], ...]] = (
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
    """The newest runs, kept up to date; older ones by leafing back."""
    heading("Runs", "Every training, from a drop to its end")
    drop_zone(context)
    with html.p():
        link("What became of each dropped file", "/drops")
    pages = _Pages(context)
    pages.show(await context.read(pages.look))
    poll(context, pages.look, pages.show)


class _Pages:
    """The list, leafed through: where each page that was passed begins is remembered for the way back."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._starts: list[Cursor | None] = [None]
        self._found: RunsPage | None = None
        self._problem = html.div()
        self._table: Table[Run] | None = None
        self._place = html.div()
        with html.nav().classes("pager").props('aria-label="Pages of the list"') as self._pager:
            self._newer = button("Newer", partial(self._turn, older=False), icon="chevron_left")
            self._where = ui.label().classes("dim")
            self._older = button("Older", partial(self._turn, older=True), icon="chevron_right")

    def look(self) -> RunsPage:
        return read_runs(self._context.ledger, self._starts[-1])

    def show(self, found: RunsPage) -> None:
        if found == self._found or found.start != self._starts[-1]:
            return  # nothing new, or the answer to a page that was left since
        if self._found is None or bool(self._found.runs) != bool(found.runs):
            self._draw_frame(bool(found.runs))
        self._found = found
        if self._table is not None:
            self._table.show(found.runs)
        number = len(self._starts)
        first = (number - 1) * PAGE_ROWS + 1
        self._where.set_text(f"{first} to {first + len(found.runs) - 1}")
        self._newer.set_enabled(number > 1)
        self._older.set_enabled(found.older is not None)
        self._pager.set_visibility(number > 1 or found.older is not None)

    def _draw_frame(self, has_runs: bool) -> None:
        self._place.clear()
        self._table = None
        with self._place:
            if has_runs:
                self._table = Table(COLUMNS, lambda run: run.run_id, label="Runs")
            else:
                empty_state("No run yet", "Drop a CSV, JSON lines or Parquet file to train the first model.")

    async def _turn(self, *, older: bool) -> None:
        if older and self._found is not None and self._found.older is not None:
            self._starts.append(self._found.older)
        elif not older and len(self._starts) > 1:
            self._starts.pop()
        self._problem.clear()
        try:
            self.show(await self._context.read(self.look))
        except CommandError as error:
            with self._problem:
                error_banner(str(error))


PAGE: Final = Page("/runs", "Runs", build, icon="list", takes_drops=True)
