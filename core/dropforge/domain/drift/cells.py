"""A column's rows counted over few cells, so that windows add up and a phase is told by its shares."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.drift.baseline import CategoricalBaseline, ColumnBaseline, Floats, NumericBaseline
from dropforge.domain.drift.features import (
    UNJUDGED_TYPES,
    EncodedTexts,
    Values,
    as_numbers,
    encoded,
    missing_values,
)

MOST_CELLS, LEAST_CELLS = 32, 8
_CELLS_OF_ALL = 8000
LEAST_SIZE = 2
"""Counts of a column of which only missing values are told."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """How a column is counted: first the rows without a value, then each cell, the last one open.

    Attributes:
        bounds: of a numeric column float64 (k,), ascending: a cell holds what is above the bound before and
            at most its own.
        labels: of a category column, one cell each.
    """

    bounds: Floats | None = None
    labels: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many counts there are, that of missing values included."""
        return 2 + len(self.labels if self.bounds is None else self.bounds)

    def places(self, values: Values) -> Counts:
        """Return where each value of a window or of training rows is counted, int64 (n,)."""
        if self.bounds is None:
            texts = encoded(values)
            known = {label: place for place, label in enumerate(self.labels, 1)}
            # The code of a missing value, -1, is the last one's place.
            of_labels = [*(known.get(label, self.size - 1) for label in texts.labels), 0]
            return np.array(of_labels, dtype=np.int64)[texts.codes]
        numbers = as_numbers(values)
        return np.where(np.isnan(numbers), 0, 1 + np.searchsorted(self.bounds, numbers, "left"))

    def counts(self, values: Values) -> Counts:
        """Count the values."""
        if self.size == LEAST_SIZE:
            missing = (
                int((values.codes < 0).sum()) if isinstance(values, EncodedTexts) else missing_values(values)
            )
            return np.array([missing, len(values) - missing], dtype=np.int64)
        return np.bincount(self.places(values), minlength=self.size)

    def of_baseline(self, baseline: ColumnBaseline) -> Counts:
        """Count the rows that the baseline was made of, as near as it tells."""
        if isinstance(baseline, CategoricalBaseline):
            counted = dict(zip(baseline.values, baseline.counts.tolist(), strict=True))
            listed = [counted.get(label, 0) for label in self.labels]
            return np.array([baseline.missing, *listed, baseline.count - sum(listed)], dtype=np.int64)
        padded = np.append(0, baseline.cumulative)
        upto = padded[
            np.searchsorted(baseline.values, self.bounds if self.bounds is not None else [], "right")
        ]
        return np.concatenate([[baseline.missing], np.diff(np.concatenate([[0], upto, [baseline.count]]))])


def cells_of(baseline: ColumnBaseline, columns: int) -> Cells:
    """Return the cells of a column, as one of so many: about equal shares of the baseline's rows.

    Columns of which only missing values are judged have one cell.
    """
    if baseline.type in UNJUDGED_TYPES or not baseline.count:
        return Cells()
    most = min(MOST_CELLS, max(LEAST_CELLS, _CELLS_OF_ALL // max(columns, 1)))
    if isinstance(baseline, CategoricalBaseline):
        return Cells(labels=baseline.values[: most - 1])
    wanted = baseline.count * np.arange(1, most) / most
    places = (
        np.arange(len(baseline.values))
        if len(baseline.values) <= most
        else np.unique(np.searchsorted(baseline.cumulative, wanted, "left"))
    )
    return Cells(bounds=baseline.values[places[places < len(baseline.values) - 1]])


def reweighted(baseline: ColumnBaseline, cells: Cells, counts: Floats) -> ColumnBaseline:
    """Return the baseline as it would be of rows with these counts, float64 (size,), over its cells.

    Of a numeric column only what the cells tell is kept, so that nothing is compared within a cell.
    """
    whole = np.rint(counts).astype(np.int64)
    if isinstance(baseline, CategoricalBaseline):
        before = cells.of_baseline(baseline)
        factors = dict(zip(cells.labels, counts[1:-1] / np.maximum(before[1:-1], 1), strict=True))
        rest = float(counts[-1] / max(before[-1], 1))
        scaled = np.rint(
            [
                count * factors.get(label, rest)
                for label, count in zip(baseline.values, baseline.counts.tolist(), strict=True)
            ]
        ).astype(np.int64)
        other = round(baseline.other * rest)
        return replace(
            baseline, count=int(scaled.sum()) + other, missing=int(whole[0]), counts=scaled, other=other
        )
    upto = np.cumsum(whole[1:])
    count = int(upto[-1])
    if cells.bounds is None or not len(cells.bounds) or not count:
        scaled = np.rint(baseline.cumulative * (count / max(baseline.count, 1))).astype(np.int64)
        return replace(baseline, count=count, missing=int(whole[0]), cumulative=scaled)
    values, cumulative = cells.bounds, upto[:-1]
    least, greatest = baseline.values[0], baseline.values[-1]
    if values[0] > least:
        at_least = min(int(cumulative[0]), round(float(baseline.cumulative[0]) / baseline.count * count))
        values, cumulative = np.append(least, values), np.append(at_least, cumulative)
    return NumericBaseline(
        baseline.name, baseline.type, count, int(whole[0]),
        np.append(values, greatest), np.append(cumulative, count), baseline.sample,
        baseline.complete and len(values) + 1 == len(baseline.values),
    )  # fmt: skip
