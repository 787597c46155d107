"""The gate: whether a candidate is good enough to be put before a reviewer.

`judge` is a pure function of the hold-out's predictions and a policy. Its verdict is a result, never an
exception: "not good enough" ends a run well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.comparison import Compared, Method, compare, shortage_of
from dropforge.domain.decision_costs import Decided, decided
from dropforge.domain.errors import InvalidSettings
from dropforge.domain.figures import figure, told_apart
from dropforge.domain.guarded_slices import CORRECTION, GuardedSlice, SliceRows, disparity, guarded, level_of
from dropforge.domain.holdout import HoldOut, Slice
from dropforge.domain.intervals import CONFIDENCE, Interval, finite_or_none
from dropforge.domain.metric_registry import METRICS, Metric, metric_named, metric_title
from dropforge.domain.resampling import resamples_for
from dropforge.domain.slice_words import WHAT_HELPS, named_slices
from dropforge.domain.verdicts import Verdict

SLICE_CELLS = 20_000_000
"""Weights (resamples times rows) drawn for the intervals of all slices together."""

MINIMUM_SLICE_RESAMPLES = 100
"""Fewer say little about where 95 % lie: slices of so many rows get values without intervals."""

SMALL_GUARDED_SLICES = ("report", "undecided")
MORE_ROWS = "More hold-out rows would tell."

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
        positive_class: of two classes, the one that is looked for; None takes the one of code 1.
        small_guarded_slices: what follows where a guarded slice is too small to compare both models in:
            ``report`` says so, ``undecided`` leaves the verdict to a person.
    """

    metric: str = "auto"
    threshold: str = "auto"
    champion_tolerance: float = 0.01
    minimum_holdout_rows: int = 10
    minimum_slice_rows: int = 30
    resamples: int = 1000
    seed: int = 0
    positive_class: str | None = None
    small_guarded_slices: str = "report"

    def __post_init__(self) -> None:
        problems = []
        if self.small_guarded_slices not in SMALL_GUARDED_SLICES:
            problems.append(
                f"small_guarded_slices must be {' or '.join(SMALL_GUARDED_SLICES)}, "
                f"not {self.small_guarded_slices!r}"
            )
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


@dataclass(frozen=True)
class Judgement:
    """The verdict and all numbers behind it."""

    verdict: Verdict
    reasons: tuple[Reason, ...]
    metric: Metric
    threshold: float
    compared: Mapping[str, Compared]
    rows: int
    resamples: int
    slices: tuple[Mapping[str, Any], ...] = field(default=())
    positive_class: str | None = None
    decision: Decided | None = None
    guarded: Mapping[str, Any] | None = None

    @property
    def accepted(self) -> bool:
        """Whether the gate itself finds it good enough."""
        return self.verdict is Verdict.ACCEPTED

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
            "verdict": str(self.verdict),
            "accepted": self.accepted,
            "reasons": [{"code": reason.code, "message": reason.message} for reason in self.reasons],
            "metric": {
                "name": self.metric.name,
                "greater_is_better": self.metric.greater_is_better,
                **self.candidate.to_dict(),
                "threshold": finite_or_none(self.threshold),
                **({} if self.positive_class is None else {"positive_class": self.positive_class}),
            },
            "metrics": {name: finite_or_none(interval.value) for name, interval in self.metrics.items()},
            "champion": None if self.champion is None else self.champion.to_dict(),
            "difference": None if self.difference is None else self.difference.to_dict(),
            "compared": {name: each.to_dict() for name, each in self.compared.items()},
            "slices": [dict(entry) for entry in self.slices],
            **({} if self.decision is None else {"decision": self.decision.to_dict()}),
            **({} if self.guarded is None else {"guarded": dict(self.guarded)}),
            "rows": self.rows,
            "resamples": self.resamples,
            "confidence": CONFIDENCE,
        }


