"""Drift: is what comes in still what the model was trained on, and is the model still as good?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Final

from nicegui import html, ui

from dropforge.domain.drift.failing import WRONG_LABELS
from dropforge.domain.drift.silences import Silence
from dropforge.domain.figures import figure, told_apart
from dropforge.domain.instance_rules import listed
from dropforge.domain.moments import readable
from dropforge_ops.actions.watching import AnsweredAlarm, Silences, answered_alarms
from dropforge_ops.console.components.actions import button, confirm
from dropforge_ops.console.components.drift_charts import (
    distance_chart,
    distribution_chart,
    quality_chart,
    strip,
    tests_chart,
)
from dropforge_ops.console.components.feedback import empty_state, error_banner, notice
from dropforge_ops.console.components.layout import card, grid, heading
from dropforge_ops.console.components.live import live
from dropforge_ops.console.components.tables import Column, Table
from dropforge_ops.console.components.text import chip, facts, link, moment, status_chip
from dropforge_ops.console.context import Context
from dropforge_ops.console.page import Page
from dropforge_ops.console.pages.deciding import Outcome
from dropforge_ops.console.reading.drift import (
    FARTHEST,
    SPANS,
    AlarmState,
    Estimated,
    Failing,
    FailingSlice,
    History,
    SliceQuality,
    Statistic,
    WatchHistory,
    Window,
    read_alarms,
)
from dropforge_ops.console.reading.wording import (
    STATISTICS,
    alarm_in_words,
    false_alarms_in_words,
    quality_in_words,
)
from dropforge_ops.errors import CommandError

_STRIP_CELLS: Final = 96
_ROWS_SHOWN: Final = 40
_MOST_ROWS: Final = 200
# A window a page holds for is an hour; reports are looked for twice a minute.
_LOOK_S: Final = 30.0
_FIRST_SPAN: Final = "7 days"
_SILENCE: Final = timedelta(days=7)
_ALARMS_SHOWN: Final = 20
_VERDICTS: Final = {"quiet": "ok", "drifted": "bad", "not_enough_data": "mute"}
_STATES: Final = {
    "OK": ("quiet", "ok"),
    "ALARM": ("rings", "bad"),
    "INSUFFICIENT_DATA": ("no data yet", "mute"),
}


@dataclass(frozen=True)
class _Found:
    """What a look found: the windows, the stack's alarms, those that windows raised, and what is silenced."""

    history: History
    alarms: list[AlarmState]
    raised: list[AnsweredAlarm]
    silenced: Mapping[str, Silence]


@dataclass
class _View:
    """What one browser looks at."""

    context: Context
    reports: WatchHistory
    outcome: Outcome
    span: str = _FIRST_SPAN
    column: str | None = None

    def read(self) -> _Found:
        """The chosen span until now. Of two looks without a new window the same comes back."""
        # To the minute, so that two looks are equal as long as nothing has changed.
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        history = self.reports.between(now - SPANS[self.span], now)
        target = self.context.target
        alarms = read_alarms(target.client("cloudformation"), target.client("cloudwatch"), target.stack)
        ringing = [each.uri for each in reversed(history.windows) if each.has_raised][:_ALARMS_SHOWN]
        windows = [found for uri in ringing if (found := self.context.documents.find(uri)) is not None]
        raised = answered_alarms(windows, self.context.documents, self.context.ledger.get_run)
        return _Found(history, alarms, raised, {each.column: each for each in self.silences.holding(now)})

    @property
    def silences(self) -> Silences:
        return Silences(self.context.target.client("s3"), self.context.target.bucket)


@lru_cache(maxsize=1)
def _reports_of(context: Context) -> WatchHistory:
    """One for all pages of a console: a month of reports is read once."""
    return WatchHistory(context.target.client("s3"), context.target.bucket, context.documents)


