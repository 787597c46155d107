"""How drops are cut into chunks that are prepared apart: items, spans, and where rows begin in them.

An item is what one function call works on: spans in the order of the rows, each a whole object or a part of
one. A part's bounds are byte offsets, or for Parquet row groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from dropforge.domain.ports import ObjectRef

SPANS_PER_ITEM = 300
"""Of many small objects; at some 500 bytes each, an item stays below the 256 KiB that a state may hold."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of an object, or all of it.

    Attributes:
        number: the object's place in the order of the rows: the oldest drop is 0.
        start, end: where the part begins and ends. A start of None is the object's first row; an end of None,
            which only a whole object has, its last.
        is_last: whether it is the last of its object.
        is_rough: whether the bounds may lie in the middle of a row, as those of CSV do until `resolved`.
    """

    ref: ObjectRef
    number: int
    start: int | None = None
    end: int | None = None
    is_last: bool = True
    is_rough: bool = False

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Span:
        rest = {name: raw[name] for name in ("number", "start", "end", "is_last", "is_rough")}
        return cls(ObjectRef.from_dict(raw["ref"]), **rest)


Item = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """How an object may be cut.

    Attributes:
        size: in bytes.
        starts: offsets (or row groups) where parts begin but for the first, ascending; empty for one span.
        end: the offset (or the number of row groups) where the last part ends.
        is_rough: see `Span`.
    """

    ref: ObjectRef
    size: int
    starts: Sequence[int] = ()
    end: int | None = None
    is_rough: bool = False


def even_starts(size: int, chunk_bytes: int) -> list[int]:
    """Return where parts of about equal size begin, but for the first; none is larger than `chunk_bytes`.

    Example:
        >>> even_starts(100, 40), even_starts(40, 40)
        ([33, 66], [])
    """
    parts = max(1, -(-size // chunk_bytes))
    return [size * part // parts for part in range(1, parts)]


def items_of(cuts: Sequence[Cut], chunk_bytes: int) -> list[Item]:
    """Return the items for objects in the order of their rows; small neighbours share an item."""
    items: list[Item] = []
    held: list[Span] = []
    held_bytes = 0
    for number, cut in enumerate(cuts):
        spans = list(_spans(cut, number))
        small = len(spans) == 1 and held_bytes + cut.size <= chunk_bytes and len(held) < SPANS_PER_ITEM
        if held and not small:
            items.append(tuple(held))
            held, held_bytes = [], 0
        if len(spans) > 1:
            items += [(span,) for span in spans]
        else:
            held += spans
            held_bytes += cut.size
    if held:
        items.append(tuple(held))
    return items


def _spans(cut: Cut, number: int) -> Iterator[Span]:
    bounds = [None, *cut.starts, cut.end]
    for position, (start, end) in enumerate(pairwise(bounds)):
        yield Span(cut.ref, number, start, end, position == len(bounds) - 2, cut.is_rough)


@dataclass(frozen=True, slots=True)
class Scan:
    """What a part of a CSV object tells of where the next one begins, not knowing what came before it.

    Attributes:
        if_outside, if_inside: where the first row behind the part begins, if the part ends outside quotes and
            if it ends inside; None if none does. The same twice is where a row begins either way.
        open_if_outside, open_if_inside: whether the part ends inside quotes, if it begins outside or inside;
            None where nobody has to know.
    """

    if_outside: int
    if_inside: int | None
    open_if_outside: bool | None = None
    open_if_inside: bool | None = None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Scan:
        return cls(raw["if_outside"], raw["if_inside"], raw["open_if_outside"], raw["open_if_inside"])


def next_rows(scans: Sequence[Scan]) -> list[int | None]:
    """Return where the first row behind each part of one object begins; None where that can't be told.

    Example: the second part ends inside a quoted field that ends with the third one's 9th byte.
        >>> next_rows([Scan(4, 4), Scan(20, 28, True, True), Scan(44, 44)])
        [4, 28, 44]
    """
    found: list[int | None] = []
    is_open: bool | None = False
    for scan in scans:
        if is_open is None:
            # Where both readings of the part have become one, what came before it doesn't matter.
            is_open = scan.open_if_outside if scan.open_if_outside == scan.open_if_inside else None
        else:
            is_open = scan.open_if_inside if is_open else scan.open_if_outside
        if is_open is False or scan.if_outside == scan.if_inside:
            found.append(scan.if_outside)
        else:
            found.append(scan.if_inside if is_open else None)
    return found


def resolved(items: Sequence[Item], scans: Mapping[int, Sequence[Scan]]) -> list[Item]:
    """Give the parts of CSV objects their true bounds.

    Args:
        items: with rough bounds.
        scans: of each object that was scanned, by its number, one per part.

    Returns:
        The items; a part in which no row begins is empty (its end is its start).
    """
    ends = {span.number: span.end for item in items for span in item if span.is_last}
    bounds: dict[int, Iterator[tuple[int | None, int | None]]] = {}
    for number, parts in scans.items():
        following = ends[number]
        starts: list[int | None] = [following]
        # A row that reaches over a whole part, and rows of which nobody can tell where they begin, belong to
        # the part before.
        for start in reversed(next_rows(parts)[:-1]):
            following = following if start is None or following is None else min(start, following)
            starts.insert(0, following)
        bounds[number] = iter(pairwise([None, *starts]))
    return [
        tuple(_bounded(span, *next(bounds[span.number])) if span.number in bounds else span for span in item)
        for item in items
    ]


def _bounded(span: Span, start: int | None, end: int | None) -> Span:
    return replace(span, start=start, end=end, is_rough=False)
