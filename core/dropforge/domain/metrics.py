"""Model quality in plain numpy, on weighted rows, for many weightings at once.

A weighting says how often each row counts: all ones for the point estimate, the draws of a bootstrap resample
for its interval. So a metric has a single implementation for both. Values agree with ``sklearn.metrics``
(tests hold them together); where a value is undefined it is NaN, never a substitute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.contract import Contract
from dropforge.domain.metric_registry import METRICS

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

LOG_ERRORS: Mapping[str, Callable[[float], float]] = {
    "r2": lambda error: 1 - math.exp(error),
    "rmse": lambda error: math.exp(error / 2),
    "mse": math.exp,
    "mae": math.exp,
    "log_loss": math.exp,
    "brier": math.exp,
}
"""The metrics that are a mean over rows, or one mean over another, from `Scored.log_error`."""


class Scored:
    """Rows with their true targets and a model's scores, ready to be measured under any weighting.

    Args:
        task: binary, multiclass or regression.
        target: int64 class codes (n,), or float64 values (n,).
        scores: float64 probabilities (n, n_classes), or float64 values (n,).
        labels: int64 (n,), the codes that the model calls the rows; None for those of the highest
            probability.
    """

    def __init__(self, task: str, target: NDArray[Any], scores: Floats, labels: Codes | None = None) -> None:
        self.task = task
        self.target = target
        self.scores = np.asarray(scores, dtype=np.float64)
        self._labels = labels

    @classmethod
    def of(cls, contract: Contract, target: NDArray[Any], scores: Floats) -> Self:
        """Rows of a contract, with its positive class as the one of code 1."""
        if contract.positive_code == 0:
            return cls(contract.task, 1 - target, scores[:, ::-1])
        return cls(contract.task, target, scores)

    def measure(
        self, names: tuple[str, ...] | None = None, weights: Floats | None = None
    ) -> dict[str, Floats]:
        """Return the metrics of those names (all by default), each float64 (n_weightings,).

        Args:
            names: metrics of the task.
            weights: float64 (n_weightings, n), not negative; None stands for one weighting of all ones.
        """
        if weights is None:
            weights = np.ones((1, len(self.target)))
        wanted = tuple(METRICS[self.task]) if names is None else names
        families = dict.fromkeys(METRICS[self.task][name].family for name in wanted)
        if len(self.target) == 0:
            return {name: np.full(len(weights), np.nan) for name in wanted}
        values: dict[str, Floats] = {}
        with np.errstate(divide="ignore", invalid="ignore"):
            for family in families:
                values |= getattr(self, f"_{family}")(weights)
        return {name: values[name] for name in wanted}

    def value(self, name: str) -> float:
        """Return one metric, every row counting once."""
        return float(self.measure((name,))[name][0])

    def share(self, name: str) -> tuple[int, int]:
        """Return hits and trials of accuracy, precision, recall, or of f1's share J (see `Method`)."""
        right = self.labels == self.target
        if name == "accuracy":
            return int(right.sum()), len(right)
        called, actual = self.labels == 1, self.target == 1
        trials = {"precision": called, "recall": actual, "f1": called | actual}[name]
        return int((called & actual).sum()), int(trials.sum())

    @cached_property
    def labels(self) -> Codes:
        """The codes of the classes that the rows are called, int64 (n,).

        Unless others were given, those of the highest probability, the first of equals.
        """
        return self.scores.argmax(axis=1) if self._labels is None else self._labels

    @cached_property
    def n_classes(self) -> int:
        return self.scores.shape[1]

    def _ranking(self, weights: Floats) -> dict[str, Floats]:
        if self.task == "binary":
            positives, negatives = self._rankers[0](weights)
            return {
                "auc": _auc(positives, negatives),
                "average_precision": _average_precision(positives, negatives),
            }
        each = [_auc(*ranked(weights)) for ranked in self._rankers]
        return {"auc": np.array(each).mean(axis=0)}

    @cached_property
    def _rankers(self) -> list[Callable[[Floats], tuple[Floats, Floats]]]:
        classes = [1] if self.task == "binary" else range(self.n_classes)
        return [_ranker(self.target == code, self.scores[:, code]) for code in classes]

    def _counts(self, weights: Floats) -> dict[str, Floats]:
        actual, predicted, hits = (weights @ indicators for indicators in self._indicators)
        total = weights.sum(axis=1)
        recall = hits / actual
        accuracy = hits.sum(axis=1) / total
        balanced = np.nanmean(np.where(actual > 0, recall, np.nan), axis=1)
        precision = np.where(predicted > 0, hits / predicted, 0.0)
        recall = np.where(actual > 0, recall, 0.0)
        f1 = np.where(actual + predicted > 0, 2 * hits / (actual + predicted), 0.0)
        values = {"accuracy": accuracy, "balanced_accuracy": balanced}
        if self.task == "binary":
            return values | {"precision": precision[:, 1], "recall": recall[:, 1], "f1": f1[:, 1]}
        seen = (actual + predicted) > 0
        n_seen = seen.sum(axis=1)
        return values | {
            f"macro_{name}": np.where(seen, each, 0.0).sum(axis=1) / n_seen
            for name, each in (("precision", precision), ("recall", recall), ("f1", f1))
        }

    @cached_property
    def _indicators(self) -> tuple[Floats, Floats, Floats]:
        """Rows as indicators of true class, predicted class, and of both where they agree: (n, n_classes)."""
        identity = np.eye(self.n_classes)
        actual, predicted = identity[self.target.astype(np.int64)], identity[self.labels]
        return actual, predicted, actual * predicted

    def _probabilities(self, weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=1)
        values = {"log_loss": weights @ self._log_losses / total}
        if self.task == "binary":
            values["brier"] = weights @ (self.scores[:, 1] - self.target) ** 2 / total
        return values

    @cached_property
    def _log_losses(self) -> Floats:
        # Clipped by float64's spacing as in sklearn.metrics.log_loss, so that a confident error is finite.
        tiny = np.finfo(np.float64).eps
        given = self.scores[np.arange(len(self.scores)), self.target.astype(np.int64)]
        return -np.log(np.clip(given, tiny, 1 - tiny))

    def log_error(self, name: str, weights: Floats) -> tuple[Floats, Floats]:
        """Return the logarithm of a mean error, and that logarithm's standard deviation, by weighting.

        Of r2 it is the logarithm of the share that is not explained. On this scale errors of few rows and of
        heavy tails are spread evenly enough to be studentised; `LOG_ERRORS` has the way back.

        Args:
            name: one of LOG_ERRORS.
            weights: float64 (n_weightings, n), not negative.

        Returns:
            float64 (n_weightings,) each; not finite where the error is 0.
        """
        losses = self._losses(name)
        columns = [np.ones(len(losses)), losses, losses**2]
        if name == "r2":
            centred = self.target - self.target.mean()
            columns += [centred**power for power in range(1, 5)]
            columns += [losses * centred, losses * centred**2]
        total, *sums = (weights @ np.stack(columns, axis=1)).T
        mean, square, *more = (each / total for each in sums)
        with np.errstate(divide="ignore", invalid="ignore"):
            if name != "r2":
                return np.log(mean), np.sqrt(np.maximum(square / mean**2 - 1, 0) / total)
            # Moments of the target about each weighting's own mean, from those about the plain mean.
            shift, second, third, fourth, mixed, product = more
            spread = second - shift**2
            fourth = fourth - 4 * shift * third + 6 * shift**2 * second - 3 * shift**4
            product = product - 2 * shift * mixed + shift**2 * mean
            variance = square / mean**2 - 2 * product / (mean * spread) + fourth / spread**2
            return np.log(mean / spread), np.sqrt(np.maximum(variance, 0) / total)

    def _losses(self, name: str) -> Floats:
        if name == "log_loss":
            return self._log_losses
        if name == "brier":
            return np.asarray((self.scores[:, 1] - self.target) ** 2)
        errors = np.abs(self.target - self.scores)
        return np.asarray(errors if name == "mae" else errors**2)

    def _squares(self, weights: Floats) -> dict[str, Floats]:
        total = weights.sum(axis=1)
        # Centring on the plain mean keeps the sums of squares accurate for targets far from zero.
        centred = self.target - self.target.mean()
        residual = weights @ (self.target - self.scores) ** 2
        spread = weights @ centred**2 - (weights @ centred) ** 2 / total
        return {
            "r2": np.where(spread > 0, 1 - residual / spread, np.nan),
            "mse": residual / total,
            "rmse": np.sqrt(residual / total),
        }

    def _absolutes(self, weights: Floats) -> dict[str, Floats]:
        order, ordered = self._absolute_errors
        total = weights.sum(axis=1)
        cumulated = np.cumsum(weights[:, order], axis=1)
        # The lower and upper medians are the same row unless half of the weight ends exactly between two.
        half = (total / 2)[:, None]
        last = len(ordered) - 1
        lower = ordered[np.minimum((cumulated < half).sum(axis=1), last)]
        upper = ordered[np.minimum((cumulated <= half).sum(axis=1), last)]
        return {
            "mae": weights[:, order] @ ordered / total,
            "median_absolute_error": (lower + upper) / 2,
        }

    @cached_property
    def _absolute_errors(self) -> tuple[NDArray[np.intp], Floats]:
        errors = np.abs(self.target - self.scores)
        order = np.argsort(errors, kind="stable")
        return order, errors[order]


