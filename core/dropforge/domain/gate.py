"""The gate: whether a candidate is good enough to be put before a reviewer.

`judge` is a pure function of the hold-out's predictions and a policy. Its verdict is a result, never an
exception: "not good enough" ends a run well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.errors import InvalidSettings
from dropforge.domain.figures import figure, told_apart
from dropforge.domain.holdout import HoldOut
from dropforge.domain.intervals import CONFIDENCE, Interval, finite_or_none
from dropforge.domain.metric_registry import METRICS, Metric, metric_named
from dropforge.domain.metrics import Scored
from dropforge.domain.resampling import resample_weights, resamples_for

SLICE_CELLS = 20_000_000
"""Weights (resamples times rows) drawn for the intervals of all slices together."""

MINIMUM_GROUPS = 30
"""Of fewer groups in the hold-out a bootstrap of groups gives intervals that are too narrow."""

MINIMUM_SLICE_RESAMPLES = 100
"""Fewer say little about where 95 % lie: slices of so many rows get values without intervals."""

AUTO_THRESHOLDS: Mapping[str, str] = {
    "auc": "0.70, the usual bound of acceptable discrimination (Hosmer and Lemeshow 2013, section 5.2.4)",
    "accuracy": "0.5, or if that is more, a tenth fewer errors than always guessing the largest class makes",
    "r2": "0.1: a tenth of the hold-out's variance explained",
}
"""What the threshold ``auto`` means per metric. Every other metric needs a number of its own."""


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What a candidate has to meet.

    Attributes:
        metric: ``auto`` or a metric of the task.
        threshold: ``auto`` or a number as text; an upper bound where less of the metric is better.
        champion_tolerance: how much worse than the champion the candidate may be, in units of the metric.
        minimum_holdout_rows: below this the hold-out decides nothing and the candidate is rejected.
        minimum_slice_rows: slices with fewer rows are left out of the report.
        resamples: bootstrap resamples (fewer on a very large hold-out, see `resamples_for`).
        seed: of the bootstrap.
    """

    metric: str = "auto"
    threshold: str = "auto"
    champion_tolerance: float = 0.01
    minimum_holdout_rows: int = 10
    minimum_slice_rows: int = 30
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.threshold != "auto" and _number(self.threshold) is None:
            problems.append(f"threshold must be auto or a finite number, not {self.threshold!r}")
        if not math.isfinite(self.champion_tolerance) or self.champion_tolerance < 0:
            problems.append(f"champion_tolerance must be at least 0, not {self.champion_tolerance!r}")
        lowest = {"minimum_holdout_rows": 2, "minimum_slice_rows": 2, "resamples": 100, "seed": 0}
        problems += [
            f"{name} must be at least {least}, not {getattr(self, name)!r}"
            for name, least in lowest.items()
            if getattr(self, name) < least
        ]
        if problems:
            raise InvalidSettings(f"gate policy: {'; '.join(problems)}.")

    def metric_of(self, task: str) -> Metric:
        """Return the metric that decides.

        Raises:
            InvalidSettings: the task has no such metric, or its threshold can't be ``auto``.
        """
        metric = metric_named(task, self.metric)
        if self.threshold == "auto" and metric.name not in AUTO_THRESHOLDS:
            raise InvalidSettings(
                f"the metric {metric.name!r} has no threshold 'auto'; set the threshold to a number "
                f"(only {', '.join(AUTO_THRESHOLDS)} have one)."
            )
        return metric

    def threshold_for(self, holdout: HoldOut) -> float:
        """Return the number to meet on this hold-out; see AUTO_THRESHOLDS."""
        metric = self.metric_of(holdout.task)
        if self.threshold != "auto":
            return float(self.threshold)
        if metric.name == "accuracy":
            counts = np.bincount(holdout.target.astype(np.int64), minlength=1)
            majority = float(counts.max() / max(len(holdout.target), 1))
            return max(0.5, majority + 0.1 * (1 - majority))
        return {"auc": 0.70, "r2": 0.1}[metric.name]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the verdict is what it is: a stable code to match on, and a sentence with the numbers."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric of both models on the same rows. ``difference`` is the paired gain; above 0 is better.

    ``champion`` and ``difference`` are None where no champion was scored.
    """

    metric: Metric
    candidate: Interval
    champion: Interval | None = None
    difference: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready numbers, None where undefined."""
        return {
            "greater_is_better": self.metric.greater_is_better,
            "candidate": self.candidate.to_dict(),
            "champion": None if self.champion is None else self.champion.to_dict(),
            "difference": None if self.difference is None else self.difference.to_dict(),
        }


