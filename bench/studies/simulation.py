"""Data of twenty features of mixed types, drawn anew for every window. Needs numpy only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator
Table = dict[str, Any]


def _with_holes(draw: Callable[[Rng, int], Any], share: float) -> Callable[[Rng, int], Any]:
    return lambda rng, rows: np.where(rng.random(rows) < share, np.nan, draw(rng, rows))


def _categories(shares: Any) -> Callable[[Rng, int], Any]:
    p = np.asarray(shares, dtype=np.float64) / np.sum(shares)
    labels = np.array([f"c{code}" for code in range(len(p))], dtype=object)
    return lambda rng, rows: labels[rng.choice(len(p), rows, p=p)]


def _normal(rng: Rng, rows: int) -> Any:
    return rng.normal(size=rows)


def _lognormal(rng: Rng, rows: int) -> Any:
    return np.exp(rng.normal(size=rows))


SWAPPED = (0.35, 0.25, 0.2, 0.12, 0.08)
"""Shares of the category column whose first two are swapped: 10 points."""

NUMERIC: dict[str, Callable[[Rng, int], Any]] = {
    "normal_1": _normal,
    "normal_2": _normal,
    "normal_3": _normal,
    "normal_holes": _with_holes(_normal, 0.05),
    "lognormal_1": _lognormal,
    "lognormal_holes": _with_holes(_lognormal, 0.3),
    "uniform": lambda rng, rows: rng.random(rows),
    "heavy": lambda rng, rows: rng.standard_t(2, rows),
    "bimodal": lambda rng, rows: rng.normal(np.where(rng.random(rows) < 0.4, -3, 2), 1.0),
    "rounded": lambda rng, rows: np.round(rng.normal(size=rows), 1),
    "count_small": lambda rng, rows: rng.poisson(1.0, rows).astype(np.float64),
    "count_large": lambda rng, rows: rng.poisson(40.0, rows).astype(np.float64),
    "mostly_zero": lambda rng, rows: np.where(rng.random(rows) < 0.6, 0.0, rng.exponential(size=rows)),
    "indicator": lambda rng, rows: (rng.random(rows) < 0.1).astype(np.float64),
    "constant": lambda rng, rows: np.ones(rows),
}
CATEGORICAL: dict[str, Callable[[Rng, int], Any]] = {
    "two": _categories([0.9, 0.1]),
    "five": _categories(SWAPPED),
    "thirty": _categories(1 / np.arange(1, 31)),
    "many": _categories(1 / np.arange(1, 501) ** 0.7),
    "rare": _categories([0.995, 0.003, 0.002]),
}


def table(rng: Rng, rows: int) -> Table:
    """Draw rows: float64 arrays with NaN, and object arrays of texts, by name."""
    drawn = {name: draw(rng, rows) for name, draw in NUMERIC.items()}
    return {**drawn, **{name: draw(rng, rows) for name, draw in CATEGORICAL.items()}}


def swapped(rng: Rng, rows: int) -> Any:
    """The column ``five`` with the shares of its first two categories swapped."""
    first, second, *rest = SWAPPED
    return _categories([second, first, *rest])(rng, rows)
