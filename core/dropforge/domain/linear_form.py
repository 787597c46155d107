"""A linear model on standardised numbers and category indicators, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class LinearForm:
    """Raw scores are the intercept plus the weights of each row's numbers, gaps and categories.

    Attributes:
        numbers: int64 (a,), the matrix columns that are numbers.
        largest: float64 (), the magnitude at which numbers are cut.
        medians, means, scales: float64 (a,); a missing number becomes its median, then all are standardised.
        weights: float64 (a, k).
        indicated: int64 (b,), positions within ``numbers`` whose being missing has a weight.
        indicator_weights: float64 (b, k).
        categorical: int64 (c,), the matrix columns that are category codes.
        category_weights: float64 (c, m + 1, k), by code; the last, zero, is for missing codes and from m on.
        intercept: float64 (k,).
    """

    numbers: Indices
    largest: Floats
    medians: Floats
    means: Floats
    scales: Floats
    weights: Floats
    indicated: Indices
    indicator_weights: Floats
    categorical: Indices
    category_weights: Floats
    intercept: Floats

    def raw(self, matrix: Floats) -> Floats:
        """Return raw scores, float64 (n, k), of the encoded matrix (n, n_columns)."""
        scores = np.broadcast_to(self.intercept, (len(matrix), len(self.intercept)))
        if len(self.numbers):
            # take, minimum and maximum: indexing and clip cost several times as much on a single row.
            numbers = matrix.take(self.numbers, axis=1)
            missing = np.isnan(numbers)
            # Cut before and not after standardising: that is what the model was fitted on.
            cut = np.minimum(np.maximum(numbers, -self.largest), self.largest)
            standard = (np.where(missing, self.medians, cut) - self.means) / self.scales
            scores = scores + standard @ self.weights
            if len(self.indicated):
                scores += missing.take(self.indicated, axis=1) @ self.indicator_weights
        if len(self.categorical):
            scores = scores + self._of_categories(matrix.take(self.categorical, axis=1))
        return scores

    def _of_categories(self, codes: Floats) -> Floats:
        unknown = self.category_weights.shape[1] - 1
        # A comparison with NaN is false, so a missing code is unknown as well.
        rows = np.where(codes < unknown, codes, unknown).astype(np.int64) + self._first_rows
        return self._rows.take(rows, axis=0).sum(axis=1)

    @cached_property
    def _rows(self) -> Floats:
        return self.category_weights.reshape(-1, self.category_weights.shape[2])

    @cached_property
    def _first_rows(self) -> Indices:
        return np.arange(len(self.categorical)) * self.category_weights.shape[1]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the attributes by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make it of what `to_arrays` gave. Raises KeyError where one is missing."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})
