"""Runs in an environment of its own: Evidently's default drift preset on windows without drift.

Prints ``{"any": share of windows with any drifted column, "dataset": share called drifted, "tests": …}``.
"""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
import pandas as pd
from bench.peers.evidently_preset import dataset, drift
from bench.studies.simulation import table


def main(rows: int, windows: int, baseline_rows: int, seed: int) -> None:
    """Take the same draws as the benchmark that starts this."""
    columns = whole = 0
    tests = ""
    for number in range(windows):
        rng = np.random.default_rng([seed, rows, number])
        base = dataset(pd.DataFrame(table(rng, baseline_rows)))
        found = drift(pd.DataFrame(table(rng, rows)), base)
        columns += found.count > 0
        whole += found.share >= 0.5  # the preset's default drift_share
        tests = found.tests
    print(json.dumps({"any": columns / windows, "dataset": whole / windows, "tests": tests}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*map(int, sys.argv[1:]))
