"""How the values of a guarded column make slices: learned once from training rows, the same ever after.

The hold-out and live predictions are sliced alike, so that their figures can stand beside each other. A
category, and a number of few different values, has a slice for each of its most frequent values; another
number has four ranges of about as many training rows each. All other values are one slice together, and so
are the rows without one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

SLICED_VALUES = 20
"""Most frequent values of a column that get a slice of their own."""

NAMED_VALUES = 20
"""Of the values without one, those that are named, the most frequent first."""

FEW_NUMBERS = 10
"""Different numbers up to which each is a slice of its own; of more, ranges are made."""

QUARTILES = (0.25, 0.5, 0.75)

OTHERS, MISSING = "(other values)", "(missing)"


@dataclass(frozen=True, slots=True)
class Slicing:
    """The slices of one column.

    Attributes:
        name: of the column.
        values: that have a slice of their own; numbers are float, booleans 0.0 and 1.0.
        edges: upper limits of all ranges but the last, each within its range; empty without ranges.
        labels: of the slices, by code: of the values or ranges, then OTHERS (not beside ranges) and MISSING.
        others: values of training rows that share the slice OTHERS, NAMED_VALUES at most.
        others_count: how many such values there are.
    """

    name: str
    values: tuple[str | float, ...]
    edges: tuple[float, ...]
    labels: tuple[str, ...]
    others: tuple[str, ...] = ()
    others_count: int = 0

    @classmethod
    def learn(
        cls, name: str, kind: str, values: NDArray[Any], quantiles: Sequence[float] = QUARTILES
    ) -> Self:
        """Learn the slices of a column from its training rows.

        Args:
            kind: one of the contract's SLICED_TYPES.
            values: (n,) as in `dropforge.domain.encoding`: strings and None, or numbers and NaN.
            quantiles: where the ranges of a number end.
        """
        if kind == "boolean":
            return cls(name, (0.0, 1.0), (), ("false", "true", OTHERS, MISSING))
        if kind != "category":
            known = values[~np.isnan(values)]
            if len(np.unique(known)) > FEW_NUMBERS:
                edges = tuple(
                    float(edge) for edge in np.unique(np.quantile(known, quantiles, method="lower"))
                )
                return cls(name, (), edges, (*_range_labels(edges), MISSING))
        counts = Counter(value for value in values.tolist() if not _is_missing(value))
        ranked: list[Any] = sorted(counts, key=lambda value: (-counts[value], value))
        sliced, others = ranked[:SLICED_VALUES], [_written(value) for value in ranked[SLICED_VALUES:]]
        labels = (*map(_written, sliced), OTHERS, MISSING)
        return cls(name, tuple(sliced), (), labels, tuple(others[:NAMED_VALUES]), len(others))

    def codes(self, values: Iterable[Any]) -> NDArray[np.int16]:
        """Return each value's slice, int16 (n,); None and NaN are missing."""
        missing = len(self.labels) - 1
        if self.edges:
            numbers = np.array([math.nan if _is_missing(value) else float(value) for value in values])
            found = np.searchsorted(np.array(self.edges), numbers, "left")
            return np.where(np.isnan(numbers), missing, found).astype(np.int16)
        places = {value: code for code, value in enumerate(self.values)}
        return np.array(
            [missing if _is_missing(value) else places.get(value, missing - 1) for value in values],
            dtype=np.int16,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON; `from_dict` reads it back."""
        return {
            "name": self.name,
            "values": list(self.values),
            "edges": list(self.edges),
            "labels": list(self.labels),
            "others": list(self.others),
            "others_count": self.others_count,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        return cls(
            raw["name"],
            tuple(raw["values"]),
            tuple(raw["edges"]),
            tuple(raw["labels"]),
            tuple(raw["others"]),
            raw["others_count"],
        )


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _written(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.15g}"


def _range_labels(edges: Sequence[float]) -> tuple[str, ...]:
    """Name ranges by their limits, each of which belongs to the range below it."""
    texts = [_written(edge) for edge in edges]
    between = [f"above {low} to {high}" for low, high in pairwise(texts)]
    return (f"up to {texts[0]}", *between, f"above {texts[-1]}")
