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
from bench.peers.evidently_preset import dataset, drift


def main(baseline: Path, window: Path) -> dict[str, object]:
    base, now = (pd.read_parquet(path) for path in (baseline, window))
    return {"tests": drift(now, dataset(base)).tests}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    started = time.perf_counter(), time.process_time()
    report(started, main(Path(sys.argv[1]), Path(sys.argv[2])))