def judge(holdout: HoldOut, policy: GatePolicy, champion_reason: str | None = None) -> Judgement:
    """Judge a candidate on the hold-out. The same arguments give the same judgement.

    A candidate is accepted if the hold-out has enough rows, all predictions are finite, the metric meets the
    threshold, its 95 % interval lies above chance (see `chance_of`), and, where there is a champion, it is
    neither significantly worse (the 95 % interval of the paired difference lies below 0) nor worse by more
    than the tolerance. Where the hold-out is too small for an interval that holds, or the champion could not
    be scored, the verdict is that the gate can't say: a person decides. A candidate that is worse than the
    champion in a guarded slice, beyond an interval that allows for there being so many, is rejected; so is
    one whose decision threshold doesn't keep the minimum that it was chosen for.

    Args:
        holdout: both models' predictions.
        policy: what to meet.
        champion_reason: why a champion that exists could not be scored.

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
    unusable = _unusable(holdout, policy)
    if unusable:
        return Judgement(
            Verdict.REJECTED,
            tuple(unusable),
            metric,
            threshold,
            {},
            rows,
            0,
            positive_class=holdout.positive,
        )
    resamples = resamples_for(rows, policy.resamples)
    compared = _compare(holdout, np.arange(rows), tuple(METRICS[holdout.task]), resamples, policy.seed)
    decision = decided(holdout, resamples, policy.seed)
    slices = guard(holdout, metric, policy)
    verdict, reasons = weigh(holdout, compared, policy, champion_reason, decision, slices)
    return Judgement(
        verdict=verdict,
        reasons=reasons,
        metric=metric,
        threshold=threshold,
        compared=compared,
        rows=rows,
        resamples=resamples,
        slices=(*(each.to_dict() for each in slices), *_slices(holdout, metric, policy)),
        positive_class=holdout.positive,
        decision=decision,
        guarded=_guard_told(holdout, slices, policy),
    )


def weigh(
    holdout: HoldOut,
    compared: Mapping[str, Compared],
    policy: GatePolicy,
    champion_reason: str | None = None,
    decision: Decided | None = None,
    slices: Sequence[GuardedSlice] = (),
) -> tuple[Verdict, tuple[Reason, ...]]:
    """Reach the verdict: a fault outweighs a doubt, and a doubt what speaks for the candidate.

    Args:
        holdout, policy, champion_reason: see `judge`.
        compared: the metric that decides, and r2 where that is of squares; others may be missing.
        decision: how the candidate's decision threshold does, where it has one.
        slices: the guarded ones.
    """
    metric, threshold = policy.metric_of(holdout.task), policy.threshold_for(holdout)
    deciding, title = compared[metric.name], metric_title(metric.name, holdout.positive)
    faults = [*_absolute(holdout, compared, metric, threshold), *_relative(deciding, title, policy)]
    faults += [] if decision is None else _missed_minima(decision)
    faults += _worse_slices(slices, title)
    doubts = _doubts(deciding, title, champion_reason)
    remarks = _remarks(deciding, title, threshold, champion_reason)
    small = _small_slices(slices, title)
    (doubts if policy.small_guarded_slices == "undecided" else remarks).extend(small)
    if faults:
        return Verdict.REJECTED, (*faults, *doubts)
    if doubts:
        return Verdict.UNDECIDED, (*doubts, *remarks)
    return Verdict.ACCEPTED, tuple(remarks)


def _compare(
    holdout: HoldOut, rows: NDArray[np.intp], names: tuple[str, ...], resamples: int, seed: int
) -> dict[str, Compared]:
    """Measure both models on some rows, and on the same resamples of them."""
    return compare(
        holdout.of_candidate(rows),
        holdout.of_champion(rows),
        names,
        classes=holdout.classes,
        resamples=resamples,
        seed=seed,
        groups=None if holdout.group is None else holdout.group[rows],
    )


def _unusable(holdout: HoldOut, policy: GatePolicy) -> list[Reason]:
    reasons = []
    rows = len(holdout.target)
    if rows < policy.minimum_holdout_rows:
        reasons.append(
            Reason(
                "TooFewHoldOutRows",
                f"The hold-out has {rows} rows; at least {policy.minimum_holdout_rows} are needed to judge.",
            )
        )
    for name, scores in (("candidate", holdout.candidate), ("champion", holdout.champion)):
        if scores is not None and not np.isfinite(scores).all():
            rows_hit = int((~np.isfinite(scores)).reshape(rows, -1).any(axis=1).sum())
            reasons.append(
                Reason("NonFinitePredictions", f"{rows_hit} of the {name}'s predictions are not finite.")
            )
    if holdout.classes is None and not np.isfinite(holdout.target).all():
        reasons.append(Reason("NonFiniteTarget", "The hold-out's target is not finite in every row."))
    return reasons


def chance_of(metric: Metric, holdout: HoldOut) -> float:
    """Return what the best model that knows nothing of a row reaches, knowing how the target is spread.

    For a share of positives it is what the same number of positives, called at random, would reach; for an
    error that of the best constant.
    """
    target = holdout.target
    if holdout.classes is None:
        middle = float(np.median(target))
        errors = np.abs(target - middle)
        constants = {
            "r2": 0.0,
            "mse": float(target.var()),
            "rmse": float(target.std()),
            "mae": float(errors.mean()),
            "median_absolute_error": float(np.median(errors)),
        }
        return constants[metric.name]
    shares = np.bincount(target.astype(np.int64), minlength=len(holdout.classes)) / max(len(target), 1)
    present = shares[shares > 0]
    if metric.name == "auc":
        return 0.5
    if metric.name == "accuracy":
        return float(shares.max())
    if metric.name == "log_loss":
        return float(-(present * np.log(present)).sum())
    if holdout.task == "multiclass" or metric.name == "balanced_accuracy":
        return 1 / max(len(present), 1)
    positives = float(shares[1])
    return {
        "precision": positives,
        "average_precision": positives,
        "recall": float((holdout.of_candidate().labels == 1).mean()),
        "f1": 2 * positives / (1 + positives),
        "brier": positives * (1 - positives),
    }[metric.name]


def _absolute(
    holdout: HoldOut, compared: Mapping[str, Compared], metric: Metric, threshold: float
) -> list[Reason]:
    """What speaks against the candidate by itself, as far as the hold-out can tell."""
    value = compared[metric.name].candidate
    if not value.is_told:
        return []
    if float(metric.gain(value.value, threshold)) < -_spacing(threshold):
        side = "below" if metric.greater_is_better else "above"
        shown, wanted = told_apart(value.value, threshold)
        title = metric_title(metric.name, holdout.positive)
        return [Reason("ThresholdMissed", f"{title} {shown} is {side} the threshold {wanted}.")]
    # Whether a model explains anything is known better than how large its error is.
    explains = metric.family == "squares" and compared["r2"].candidate.is_told
    deciding = METRICS[holdout.task]["r2"] if explains else metric
    measured = compared[deciding.name].candidate
    edge = measured.low if deciding.greater_is_better else measured.high
    chance = chance_of(deciding, holdout)
    if float(deciding.gain(edge, chance)) > 0:
        return []
    low, high, shown = told_apart(measured.low, measured.high, chance)
    title = metric_title(deciding.name, holdout.positive)
    return [
        Reason(
            "NotAboveChance",
            f"{title} may lie anywhere from {low} to {high} (95 %), and {shown} is reached without "
            f"knowing anything of a row. {MORE_ROWS}",
        )
    ]


def _relative(deciding: Compared, title: str, policy: GatePolicy) -> list[Reason]:
    """What speaks against the candidate beside the champion, as far as the hold-out can tell."""
    champion, difference = deciding.champion, deciding.difference
    if champion is None or difference is None or not difference.is_told:
        return []
    shown = f"{title} differs by {_gain(difference)} from the champion's {figure(champion.value)}"
    reasons = []
    if difference.high < 0:
        reasons.append(Reason("SignificantlyWorse", f"{shown}: worse beyond chance."))
    if difference.value < -policy.champion_tolerance - _spacing(policy.champion_tolerance):
        loss, allowed = told_apart(-difference.value, policy.champion_tolerance)
        reasons.append(
            Reason("WorseThanTolerance", f"{shown}: a loss of {loss}; the tolerance is {allowed}.")
        )
    return reasons


def _missed_minima(decision: Decided) -> list[Reason]:
    """The minima that the threshold was chosen for and doesn't keep."""
    threshold = decision.threshold
    goal, choice = threshold.goal, threshold.choice
    minima = {"precision": goal.minimum_precision, "recall": goal.minimum_recall}
    if not choice.reached:
        wanted = " and ".join(f"a {n} of {figure(v)}" for n, v in minima.items() if v is not None)
        message = (
            f"No decision threshold reaches {wanted} for {threshold.positive!r} on the rows that it is "
            f"chosen on: the nearest, {figure(threshold.value)}, has a precision of "
            f"{figure(choice.precision)} and a recall of {figure(choice.recall)}."
        )
        return [Reason("MinimumNotReached", message)]
    reasons = []
    for name, least in minima.items():
        found: Interval = getattr(decision.chosen, name)
        if least is not None and found.is_told and found.high < least:
            value, low, high, wanted = told_apart(found.value, found.low, found.high, least)
            message = (
                f"{name} of {threshold.positive!r} is {value} [{low}, {high}] on the hold-out: below the "
                f"minimum of {wanted}, beyond chance."
            )
            reasons.append(Reason("MinimumMissed", message))
    return reasons