def confusion_matrix(scored: Scored) -> Codes:
    """Return int64 (n_classes, n_classes): rows are true classes, columns predicted ones."""
    size = scored.n_classes
    cells = np.bincount(scored.target.astype(np.int64) * size + scored.labels, minlength=size * size)
    return cells.reshape(size, size)


def roc_curve(scored: Scored, maximum_points: int = 200, of_class: int = 1) -> tuple[Floats, Floats]:
    """Return false and true positive rates of a class against the rest, from (0, 0) to (1, 1), each rising.

    Beyond `maximum_points` the curve is thinned evenly; both ends stay. Without the class, or without any
    other, the curve is undefined and empty.
    """
    ranked = _ranker(scored.target == of_class, scored.scores[:, of_class])
    positives, negatives = (part[0] for part in ranked(np.ones((1, len(scored.target)))))
    if not positives.sum() or not negatives.sum():
        return np.empty(0), np.empty(0)
    true_rate = np.concatenate([[0.0], np.cumsum(positives[::-1]) / positives.sum()])
    false_rate = np.concatenate([[0.0], np.cumsum(negatives[::-1]) / negatives.sum()])
    if len(true_rate) > maximum_points:
        kept = np.unique(np.linspace(0, len(true_rate) - 1, maximum_points).round().astype(int))
        true_rate, false_rate = true_rate[kept], false_rate[kept]
    return false_rate, true_rate