async def build(context: Context) -> None:
    """The watch's findings over a span that can be chosen, kept up to date."""
    heading("Drift", "Is what comes in still what the model was trained on, and is the model still as good?")
    view = _View(context, _reports_of(context), Outcome())
    buttons = html.div().classes("segments").props('role=group aria-label="How far back"')
    content = html.div().classes("live")

    async def choose(span: str) -> None:
        view.span = span
        _draw_spans(buttons, view, choose)
        content.clear()
        with content:
            try:
                await live(context, view.read, partial(_show, view), every_s=_LOOK_S)
            except CommandError as error:
                error_banner(str(error))

    await choose(view.span)


def _draw_spans(place: html.div, view: _View, choose: Callable[[str], object]) -> None:
    place.clear()
    with place:
        for span in SPANS:
            made = html.button(span).props("type=button").classes("segment")
            made.props["aria-pressed"] = "true" if span == view.span else "false"
            made.on("click", partial(choose, span))


def _show(view: _View, found: _Found) -> None:
    history, alarms = found.history, found.alarms
    newest = history.windows[-1] if history.windows else None
    if newest is None:
        empty_state(
            "No window was watched in this time",
            "The watch compares the predictions of every hour with what the live model was trained "
            "on. It needs "
            "a live model and predictions: call the API, or use the Try it page.",
            icon="show_chart",
            commands=("dropforge predict --sample-rows 20 --log",),
        )
        _draw_alarms(alarms)
        return
    if history.left_out:
        notice(f"{history.left_out:,} older windows of this time are not shown.")
    with grid():
        _draw_now(history, newest)
        _draw_quality_now(newest)
        if newest.estimated is not None:
            _draw_estimate(newest, newest.estimated)
        _draw_setting(history, newest)
    if history.latest is None:
        empty_state(
            "Too few predictions to compare",
            f"A window decides from {newest.policy.get('minimum_rows', 50)} predictions on. Longer windows "
            "(WatchWindowHours) hold more.",
            icon="show_chart",
        )
    else:
        _draw_columns(view, history, found.silenced)
    measured = [(each, each.quality) for each in history.windows if each.quality is not None]
    if any(quality.live is not None for _, quality in measured):
        with card("Live quality as outcomes arrive"):
            html.p(
                "The band is the 95 % interval. Every point looks back over the time in which "
                "outcomes may come, so "
                "points near each other share predictions."
            ).classes("dim")
            quality_chart(measured)
    if newest.failing is not None:
        _draw_failing(newest.failing)
    _draw_raised(found.raised)
    _draw_alarms(alarms)


def _draw_now(history: History, newest: Window) -> None:
    drifted, shown = sum(each.verdict == "drifted" for each in history.windows), len(history.windows)
    with card("Newest window"):
        with html.div().classes("inline"):
            chip(newest.verdict.replace("_", " "), _VERDICTS.get(newest.verdict, "mute"))
            html.span(_drifted_in_words(newest))
        alarm = newest.alarms.get("drift")
        facts(
            {
                "ended": lambda: moment(newest.end),
                "predictions": f"{newest.rows:,}",
                "version": newest.version,
                "phase": newest.phase,
                "compared with": newest.compared_with,
                "together": _together(newest),
                "drift alarm": None if alarm is None else alarm_in_words(alarm),
                "drifted so far": f"{drifted} of {shown:,} window{'' if shown == 1 else 's'} shown",
            }
        )


def _drifted_in_words(window: Window) -> str:
    if window.verdict == "not_enough_data":
        return f"{window.rows:,} predictions are too few to compare"
    if not window.drifted:
        if window.verdict == "drifted":
            return "No single column, but all of them together"
        return f"None of {window.watched:,} columns has drifted"
    return listed(window.drifted, 4)


def _together(window: Window) -> str | None:
    if window.together is None:
        return None
    auc = window.together.statistics[0]
    tells = "tells" if window.together.drifted else "can't tell"
    return f"a classifier {tells} these rows from training (AUC {figure(auc.value, digits=3)}, chance 0.5)"


