"""The interval of an area under the ROC curve, which holds from five rows of the rarer class on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_HALVINGS = 50


def auc_limits(
    positives: NDArray[np.float64], negatives: NDArray[np.float64], quantile: float
) -> tuple[float, float, float]:
    """Return the lower and upper limit and the standard deviation of the chance that a positive is above.

    The limits are those true values from which the measured one is `quantile` deviations away (Newcombe 2006,
    Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2, method 5),
    the deviation being the larger of his, which knows the hypothesis, and DeLong's, which knows the scores
    (DeLong, DeLong and Clarke-Pearson 1988). DeLong's alone, on the scale of the logit too, covers the truth
    in 83 % instead of 95 % with five positives in 1,000 rows: `python -m bench intervals` prints it.

    Args:
        positives, negatives: float64 (n,) each, at least two: scores of the rows of each class.
        quantile: of the normal distribution, 1.96 for an interval of 95 %.
    """
    high, low = np.sort(positives), np.sort(negatives)
    above = _share_below(low, high)
    below = 1 - _share_below(high, low)
    value = float(above.mean())
    measured = float(above.var(ddof=1) / len(positives) + below.var(ddof=1) / len(negatives))
    supposed = _variance(value, len(positives), len(negatives))
    factor = max(1.0, measured / supposed) if supposed > 0 else 1.0

    def limit(end: float) -> float:
        near, far = value, end
        for _ in range(_HALVINGS):
            middle = (near + far) / 2
            reach = quantile * math.sqrt(factor * _variance(middle, len(positives), len(negatives)))
            near, far = (near, middle) if abs(value - middle) > reach else (middle, far)
        return (near + far) / 2

    return limit(0.0), limit(1.0), math.sqrt(measured)


def _share_below(ordered: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return which share of the ordered scores each value is above, ties counting half."""
    places = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(places / (2 * len(ordered)), dtype=np.float64)


def _variance(value: float, positives: int, negatives: int) -> float:
    """Return the variance of an area of that true value, both classes taken for exponential scores."""
    size = (positives + negatives) / 2 - 1
    spread = 1 + size * (1 - value) / (2 - value) + size * value / (1 + value)
    return value * (1 - value) * spread / (positives * negatives)
