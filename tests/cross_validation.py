"""What the default model reaches on the sample data: the yardstick for a run's figure on its own hold-out."""

from __future__ import annotations

import numpy as np
from sklearn import datasets
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from threadpoolctl import threadpool_limits

from dropforge.domain.contract import Column, Contract
from dropforge_ops.stack.samples import SAMPLES
from model import build_model

SCORING = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "r2"}


def ten_fold(sample: str) -> tuple[float, float]:
    """Mean and fold-to-fold deviation of the task's default metric, shuffled 10-fold cross-validation."""
    described = SAMPLES[sample]
    features, target = getattr(datasets, f"load_{sample.replace('-', '_')}")(return_X_y=True)
    classes = None if described.task == "regression" else tuple(f"c{code}" for code in np.unique(target))
    columns = [Column(f"x{i}", "number", nullable=True) for i in range(features.shape[1])]
    columns.append(Column("y", "number" if classes is None else "category", "target"))
    estimator = build_model(Contract("y", None, described.task, classes, tuple(columns)), {"seed": 0})
    folds = KFold if described.task == "regression" else StratifiedKFold
    # Threads that wait for each other take a busy machine's processors for minutes.
    with threadpool_limits(1):
        scores = cross_val_score(
            estimator,
            features,
            target,
            cv=folds(10, shuffle=True, random_state=0),
            scoring=SCORING[described.task],
            error_score="raise",
        )
    return float(scores.mean()), float(scores.std())
