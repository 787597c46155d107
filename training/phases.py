"""What rows were like at each hour and kind of day, where timestamps tell: the watch compares with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.contract import Contract
from dropforge.domain.drift.features import EncodedTexts
from dropforge.domain.drift.scores import columns_of_scores, type_of_score
from dropforge.domain.drift.training_phases import MOST_COLUMNS, TRAINING_PHASES, training_phases
from folders import Folders
from splits import Split, times_of

MOST_VALUES = 10_000_000
"""Values that are held at once, 80 MB; of more a random sample of the rows is counted."""


def write_phases(
    folders: Folders, contract: Contract, learned: Sequence[Split], scores: NDArray[np.float64], seed: int
) -> None:
    """Write ``training_phases.json``: of features the rows that the job learns from, of predictions the
    hold-out's. Nothing is written where rows aren't split by timestamps, or have too many columns.

    Args:
        learned: the training and the validation rows.
        scores: of the hold-out.
        seed: of the sample.
    """
    columns = contract.features
    if contract.time is None or contract.column(contract.time).type != "timestamp":
        return
    if len(columns) > MOST_COLUMNS:
        return
    most = MOST_VALUES // len(columns)
    rows = sum(map(len, learned))
    drawn = np.sort(np.random.default_rng(seed).choice(rows, min(rows, most), replace=False))
    parts, times, start = [], [], 0
    for split in learned:
        mine = drawn[(drawn >= start) & (drawn < start + len(split))] - start
        start += len(split)
        if len(mine):
            parts.append(split.columns_at(mine))
            times.append(times_of(split.folder, contract)[mine])
    values: dict[str, tuple[str, Any]] = {}
    for column in columns:
        if column.privacy is None and column.type in ("number", "integer", "boolean", "category"):
            joined = np.concatenate([part[column.name] for part in parts])
            values[column.name] = _named(joined) if column.type == "boolean" else (column.type, joined)
    predicted = {
        name: (type_of_score(name), each)
        for name, each in columns_of_scores(contract.task, contract.classes, scores).items()
    }
    found = training_phases(
        {
            "feature": (np.concatenate(times), values),
            "prediction": (times_of(folders.channel("test"), contract), predicted),
        }
    )
    (folders.output / TRAINING_PHASES).write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")


def _named(numbers: NDArray[np.float64]) -> tuple[str, EncodedTexts]:
    """Booleans as the profile names them."""
    codes = np.where(np.isnan(numbers), -1, np.nan_to_num(numbers)).astype(np.int64)
    return "category", EncodedTexts(("false", "true"), codes)
