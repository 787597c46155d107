"""Runs in an environment of its own: Evidently's default drift preset on windows of a folder."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import pandas as pd
from bench.peers.evidently_preset import dataset, drift


def main(folder: Path) -> None:
    """Print ``{"any": share of windows with any drifted column, "tests": what it ran}``."""
    base = dataset(pd.read_parquet(folder / "training.parquet"))
    found = [drift(pd.read_parquet(path), base) for path in sorted(folder.glob("window-*.parquet"))]
    drifted = sum(each.count > 0 for each in found)
    print(json.dumps({"any": drifted / len(found), "tests": found[0].tests}))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
