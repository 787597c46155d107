"""Moments in one time line: each a bar where and as long as it was."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from nicegui import html

from dropforge_ops.console.components.text import moment as told_moment
from dropforge_ops.console.components.text import took
from dropforge_ops.console.reading.run_view import Moment


def draw_timeline(moments: Sequence[Moment]) -> None:
    """Draw them under each other; bars share one scale, from the first to the last."""
    if not moments:
        return
    begin = moments[0].at
    end = max(_end(each) for each in moments)
    whole_s = max((end - begin).total_seconds(), 0.001)
    with html.ol().classes("timeline"):
        for each in moments:
            _draw(each, begin, whole_s)


def _draw(each: Moment, begin: datetime, whole_s: float) -> None:
    left = 100 * (each.at - begin).total_seconds() / whole_s
    width = 100 * (_end(each) - each.at).total_seconds() / whole_s
    is_instant = each.ended_at is None and not each.lasts
    with html.li().classes("timeline-row"):
        with html.div().classes("timeline-name" + (" inner" if each.depth else "")):
            html.span(each.title)
            if each.detail:
                html.span(each.detail).classes("dim timeline-detail")
        with html.div().classes("timeline-track").props("aria-hidden=true"):
            bar = html.div().classes(f"timeline-bar {each.tone}" + (" instant" if is_instant else ""))
            bar.style(f"left: {min(left, 100):.3f}%; width: {0 if is_instant else max(width, 0):.3f}%")
        with html.div().classes("timeline-time number"):
            if is_instant:
                told_moment(each.at)
            else:
                took((_end(each) - each.at).total_seconds(), each.at if each.lasts else None)


def _end(each: Moment) -> datetime:
    return each.ended_at or (datetime.now(UTC) if each.lasts else each.at)
