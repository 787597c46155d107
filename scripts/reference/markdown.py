"""Tables and cells in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def cell(value: Any) -> str:
    """A value on one line."""
    return " ".join(str(value).split())


def code(value: Any) -> str:
    """A value as code; nothing where it is empty."""
    text = cell(value)
    return f"`{text}`" if text else ""


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table with a header; a bar within a cell is escaped."""
    cells = [[cell(each).replace("|", "\\|") for each in row] for row in rows]
    lines = [columns, ["---"] * len(columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def first_sentence(text: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())
