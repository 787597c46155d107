"""Values with their intervals, drawn as bars inside tables: the number stands beside, the bar compares."""

from __future__ import annotations

from nicegui import html
from nicegui.element import Element

from dropforge_ops.console.reading.models import Span


def interval_bar(
    span: Span, low: float, high: float, *, mark: float | None = None, tone: str = ""
) -> Element:
    """An interval on a scale from ``low`` to ``high``, its value a dot; ``mark`` is a line to compare with.

    Decoration: what it shows has to stand beside it as text.
    """
    with html.div().classes(f"interval {tone}").props("aria-hidden=true") as bar:
        if mark is not None and low <= mark <= high:
            _at(html.span().classes("interval-mark"), _percent(mark, low, high))
        if span.low is not None and span.high is not None:
            begin, end = _percent(span.low, low, high), _percent(span.high, low, high)
            made = html.span().classes("interval-range")
            made.style(f"left: {begin:.2f}%; width: {max(end - begin, 0.5):.2f}%")
        if span.value is not None:
            _at(html.span().classes("interval-value"), _percent(span.value, low, high))
    return bar


def difference_bar(span: Span | None, reach: float) -> Element:
    """A difference on a scale from ``-reach`` to ``reach``, with a line at 0."""
    if span is None or span.value is None:
        return html.div()
    return interval_bar(span, -reach, reach, mark=0.0, tone=span.side)


def share_bar(share: float, *, tone: str = "") -> Element:
    """A bar that is ``share`` (in [0, 1]) of its place."""
    with html.div().classes(f"share {tone}").props("aria-hidden=true") as bar:
        html.span().style(f"width: {100 * max(0.0, min(1.0, share)):.2f}%")
    return bar


def scale_of(*spans: Span | None, also: tuple[float | None, ...] = ()) -> tuple[float, float]:
    """The ends of a scale that holds all of the intervals, with a little room."""
    known = [
        each
        for span in spans
        if span is not None
        for each in (span.value, span.low, span.high)
        if each is not None
    ]
    known += [each for each in also if each is not None]
    if not known:
        return 0.0, 1.0
    room = (max(known) - min(known)) * 0.06 or 0.5
    return min(known) - room, max(known) + room


def reach_of(*spans: Span | None) -> float:
    """The greatest distance from 0 among differences and their intervals."""
    low, high = scale_of(*spans, also=(0.0,))
    return max(abs(low), abs(high), 1e-12)


def _percent(value: float, low: float, high: float) -> float:
    return 100 * min(1.0, max(0.0, (value - low) / (high - low)))


def _at(element: Element, percent: float) -> None:
    element.style(f"left: {percent:.2f}%")
