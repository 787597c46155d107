"""CatBoost on the columns themselves, in place of the built-in model: categories go in as they are.

cp examples/catboost/model.py examples/catboost/requirements.txt training/
dropforge up
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pandas as pd
from catboost import CatBoostClassifier, CatBoostRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from dropforge.domain.contract import Contract

INPUT = "columns"

HYPERPARAMETERS = {
    "iterations": (1, 10_000),
    "learning_rate": (1e-4, 1.0),
    "depth": (1, 16),
    "l2_leaf_reg": (0.0, 1e9),
}
"""What may be set, read without being run; see docs/how-to/your-own-model.md."""


class _Repeatable:
    """A booster that is the same bytes whenever it learns the same."""

    def fit(self, X: pd.DataFrame, y: Any) -> Self:  # noqa: N803 - scikit-learn's name
        """Fit, and forget when: CatBoost stores that, and a name by chance, with the model."""
        super().fit(X, y)  # type: ignore[misc]
        told = self.get_metadata()  # type: ignore[attr-defined]
        told["train_finish_time"] = told["model_guid"] = ""
        return self


class Classifier(_Repeatable, CatBoostClassifier):
    """CatBoostClassifier with the same bytes for the same model."""


class Regressor(_Repeatable, CatBoostRegressor):
    """CatBoostRegressor with the same bytes for the same model."""


def prepared(
    frame: pd.DataFrame, categories: list[str], numbers: list[str], times: list[str]
) -> pd.DataFrame:
    """Return what CatBoost takes: a missing category is one of its own, and a time counts days."""
    found = {name: frame[name].fillna("") for name in categories}
    found |= {name: frame[name] for name in numbers}
    found |= {name: (frame[name] - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1) for name in times}
    return pd.DataFrame(found)


def build_model(schema: Contract, hyperparameters: Mapping[str, Any]) -> Pipeline:
    """Return an unfitted pipeline on categories, numbers and times. Texts are left out."""
    chosen = {name: hyperparameters[name] for name in HYPERPARAMETERS if name in hyperparameters}
    kinds = {
        "categories": ("category",),
        "numbers": ("number", "integer", "boolean"),
        "times": ("timestamp",),
    }
    names = {
        kind: [column.name for column in schema.features if column.type in types]
        for kind, types in kinds.items()
    }
    build = Regressor if schema.task == "regression" else Classifier
    booster = build(
        **{"iterations": 300, "learning_rate": 0.1, "depth": 4, **chosen},
        cat_features=names["categories"],
        random_seed=int(hyperparameters.get("seed", 0)),
        # Stored with the model, so it is the same on every machine.
        thread_count=4,
        verbose=False,
        allow_writing_files=False,
    )
    return make_pipeline(FunctionTransformer(prepared, kw_args=names), booster)
