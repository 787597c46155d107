"""The surfaces that a page is laid out on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nicegui import html
from nicegui.element import Element


def heading(title: str, hint: str | None = None) -> None:
    """The page's own title, and what it is about in a line."""
    with html.div().classes("page-head"):
        html.h1(title)
        if hint:
            html.p(hint).classes("dim")


@contextmanager
def card(title: str | None = None, *, wide: bool = False) -> Iterator[Element]:
    """A surface with a heading: ``with card("Rows"): …``. ``wide`` takes a whole row of a grid."""
    with html.section().classes("card wide" if wide else "card") as made:
        if title:
            html.h2(title)
        yield made


@contextmanager
def grid() -> Iterator[Element]:
    """Cards beside each other, as many as the screen has room for."""
    with html.div().classes("grid") as made:
        yield made
