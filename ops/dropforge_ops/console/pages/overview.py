"""How the model stands, at a glance: what is live, what waits, what watches, what it costs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final
from urllib.parse import quote

from nicegui import html, ui

from dropforge.domain.figures import figure, told_apart
from dropforge.domain.records import Live, ModelVersion, Run, RunStatus
from dropforge_ops.actions.advice import remedy
from dropforge_ops.console.components.drop_zone import drop_zone
from dropforge_ops.console.components.feedback import empty_state, error_banner, notice
from dropforge_ops.console.components.history_chart import history_chart
from dropforge_ops.console.components.layout import card, heading
from dropforge_ops.console.components.live import live
from dropforge_ops.console.components.tables import Table
from dropforge_ops.console.components.text import chip, link, moment
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.pages.runs import COLUMNS
from dropforge_ops.console.reading.history import History, read_history
from dropforge_ops.console.reading.overview import (
    Cost,
    Standing,
    Watch,
    read_cost,
    read_standing,
    read_watch,
)
from dropforge_ops.errors import CommandError
from dropforge_ops.render import interval

# The watch works by the hour, and a month's cost by the day.
_WATCH_LOOKS = 10
_COST_KEPT_S = 300.0
# Versions come by the hour at most.
_HISTORY_LOOKS = 5

_RUN_COLUMNS: Final = tuple(
    each for each in COLUMNS if each.title in ("Run", "Status", "Metric", "Started", "Took")
)
_VERDICTS: Final = {
    "quiet": ("quiet", "ok"),
    "drifted": ("drifted", "bad"),
    "not_enough_data": ("not enough data", "mute"),
}
_ENDPOINT_TONES: Final = {"InService": "ok", "Creating": "run", "Updating": "run"}


async def build(context: Context) -> None:
    """The overview, kept up to date."""
    heading("Overview")
    ledger = context.ledger
    with html.div().classes("overview"):
        with html.div().classes("overview-main stack-of"):
            await live(context, partial(read_standing, ledger), _show_standing)
            every_s = _HISTORY_LOOKS * context.look_s
            await live(context, partial(read_history, ledger), _show_history, every_s=every_s)
            drop_zone(context)
            with html.p():
                link("What became of each dropped file", "/drops")
        with html.div().classes("overview-side stack-of"):
            watch = partial(read_watch, context.target, ledger, context.documents)
            _later(context, watch, _show_watch, every_s=_WATCH_LOOKS * context.look_s)
            with card("Cost this month"):
                cost = partial(context.kept, read_cost, _COST_KEPT_S)
                _later(context, cost, _show_cost, every_s=_COST_KEPT_S)


def _later[Found](
    context: Context, look: Callable[[], Found], show: Callable[[Found], None], *, every_s: float
) -> None:
    """Draw what takes longer to know than anybody waits for: the page is there before."""
    waiting = html.p("…").classes("dim").props('role="status" aria-label="Is being read"')
    place = html.div().classes("stack-of")

    async def fill() -> None:
        try:
            with place:
                await live(context, look, show, every_s=every_s)
        except CommandError as error:
            with place:
                error_banner(str(error))
        waiting.delete()

    ui.timer(0, fill, once=True)


def _show_standing(found: Standing) -> None:
    for model in found.waiting:
        _show_waiting(model)
    if found.runs and found.runs[0].status is RunStatus.FAILED:
        _show_failure(found.runs[0])
    if found.live is not None and found.is_rejected:
        _show_rejected(found.live)
    with card():
        _show_live(found.live)
    if found.runs:
        with html.div().classes("section-head"):
            html.h2("Latest runs")
            link("All runs", "/runs")
        Table(_RUN_COLUMNS, lambda run: run.run_id, label="Latest runs").show(found.runs)


def _show_waiting(model: ModelVersion) -> None:
    with html.div().classes("banner warn").props("role=status"):
        ui.icon("how_to_reg").props("aria-hidden=true")
        html.span(f"Version {model.version} waits for your decision.")
        link("Look at it and decide", f"/models/{model.version}")


def _show_failure(run: Run) -> None:
    error = run.error or {}
    with html.div().classes("banner bad").props("role=status"):
        ui.icon("error_outline").props("aria-hidden=true")
        html.span(f"The last run failed: {error.get('class')}. {remedy(error.get('class')) or ''}".strip())
        link("See where", f"/runs/{quote(run.run_id)}")


def _show_rejected(live: Live) -> None:
    with html.div().classes("banner bad").props("role=status"):
        ui.icon("block").props("aria-hidden=true")
        html.span(
            f"Version {live.version} is rejected, still serving. Approve another version to replace it."
        )
        link("All versions", "/models")


def _show_live(found: Live | None) -> None:
    if found is None:
        html.h2("Live model")
        empty_state(
            "No model is live",
            "Drop a file below. When its run has trained a model that passes the gate, approve it here.",
            icon="rocket_launch",
        )
        return
    with html.div().classes("live-model"):
        with html.div():
            html.h2("Live model")
            with html.p().classes("value"):
                link(f"Version {found.version}", f"/models/{found.version}")
            with html.p().classes("dim"):
                html.span("live since ")
                moment(found.promoted_at)
        with html.div():
            html.h2(str(found.metric.get("name", "metric")))
            html.p(figure(found.metric.get("value"))).classes("value")
            html.p(f"on the hold-out, {interval(found.metric)}").classes("dim")
        with html.div():
            html.h2("Trained by")
            with html.p().classes("value-text"):
                link(found.run_id, f"/runs/{quote(found.run_id)}")
            html.p(found.task).classes("dim")


def _show_history(found: History | None) -> None:
    if found is None:
        return
    with card():
        with html.div().classes("section-head"):
            html.h2(f"{found.title} over versions")
            link("All versions", "/models")
        history_chart(found)


def _show_watch(found: Watch) -> None:
    with card("Drift"):
        _show_window(found)
    if found.raised:
        with card("Alarms"):
            for alarm in found.raised:
                with html.p().classes("line"):
                    chip("rings", "bad")
                    link(alarm.name, "/drift")
                    moment(alarm.since)
    with card("Endpoint"):
        _show_endpoint(found)


def _show_window(found: Watch) -> None:
    window = found.window
    if window is None:
        html.p("Not watched yet. Once the live model has answered, every full window is compared.").classes(
            "dim"
        )
        return
    words, tone = _VERDICTS.get(window.verdict, (window.verdict, "mute"))
    with html.p().classes("line"):
        chip(words, tone)
        link("See every column", "/drift")
    with html.p().classes("dim"):
        html.span(f"{window.rows:,} predictions of version {window.version}, until ")
        moment(window.end)
    if window.drifted:
        html.p(f"Drifted: {', '.join(window.drifted[:5])}")
    if window.quality is not None and window.quality.live is not None:
        quality = window.quality
        now, then = told_apart(quality.live, quality.holdout)
        html.p(f"Live {quality.metric} {now}, on the hold-out {then}")


def _show_endpoint(found: Watch) -> None:
    endpoint = found.endpoint
    if endpoint is None:
        html.p("There is none until a version is approved.").classes("dim")
        return
    with html.p().classes("line"):
        chip(_spaced(endpoint.state), _ENDPOINT_TONES.get(endpoint.state, "bad"))
        html.span(endpoint.name)
    html.p(endpoint.configuration).classes("dim")
    if endpoint.problem:
        notice(endpoint.problem, tone="warn")


def _spaced(state: str) -> str:
    """
    >>> _spaced("InService")
    'in service'
    """
    return "".join(f" {each.lower()}" if each.isupper() else each for each in state).strip()


def _show_cost(found: Cost) -> None:
    if found.unknown is not None:
        html.p(f"Not available here: {found.unknown}").classes("dim")
        return
    html.p(f"${found.usd_with_free_tier:,.2f}").classes("value")
    what = "What AWS would take; here nothing is paid." if found.is_simulated else "Estimated from what ran."
    html.p(f"{what} Without the free tier ${found.usd:,.2f}:").classes("dim")
    with html.ul().classes("cost-lines"):
        for name, usd in (found.services or {}).items():
            with html.li():
                html.span(name)
                html.span(f"${usd:,.2f}").classes("number")


PAGE: Final = Page("/", "Overview", build, icon="speed", takes_drops=True)
