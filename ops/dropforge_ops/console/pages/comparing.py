"""Two runs side by side; what is the same is folded away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from nicegui import html, ui

from dropforge.domain.metric_registry import metric_title
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions.compared_runs import ComparedRuns, Part, Row, Side, compare_runs
from dropforge_ops.actions.compared_view import clear
from dropforge_ops.console.components.layout import card
from dropforge_ops.console.components.tables import Column, Table, folded_table
from dropforge_ops.console.components.text import chip, link
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.reading.models import Span
from dropforge_ops.console.reading.wording import between, side_word, signed
from dropforge_ops.render import interval

type _Measured = tuple[str, Mapping[str, Any]]

_OFFERED: Final = 50
"""Versions and runs that a side can be chosen from, of each the newest."""


async def build(context: Context, first: str, second: str) -> None:
    """The comparison, and another choice for either side."""
    found = await context.read(compare_runs, first, second, context.target)
    options = await context.read(_options, context.ledger, found)
    with html.div().classes("page-head"):
        html.h1("Compare")
    _choose(options, found)
    _draw_same_rows(found)
    for part in found.parts:
        _draw(part)


def _options(ledger: LedgerReader, found: ComparedRuns) -> dict[str, str]:
    """What may be compared, by what names it in the address: versions, and candidates that were refused."""
    versions = {f"v{each.version}": f"Version {each.version}" for each in ledger.list_models(_OFFERED)}
    runs = {
        each.run_id: f"Run {each.run_id}"
        for each in ledger.list_runs(_OFFERED)
        if each.metric and not each.version
    }
    return {**versions, **runs, **{_key(each): _title(each) for each in (found.first, found.second)}}


def _key(side: Side) -> str:
    return f"v{side.run.version}" if side.run.version else side.run.run_id


def _title(side: Side) -> str:
    return f"Version {side.run.version}" if side.run.version else f"Run {side.run.run_id}"


def _choose(options: dict[str, str], found: ComparedRuns) -> None:
    keys = [_key(found.first), _key(found.second)]

    def go(place: int, chosen: str) -> None:
        wanted = [*keys]
        wanted[place] = chosen
        ui.navigate.to(f"/compare/{wanted[0]}/{wanted[1]}")

    with card(), html.div().classes("inline"):
        for place, label in enumerate(("A", "B")):
            chosen = ui.select(options, value=keys[place], label=label).props("outlined dense")
            chosen.classes("compare-choice window-choice")
            chosen.on_value_change(lambda event, place=place: go(place, event.value))
        for side, label in ((found.first, "A"), (found.second, "B")):
            link(f"Run of {label}", f"/runs/{side.run.run_id}")


def _draw_same_rows(found: ComparedRuns) -> None:
    paired = found.paired
    with card("On the same rows"):
        if not paired.rows:
            html.p(paired.how)
            return
        left_out = f" {paired.left_out:,} with another true value are left out." if paired.left_out else ""
        html.p(
            f"{paired.rows:,} rows: {paired.how}. Neither model has learned from them.{left_out} A "
            "difference above 0 says that B is better."
        ).classes("dim")
        positive = found.second.metric.get("positive_class")
        columns = (
            Column[_Measured]("Metric", lambda each: metric_title(each[0], positive)),
            Column[_Measured]("A", lambda each: interval(each[1]["first"]), "number"),
            Column[_Measured]("B", lambda each: interval(each[1]["second"]), "number"),
            Column[_Measured]("Difference", _difference, "number"),
            Column[_Measured]("", _word),
        )
        Table(columns, lambda each: each[0], label="Metrics on the same rows").show(
            list(paired.metrics.items())
        )


def _difference(each: _Measured) -> str:
    span = Span.of(each[1]["difference"])
    ends = between(span, of_difference=True)
    value = signed(None if span is None else span.value)
    return f"{value} ({ends})" if ends else value


def _word(each: _Measured) -> None:
    found = each[1]
    _, tone = side_word(Span.of(found["difference"]))
    chip(clear(found["difference"], found["shortage"]), tone)


def _draw(part: Part) -> None:
    differing = [row for row in part.rows if row.differs]
    same = [row for row in part.rows if not row.differs]
    if not part.rows and not part.lines:
        return
    with card(part.title):
        if differing:
            _table(part.title, differing)
        elif not part.lines:
            html.p("The same on both sides.").classes("dim")
        for line in part.lines:
            html.p(line)
        if same:
            with html.details():
                html.summary(f"{len(same)} the same")
                _table(f"{part.title}, the same", same)


def _table(label: str, rows: Sequence[Row]) -> None:
    columns = (
        Column[Row]("", lambda row: row.name),
        Column[Row]("A", partial(_side, 0), "number"),
        Column[Row]("B", partial(_side, 1), "number"),
    )
    folded_table(columns, rows, lambda row: row.name, label=label)


def _side(place: int, row: Row) -> None:
    made = html.span(row.shown[place]).classes("side")
    if row.differs:
        made.classes("differs")


PAGE: Final = Page("/compare/{first}/{second}", "Compare", build, within="/models")