def _doubts(deciding: Compared, title: str, champion_reason: str | None) -> list[Reason]:
    """Why the hold-out can't tell, and what would help."""
    shortage = deciding.shortage or deciding.difference_shortage
    doubts = []
    if deciding.undefined is not None:
        message = f"{title} is undefined on this hold-out: {deciding.undefined}. {MORE_ROWS}"
        code = "UndefinedMetric" if deciding.shortage is None else "TooFewToTell"
        doubts.append(Reason(code, message))
    elif deciding.shortage is not None:
        message = f"It can't be said how sure {title} is: {shortage}. {MORE_ROWS}"
        doubts.append(Reason("TooFewToTell", message))
    elif deciding.difference_shortage is not None:
        message = f"It can't be said how {title} compares: {shortage}. {MORE_ROWS}"
        doubts.append(Reason("TooFewToCompare", message))
    elif deciding.difference is not None and not deciding.difference.is_told:
        message = f"The champion's {title} is undefined on this hold-out."
        doubts.append(Reason("UndefinedMetric", message))
    if champion_reason is not None:
        message = f"The champion could not be compared with: {champion_reason}"
        doubts.append(Reason("ChampionNotScored", message))
    return doubts


def _remarks(deciding: Compared, title: str, threshold: float, champion_reason: str | None) -> list[Reason]:
    """What speaks for the candidate."""
    metric, value, difference = deciding.metric, deciding.candidate, deciding.difference
    remarks = []
    if float(metric.gain(value.value, threshold)) >= -_spacing(threshold):
        shown, wanted = told_apart(value.value, threshold)
        remarks.append(Reason("ThresholdMet", f"{title} {shown} meets the threshold {wanted}."))
    if difference is not None and difference.is_told:
        message = f"{title} differs from the champion's by {_gain(difference)}."
        remarks.append(Reason("NotWorseThanChampion", message))
    elif difference is None and champion_reason is None:
        remarks.append(Reason("FirstModel", "There is no champion to compare with."))
    return remarks


