"""How a run's rows were split, wherever a person reads of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def split_in_words(split: Mapping[str, Any]) -> str | None:
    """Say what the entry ``split`` of ``report.json`` says of what decides; None where it says nothing.

    >>> split_in_words({"by": "key id"}), split_in_words({"by": ["shop"], "group": "shop"})
    ("by the key 'id'", "by groups: all rows of one 'shop' lie in the same split")
    """
    by, group, boundaries = split.get("by"), split.get("group"), split.get("boundaries") or {}
    if by is None:
        return None
    time = boundaries.get("column")
    if time is not None:
        return f"by time: the newest rows by {time!r} test, those before them validate" + (
            "" if group is None else f"; older rows of a {group!r} that occurs in the test are left out"
        )
    if group is not None:
        return f"by groups: all rows of one {group!r} lie in the same split"
    if isinstance(by, list):
        return f"by what the rows hold in {', '.join(map(str, by))}"
    if by.startswith("key "):
        return f"by the key {by.removeprefix('key ')!r}"
    return {"row": "row by row", "all columns": "by what the rows hold in all columns"}.get(by, f"by {by}")
