"""Baselines and windows of known distributions, through the same profile that preparation writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dropforge.domain.drift.baseline import ColumnBaseline, column_of, packed
from dropforge.domain.profile import CategoricalProfile, NumericProfile


def numeric(values: Any, name: str = "x", kind: str = "number", sample: bool = False) -> ColumnBaseline:
    """The baseline of a numeric column; NaN is a missing value."""
    numbers = np.asarray(values, dtype=np.float64)
    present = numbers[~np.isnan(numbers)]
    profile = NumericProfile.of(present, len(numbers) - len(present))
    entry = {"name": name, "type": kind, **profile.to_dict()}
    return _sampled(entry, numbers) if sample else column_of(entry)


def categorical(
    values: Sequence[str | None], name: str = "c", kind: str = "category", sample: bool = False
) -> ColumnBaseline:
    """The baseline of a category column; None is a missing value."""
    present = [value for value in values if value is not None]
    labels, counts = np.unique(np.array(present, dtype=str), return_counts=True)
    profile = CategoricalProfile.of(
        dict(zip(map(str, labels), map(int, counts), strict=True)), len(values) - len(present)
    )
    entry = {"name": name, "type": kind, **profile.to_dict()}
    return _sampled(entry, values) if sample else column_of(entry)


def drawn(rng: np.random.Generator, rows: int, shares: Sequence[float]) -> list[str]:
    """Random categories ``c0``, ``c1``, …"""
    labels = np.array([f"c{code}" for code in range(len(shares))])
    return list(map(str, rng.choice(labels, rows, p=np.asarray(shares) / np.sum(shares))))


def _sampled(entry: dict[str, Any], values: Any) -> ColumnBaseline:
    codes = column_of(entry).codes(values[:2000])
    return column_of({**entry, "sample": packed(codes)})
