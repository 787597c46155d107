"""What the prepared columns look like: the baseline that drift is measured against.

Profiles of parts merge into the profile of the whole. Counts, extremes, distinct values and categories are
exact up to their bounds; means and deviations merge by Chan, Golub, LeVeque (1979); quantiles are exact up
to `QUANTILE_POINTS` distinct values and beyond that within 1/`QUANTILE_POINTS` of the rank per merge level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

FORMAT = 1
QUANTILE_POINTS = 4096
QUANTILE_EDGES = 1024
"""1,024 edges keep the KS statistic within 4e-5 of the exact one and cost 14 kB of JSON per column."""
DISTINCT_BOUND = 10_000
TOP_CATEGORIES = 1000

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A sorted sample with weights that stands for all values.

    Attributes:
        values: float64 (m,), ascending, distinct.
        weights: int64 (m,), how many values each stands for.
    """

    values: Float64
    weights: npt.NDArray[np.int64]

    @classmethod
    def of(cls, values: Float64) -> Quantiles:
        """Summarise finite values, float64 (n,)."""
        distinct, counts = np.unique(values, return_counts=True)
        return cls(distinct, counts.astype(np.int64))._compressed()

    def merge(self, other: Quantiles) -> Quantiles:
        """Return the summary of both."""
        values, inverse = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        weights = np.zeros(len(values), dtype=np.int64)
        np.add.at(weights, inverse, np.concatenate([self.weights, other.weights]))
        return Quantiles(values, weights)._compressed()

    def edges(self, bound: int = QUANTILE_EDGES) -> list[float]:
        """Return at most `bound` values at evenly spaced ranks, from the least to the greatest."""
        return [float(value) for value in self.values[self._picked(bound)]]

    def cumulative(self, bound: int = QUANTILE_EDGES) -> list[int]:
        """Return how many values are at most each of `edges`; exact up to QUANTILE_POINTS distinct values."""
        return [int(count) for count in np.cumsum(self.weights)[self._picked(bound)]]

    def _picked(self, bound: int) -> npt.NDArray[np.intp]:
        total = int(self.weights.sum())
        ranks = np.rint(np.linspace(0, total - 1, min(bound, total))).astype(np.int64)
        return np.searchsorted(np.cumsum(self.weights), ranks, "right")

    def _compressed(self) -> Quantiles:
        if len(self.values) <= QUANTILE_POINTS:
            return self
        cumulative = np.cumsum(self.weights)
        total = int(cumulative[-1])
        steps = np.array([total * i // QUANTILE_POINTS for i in range(QUANTILE_POINTS + 1)], dtype=np.int64)
        middles = (steps[:-1] + steps[1:]) // 2
        # The ends stay, so that the extremes of the whole are among the edges.
        middles[0], middles[-1] = 0, total - 1
        picked = np.searchsorted(cumulative, middles, "right")
        index, inverse = np.unique(picked, return_inverse=True)
        weights = np.zeros(len(index), dtype=np.int64)
        np.add.at(weights, inverse, np.diff(steps))
        return Quantiles(self.values[index], weights)


@dataclass(frozen=True, slots=True)
class NumericProfile:
    """A number, integer or timestamp column; timestamps count in microseconds since 1970-01-01 UTC."""

    count: int
    missing: int
    minimum: float
    maximum: float
    mean: float
    squares: float
    """Sum of the squared deviations from the mean."""
    distinct: Float64
    distinct_exact: bool
    quantiles: Quantiles

    @classmethod
    def of(cls, values: Float64, missing: int) -> NumericProfile:
        """Profile finite values, float64 (n,), beside `missing` rows without a value."""
        if not len(values):
            nothing = np.empty(0, dtype=np.float64)
            return cls(0, missing, math.inf, -math.inf, 0.0, 0.0, nothing, True, Quantiles.of(nothing))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean())
            if not math.isfinite(mean):
                mean = float((values / len(values)).sum())
            squares = float(np.square(values - mean).sum())
        distinct = np.unique(values)
        quantiles = Quantiles.of(values)
        return cls(
            len(values),
            missing,
            float(distinct[0]),
            float(distinct[-1]),
            mean,
            squares,
            distinct[:DISTINCT_BOUND],
            len(distinct) <= DISTINCT_BOUND,
            quantiles,
        )

    def merge(self, other: NumericProfile) -> NumericProfile:
        """Return the profile of both parts."""
        count = self.count + other.count
        delta = other.mean - self.mean
        share = other.count / count if count else 0.0
        distinct = np.union1d(self.distinct, other.distinct)
        return NumericProfile(
            count,
            self.missing + other.missing,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.mean + delta * share,
            self.squares + other.squares + delta * delta * self.count * share,
            distinct[:DISTINCT_BOUND],
            self.distinct_exact and other.distinct_exact and len(distinct) <= DISTINCT_BOUND,
            self.quantiles.merge(other.quantiles),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the column's entry in ``profile.json``; the deviation is the population's."""
        deviation = math.sqrt(self.squares / self.count) if self.count else None
        return {
            "count": self.count,
            "missing": self.missing,
            "distinct": len(self.distinct),
            "distinct_exact": self.distinct_exact,
            "minimum": self.minimum if self.count else None,
            "maximum": self.maximum if self.count else None,
            "mean": _finite(self.mean) if self.count else None,
            "deviation": _finite(deviation),
            "quantiles": self.quantiles.edges(),
            "cumulative": self.quantiles.cumulative(),
        }


@dataclass(frozen=True, slots=True)
class CategoricalProfile:
    """A category, boolean or class column. `counts` holds the values met before the bound was reached."""

    count: int
    missing: int
    counts: Mapping[str, int]
    other: int = 0
    """Rows whose value is not among `counts`."""

    @classmethod
    def of(cls, counts: Mapping[str, int], missing: int) -> CategoricalProfile:
        """Profile values given how often each occurs."""
        return cls(sum(counts.values()), missing, *_bounded(counts))

    def merge(self, other: CategoricalProfile) -> CategoricalProfile:
        """Return the profile of both parts."""
        counts = dict(self.counts)
        for value, count in other.counts.items():
            counts[value] = counts.get(value, 0) + count
        bounded, cut = _bounded(counts)
        return CategoricalProfile(
            self.count + other.count,
            self.missing + other.missing,
            bounded,
            self.other + other.other + cut,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the column's entry in ``profile.json``, categories by falling count."""
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        top = ranked[:TOP_CATEGORIES]
        return {
            "count": self.count,
            "missing": self.missing,
            "distinct": len(self.counts),
            "distinct_exact": self.other == 0,
            "categories": [{"value": value, "count": count} for value, count in top],
            "other": self.count - sum(count for _, count in top),
        }


ColumnProfile = NumericProfile | CategoricalProfile


@dataclass
class TableProfile:
    """Collects the profiles of successive parts, merging parts of equal size like a binary counter.

    So each value goes through a logarithmic number of merges, and quantiles keep their precision.
    """

    _levels: list[tuple[int, int, dict[str, ColumnProfile]]] = field(default_factory=list)

    def add(self, rows: int, columns: dict[str, ColumnProfile]) -> None:
        """Add the profiles of a part's columns, the same columns in every part."""
        level = 0
        while self._levels and self._levels[-1][0] == level:
            _, before, earlier = self._levels.pop()
            rows, columns, level = before + rows, _merged(earlier, columns), level + 1
        self._levels.append((level, rows, columns))

    def columns(self) -> tuple[int, dict[str, ColumnProfile]]:
        """Return how many rows were added, and the profile of each column over all of them."""
        total, result = 0, dict[str, ColumnProfile]()
        for _, rows, columns in reversed(self._levels):
            total, result = total + rows, _merged(columns, result) if result else columns
        return total, result


def _merged(left: dict[str, ColumnProfile], right: dict[str, ColumnProfile]) -> dict[str, ColumnProfile]:
    return {name: left[name].merge(right[name]) for name in left}  # type: ignore[arg-type]


def _bounded(counts: Mapping[str, int]) -> tuple[dict[str, int], int]:
    if len(counts) <= DISTINCT_BOUND:
        return dict(counts), 0
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:DISTINCT_BOUND]), sum(count for _, count in ranked[DISTINCT_BOUND:])


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
