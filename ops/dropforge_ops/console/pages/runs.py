"""Every run, the newest first, a page at a time, or those that somebody looks for."""

from __future__ import annotations

from functools import partial
from typing import Final
from urllib.parse import quote

from nicegui import html, ui

from dropforge.domain.records import Run, RunStatus
from dropforge.ledger_table.reader import Cursor
from dropforge_ops.console.components.actions import button
from dropforge_ops.console.components.drop_zone import drop_zone
from dropforge_ops.console.components.feedback import empty_state, error_banner
from dropforge_ops.console.components.finder import Finder
from dropforge_ops.console.components.layout import heading
from dropforge_ops.console.components.live import poll
from dropforge_ops.console.components.tables import Column, Order, Table
from dropforge_ops.console.components.text import link, moment, status_chip, took
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.reading.finding import Wanted
from dropforge_ops.console.reading.runs import PAGE_ROWS, RunsPage, find_runs, newest_runs, read_runs
from dropforge_ops.errors import CommandError
from dropforge_ops.render import files, metric, run_seconds, why

# A find reads many runs, which costs.
_KEPT_S: Final = 15.0


def _took(run: Run) -> None:
    took(run_seconds(run), None if run.ended_at else run.started_at)


def _measured(run: Run) -> float | None:
    return (run.metric or {}).get("value")


COLUMNS: Final[tuple[Column[Run], ...]] = (
    Column("Run", lambda run: link(run.run_id, f"/runs/{quote(run.run_id)}"), by=lambda run: run.run_id),
    Column("Status", lambda run: status_chip(run.status), by=lambda run: run.status),
    Column("Trigger", lambda run: run.trigger, narrow=False, by=lambda run: run.trigger),
    Column("Files", files, narrow=False),
    Column("Metric", lambda run: metric(run.metric), kind="number", by=_measured),
    Column("Started", lambda run: moment(run.started_at), by=lambda run: run.started_at),
    Column("Took", _took, kind="number", narrow=False, by=run_seconds),
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


type _Asked = tuple[Cursor | None, Wanted, Order[Run] | None]


class _Pages:
    """The list, leafed through: where each page that was passed begins is remembered for the way back."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._starts: list[Cursor | None] = [None]
        self._found: RunsPage | None = None
        self._finder = Finder("/runs", "runs", RunStatus, self._begin_again)
        self._problem = html.div()
        self._table = Table(COLUMNS, lambda run: run.run_id, label="Runs", on_order=self._begin_again)
        self._empty = html.div()
        with html.nav().classes("pager").props('aria-label="Pages of the list"') as self._pager:
            self._newer = button("Newer", partial(self._turn, older=False), icon="chevron_left")
            self._where = ui.label().classes("dim")
            self._older = button("Older", partial(self._turn, older=True), icon="chevron_right")

    @property
    def _asked(self) -> _Asked:
        return self._starts[-1], self._finder.wanted, self._table.order

    def look(self) -> tuple[_Asked, RunsPage]:
        """Read the page that is asked for now. One that is sought or sorted comes from the newest runs."""
        start, wanted, order = asked = self._asked
        if not wanted and order is None:
            return asked, read_runs(self._context.ledger, start)
        newest = self._context.kept(newest_runs, _KEPT_S)
        return asked, find_runs(newest, wanted, order, start)

    def show(self, looked: tuple[_Asked, RunsPage]) -> None:
        asked, found = looked
        if found == self._found or asked != self._asked:
            return  # nothing new, or the answer to what was asked before
        self._found = found
        self._table.show(found.runs)
        is_empty = not found.runs and found.looked_at is None
        for each in (self._table, self._finder):
            each.element.set_visibility(not is_empty)
        self._empty.clear()
        if is_empty:
            with self._empty:
                empty_state("No run yet", "Drop a CSV, JSON lines or Parquet file to train the first model.")
        self._finder.say(_found_in_words(found))
        number = len(self._starts)
        first = (number - 1) * PAGE_ROWS + 1
        self._where.set_text(f"{first} to {first + len(found.runs) - 1}")
        self._newer.set_enabled(number > 1)
        self._older.set_enabled(found.older is not None)
        self._pager.set_visibility(number > 1 or found.older is not None)

    async def _begin_again(self) -> None:
        self._starts = [None]
        await self._look_now()

    async def _turn(self, *, older: bool) -> None:
        if older and self._found is not None and self._found.older is not None:
            self._starts.append(self._found.older)
        elif not older and len(self._starts) > 1:
            self._starts.pop()
        await self._look_now()

    async def _look_now(self) -> None:
        self._problem.clear()
        try:
            self.show(await self._context.read(self.look))
        except CommandError as error:
            with self._problem:
                error_banner(str(error))


def _found_in_words(found: RunsPage) -> str:
    if found.looked_at is None:
        return ""
    many = f"the newest {found.looked_at:,} runs" if found.is_cut else f"{found.looked_at:,} runs"
    return f"{found.matches:,} of {many}"


PAGE: Final = Page("/runs", "Runs", build, icon="list", takes_drops=True)
