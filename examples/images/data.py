"""1,797 handwritten digits of 8 × 8 pixels, as scikit-learn ships them."""

from __future__ import annotations

import csv
import gzip

from examples.places import as_csv, shipped

SIDE = 8


def table() -> str:
    """A row for each image: its pixels from top left to bottom right (0 to 16), and the digit."""
    with gzip.open(shipped("sklearn/datasets/data/digits.csv.gz"), "rt", newline="") as file:
        rows = [
            (*(int(float(pixel)) for pixel in row[:-1]), f"digit {int(float(row[-1]))}")
            for row in csv.reader(file)
        ]
    names = [f"pixel_{row}_{column}" for row in range(SIDE) for column in range(SIDE)]
    return as_csv((*names, "digit"), rows)
