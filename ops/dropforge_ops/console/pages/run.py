"""One run: its state machines as they run, what each state did, and its way from drop to decision."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final
from urllib.parse import quote

from nicegui import html, ui

from dropforge.domain.decision_words import decision_in_words
from dropforge.domain.records import Run, RunStatus
from dropforge_ops.actions.advice import remedy
from dropforge_ops.console.components.feedback import empty_state, error_banner, notice
from dropforge_ops.console.components.layout import card
from dropforge_ops.console.components.live import Part, poll
from dropforge_ops.console.components.state_graph import StateGraphView, words
from dropforge_ops.console.components.tables import Column, Table
from dropforge_ops.console.components.text import chip, facts, link, moment, status_chip, verdict_chip
from dropforge_ops.console.components.timeline import draw_timeline
from dropforge_ops.console.components.told_data import draw_told_data
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.pages.deciding import Outcome
from dropforge_ops.console.pages.retrying import offer_retry
from dropforge_ops.console.reading.aws_pages import execution_page, log_group_page
from dropforge_ops.console.reading.models import Judged
from dropforge_ops.console.reading.run_files import CARD, PATH, RunFile
from dropforge_ops.console.reading.run_view import (
    FORGOTTEN,
    MachineView,
    Proposal,
    RunFollowing,
    RunView,
)
from dropforge_ops.console.reading.state_detail import LogLines, Stay, read_log, read_stays
from dropforge_ops.console.reading.told_data import ToldData
from dropforge_ops.errors import CommandError
from dropforge_ops.render import duration, files, interval, run_seconds, size
from dropforge_ops.stack.training_jobs import TrainingJob

# A log is read whole, so less often than the run.
_LOG_LOOKS: Final = 5
_TONES: Final = {"SUCCEEDED": "ok", "RUNNING": "run"}


async def build(context: Context, run_id: str) -> None:
    """The run, followed until it ends."""
    following = RunFollowing(context.target, context.ledger, run_id)
    found = await context.read(following.look)
    page = _RunPage(context, found)
    if not found.is_settled:
        poll(context, following.look, page.show, until=lambda view: view.is_settled)


class _RunPage:
    """The parts of the page, each drawn again when what it shows has changed."""

    def __init__(self, context: Context, found: RunView) -> None:
        self._context = context
        self._view = found
        with html.div().classes("page-head"):
            html.h1(found.run.run_id).classes("mono-title")
            self._status: Part[RunStatus] = Part(_draw_status)
        self._head: Part[tuple[Run, Sequence[TrainingJob]]] = Part(lambda told: _draw_head(context, *told))
        outcome = Outcome()
        self._retry: Part[tuple[Run, Proposal | None]] = Part(
            lambda shown: offer_retry(context, outcome, *shown)
        )
        self._verdict: Part[tuple[Judged | None, Run]] = Part(_draw_verdict)
        self._machines = _Machines(context, found)
        with card("From drop to decision"):
            self._timeline = Part(draw_timeline)
        self._data: Part[ToldData | None] = Part(draw_told_data)
        self._files: Part[tuple[Run, tuple[RunFile, ...]]] = Part(_draw_files)
        self.show(found)

    def show(self, found: RunView) -> None:
        """Show how the run stands now."""
        self._status.show(found.run.status)
        self._head.show((found.run, found.training_jobs))
        self._retry.show((found.run, found.proposal))
        self._verdict.show((found.verdict, found.run))
        self._timeline.show(found.timeline)
        self._data.show(found.data)
        self._files.show((found.run, found.files))
        self._machines.show(found)


def _draw_status(status: RunStatus) -> None:
    status_chip(status)


def _draw_head(context: Context, run: Run, jobs: Sequence[TrainingJob]) -> None:
    if run.error:
        said = f"{run.error.get('class')}: {run.error.get('message')}"
        error_banner(" ".join(filter(None, [said, remedy(run.error.get("class"))])))
    if run.status is RunStatus.AWAITING_APPROVAL:
        _draw_waiting(run)
    for reason in run.reasons:
        notice(str(reason.get("message", reason)), tone="warn")
    with card():
        facts(
            columns=True,
            pairs={
                "trigger": run.trigger + (f" of {run.replay_of}" if run.replay_of else ""),
                "files": files(run),
                "requested by": run.requested_by,
                "started": lambda: moment(run.started_at),
                "took": duration(run_seconds(run)) if run.ended_at else None,
                "training": "; ".join(each.in_words for each in jobs),
                (run.metric or {}).get("name", "metric"): interval(run.metric) if run.metric else None,
                "version": None if run.version is None else (lambda: _draw_version(run.version)),
                "execution": lambda: _draw_execution(context, run),
            },
        )


def _draw_verdict(told: tuple[Judged | None, Run]) -> None:
    """What the gate said, and where all that it said it by is shown."""
    verdict, run = told
    if verdict is None:
        return
    page = f"/models/refused/{run.run_id}" if run.version is None else f"/models/{run.version}"
    with card("Verdict of the gate"):
        with html.div().classes("inline"):
            verdict_chip(verdict.verdict)
            link("Everything that it was judged by", page)
        # The head of the page tells why a candidate was refused.
        for reason in () if run.reasons else verdict.reasons:
            html.p(reason)
        if verdict.decision is not None:
            html.p(" ".join(decision_in_words(verdict.decision)))


def _draw_files(shown: tuple[Run, tuple[RunFile, ...]]) -> None:
    run, left = shown
    if not left:
        return
    with html.details().classes("card"):
        html.summary("Downloads")
        columns: tuple[Column[RunFile], ...] = (
            Column("File", lambda file: link(file.name, file.path(run.run_id))),
            Column("Size", lambda file: size(file.size), kind="number"),
        )
        Table(columns, lambda file: file.name, label="Files that the run left").show(left)
        if run.version is not None:
            link("The model card, as Markdown", f"{PATH}/{quote(run.run_id)}/{CARD}")


def _draw_version(version: int | None) -> None:
    link(f"{version}", f"/models/{version}")


def _draw_execution(context: Context, run: Run) -> None:
    page = execution_page(context.target, run.execution_arn)
    html.code(run.execution_arn)
    if page is not None:
        link("Open in Step Functions", page, away=True)


def _draw_waiting(run: Run) -> None:
    with html.div().classes("banner warn").props("role=status"):
        ui.icon("how_to_reg").props("aria-hidden=true")
        html.span(f"Version {run.version} waits for your decision.")
        link("Look at it and decide", f"/models/{run.version}")


class _Machines:
    """The graphs of a run's machines, one at a time, and what the chosen state did."""

    def __init__(self, context: Context, found: RunView) -> None:
        self._context = context
        self._view = found
        self._with_errors = False
        self._chosen_machine: str | None = None
        self._chosen_state: str | None = None
        self._graph: StateGraphView | None = None
        self._drawn_for: tuple[str, bool] | None = None
        with html.div().classes("run-machines"):
            with html.section().classes("card machine"):
                self._tabs = Part(self._draw_tabs)
                self._frame = html.div().classes("graph-place")
            with html.section().classes("card state-detail") as self._aside:
                self._detail = _StateDetail(context)
        if not found.machines:
            self._frame.delete()

    def show(self, found: RunView) -> None:
        self._view = found
        machine = self._machine()
        if machine is None:
            self._tabs.show((found.execution_status,))
            self._aside.set_visibility(False)
            return
        self._tabs.show((tuple((each.arn, each.title, each.status) for each in found.machines), machine.arn))
        state = self._chosen_state or machine.current
        self._show_graph(machine, state)
        self._detail.show(found.run, machine, state)

    def _machine(self) -> MachineView | None:
        """The one that was chosen, else the last one: it is where something happens."""
        for each in self._view.machines:
            if each.arn == self._chosen_machine:
                return each
        return self._view.machines[-1] if self._view.machines else None

    def _show_graph(self, machine: MachineView, state: str | None) -> None:
        if self._graph is None or self._drawn_for != (machine.arn, self._with_errors):
            self._frame.clear()
            with self._frame:
                self._graph = StateGraphView(machine, with_errors=self._with_errors, on_select=self._choose)
            self._drawn_for = (machine.arn, self._with_errors)
        self._graph.show(machine, state)

    def _draw_tabs(self, shown: tuple[object, ...]) -> None:
        if not self._view.machines:
            html.h2("States")
            empty_state("No states to show", f"The execution is {FORGOTTEN}, which keeps them for 90 days.")
            return
        current = shown[1]
        with html.div().classes("tabs"):
            for each in self._view.machines:
                self._draw_tab(each, is_current=each.arn == current)
            switch = ui.checkbox("Error paths", value=self._with_errors, on_change=self._switch_errors)
            switch.props("dense").classes("tabs-end")

    def _draw_tab(self, machine: MachineView, *, is_current: bool) -> None:
        with (
            html.button()
            .classes("tab")
            .props(f'type="button" aria-pressed="{str(is_current).lower()}"')
            .on("click", lambda: self._choose_machine(machine.arn))
        ):
            html.span(machine.title)
            chip(machine.status.lower().replace("_", " "), _TONES.get(machine.status, "bad"))

    def _choose_machine(self, arn: str) -> None:
        self._chosen_machine, self._chosen_state = arn, None
        self.show(self._view)

    def _choose(self, state: str) -> None:
        machine = self._machine()
        self._chosen_machine = None if machine is None else machine.arn
        self._chosen_state = state
        self.show(self._view)

    def _switch_errors(self) -> None:
        self._with_errors = not self._with_errors
        self.show(self._view)


