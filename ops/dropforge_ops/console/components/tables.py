"""A table whose rows are told apart by a key, so that only those that changed are drawn again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
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

    ``narrow`` columns stay on a small screen; the others are folded away there. ``by`` is what the rows can
    be sorted by, where they can; rows without it stand last.
    """

    title: str
    draw: Callable[[Row], Any]
    kind: str = "text"
    narrow: bool = True
    by: Callable[[Row], Any] | None = None


@dataclass(frozen=True)
class Order[Row]:
    """By which column rows are sorted, and which end comes first."""

    column: Column[Row]
    is_descending: bool

    def sort(self, rows: Sequence[Row]) -> list[Row]:
        """The rows in this order; those that are equal in it stay as they are."""
        by = self.column.by
        assert by is not None  # noqa: S101 - only such a column has a button
        known = [row for row in rows if by(row) is not None]
        unknown = [row for row in rows if by(row) is None]
        return [*sorted(known, key=by, reverse=self.is_descending), *unknown]


class Table[Row]:
    """A table of records. ``key`` names a row; two rows that are equal are not drawn twice.

    The titles of columns that have ``by`` are buttons: they sort what is shown, once more the other way
    round, and then no more. ``on_order`` is called after each.
    """

    def __init__(
        self,
        columns: Sequence[Column[Row]],
        key: Callable[[Row], str],
        *,
        label: str,
        on_order: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._columns = columns
        self._key = key
        self._on_order = on_order
        self._rows: Sequence[Row] = ()
        self._heads: dict[str, Element] = {}
        self._drawn: dict[str, tuple[Row, Element]] = {}
        self.order: Order[Row] | None = None
        # Focusable, so that the keyboard can scroll what is wider than the screen.
        self.element = html.div().classes("table-wrap").props("tabindex=0 role=region")
        self.element.props["aria-label"] = label
        with self.element, html.table().classes("table"):
            with html.thead(), html.tr():
                for column in columns:
                    self._draw_head(column)
            self._body = html.tbody()

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows, in this order unless a column's is chosen."""
        self._rows = rows
        wanted = {self._key(row): row for row in (rows if self.order is None else self.order.sort(rows))}
        for key in [each for each in self._drawn if each not in wanted]:
            self._drawn.pop(key)[1].delete()
        for index, (key, row) in enumerate(wanted.items()):
            self._place(index, key, row)

    def _draw_head(self, column: Column[Row]) -> None:
        head = html.th("" if column.by else column.title, scope="col").classes(self._classes(column))
        if column.by is None:
            return
        self._heads[column.title] = head
        with head:
            choose = html.button(column.title).classes("sort").props('type="button"')
        choose.on("click", lambda: self._choose_order(column))

    async def _choose_order(self, column: Column[Row]) -> None:
        # Of numbers and times the greatest are looked for first.
        first = column.kind == "number"
        if self.order is None or self.order.column is not column:
            self.order = Order(column, first)
        else:
            self.order = Order(column, not first) if self.order.is_descending is first else None
        for title, head in self._heads.items():
            head.props.pop("aria-sort", None)
            if self.order is not None and self.order.column.title == title:
                head.props["aria-sort"] = "descending" if self.order.is_descending else "ascending"
            head.update()
        self.show(self._rows)
        if self._on_order is not None:
            await self._on_order()

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
