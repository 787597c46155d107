"""Small pieces of text: status chips, times, names and values, links, code."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from nicegui import html
from nicegui.element import Element

from dropforge.domain.moments import from_iso
from dropforge.domain.records import Approval, RunStatus
from dropforge.domain.verdicts import Verdict
from dropforge_ops.render import duration

# A colour never stands alone: each chip says in words what it means.
_TONES: Final[Mapping[str, str]] = {
    RunStatus.RUNNING: "run",
    RunStatus.DEPLOYING: "run",
    RunStatus.AWAITING_APPROVAL: "warn",
    RunStatus.SUCCEEDED: "ok",
    RunStatus.REPLAYED: "ok",
    RunStatus.FAILED: "bad",
    RunStatus.STOPPED: "bad",
    RunStatus.REJECTED_BY_GATE: "mute",
    RunStatus.REJECTED: "mute",
    RunStatus.SUPERSEDED: "mute",
    RunStatus.EXPIRED: "warn",
    Approval.APPROVED: "ok",
    Approval.PENDING: "warn",
}


_VERDICTS: Final[Mapping[Verdict, tuple[str, str]]] = {
    Verdict.ACCEPTED: ("accepted", "ok"),
    Verdict.REJECTED: ("refused", "bad"),
    Verdict.UNDECIDED: ("can't say", "warn"),
}


def chip(text: str, tone: str = "mute", *, title: str | None = None) -> Element:
    """A word on a coloured ground. ``tone`` is ok, warn, bad, run or mute."""
    made = html.span(text).classes(f"chip {tone}")
    if title:
        made.props["title"] = title
    return made


def status_chip(status: str) -> Element:
    """The chip of a run's status, of an approval, or of a word of a similar kind."""
    return chip(status.replace("_", " "), _TONES.get(status, "mute"))


def verdict_chip(verdict: Verdict) -> Element:
    """The chip of what the gate says."""
    return chip(*_VERDICTS[verdict])


def moment(at: datetime | str | None, *, empty: str = "–") -> Element:
    """A time as its distance from now, kept up to date by the browser; the exact time on hover."""
    if not at:
        return html.span(empty).classes("dim")
    when = from_iso(at) if isinstance(at, str) else at
    # The browser fills in the text in its own time zone; without script the exact time stays.
    made = html.time(when.isoformat(timespec="seconds")).classes("moment")
    made.props["datetime"] = when.isoformat()
    return made


def took(seconds: float, since: datetime | str | None = None) -> Element:
    """A duration. Where it still lasts, ``since`` when it does, the browser keeps counting."""
    made = html.span(duration(seconds)).classes("nowrap")
    if since is not None:
        when = from_iso(since) if isinstance(since, str) else since
        made.classes("lasting").props["data-since"] = when.isoformat()
    return made


def link(text: str, href: str, *, away: bool = False) -> Element:
    """A link; ``away`` opens another site in a tab of its own."""
    made = html.a(text)
    made.props["href"] = href
    if away:
        made.props.update(target="_blank", rel="noopener noreferrer")
        made.classes("away")
    return made


def facts(pairs: Mapping[str, Any], *, columns: bool = False) -> Element:
    """Names and values below each other, or with ``columns`` in several columns where there is room.

    A value may be a function that draws it; None and the empty text are left out.
    """
    with html.dl().classes("facts columns" if columns else "facts") as made:
        for name, value in pairs.items():
            if value is None or value == "":
                continue
            with html.div():
                html.dt(name)
                if callable(value):
                    with html.dd():
                        value()
                else:
                    html.dd(str(value))
    return made
