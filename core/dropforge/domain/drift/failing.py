"""Where the live model fails: slices of one column or of two in which errors concentrate.

Of a classification the rows with a wrong label fail, of a regression the fifth with the greatest errors.
Where failing has nothing to do with a row's columns, the failing rows of a slice are a random draw of all:
Fisher's exact test says how rarely so many come together. Thousands of slices are looked at, so each test
gets its part of the rate of false findings (Bonferroni, which holds however slices overlap): half for those
of one column, half for those of two. A second column is named only if it tells more than the first. Then the
slice's rows are set aside, and the rest is searched again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.drift.distributions import beta_binomial
from dropforge.domain.figures import figure
from dropforge.domain.slicing import MISSING, OTHERS, Slicing

MOST_ROWS: Final = 20_000
"""Rows with an outcome that are looked at, drawn at random: of these a slice of 200 rows that fails twice as
often as the rest is found."""
MOST_PAIRED: Final = 40
"""Columns that are combined with each other, those of which one slice alone tells most. The correction counts
the pairs of all columns, so the choice costs nothing but what only shows in a pair."""
MOST_SLICES: Final = 5
MOST_EXAMPLES: Final = 5
LARGE_ERRORS: Final = 0.2
"""The share of a regression's rows that fail: its greatest errors."""

WRONG_LABELS, ABSOLUTE_ERROR = "share_of_wrong_labels", "mean_absolute_error"
"""What a slice's error is."""

_QUANTILES: Final = tuple(each / 20 for each in range(1, 20))
_JOINED: Final = 4
"""Ranges that are one where columns are paired: slices of two columns are many."""
_SCREEN: Final = 9.0
"""Likelihood ratios below this have tails above a hundredth of what any corrected test would need."""
_TESTED: Final = 100
_LONGEST_VALUE: Final = 80
"""Characters of a value that are told."""
_ROWS_AT_ONCE: Final = 4096

Numbers = NDArray[np.float64]
Indicators = NDArray[np.float32]


@dataclass(frozen=True)
class Errors:
    """What went wrong, row by row.

    Attributes:
        measure: WRONG_LABELS or ABSOLUTE_ERROR.
        size: float64 (n,), 0 and 1, or the absolute error.
        fails: bool (n,).
        gravity: float64 (n,), which failing rows are the worst examples.
        expected: float64 (n,), the chance of a wrong label by the model's own probabilities; None of a
            regression.
    """

    measure: str
    size: Numbers
    fails: NDArray[np.bool_]
    gravity: Numbers
    expected: Numbers | None = None

    @classmethod
    def of_labels(
        cls, target: NDArray[np.int64], scores: Numbers, labels: NDArray[np.int64] | None = None
    ) -> Errors:
        """Of a classification.

        Args:
            target: int64 (n,), the codes of the true classes.
            scores: float64 (n, n_classes) probabilities.
            labels: int64 (n,), the codes of the answered labels; None for the likeliest classes.
        """
        answered = scores.argmax(axis=1) if labels is None else labels
        fails = answered != target
        said = np.take_along_axis(scores, answered[:, None], axis=1)[:, 0]
        return cls(WRONG_LABELS, fails.astype(np.float64), fails, said, 1 - said)

    @classmethod
    def of_values(cls, target: Numbers, values: Numbers) -> Errors:
        """Of a regression."""
        size = np.abs(target - values)
        limit = np.quantile(size, 1 - LARGE_ERRORS, method="lower") if len(size) else 0.0
        return cls(ABSOLUTE_ERROR, size, size > limit, size)


