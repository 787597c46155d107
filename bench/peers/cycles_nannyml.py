"""Runs in an environment of its own: NannyML's univariate drift, with its default methods and thresholds."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import pandas as pd
from bench.studies.simulation import CATEGORICAL, NUMERIC
from nannyml import UnivariateDriftCalculator

ROWS = 300


def main(folder: Path) -> None:
    """Print ``{"any": share of windows with any alert, "tests": its methods}``."""
    base = pd.read_parquet(folder / "training.parquet")
    windows = [pd.read_parquet(path) for path in sorted(folder.glob("window-*.parquet"))]
    calculator = UnivariateDriftCalculator(
        column_names=[*NUMERIC, *CATEGORICAL], treat_as_categorical=list(CATEGORICAL), chunk_size=ROWS
    )
    calculator.fit(base)
    drifted, tests = 0, ""
    for window in windows:
        found = calculator.calculate(window).to_df()
        alerts = found.loc[:, [each[-1] == "alert" for each in found.columns]]
        drifted += bool(
            alerts.iloc[-len(found) :][found["chunk", "chunk", "period"] == "analysis"].to_numpy().any()
        )
        tests = ", ".join(sorted({each[1] for each in found.columns} - {"chunk"}))
    print(json.dumps({"any": drifted / len(windows), "tests": tests}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
