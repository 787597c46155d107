"""A statistic's value and between which limits the truth lies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
QUANTILE = 1.959964
"""The normal distribution's, of a two-sided interval of that confidence."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its 95 % interval and standard deviation; NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan
    deviation: float = math.nan

    @classmethod
    def of(cls, value: float, resampled: NDArray[np.float64]) -> Interval:
        """Return the bootstrap percentile interval of a statistic; resamples without a value are left out."""
        known = resampled[np.isfinite(resampled)]
        if len(known) < 2 or not math.isfinite(value):
            return cls(value)
        tail = (1 - CONFIDENCE) / 2
        low, high = np.quantile(known, (tail, 1 - tail))
        return cls(value, float(low), float(high), float(known.std(ddof=1)))

    @property
    def is_told(self) -> bool:
        """Whether there are limits."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def to_dict(self) -> dict[str, float | None]:
        """Return JSON-ready numbers, None where undefined."""
        return {name: finite_or_none(getattr(self, name)) for name in ("value", "low", "high")}


def finite_or_none(value: float) -> float | None:
    """Return the number as JSON can hold it."""
    return float(value) if math.isfinite(value) else None
