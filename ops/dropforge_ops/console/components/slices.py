"""The deciding metric in slices of the hold-out: those that are guarded, and those that are only shown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from nicegui import html

from dropforge.domain.figures import figure
from dropforge.domain.slice_words import WHAT_HELPS
from dropforge_ops.console.components.intervals import interval_bar, scale_of
from dropforge_ops.console.components.layout import card
from dropforge_ops.console.components.tables import Column, Table
from dropforge_ops.console.components.text import chip
from dropforge_ops.console.reading.models import Guard, Judged, SliceRow, Span
from dropforge_ops.console.reading.wording import between, side_word, signed
from dropforge_ops.render import DISPARITY, NO_DISPARITY

_VERDICTS: Final = {"worse": ("worse", "bad"), "holds": ("holds", "ok"), "cant_say": ("can't say", "warn")}


def draw_slices(verdict: Judged) -> None:
    """Draw the guarded slices, if there are any, and the others."""
    guarded = [each for each in verdict.slices if each.is_guarded]
    others = [each for each in verdict.slices if not each.is_guarded]
    if guarded and verdict.guard is not None:
        with card("Guarded slices"):
            html.p(_explained(verdict.guard, guarded, verdict.deciding.name)).classes("dim")
            _draw_table(guarded, verdict, "Guarded slices")
            for column in verdict.guard.columns:
                if column.others_count:
                    named = ", ".join(column.others)
                    more = column.others_count - len(column.others)
                    html.p(
                        f"{column.name}: {column.others_count:,} rarer values share one slice: {named}"
                        + (f" and {more:,} more." if more else ".")
                    ).classes("dim")
            _draw_disparity(verdict.guard)
    if others:
        name = verdict.deciding.name
        with card("Slices"):
            html.p(
                f"{name} on the rows with one value of a column; the line is the whole hold-out. Small "
                "slices have wide intervals, and one slice in 20 looks different by chance."
            ).classes("dim")
            _draw_table(others, verdict, "Slices")


def _explained(guard: Guard, slices: Sequence[SliceRow], name: str) -> str:
    if not guard.compared:
        why = (
            "None has enough rows to compare both models in."
            if any(each.verdict == "cant_say" for each in slices)
            else "There is no live model that they could be compared with."
        )
        return f"{name} in every slice of the guarded columns. {why}"
    small = (
        "a slice with too few rows leaves the verdict to a person"
        if guard.too_small == "undecided"
        else "a slice with too few rows is told and decides nothing"
    )
    return (
        f"{name} in every slice of the guarded columns. A candidate that is worse in one beyond chance "
        f"is rejected; {small}. "
        + (
            f"Intervals of gains are widened because {guard.compared} slices are compared (Bonferroni): each "
            f"holds with {figure(100 * guard.confidence)} %, all together with 95 %."
            if guard.compared > 1
            else "One has enough rows to compare both models in."
        )
    )


def _draw_table(slices: Sequence[SliceRow], verdict: Judged, label: str) -> None:
    overall = verdict.deciding.candidate
    low, high = scale_of(*(each.candidate for each in slices), overall)
    columns = [
        Column[SliceRow]("Slice", lambda row: f"{row.column} = {row.label}"),
        Column("Rows", lambda row: f"{row.rows:,}", kind="number", narrow=False),
        Column(verdict.deciding.name, _draw_value, kind="number"),
        Column(
            "",
            lambda row: interval_bar(row.candidate, low, high, mark=overall.value, tone="first"),
            narrow=False,
        ),
    ]
    if any(row.difference is not None for row in slices):
        columns += [
            Column("Gain", lambda row: draw_gain(row.difference), kind="number"),
            Column("", _draw_side),
        ]
    Table(columns, lambda row: f"{row.column}={row.label}", label=label).show(slices)
    if any(row.untold or row.verdict == "cant_say" for row in slices):
        html.p(f"About slices without a figure or a verdict: {WHAT_HELPS}").classes("dim")


def _draw_value(row: SliceRow) -> None:
    """The value, and why there is none or no interval."""
    html.span(figure(row.candidate.value))
    if row.untold:
        html.div(row.untold).classes("hint")


def draw_gain(span: Span | None) -> None:
    """A paired difference, and below it between which limits it lies."""
    html.span(signed(None if span is None else span.value))
    html.div(between(span, of_difference=True)).classes("hint")


def _draw_side(row: SliceRow) -> None:
    if row.verdict in _VERDICTS:
        chip(*_VERDICTS[row.verdict])
        if row.shortage and row.candidate.value is not None:
            html.div(row.shortage).classes("hint")
    elif row.difference is not None:
        chip(*side_word(row.difference))


_Disparity = Column[tuple[str, str, dict[str, float | None]]]


def _measure(name: str, row: tuple[str, str, dict[str, float | None]]) -> str:
    return figure(row[2].get(name))


def _draw_disparity(guard: Guard) -> None:
    told = [
        (column.name, "live model" if model == "champion" else model, values)
        for column in guard.columns
        for model, values in column.disparity.items()
        if values is not None
    ]
    if not told:
        return
    html.h3("Disparity")
    html.p(
        "How differently rows are called positive from slice to slice: shares of rows (parity), and rates of "
        "true and false positives (odds). Differences are best at 0, ratios at 1. Nothing is decided by them."
    ).classes("dim")
    rows = [each for each in told if any(value is not None for value in each[2].values())]
    for column in dict.fromkeys(each[0] for each in told if each not in rows):
        html.p(f"{column}: {NO_DISPARITY}.")
    if not rows:
        return
    columns = [_Disparity("Column", lambda row: f"{row[0]}, {row[1]}")]
    columns += [
        _Disparity(title, partial(_measure, name), kind="number") for name, title in DISPARITY.items()
    ]
    Table(columns, lambda row: f"{row[0]},{row[1]}", label="Disparity").show(rows)
