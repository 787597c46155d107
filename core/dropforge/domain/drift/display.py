"""How a column is spread in the baseline and in the window, as counts that can be drawn over each other.

For the eye only: verdicts come from the statistics, whose bins are of equal counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.drift.baseline import CategoricalBaseline, NumericBaseline
from dropforge.domain.drift.ranked import Ranked

MOST_BARS = 20
SHOWN_CATEGORIES = 12
_TAIL = 0.005
OTHER_LABEL = "(other)"


@dataclass(frozen=True, slots=True)
class Distribution:
    """Counts over the same bars.

    Attributes:
        edges: of a numeric column, ascending, one more than there are bars; the first and the last bar also
            count what lies beyond them. None for categories.
        labels: of a category column, one a bar, the last being all others. None for numbers.
        baseline, window: counts by bar.
    """

    edges: tuple[float, ...] | None
    labels: tuple[str, ...] | None
    baseline: tuple[int, ...]
    window: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"baseline": list(self.baseline), "window": list(self.window)}
        if self.edges is not None:
            return {"edges": list(self.edges), **found}
        return {"labels": list(self.labels or ()), **found}


def numeric_distribution(baseline: NumericBaseline, values: Ranked) -> Distribution | None:
    """Return bars of equal width over the middle 99 % of baseline and window together, or None without any.

    Args:
        baseline: of the column.
        values: the window's; infinite ones count in the end bars.
    """
    least, greatest = values.infinite()
    finite = len(values) - least - greatest
    if not baseline.count or not finite:
        return None
    ends = _ends(baseline)
    seen = _at_ranks(values, least, finite, np.array([_TAIL, 1 - _TAIL]) * (finite - 1))
    edges = _edges(float(min(ends[0], seen[0])), float(max(ends[1], seen[1])), baseline)
    base = _counted(baseline, edges)
    seen_below = values.below(edges[1:-1])
    window = np.diff(np.concatenate([[0], seen_below, [len(values)]]))
    return Distribution(tuple(edges.tolist()), None, tuple(base.tolist()), tuple(window.tolist()))


def bars_of(baseline: NumericBaseline | CategoricalBaseline) -> tuple[int, ...]:
    """Return how many rows lie in each bar of a column alone: of equal width over its middle 99 %, or a bar
    for each of the most frequent categories and one for all others. Empty where it has no values."""
    if not baseline.count:
        return ()
    if isinstance(baseline, NumericBaseline):
        low, high = _ends(baseline).tolist()
        return tuple(_counted(baseline, _edges(low, high, baseline)).tolist())
    shown = tuple(baseline.counts[:SHOWN_CATEGORIES].tolist())
    rest = baseline.count - sum(shown)
    return (*shown, rest) if rest else shown


def _ends(baseline: NumericBaseline) -> NDArray[np.float64]:
    """Between which values the middle 99 % of the rows lie, float64 (2,)."""
    ranks = np.array([_TAIL, 1 - _TAIL]) * baseline.count
    return baseline.values[np.minimum(np.searchsorted(baseline.cumulative, ranks), len(baseline.values) - 1)]


def _edges(low: float, high: float, baseline: NumericBaseline) -> NDArray[np.float64]:
    bars = MOST_BARS
    if high <= low or (baseline.type == "integer" and high - low < MOST_BARS):
        # A bar a value, the value in its middle.
        low, high, bars = low - 0.5, high + 0.5, max(1, round(high - low) + 1)
    return np.linspace(low, high, bars + 1)


def _counted(baseline: NumericBaseline, edges: NDArray[np.float64]) -> NDArray[np.int64]:
    below = np.concatenate([[0], baseline.cumulative])[np.searchsorted(baseline.values, edges[1:-1], "left")]
    return np.diff(np.concatenate([[0], below, [baseline.count]]))


def _at_ranks(values: Ranked, first: int, count: int, ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values at ranks counted from `first`, which may lie between two: then on the line through
    both. Of `count` values the last one has no next."""
    below = np.floor(ranks).astype(np.int64)
    low, high = np.split(values.at(first + np.concatenate([below, np.minimum(below + 1, count - 1)])), 2)
    return low + (high - low) * (ranks - below)


def categorical_distribution(
    baseline: CategoricalBaseline, values: Iterable[str] | Mapping[str, int]
) -> Distribution | None:
    """Return a bar for each of the most frequent categories of both, and one for all others.

    Args:
        baseline: of the column.
        values: the window's values that are there, or how often each occurs.
    """
    seen = Counter(values)
    if not baseline.count or not seen:
        return None
    rows = seen.total()
    known = dict(zip(baseline.values, baseline.counts.tolist(), strict=True))

    def weight(label: str) -> float:
        return float(max(known.get(label, 0) / baseline.count, seen.get(label, 0) / rows))

    labels = sorted(known.keys() | seen.keys(), key=lambda label: (-weight(label), label))
    shown = labels[:SHOWN_CATEGORIES]
    base = [int(known.get(label, 0)) for label in shown]
    window = [int(seen.get(label, 0)) for label in shown]
    if sum(base) < baseline.count or sum(window) < rows:
        shown.append(OTHER_LABEL)
        base.append(baseline.count - sum(base))
        window.append(rows - sum(window))
    return Distribution(None, tuple(shown), tuple(base), tuple(window))
