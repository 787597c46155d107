"""The versions: what is live, what waits, who decided what, and what the gate refused."""

from __future__ import annotations

from functools import partial
from typing import Final

from nicegui import html

from dropforge.domain.figures import figure
from dropforge.domain.metric_registry import metric_title
from dropforge.domain.records import Approval, ModelVersion, Run
from dropforge_ops.console.components.actions import button
from dropforge_ops.console.components.feedback import empty_state
from dropforge_ops.console.components.history_chart import history_chart
from dropforge_ops.console.components.layout import card, heading
from dropforge_ops.console.components.live import live
from dropforge_ops.console.components.tables import Column, Table
from dropforge_ops.console.components.text import chip, link, moment, status_chip
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.pages.deciding import Outcome, offer_rollback
from dropforge_ops.console.reading.history import history_of
from dropforge_ops.console.reading.models import Span, Versions, read_versions
from dropforge_ops.console.reading.wording import between
from dropforge_ops.render import why

_LOOKS_APART: Final = 3
_SHOWN: Final = 50


async def build(context: Context) -> None:
    """The list, kept up to date."""
    heading("Models", "Every version, what it was measured at, and who decided")
    outcome = Outcome()
    # Every look reads all versions, so there are fewer of them than on other pages.
    every_s = _LOOKS_APART * context.look_s
    await live(
        context, partial(read_versions, context.ledger), partial(_show, context, outcome), every_s=every_s
    )


def _show(context: Context, outcome: Outcome, found: Versions) -> None:
    if not found.models and not found.refused:
        empty_state(
            "There is no version yet",
            "Drop a file; a run that passes the gate registers a version, and asks here for your decision.",
            icon="layers",
            commands=("dropforge drop FILE --wait",),
        )
        return
    for model in found.models:
        if model.approval is Approval.PENDING:
            _show_waiting(model)
    live_version = None if found.live is None else found.live.version
    history = history_of(found.models, live_version)
    if history is not None:
        with card(f"{history.title} over versions"):
            history_chart(history)
            last = history.points[-1].version
            before = live_version if live_version not in (None, last) else history.points[-2].version
            link(f"Compare version {last} with version {before}", f"/compare/v{before}/v{last}")
    if found.models:
        columns = _columns(live_version)
        _show_versions(found.models, columns)
    if found.live is not None and found.earlier:
        offer_rollback(context, outcome, found.live, found.earlier[0])
    if found.refused:
        with card("Refused by the gate"):
            html.p(
                "Candidates that did not become versions: the live model stays. Each shows the "
                "numbers behind "
                "the refusal."
            ).classes("dim")
            Table(_REFUSED, lambda run: run.run_id, label="Candidates the gate refused").show(found.refused)


def _show_versions(models: list[ModelVersion], columns: tuple[Column[ModelVersion], ...]) -> None:
    """The newest versions; all others once somebody asks for them."""
    table = Table(columns, lambda model: str(model.version), label="Versions")
    table.show(models[:_SHOWN])
    if len(models) > _SHOWN:

        def show_all() -> None:
            table.show(models)
            more.delete()

        more = button(f"Show all {len(models)} versions", show_all)


def _show_waiting(model: ModelVersion) -> None:
    with html.section().classes("card waiting"):
        with html.div().classes("waiting-text"):
            html.h2(f"Version {model.version} waits for your decision")
            with html.p().classes("dim"):
                name = metric_title(
                    str(model.metric.get("name", "metric")), model.metric.get("positive_class")
                )
                html.span(f"{name} {_measured(model)}, registered ")
                moment(model.registered_at)
                if model.due_at:
                    html.span(", wanted ")
                    moment(model.due_at)
        link("Review", f"/models/{model.version}").classes("button primary as-button")


def _columns(live_version: int | None) -> tuple[Column[ModelVersion], ...]:
    def version(model: ModelVersion) -> None:
        with html.div().classes("inline"):
            link(f"Version {model.version}", f"/models/{model.version}")
            if model.version == live_version and model.approval is Approval.REJECTED:
                chip("rejected, still serving", "bad", title="It answers until another version is live.")
            elif model.version == live_version:
                chip("live", "ok", title="This version answers predictions now.")

    return (
        Column("Version", version),
        Column("Approval", lambda model: status_chip(model.approval)),
        Column("Stage", lambda model: str(model.stage), narrow=False),
        Column("Measured", _measured, kind="number"),
        Column("Registered", lambda model: moment(model.registered_at), narrow=False),
        Column("Decision", _decision, narrow=False),
    )


def _measured(model: ModelVersion) -> str:
    span = Span.of(model.metric) or Span(None)
    ends = between(span)
    return f"{figure(span.value)} ({ends})" if ends else figure(span.value)


def _decision(model: ModelVersion) -> None:
    if not model.decided_at:
        html.span("–").classes("dim")
        return
    with html.div().classes("decision"):
        with html.div().classes("dim"):
            html.span(f"{model.decided_by or 'somebody'}, ")
            moment(model.decided_at)
        html.div(model.decision_reason or "")


_REFUSED: Final[tuple[Column[Run], ...]] = (
    Column("Run", lambda run: link(run.run_id, f"/models/refused/{run.run_id}")),
    Column("Measured", lambda run: figure((run.metric or {}).get("value")), kind="number"),
    Column("Why", why, narrow=False),
    Column("When", lambda run: moment(run.ended_at)),
)


PAGE: Final = Page("/models", "Models", build, icon="layers")
