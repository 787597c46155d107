"""What peers are told of the columns of `bench.mixed_table`, and the profile of numbers that each makes.

By numpy, which is several times faster here than their own quantiles.
"""

from __future__ import annotations

import numpy as np

PLANS = ["basic", "plus", "pro", "team", "enterprise"]
RANGES = {
    "age": (0, 120),
    "score": (0, 1),
    "visits": (0, None),
    "latitude": (-90, 90),
    "longitude": (-180, 180),
}


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
