"""What a number means for the person who decides, in plain words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from dropforge.domain.figures import figure, percent, told_apart
from dropforge.domain.moments import from_iso
from dropforge.domain.verdicts import UNDECIDED, Verdict
from dropforge_ops.console.reading.drift import AlarmWord, Quality, false_alarm_windows
from dropforge_ops.console.reading.models import BETTER, EVEN, WORSE, Judged, MetricRow, Span
from dropforge_ops.stack.watch_reports import BIASED_OUTCOMES


def signed(value: float | None) -> str:
    """
    >>> signed(0.0114), signed(-0.03), signed(0.0)
    ('+0.0114', '−0.03', '±0')
    """
    return "±0" if value == 0 else _with_minus(figure(value, signed=True))


def between(span: Span | None, *, of_difference: bool = False) -> str:
    """
    >>> between(Span(0.76, 0.69, 0.82)), between(Span(0.01, -0.01, 0.03), of_difference=True)
    ('0.69 to 0.82', '−0.01 to +0.03')
    """
    if span is None or span.low is None or span.high is None:
        return ""
    low, high = told_apart(span.low, span.high, signed=of_difference)
    return _with_minus(f"{low} to {high}")


def _with_minus(text: str) -> str:
    """The minus sign is as wide as the plus sign, which columns of gains need."""
    return text.replace("-", "−")


def headline(verdict: Judged) -> str:
    """The verdict in a sentence."""
    if verdict.verdict is Verdict.REJECTED:
        return " ".join(["The gate refused this candidate:", *verdict.reasons])
    if verdict.verdict is Verdict.UNDECIDED:
        return f"{UNDECIDED} {' '.join(verdict.reasons)} You decide: approving it takes a reason."
    if verdict.champion_version is None:
        return "The gate let it through. It is the first model, so there is nothing to compare it with."
    if verdict.champion_problem:
        return f"The gate let it through, but version {verdict.champion_version} could not be compared."
    return f"The gate let it through beside version {verdict.champion_version}."


def difference_in_words(row: MetricRow, champion: int | None) -> str:
    """What the paired difference and its interval mean for a decision."""
    difference = row.difference
    if difference is None or difference.value is None or difference.low is None or difference.high is None:
        return ""
    against = f"version {champion}" if champion is not None else "the live model"
    if difference.low == difference.high == 0:
        return f"On this hold-out it is as good as {against}, in every resample."
    if difference.side == BETTER:
        return (
            f"Better than {against}: a gain of {figure(difference.value)} {row.name}, and even the "
            "low end of "
            f"the interval, {figure(difference.low)}, is a gain. Chance alone would hardly show this."
        )
    if difference.side == WORSE:
        return (
            f"Worse than {against}: a loss of {figure(-difference.value)} {row.name}, and even the "
            "good end of "
            f"the interval, {figure(-difference.high)}, is a loss."
        )
    worse = "no loss" if difference.low == 0 else f"{figure(-difference.low)} {row.name} worse"
    better = "no gain" if difference.high == 0 else f"{figure(difference.high)} better"
    return (
        f"Not distinguishable from {against} by these rows: the truth may lie anywhere from {worse} to "
        f"{better}. More hold-out rows would tell."
    )


def interval_in_words(verdict: Judged) -> str:
    """What the deciding metric's interval says against the threshold."""
    row = verdict.deciding
    span, threshold = row.candidate, verdict.threshold
    if span.value is None:
        return f"{row.name} is undefined on this hold-out."
    if span.low is None or span.high is None or threshold is None:
        return ""
    edge = span.low if row.greater_is_better else span.high
    holds = edge >= threshold if row.greater_is_better else edge <= threshold
    wanted = told_apart(threshold, span.value)[0]
    unseen = "the model has not" if row.champion is None else "neither model has"
    judged = f"Measured on {verdict.rows:,} rows that {unseen} learned from. "
    if holds:
        return judged + f"The whole 95 % interval meets the threshold {wanted}."
    return judged + (
        f"The value meets the threshold {wanted}, but its 95 % interval reaches beyond it: on other rows of "
        "the same kind it could miss."
        if verdict.verdict is Verdict.ACCEPTED
        else f"The threshold is {wanted}."
    )


STATISTICS = {
    "kolmogorov_smirnov": "shift of the whole distribution (KS)",
    "psi": "change of shares (PSI)",
    "chi_square": "change of shares (χ²)",
    "jensen_shannon": "distance of shares (Jensen-Shannon)",
    "missing_rate": "share of missing values",
    "out_of_domain_rate": "share beyond what training saw",
    "auc": "how well a classifier tells the window from training",
}


