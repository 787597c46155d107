"""Bootstrap resamples, of rows by class or of groups of rows, as row weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_CELLS = 2_000_000
"""Weights (resamples times rows) held at once: 16 MB."""

TOTAL_CELLS = 100_000_000
"""Weights drawn in all: 1,000 resamples of 100,000 rows take a few seconds of one core. Beyond that fewer
resamples are drawn, which costs nothing: the interval of a large hold-out is narrow anyway."""

MINIMUM_RESAMPLES = 200


def resamples_for(rows: int, wanted: int) -> int:
    """Return how many resamples to draw of that many rows: `wanted`, or fewer beyond TOTAL_CELLS."""
    return min(wanted, max(MINIMUM_RESAMPLES, TOTAL_CELLS // max(rows, 1)))


def resample_weights(
    strata: NDArray[np.int64], resamples: int, seed: int, groups: NDArray[Any] | None = None
) -> Iterator[NDArray[np.float64]]:
    """Yield blocks of float64 (n_resamples, n): how often each row was drawn, with replacement.

    The only place where rows are resampled. Rows are drawn within their stratum, so that every resample has
    the strata's sizes and a class never vanishes from it (Efron and Tibshirani 1993, An Introduction to the
    Bootstrap, sections 6 and 8.3). Rows of one group aren't independent: given groups, whole groups are drawn
    instead, as many as there are, each with all of its rows and whatever their strata (Davison and Hinkley
    1997, Bootstrap Methods and their Application, section 3.8); resamples then differ in size. The same
    arguments give the same weights.

    Args:
        strata: int64 (n,): each row's stratum, such as its class; all equal for an unstratified bootstrap.
        resamples: how many to draw in all.
        seed: of the generator.
        groups: (n,): what each row belongs to, such as a customer's key; None where rows are independent.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
        units, unit_of_row = len(strata), None
    else:
        known, unit_of_row = np.unique(groups, return_inverse=True)
        units, members = len(known), [np.arange(len(known))]
    block = max(1, BLOCK_CELLS // max(len(strata), 1))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        weights = np.zeros((size, units))
        offsets = np.arange(size)[:, None]
        for rows in members:
            drawn = rng.integers(0, len(rows), (size, len(rows))) + offsets * len(rows)
            counts = np.bincount(drawn.ravel(), minlength=size * len(rows))
            weights[:, rows] = counts.reshape(size, len(rows))
        yield weights if unit_of_row is None else weights[:, unit_of_row]
