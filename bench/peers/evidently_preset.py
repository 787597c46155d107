"""Evidently's default drift preset, and which tests it ran by its own report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


@dataclass(frozen=True)
class Found:
    """How many columns it calls drifted, which share of all that is, and each test with its columns."""

    count: int
    share: float
    tests: str


def dataset(frame: pd.DataFrame) -> Dataset:
    """Columns of numbers and of texts, so that no type is guessed."""
    numbers = [name for name in frame if frame[name].dtype.kind == "f"]
    texts = [name for name in frame if name not in numbers]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    return Dataset.from_pandas(frame, data_definition=definition)


def drift(window: pd.DataFrame, base: Dataset) -> Found:
    """Run the preset on a window beside what it is compared with."""
    counted, *columns = Report([DataDriftPreset()]).run(dataset(window), base).dict()["metrics"]
    tests = Counter(each["config"]["method"] for each in columns)
    named = ", ".join(f"{name} on {number} columns" for name, number in tests.most_common())
    return Found(int(counted["value"]["count"]), float(counted["value"]["share"]), named)
