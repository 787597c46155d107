"""How quality is written down: ``evaluation.json`` in SageMaker's schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dropforge.domain.metrics import Scored, confusion_matrix, roc_curve

_SECTIONS = {
    "binary": "binary_classification_metrics",
    "multiclass": "multiclass_classification_metrics",
    "regression": "regression_metrics",
}


def evaluation(
    scored: Scored, values: Mapping[str, float], deviations: Mapping[str, float]
) -> dict[str, Any]:
    """Return ``evaluation.json`` in SageMaker's model-quality schema.

    Args:
        scored: the hold-out rows with the model's scores.
        values: metric name -> value.
        deviations: metric name -> standard deviation of the value, for example from a bootstrap.

    An undefined number is the string "NaN", as in SageMaker's own files, because JSON has none. Classes are
    named by their codes.
    """
    section: dict[str, Any] = {
        name: {"value": _number(value), "standard_deviation": _number(deviations.get(name, math.nan))}
        for name, value in values.items()
    }
    if scored.task != "regression":
        section["confusion_matrix"] = {
            str(actual): {str(predicted): count for predicted, count in enumerate(row)}
            for actual, row in enumerate(confusion_matrix(scored).tolist())
        }
    if scored.task == "binary":
        false_rates, true_rates = roc_curve(scored)
        section["receiver_operating_characteristic_curve"] = {
            "false_positive_rates": false_rates.tolist(),
            "true_positive_rates": true_rates.tolist(),
        }
    return {"dataset": {"item_count": len(scored.target)}, _SECTIONS[scored.task]: section}


def _number(value: float) -> float | str:
    return float(value) if math.isfinite(value) else "NaN"