def false_alarms_in_words(policy: Mapping[str, Any], window_hours: float | None, watched: int) -> str:
    """What the setting of the watch means in days.

    Args:
        window_hours: how long the schedule's windows are; None where none of them is known.
        watched: how many columns a window compares; 0 where none was compared yet.

    >>> policy = {"false_alarm_rate": 0.01, "windows_to_alarm": 2, "windows_considered": 3, "cooldown_s": 60}
    >>> false_alarms_in_words(policy, 1, 8).split(". ")[2]
    'Were windows independent, chance alone would ring once in 5,025 windows, or 209 days'
    >>> at_once = {**policy, "windows_to_alarm": 1, "windows_considered": 1, "cooldown_s": 0}
    >>> false_alarms_in_words(at_once, None, 0).split(". ")[1]
    'The alarm rings when a window has drifted'
    """
    rate, cooldown_s = float(policy["false_alarm_rate"]), float(policy["cooldown_s"])
    needed, considered = int(policy["windows_to_alarm"]), int(policy["windows_considered"])
    windows = false_alarm_windows(rate, needed, considered)
    over = f", over all {watched:,} columns together" if watched > 1 else ""
    rings = "a window has" if considered == 1 else f"{needed} of the last {considered} windows have"
    after = f"After an alarm or a deployment it is silent for {_hours_in_words(cooldown_s / 3600)}."
    return (
        f"A window in which nothing has changed is called drifted with a chance of {percent(rate)} at "
        f"most{over}. The alarm rings when {rings} drifted. Were windows independent, chance alone would "
        f"ring once in {windows:,.0f} windows"
        + ("" if window_hours is None else f", or {_hours_in_words(windows * window_hours)}")
        + (f". {after}" if cooldown_s else ".")
    )


def _hours_in_words(hours: float) -> str:
    """A length of time in the unit in which it is read at a glance.

    >>> [_hours_in_words(each) for each in (1 / 60, 1, 6, 100, 5025, 40_000)]
    ['1 minute', '1 hour', '6 hours', '4.2 days', '209 days', '4.6 years']
    """
    units = (
        ("minute", 1 / 60, 1.0),
        ("hour", 1, 48.0),
        ("day", 24, 24 * 730.0),
        ("year", 24 * 365.25, math.inf),
    )
    unit, length, _ = next(each for each in units if hours < each[2])
    count = f"{hours / length:,.0f}" if hours >= 10 * length else f"{hours / length:.2g}"
    return f"{count} {unit}{'' if count == '1' else 's'}"


def quality_in_words(quality: Quality | None) -> str:
    """How quality stands as outcomes arrive."""
    if quality is None or quality.predictions == 0:
        return "There are no predictions to measure."
    known = f"The outcome of {quality.labelled:,} of {quality.predictions:,} predictions is known"
    if quality.live is None:
        return (
            f"{known}: too few to measure {quality.metric}. Report outcomes by prediction id: 'dropforge "
            "outcome', the API's /outcomes, or the Try it page."
        )
    now, then = told_apart(quality.live, quality.holdout)
    compared = "" if quality.holdout is None else f"; on the hold-out it was {then}"
    verdict = {
        "steady": "That is no loss beyond chance.",
        "degraded": "That is a loss beyond chance.",
    }.get(quality.verdict, "")
    biased = f" {BIASED_OUTCOMES}" if quality.is_biased else ""
    return f"{known}. On them {quality.metric} is {now}{compared}. {verdict}".strip() + biased


def alarm_in_words(alarm: AlarmWord) -> str:
    """What a window's report says of an alarm, its times to the minute.

    >>> alarm_in_words(AlarmWord(False, "no alarm is raised before 2026-11-21T22:58:40.425Z", None))
    'no alarm is raised before 21 Nov 22:58 UTC'
    """

    def shorter(found: re.Match[str]) -> str:
        return f"{from_iso(found[0]):%d %b %H:%M} UTC"

    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", shorter, alarm.reason)
    return f"raised: {text}" if alarm.raised else text


def side_word(span: Span | None) -> tuple[str, str]:
    """A word for a difference and its tone."""
    if span is None or span.value is None:
        return "–", "mute"
    return {BETTER: ("better", "ok"), WORSE: ("worse", "bad"), EVEN: ("no clear difference", "mute")}.get(
        span.side, ("undefined", "mute")
    )
