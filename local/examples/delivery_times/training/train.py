"""A training job: a straight line through past deliveries, with the code that serves it."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import joblib
from sklearn.linear_model import LinearRegression

# Where the kernel gives a process no /opt/ml of its own, the local host names another folder.
ML = Path(os.environ.get("ML_ROOT", "/opt/ml"))


def main() -> None:
    """Write model.joblib and code/inference.py to what becomes model.tar.gz."""
    with (ML / "input/data/deliveries/deliveries.csv").open(newline="") as file:
        rows = [[float(value) for value in row.values()] for row in csv.DictReader(file)]
    model = LinearRegression().fit([row[:2] for row in rows], [row[2] for row in rows])
    joblib.dump(model, ML / "model/model.joblib")
    (ML / "model/code").mkdir()
    shutil.copy(Path(__file__).with_name("inference.py"), ML / "model/code")
    print(f"trained on {len(rows)} deliveries")


if __name__ == "__main__":
    main()
