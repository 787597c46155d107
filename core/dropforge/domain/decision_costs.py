"""What a decision threshold's errors cost on the hold-out, beside those of the likelier class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.comparison import FEWEST_ROWS
from dropforge.domain.decision_threshold import DecisionThreshold
from dropforge.domain.holdout import HoldOut
from dropforge.domain.intervals import CONFIDENCE, Interval
from dropforge.domain.resampling import resample_weights
from dropforge.domain.shares import share_limits

PER_ROWS = 1000
"""Rows that errors and their costs are told for."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Errors:
    """The errors of a way to label rows, with their 95 % intervals.

    `false_positives`, `false_negatives` and `cost` (None without costs) are of PER_ROWS rows.
    """

    precision: Interval
    recall: Interval
    false_positives: Interval
    false_negatives: Interval
    cost: Interval | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "precision": self.precision.to_dict(),
            "recall": self.recall.to_dict(),
            "false_positives_per_1000": self.false_positives.to_dict(),
            "false_negatives_per_1000": self.false_negatives.to_dict(),
            "cost_per_1000": None if self.cost is None else self.cost.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Decided:
    """A candidate's threshold and its errors; `argmax` are those of the likelier class as the label.

    `saving` is what the threshold saves of the likelier class's costs per PER_ROWS rows, on the same rows;
    None without costs. `champion` are the live model's errors under the same costs, by its own labels.
    """

    threshold: DecisionThreshold
    chosen: Errors
    argmax: Errors
    saving: Interval | None
    champion: Errors | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the entry ``decision`` of ``judgement.json``."""
        return {
            **self.threshold.to_dict(),
            "chosen": self.chosen.to_dict(),
            "argmax": self.argmax.to_dict(),
            "saving_per_1000": None if self.saving is None else self.saving.to_dict(),
            "champion": None if self.champion is None else self.champion.to_dict(),
        }


def decided(holdout: HoldOut, resamples: int, seed: int) -> Decided | None:
    """Measure a candidate's decision threshold on the hold-out; None where it has none.

    A cost is a sum of shares of rows, each known within exact limits, which are combined by the method of
    variance estimates recovery (Zou and Donner 2008): it holds where errors are few and dear, of which
    resamples know too little. Rows that come in groups are resampled by these.

    Args:
        holdout: both models' predictions.
        resamples, seed: of the bootstrap, where there are groups.
    """
    threshold = holdout.threshold
    if threshold is None or not len(holdout.target):
        return None
    code = (holdout.classes or ()).index(threshold.positive)
    actual = holdout.target == code
    shares = _Shares(len(actual), holdout.group, resamples, seed)
    called = holdout.of_candidate().labels == code
    likelier = holdout.candidate.argmax(axis=1) == code
    goal = threshold.goal
    champion = holdout.of_champion()
    saving = None
    if goal.has_costs:
        # Of rows with the same label nothing is saved, however dear their errors are.
        more, fewer = called & ~likelier, likelier & ~called
        false, missed = float(goal.false_positive_cost or 0), float(goal.false_negative_cost or 0)
        saving = shares.total(
            [
                (-false, more & ~actual),
                (missed, more & actual),
                (false, fewer & ~actual),
                (-missed, fewer & actual),
            ]
        )
    return Decided(
        threshold,
        shares.errors(actual, called, threshold),
        shares.errors(actual, likelier, threshold),
        saving,
        None if champion is None else shares.errors(actual, champion.labels == code, threshold),
    )


class _Shares:
    """Shares of the hold-out's rows, and sums of these, with intervals."""

    def __init__(self, rows: int, group: NDArray[np.int64] | None, resamples: int, seed: int) -> None:
        self._rows, self._group = rows, group
        self._told = group is None or len(np.unique(group)) >= FEWEST_ROWS
        self._drawn = (rows, resamples, seed)

    def errors(self, actual: Flags, called: Flags, threshold: DecisionThreshold) -> Errors:
        wrong, missed, goal = called & ~actual, actual & ~called, threshold.goal
        cost = None
        if goal.false_positive_cost is not None and goal.false_negative_cost is not None:
            cost = self.total([(goal.false_positive_cost, wrong), (goal.false_negative_cost, missed)])
        return Errors(
            self.share(called & actual, called),
            self.share(called & actual, actual),
            self.total([(1.0, wrong)]),
            self.total([(1.0, missed)]),
            cost,
        )

    def share(self, hits: Flags, trials: Flags) -> Interval:
        """Return the share that some rows are of others."""
        count, of = int(hits.sum()), int(trials.sum())
        value = count / of if of else math.nan
        if self._group is None:
            return Interval(value, *share_limits(count, of, CONFIDENCE))
        return self._resampled(value, hits.astype(np.float64), trials.astype(np.float64))

    def total(self, parts: list[tuple[float, Flags]]) -> Interval:
        """Return what PER_ROWS rows come to where each of a part counts so much."""
        counts = [(factor * PER_ROWS, int(rows.sum())) for factor, rows in parts]
        value = sum(factor * count for factor, count in counts) / self._rows
        if self._group is None:
            below = above = 0.0
            for factor, count in counts:
                ends = [factor * limit for limit in share_limits(count, self._rows, CONFIDENCE)]
                middle = factor * count / self._rows
                below += (middle - min(ends)) ** 2
                above += (max(ends) - middle) ** 2
            return Interval(value, value - math.sqrt(below), value + math.sqrt(above))
        worth = np.zeros(self._rows)
        for factor, rows in parts:
            worth += factor * PER_ROWS * rows
        return self._resampled(value, worth, np.ones(self._rows))

    def _resampled(self, value: float, above: NDArray[np.float64], below: NDArray[np.float64]) -> Interval:
        if not self._told:
            return Interval(value)
        rows, resamples, seed = self._drawn
        blocks = [
            (weights @ above) / np.maximum(weights @ below, 1e-300)
            for weights in resample_weights(np.zeros(rows, dtype=np.int64), resamples, seed, self._group)
        ]
        return Interval.of(value, np.concatenate(blocks))
