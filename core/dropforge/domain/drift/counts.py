"""Statistics of two rows of counts over the same bins, and their null distributions.

The null hypothesis is that which rows are the window's is random. Given the pooled counts the window's are
then multivariate hypergeometric: an exact permutation test for any ties, any sparsity and a baseline that is
itself a sample. Chi-square's limit screens; what could decide is simulated, unless every bin holds so many
rows that the limit is nearer to the truth than a simulation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.drift.distributions import chi_square_quantile, chi_square_tail

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

NAMES = ("psi", "chi_square", "jensen_shannon")

SCREEN = 0.05
"""Limit p-values below this are replaced by simulated ones. The gate rejects at 0.01 over the number of
features or less, and the limit is never wrong by that much where bins expect 5 rows."""

LIMIT_FROM = 1000
"""Rows that every bin expects in the smaller sample from which on limit p-values stand: they are within a few
per cent of the exact ones down to 1e-4, for even bins and uneven ones, while those of `DRAWS` vary by 9 % at
0.01 and are 1.4 times too great at 1e-3, twice at 1e-4."""

DRAWS = 10_000
_CELLS = 2_000_000
_TAIL = 0.02
"""Share of the draws beyond which the tail is an exponential with the mean excess of those draws, as in
Knijnenburg et al. (2009), Fewer permutations, more accurate P-values. Tails of these statistics fall faster
than that, so the extrapolation errs towards more probable."""

LEAST_EXPECTED = 5.0
"""Cochran's (1952) bound on the rows that every bin should expect."""

SMOOTHING = 0.5
"""Added to every count of the PSI, so that an empty bin is finite; half a row, as in Jeffreys' prior."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A statistic with its place in its null distribution: reached by chance with probability `p_value`;
    `threshold` is reached with the probability that was asked for."""

    value: float
    p_value: float
    threshold: float


def psi(base: Counts, window: Counts) -> Floats:
    """Population stability index: sum of (q - p) * ln(q / p), shares with SMOOTHING.

    Args:
        base: (..., n_bins), the counts of the baseline.
        window: likewise, of the window; leading axes broadcast.
    """
    p, q = _shares(base, SMOOTHING), _shares(window, SMOOTHING)
    result: Floats = ((q - p) * np.log(q / p)).sum(axis=-1)
    return result


def chi_square(base: Counts, window: Counts) -> Floats:
    """Pearson's statistic of the table of two rows, which has n_bins - 1 degrees of freedom."""
    m, n = base.sum(axis=-1, keepdims=True), window.sum(axis=-1, keepdims=True)
    pooled = base + window
    expected = np.where(pooled > 0, pooled, 1) * (n / (n + m))
    result: Floats = ((window - expected) ** 2 / expected * np.where(pooled > 0, (n + m) / m, 0.0)).sum(
        axis=-1
    )
    return result


def jensen_shannon(base: Counts, window: Counts) -> Floats:
    """Jensen-Shannon distance: the square root of the divergence in bits, in [0, 1]."""
    p, q = _shares(base, 0.0), _shares(window, 0.0)
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log2(p / middle), 0.0) + np.where(q > 0, q * np.log2(q / middle), 0.0)
    result: Floats = np.sqrt(np.clip(terms.sum(axis=-1) / 2, 0.0, 1.0))
    return result


