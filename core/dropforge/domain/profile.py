"""What the prepared columns look like: the baseline that drift is measured against.

Profiles of parts merge into the profile of the whole, and how the rows were cut into parts leaves no trace:
sums are exact, and so are the counts at the values where a column is measured. Where those values are is
settled before, for the whole, by a `Ruler`; of columns with few different values every one is counted.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

FORMAT = 1
RULER_POINTS = 4096
QUANTILE_EDGES = 1021
"""So many keep the KS statistic within 1e-4 of the exact one and cost 14 kB of JSON per column; and the
tenths are among 1,020 steps, so that the PSI's bins are the deciles."""
DISTINCT_BOUND = 10_000
TOP_CATEGORIES = 1000

_UNIT_BITS = 62
"""Sums are kept in units of 2^-62 of the column's range."""
_SUMMED = 1 << 15
"""Values summed at once: they stay in a core's cache, and their float's sum is exact to far less than 2^63
units."""

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Ruler:
    """How a numeric column is measured in every part alike.

    Attributes:
        points: float64 (k,), ascending, distinct: where it is counted how many values are at most so much.
        centre: about the middle of the column's range.
        exponent: no value is farther from the centre than two to the power of it.
    """

    points: Float64
    centre: float
    exponent: int

    @classmethod
    def of(cls, sample: Float64, minimum: float, maximum: float) -> Ruler:
        """Lay the points at even ranks of a sample, float64 (n,), of values from minimum to maximum."""
        if minimum > maximum:
            return cls(np.empty(0, dtype=np.float64), 0.0, 0)
        centre = minimum / 2 + maximum / 2
        reach = max(maximum - centre, centre - minimum)
        ordered = np.sort(sample) + 0.0  # -0.0 is 0.0
        if len(ordered) > RULER_POINTS:
            ordered = ordered[np.rint(np.linspace(0, len(ordered) - 1, RULER_POINTS)).astype(np.int64)]
        return cls(np.unique(ordered), centre, math.frexp(reach)[1])

    def scaled(self, values: Float64) -> Float64:
        """Return the values' distances from the centre as shares of the range, float64 (n,) in [-1, 1]."""
        distances = values - self.centre
        # A power of two, but its inverse may be beyond the range of floats.
        half = -self.exponent // 2
        distances *= 2.0**half
        distances *= 2.0 ** (-self.exponent - half)
        return distances

    def unscaled(self, share: float) -> float:
        """Return the distance that is so much of the range."""
        return math.ldexp(share, self.exponent)