def _draw_quality_now(newest: Window) -> None:
    quality = newest.quality
    with card("Live quality"):
        if quality is not None and quality.live is not None:
            with html.div().classes("inline"):
                html.span(figure(quality.live)).classes("value")
                html.span(f"{quality.metric}, {figure(quality.low)} to {figure(quality.high)}").classes("dim")
                if quality.verdict in ("steady", "degraded"):
                    chip(quality.verdict, "ok" if quality.verdict == "steady" else "bad")
        html.p(quality_in_words(quality))
        alarm = newest.alarms.get("quality")
        if alarm is not None:
            facts({"quality alarm": alarm_in_words(alarm)})
        if newest.slices:
            html.h3("In guarded slices")
            html.p(
                "Each slice gets an equal part of the rate of false alarms. None of them rings by itself."
            ).classes("dim")
            Table(_SLICES, lambda each: f"{each.column}={each.label}", label="Live quality in slices").show(
                newest.slices
            )


def _draw_estimate(newest: Window, estimated: Estimated) -> None:
    with card("Quality before outcomes"):
        if estimated.value is not None:
            with html.div().classes("inline"):
                html.span(figure(estimated.value)).classes("value")
                limits = f"{figure(estimated.low)} to {figure(estimated.high)}"
                html.span(f"{estimated.metric}, {limits}").classes("dim")
                if estimated.verdict in _QUALITY:
                    chip(*_QUALITY[estimated.verdict])
        html.p(estimated.words)
        alarm = newest.alarms.get("estimate")
        if alarm is not None:
            facts({"estimate alarm": alarm_in_words(alarm)})


_QUALITY: Final[Mapping[str, tuple[str, str]]] = {"steady": ("steady", "ok"), "degraded": ("degraded", "bad")}

_SLICES: Final[tuple[Column[SliceQuality], ...]] = (
    Column("Slice", lambda each: f"{each.column} = {each.label}"),
    Column("Outcomes", lambda each: f"{each.quality.labelled:,}", kind="number", narrow=False),
    Column("Live", lambda each: figure(each.quality.live), kind="number"),
    Column("Hold-out", lambda each: figure(each.quality.holdout), kind="number"),
    Column("", lambda each: chip(*_QUALITY.get(each.quality.verdict, ("can't say", "warn")))),
)


def _draw_failing(failing: Failing) -> None:
    with card("Where errors concentrate"):
        searched = f"{failing.searched:,} slices of {failing.rows:,} predictions with an outcome"
        if not failing.slices:
            html.p(f"Nowhere: of {searched} none has more errors than chance explains.").classes("dim")
            return
        html.p(
            f"Of {searched}, these have more errors than chance explains, the search itself considered. A "
            "slice may have been hard in training as well; compare it with what the model expected of itself."
            if failing.measure == WRONG_LABELS
            else f"Of {searched}, these have more large errors than chance explains, the search itself "
            "considered."
        ).classes("dim")
        Table(_failing_columns(failing.measure), lambda each: each.where, label="Failing slices").show(
            failing.slices
        )


def _failing_columns(measure: str) -> tuple[Column[FailingSlice], ...]:
    is_share = measure == WRONG_LABELS

    def error(value: float | None) -> str:
        return f"{figure(100 * value, digits=3)} %" if is_share and value is not None else figure(value)

    expected = Column[FailingSlice](
        "Expected", lambda each: error(each.expected), kind="number", narrow=False
    )
    return (
        Column("Slice", lambda each: each.where),
        Column("Rows", lambda each: f"{each.rows:,}", kind="number", narrow=False),
        Column(
            "Wrong labels" if is_share else "Mean absolute error",
            lambda each: error(each.error),
            kind="number",
        ),
        Column("Elsewhere", lambda each: error(each.elsewhere), kind="number"),
        *([expected] if is_share else []),
        Column("By chance", lambda each: f"{each.p_value:.2g}", kind="number", narrow=False),
        Column("Examples", _draw_examples, narrow=False),
    )


def _draw_examples(each: FailingSlice) -> None:
    for identifier in each.examples:
        html.div(identifier).classes("hint")


def _draw_setting(history: History, newest: Window) -> None:
    latest = history.latest
    with card("How often it rings for nothing"):
        html.p(
            false_alarms_in_words(
                newest.policy, history.scheduled_hours, 0 if latest is None else latest.watched
            )
        )
        html.p(
            "Set by FalseAlarmRate, WindowsToAlarm and WindowsConsidered when the stack is deployed."
        ).classes("dim")