@dataclass(frozen=True, slots=True)
class SlicedColumn:
    """A column that slices are made of, and each row's place in it.

    Attributes:
        codes: int16 (n,), see `Slicing.codes`.
        is_private: whether its values may not be told.
    """

    slicing: Slicing
    codes: NDArray[np.int16]
    is_private: bool = False

    @classmethod
    def of(cls, name: str, kind: str, values: NDArray[Any], *, is_private: bool = False) -> SlicedColumn:
        """Slice a column by its own values: which rows fail has no part in it, so the tests hold."""
        slicing = Slicing.learn(name, kind, values, _QUANTILES)
        return cls(slicing, slicing.codes(values.tolist()), is_private)

    def alone(self) -> Iterator[range]:
        """Yield the codes of each slice of this column: every value, and every run of ranges."""
        return self._runs(1)

    def paired(self) -> Iterator[range]:
        """Likewise, with wider ranges."""
        return self._runs(_JOINED)

    def _runs(self, width: int) -> Iterator[range]:
        ranges = len(self.slicing.edges) + 1 if self.slicing.edges else 0
        starts = range(0, ranges, width)
        for first in starts:
            for last in range(first + width, ranges + width, width):
                if last - first < ranges:
                    yield range(first, min(last, ranges))
        for code in range(ranges, len(self.slicing.labels)):
            yield range(code, code + 1)

    def told(self, codes: range) -> dict[str, Any]:
        """Return what a report says of a slice: the column, in words, and its value or limits."""
        name, slicing = self.slicing.name, self.slicing
        if slicing.edges and codes.start <= len(slicing.edges):
            low = slicing.edges[codes.start - 1] if codes.start else None
            high = slicing.edges[codes.stop - 1] if codes.stop <= len(slicing.edges) else None
            said = [] if low is None else [f"above {figure(low)}"]
            said += [] if high is None else [f"{'to' if said else 'up to'} {figure(high)}"]
            return {"column": name, "says": f"{name} is {' '.join(said)}", "above": low, "up_to": high}
        label = slicing.labels[codes.start]
        if label == MISSING:
            return {"column": name, "says": f"{name} is missing", "value": None}
        if label == OTHERS:
            return {"column": name, "says": f"{name} is a rare value"}
        if self.is_private:
            return {"column": name, "says": f"{name} has one value, which is private"}
        value = label if len(label) <= _LONGEST_VALUE else f"{label[:_LONGEST_VALUE]}…"
        return {"column": name, "says": f"{name} is {value!r}", "value": value}


@dataclass(frozen=True, slots=True)
class FailingSlice:
    """A slice in which errors concentrate.

    Attributes:
        where: one or two conditions, see `SlicedColumn.told`.
        rows, failing: rows with an outcome, and how many of them fail.
        error, elsewhere: in the slice, and in all other rows.
        expected: in the slice by the model's own probabilities; None of a regression.
        p_value: corrected for the search.
        examples: ids of the worst failing rows.
    """

    where: tuple[Mapping[str, Any], ...]
    rows: int
    failing: int
    error: float
    elsewhere: float
    expected: float | None
    p_value: float
    examples: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "where": list(self.where), "rows": self.rows, "failing": self.failing, "error": self.error,
            "elsewhere": self.elsewhere, "expected": self.expected, "p_value": self.p_value,
            "examples": list(self.examples),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failing:
    """What the search found: the most significant slice first, each beside those before it.

    ``searched`` counts the slices that were tested in the first round, ``rows`` what they were tested on.
    """

    measure: str
    rows: int
    searched: int
    slices: tuple[FailingSlice, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "measure": self.measure, "rows": self.rows, "searched": self.searched,
            "slices": [each.to_dict() for each in self.slices],
        }  # fmt: skip


def find_failing(
    columns: Iterable[SlicedColumn], errors: Errors, ids: Sequence[str], *, rate: float, minimum_rows: int
) -> Failing:
    """Search for slices in which errors concentrate; the same arguments give the same.

    Args:
        columns: each of n rows; of private ones no value is told.
        errors: of the same rows.
        ids: of the same rows.
        rate: chance that anything is found where failing has nothing to do with the columns.
        minimum_rows: that a slice has, and that lie outside it.
    """
    search = _Search(list(columns), errors.fails, rate, minimum_rows)
    left = np.arange(len(ids), dtype=np.intp)
    found: list[FailingSlice] = []
    searched = 0
    while len(found) < MOST_SLICES:
        best, tests = _most_significant(search, left)
        searched = searched or tests
        if best is None:
            break
        inside = best.rows_of(search.columns)
        found.append(_described(best, search.columns, errors, ids, inside))
        left = left[~inside[left]]
    return Failing(errors.measure, len(ids), searched, tuple(found))


def in_words(measure: str, failing: Mapping[str, Any]) -> str:
    """Say of a report's slice where errors concentrate, and by how much.

    >>> found = {"where": [{"says": "ward is 'b'"}], "rows": 90, "error": 0.4, "elsewhere": 0.1}
    >>> in_words(WRONG_LABELS, found)
    "ward is 'b': 40 % of 90 rows are wrong, 10 % elsewhere"
    """
    where = " and ".join(each["says"] for each in failing["where"])
    error, elsewhere = failing["error"], failing["elsewhere"]
    if measure == WRONG_LABELS:
        said = f"{figure(100 * error, digits=3)} % of {failing['rows']:,} rows are wrong"
        return f"{where}: {said}, {figure(100 * elsewhere, digits=3)} % elsewhere"
    said = f"the mean absolute error of {failing['rows']:,} rows is {figure(error)}"
    return f"{where}: {said}, {figure(elsewhere)} elsewhere"


