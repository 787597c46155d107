"""The usual rule: PSI over ten deciles of the raw baseline, or the ten most frequent categories and the rest;
an alarm above a fixed 0.1 or 0.2."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench.studies.simulation import Table

_CATEGORIES = 10
_EMPTY = 1e-4  # what the rule's implementations put for an empty bin


def largest_psi(base: Table, window: Table) -> float:
    """Return the greatest PSI of all columns."""
    return max(_psi(base[name], window[name]) for name in base)


def _psi(base: Any, window: Any) -> float:
    if base.dtype == np.float64:
        base, window = base[~np.isnan(base)], window[~np.isnan(window)]
        edges = np.unique(np.quantile(base, np.arange(1, 10) / 10))
        sides = [
            np.bincount(np.searchsorted(edges, v, "left"), minlength=len(edges) + 1) for v in (base, window)
        ]
    else:
        labels, counted = np.unique(base.astype(str), return_counts=True)
        kept = np.sort(labels[np.argsort(-counted, kind="stable")[:_CATEGORIES]])
        sides = [_over(kept, values.astype(str)) for values in (base, window)]
    p, q = (np.maximum(side / side.sum(), _EMPTY) for side in sides)
    return float(((q - p) * np.log(q / p)).sum())


def _over(kept: Any, values: Any) -> Any:
    """Count the kept categories, and all others together."""
    at = np.minimum(np.searchsorted(kept, values), len(kept) - 1)
    return np.bincount(np.where(kept[at] == values, at, len(kept)), minlength=len(kept) + 1)