def _draw_columns(view: _View, history: History, silenced: Mapping[str, Silence]) -> None:
    latest = history.latest
    assert latest is not None  # noqa: S101 - the caller has looked
    border = latest.border
    names = history.names()
    if view.column not in names:
        view.column = names[0]
    rows: dict[str, html.button] = {}

    def choose(name: str) -> None:
        for each, row in rows.items():
            row.props["aria-pressed"] = "true" if each == name else "false"
        view.column = name
        _draw_detail(view, history, detail, border, silenced)

    with card("Columns over time"):
        html.p(
            f"Each strip runs from the left, {view.span} ago, to now: grey is quiet, orange has drifted, the "
            "stronger the farther from chance. Choose a column to see its tests and distributions."
        ).classes("dim")
        with html.div().classes("strips").props('role=group aria-label="Columns"'):
            for name in names[:_ROWS_SHOWN]:
                rows[name] = _draw_row(view, history, name, latest, choose, name in silenced)
        if more := names[_ROWS_SHOWN:_MOST_ROWS]:
            with html.details():
                html.summary(f"{len(more)} more, farther from drifting")
                with html.div().classes("strips").props('role=group aria-label="More columns"'):
                    for name in more:
                        rows[name] = _draw_row(view, history, name, latest, choose, name in silenced)
        further = max(len(names), latest.watched) - len(rows)
        if further:
            html.p(f"Still farther from drifting, and not drawn: {further:,}.").classes("dim")
    detail = html.section()
    _draw_detail(view, history, detail, border, silenced)
    if latest.unwatched:
        with html.details():
            html.summary(f"Could not be compared: {len(latest.unwatched):,}")
            facts(dict(latest.unwatched))


def _draw_row(
    view: _View,
    history: History,
    name: str,
    latest: Window,
    choose: Callable[[str], None],
    is_silenced: bool,
) -> html.button:
    with html.button().props("type=button").classes("strip-row") as row:
        row.props["aria-pressed"] = "true" if name == view.column else "false"
        row.on("click", partial(choose, name))
        html.span(name).classes("strip-name")
        compared = history.distances(name)
        hit = sum(distance >= window.border for window, distance in compared)
        label = f"{name}: drifted in {hit} of {len(compared)} windows"
        strip(history.strip(name, _STRIP_CELLS), latest.border, FARTHEST, label=label)
        if is_silenced:
            chip("silenced", "mute")
        elif all(window is not latest for window, _ in compared):
            chip("not compared", "mute")
        else:
            has_drifted = name in latest.drifted
            chip("drifted" if has_drifted else "quiet", "bad" if has_drifted else "mute")
    return row


def _draw_detail(
    view: _View, history: History, place: html.section, border: float, silenced: Mapping[str, Silence]
) -> None:
    name = view.column or ""
    series = history.series(name)
    windows = [window for window, _ in series]
    place.clear()
    with place, html.div().classes("charts"):
        with card(f"{name}: over time"):
            html.p(
                f"How improbable the window is if nothing had changed, in powers of ten: {border:.2g} "
                "means one in "
                f"{10**border:,.0f}, after the correction for looking at many columns."
            ).classes("dim")
            distance_chart(name, series, border)
            html.p(
                "Each test against its own threshold in that window, which depends on how many rows it had."
            ).classes("dim")
            tests_chart(name, series)
            _draw_silence(view, name, silenced.get(name))
        with card(f"{name}: training and window"):
            options = {index: _when(window) for index, window in enumerate(windows)}
            chosen = ui.select(options, value=len(windows) - 1, label="Window")
            chosen.props("outlined dense options-dense").classes("window-choice")
            spread = html.div()

            async def show() -> None:
                window, column = series[int(chosen.value or 0)]
                try:
                    found = await view.context.read(view.reports.distribution, window, name)
                except CommandError as error:
                    spread.clear()
                    with spread:
                        error_banner(str(error))
                    return
                spread.clear()
                with spread:
                    if found is None:
                        html.p(
                            "Only missing values are judged of this column, so there is no distribution."
                        ).classes("dim")
                    else:
                        distribution_chart(name, found)
                    Table(_TESTS, lambda each: each.name, label="Tests").show(column.statistics)

            chosen.on_value_change(show)
            ui.timer(0, show, once=True)


