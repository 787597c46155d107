"""The directions of edges in each corner of a small image, in place of the built-in model.

make example NAME=images
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from dropforge.domain.contract import Contract

INPUT = "columns"
HYPERPARAMETERS = {"C": (1e-4, 1e4)}
SIDE, CELL, DIRECTIONS = 8, 4, 8


def edges(frame: Any) -> Any:
    """Of images as rows: their pixels, and per cell how strong the edges of each direction are.

    Pixels are told by their columns' names: those that are black in every image are no features.
    """
    images = np.zeros((len(frame), SIDE, SIDE))
    for name in frame.columns:
        row, column = map(int, re.findall(r"\d+", name))
        images[:, row, column] = frame[name].fillna(0.0) / 16
    down, right = np.gradient(images, axis=(1, 2))
    strength = np.hypot(down, right)
    direction = ((np.arctan2(down, right) / (2 * np.pi) + 0.5) * DIRECTIONS).astype(int) % DIRECTIONS
    parts = [images.reshape(len(images), -1)]
    for each in range(DIRECTIONS):
        cells = np.where(direction == each, strength, 0.0).reshape(-1, SIDE // CELL, CELL, SIDE // CELL, CELL)
        parts.append(cells.sum(axis=(2, 4)).reshape(len(images), -1))
    return np.hstack(parts)


def build_model(schema: Contract, hyperparameters: Mapping[str, Any]) -> Pipeline:
    """Return an unfitted classifier of images."""
    return make_pipeline(
        FunctionTransformer(edges),
        StandardScaler(),
        LogisticRegression(C=float(hyperparameters.get("C", 0.1)), max_iter=2000),
    )
