"""The profile of numbers that every peer makes, by numpy: here several times faster than their quantiles."""

from __future__ import annotations

import numpy as np


def profile_numbers(values: np.ndarray) -> dict[str, object]:
    """What is known of a column of present values."""
    ordered = np.sort(values)
    ranks = np.rint(np.linspace(0, len(ordered) - 1, 1021)).astype(int)
    return {
        "distinct": int((np.diff(ordered) > 0).sum()) + 1,
        "minimum": ordered[0],
        "maximum": ordered[-1],
        "mean": ordered.mean(),
        "deviation": ordered.std(),
        "quantiles": ordered[ranks].tolist(),
    }
