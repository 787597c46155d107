"""The live model's quality on outcomes that came in, against what it had on the hold-out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.comparison import compare
from dropforge.domain.drift.distributions import kolmogorov_tail, normal_quantile, normal_tail
from dropforge.domain.intervals import QUANTILE, Interval
from dropforge.domain.metric_registry import Metric, metric_named
from dropforge.domain.metrics import Scored
from dropforge.domain.resampling import resamples_for

NOT_ENOUGH_DATA, UNDEFINED, STEADY, DEGRADED = "not_enough_data", "undefined", "steady", "degraded"


@dataclass(frozen=True, slots=True)
class Quality:
    """The metric that the model was judged by, on live predictions.

    Attributes:
        verdict: not_enough_data (also of one class, or on the hold-out), undefined, steady, degraded.
        predictions, labelled: rows of the quality window, and how many of them have a usable outcome.
        ignored: outcomes that are no class of the model.
        live: value with its 95 % interval.
        holdout: likewise as the model was judged.
        threshold: the value at which the verdict turns.
        p_value: chance of a value as bad as this if quality were the hold-out's, less the tolerance.
        unlike_rest: chance that the scores of predictions with an outcome differ from the others' as much as
            they do, if outcomes came for any prediction alike; NaN with too few of either.
        is_biased: whether that is so small that the live value speaks for those predictions alone.
    """

    metric: str
    verdict: str
    predictions: int
    labelled: int
    ignored: int
    live: Interval
    holdout: Interval
    threshold: float = math.nan
    p_value: float = math.nan
    unlike_rest: float = math.nan
    is_biased: bool = False

    @property
    def completeness(self) -> float:
        """Share of the predictions whose outcome is known."""
        return self.labelled / self.predictions if self.predictions else 0.0

    def to_dict(self) -> dict[str, Any]:
        finite = {
            name: value if math.isfinite(value) else None
            for name, value in (
                ("threshold", self.threshold), ("p_value", self.p_value), ("unlike_rest", self.unlike_rest)
            )
        }  # fmt: skip
        return {
            "metric": self.metric, "verdict": self.verdict, "predictions": self.predictions,
            "labelled": self.labelled, "ignored_outcomes": self.ignored,
            "label_completeness": self.completeness, "is_biased": self.is_biased, "live": self.live.to_dict(),
            "holdout": self.holdout.to_dict(), **finite,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class SliceQuality:
    """The same in one guarded slice, corrected for how many there are."""

    column: str
    label: str
    quality: Quality

    def to_dict(self) -> dict[str, Any]:
        return {"slice": self.column, "label": self.label, **self.quality.to_dict()}


def measure_quality(
    task: str,
    classes: Sequence[str] | None,
    scores: NDArray[np.float64],
    outcomes: Sequence[str | float | None],
    judged: Mapping[str, Any],
    *,
    holdout_rows: int,
    rate: float,
    tolerance: float,
    minimum_rows: int,
    resamples: int,
    seed: int,
    labels: NDArray[np.int64] | None = None,
) -> Quality:
    """Measure the metric on the rows with an outcome, and test whether it is worse than on the hold-out.

    The test is one-sided: how far the two values lie apart is measured in the halves of their intervals that
    face each other (the method of variance estimates recovery: Zou and Donner 2008, Construction of
    confidence limits about effect measures), so that it holds where the intervals do, see `compare`.

    Args:
        scores: float64 (n, n_classes) probabilities, or (n,) values.
        outcomes: class labels or values by row, None where unknown.
        judged: the live pointer's metric: name, value, low, high, positive_class of two classes.
        holdout_rows: rows behind it.
        rate: chance of a false verdict.
        tolerance: how much worse is still steady, in units of the metric.
        labels: int64 (n,), the codes of the labels that were answered; None for the likeliest classes.
    """
    metric = metric_named(task, str(judged["name"]))
    if task == "binary" and classes is not None and judged.get("positive_class") == classes[0]:
        classes, scores = classes[::-1], scores[:, ::-1]
        labels = None if labels is None else 1 - labels
    holdout = Interval(*(_number(judged.get(name)) for name in ("value", "low", "high")))
    codes = {label: code for code, label in enumerate(classes or ())}
    known = [i for i, outcome in enumerate(outcomes) if outcome is not None]
    targets = [codes.get(str(outcomes[i])) if classes is not None else outcomes[i] for i in known]
    usable = [i for i, target in zip(known, targets, strict=True) if target is not None]
    found: dict[str, Any] = {
        "predictions": len(outcomes), "labelled": len(usable), "ignored": len(known) - len(usable),
    }  # fmt: skip
    unlike = _unlike_rest(scores, usable, minimum_rows)
    found |= {"unlike_rest": unlike, "is_biased": unlike <= rate}
    nothing = Interval(math.nan)
    if len(usable) < minimum_rows:
        return Quality(metric.name, NOT_ENOUGH_DATA, **found, live=nothing, holdout=holdout)
    kind = np.int64 if classes is not None else np.float64
    target = np.array([each for each in targets if each is not None], dtype=kind)
    measured = compare(
        Scored(task, target, scores[usable], None if labels is None else labels[usable]),
        None,
        (metric.name,),
        classes=classes,
        resamples=resamples_for(len(target), resamples),
        seed=seed,
    )[metric.name]
    live = measured.candidate
    if math.isfinite(live.value) and (measured.shortage is not None or not holdout.is_told):
        return Quality(metric.name, NOT_ENOUGH_DATA, **found, live=live, holdout=holdout)
    if not (live.is_told and math.isfinite(holdout.value)):
        return Quality(metric.name, UNDEFINED, **found, live=live, holdout=holdout)
    deviation = math.hypot(
        _towards(live, better=metric.greater_is_better),
        max(
            _towards(holdout, better=not metric.greater_is_better),
            _least_deviation(metric, holdout.value, holdout_rows),
        ),
    )
    deficit = float(metric.gain(holdout.value, live.value)) - tolerance
    certain = 0.0 if deficit > 0 else 1.0
    p_value = normal_tail(deficit / deviation) if deviation > 0 else certain
    allowed = tolerance + normal_quantile(rate) * deviation
    threshold = holdout.value - allowed if metric.greater_is_better else holdout.value + allowed
    verdict = DEGRADED if p_value <= rate else STEADY
    return Quality(
        metric.name, verdict, **found, live=live, holdout=holdout, threshold=threshold, p_value=p_value
    )


def _unlike_rest(scores: NDArray[np.float64], labelled: Sequence[int], minimum_rows: int) -> float:
    """Compare what was predicted of rows with an outcome with what was of the others (Kolmogorov-Smirnov).

    Of several classes each one's probability is compared, corrected for how many they are.
    """
    has_outcome = np.zeros(len(scores), dtype=bool)
    has_outcome[list(labelled)] = True
    n, m = int(has_outcome.sum()), int((~has_outcome).sum())
    if min(n, m) < minimum_rows:
        return math.nan
    compared = scores.reshape(len(scores), -1)
    columns = range(1, 2) if compared.shape[1] == 2 else range(compared.shape[1])
    farthest = 0.0
    for column in columns:
        with_outcome, without = (np.sort(compared[rows, column]) for rows in (has_outcome, ~has_outcome))
        at = np.concatenate([with_outcome, without])
        shares = (np.searchsorted(each, at, "right") / len(each) for each in (with_outcome, without))
        farthest = max(farthest, float(np.abs(np.subtract(*shares)).max()))
    return min(1.0, kolmogorov_tail(farthest, n * m / (n + m)) * len(columns))


def _towards(interval: Interval, *, better: bool) -> float:
    """How far an interval reaches to its upper or its lower side, in standard deviations' units."""
    return ((interval.high - interval.value) if better else (interval.value - interval.low)) / QUANTILE


def _least_deviation(metric: Metric, value: float, rows: int) -> float:
    """That of a share with two more successes and failures (Agresti and Coull 1998).

    Models that were promoted before intervals allowed for it may claim a perfect result with certainty.
    """
    if not metric.is_share or rows <= 0:
        return 0.0
    share = (value * rows + 2) / (rows + 4)
    return math.sqrt(share * (1 - share) / (rows + 4))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
