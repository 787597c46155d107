"""Corrects p-values for how many there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Return adjusted p-values; those at most q are rejected at the false discovery rate q.

    With no drift at all every rejection is false, so the chance of any rejection is at most q as well, for
    independent and for positively dependent tests (Benjamini and Hochberg 1995; Benjamini and Yekutieli
    2001).

    >>> benjamini_hochberg([0.01, 0.9, 0.02])
    [0.03, 0.9, 0.03]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return [float(value) for value in adjusted]
