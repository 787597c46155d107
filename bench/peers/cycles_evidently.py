"""Runs in an environment of its own: Evidently's default drift preset on windows of a folder."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import pandas as pd
from bench.studies.simulation import CATEGORICAL, NUMERIC
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


def main(folder: Path) -> None:
    """Print ``{"any": share of windows with any drifted column}``."""
    definition = DataDefinition(numerical_columns=list(NUMERIC), categorical_columns=list(CATEGORICAL))
    base = Dataset.from_pandas(pd.read_parquet(folder / "training.parquet"), data_definition=definition)
    windows = sorted(folder.glob("window-*.parquet"))
    drifted = 0
    for path in windows:
        window = Dataset.from_pandas(pd.read_parquet(path), data_definition=definition)
        metrics = Report([DataDriftPreset()]).run(window, base).dict()["metrics"]
        counted = next(
            each["value"]
            for each in metrics
            if isinstance(each["value"], dict) and {"count", "share"} <= each["value"].keys()
        )
        drifted += counted["count"] > 0
    print(json.dumps({"any": drifted / len(windows)}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
