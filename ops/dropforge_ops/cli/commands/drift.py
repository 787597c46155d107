"""``dropforge drift``: what watching found, window by window, and every column of one window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from dropforge.domain.drift.failing import WRONG_LABELS
from dropforge.domain.figures import figure, told_apart
from dropforge.domain.instance_rules import listed
from dropforge.domain.moments import from_iso
from dropforge_ops.actions.watching import AnsweredAlarm, answered_alarms
from dropforge_ops.cli.invocation import Invocation
from dropforge_ops.errors import NotFound, UsageError
from dropforge_ops.render import facts, interval, moment, number, say, table
from dropforge_ops.stack.documents import Document
from dropforge_ops.stack.watch_reports import (
    BIASED_OUTCOMES,
    WatchReports,
    compared_in_words,
    estimate_in_words,
    phase_in_words,
)

_COLUMNS_SHOWN = 4
_STYLE = {"drifted": "bold red", "degraded": "bold red", "quiet": "green", "steady": "green"}
# Where a window is looked for by its time: more than two weeks of hourly ones.
_WINDOWS_SEARCHED = 400


def drift(
    invocation: Invocation,
    *,
    window: Annotated[
        str | None,
        typer.Argument(
            metavar="[WINDOW]", help="'latest', or a time within a window, such as 2026-11-21T09:30Z."
        ),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many windows.")] = 24,
) -> None:
    """What watching the predictions found, the newest window first; or one window with every column."""
    reports = WatchReports(invocation.target.client("s3"), invocation.target.bucket, invocation.documents)
    if window is not None:
        found = _find(reports, window)
        document = {"uri": found.uri, **found.content}
        became = answered_alarms([found], invocation.documents, invocation.ledger.get_run)
        invocation.emit(document, lambda out: show_window(out, found, became))
        return
    newest = reports.newest(limit)
    document = {"windows": [_summary(each) for each in newest]}

    def show(out: Console) -> None:
        if not newest:
            say(
                out,
                "No window was watched yet. One is watched whenever WatchSchedule is due, once a model is "
                "live; predictions come from the API or 'dropforge predict --log'.",
            )
            return
        out.print(_table(newest))

    invocation.emit(document, show)


def _find(reports: WatchReports, text: str) -> Document:
    if text == "latest":
        newest = reports.newest(1)
        if not newest:
            raise NotFound("No window was watched yet. 'dropforge drift' tells when one is.")
        return newest[0]
    at = _moment(text)
    for each in reports.newest(_WINDOWS_SEARCHED):
        bounds = each.content["window"]
        if from_iso(bounds["start"]) <= at < from_iso(bounds["end"]):
            return each
    raise NotFound(f"No window that was watched holds {text}. 'dropforge drift' lists those there are.")


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no time: write 'latest', or for example 2026-11-21T09:30Z (UTC where it "
            "names no zone)."
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _summary(found: Document) -> dict[str, Any]:
    content = found.content
    quality = content["quality"] or {}
    return {
        "start": content["window"]["start"],
        "end": content["window"]["end"],
        "version": (content["model"] or {}).get("version"),
        "rows": content["rows"],
        "verdict": content["verdict"],
        "drifted": content["drifted"],
        "compared_with": (content.get("phase") or {}).get("compared_with", "training"),
        "quality": {
            "metric": quality.get("metric"),
            "verdict": quality.get("verdict"),
            "live": (quality.get("live") or {}).get("value"),
            "holdout": (quality.get("holdout") or {}).get("value"),
            "labelled": quality.get("labelled"),
        },
        "estimate": None
        if not content.get("estimate")
        else {
            "metric": content["estimate"]["metric"],
            "verdict": content["estimate"]["verdict"],
            **content["estimate"]["estimate"],
        },
        "alarms": {kind: alarm["raised"] for kind, alarm in content["alarms"].items()},
        "uri": found.uri,
    }


def _table(newest: Sequence[Document]) -> Any:
    rows = []
    for each in map(_summary, newest):
        quality = each["quality"]
        rows.append(
            [
                moment(each["start"]),
                "" if each["version"] is None else each["version"],
                each["rows"],
                _verdict(each["verdict"]),
                listed(each["drifted"], _COLUMNS_SHOWN),
                _verdict(quality["verdict"] or ""),
                "" if quality["live"] is None else f"{quality['metric']} {number(quality['live'])}",
                Text(", ".join(kind for kind, raised in each["alarms"].items() if raised), style="bold red"),
            ]
        )
    columns = ["window", "version", "rows", "verdict", "drifted", "quality", "live", "alarm"]
    return table(columns, rows)


def show_window(out: Console, found: Document, became: Sequence[AnsweredAlarm] = ()) -> None:
    """Print one window's report, and what became of the alarms that it raised."""
    content = found.content
    quality = content["quality"] or {}
    classifier = content["domain_classifier"] or {}
    facts(
        out,
        [
            ("window", f"{moment(content['window']['start'])} to {moment(content['window']['end'])}"),
            ("version", (content["model"] or {}).get("version")),
            ("predictions", f"{content['rows']}{' (a sample)' if content['is_sample'] else ''}"),
            ("verdict", _verdict(content["verdict"])),
            ("phase", phase_in_words(content.get("phase"))),
            ("all columns at once", f"AUC {number(classifier.get('auc'))}" if classifier else None),
            ("quality", _verdict(quality["verdict"]) if quality else None),
            (f"live {quality.get('metric')}", interval(quality.get("live")) if quality else None),
            ("on the hold-out", interval(quality.get("holdout")) if quality else None),
            (
                "outcomes",
                f"{quality['labelled']} of {quality['predictions']} predictions" if quality else None,
            ),
            ("report", found.uri),
        ],
    )
    if quality.get("is_biased"):
        say(out, BIASED_OUTCOMES)
    if content.get("estimate"):
        say(out, estimate_in_words(content["estimate"]))
    if content.get("phase"):
        say(out, f"compared with {compared_in_words(content['phase'])}")
    if content.get("slices"):
        out.print(_slices(content["slices"]))
    if (content.get("failing") or {}).get("slices"):
        out.print(_failing(content["failing"]))
    for kind, alarm in content["alarms"].items():
        said = "raised" if alarm["raised"] else "not raised"
        say(out, f"{kind} alarm {said}: {alarm['reason']}")
    for each in became:
        say(out, f"what became of the {each.kind} alarm: {each.in_words}")
    if content["columns"]:
        out.print()
        out.print(_columns(content["columns"]))
        if content.get("further_columns"):
            say(out, f"{len(content['further_columns']):,} further columns are farther from drifting.")
    for name, silence in (content.get("silenced") or {}).items():
        said = f"{name} is silenced until {moment(silence['until'])} by {silence['by']}: {silence['reason']}"
        say(out, said)
    for name, reason in content["unwatched"].items():
        say(out, f"{name} is not watched: {reason}")


