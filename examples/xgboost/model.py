"""XGBoost in place of the built-in model.

cp examples/xgboost/model.py examples/xgboost/requirements.txt training/
dropforge up
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xgboost import XGBClassifier, XGBRegressor

from dropforge.domain.contract import Contract
from dropforge.domain.encoding import matrix_columns

HYPERPARAMETERS = {
    "n_estimators": (1, 10_000),
    "learning_rate": (1e-4, 1.0),
    "max_depth": (1, 16),
    "min_child_weight": (0.0, 1e6),
    "reg_lambda": (0.0, 1e9),
}
"""What may be set, read without being run; see docs/how-to/your-own-model.md."""


def build_model(schema: Contract, hyperparameters: Mapping[str, Any]) -> XGBClassifier | XGBRegressor:
    """Return an unfitted booster that takes categories and missing values as they are."""
    chosen = {name: hyperparameters[name] for name in HYPERPARAMETERS if name in hyperparameters}
    build = XGBRegressor if schema.task == "regression" else XGBClassifier
    return build(
        **{"n_estimators": 200, "learning_rate": 0.1, "max_depth": 4, **chosen},
        random_state=int(hyperparameters.get("seed", 0)),
        tree_method="hist",
        enable_categorical=True,
        feature_types=["c" if column.kind == "categorical" else "q" for column in matrix_columns(schema)],
    )
