"""Whether a candidate that is better as a whole is worse for some: one verdict per guarded slice.

Both models are compared in every slice, and with many slices one of them looks worse by chance. So each
interval of a difference is widened by Bonferroni's correction: of k slices that are compared, each is held
to 1 - 5 % / k, and all intervals together hold with at least 95 %, however slices of different columns
overlap. Holm's procedure would reject a candidate in exactly the same cases, since both first ask whether
the most extreme slice passes 5 % / k; but it gives no intervals to show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.comparison import Compared
from dropforge.domain.intervals import CONFIDENCE, Interval, finite_or_none
from dropforge.domain.metric_registry import Metric
from dropforge.domain.metrics import Scored
from dropforge.domain.shares import student_quantile
from dropforge.domain.slicing import Slicing

CORRECTION = "bonferroni"
GUARDED_SLICES = "guarded_slices.json"
"""Beside ``judgement.json``: how guarded columns were sliced, and the deciding metric in each slice."""


@dataclass(frozen=True, slots=True)
class SliceRows:
    """The rows of one slice: their places in the hold-out, and how many are independent of each other.

    ``rarest`` counts the rows of the rarest class, or all rows of a regression; ``groups`` is None where
    every row is for itself. ``shortage`` says what is missing for comparing both models here, None for
    nothing.
    """

    column: str
    label: str
    places: NDArray[np.intp]
    rarest: int
    groups: int | None
    shortage: str | None


@dataclass(frozen=True, slots=True)
class GuardedSlice:
    """One slice as both models do in it. ``difference`` is the paired gain with its corrected interval.

    ``shortage`` says what is missing for comparing both models, ``untold`` why the candidate itself has no
    value or no interval; None for nothing.
    """

    column: str
    label: str
    rows: int
    candidate: Interval
    champion: Interval | None
    difference: Interval | None
    shortage: str | None
    untold: str | None = None

    @property
    def is_worse(self) -> bool:
        """Whether the candidate is worse here beyond chance, all guarded slices considered."""
        return self.difference is not None and self.difference.high < 0

    @property
    def verdict(self) -> str | None:
        """worse, holds, cant_say; None where there is no champion to compare with."""
        if self.champion is None:
            return None
        if self.shortage is not None:
            return "cant_say"
        return "worse" if self.is_worse else "holds"

    def to_dict(self) -> dict[str, Any]:
        """Return its entry among the slices of ``judgement.json``."""
        return {
            "slice": self.column,
            "label": self.label,
            "rows": self.rows,
            **self.candidate.to_dict(),
            "champion": None if self.champion is None else finite_or_none(self.champion.value),
            "difference": None if self.difference is None else self.difference.to_dict(),
            "guarded": True,
            "verdict": self.verdict,
            "shortage": self.shortage,
            "untold": self.untold,
        }


def level_of(slices: int) -> float:
    """Return the confidence that each of so many slices' intervals is held to.

    >>> round(level_of(10), 4)
    0.995
    """
    return 1 - (1 - CONFIDENCE) / max(slices, 1)


def guarded(
    slices: Sequence[SliceRows], compared: Sequence[Compared], metric: Metric
) -> tuple[GuardedSlice, ...]:
    """Correct the differences of all slices for there being so many.

    A limit lies as many standard deviations of the bootstrap away as Student's t says, with the degrees of
    freedom of the rarest class (or of all rows, or groups): deviations of few rows are hardly known
    themselves. Of metrics that count labels one row's weight is added to it, since few rows on which the two
    models differ have a smaller deviation than they should (Agresti and Min 2005, Simple improved confidence
    intervals for comparing matched proportions).

    Args:
        slices: all that are guarded.
        compared: the deciding metric of each, see `comparison.compare`.
        metric: that metric.
    """
    told = [
        rows.shortage is None and each.difference is not None and each.difference.is_told
        for rows, each in zip(slices, compared, strict=True)
    ]
    tail = (1 - level_of(sum(told))) / 2
    found = []
    for rows, each, is_told in zip(slices, compared, told, strict=True):
        difference, shortage = each.difference, rows.shortage
        if difference is not None and is_told:
            difference = _corrected(difference, rows, metric, tail)
        elif difference is not None:
            difference = Interval(difference.value)
            shortage = shortage or each.undefined or "the live model's is undefined here"
        found.append(
            GuardedSlice(
                rows.column,
                rows.label,
                len(rows.places),
                each.candidate,
                each.champion,
                difference,
                shortage,
                each.untold,
            )
        )
    return tuple(found)


def _corrected(difference: Interval, rows: SliceRows, metric: Metric, tail: float) -> Interval:
    counted = len(rows.places) if metric.name == "accuracy" else rows.rarest
    one_row = 1 / counted if metric.family == "counts" else 0.0
    independent = counted if rows.groups is None else min(rows.groups, counted)
    deviation = math.hypot(difference.deviation, one_row)
    reach = student_quantile(max(independent - 1, 1), tail) * deviation
    value = difference.value
    return Interval(value, value - reach, value + reach, deviation)


def guarded_document(
    metric: str, slicings: Sequence[Slicing], slices: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return GUARDED_SLICES: what live quality is sliced by, and held to.

    Args:
        slices: the entries of ``judgement.json``.
    """
    held = ("label", "rows", "value", "low", "high")
    return {
        "format": 1,
        "metric": metric,
        "columns": [
            {
                **slicing.to_dict(),
                "slices": [
                    {name: each[name] for name in held}
                    for each in slices
                    if each.get("guarded") and each["slice"] == slicing.name
                ],
            }
            for slicing in slicings
        ],
    }


def disparity(scored: Scored, codes: NDArray[np.int16], least_rows: int) -> Mapping[str, float] | None:
    """Return how differently a binary model treats the slices of one column, as fairlearn 0.15 defines it.

    ``demographic_parity``: shares of rows that are called positive; ``equalized_odds``: true and false
    positive rates, of which the larger difference and the smaller ratio count. A difference is the largest
    value less the smallest, a ratio the smallest by the largest; NaN where there are fewer than two slices to
    compare. Slices of fewer rows are left out, and of the odds those without rows of both classes, which
    fairlearn would give a rate of 0.

    Args:
        codes: (n,) the slice of each row.
        least_rows: of a slice.

    Returns:
        None of a task that isn't binary.
    """
    if scored.task != "binary":
        return None
    called, actual = scored.labels == 1, scored.target == 1
    selected, hits, alarms = [], [], []
    for code in np.unique(codes[codes >= 0]):
        rows = codes == code
        if rows.sum() < least_rows:
            continue
        selected.append(float(called[rows].mean()))
        if actual[rows].any() and not actual[rows].all():
            hits.append(float(called[rows & actual].mean()))
            alarms.append(float(called[rows & ~actual].mean()))
    return {
        "demographic_parity_difference": _spread(selected),
        "demographic_parity_ratio": _ratio(selected),
        "equalized_odds_difference": max(_spread(hits), _spread(alarms)),
        "equalized_odds_ratio": min(_ratio(hits), _ratio(alarms)),
    }


def _spread(rates: Sequence[float]) -> float:
    return max(rates) - min(rates) if len(rates) > 1 else math.nan


def _ratio(rates: Sequence[float]) -> float:
    """Rates that are all 0 are equal."""
    if len(rates) < 2:
        return math.nan
    return min(rates) / max(rates) if max(rates) > 0 else 1.0
