"""What became of a run's data, as the pages of runs and versions show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nicegui import html
from nicegui.element import Element

from dropforge.domain.data_report import TITLE, DataReport, ObjectReport
from dropforge_ops.console.components.feedback import notice
from dropforge_ops.console.components.intervals import share_bar
from dropforge_ops.console.components.layout import card
from dropforge_ops.console.components.tables import Column, Table
from dropforge_ops.console.components.text import chip, facts
from dropforge_ops.console.reading.told_data import Rejected, ToldColumn, ToldData

_OBJECTS_SHOWN: Final = 50


def draw_told_data(data: ToldData | None) -> None:
    """A card with rows, files, columns and differences; nothing where there is no report."""
    if data is None:
        return
    report = data.report
    with card(TITLE):
        html.p(report.rows_in_words)
        facts({"split": ", ".join(f"{name} {rows:,}" for name, rows in report.splits.items())})
        if len(report.objects) > 1 or any(each.remark for each in report.objects):
            _draw_objects(report.objects)
        if data.rejected:
            html.h3("Rejected rows by reason")
            Table(_REJECTED, lambda each: f"{each.column}/{each.rule}", label="Rejected rows").show(
                data.rejected
            )
        if report.columns:
            html.h3("Columns")
            html.p(report.columns_in_words)
            Table(_COLUMNS, lambda each: each.report.name, label="Columns").show(data.columns)
        for remark in report.remarks:
            html.p(remark)
        if report.compared_with is not None:
            html.h3(report.difference_title)
            with html.ul().classes("plain-list"):
                for each in report.differences or ("Nothing: the same columns, read the same way.",):
                    html.li(each)


def draw_left_out(report: DataReport | None) -> None:
    """A warning that names the columns that have values and are not used, where there are any."""
    if report is None or not report.left_out:
        return
    notice(report.columns_in_words, tone="warn")
    with html.ul().classes("plain-list"):
        for each in report.left_out_in_words:
            html.li(each)


def histogram(bars: Sequence[int]) -> Element:
    """Bars as high as their counts. Decoration: what it shows has to stand beside it as text."""
    made = html.div().classes("histogram").props("aria-hidden=true")
    highest, width = max(bars), 100 / len(bars)
    corners = []
    for place, count in enumerate(bars):
        # What is there is seen, however little it is.
        top = 100 - max(100 * count / highest, 4 if count else 0)
        corners += [f"{place * width:.2f}% {top:.1f}%", f"{(place + 1) * width:.2f}% {top:.1f}%"]
    made.style(f"clip-path: polygon(0 100%, {', '.join(corners)}, 100% 100%)")
    return made


def _draw_objects(objects: Sequence[ObjectReport]) -> None:
    html.h3("Files")
    Table(_OBJECTS, lambda each: each.source, label="Files").show(objects[:_OBJECTS_SHOWN])
    more = len(objects) - _OBJECTS_SHOWN
    if more > 0:
        html.p(f"… and {more:,} more: 'dropforge runs RUN --json' lists them all.").classes("dim")


def _draw_name(column: ToldColumn) -> None:
    html.span(column.report.name)
    html.div(column.report.read_as).classes("hint")


def _draw_use(column: ToldColumn) -> None:
    report = column.report
    chip(report.use, "warn" if report.is_left_out else "mute" if not report.is_used else "ok")


def _draw_missing(column: ToldColumn) -> None:
    report = column.report
    html.span(report.missing_in_words or "–").classes("" if report.missing else "dim")
    if report.missing_share:
        share_bar(report.missing_share, tone="bad")


def _draw_values(column: ToldColumn) -> None:
    if column.bars:
        histogram(column.bars)
    html.div(column.spread).classes("hint")


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


_OBJECTS: Final[tuple[Column[ObjectReport], ...]] = (
    Column("File", lambda each: each.name),
    Column("Read", lambda each: _count(each.read), kind="number"),
    Column("Rejected", lambda each: _count(each.rejected), kind="number", narrow=False),
    Column("No target", lambda each: _count(each.unlabelled), kind="number", narrow=False),
    Column("Duplicates", lambda each: _count(each.duplicates), kind="number", narrow=False),
    Column("Note", lambda each: each.remark, narrow=False),
)
_REJECTED: Final[tuple[Column[Rejected], ...]] = (
    Column("Rows", lambda each: f"{each.count:,}", kind="number"),
    Column("Column", lambda each: each.column),
    Column("Rule", lambda each: each.rule),
    Column("For example", lambda each: each.examples, narrow=False),
)
_COLUMNS: Final[tuple[Column[ToldColumn], ...]] = (
    Column("Column", _draw_name),
    Column("Use", _draw_use),
    Column("Missing", _draw_missing, narrow=False),
    Column("Values", _draw_values, narrow=False),
    Column("Note", lambda each: each.report.remark),
)
