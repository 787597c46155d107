"""Runs in an environment of its own: Evidently's default drift preset on one window."""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import pandas as pd
import pyarrow.dataset
import pyarrow.parquet  # noqa: F401 - imports are not timed, and pandas would load them when it reads
from bench.measured import report
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


def main(baseline: Path, window: Path) -> dict[str, object]:
    frames = [pd.read_parquet(path) for path in (baseline, window)]
    numbers = [name for name in frames[0] if frames[0][name].dtype.kind == "f"]
    texts = [name for name in frames[0] if name not in numbers]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
    base, now = (Dataset.from_pandas(frame, data_definition=definition) for frame in frames)
    snapshot = Report([DataDriftPreset()]).run(now, base)
    return {"metrics": len(snapshot.dict()["metrics"])}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    started = time.perf_counter(), time.process_time()
    report(started, main(Path(sys.argv[1]), Path(sys.argv[2])))