def nearest(ordered: npt.NDArray[Any], wanted: Float64) -> npt.NDArray[np.intp]:
    """Return the place of the item of an ascending array that is nearest to each wanted number."""
    after = np.clip(np.searchsorted(ordered, wanted, "left"), 1, max(len(ordered) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(ordered) - 1)
    found: npt.NDArray[np.intp] = np.where(wanted - ordered[before] < ordered[after] - wanted, before, after)
    return found


def median_of(entry: Mapping[str, Any]) -> float | None:
    """Return the middle value of a column of numbers by its entry in ``profile.json``; None without values.

    The values there are at even ranks only where a column has many of them, so their counts decide.
    """
    values, cumulative = entry.get("quantiles") or [], entry.get("cumulative") or []
    if not values or len(values) != len(cumulative):
        return None
    return float(values[bisect_left(cumulative, cumulative[-1] / 2)])


def _exact_sum(shares: Float64) -> int:
    """Add numbers in [-1, 1], each cut to 2^-62, in these units; integers know no order."""
    units = shares * 2.0**_UNIT_BITS
    near = int(units.sum())
    # The sum of the integers wraps around at 2^64, and the sum of the floats says how often.
    wrapped = int(units.astype(np.int64).sum())
    return wrapped + ((near - wrapped + (1 << 63)) >> 64 << 64)


def exact_moments(values: Float64, ruler: Ruler) -> tuple[int, int]:
    """Return the exact sums of the values as shares of the ruler's range, and of their squares."""
    total = squares = 0
    for start in range(0, len(values), _SUMMED):
        shares = ruler.scaled(values[start : start + _SUMMED])
        total += _exact_sum(shares)
        shares *= shares
        squares += _exact_sum(shares)
    return total, squares


@dataclass(frozen=True, slots=True)
class Frequencies:
    """How often every different value occurs, of a column with at most `DISTINCT_BOUND` of them.

    Attributes:
        values: float64 (m,), ascending, distinct.
        counts: int64 (m,).
    """

    values: Float64
    counts: Int64

    @classmethod
    def of(cls, ordered: Float64) -> Frequencies | None:
        """Count ascending values, float64 (n,); None if there are too many different ones."""
        new = ordered[1:] != ordered[:-1]
        if np.count_nonzero(new) >= DISTINCT_BOUND:
            return None
        starts = np.flatnonzero(np.append(True, new)) if len(ordered) else _NONE
        return cls(ordered[starts] + 0.0, np.diff(starts, append=len(ordered)))

    def merge(self, other: Frequencies) -> Frequencies | None:
        """Return the counts of both; None if there are too many different values."""
        values, inverse = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        if len(values) > DISTINCT_BOUND:
            return None
        counts = np.zeros(len(values), dtype=np.int64)
        np.add.at(counts, inverse, np.concatenate([self.counts, other.counts]))
        return Frequencies(values, counts)

    def at_most(self, points: Float64) -> Int64:
        """Count the values that are at most each point; int64 (k,)."""
        cumulative = np.append(0, np.cumsum(self.counts))
        found: Int64 = cumulative[np.searchsorted(self.values, points, "right")]
        return found


_NONE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class NumericProfile:
    """A number, integer or timestamp column; timestamps count in microseconds since 1970-01-01 UTC.

    Attributes:
        at_minimum: how many values are the least one.
        total, squares: the sum of the ruler's scaled values and of their squares, in units of 2^-62.
        counted: how often every value occurs; where too many differ, int64 (k,), how many values are at most
            each of the ruler's points.
    """

    ruler: Ruler
    count: int
    missing: int
    minimum: float
    maximum: float
    at_minimum: int
    total: int
    squares: int
    counted: Frequencies | Int64

    @classmethod
    def of(cls, values: Float64, missing: int, ruler: Ruler | None = None) -> NumericProfile:
        """Profile finite values, float64 (n,), beside `missing` rows without a value.

        Args:
            ruler: of the whole column; without one the values are the whole.
        """
        return cls.of_ordered(np.sort(values), missing, ruler)

    @classmethod
    def of_ordered(cls, ordered: Float64, missing: int, ruler: Ruler | None = None) -> NumericProfile:
        """Profile as `of` does values in ascending order, an array to be kept by nobody else."""
        if len(ordered):
            ordered[[0, -1]] += 0.0  # -0.0 is 0.0
        if ruler is None:
            ends = (float(ordered[0]), float(ordered[-1])) if len(ordered) else (math.inf, -math.inf)
            ruler = Ruler.of(ordered, *ends)
        if not len(ordered):
            return cls(ruler, 0, missing, math.inf, -math.inf, 0, 0, 0, Frequencies(ordered, _NONE))
        frequencies = Frequencies.of(ordered)
        return cls(
            ruler,
            len(ordered),
            missing,
            float(ordered[0]),
            float(ordered[-1]),
            int(np.searchsorted(ordered, ordered[0], "right")),
            *exact_moments(ordered, ruler),
            np.searchsorted(ordered, ruler.points, "right") if frequencies is None else frequencies,
        )

    def merge(self, other: NumericProfile) -> NumericProfile:
        """Return the profile of both parts, which one ruler has measured."""
        minimum = min(self.minimum, other.minimum)
        counted: Frequencies | Int64 | None = None
        if isinstance(self.counted, Frequencies) and isinstance(other.counted, Frequencies):
            counted = self.counted.merge(other.counted)
        if counted is None:
            counted = self._at_most() + other._at_most()
        return NumericProfile(
            self.ruler,
            self.count + other.count,
            self.missing + other.missing,
            minimum,
            max(self.maximum, other.maximum),
            sum(part.at_minimum for part in (self, other) if part.minimum == minimum),
            self.total + other.total,
            self.squares + other.squares,
            counted,
        )

    @property
    def mean(self) -> float | None:
        """The mean, correctly rounded from the exact sum; None without values."""
        if not self.count:
            return None
        return self.ruler.centre + self.ruler.unscaled(self.total / (self.count << _UNIT_BITS))

    @property
    def deviation(self) -> float | None:
        """The population's standard deviation; None without values."""
        if not self.count:
            return None
        unit = 1 << _UNIT_BITS
        variance = self.count * self.squares * unit - self.total**2
        return self.ruler.unscaled(math.sqrt(max(variance, 0) / (self.count * unit) ** 2))

    def quantiles(self, bound: int = QUANTILE_EDGES) -> tuple[Float64, Int64]:
        """Return at most `bound` values at even ranks, from the least to the greatest, and exact counts.

        Returns:
            float64 (m,), ascending; int64 (m,), how many values are at most each. Every different value is
            among them if there are no more than `bound`.
        """
        if isinstance(self.counted, Frequencies):
            values, cumulative = self.counted.values, np.cumsum(self.counted.counts)
        else:
            inside = (self.ruler.points > self.minimum) & (self.ruler.points < self.maximum)
            values = np.concatenate([[self.minimum], self.ruler.points[inside], [self.maximum]])
            cumulative = np.concatenate([[self.at_minimum], self.counted[inside], [self.count]])
        if len(values) <= bound:
            return values, cumulative.astype(np.int64)
        picked = nearest(cumulative, np.linspace(0, self.count, bound))
        return values[picked], cumulative[picked].astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return the column's entry in ``profile.json``; the deviation is the population's."""
        values, cumulative = self.quantiles()
        known = self.counted if isinstance(self.counted, Frequencies) else None
        return {
            "count": self.count,
            "missing": self.missing,
            "distinct": DISTINCT_BOUND if known is None else len(known.values),
            "distinct_exact": known is not None,
            "minimum": self.minimum if self.count else None,
            "maximum": self.maximum if self.count else None,
            "mean": _finite(self.mean),
            "deviation": _finite(self.deviation),
            "quantiles": values.tolist(),
            "cumulative": cumulative.tolist(),
        }

    def to_state(self) -> dict[str, Any]:
        """Return all but the ruler as JSON, for `from_state`."""
        known = self.counted if isinstance(self.counted, Frequencies) else None
        return {
            "count": self.count,
            "missing": self.missing,
            "minimum": self.minimum if self.count else None,
            "maximum": self.maximum if self.count else None,
            "at_minimum": self.at_minimum,
            "total": self.total,
            "squares": self.squares,
            "frequencies": None if known is None else [known.values.tolist(), known.counts.tolist()],
            "at_most": self.counted.tolist() if isinstance(self.counted, np.ndarray) else None,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], ruler: Ruler) -> NumericProfile:
        """Read what `to_state` wrote of a profile that this ruler has measured."""
        known = state["frequencies"]
        return cls(
            ruler,
            state["count"],
            state["missing"],
            math.inf if state["minimum"] is None else state["minimum"],
            -math.inf if state["maximum"] is None else state["maximum"],
            state["at_minimum"],
            state["total"],
            state["squares"],
            np.array(state["at_most"], dtype=np.int64)
            if known is None
            else Frequencies(np.array(known[0], dtype=np.float64), np.array(known[1], dtype=np.int64)),
        )

    def _at_most(self) -> Int64:
        known = self.counted
        return known.at_most(self.ruler.points) if isinstance(known, Frequencies) else known


@dataclass(frozen=True, slots=True)
class CategoricalProfile:
    """A category, boolean or class column.

    Attributes:
        counts: how often values occur: all of them up to `DISTINCT_BOUND`, beyond that the candidates.
        candidates: the frequent values, settled for the whole, that are counted where too many differ.
        bounded: whether too many differ.
    """

    count: int
    missing: int
    counts: Mapping[str, int]
    candidates: tuple[str, ...]
    bounded: bool = False

    @classmethod
    def of(
        cls, counts: Mapping[str, int], missing: int, candidates: Sequence[str] | None = None
    ) -> CategoricalProfile:
        """Profile values given how often each occurs.

        Args:
            candidates: of the whole column; without any the counts are the whole.
        """
        if candidates is None:
            candidates = [value for value, _ in _ranked(counts)[:DISTINCT_BOUND]]
        return cls(sum(counts.values()), missing, counts, tuple(candidates))._within_bound()

    def merge(self, other: CategoricalProfile) -> CategoricalProfile:
        """Return the profile of both parts, which have the same candidates."""
        counts = dict(self.counts)
        for value, count in other.counts.items():
            counts[value] = counts.get(value, 0) + count
        return CategoricalProfile(
            self.count + other.count,
            self.missing + other.missing,
            counts,
            self.candidates,
            self.bounded or other.bounded,
        )._within_bound()

    def to_dict(self) -> dict[str, Any]:
        """Return the column's entry in ``profile.json``, categories by falling count."""
        top = _ranked(self.counts)[:TOP_CATEGORIES]
        return {
            "count": self.count,
            "missing": self.missing,
            "distinct": DISTINCT_BOUND if self.bounded else len(self.counts),
            "distinct_exact": not self.bounded,
            "categories": [{"value": value, "count": count} for value, count in top],
            "other": self.count - sum(count for _, count in top),
        }

    def to_state(self) -> dict[str, Any]:
        """Return all but the candidates as JSON, for `from_state`."""
        return {
            "count": self.count,
            "missing": self.missing,
            "counts": dict(self.counts),
            "bounded": self.bounded,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], candidates: Sequence[str]) -> CategoricalProfile:
        """Read what `to_state` wrote of a profile with these candidates."""
        return cls(state["count"], state["missing"], state["counts"], tuple(candidates), state["bounded"])

    def _within_bound(self) -> CategoricalProfile:
        if not self.bounded and len(self.counts) <= DISTINCT_BOUND:
            return self
        known = {value: self.counts[value] for value in self.candidates if value in self.counts}
        return CategoricalProfile(self.count, self.missing, known, self.candidates, True)


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