@dataclass(frozen=True)
class Judgement:
    """The verdict and all numbers behind it."""

    accepted: bool
    reasons: tuple[Reason, ...]
    metric: Metric
    threshold: float
    compared: Mapping[str, Compared]
    rows: int
    resamples: int
    slices: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def candidate(self) -> Interval:
        """The deciding metric of the candidate."""
        return self._deciding.candidate

    @property
    def champion(self) -> Interval | None:
        """The deciding metric of the champion; None where none was scored."""
        return self._deciding.champion

    @property
    def difference(self) -> Interval | None:
        """The paired difference in the deciding metric; None where no champion was scored."""
        return self._deciding.difference

    @property
    def metrics(self) -> Mapping[str, Interval]:
        """Every metric of the candidate."""
        return {name: each.candidate for name, each in self.compared.items()}

    @property
    def _deciding(self) -> Compared:
        return self.compared.get(self.metric.name) or Compared(self.metric, Interval(math.nan))

    def to_dict(self) -> dict[str, Any]:
        """Return ``judgement.json``; undefined numbers are null. A difference above 0 is a gain."""
        return {
            "format": 1,
            "accepted": self.accepted,
            "reasons": [{"code": reason.code, "message": reason.message} for reason in self.reasons],
            "metric": {
                "name": self.metric.name,
                "greater_is_better": self.metric.greater_is_better,
                **self.candidate.to_dict(),
                "threshold": finite_or_none(self.threshold),
            },
            "metrics": {name: finite_or_none(interval.value) for name, interval in self.metrics.items()},
            "champion": None if self.champion is None else self.champion.to_dict(),
            "difference": None if self.difference is None else self.difference.to_dict(),
            "compared": {name: each.to_dict() for name, each in self.compared.items()},
            "slices": [dict(entry) for entry in self.slices],
            "rows": self.rows,
            "resamples": self.resamples,
            "confidence": CONFIDENCE,
        }


def judge(holdout: HoldOut, policy: GatePolicy, champion_reason: str | None = None) -> Judgement:
    """Judge a candidate on the hold-out. The same arguments give the same judgement.

    A candidate is accepted if the hold-out has enough rows, all predictions are finite, the metric is defined
    and meets the threshold, and, where a champion was scored, it is neither significantly worse (the 95 %
    interval of the paired bootstrap difference lies below 0) nor worse by more than the tolerance.

    Intervals are bootstrap percentile intervals, both models measured on the same resamples (Efron and
    Tibshirani 1993, sections 13.3 and 16.4); a classification's resamples are stratified by class.
    Where rows have groups, groups are resampled, and fewer than `MINIMUM_GROUPS` of them decide nothing.

    Args:
        holdout: both models' predictions.
        policy: what to meet.
        champion_reason: why a champion that exists could not be scored; the threshold alone decides then.

    Raises:
        InvalidSettings: the policy doesn't fit the task.

    Example:
        >>> target = np.array([0, 1] * 20)
        >>> sure = np.stack([1.0 - target, target.astype(float)], axis=1)
        >>> rows = np.arange(40, dtype=np.uint64)
        >>> judge(HoldOut("binary", ("no", "yes"), rows, target, sure), GatePolicy()).accepted
        True
    """
    metric = policy.metric_of(holdout.task)
    threshold = policy.threshold_for(holdout)
    rows = len(holdout.target)
    blocking = list(_unusable(holdout, policy))
    if blocking:
        return Judgement(False, tuple(blocking), metric, threshold, {}, rows, 0)
    resamples = resamples_for(rows, policy.resamples)
    everything = tuple(METRICS[holdout.task])
    compared = _compare(holdout, np.arange(rows), everything, resamples, policy.seed)
    deciding = compared[metric.name]
    value, difference = deciding.candidate, deciding.difference
    blocking += _absolute(metric, value, threshold)
    blocking += _relative(metric, deciding.champion, difference, policy)
    remarks = _remarks(metric, value, threshold, difference, champion_reason)
    return Judgement(
        accepted=not blocking,
        reasons=tuple(blocking or remarks) + (tuple(remarks[1:]) if blocking and champion_reason else ()),
        metric=metric,
        threshold=threshold,
        compared=compared,
        rows=rows,
        resamples=resamples,
        slices=tuple(_slices(holdout, metric, policy)),
    )