def most_in_words(failing: Mapping[str, Any], most: int = 2) -> str | None:
    """Say where errors concentrate in a sentence without its full stop; None where nothing was found."""
    said = [in_words(failing["measure"], each) for each in failing["slices"]]
    return f"Errors concentrate where {'; and where '.join(said[:most])}" if said else None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A slice by its columns' places and codes."""

    parts: tuple[tuple[int, range], ...]
    p_value: float
    ratio: float

    def order(self) -> tuple[float, float]:
        """The least probable first."""
        return self.p_value, -self.ratio

    def rows_of(self, columns: Sequence[SlicedColumn]) -> NDArray[np.bool_]:
        """Which rows it holds, bool (n,)."""
        inside = np.ones(len(columns[0].codes), dtype=np.bool_)
        for place, codes in self.parts:
            inside &= (columns[place].codes >= codes.start) & (columns[place].codes < codes.stop)
        return inside


@dataclass(frozen=True, slots=True)
class _Search:
    """What is the same in every round; see `find_failing`."""

    columns: Sequence[SlicedColumn]
    fails: NDArray[np.bool_]
    rate: float
    minimum_rows: int


def _most_significant(search: _Search, left: NDArray[np.intp]) -> tuple[_Candidate | None, int]:
    """Return the slice of these rows with the least corrected p-value, None without any of that rate; and how
    many were tested."""
    columns, least_rows = search.columns, search.minimum_rows
    failing = left[search.fails[left]]
    total = (len(left), len(failing))
    if not 0 < total[1] < total[0]:
        return None, 0
    singles: list[tuple[tuple[int, range], ...]] = []
    rows: list[int] = []
    hits: list[int] = []
    for place, column in enumerate(columns):
        size = len(column.slicing.labels)
        counted = [
            np.concatenate([[0], np.cumsum(np.bincount(column.codes[some], minlength=size))])
            for some in (left, failing)
        ]
        for codes in column.alone():
            singles.append(((place, codes),))
            rows.append(int(counted[0][codes.stop] - counted[0][codes.start]))
            hits.append(int(counted[1][codes.stop] - counted[1][codes.start]))
    counts, failed = np.array(rows, dtype=np.float64), np.array(hits, dtype=np.float64)
    ratios, tests = _ratios(counts, failed, total, least_rows)
    alone = _least(_tested(singles.__getitem__, ratios, counts, failed, total, 2 * tests), search.rate)
    chosen = _paired_columns(singles, ratios)
    pairs, counts, failed = _pairs(columns, chosen, left, failing)
    ratios, pair_tests = _ratios(counts.ravel(), failed.ravel(), total, least_rows)
    if len(chosen) < len(columns):
        levels = [sum(1 for _ in column.paired()) for column in columns]
        pair_tests = (sum(levels) ** 2 - sum(level**2 for level in levels)) // 2

    def pair(place: int) -> tuple[tuple[int, range], ...]:
        return pairs[place // len(pairs)], pairs[place % len(pairs)]

    both = _least(_tested(pair, ratios, counts.ravel(), failed.ravel(), total, 2 * pair_tests), search.rate)
    if alone is None or both is None:
        return alone or both, tests + pair_tests
    if not _tells_more(both, alone, search, left, search.rate / len(pairs)):
        return alone, tests + pair_tests
    return min(alone, both, key=_Candidate.order), tests + pair_tests


def _least(candidates: Iterable[_Candidate], rate: float) -> _Candidate | None:
    found = min(candidates, key=_Candidate.order, default=None)
    return None if found is None or found.p_value > rate else found


def _tells_more(
    both: _Candidate, alone: _Candidate, search: _Search, left: NDArray[np.intp], rate: float
) -> bool:
    """Whether of the rows of a slice of one column, those in one of two fail more often than by chance."""
    within = left[alone.rows_of(search.columns)[left]]
    narrower = within[both.rows_of(search.columns)[within]]
    k, x = int(search.fails[within].sum()), int(search.fails[narrower].sum())
    return _fisher(len(within), k, len(narrower), x) <= rate


def _paired_columns(singles: Sequence[tuple[tuple[int, range], ...]], ratios: Numbers) -> list[int]:
    """Return the places of the columns that are combined: those of the greatest ratios alone."""
    greatest: dict[int, float] = {}
    for ((place, _),), ratio in zip(singles, ratios.tolist(), strict=True):
        greatest[place] = max(greatest.get(place, 0.0), ratio)
    return sorted(sorted(greatest, key=lambda place: (-greatest[place], place))[:MOST_PAIRED])


def _pairs(
    columns: Sequence[SlicedColumn],
    chosen: Sequence[int],
    left: NDArray[np.intp],
    failing: NDArray[np.intp],
) -> tuple[list[tuple[int, range]], Numbers, Numbers]:
    """Return the slices to combine, and of each two of different columns how many rows lie in both, and how
    many of the failing ones: float64 (k, k), nothing at and below the diagonal."""
    slices = [(place, codes) for place in chosen for codes in columns[place].paired()]
    both = []
    for some in (left, failing):
        together = np.zeros((len(slices), len(slices)), dtype=np.float64)
        for start in range(0, len(some), _ROWS_AT_ONCE):
            inside = _indicators(columns, slices, some[start : start + _ROWS_AT_ONCE])
            together += inside.T @ inside  # whole numbers below 2**24, so float32 is exact
        both.append(together)
    of = np.array([place for place, _ in slices])
    apart = of[:, None] < of[None, :]
    return slices, np.where(apart, both[0], 0.0), np.where(apart, both[1], 0.0)


def _indicators(
    columns: Sequence[SlicedColumn], slices: Sequence[tuple[int, range]], rows: NDArray[np.intp]
) -> Indicators:
    """Return which of the slices each row lies in, float32 (n, k)."""
    inside = np.empty((len(rows), len(slices)), dtype=np.float32)
    for at, (place, codes) in enumerate(slices):
        these = columns[place].codes[rows]
        inside[:, at] = (these >= codes.start) & (these < codes.stop)
    return inside


def _ratios(counts: Numbers, failed: Numbers, total: tuple[int, int], least_rows: int) -> tuple[Numbers, int]:
    """Return the likelihood ratio of each slice in which more rows fail than elsewhere, 0 of any other; and
    how many slices have enough rows to be tested, which doesn't depend on what fails."""
    n, k = total
    large = (counts >= least_rows) & (counts <= n - least_rows)
    ratios = np.zeros(len(counts), dtype=np.float64)
    tested = large & (failed * n > counts * k)
    m, x = counts[tested], failed[tested]
    table = ((x, m * k), (m - x, m * (n - k)), (k - x, (n - m) * k), (n - m - k + x, (n - m) * (n - k)))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(seen > 0, seen * np.log(seen * n / product), 0.0) for seen, product in table]
    ratios[tested] = 2 * np.sum(terms, axis=0)
    return ratios, int(large.sum())