ColumnProfile = NumericProfile | CategoricalProfile
Rulers = Mapping[str, Ruler | tuple[str, ...]]
"""Per column its ruler, or the candidates of a column of categories."""


@dataclass
class TableProfile:
    """The profile of a table, collected from parts of it in any order and grouping."""

    rows: int = 0
    columns: dict[str, ColumnProfile] = field(default_factory=dict)

    def add(self, rows: int, columns: Mapping[str, ColumnProfile]) -> None:
        """Add the profiles of a part's columns, the same columns in every part."""
        self.rows += rows
        self.columns = {
            name: self.columns[name].merge(added) if self.columns else added  # type: ignore[arg-type]
            for name, added in columns.items()
        }

    def merge(self, other: TableProfile) -> None:
        """Add another part's profile."""
        if other.columns:
            self.add(other.rows, other.columns)

    def to_state(self) -> dict[str, Any]:
        """Return the profile as JSON, for `from_state`; the rulers travel apart."""
        return {"rows": self.rows, "columns": {name: c.to_state() for name, c in self.columns.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], rulers: Rulers) -> TableProfile:
        """Read what `to_state` wrote of a profile by these rulers."""
        columns: dict[str, ColumnProfile] = {}
        for name, entry in state["columns"].items():
            ruler = rulers[name]
            columns[name] = (
                NumericProfile.from_state(entry, ruler)
                if isinstance(ruler, Ruler)
                else CategoricalProfile.from_state(entry, ruler)
            )
        return cls(state["rows"], columns)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
