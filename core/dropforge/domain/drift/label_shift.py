"""Whether a window's predictions look as they would if outcomes had become more or less frequent.

Under such a label shift the rows of each outcome are predicted as before, so that predictions are a mixture
of what those of each outcome were on the hold-out (black-box shift estimation: Lipton, Wang and Smola 2018).
Without outcomes nobody can tell it from a shift of the inputs that looks alike; but that it may be one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.drift.distributions import chi_square_tail

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

MOST_CLASSES: Final = 20
"""Of more outcomes it isn't looked for."""
NO_MIXTURE: Final = 0.01
"""Predictions that a mixture explains more rarely than this are none."""
_VALUE_BINS: Final = 5
_VALUE_CELLS: Final = 12
_STEPS: Final = 200


@dataclass(frozen=True)
class LabelShift:
    """What a label shift would have to be: by draw the ratio of each outcome's share to that on the hold-out,
    float64 (draws, k), and the chance of predictions that are so unlike the hold-out's."""

    ratios: Floats
    p_value: float


@dataclass(frozen=True)
class ShiftTable:
    """The hold-out's predictions by cell and outcome.

    Attributes:
        edges: of a classification, by predicted class the scores between its cells, (k, levels - 1); of a
            regression the predictions between cells, (1, cells - 1).
        counts: int64 (cells, k), rows of each outcome.
        moments: of a regression, by bin of the outcome the means of the outcome, its square, the absolute and
            the squared error; else None.
    """

    edges: Floats
    counts: Codes
    moments: Floats | None = None

    @classmethod
    def of_labels(cls, target: Codes, scores: Floats) -> ShiftTable | None:
        classes = scores.shape[1]
        if classes > MOST_CLASSES:
            return None
        levels = 6 if classes == 2 else 3
        called, height = scores.argmax(axis=1), scores.max(axis=1)
        shares = np.arange(1, levels) / levels
        edges = np.array(
            [
                np.quantile(height[called == code], shares) if (called == code).any() else np.ones(levels - 1)
                for code in range(classes)
            ]
        )
        table = cls(edges, np.zeros((classes * levels, classes), dtype=np.int64))
        np.add.at(table.counts, (table.cells(scores), target), 1)
        return table

    @classmethod
    def of_values(cls, target: Floats, scores: Floats) -> ShiftTable | None:
        bounds = np.unique(np.quantile(target, np.arange(1, _VALUE_BINS) / _VALUE_BINS))
        edges = np.unique(np.quantile(scores, np.arange(1, _VALUE_CELLS) / _VALUE_CELLS))
        if len(bounds) < _VALUE_BINS - 1 or len(edges) < _VALUE_BINS:
            return None
        outcome = np.searchsorted(bounds, target)
        table = cls(edges[None, :], np.zeros((len(edges) + 1, _VALUE_BINS), dtype=np.int64))
        np.add.at(table.counts, (table.cells(scores), outcome), 1)
        error = target - scores
        every = np.stack([target, target**2, np.abs(error), error**2], axis=1)
        moments = np.array([every[outcome == place].mean(axis=0) for place in range(_VALUE_BINS)])
        return cls(table.edges, table.counts, moments)

    def cells(self, scores: Floats) -> Codes:
        """Return each row's cell, int64 (n,)."""
        if scores.ndim == 1:
            return np.searchsorted(self.edges[0], scores)
        called, height = scores.argmax(axis=1), scores.max(axis=1)
        levels = self.edges.shape[1] + 1
        result: Codes = called * levels + (height[:, None] > self.edges[called]).sum(axis=1)
        return result

    def look_at(self, scores: Floats, draws: int, rate: float, seed: int) -> LabelShift | None:
        """Return what shift the predictions may come of, None where they are as on the hold-out or are
        no mixture.

        Args:
            scores: of the window.
            rate: chance of being taken for a shift where there is none.
        """
        counts = self.counts[self.counts.sum(axis=1) > 0].astype(np.float64)
        seen = np.bincount(self.cells(scores), minlength=len(self.counts))[self.counts.sum(axis=1) > 0]
        cells, classes = counts.shape
        shares = counts.sum(axis=0) / counts.sum()
        n, m = float(seen.sum()), float(counts.sum())
        if classes < 2 or cells <= classes or n == 0:
            return None
        given = counts / counts.sum(axis=0)
        found = _mixture(seen[None, :] / n, given[None], shares)
        # Both sides vary: the likelihood ratio of a known hold-out shrinks by the window's part of both.
        part = m / (n + m)
        fitted, plain = given @ found[0], given @ shares
        some = seen > 0
        moved = 2 * part * float((seen[some] * np.log(fitted[some] / plain[some])).sum())
        left = 2 * part * float((seen[some] * np.log(seen[some] / n / fitted[some])).sum())
        p_value = chi_square_tail(moved, classes - 1)
        if p_value > rate or chi_square_tail(left, cells - classes) <= NO_MIXTURE:
            return None
        rng = np.random.default_rng([seed, 7])
        again = rng.multinomial(int(n), seen / n, size=draws) / n
        tables = np.stack([rng.dirichlet(column + 1e-3, size=draws) for column in counts.T], axis=2)
        return LabelShift(_mixture(again, tables, shares) / shares, p_value)

    def metric(self, name: str, ratios: Floats) -> Floats:
        """Return a regression's metric by draw, were it a label shift; NaN of one that moments don't tell."""
        assert self.moments is not None  # noqa: S101
        shares = ratios * self.counts.sum(axis=0)
        mean, square, absolute, error = ((shares / shares.sum(axis=1, keepdims=True)) @ self.moments).T
        known = {
            "mae": absolute, "mse": error, "rmse": np.sqrt(error), "r2": 1 - error / (square - mean**2),
        }  # fmt: skip
        return known.get(name, np.full(len(ratios), math.nan))

    def to_dict(self) -> dict[str, Any]:
        return {
            "edges": self.edges.tolist(),
            "counts": self.counts.tolist(),
            "moments": None if self.moments is None else self.moments.tolist(),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ShiftTable:
        moments = raw["moments"]
        return cls(
            np.array(raw["edges"], dtype=np.float64),
            np.array(raw["counts"], dtype=np.int64),
            None if moments is None else np.array(moments, dtype=np.float64),
        )


def _mixture(seen: Floats, given: Floats, start: Floats) -> Floats:
    """Return the shares that make the cells seen the most probable (by expectation and maximisation).

    Args:
        seen: float64 (d, cells), shares.
        given: float64 (d or 1, cells, k), of each outcome the shares of its cells.
        start: float64 (k,).
    """
    shares = np.broadcast_to(start, (len(seen), len(start))).copy()
    for _ in range(_STEPS):
        mixed = np.maximum((given @ shares[:, :, None])[:, :, 0], 1e-12)
        step = shares * ((seen / mixed)[:, None, :] @ given)[:, 0, :]
        farthest = float(np.abs(step - shares).max())
        shares = step
        if farthest < 1e-5:
            break
    return shares
