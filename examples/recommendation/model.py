"""How often and how lately, on the scale on which habits wear off, in place of the built-in model.

make example NAME=recommendation
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from dropforge.domain.contract import Contract

INPUT = "columns"
HYPERPARAMETERS = {"C": (1e-4, 1e4)}
NEVER = 1000.0
"""Days since something was bought that never was."""


def build_model(schema: Contract, hyperparameters: Mapping[str, Any]) -> Pipeline:
    """Return an unfitted model of the chance that a customer buys something."""
    numbers = [column.name for column in schema.features if column.type in ("integer", "number")]
    kinds = [column.name for column in schema.features if column.type == "category"]
    scaled = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=NEVER),
        FunctionTransformer(np.log1p),
        StandardScaler(),
    )
    return make_pipeline(
        ColumnTransformer(
            [("numbers", scaled, numbers), ("kinds", OneHotEncoder(handle_unknown="ignore"), kinds)]
        ),
        LogisticRegression(C=float(hyperparameters.get("C", 1.0)), max_iter=2000),
    )
