"""Lags and the time of day and year as circles, in place of the built-in model.

make example NAME=time_series
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler

from dropforge.domain.contract import Contract

INPUT = "columns"
HYPERPARAMETERS = {"alpha": (1e-6, 1e6)}


def on_circles(frame: Any) -> Any:
    """Numbers as they are; of each timestamp where it stands in its day and its year."""
    parts = [frame.select_dtypes("number").to_numpy(np.float64)]
    for name in frame.select_dtypes("datetimetz").columns:
        at = frame[name].dt
        for turn in ((at.hour + at.minute / 60) / 24, at.dayofyear / 365.25):
            parts += [np.sin(2 * np.pi * turn), np.cos(2 * np.pi * turn)]
    return np.column_stack(parts)


def build_model(schema: Contract, hyperparameters: Mapping[str, Any]) -> Pipeline:
    """Return an unfitted linear model of lags, circles and their products."""
    return make_pipeline(
        FunctionTransformer(on_circles),
        SimpleImputer(),
        StandardScaler(),
        PolynomialFeatures(2, include_bias=False),
        Ridge(alpha=float(hyperparameters.get("alpha", 10.0))),
    )