def _worse_slices(slices: Sequence[GuardedSlice], title: str) -> list[Reason]:
    """The guarded slices in which the candidate is worse than the champion, the largest loss first."""
    compared = sum(each.verdict in ("worse", "holds") for each in slices)
    reasons = []
    for each in sorted((each for each in slices if each.is_worse), key=lambda each: _value(each.difference)):
        champion = figure(_value(each.champion))
        reasons.append(
            Reason(
                "GuardedSliceWorse",
                f"{title} where {each.column} is {each.label!r} ({each.rows:,} rows) differs by "
                f"{_gain(each.difference or Interval(math.nan))} from the champion's {champion}: worse beyond"
                f" chance, {compared} guarded slices considered.",
            )
        )
    return reasons


def _small_slices(slices: Sequence[GuardedSlice], title: str) -> list[Reason]:
    small = [each for each in slices if each.verdict == "cant_say"]
    if not small:
        return []
    named = named_slices([(each.column, each.label, str(each.shortage)) for each in small])
    message = (
        f"It can't be said how {title} compares in {len(small)} guarded slice{'s' if len(small) > 1 else ''} "
        f"({named}). {WHAT_HELPS}"
    )
    return [Reason("GuardedSliceTooSmall", message)]


def _value(interval: Interval | None) -> float:
    return math.nan if interval is None else interval.value


def _gain(difference: Interval) -> str:
    value, low, high = told_apart(difference.value, difference.low, difference.high, signed=True)
    return f"{value} [{low}, {high}]"


def _spacing(limit: float) -> float:
    """How far float64 may be off at a limit: a value of exactly the limit meets it."""
    return 1e-12 * max(1.0, abs(limit))


