"""Words and pairs of words, weighted by how rare they are, in place of the built-in model.

make example NAME=text
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from dropforge.domain.contract import Contract

INPUT = "columns"
HYPERPARAMETERS = {"C": (1e-3, 1e3)}


def filled(texts: Any) -> Any:
    """Missing texts as empty ones."""
    return texts.fillna("")


def build_model(schema: Contract, hyperparameters: Mapping[str, Any]) -> Pipeline:
    """Return an unfitted pipeline over the text columns."""
    words = make_pipeline(
        FunctionTransformer(filled), TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    )
    texts = [column.name for column in schema.features if column.type == "text"]
    return make_pipeline(
        ColumnTransformer([(name, words, name) for name in texts]),
        LogisticRegression(C=float(hyperparameters.get("C", 30.0)), max_iter=1000),
    )