def _compare(
    holdout: HoldOut, rows: NDArray[np.intp], names: tuple[str, ...], resamples: int, seed: int
) -> dict[str, Compared]:
    """Measure both models on some rows, and on the same resamples of them."""
    target = holdout.target[rows]
    candidate = Scored(holdout.task, target, holdout.candidate[rows])
    champion = None if holdout.champion is None else Scored(holdout.task, target, holdout.champion[rows])
    strata = target if holdout.classes is not None else np.zeros(len(rows), dtype=np.int64)
    drawn: list[dict[str, NDArray[np.float64]]] = []
    drawn_champion: list[dict[str, NDArray[np.float64]]] = []
    groups = None if holdout.group is None else holdout.group[rows]
    for weights in resample_weights(strata.astype(np.int64), resamples, seed, groups):
        drawn.append(candidate.measure(names, weights))
        if champion is not None:
            drawn_champion.append(champion.measure(names, weights))
    ours, theirs = candidate.measure(names), None if champion is None else champion.measure(names)
    compared = {}
    for name in names:
        metric = METRICS[holdout.task][name]
        resampled = _joined(drawn, name)
        value = Interval.of(float(ours[name][0]), resampled)
        if theirs is None:
            compared[name] = Compared(metric, value)
            continue
        resampled_champion = _joined(drawn_champion, name)
        its = Interval.of(float(theirs[name][0]), resampled_champion)
        gains = np.asarray(metric.gain(resampled, resampled_champion))
        difference = Interval.of(float(metric.gain(value.value, its.value)), gains)
        compared[name] = Compared(metric, value, its, difference)
    return compared


def _joined(blocks: list[dict[str, NDArray[np.float64]]], name: str) -> NDArray[np.float64]:
    return np.concatenate([block[name] for block in blocks]) if blocks else np.empty(0)


def _unusable(holdout: HoldOut, policy: GatePolicy) -> list[Reason]:
    reasons = []
    rows = len(holdout.target)
    if rows < policy.minimum_holdout_rows:
        reasons.append(
            Reason(
                "TooFewHoldOutRows",
                f"the hold-out has {rows} rows; at least {policy.minimum_holdout_rows} are needed to judge.",
            )
        )
    groups = None if holdout.group is None else len(np.unique(holdout.group))
    if groups is not None and groups < MINIMUM_GROUPS:
        reasons.append(
            Reason(
                "TooFewHoldOutGroups",
                f"the hold-out's {rows} rows are of {groups} groups, whose rows say little more than one row "
                f"each; an interval can be given from {MINIMUM_GROUPS} on.",
            )
        )
    for name, scores in (("candidate", holdout.candidate), ("champion", holdout.champion)):
        if scores is not None and not np.isfinite(scores).all():
            rows_hit = int((~np.isfinite(scores)).reshape(rows, -1).any(axis=1).sum())
            reasons.append(
                Reason("NonFinitePredictions", f"{rows_hit} of the {name}'s predictions are not finite.")
            )
    if holdout.classes is None and not np.isfinite(holdout.target).all():
        reasons.append(Reason("NonFiniteTarget", "the hold-out's target is not finite in every row."))
    return reasons


