"""How many values of a column lie below a point: all that the statistics of numbers ask of a window.

Sorting answers that, and of a large window it is most of what watching costs. So the values of a large one
are counted into cells of equal width instead, in one pass and in the cache; only those that share a cell with
the point itself are compared. A value's cell never falls as the value grows, rounding included, so both ways
count the same.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

CELLS: Final = 1 << 14
COUNTED_FROM: Final = 1 << 15
"""Values from which on counting takes less than sorting."""

_AT_ONCE: Final = 1 << 15
"""Values that are counted at once: with their cells they stay in a core's cache."""
_LOOKED_AT: Final = 1 << 10
_TAIL: Final = 0.004
_STATES: Final = 3
_FEW: Final = 24
"""Cells up to which comparing with each takes less than looking up all."""
_FEW_VALUES: Final = 16
"""Different values of a sample up to which sorting takes less: it ends early."""

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Ranked(Protocol):
    """The values of a column that are there; NaN is none of them."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def below(self, points: Floats) -> Counts:
        """How many values are less than each point, int64 (k,)."""
        ...

    def upto(self, points: Floats) -> Counts:
        """How many values are at most each point, int64 (k,)."""
        ...

    def at(self, ranks: Counts) -> Floats:
        """The values at these ranks, of the least value 0, float64 (k,)."""
        ...

    def infinite(self) -> tuple[int, int]:
        """How many values are infinite below, and above all others."""
        ...


def ranked(values: Floats, expected: Floats) -> Ranked:
    """Return the values for counting.

    Args:
        values: float64 (n,), NaN for a missing one; not changed.
        expected: the points that will be asked for most, float64 (k,), ascending and distinct.
    """
    holes = np.isnan(values)
    present = values[~holes] if holes.any() else values
    if len(present) < COUNTED_FROM or not len(expected):
        return Ordered(np.sort(present))
    sample = np.sort(present[:: len(present) // _LOOKED_AT])
    if np.count_nonzero(sample[1:] != sample[:-1]) < _FEW_VALUES:
        return Ordered(np.sort(present))
    return Celled(present, expected, sample)


class Ordered:
    """Values in ascending order.

    >>> Ordered(np.array([1.0, 2.0, 2.0])).upto(np.array([2.0])).tolist()
    [3]
    """

    def __init__(self, ordered: Floats) -> None:
        self._ordered = ordered

    def __len__(self) -> int:
        return len(self._ordered)

    def below(self, points: Floats) -> Counts:
        return np.searchsorted(self._ordered, points, "left").astype(np.int64, copy=False)

    def upto(self, points: Floats) -> Counts:
        return np.searchsorted(self._ordered, points, "right").astype(np.int64, copy=False)

    def at(self, ranks: Counts) -> Floats:
        return self._ordered[ranks]

    def infinite(self) -> tuple[int, int]:
        ends = np.array([-np.inf, np.inf])
        return int(self.upto(ends)[0]), len(self) - int(self.below(ends)[1])


class Celled:
    """Values by cell, and around the expected points by whether they are less, equal or greater."""

    def __init__(self, values: Floats, expected: Floats, sample: Floats) -> None:
        """`sample` of the values, ascending: most of the cells lie where it and the expected points do."""
        self._values, self._expected = values, expected
        ends = [
            each[round(share * (len(each) - 1))]
            for each in (sample, expected)
            for share in (_TAIL, 1 - _TAIL)
        ]
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            self._low = float(np.clip(min(ends), *_FINITE))
            width = (float(np.clip(max(ends), *_FINITE)) - self._low) / CELLS
            scale = float(np.float64(1.0) / width)
        # Any positive scale keeps the order; one of this size spreads the values.
        self._scale = scale if np.isfinite(scale) and scale > 0 else 1.0
        places = self._cells_of(expected)
        # A cell's last point; in a cell without any, each value is less.
        points = np.full(CELLS, np.inf)
        points[places] = expected
        self._cells = np.empty(len(values), dtype=np.uint16)
        states = np.zeros(_STATES * CELLS, dtype=np.int64)
        for start in range(0, len(values), _AT_ONCE):
            some = values[start : start + _AT_ONCE]
            cells = self._cells_of(some)
            self._cells[start : start + _AT_ONCE] = cells
            there = points[cells]
            cells *= _STATES
            cells += some >= there
            cells += some > there
            states += np.bincount(cells, minlength=len(states))
        self._states = states.reshape(CELLS, _STATES)
        self._upto_cell = np.concatenate([[0], np.cumsum(self._states.sum(axis=1))])
        self._known: tuple[Counts, Counts] | None = None

    def __len__(self) -> int:
        return len(self._values)

    def below(self, points: Floats) -> Counts:
        return self._expected_counts[0] if points is self._expected else self._counted(points)[0]

    def upto(self, points: Floats) -> Counts:
        return self._expected_counts[1] if points is self._expected else self._counted(points)[1]

    def at(self, ranks: Counts) -> Floats:
        cells = np.searchsorted(self._upto_cell, ranks, "right") - 1
        members, before = self._members(cells)
        return members[before + ranks - self._upto_cell[cells]]

    def infinite(self) -> tuple[int, int]:
        return int((self._values == -np.inf).sum()), int((self._values == np.inf).sum())

    @property
    def _expected_counts(self) -> tuple[Counts, Counts]:
        if self._known is None:
            self._known = self._counts_of_expected()
        return self._known

    def _counts_of_expected(self) -> tuple[Counts, Counts]:
        places = self._cells_of(self._expected)
        first = self._upto_cell[places]
        below = first + self._states[places, 0]
        upto = below + self._states[places, 1]
        crowded = np.bincount(places, minlength=CELLS)[places] > 1
        if crowded.any():
            below[crowded], upto[crowded] = self._counted(self._expected[crowded])
        return below, upto

    def _counted(self, points: Floats) -> tuple[Counts, Counts]:
        cells = self._cells_of(points)
        members, before = self._members(cells)
        first = self._upto_cell[cells] - before
        left, right = (np.searchsorted(members, points, side) for side in ("left", "right"))
        return first + left, first + right

    def _members(self, cells: NDArray[np.int64]) -> tuple[Floats, Counts]:
        """Return the values in these cells, ascending, and for each cell how many of them lie below it."""
        asked = np.zeros(CELLS, dtype=np.bool_)
        asked[cells] = True
        wanted = np.flatnonzero(asked)
        if len(wanted) <= _FEW:
            found = np.zeros(len(self), dtype=np.bool_)
            for cell in wanted.tolist():
                found |= self._cells == cell
        else:
            found = asked[self._cells]
        sizes = np.where(asked, np.diff(self._upto_cell), 0)
        return np.sort(self._values[np.flatnonzero(found)]), (np.cumsum(sizes) - sizes)[cells]

    def _cells_of(self, values: Floats) -> NDArray[np.int64]:
        with np.errstate(over="ignore"):
            scaled = values - self._low
            scaled *= self._scale
        np.clip(scaled, 0, CELLS - 1, out=scaled)
        return scaled.astype(np.int64)


_FINITE: Final = (-float(np.finfo(np.float64).max), float(np.finfo(np.float64).max))
