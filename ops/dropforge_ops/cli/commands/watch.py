"""``dropforge watch``: a window at once, silenced columns, and what became of each alarm."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from dropforge.domain.drift.silences import Silence
from dropforge.domain.moments import from_iso
from dropforge_ops.actions.watching import (
    AnsweredAlarm,
    Silences,
    answered_alarms,
    watch_at_once,
    watched_columns,
)
from dropforge_ops.cli.commands.drift import show_window
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import NotFound, UsageError
from dropforge_ops.render import moment, say, table
from dropforge_ops.stack.watch_reports import WatchReports

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def watch_now(invocation: Invocation) -> None:
    """Watch what was predicted since the last window at once, instead of waiting for WatchSchedule.

    The window counts as any other: it may raise an alarm, and a run may follow.
    """
    answer = watch_at_once(invocation.target, datetime.now(UTC))
    if answer["report_uri"] is None:
        raise NotFound("No model is live, so there is nothing to watch. 'dropforge models' lists versions.")
    found = invocation.documents.find(answer["report_uri"])
    if found is None:
        raise NotFound(f"{answer['report_uri']} is gone.")
    invocation.emit({"uri": found.uri, **found.content}, lambda out: show_window(out, found))


def list_alarms(
    invocation: Invocation,
    *,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=1000, help="How many windows to look back.")
    ] = 168,
) -> None:
    """The alarms that windows raised, the newest first, and what became of each."""
    windows = _reports(invocation).newest(limit)
    found = answered_alarms(windows, invocation.documents, invocation.ledger.get_run)
    document = {"windows": len(windows), "alarms": [each.to_dict() for each in found]}

    def show(out: Console) -> None:
        if not found:
            if not windows:
                say(out, "No window has been watched yet.")
            elif len(windows) == 1:
                say(out, "The newest window raised no alarm.")
            else:
                say(out, f"None of the last {len(windows)} windows raised an alarm.")
            return
        out.print(
            table(
                ["window ended", "alarm", "version", "because", "what became of it"],
                [_row(each) for each in found],
            )
        )

    invocation.emit(document, show)


def silence_column(
    invocation: Invocation,
    *,
    column: Annotated[
        str, typer.Argument(metavar="COLUMN", help="A feature, or for example 'predicted score'.")
    ],
    length: Annotated[
        str, typer.Option("--for", metavar="TIME", help="How long: 90m, 12h, 7d or 2w.", show_default=True)
    ] = "7d",
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the silence and in every report.")],
) -> None:
    """Leave a column out of verdicts and alarms for a time. It is still compared and shown."""
    known = watched_columns(_reports(invocation))
    if known and column not in known:
        raise UsageError(f"No column {column!r} is watched. There are: {', '.join(known[:30])}.")
    made = _silences(invocation).silence(
        column, length=_length(length), by=invocation.target.caller, reason=reason, now=datetime.now(UTC)
    )
    message = f"{column!r} raises no alarm in windows that end by {moment(made.until)}."
    invocation.emit({**_told(made), "message": message}, lambda out: say(out, message))


def unsilence_column(
    invocation: Invocation, *, column: Annotated[str, typer.Argument(metavar="COLUMN", help="Which.")]
) -> None:
    """Watch a silenced column again."""
    over = _silences(invocation).end(column, datetime.now(UTC))
    message = f"{column!r} is watched again, from the window that ends next on."
    invocation.emit({**_told(over), "message": message}, lambda out: say(out, message))


def list_silences(invocation: Invocation) -> None:
    """The columns that are silenced or were lately: until when, by whom and why."""
    now = datetime.now(UTC)
    found = sorted(_silences(invocation).all(), key=lambda each: each.until, reverse=True)
    document = {"silences": [{**_told(each), "holds": from_iso(each.until) > now} for each in found]}

    def show(out: Console) -> None:
        if not found:
            say(out, "No column is silenced.")
            return
        rows = [
            [
                each.column,
                Text("silenced", style="bold") if from_iso(each.until) > now else "watched again",
                moment(each.since),
                moment(each.until),
                each.by,
                each.reason,
            ]
            for each in found
        ]
        out.print(table(["column", "", "since", "until", "by", "why"], rows))

    invocation.emit(document, show)


def _row(each: AnsweredAlarm) -> list[Any]:
    return [moment(each.window_end), each.kind, each.version, each.reason, each.in_words]


def _told(each: Silence) -> dict[str, Any]:
    return {name: getattr(each, name) for name in each.__slots__}


def _length(text: str) -> timedelta:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text.strip())
    if found is None:
        raise UsageError(f"--for {text!r} is no time: write for example 90m, 12h, 7d or 2w.")
    return timedelta(**{_UNITS[found[2]]: float(found[1])})


def _reports(invocation: Invocation) -> WatchReports:
    return WatchReports(invocation.target.client("s3"), invocation.target.bucket, invocation.documents)


def _silences(invocation: Invocation) -> Silences:
    return Silences(invocation.target.client("s3"), invocation.target.bucket)
