"""Metrics of one or two models on the same rows, each with the interval that holds for it.

Which one holds is measured by `python -m bench intervals`; docs/decisions/0039 says why.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.intervals import CONFIDENCE, QUANTILE, Interval
from dropforge.domain.metric_registry import METRICS, Metric
from dropforge.domain.metrics import LOG_ERRORS, Floats, Scored
from dropforge.domain.rank_intervals import auc_limits
from dropforge.domain.resampling import resample_weights
from dropforge.domain.shares import share_limits

FEWEST_RANKED = 5
"""Rows of the rarer class below which nothing is said of an area under the curve."""

FEWEST_OF_A_CLASS = 10
"""Rows of the rarest class below which resamples say nothing: they hold the same few rows again and again."""

FEWEST_ROWS = 30
"""Rows of a regression, or groups of rows, below which resamples say nothing."""

LOG_TAIL = 0.0175
"""Of each tail of a studentised mean error: 0.025 covers 91 to 94 % instead of 95 % where errors have heavy
tails (Student's t with 5 degrees of freedom, 100 to 300 rows), and this 94 to 96 %."""

_SMALLEST_DEVIATION = 1e-9
_LEAST_OF_DEVIATION = 0.25
"""Of the measured deviation: a resample that missed all of a few large errors would count without bound."""

_SHARES = ("accuracy", "precision", "recall", "f1")


class Method(StrEnum):
    """How an interval is made."""

    EXACT = "exact"
    """Of a share of rows: Clopper and Pearson's. f1 is 2 J / (1 + J), J being the share of true positives in
    all rows that are positive or called so."""

    RANKS = "ranks"
    """Of a binary task's area under the curve; see `auc_limits`."""

    STUDENTISED = "studentised bootstrap"
    """Of a mean error, on the logarithm's scale (Efron and Tibshirani 1993, section 12.5)."""

    BOOTSTRAP = "bootstrap"
    """The percentile interval (section 13.3), of what has no better one, and of rows that come in groups."""

    @classmethod
    def of(cls, task: str, name: str, *, grouped: bool = False) -> Method:
        """Return the method for a task's metric. Only resamples of groups allow for rows of one group."""
        if grouped:
            return cls.BOOTSTRAP
        if name in _SHARES:
            return cls.EXACT
        if name == "auc" and task == "binary":
            return cls.RANKS
        return cls.STUDENTISED if name in LOG_ERRORS else cls.BOOTSTRAP


@dataclass(frozen=True, slots=True)
class Compared:
    """One metric of both models on the same rows. ``difference`` is the paired gain; above 0 is better.

    ``champion`` and ``difference`` are None where no champion was scored. ``shortage`` and
    ``difference_shortage`` say what is missing for an interval that holds; None where nothing is.
    ``undefined`` says why the candidate has no value at all; None where it has one.
    """

    metric: Metric
    candidate: Interval
    champion: Interval | None = None
    difference: Interval | None = None
    method: Method = Method.BOOTSTRAP
    shortage: str | None = None
    difference_shortage: str | None = None
    undefined: str | None = None

    @property
    def untold(self) -> str | None:
        """Why the candidate has no value, or no interval; None where it has both."""
        return self.undefined or self.shortage

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready numbers, None where undefined."""
        return {
            "greater_is_better": self.metric.greater_is_better,
            "candidate": self.candidate.to_dict(),
            "champion": None if self.champion is None else self.champion.to_dict(),
            "difference": None if self.difference is None else self.difference.to_dict(),
            "method": str(self.method),
            "shortage": self.untold,
            "difference_shortage": self.difference_shortage,
        }


def compare(
    candidate: Scored,
    champion: Scored | None,
    names: Sequence[str],
    *,
    classes: Sequence[str] | None,
    resamples: int,
    seed: int,
    groups: NDArray[Any] | None = None,
) -> dict[str, Compared]:
    """Measure metrics with intervals, and with a champion the paired difference on the same resamples.

    The difference is a bootstrap percentile interval (Efron and Tibshirani 1993, section 16.4). Resamples of
    a classification keep the size of each class. Without resamples (0) nothing that needs them has limits.

    Args:
        candidate, champion: their scores of the same rows.
        names: metrics of the task.
        classes: the class labels by code, None for a regression.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        groups: (n,): what each row belongs to, where rows of one group aren't independent.
    """
    metrics = METRICS[candidate.task]
    methods = {name: Method.of(candidate.task, name, grouped=groups is not None) for name in names}
    shortages = {
        name: shortage_of(metrics[name], each, candidate.target, classes, groups)
        for name, each in methods.items()
    }
    whole = tuple(names) if champion is not None else ()
    drawn = [_Drawn(scored, methods, whole) for scored in (candidate, champion) if scored is not None]
    if any(each.wanted for each in drawn) and resamples:
        target = candidate.target
        strata = target.astype(np.int64) if classes is not None else np.zeros(len(target), dtype=np.int64)
        for weights in resample_weights(strata, resamples, seed, groups):
            for each in drawn:
                each.add(weights)
    found = {}
    for name in names:
        metric, shortage = metrics[name], shortages[name]
        ours, *theirs = (each.interval(name, told=shortage is None) for each in drawn)
        undefined = None if math.isfinite(ours.value) else undefined_because(candidate, classes)
        if not theirs:
            found[name] = Compared(metric, ours, method=methods[name], shortage=shortage, undefined=undefined)
            continue
        missing = shortage_of(metric, Method.BOOTSTRAP, candidate.target, classes, groups)
        gains = np.asarray(metric.gain(*(each.values(name) for each in drawn)))
        gain = float(metric.gain(ours.value, theirs[0].value))
        difference = Interval(gain) if missing else Interval.of(gain, gains)
        found[name] = Compared(
            metric, ours, theirs[0], difference, methods[name], shortage, missing, undefined
        )
    return found


class _Drawn:
    """What one model's intervals are made of."""

    def __init__(self, scored: Scored, methods: dict[str, Method], whole: tuple[str, ...]) -> None:
        self.scored = scored
        self.methods = methods
        self.point = scored.measure(tuple(methods))
        self.valued = tuple(name for name in methods if name in whole or methods[name] is Method.BOOTSTRAP)
        self.logged = tuple(name for name in methods if methods[name] is Method.STUDENTISED)
        self._values: list[dict[str, Floats]] = []
        self._errors: dict[str, list[tuple[Floats, Floats]]] = {name: [] for name in self.logged}

    @property
    def wanted(self) -> bool:
        return bool(self.valued or self.logged)

    def add(self, weights: Floats) -> None:
        if self.valued:
            self._values.append(self.scored.measure(self.valued, weights))
        for name in self.logged:
            self._errors[name].append(self.scored.log_error(name, weights))

    def values(self, name: str) -> Floats:
        """Return the metric's value on every resample."""
        return np.concatenate([block[name] for block in self._values]) if self._values else np.empty(0)

    def interval(self, name: str, *, told: bool) -> Interval:
        value = float(self.point[name][0])
        if not told or not math.isfinite(value):
            return Interval(value)
        make: dict[Method, Callable[[str, float], Interval]] = {
            Method.EXACT: self._exact,
            Method.RANKS: self._ranks,
            Method.STUDENTISED: self._studentised,
            Method.BOOTSTRAP: lambda name, value: Interval.of(value, self.values(name)),
        }
        return make[self.methods[name]](name, value)

    def _exact(self, name: str, value: float) -> Interval:
        hits, trials = self.scored.share(name)
        low, high = share_limits(hits, trials, CONFIDENCE)
        deviation = math.sqrt(hits * (trials - hits) / trials**3) if trials else math.nan
        if name != "f1":
            return Interval(value, low, high, deviation)
        slope = 2 / (1 + hits / trials) ** 2 if trials else math.nan
        return Interval(value, 2 * low / (1 + low), 2 * high / (1 + high), slope * deviation)

    def _ranks(self, _name: str, value: float) -> Interval:
        positive = self.scored.target == 1
        scores = self.scored.scores[:, 1]
        return Interval(value, *auc_limits(scores[positive], scores[~positive], QUANTILE))

    def _studentised(self, name: str, value: float) -> Interval:
        (error,), (deviation,) = self.scored.log_error(name, np.ones((1, len(self.scored.target))))
        if not self._errors[name]:
            return Interval(value)
        if not deviation > _SMALLEST_DEVIATION:
            # Every row has the same error, for example none: resamples are all alike.
            return Interval(value, value, value, 0.0)
        errors, deviations = (np.concatenate(each) for each in zip(*self._errors[name], strict=True))
        with np.errstate(divide="ignore", invalid="ignore"):
            away = (errors - error) / np.maximum(deviations, deviation * _LEAST_OF_DEVIATION)
        right, left = np.quantile(away[np.isfinite(away)], (LOG_TAIL, 1 - LOG_TAIL))
        back = LOG_ERRORS[name]
        ends = sorted((back(error - left * deviation), back(error - right * deviation)))
        spread = abs(back(error + deviation / 2) - back(error - deviation / 2))
        return Interval(value, ends[0], ends[1], spread)


def shortage_of(
    metric: Metric,
    method: Method,
    target: NDArray[Any],
    classes: Sequence[str] | None,
    groups: NDArray[Any] | None,
) -> str | None:
    """Return what is missing for an interval that holds; None where nothing is."""
    noun, known = ("rows", len(target)) if groups is None else ("groups of rows", len(np.unique(groups)))
    if known < FEWEST_ROWS and (groups is not None or classes is None):
        return f"it takes {FEWEST_ROWS} {noun}, and there {'is' if known == 1 else 'are'} {known}"
    if classes is None or metric.name == "accuracy":
        return None
    needed = {Method.EXACT: 1, Method.RANKS: FEWEST_RANKED}.get(method, FEWEST_OF_A_CLASS)
    # Rows of one group are drawn together, so a class is known from as many groups as it occurs in.
    counted = np.arange(len(target)) if groups is None else groups
    counts = [len(np.unique(counted[target == code])) for code in range(len(classes))]
    rarest = int(np.argmin(counts))
    if counts[rarest] >= needed:
        return None
    one = noun.replace("rows", "row", 1) if groups is None else noun.replace("groups", "group", 1)
    takes = f"it takes {needed} {one if needed == 1 else noun} of each class"
    if not counts[rarest]:
        return f"{takes}, and of {classes[rarest]!r} there is none"
    count = "is 1" if counts[rarest] == 1 else f"are {counts[rarest]}"
    return f"{takes}, and of {classes[rarest]!r} there {count}"


def undefined_because(scored: Scored, classes: Sequence[str] | None) -> str:
    """Return why a metric has no value on some rows.

    Args:
        scored: the rows on which it has none.
        classes: the class labels by code, None for a regression.
    """
    if classes is None:
        return "the target is the same in every row"
    present = set(np.unique(scored.target).tolist())
    absent = [repr(label) for code, label in enumerate(classes) if code not in present]
    if not absent:
        return "it has no value on these rows"
    return f"no row is {', '.join(absent[:-1])}{' or ' if len(absent) > 1 else ''}{absent[-1]}"