def _draw_silence(view: _View, name: str, silence: Silence | None) -> None:
    if silence is None:
        html.p("Does it drift for a reason that you know? Then silence it, and it raises no alarm meanwhile.")
        button("Silence for 7 days", partial(_silence, view, name))
        return
    html.p(
        f"Silenced until {readable(silence.until)} by {silence.by}: {silence.reason}. It is compared, and "
        "raises no alarm."
    )
    button("Watch it again", partial(_unsilence, view, name))


async def _silence(view: _View, name: str) -> None:
    # The page is drawn anew while the question stands, so the question belongs to what stays.
    with view.outcome.place:
        reason = await confirm(
            f"Silence {name} for 7 days?",
            action="Silence",
            reason="Why? It is kept with the silence and in every report.",
        )
    if reason is None:
        return
    by = view.context.target.caller
    with view.outcome.failing():
        made = await view.context.read(
            partial(view.silences.silence, name, length=_SILENCE, by=by, reason=reason, now=datetime.now(UTC))
        )
        view.outcome.say(f"{name} raises no alarm in windows that end by {readable(made.until)}.")


async def _unsilence(view: _View, name: str) -> None:
    with view.outcome.failing():
        await view.context.read(view.silences.end, name, datetime.now(UTC))
        view.outcome.say(f"{name} is watched again, from the window that ends next on.")


def _when(window: Window) -> str:
    state = "drifted" if window.drifted else "quiet"
    return f"{window.start.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {window.rows:,} predictions, {state}"


def _draw_threshold(each: Statistic) -> None:
    html.span(told_apart(each.threshold, each.value)[0])
    if each.value >= each.threshold and each.decides:
        chip("above", "bad")


_TESTS: Final[tuple[Column[Statistic], ...]] = (
    Column("Test", lambda each: STATISTICS.get(each.name, each.name)),
    Column("Value", lambda each: told_apart(each.value, each.threshold)[0], kind="number"),
    Column("Threshold", _draw_threshold, kind="number"),
    Column("By chance", lambda each: f"{each.p_value:.2g}", kind="number", narrow=False),
    Column("", lambda each: "decides" if each.decides else "reported", narrow=False),
)


def _draw_raised(raised: list[AnsweredAlarm]) -> None:
    if raised:
        with card("What became of alarms"):
            Table(_RAISED, lambda each: f"{each.kind} {each.report_uri}", label="Raised alarms").show(raised)


def _draw_became(alarm: AnsweredAlarm) -> None:
    if alarm.run_id is None:
        html.span(alarm.in_words)
        return
    link(f"run {alarm.run_id}", f"/runs/{alarm.run_id}")
    status_chip(alarm.run_status or "gone")


def _draw_alarms(alarms: list[AlarmState]) -> None:
    with card("Alarms"):
        if not alarms:
            html.p("The stack has no CloudWatch alarms.").classes("dim")
            return
        Table(_ALARMS, lambda each: each.name, label="Alarms").show(alarms)


def _draw_state(alarm: AlarmState) -> None:
    word, tone = _STATES.get(alarm.state, (alarm.state, "mute"))
    chip(word, tone, title=alarm.reason)


_RAISED: Final[tuple[Column[AnsweredAlarm], ...]] = (
    Column("Window ended", lambda each: moment(each.window_end)),
    Column("Alarm", lambda each: each.kind),
    Column("Version", lambda each: str(each.version), kind="number", narrow=False),
    Column("Because", lambda each: each.reason, narrow=False),
    Column("What became of it", _draw_became),
)

_ALARMS: Final[tuple[Column[AlarmState], ...]] = (
    Column("Alarm", lambda each: each.name.removesuffix("Alarm")),
    Column("State", _draw_state),
    Column("Since", lambda each: moment(each.since)),
    Column("Rings when", lambda each: each.description, narrow=False),
)


PAGE: Final = Page("/drift", "Drift", build, icon="show_chart")
