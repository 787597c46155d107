"""Tails and quantiles of the null distributions, in the standard library and numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_PRECISION = 1e-14
_STEPS = 100_000
_DEVIATIONS, _LEAST_REACH = 40.0, 1000
_CACHED_ROWS = 10_000  # 256 distributions of so many rows take 20 MB


def normal_tail(z: float) -> float:
    """P(Z >= z) of a standard normal.

    >>> round(normal_tail(1.959964), 6)
    0.025
    """
    return 0.5 * math.erfc(z / math.sqrt(2))


def normal_quantile(level: float) -> float:
    """The z with P(Z >= z) = `level`, to the last bit: `statistics` takes too long to import.

    >>> round(normal_quantile(0.025), 6)
    1.959964
    """
    return _bisected(normal_tail, level, -_DEVIATIONS, _DEVIATIONS, precision=0.0)


def kolmogorov_tail(statistic: float, effective: float) -> float:
    """P(D >= statistic) of the Kolmogorov-Smirnov distance between two samples of one distribution.

    The asymptotic series without a small-sample correction, so that the result errs towards 1: for few rows,
    for ties, and for a distance that was looked for at some points only.

    Args:
        statistic: the distance, in [0, 1].
        effective: n * m / (n + m).
    """
    x = math.sqrt(effective) * statistic
    if x < 0.2:
        return 1.0
    terms = (2 * (-1) ** (j - 1) * math.exp(-2 * j * j * x * x) for j in range(1, 101))
    return min(1.0, max(0.0, math.fsum(terms)))


def kolmogorov_quantile(level: float, effective: float) -> float:
    """The distance that is reached with probability `level` at most (the series' first term), at most 1."""
    return min(1.0, math.sqrt(-math.log(level / 2) / 2 / effective))


def chi_square_tail(x: float, freedom: float) -> float:
    """P(X >= x) of a chi-square distribution, by the regularised incomplete gamma function.

    Its series below the mean and its continued fraction above (Abramowitz and Stegun 1964, 6.5.29, 6.5.31).

    >>> round(chi_square_tail(3.841459, 1), 6)
    0.05
    """
    if x <= 0:
        return 1.0
    a, half = freedom / 2, x / 2
    scale = math.exp(a * math.log(half) - half - math.lgamma(a))
    if half < a + 1:
        term = total = 1 / a
        for k in range(1, _STEPS):
            term *= half / (a + k)
            total += term
            if term < total * _PRECISION:
                break
        return max(0.0, 1 - total * scale)
    # Lentz's method.
    b = half + 1 - a
    c, d = 1e300, 1 / b
    fraction = d
    for k in range(1, _STEPS):
        an = -k * (k - a)
        b += 2
        d = 1 / (an * d + b)
        c = b + an / c
        fraction *= d * c
        if abs(d * c - 1) < _PRECISION:
            break
    return fraction * scale


@lru_cache(maxsize=4096)
def chi_square_quantile(level: float, freedom: float) -> float:
    """The x with P(X >= x) = `level`, by bisection.

    >>> round(chi_square_quantile(0.05, 1), 4)
    3.8415
    """
    low, high = 0.0, freedom + 10.0
    while chi_square_tail(high, freedom) > level:
        high *= 2
    return _bisected(lambda x: chi_square_tail(x, freedom), level, low, high, precision=1e-9)


def _bisected(
    tail: Callable[[float], float], level: float, low: float, high: float, *, precision: float
) -> float:
    """The least x between `low` and `high` with `tail(x) <= level`, within `precision` of its size."""
    while low < (middle := (low + high) / 2) < high and high - low > precision * high:
        low, high = (middle, high) if tail(middle) > level else (low, middle)
    return high


@dataclass(frozen=True, slots=True)
class CountDistribution:
    """How probable the counts `first`, `first` + 1, … are, float64 (k,); no other could add to their sum."""

    first: int
    probabilities: NDArray[np.float64]

    def upper_tail(self, count: int) -> float:
        """P(K >= count)."""
        return min(1.0, float(self.probabilities[max(count - self.first, 0) :].sum()))

    def lower_tail(self, count: int) -> float:
        """P(K <= count)."""
        return min(1.0, float(self.probabilities[: max(count + 1 - self.first, 0)].sum()))

    def upper_quantile(self, level: float) -> int:
        """The least count with P(K >= count) <= level; one more than the last where there is none."""
        tails = np.cumsum(self.probabilities[::-1])[::-1]
        return self.first + int(np.searchsorted(-tails, -level, "left"))


def beta_binomial(n: int, alpha: float, beta: float) -> CountDistribution:
    """The beta-binomial distribution of 0..n.

    Of n rows exchangeable with m others, the number that lies below the a-th smallest of the m is
    beta-binomial(n, a, m + 1 - a) whatever the distribution, if it is continuous.
    """
    return _small_beta_binomial(n, alpha, beta) if n <= _CACHED_ROWS else _beta_binomial(n, alpha, beta)


@lru_cache(maxsize=256)
def _small_beta_binomial(n: int, alpha: float, beta: float) -> CountDistribution:
    return _beta_binomial(n, alpha, beta)


def _beta_binomial(n: int, alpha: float, beta: float) -> CountDistribution:
    share = alpha / (alpha + beta)
    spread = math.sqrt(n * share * (1 - share) * (1 + (n - 1) / (alpha + beta + 1)))
    # Beyond this many deviations no probability is left that a float could add to the others.
    first = max(0, math.floor(n * share - _DEVIATIONS * spread) - _LEAST_REACH)
    last = min(n, math.ceil(n * share + _DEVIATIONS * spread) + _LEAST_REACH)
    k = np.arange(first, last, dtype=np.float64)
    ratios = np.log(n - k) + np.log(k + alpha) - np.log(k + 1) - np.log(n - k - 1 + beta)
    logs = np.concatenate([[0.0], np.cumsum(ratios)])
    weights = np.exp(logs - logs.max())
    probabilities: NDArray[np.float64] = weights / weights.sum()
    probabilities.flags.writeable = False
    return CountDistribution(first, probabilities)
