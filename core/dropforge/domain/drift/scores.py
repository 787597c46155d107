"""Predictions as columns, so that they are profiled and watched like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.profile import CategoricalProfile, ColumnProfile, NumericProfile

PREDICTION_PROFILE = "prediction_profile.json"
"""Lies beside the model's judgement and smoke rows."""

LABEL, SCORE, VALUE = "predicted label", "predicted score", "predicted value"
_TYPES = {LABEL: "category", SCORE: "number", VALUE: "number"}


def type_of_score(name: str) -> str:
    """Return the type of what `columns_of_scores` names."""
    return _TYPES[name]


def columns_of_scores(
    task: str, classes: Sequence[str] | None, scores: NDArray[np.float64]
) -> dict[str, NDArray[Any]]:
    """Return what is watched of a model's predictions, by name.

    Of a binary task the probability of the positive class (which decides the label); of a multiclass task the
    label and its probability; of a regression the value.

    Args:
        scores: float64 probabilities (n, n_classes), or values (n,).
    """
    if classes is None:
        return {VALUE: scores}
    if task == "binary":
        return {SCORE: scores[:, 1]}
    codes = scores.argmax(axis=1)
    return {LABEL: np.array(classes, dtype=object)[codes], SCORE: scores.max(axis=1)}


def scores_of_outputs(
    classes: Sequence[str] | None, outputs: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """Return the scores that an endpoint answered: float64 (n, n_classes), or (n,) for a regression.

    Raises:
        KeyError: an output lacks a class, so it isn't of this model.
    """
    if classes is None:
        return np.array([output["value"] for output in outputs], dtype=np.float64)
    rows = [[output["probabilities"][label] for label in classes] for output in outputs]
    return np.array(rows, dtype=np.float64).reshape(len(outputs), len(classes))


def labels_of_outputs(
    classes: Sequence[str] | None, outputs: Sequence[Mapping[str, Any]]
) -> NDArray[np.int64] | None:
    """Return the codes of the labels that an endpoint answered, int64 (n,); None for a regression.

    Whatever the model's decision threshold was, the caller acted on these.

    Raises:
        KeyError: a label is no class, so it isn't of this model.
    """
    if classes is None:
        return None
    codes = {label: code for code, label in enumerate(classes)}
    return np.array([codes[output["label"]] for output in outputs], dtype=np.int64)


def prediction_profile(
    task: str, classes: Sequence[str] | None, scores: NDArray[np.float64]
) -> dict[str, Any]:
    """Return ``prediction_profile.json``: a profile, as of data, of a model's predictions on the hold-out.

    The model has not learned from the hold-out, so its predictions there are spread as in service.
    Predictions that are not finite are left out; the gate refuses such a model anyway.
    """
    columns: list[dict[str, Any]] = []
    for name, values in columns_of_scores(task, classes, scores).items():
        profile: ColumnProfile
        if _TYPES[name] == "category":
            labels, counts = np.unique(values.astype(str), return_counts=True)
            profile = CategoricalProfile.of(
                dict(zip(map(str, labels), map(int, counts), strict=True)), missing=0
            )
        else:
            profile = NumericProfile.of(values[np.isfinite(values)], missing=0)
        columns.append({"name": name, "type": _TYPES[name], "role": "prediction", **profile.to_dict()})
    return {"format": 1, "rows": len(scores), "columns": columns}
