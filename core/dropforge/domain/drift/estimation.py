"""The live model's quality before outcomes are known, from its predictions as they were on the hold-out.

Of a classification a window's labels are drawn from calibrated probabilities, of a regression its errors from
a mean and a spread that follow prediction and columns. The metric is measured on each draw, so that one way
serves every metric, and its interval holds the chance of the window's own rows and what the calibration can't
say.

It is right as long as equal rows have the same outcomes as on the hold-out (covariate shift), inside of what
was trained on. That they have others now (concept drift) shows in nothing that is looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.drift.calibration_curve import Curve, fit, logistic
from dropforge.domain.drift.column_effects import Effects, find_effects
from dropforge.domain.drift.distributions import chi_square_tail, normal_quantile, normal_tail
from dropforge.domain.drift.label_shift import ShiftTable
from dropforge.domain.drift.quality import DEGRADED, STEADY
from dropforge.domain.errors import InvalidProfile
from dropforge.domain.intervals import QUANTILE, Interval, finite_or_none
from dropforge.domain.metrics import Scored

ESTIMATION: Final = "estimation.json"
"""Lies beside the model's judgement and prediction profile."""
FORMAT: Final = 1
REFUSED: Final = "refused"
LEAST_ROWS: Final = 200
LEAST_OF_A_CLASS: Final = 10
MOST_CLASSES: Final = 50
REFUSED_AT: Final = 0.005
"""One that fits is refused with this chance at most: its curve is fitted to what it is tested on."""
LEAST_MISFIT: Final = 0.02
"""A misfit of fewer hundredths than this changes no metric by more, however certain it is."""
DRAWS: Final = 400
MOST_ROWS: Final = 5000
"""Rows of a window that are estimated from, drawn at random: an interval of them is narrow."""
MOST_OUTSIDE: Final = 0.05
"""Share of a column's values, or of predictions, beyond the known range from which on nothing is told."""
MOST_APART: Final = 0.95
"""The domain classifier's AUC from which on window and training rows hardly overlap."""
_BINS: Final = 10
_LEAST_INFORMATION: Final = 5.0
_RESIDUALS: Final = 1000
_CHUNK: Final = 50

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """How a model's predictions on the hold-out went with what was true.

    Attributes:
        refused: why nothing can be estimated; None where something can.
        rows: of the hold-out.
        curves: of a classification the log odds of each class by those of its score (of two classes, of the
            second); of a regression the mean of true value less prediction, and the log of its variance.
        effects: of a regression by curve, what columns say beside it; None where they say nothing.
        support: of a regression, between which predictions lay.
        residuals: of a regression, standardised, ascending.
        shift: what a shift of the outcomes would do to the predictions.
    """

    task: str
    refused: str | None = None
    rows: int = 0
    curves: tuple[Curve, ...] = ()
    effects: tuple[Effects | None, ...] = ()
    support: tuple[float, float] | None = None
    residuals: Floats | None = None
    shift: ShiftTable | None = None

    @classmethod
    def learn(
        cls,
        task: str,
        target: NDArray[Any],
        scores: Floats,
        rows_kept: NDArray[np.intp] | None = None,
        columns: Mapping[str, NDArray[Any]] | None = None,
    ) -> Calibration:
        """Calibrate on the hold-out, and refuse where that doesn't fit.

        Args:
            target: int64 class codes, or float64 values, (n,).
            scores: float64 (n, n_classes), or (n,).
            rows_kept: int64 (k,), places of the rows whose columns are known.
            columns: their values by name, float64 or objects, (k,).
        """
        kept = np.arange(0) if rows_kept is None else rows_kept
        rows = len(target)
        if rows < LEAST_ROWS:
            return cls(task, f"the hold-out has {rows} rows, {LEAST_ROWS} are needed", rows)
        if task == "regression":
            return _of_errors(target.astype(np.float64), scores, kept, columns or {})
        classes = scores.shape[1]
        if classes > MOST_CLASSES:
            return cls(task, f"there are {classes} classes, of at most {MOST_CLASSES} it is told", rows)
        rarest = int(np.bincount(target, minlength=classes).min())
        if rarest < LEAST_OF_A_CLASS:
            reason = f"a class has {rarest} rows in the hold-out, {LEAST_OF_A_CLASS} of each are needed"
            return cls(task, reason, rows)
        curves, p_values = [], []
        for code in _codes(task, classes):
            odds, hit = log_odds(scores[:, code]), (target == code).astype(np.float64)
            curves.append(fit("logit", odds, hit))
            p_values.append(_misfit(curves[-1].chance(odds), hit))
        if min(p_values) * len(p_values) <= REFUSED_AT:
            reason = (
                "its probabilities on the hold-out follow no curve that would calibrate them "
                f"(chance of such a misfit {min(p_values):.1g})"
            )
            return cls(task, reason, rows)
        return cls(task, None, rows, tuple(curves), shift=ShiftTable.of_labels(target, scores))

    def to_dict(self) -> dict[str, Any]:
        """Return ``estimation.json``."""
        return {
            "format": FORMAT,
            "task": self.task,
            "refused": self.refused,
            "rows": self.rows,
            "curves": [each.to_dict() for each in self.curves],
            "effects": [None if each is None else each.to_dict() for each in self.effects],
            "support": None if self.support is None else list(self.support),
            "residuals": None if self.residuals is None else self.residuals.tolist(),
            "shift": None if self.shift is None else self.shift.to_dict(),
        }

    @classmethod
    def from_json(cls, text: bytes | str) -> Calibration:
        """Read ``estimation.json``.

        Raises:
            InvalidProfile: the text is no such file.
        """
        try:
            content = json.loads(text)
            content = {FORMAT: content}[content["format"]]
            support, residuals, shift = content["support"], content["residuals"], content["shift"]
            return cls(
                content["task"],
                content["refused"],
                content["rows"],
                tuple(Curve.from_dict(each) for each in content["curves"]),
                tuple(None if each is None else Effects.from_dict(each) for each in content["effects"]),
                None if support is None else (float(support[0]), float(support[1])),
                None if residuals is None else np.array(residuals, dtype=np.float64),
                None if shift is None else ShiftTable.from_dict(shift),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InvalidProfile(
                f"{ESTIMATION} can't be used ({error!r}); train again, which writes a new one."
            ) from error


@dataclass(frozen=True, slots=True)
class Check:
    """The metric of the rows whose outcome is known, and what had been estimated of them without."""

    rows: int
    value: float
    estimated: Interval
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows, "value": finite_or_none(self.value), "estimated": self.estimated.to_dict(),
            "p_value": finite_or_none(self.p_value),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a metric is likely to be in a window.

    Attributes:
        refused: why there is none; None where there is.
        verdict: refused, steady or degraded.
        known: rows whose outcome is known, which count as they are.
        interval: where the outcomes may have become more or less frequent, of both readings together.
        label_shift: the value if that is what has happened; None where nothing looks like it.
        check: how the estimate did on the known outcomes; None of too few.
        p_value: chance of a value as bad as this if quality were the hold-out's, less the tolerance.
    """

    metric: str
    rows: int
    known: int
    interval: Interval
    refused: str | None = None
    verdict: str = REFUSED
    label_shift: Interval | None = None
    check: Check | None = None
    p_value: float = math.nan

    @classmethod
    def none(cls, metric: str, rows: int, reason: str) -> Estimate:
        """Return that there is no estimate, and why."""
        return cls(metric, rows, 0, Interval(math.nan), reason)

    def to_dict(self) -> dict[str, Any]:
        return {
            "metric": self.metric, "verdict": self.verdict, "rows": self.rows, "known_outcomes": self.known,
            "refused": self.refused, "estimate": self.interval.to_dict(),
            "if_label_shift": None if self.label_shift is None else self.label_shift.to_dict(),
            "check": None if self.check is None else self.check.to_dict(),
            "p_value": finite_or_none(self.p_value), "sees_concept_drift": False,
        }  # fmt: skip

    def against(
        self, holdout: Interval, *, greater_is_better: bool, tolerance: float, rate: float
    ) -> Estimate:
        """Return it with a verdict: degraded where it is worse than the hold-out's value less the tolerance,
        beyond what both uncertainties explain with the chance `rate`. Where there are two readings of the
        window, both have to say so."""
        if self.refused is not None or not (holdout.is_told and self.interval.is_told):
            return self
        sign = 1.0 if greater_is_better else -1.0
        reading = [self.interval] if self.label_shift is None else [self.interval, self.label_shift]
        theirs = _towards(holdout, not greater_is_better)
        p_value = 0.0
        for each in reading:
            deficit = sign * (holdout.value - each.value) - tolerance
            deviation = math.hypot(_towards(each, greater_is_better), theirs)
            chance = normal_tail(deficit / deviation) if deviation > 0 else float(deficit <= 0)
            p_value = max(p_value, chance)
        return replace(self, p_value=p_value, verdict=DEGRADED if p_value <= rate else STEADY)


def estimate(
    calibration: Calibration,
    metric: str,
    scores: Floats,
    *,
    outcomes: Sequence[int | float | None] | None = None,
    labels: Codes | None = None,
    columns: Mapping[str, NDArray[Any]] | None = None,
    outside: Mapping[str, float] | None = None,
    apart: float = 0.5,
    positive_code: int = 1,
    minimum_rows: int = 50,
    rate: float = 0.01,
    seed: int = 0,
) -> Estimate:
    """Estimate a metric of a window.

    Args:
        scores: float64 (n, n_classes) probabilities, or (n,) values, in the order of the hold-out's classes.
        outcomes: class codes or values by row, None where unknown.
        labels: int64 (n,), the classes that were answered.
        columns: the window's values of the columns that the calibration looks at, float64 or objects, (n,).
        outside: share of each column's values that lie beyond what was trained on.
        apart: the domain classifier's AUC.
        positive_code: of two classes, which of them the metric is measured for.
        minimum_rows: known outcomes from which on the estimate is checked by them.
        rate: chance that a window without any shift is taken for one of the labels, or contradicted by known
            outcomes.
        seed: of the draws.
    """
    rows = len(scores)
    kept = np.sort(np.random.default_rng([seed, 5]).permutation(rows)[:MOST_ROWS])
    told = np.full(rows, None) if outcomes is None else np.array(list(outcomes), dtype=object)
    known = np.array([each is not None for each in told[kept]], dtype=bool)
    count = sum(each is not None for each in told)
    blank = Estimate(metric, rows, count, Interval(math.nan))
    reason = calibration.refused or _outside(calibration, scores, outside or {}, apart)
    if reason is not None:
        return replace(blank, refused=reason)
    truth = np.where(known, told[kept], 0).astype(np.float64)
    window = _Window(
        calibration, metric, scores[kept], None if labels is None else labels[kept], known, truth,
        positive_code, seed, {name: each[kept] for name, each in (columns or {}).items()},
        apart,
    )  # fmt: skip
    check = _check(window, minimum_rows)
    if check is not None and check.p_value <= rate:
        reason = (
            f"the {check.rows} known outcomes contradict it: {metric} is {check.value:.3g} on them, where "
            f"{check.estimated.low:.3g} to {check.estimated.high:.3g} was estimated"
        )
        return replace(blank, refused=reason, check=check)
    plain = window.interval()
    if not plain.is_told:
        return replace(blank, refused=f"{metric} is undefined for most of what the outcomes may be")
    shift = None if calibration.shift is None else calibration.shift.look_at(scores, DRAWS, rate, seed)
    if shift is None:
        return replace(blank, interval=plain, check=check)
    shifted = window.interval(shift.ratios)
    if not shifted.is_told:
        reason = f"outcomes may have become more or less frequent, and {metric} can't be told for that"
        return replace(blank, refused=reason, check=check)
    both = Interval(plain.value, min(plain.low, shifted.low), max(plain.high, shifted.high), plain.deviation)
    return replace(blank, interval=both, label_shift=shifted, check=check)


@dataclass(frozen=True)
class _Window:
    """Rows to estimate from."""

    calibration: Calibration
    metric: str
    scores: Floats
    labels: Codes | None
    known: NDArray[np.bool_]
    truth: Floats
    positive_code: int
    seed: int
    columns: Mapping[str, NDArray[Any]]
    apart: float

    def interval(self, ratios: Floats | None = None) -> Interval:
        """Return the metric, and between which limits it lies for most of what the outcomes may be.

        Args:
            ratios: by draw, how much more frequent each outcome is than on the hold-out.
        """
        rng = np.random.default_rng([self.seed, 6])
        if self.calibration.task != "regression":
            value, drawn = self._labels(rng, ratios)
        else:
            drawn = self._errors(rng, ratios)
            value = float(drawn.mean())
        usable = drawn[np.isfinite(drawn)]
        if len(usable) < DRAWS // 2:
            return Interval(math.nan)
        value = value if math.isfinite(value) else float(usable.mean())
        return Interval.of(value, value + (usable - value) * self._widening())

    def _widening(self) -> float:
        """How much wider the interval gets because fewer rows of the hold-out are like the window's.

        Of a shift by d deviations the hold-out tells as much as exp(-d**2) as many rows of the window's kind
        would (the effective size of importance weights); d is what the classifier's AUC says.
        """
        distance = math.sqrt(2) * normal_quantile(1 - min(max(self.apart, 0.5), MOST_APART))
        return math.sqrt(1 + len(self.scores) * math.expm1(distance**2) / self.calibration.rows)

    def _labels(self, rng: np.random.Generator, ratios: Floats | None) -> tuple[float, Floats]:
        """Measure the metric on draws of the labels: each row stands once per class, and counts as drawn."""
        n, classes = self.scores.shape
        chances = self._chances(rng)
        if ratios is not None:
            chances = chances * ratios.T[:, :, None]
        chances = chances / chances.sum(axis=0)
        truth = self.truth[self.known].astype(np.int64)
        target, every = np.repeat(np.arange(classes), n), np.tile(self.scores, (classes, 1))
        called = None if self.labels is None else np.tile(self.labels, classes)
        if self.calibration.task == "binary" and self.positive_code == 0:
            target, every, called = 1 - target, every[:, ::-1], None if called is None else 1 - called
        repeated = Scored(self.calibration.task, target, every, called)
        found = []
        for first in range(0, DRAWS, _CHUNK):
            upto = np.cumsum(chances[:, first : first + _CHUNK], axis=0)
            drawn = np.minimum((rng.random(upto.shape[1:]) > upto).sum(axis=0), classes - 1)
            drawn[:, self.known] = truth
            weights = (drawn[:, None, :] == np.arange(classes)[:, None]).astype(np.float64)
            found.append(repeated.measure((self.metric,), weights.reshape(len(drawn), -1))[self.metric])
        expected = chances.mean(axis=1)
        expected[:, self.known] = np.arange(classes)[:, None] == truth
        value = repeated.measure((self.metric,), expected.reshape(1, -1))[self.metric]
        return float(value[0]), np.concatenate(found)

    def _chances(self, rng: np.random.Generator) -> Floats:
        """Return probabilities by calibrations that may be the true one, float64 (classes, DRAWS, n)."""
        odds = log_odds(self.scores)
        codes = _codes(self.calibration.task, self.scores.shape[1])
        chances = np.stack(
            [
                logistic(odds[:, code] + curve.draws(odds[:, code], DRAWS, rng))
                for code, curve in zip(codes, self.calibration.curves, strict=True)
            ]
        )
        return np.concatenate([1 - chances, chances]) if self.calibration.task == "binary" else chances

    def _errors(self, rng: np.random.Generator, ratios: Floats | None) -> Floats:
        """Measure the metric on draws of the errors."""
        calibration = self.calibration
        assert calibration.residuals is not None and calibration.support is not None  # noqa: S101, PT018
        at = np.clip(self.scores, *calibration.support)
        mean, variance = (
            curve.draws(at, DRAWS, rng)
            + (0.0 if effects is None else effects.draws(self.columns, len(at), DRAWS, rng))
            for curve, effects in zip(calibration.curves, calibration.effects, strict=True)
        )
        found = np.empty(DRAWS)
        for draw in range(DRAWS):
            pool = rng.choice(calibration.residuals, len(calibration.residuals))
            pool = pool / math.sqrt(float((pool**2).mean()))
            noise = rng.choice(pool, len(self.scores))
            drawn = self.scores + mean[draw] + np.exp(0.5 * variance[draw]) * noise
            drawn = np.where(self.known, self.truth, drawn)
            found[draw] = Scored("regression", drawn, self.scores).value(self.metric)
        if ratios is not None and calibration.shift is not None:
            # The window's own noise, about what it would be.
            return calibration.shift.metric(self.metric, ratios) + found - float(np.nanmean(found))
        return found


def _check(window: _Window, minimum_rows: int) -> Check | None:
    """Compare the metric of the known rows with the estimate of the same rows."""
    known = window.known
    if known.sum() < minimum_rows:
        return None
    labels = None if window.labels is None else window.labels[known]
    scores, truth = window.scores[known], window.truth[known]
    blind = replace(
        window, scores=scores, labels=labels, truth=truth, known=np.zeros(len(scores), dtype=bool),
        columns={name: each[known] for name, each in window.columns.items()},
    )  # fmt: skip
    estimated = blind.interval()
    task, target = window.calibration.task, truth
    if task != "regression":
        target = truth.astype(np.int64)
        if task == "binary" and window.positive_code == 0:
            target, scores, labels = 1 - target, scores[:, ::-1], None if labels is None else 1 - labels
    value = Scored(task, target, scores, labels).value(window.metric)
    if not (estimated.is_told and math.isfinite(value)):
        return None
    distance = value - estimated.value
    deviation = _towards(estimated, distance > 0)
    p_value = 2 * normal_tail(abs(distance) / deviation) if deviation > 0 else float(distance == 0)
    return Check(len(scores), value, estimated, min(1.0, p_value))


def _outside(
    calibration: Calibration, scores: Floats, outside: Mapping[str, float], apart: float
) -> str | None:
    """Return why the window is not like anything that was trained on; None where it is."""
    if outside:
        far = max(outside, key=outside.__getitem__)
        if outside[far] > MOST_OUTSIDE:
            return f"{outside[far]:.0%} of the values of {far!r} lie outside of what was trained on"
    if apart >= MOST_APART:
        return f"a classifier tells the window's rows from those of training (AUC {apart:.2f})"
    if calibration.support is not None:
        low, high = calibration.support
        share = float(((scores < low) | (scores > high)).mean())
        if share > MOST_OUTSIDE:
            return f"{share:.0%} of the predictions lie outside of those on the hold-out"
    return None


def _of_errors(
    target: Floats, scores: Floats, kept: NDArray[np.intp], columns: Mapping[str, NDArray[Any]]
) -> Calibration:
    rows, error = len(target), target - scores
    if not float(error.std()) > 0:
        return Calibration("regression", "all errors on the hold-out are equal", rows)
    mean = fit("identity", scores, error, 1 / float(error.var()))
    for _ in range(2):
        square = _squares(error - mean.at(scores))
        spread = fit("log", scores, square)
        spread = fit("log", scores, square, 1 / float((square * np.exp(-spread.at(scores))).var()))
        mean = fit("identity", scores, error, np.exp(-spread.at(scores)))
    residuals = (error - mean.at(scores)) * np.exp(-0.5 * spread.at(scores))
    p_value = _misspread(scores, residuals**2)
    if p_value <= REFUSED_AT:
        reason = (
            f"its errors on the hold-out don't follow the prediction (chance of such a misfit {p_value:.1g})"
        )
        return Calibration("regression", reason, rows)
    variance = np.exp(spread.at(scores[kept]))
    moves = find_effects("identity", columns, mean.at(scores[kept]), error[kept], 1 / variance)
    if moves is not None:
        left = error[kept] - mean.at(scores[kept]) - moves.at(columns, len(kept))
        residuals = left / np.sqrt(variance)
        spread = replace(spread, coefficients=_raised(spread.coefficients, float((residuals**2).mean())))
        residuals = residuals / math.sqrt(float((residuals**2).mean()))
    some = residuals if moves is not None else residuals[kept]
    square = _squares(some)
    widens = find_effects(
        "log", columns, np.zeros(len(kept)), square, 1 / float(square.var()) if len(kept) else 1
    )
    if widens is not None:
        residuals = some * np.exp(-0.5 * widens.at(columns, len(kept)))
        level = float((residuals**2).mean())
        spread = replace(spread, coefficients=_raised(spread.coefficients, level))
        residuals = residuals / math.sqrt(level)
    ordered, rows_left = np.sort(residuals), len(residuals)
    size = min(rows_left, _RESIDUALS)
    pool = ordered[((np.arange(size) + 0.5) * rows_left / size).astype(np.int64)]
    pool = pool * math.sqrt(float((ordered**2).mean()) / float((pool**2).mean()))
    support = (float(scores.min()), float(scores.max()))
    return Calibration(
        "regression",
        None,
        rows,
        (mean, spread),
        (moves, widens),
        support,
        pool,
        ShiftTable.of_values(target, scores),
    )


def _squares(errors: Floats) -> Floats:
    """Return squares, none of them 0."""
    square = errors**2
    return np.maximum(square, 1e-6 * float(square.mean())) if len(square) else square


def _raised(coefficients: Floats, factor: float) -> Floats:
    """Return a curve of logarithms for what is so many times as large."""
    return np.concatenate([[coefficients[0] + math.log(factor)], coefficients[1:]])


def _codes(task: str, classes: int) -> list[int]:
    return [1] if task == "binary" else list(range(classes))


def log_odds(scores: Floats) -> Floats:
    """Return the log odds of probabilities, those of 0 and 1 finite."""
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    result: Floats = np.log(clipped / (1 - clipped))
    return result


def _misfit(chance: Floats, hit: Floats) -> float:
    """Test a calibration (Hosmer and Lemeshow 1980) over bins of equal information; 1 where it is small.

    Fitted to the same rows it leaves less than chance would, so that the p-value errs towards 1.
    """
    order = np.argsort(chance, kind="stable")
    chance, hit = chance[order], hit[order]
    information = np.cumsum(chance * (1 - chance))
    bins = int(min(_BINS, information[-1] // _LEAST_INFORMATION))
    if bins < 2:
        return 1.0
    starts = np.searchsorted(information, information[-1] * np.arange(bins) / bins)
    starts = np.unique(starts)
    left = np.add.reduceat(hit - chance, starts)
    held = np.add.reduceat(chance * (1 - chance), starts)
    size = np.diff([*starts, len(chance)])
    excess = float(((left**2 - held) / size).sum()) / len(chance)
    if excess <= LEAST_MISFIT**2:
        return 1.0
    return chi_square_tail(float((left**2 / held).sum()), len(starts))


def _misspread(scores: Floats, relative: Floats) -> float:
    """Test whether squared errors are as large as expected at any prediction; 1 where it is small."""
    parts = np.array_split(np.argsort(scores, kind="stable"), _BINS)
    means = np.array([float(relative[rows].mean()) for rows in parts])
    held = float(relative.var()) / np.array(list(map(len, parts)))
    excess = float(((means - 1) ** 2 - held).mean())
    if excess <= (10 * LEAST_MISFIT) ** 2 or not (held > 0).all():
        return 1.0
    return chi_square_tail(float(((means - 1) ** 2 / held).sum()), _BINS)


def _towards(interval: Interval, upper: bool) -> float:
    """How far an interval reaches to one side, in standard deviations' units."""
    return ((interval.high - interval.value) if upper else (interval.value - interval.low)) / QUANTILE
