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
from dropforge_ops.console.components.finder import Finder
from dropforge_ops.console.components.history_chart import history_chart
from dropforge_ops.console.components.layout import card, heading
from dropforge_ops.console.components.live import Part, poll
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
    page = _ModelsPage(context)
    look = partial(read_versions, context.ledger)
    page.show(await context.read(look))
    # Every look reads all versions, so there are fewer of them than on other pages.
    poll(context, look, page.show, every_s=_LOOKS_APART * context.look_s)


class _ModelsPage:
    """What waits and how the metric went, the list of versions, and below it what else there is to do."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._found: Versions | None = None
        self._shows_all = False
        self._outcome = Outcome()
        self._above: Part[Versions] = Part(_show_above)
        self._finder = Finder("/models", "versions", Approval, self._show_versions)
        self._list = html.div().classes("live")
        self._table: Table[ModelVersion] | None = None
        self._more = button("Show all versions", self._show_all)
        self._below: Part[Versions] = Part(self._show_below)

    def show(self, found: Versions) -> None:
        """Show how the versions stand now."""
        if found == self._found:
            return
        was_live = None if self._found is None else self._found.live
        self._found = found
        self._above.show(found)
        if self._table is None or was_live != found.live:
            self._draw_table(found)
        self._fill_table()
        self._below.show(found)

    def _draw_table(self, found: Versions) -> None:
        self._list.clear()
        with self._list:
            columns = _columns(None if found.live is None else found.live.version)
            self._table = Table(
                columns, lambda model: str(model.version), label="Versions", on_order=self._show_versions
            )

    async def _show_versions(self) -> None:
        self._fill_table()

    async def _show_all(self) -> None:
        self._shows_all = True
        self._fill_table()

    def _fill_table(self) -> None:
        """The newest versions, or those that are looked for; all of them once somebody asks."""
        table, found = self._table, self._found
        if table is None or found is None:
            return
        wanted = self._finder.wanted
        models = [each for each in found.models if wanted.takes(each.approval, *_texts(each))]
        if table.order is not None:
            models = table.order.sort(models)
        shown = models if self._shows_all else models[:_SHOWN]
        table.show(shown)
        for each in (self._finder.element, table.element):
            each.set_visibility(bool(found.models))
        self._finder.say(f"{len(models):,} of {len(found.models):,} versions" if wanted else "")
        self._more.set_text(f"Show all {len(models):,} versions")
        self._more.set_visibility(len(shown) < len(models))

    def _show_below(self, found: Versions) -> None:
        if found.live is not None and found.earlier:
            offer_rollback(self._context, self._outcome, found.live, found.earlier[0])
        if found.refused:
            with card("Refused by the gate"):
                html.p(
                    "Candidates that did not become versions: the live model stays. Each shows the numbers "
                    "behind the refusal."
                ).classes("dim")
                refused = Table(_REFUSED, lambda run: run.run_id, label="Candidates the gate refused")
                refused.show(found.refused)


def _texts(model: ModelVersion) -> tuple[object, ...]:
    """What a version is found by."""
    return (
        f"version {model.version}",
        model.run_id,
        model.stage,
        model.decided_by,
        model.decision_reason,
    )


def _show_above(found: Versions) -> None:
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
        Column("Version", version, by=lambda model: model.version),
        Column("Approval", lambda model: status_chip(model.approval), by=lambda model: model.approval),
        Column("Stage", lambda model: str(model.stage), narrow=False, by=lambda model: model.stage),
        Column("Measured", _measured, kind="number", by=lambda model: model.metric.get("value")),
        Column(
            "Registered",
            lambda model: moment(model.registered_at),
            narrow=False,
            by=lambda model: model.registered_at,
        ),
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
