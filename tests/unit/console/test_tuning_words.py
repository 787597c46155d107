"""What the console says of a search of hyperparameters."""

from __future__ import annotations

from typing import Any

import pytest

from dropforge_ops.console.components.tuning_charts import told


def search(**changes: Any) -> dict[str, Any]:
    trials = [
        {"number": 0, "parameters": {"C": 1.0}, "value": 0.81, "state": "complete", "folds": [0.8, 0.82]},
        {"number": 1, "parameters": {"C": 0.1234567}, "value": 0.9, "state": "complete", "folds": [0.9, 0.9]},
    ]
    return {
        "metric": "auc",
        "greater_is_better": True,
        "asked": 20,
        "done": 2,
        "stopped_by": "trials",
        "default": 0.8,
        "best": 1,
        "parameters": {"C": 0.1234567, "estimator": "linear"},
        "importance": {},
        "trials": trials,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {},
            "2 of 20 trials. auc was 0.8 before, and is 0.9 in trial 1: C=0.1235, estimator=linear.",
        ),
        ({"stopped_by": "minutes"}, "2 of 20 trials. TuningMinutes ended the search. auc was"),
        ({"best": None, "parameters": {}}, "auc was 0.8 before, and no trial is better."),
        ({"default": None}, "auc was undefined before"),
    ],
)
def test_says_what_a_search_came_to(changes: dict[str, Any], says: str) -> None:
    assert says in told(search(**changes))
