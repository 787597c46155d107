"""Runs in an environment of its own: Evidently's default drift preset on windows without drift.

Prints ``{"any": share of windows with any drifted column, "dataset": share called drifted}``.
"""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
import pandas as pd
from bench.studies.simulation import CATEGORICAL, NUMERIC, table
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


def main(rows: int, windows: int, baseline_rows: int, seed: int) -> None:
    """Take the same draws as the benchmark that starts this."""
    definition = DataDefinition(numerical_columns=list(NUMERIC), categorical_columns=list(CATEGORICAL))
    columns = whole = 0
    for number in range(windows):
        rng = np.random.default_rng([seed, rows, number])
        base, window = (
            Dataset.from_pandas(pd.DataFrame(table(rng, size)), data_definition=definition)
            for size in (baseline_rows, rows)
        )
        snapshot = Report([DataDriftPreset()]).run(window, base)
        drifted = next(
            metric["value"]
            for metric in snapshot.dict()["metrics"]
            if isinstance(metric["value"], dict) and {"count", "share"} <= metric["value"].keys()
        )
        columns += drifted["count"] > 0
        whole += drifted["share"] >= 0.5  # the preset's default drift_share
    print(json.dumps({"any": columns / windows, "dataset": whole / windows}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*map(int, sys.argv[1:]))