def calibrate(base: Counts, window: Counts, level: float, seed: int) -> dict[str, Calibrated]:
    """Place the three statistics in their null distributions.

    Args:
        base: int64 (n_bins,), the baseline's counts, at least two bins.
        window: int64 (n_bins,).
        level: probability of the thresholds.
        seed: of the simulation; the same arguments give the same result.
    """
    m, n = int(base.sum()), int(window.sum())
    values = {"psi": psi, "chi_square": chi_square, "jensen_shannon": jensen_shannon}
    found = {name: float(statistic(base, window)) for name, statistic in values.items()}
    freedom = len(base) - 1
    spread = 1 / n + 1 / m
    # For close shares all three are multiples of one quadratic form (Lin 1991; Yurdakul and Naranjo 2020).
    scales = {"psi": spread, "chi_square": 1.0, "jensen_shannon": spread / 8 / np.log(2)}
    limit: dict[str, Calibrated] = {}
    quantile = chi_square_quantile(level, freedom)
    for name, value in found.items():
        squared = value**2 if name == "jensen_shannon" else value
        threshold = scales[name] * quantile
        limit[name] = Calibrated(
            value,
            chi_square_tail(squared / scales[name], freedom),
            float(min(1.0, np.sqrt(threshold)) if name == "jensen_shannon" else threshold),
        )
    pooled = base + window
    expected = int(pooled.min()) * min(m, n) / (m + n)
    if expected >= LIMIT_FROM or min(each.p_value for each in limit.values()) >= SCREEN:
        return limit
    nulls = _simulated(tuple(map(int, pooled)), n, seed)
    return {
        name: Calibrated(value, _tail(nulls[name], value), _tail_quantile(nulls[name], level))
        for name, value in found.items()
    }


def merge_rare(
    base: Counts, window: Counts, least: float = LEAST_EXPECTED, most: int = 100
) -> tuple[Counts, Counts]:
    """Merge bins in which the smaller sample expects fewer than `least` rows, and all beyond the `most` - 1
    largest, into one bin at the end.

    Which bins are rare depends on the pooled counts alone, which keeps the permutation test exact.
    """
    pooled = base + window
    smaller = min(int(base.sum()), int(window.sum())) / max(int(pooled.sum()), 1)
    kept = pooled * smaller >= least
    if int(kept.sum()) >= most:
        largest = np.argsort(-pooled, kind="stable")[: most - 1]
        inside = np.zeros(len(pooled), dtype=bool)
        inside[largest] = True
        kept &= inside
    merged = [np.append(row[kept], row[~kept].sum()) for row in (base, window)]
    if merged[0][-1] + merged[1][-1] == 0:
        return merged[0][:-1], merged[1][:-1]
    return merged[0], merged[1]


@lru_cache(maxsize=32)
def _simulated(pooled: tuple[int, ...], n: int, seed: int) -> dict[str, Floats]:
    """Sorted statistics of random windows of n of the pooled rows."""
    draws = max(1000, min(DRAWS, _CELLS // len(pooled)))
    rng = np.random.default_rng([seed, n])
    counts = np.array(pooled, dtype=np.int64)
    windows = rng.multivariate_hypergeometric(counts, n, size=draws, method="marginals")
    bases = counts - windows
    return {
        "psi": np.sort(psi(bases, windows)),
        "chi_square": np.sort(chi_square(bases, windows)),
        "jensen_shannon": np.sort(jensen_shannon(bases, windows)),
    }


def _tail_shape(draws: Floats) -> tuple[int, float, float]:
    """Return how many draws make the tail, where it begins, and its mean excess with one standard error."""
    size = max(10, int(len(draws) * _TAIL))
    start = float(draws[-size - 1])
    return size, start, float((draws[-size:] - start).mean()) * (1 + size**-0.5)


def _tail(draws: Floats, value: float) -> float:
    # Equal statistics of different orders of summation differ by rounding.
    reached = len(draws) - int(np.searchsorted(draws, value - 1e-9 * abs(value), "left"))
    size, start, excess = _tail_shape(draws)
    if reached > size or excess <= 0:
        return (reached + 1) / (len(draws) + 1)
    # The draws themselves count as well: the tail of few bins falls in steps.
    return max(reached / len(draws), size / len(draws) * float(np.exp(-(value - start) / excess)))


def _tail_quantile(draws: Floats, level: float) -> float:
    size, start, excess = _tail_shape(draws)
    share = size / len(draws)
    if level < share:
        return start - excess * float(np.log(level / share))
    return float(np.quantile(draws, 1 - level))


def _shares(counts: Counts, smoothing: float) -> Floats:
    smoothed = counts + smoothing
    result: Floats = smoothed / smoothed.sum(axis=-1, keepdims=True)
    return result
