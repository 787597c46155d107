"""What a training job tells of its model beside the predictions: importance, slices, smoke rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import inference
from dropforge.domain.encoding import Encoding
from dropforge.domain.errors import UnusableEstimator
from dropforge.domain.instances import json_value
from dropforge.domain.metric_registry import Metric
from dropforge.domain.metrics import Scored
from dropforge.domain.slicing import Slicing
from splits import Split

SMOKE_ROWS = 32
MAXIMUM_SLICES = 32
SLICE_LABELS = 20
"""Most frequent values of a category that get a slice of their own; the rest belong to none."""

IMPORTANCE_ROWS = 1000
IMPORTANCE_REPEATS = 3
IMPORTANCE_SHUFFLES = 1500
"""Shuffles of all features together: with many features each is shuffled less often, but at least once."""


def importance(
    model: inference.Model, split: Split, metric: Metric, seed: int
) -> dict[str, dict[str, float]]:
    """Return per feature how much of the metric is lost when its values are shuffled (mean and deviation).

    Permutation importance on up to IMPORTANCE_ROWS rows (Breiman 2001, section 10), which are to be none of
    those that the model was fitted on: on those it overrates what was learned by heart. The same model and
    rows give the same numbers.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(split.target))[:IMPORTANCE_ROWS])
    matrix = model.encoding.encode({name: values[rows] for name, values in split.columns.items()})
    contract, target = model.contract, split.target[rows]
    base = Scored.of(contract, target, model.predict(matrix)).value(metric.name)
    places_of: dict[str, list[int]] = {}
    for place, column in enumerate(model.encoding.columns):
        places_of.setdefault(column.source, []).append(place)
    repeats = max(1, min(IMPORTANCE_REPEATS, IMPORTANCE_SHUFFLES // len(places_of)))
    losses: dict[str, dict[str, float]] = {}
    shuffled = matrix.copy()
    for source, places in places_of.items():
        lost = []
        for _ in range(repeats):
            shuffled[:, places] = matrix[:, places][rng.permutation(len(matrix))]
            value = Scored.of(contract, target, model.predict(shuffled)).value(metric.name)
            lost.append(float(metric.gain(base, value)))
        shuffled[:, places] = matrix[:, places]
        losses[source] = {"mean": float(np.mean(lost)), "deviation": float(np.std(lost))}
    return losses


def slices(
    encoding: Encoding,
    columns: Mapping[str, NDArray[Any]],
    guarded: Sequence[tuple[Slicing, NDArray[Any]]] = (),
) -> tuple[list[dict[str, Any]], NDArray[np.int16]]:
    """Return what to slice by (name and labels), and each row's label: int16 (n, n_slices).

    A row with a missing or a rare value belongs to none (−1), but every row to a slice of a guarded column.

    Args:
        columns: the features of the hold-out.
        guarded: per guarded column how it is sliced, and its values in the hold-out.
    """
    described: list[dict[str, Any]] = []
    codes: list[NDArray[np.int16]] = []
    for slicing, values in guarded:
        described.append({"name": slicing.name, "labels": list(slicing.labels), "slicing": slicing.to_dict()})
        codes.append(slicing.codes(values))
    for column in encoding.contract.features:
        if column.type not in ("category", "boolean") or len(described) >= MAXIMUM_SLICES:
            continue
        if column.name in encoding.contract.guarded:
            continue
        values = columns[column.name]
        if column.type == "boolean":
            labels = ["false", "true"]
            codes.append(np.where(np.isnan(values), -1, values).astype(np.int16))
        else:
            labels = list(encoding.vocabularies[column.name][:SLICE_LABELS])
            position = {label: code for code, label in enumerate(labels)}
            codes.append(np.array([position.get(value, -1) for value in values], dtype=np.int16))
        described.append({"name": column.name, "labels": labels})
    rows = len(next(iter(columns.values())))
    return described, np.stack(codes, axis=1) if codes else np.empty((rows, 0), dtype=np.int16)


def smoke(model: inference.Model, columns: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Send up to SMOKE_ROWS evenly spaced rows as one request through the serving code; keep the answer.

    Raises:
        UnusableEstimator: the serving code refuses rows of the hold-out.
    """
    n = len(next(iter(columns.values())))
    rows = np.unique(np.linspace(0, n - 1, min(SMOKE_ROWS, n)).round().astype(int))
    instances = [
        {c.name: json_value(c, columns[c.name][row]) for c in model.contract.features} for row in rows
    ]
    body = json.dumps({"instances": instances}, ensure_ascii=False)
    status, text = inference.answer(model, body, inference.JSON, inference.JSON)
    if status != 200:
        raise UnusableEstimator(f"the saved model answers {status} to rows of the hold-out: {text[:500]}")
    predictions = json.loads(text)["predictions"]
    return {"format": 1, "content_type": inference.JSON, "instances": instances, "predictions": predictions}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that any parser reads: numpy's numbers become plain ones, NaN and infinity null."""
    text = json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str | bool | None) else str(value)
