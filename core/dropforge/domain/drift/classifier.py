"""The domain classifier: can a model tell the window's rows from the baseline's?

It sees all columns at once, so it finds many small shifts that no single column shows. Half of the rows
train it and the other half measure it, so under the null hypothesis its AUC is Mann and Whitney's statistic
of two samples of one distribution, whatever the classifier learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.drift.baseline import (
    MISSING,
    OTHER,
    CategoricalBaseline,
    Codes,
    ColumnBaseline,
    NumericBaseline,
)
from dropforge.domain.drift.distributions import normal_tail
from dropforge.domain.drift.features import UNJUDGED_TYPES, Values, as_numbers, encoded

MAXIMUM_ROWS = 4000
"""Rows of the window that are used, drawn at random; the stored sample has 2,000."""

MAXIMUM_COLUMNS = 250
"""Columns that are used, drawn at random: fitting costs the square of them in memory, the cube in time. Of
numbers 250 took 0.34 s of CPU and a process of 155 MB, 2,000 took 18 s and 1,160 MB. Drawn by what the window
shows, the held-out rows would have had a say, and the AUC's null distribution would not hold."""

MINIMUM_HELD_OUT = 25
_CATEGORIES = 10
_RIDGE = 1.0
_NEWTON_STEPS = 5
_LEVEL_BITS = 254.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DomainClassifier:
    """AUC on held-out rows (0.5: can't tell), the AUC that is reached by chance with the probability that
    was asked for, the one-sided p-value, and how many held-out rows of each side there were."""

    auc: float
    threshold: float
    p_value: float
    window_rows: int
    baseline_rows: int


def usable(baseline: ColumnBaseline) -> bool:
    """Whether the column can take part: a sample is stored, and its values may be compared."""
    return baseline.sample is not None and baseline.type not in UNJUDGED_TYPES


def drawn_columns(columns: Sequence[bool], seed: int) -> list[bool]:
    """Return which of the usable columns take part: all, or of very many MAXIMUM_COLUMNS."""
    usable_ones = np.flatnonzero(columns)
    if len(usable_ones) <= MAXIMUM_COLUMNS:
        return list(columns)
    rng = np.random.default_rng([seed, 3])
    drawn = set(rng.choice(usable_ones, MAXIMUM_COLUMNS, replace=False).tolist())
    return [place in drawn for place in range(len(columns))]


def drawn_rows(rows: int, seed: int) -> NDArray[np.int64]:
    """Return which of the window's rows take part, ascending; int64 (at most MAXIMUM_ROWS,)."""
    rng = np.random.default_rng([seed, 1])
    return np.sort(rng.choice(rows, min(rows, MAXIMUM_ROWS), replace=False, shuffle=False))


def codes_at(baseline: ColumnBaseline, values: Values, rows: NDArray[np.int64]) -> Codes:
    """Return the levels (see the baseline's `codes`) of one column of the window at these rows."""
    if isinstance(baseline, CategoricalBaseline):
        texts = encoded(values)
        # The code of a missing value, -1, is the last one's place.
        return np.append(baseline.codes(texts.labels), np.uint8(MISSING))[texts.codes[rows]]
    if isinstance(values, np.ndarray):
        return baseline.codes(as_numbers(values[rows]))
    return baseline.codes(as_numbers([values[row] for row in rows.tolist()]))


def classify(
    baselines: Sequence[ColumnBaseline],
    window: Sequence[Codes],
    *,
    level_z: float,
    seed: int,
    design_effect: float = 1.0,
) -> DomainClassifier | None:
    """Train on half of the rows and measure on the rest; None where there are too few rows or no columns.

    Args:
        baselines: usable ones, samples of equal length.
        window: per baseline the window's levels at the same rows (`codes_at`).
        level_z: the standard normal's quantile that the threshold stands at.
        seed: of the halves.
        design_effect: see `features.compare`.
    """
    if not baselines:
        return None
    stored = len(_sample(baselines[0]))
    if min(len(window[0]), stored) < 2 * MINIMUM_HELD_OUT:
        return None
    blocks = []
    for baseline, codes in zip(baselines, window, strict=True):
        both = np.concatenate([_sample(baseline), codes])
        blocks.append(_ordered(both) if isinstance(baseline, NumericBaseline) else _indicators(both))
    features = np.concatenate(blocks, axis=1)
    is_window = np.arange(len(features)) >= stored
    train = np.zeros(len(features), dtype=bool)
    rng = np.random.default_rng([seed, 2])
    for side in (~is_window, is_window):
        members = np.flatnonzero(side)
        train[rng.permutation(members)[: len(members) // 2]] = True
    features = features - features[train].mean(axis=0)
    deviation = features[train].std(axis=0)
    features = features[:, deviation > 0] / deviation[deviation > 0]
    scores = features[~train] @ _weights(features[train], is_window[train])
    return _measured(scores, is_window[~train], level_z, design_effect)


def _sample(baseline: ColumnBaseline) -> NDArray[np.uint8]:
    if baseline.sample is None:
        raise ValueError(f"column {baseline.name!r} has no sample")
    return baseline.sample


def _ordered(codes: NDArray[np.uint8]) -> Floats:
    """Level and its square, which sees spread, both about 0, and an indicator of missing values."""
    missing = codes == MISSING
    level = np.where(missing, 0.0, (codes + 0.5) / _LEVEL_BITS - 0.5)
    square = np.where(missing, 0.0, level**2 - 1 / 12)
    return np.stack([level, square, missing.astype(np.float64)], axis=1)


def _indicators(codes: NDArray[np.uint8]) -> Floats:
    """One column per category that is frequent in both samples together, and one for missing values.

    The baseline's own ranks favour what its sample happens to hold often, and would tell it from any window.
    """
    counted = np.bincount(codes, minlength=MISSING + 1)[:OTHER]
    frequent = np.argsort(-counted, kind="stable")[:_CATEGORIES]
    return np.stack([codes == code for code in (*frequent, MISSING)], axis=1).astype(np.float64)


def _weights(features: Floats, is_window: NDArray[np.bool_]) -> Floats:
    """Ridge-regularised logistic regression by Newton's method; the intercept doesn't change an AUC and is
    not penalised."""
    design = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    penalty = np.full(design.shape[1], _RIDGE)
    penalty[-1] = 1e-6
    weights = np.zeros(design.shape[1])
    target = is_window.astype(np.float64)
    for _ in range(_NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (target - chance) - penalty * weights
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights += step
        if float(np.abs(step).max()) < 1e-3:
            break
    result: Floats = weights[:-1]
    return result


def _measured(
    scores: Floats, is_window: NDArray[np.bool_], level_z: float, design_effect: float
) -> DomainClassifier:
    """AUC and its null deviation with the correction for ties (Lehmann 1975, Nonparametrics, section 1.4)."""
    rounded = np.round(scores, 9)
    others, window = np.sort(rounded[~is_window]), rounded[is_window]
    m, n = len(others), len(window)
    below = np.searchsorted(others, window, "left") + np.searchsorted(others, window, "right")
    auc = float(below.mean() / 2 / m)
    total = m + n
    ties = np.unique(rounded, return_counts=True)[1].astype(np.float64)
    corrected = total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1))
    deviation = math.sqrt(design_effect * max(corrected, 0.0) / (12 * m * n))
    p_value = normal_tail((auc - 0.5) / deviation) if deviation > 0 else 1.0
    return DomainClassifier(auc, min(1.0, 0.5 + level_z * deviation), p_value, n, m)