def _slices(slices: Sequence[Mapping[str, Any]]) -> Any:
    """Live quality in guarded slices."""
    rows = [
        [
            f"{each['slice']} = {each['label']}",
            each["labelled"],
            interval(each["live"]),
            interval(each["holdout"]),
            _verdict(each["verdict"]),
        ]
        for each in slices
    ]
    return table(["slice", "outcomes", "live", "on the hold-out", "verdict"], rows)


def _failing(failing: Mapping[str, Any]) -> Any:
    """Slices in which errors concentrate, with the ids of the worst rows."""
    is_share = failing["measure"] == WRONG_LABELS

    def error(value: float | None) -> str:
        return f"{figure(100 * value, digits=3)} %" if is_share and value is not None else figure(value)

    rows = [
        [
            " and ".join(where["says"] for where in each["where"]),
            each["rows"],
            error(each["error"]),
            error(each["elsewhere"]),
            *([error(each["expected"])] if is_share else []),
            f"{each['p_value']:.2g}",
            "\n".join(each["examples"]),
        ]
        for each in failing["slices"]
    ]
    measured = "wrong labels" if is_share else "mean absolute error"
    expected = ["the model expected"] if is_share else []
    heads = ["errors concentrate where", "rows", measured, "elsewhere", *expected, "corrected p", "examples"]
    return table(heads, rows)


def _columns(columns: Sequence[Mapping[str, Any]]) -> Any:
    """Each column with the statistic that speaks loudest, the least probable first."""
    rows = []
    for column in sorted(columns, key=lambda each: each["adjusted_p_value"]):
        judged = [each for each in column["statistics"] if each["share"]]
        loudest = min(judged, key=lambda each: each["p_value"] / each["share"], default=None)
        said = ["", "", ""]
        if loudest is not None:
            said = [loudest["name"].replace("_", " "), *told_apart(loudest["value"], loudest["threshold"])]
        rows.append(
            [
                column["name"],
                column["kind"],
                _verdict(column["verdict"]),
                f"{column['adjusted_p_value']:.2g}",
                *said,
            ]
        )
    return table(["column", "kind", "verdict", "corrected p", "statistic", "value", "threshold"], rows)


def _verdict(text: str) -> Text:
    return Text(text.replace("_", " "), style=_STYLE.get(text, ""))