class _StateDetail:
    """What one state did: input, output, error and log lines of its stays."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._shown: tuple[object, ...] = ()
        self._element = html.div().classes("live")

    def show(self, run: Run, machine: MachineView, state: str | None) -> None:
        progress = machine.states.get(state or "")
        wanted = (machine.arn, state, progress)
        if state is None or wanted == self._shown:
            return
        self._shown = wanted
        self._element.clear()
        with self._element:
            html.h2(state)
            known = machine.graph.states[state]
            if known.comment:
                html.p(known.comment).classes("dim")
            html.p("not reached" if progress is None else words(progress))
            if progress is not None:
                body = html.div().classes("live")
                ui.timer(0, lambda: self._fill(body, run, machine, state), once=True)

    async def _fill(self, body: html.div, run: Run, machine: MachineView, state: str) -> None:
        try:
            await self._fill_all(body, run, machine, state)
        except CommandError as error:
            if not body.is_deleted:
                with body:
                    error_banner(str(error))

    async def _fill_all(self, body: html.div, run: Run, machine: MachineView, state: str) -> None:
        """Draw what the state did; another state may be chosen while AWS is asked."""
        target = self._context.target
        stays = await self._context.read(read_stays, target.client("stepfunctions"), machine.arn, state)
        if body.is_deleted or not stays:
            return
        with body:
            self._draw_stay(stays[0], len(stays))
        look = partial(read_log, target, machine.graph.states[state], stays[0], run.run_id)
        found = await self._context.read(look)
        if body.is_deleted:
            return
        with body:
            log: Part[LogLines] = Part(partial(_draw_log, self._context))
            log.show(found)
            if stays[0].left_at is None:
                poll(self._context, look, log.show, every_s=_LOG_LOOKS * self._context.look_s)

    def _draw_stay(self, stay: Stay, stays: int) -> None:
        if stays > 1:
            html.p(f"The last of {stays} stays:").classes("dim")
        facts({"entered": lambda: moment(stay.entered_at), "left": lambda: moment(stay.left_at)})
        for failure in stay.failures:
            with html.div().classes("banner bad failure"):
                html.strong(failure.error)
                html.pre(failure.cause)
        _foldable("Output", stay.result, is_open=True)
        _foldable("Input", stay.given, is_open=False)


def _foldable(title: str, text: str | None, *, is_open: bool) -> None:
    if text is None:
        return
    with html.details().props("open" if is_open else "").classes("fold"):
        html.summary(title)
        pre = html.pre(text).props("tabindex=0")
        pre.props["aria-label"] = title


def _draw_log(context: Context, log: LogLines) -> None:
    html.h3("Log")
    if log.missing:
        html.p(log.missing).classes("dim")
    with html.ol().classes("log"):
        for line in log.lines:
            with html.li().classes(f"log-line {line.level.lower()}"):
                html.time(line.at.strftime("%H:%M:%S")).classes("dim")
                html.span(line.level).classes("log-level")
                html.span(line.message).classes("log-message")
                for name, value in line.facts.items():
                    html.span(f"{name}={value}").classes("dim log-fact")
    page = None if log.group is None else log_group_page(context.target, log.group)
    if page is not None:
        link("Open the log group", page, away=True)


PAGE: Final = Page("/runs/{run_id}", "Run", build, within="/runs")
