"""Runs in an environment of its own: fairlearn's disparity of tables that are read from a file of arrays."""

from __future__ import annotations

import json
import sys

import numpy as np
from fairlearn import metrics


def main(path: str) -> list[dict[str, float]]:
    """Return per table the four measures; see `bench.studies.guarded`."""
    with np.load(path, allow_pickle=False) as arrays:
        tables = [arrays[name] for name in arrays.files]
    names = (
        "demographic_parity_difference",
        "demographic_parity_ratio",
        "equalized_odds_difference",
        "equalized_odds_ratio",
    )
    return [
        {name: float(getattr(metrics, name)(target, called, sensitive_features=codes)) for name in names}
        for target, called, codes in tables
    ]


if __name__ == "__main__":
    print(json.dumps({"tables": main(sys.argv[1])}))
