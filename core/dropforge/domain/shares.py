"""Exact limits of a share, and Student's t, by the incomplete beta function: no Lambda carries SciPy."""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300
_PRECISION = 1e-14
_HALVINGS = 60


def incomplete_beta(a: float, b: float, x: float) -> float:
    """Return the regularised incomplete beta function, the chance that a beta variable is at most `x`.

    By its continued fraction (NIST Digital Library of Mathematical Functions, 8.17.22), which converges in
    about the square root of the larger parameter many steps.

    Args:
        a, b: above 0.
        x: in [0, 1].

    >>> round(incomplete_beta(2, 3, 0.4), 4)
    0.5248
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    # Lentz's method: ratios of successive convergents.
    ratio, inverse = 1.0, _inverse(1 - (a + b) * x / (a + 1))
    value = inverse
    for step in range(1, 100 + 20 * math.isqrt(int(max(a, b)) + 1)):
        even = step * (b - step) * x / ((a + 2 * step - 1) * (a + 2 * step))
        odd = -(a + step) * (a + b + step) * x / ((a + 2 * step) * (a + 2 * step + 1))
        for part in (even, odd):
            inverse = _inverse(1 + part * inverse)
            ratio = 1 + part / ratio
            ratio = ratio if abs(ratio) > _TINY else _TINY
            value *= inverse * ratio
        if abs(inverse * ratio - 1) < _PRECISION:
            break
    return math.exp(log_front) * value / a


def _inverse(value: float) -> float:
    return 1 / (value if abs(value) > _TINY else _TINY)


@lru_cache(maxsize=4096)
def share_limits(hits: int, trials: int, confidence: float) -> tuple[float, float]:
    """Return the limits of a share (Clopper and Pearson 1934), which cover it at least as often as they say.

    Args:
        hits: of `trials`, which are independent.
        trials: without any, nothing is known: 0 to 1.
        confidence: for example 0.95; each tail has half of the rest at most.

    >>> [round(each, 3) for each in share_limits(17, 17, 0.95)]
    [0.805, 1.0]
    """
    tail = (1 - confidence) / 2
    low = _beta_quantile(hits, trials - hits + 1, tail) if hits else 0.0
    high = 1 - _beta_quantile(trials - hits, hits + 1, tail) if hits < trials else 1.0
    return low, high


def _beta_quantile(a: float, b: float, chance: float) -> float:
    """Return where the beta distribution reaches a chance, by halving."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if incomplete_beta(a, b, middle) < chance:
            low = middle
        else:
            high = middle
    return (low + high) / 2


@lru_cache(maxsize=4096)
def student_quantile(freedom: int, tail: float) -> float:
    """Return the value that Student's t exceeds with the chance `tail`, below one half.

    >>> round(student_quantile(9, 0.025), 3)
    2.262
    """
    share = _beta_quantile(freedom / 2, 0.5, 2 * tail)
    return math.sqrt(freedom * (1 - share) / share)