def _tested(
    parts_of: Callable[[int], tuple[tuple[int, range], ...]],
    ratios: Numbers,
    counts: Numbers,
    failed: Numbers,
    total: tuple[int, int],
    tests: int,
) -> Iterator[_Candidate]:
    """Yield the most remarkable slices with Fisher's exact p-value, times the number of tests."""
    n, k = total
    for place in np.argsort(-ratios, kind="stable")[:_TESTED].tolist():
        if ratios[place] < _SCREEN:
            return
        m, x = int(counts[place]), int(failed[place])
        p_value = _fisher(n, k, m, x) * tests
        yield _Candidate(parts_of(place), min(1.0, p_value), float(ratios[place]))


def _fisher(n: int, k: int, m: int, x: int) -> float:
    """Return the chance that of n rows, k of which fail, m at random hold x failing ones or more.

    That tail is one of the beta-binomial distribution: x or more of the m lie below the (k - x + 1)-th of the
    others.
    """
    spared = n - m - (k - x)
    return beta_binomial(m, k - x + 1.0, float(spared)).upper_tail(x) if spared > 0 else 1.0


def _described(
    best: _Candidate,
    columns: Sequence[SlicedColumn],
    errors: Errors,
    ids: Sequence[str],
    inside: NDArray[np.bool_],
) -> FailingSlice:
    failing = np.flatnonzero(inside & errors.fails)
    worst = failing[np.argsort(-errors.gravity[failing], kind="stable")[:MOST_EXAMPLES]]
    return FailingSlice(
        tuple(columns[place].told(codes) for place, codes in best.parts),
        rows=int(inside.sum()),
        failing=len(failing),
        error=float(errors.size[inside].mean()),
        elsewhere=float(errors.size[~inside].mean()),
        expected=None if errors.expected is None else float(errors.expected[inside].mean()),
        p_value=best.p_value,
        examples=tuple(ids[row] for row in worst.tolist()),
    )
