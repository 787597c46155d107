"""A table whose rows are told apart by a key, so that only those that changed are drawn again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nicegui import html
from nicegui.element import Element

FOLDED_FROM: Final = 12
"""Rows that a table shows which nobody reads to the end; the rest is folded."""


def folded_table[Row](
    columns: Sequence[Column[Row]], rows: Sequence[Row], key: Callable[[Row], str], *, label: str
) -> None:
    """A table that doesn't change, its first rows open and the rest folded away."""
    Table(columns, key, label=label).show(rows[:FOLDED_FROM])
    if len(rows) > FOLDED_FROM:
        with html.details():
            html.summary(f"{len(rows) - FOLDED_FROM} more")
            Table(columns, key, label=f"{label}, the rest").show(rows[FOLDED_FROM:])


@dataclass(frozen=True)
class Column[Row]:
    """``draw`` draws a row's cell, or returns its text. ``kind`` aligns: text, number.

    ``narrow`` columns stay on a small screen; the others are folded away there.
    """

    title: str
    draw: Callable[[Row], Any]
    kind: str = "text"
    narrow: bool = True


class Table[Row]:
    """A table of records. ``key`` names a row; two rows that are equal are not drawn twice."""

    def __init__(self, columns: Sequence[Column[Row]], key: Callable[[Row], str], *, label: str) -> None:
        self._columns = columns
        self._key = key
        self._drawn: dict[str, tuple[Row, Element]] = {}
        # Focusable, so that the keyboard can scroll what is wider than the screen.
        wrap = html.div().classes("table-wrap").props("tabindex=0 role=region")
        wrap.props["aria-label"] = label
        with wrap, html.table().classes("table"):
            with html.thead(), html.tr():
                for column in columns:
                    html.th(column.title, scope="col").classes(self._classes(column))
            self._body = html.tbody()

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows in this order."""
        wanted = {self._key(row): row for row in rows}
        for key in [each for each in self._drawn if each not in wanted]:
            self._drawn.pop(key)[1].delete()
        for index, (key, row) in enumerate(wanted.items()):
            self._place(index, key, row)

    def _place(self, index: int, key: str, row: Row) -> None:
        known = self._drawn.get(key)
        if known is None:
            with self._body:
                element: Element = html.tr()
        else:
            element = known[1]
        if known is None or known[0] != row:
            element.clear()
            with element:
                self._draw_cells(row)
            self._drawn[key] = (row, element)
        if self._body.default_slot.children.index(element) != index:
            element.move(self._body, index)

    def _draw_cells(self, row: Row) -> None:
        for column in self._columns:
            with html.td().classes(self._classes(column)) as cell:
                text = column.draw(row)
            if isinstance(text, str | int):
                cell._text = str(text)

    @staticmethod
    def _classes(column: Column[Row]) -> str:
        return f"{column.kind}{'' if column.narrow else ' wide-only'}"
