"""Baselines of simulated tables, through the profile that preparation writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.studies.simulation import Table
from dropforge.domain.drift.assessment import Assessment, assess
from dropforge.domain.drift.baseline import ColumnBaseline, column_of, packed
from dropforge.domain.drift.policy import WatchPolicy
from dropforge.domain.preparing import SAMPLE_ROWS
from dropforge.domain.profile import CategoricalProfile, NumericProfile


def baselines_of(table: Table) -> list[ColumnBaseline]:
    """Profile every column as preparation does."""
    return [column_of(entry) for entry in entries_of(table)]


def entries_of(table: Table) -> list[dict[str, Any]]:
    """Return the profile's columns, with a sample of the first rows (they are in random order)."""
    found = []
    for name, values in table.items():
        entry: dict[str, Any] = {"name": name}
        if values.dtype == np.float64:
            present = values[~np.isnan(values)]
            profile = NumericProfile.of(present, len(values) - len(present))
            entry |= {"type": "number", **profile.to_dict()}
        else:
            labels, counts = np.unique(values.astype(str), return_counts=True)
            counted = dict(zip(map(str, labels), map(int, counts), strict=True))
            entry |= {"type": "category", **CategoricalProfile.of(counted, 0).to_dict()}
        codes = column_of(entry).codes(values[:SAMPLE_ROWS])
        found.append({**entry, "sample": packed(codes)})
    return found


def assessed(base: list[ColumnBaseline], window: Mapping[str, Any], policy: WatchPolicy) -> Assessment:
    """Assess a simulated window."""
    return assess(window, base, rows=len(next(iter(window.values()))), policy=policy)