def _ranker(is_positive: NDArray[np.bool_], score: Floats) -> Callable[[Floats], tuple[Floats, Floats]]:
    """Sort once; return a function from weights to the weight of positives and negatives per distinct score.

    The scores rise along the last axis: float64 (n_weightings, n_distinct) each.
    """
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    positive = is_positive[order].astype(np.float64)

    def ranked(weights: Floats) -> tuple[Floats, Floats]:
        sorted_weights = weights[:, order]
        positives = np.add.reduceat(sorted_weights * positive, starts, axis=1)
        return positives, np.add.reduceat(sorted_weights, starts, axis=1) - positives

    return ranked


def _auc(positives: Floats, negatives: Floats) -> Floats:
    """Probability that a positive scores above a negative, ties counting half (Mann-Whitney's U)."""
    below = np.cumsum(negatives, axis=1) - negatives
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    return np.where(pairs > 0, (positives * (below + negatives / 2)).sum(axis=1) / pairs, np.nan)


def _average_precision(positives: Floats, negatives: Floats) -> Floats:
    """Sum of precision times gain in recall over falling thresholds, as in scikit-learn."""
    hits = np.cumsum(positives[:, ::-1], axis=1)
    chosen = hits + np.cumsum(negatives[:, ::-1], axis=1)
    precision = np.where(chosen > 0, hits / chosen, 0.0)
    total = positives.sum(axis=1)
    return np.where(total > 0, (positives[:, ::-1] * precision).sum(axis=1) / total, np.nan)