def _absolute(metric: Metric, value: Interval, threshold: float) -> list[Reason]:
    if not math.isfinite(value.value):
        message = (
            f"{metric.name} is undefined on this hold-out, for example because a class is missing from it."
        )
        return [Reason("UndefinedMetric", message)]
    if float(metric.gain(value.value, threshold)) < -_spacing(threshold):
        side = "below" if metric.greater_is_better else "above"
        shown, wanted = told_apart(value.value, threshold)
        return [Reason("ThresholdMissed", f"{metric.name} {shown} is {side} the threshold {wanted}.")]
    return []


def _relative(
    metric: Metric, champion: Interval | None, difference: Interval | None, policy: GatePolicy
) -> list[Reason]:
    if champion is None or difference is None:
        return []
    if not math.isfinite(difference.value) or not math.isfinite(difference.high):
        return [Reason("UndefinedMetric", f"the champion's {metric.name} is undefined on this hold-out.")]
    shown = f"{metric.name} differs by {_gain(difference)} from the champion's {figure(champion.value)}"
    reasons = []
    if difference.high < 0:
        reasons.append(Reason("SignificantlyWorse", f"{shown}: worse beyond chance."))
    if difference.value < -policy.champion_tolerance - _spacing(policy.champion_tolerance):
        loss, allowed = told_apart(-difference.value, policy.champion_tolerance)
        reasons.append(
            Reason("WorseThanTolerance", f"{shown}: a loss of {loss}; the tolerance is {allowed}.")
        )
    return reasons


def _remarks(
    metric: Metric,
    value: Interval,
    threshold: float,
    difference: Interval | None,
    champion_reason: str | None,
) -> list[Reason]:
    shown, wanted = told_apart(value.value, threshold)
    remarks = [Reason("ThresholdMet", f"{metric.name} {shown} meets the threshold {wanted}.")]
    if difference is not None:
        message = f"{metric.name} differs from the champion's by {_gain(difference)}."
        remarks.append(Reason("NotWorseThanChampion", message))
    elif champion_reason is not None:
        remarks.append(
            Reason("ChampionNotScored", f"the champion could not be compared with: {champion_reason}")
        )
    else:
        remarks.append(Reason("FirstModel", "there is no champion to compare with."))
    return remarks


def _gain(difference: Interval) -> str:
    value, low, high = told_apart(difference.value, difference.low, difference.high, signed=True)
    return f"{value} [{low}, {high}]"


def _spacing(limit: float) -> float:
    """How far float64 may be off at a limit: a value of exactly the limit meets it."""
    return 1e-12 * max(1.0, abs(limit))


def _slices(holdout: HoldOut, metric: Metric, policy: GatePolicy) -> list[dict[str, Any]]:
    """Return each slice's value with its interval and, with a champion, the paired difference."""
    found: list[tuple[str, str, NDArray[np.intp]]] = []
    if holdout.slice_codes is not None:
        for column, described in enumerate(holdout.slices):
            for code, label in enumerate(described.labels):
                rows = np.flatnonzero(holdout.slice_codes[:, column] == code)
                if len(rows) >= policy.minimum_slice_rows:
                    found.append((described.name, label, rows))
    cells = sum(len(rows) for _, _, rows in found)
    resamples = min(policy.resamples, SLICE_CELLS // max(cells, 1))
    if resamples < MINIMUM_SLICE_RESAMPLES:
        resamples = 0
    entries = []
    for name, label, rows in found:
        compared = _compare(holdout, rows, (metric.name,), resamples, policy.seed)[metric.name]
        entry = compared.candidate.to_dict()
        champion, difference = compared.champion, compared.difference
        entries.append(
            {
                "slice": name,
                "label": label,
                "rows": len(rows),
                **entry,
                "champion": None if champion is None else champion.to_dict()["value"],
                "difference": None if difference is None else difference.to_dict(),
            }
        )
    return entries


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def refused_as_the_same(judgement: Judgement, version: int | None) -> Judgement:
    """The verdict on a candidate that is the live model once more: there is nothing to decide on."""
    which = "the live model" if version is None else f"the live version {version}"
    reason = Reason(
        "SameModel",
        f"The candidate is {which} once more, file by file: the same data and the same code were trained on.",
    )
    return replace(judgement, accepted=False, reasons=(reason,))