def guard(holdout: HoldOut, metric: Metric, policy: GatePolicy) -> tuple[GuardedSlice, ...]:
    """Compare both models in every guarded slice that has rows; see `guarded_slices`."""
    slices = [
        _slice_rows(holdout, described.name, label, places, metric, policy)
        for described, label, places in _rows_of_slices(holdout)
        if described.slicing is not None
    ]
    cells = sum(len(each.places) for each in slices)
    resamples = min(policy.resamples, max(SLICE_CELLS // max(cells, 1), MINIMUM_SLICE_RESAMPLES))
    compared = [
        _compare(holdout, each.places, (metric.name,), resamples, policy.seed)[metric.name] for each in slices
    ]
    return guarded(slices, compared, metric)


def _slice_rows(
    holdout: HoldOut, column: str, label: str, places: NDArray[np.intp], metric: Metric, policy: GatePolicy
) -> SliceRows:
    target, least = holdout.target[places], policy.minimum_slice_rows
    groups = None if holdout.group is None else holdout.group[places]
    rarest = len(places)
    if holdout.classes is not None:
        rarest = int(np.bincount(target.astype(np.int64), minlength=len(holdout.classes)).min())
    if len(places) < least:
        there = "is" if len(places) == 1 else "are"
        shortage: str | None = f"it takes {least} rows, and there {there} {len(places)}"
    else:
        shortage = shortage_of(metric, Method.BOOTSTRAP, target, holdout.classes, groups)
    known = None if groups is None else len(np.unique(groups))
    return SliceRows(column, label, places, rarest, known, shortage)


def _guard_told(
    holdout: HoldOut, slices: Sequence[GuardedSlice], policy: GatePolicy
) -> dict[str, Any] | None:
    """Return what ``judgement.json`` says of the guarded columns beside their slices; None without any."""
    columns = []
    for place, described in enumerate(holdout.slices):
        if described.slicing is None or holdout.slice_codes is None:
            continue
        models = {"candidate": holdout.of_candidate(), "champion": holdout.of_champion()}
        told = {
            name: disparity(scored, holdout.slice_codes[:, place], policy.minimum_slice_rows)
            for name, scored in models.items()
            if scored is not None
        }
        columns.append(
            {
                "name": described.name,
                "others": list(described.slicing.others),
                "others_count": described.slicing.others_count,
                "disparity": {
                    name: None if each is None else {n: finite_or_none(v) for n, v in each.items()}
                    for name, each in told.items()
                },
            }
        )
    if not columns:
        return None
    compared = sum(each.verdict in ("worse", "holds") for each in slices)
    return {
        "columns": columns,
        "compared": compared,
        "correction": CORRECTION,
        "confidence": level_of(compared),
        "too_small": policy.small_guarded_slices,
    }


def _rows_of_slices(holdout: HoldOut) -> Iterator[tuple[Slice, str, NDArray[np.intp]]]:
    """Yield every slice that has rows, with their places."""
    if holdout.slice_codes is None:
        return
    for column, described in enumerate(holdout.slices):
        for code, label in enumerate(described.labels):
            places = np.flatnonzero(holdout.slice_codes[:, column] == code)
            if len(places):
                yield described, label, places


def _slices(holdout: HoldOut, metric: Metric, policy: GatePolicy) -> list[dict[str, Any]]:
    """Return each slice's value with its interval and, with a champion, the paired difference."""
    found = [
        (described.name, label, rows)
        for described, label, rows in _rows_of_slices(holdout)
        if described.slicing is None and len(rows) >= policy.minimum_slice_rows
    ]
    cells = sum(len(rows) for _, _, rows in found)
    resamples = min(policy.resamples, SLICE_CELLS // max(cells, 1))
    if resamples < MINIMUM_SLICE_RESAMPLES:
        resamples = 0
    entries = []
    for name, label, rows in found:
        compared = _compare(holdout, rows, (metric.name,), resamples, policy.seed)[metric.name]
        entry = compared.candidate.to_dict()
        champion, difference = compared.champion, compared.difference
        untold = compared.untold
        if untold is None and not compared.candidate.is_told and not resamples:
            untold = "the slices have too many rows for resamples of each"
        entries.append(
            {
                "slice": name,
                "label": label,
                "rows": len(rows),
                **entry,
                "champion": None if champion is None else champion.to_dict()["value"],
                "difference": None if difference is None else difference.to_dict(),
                "untold": untold,
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
    return replace(judgement, verdict=Verdict.REJECTED, reasons=(reason,))
