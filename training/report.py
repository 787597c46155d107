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
from dropforge.domain.drift.column_effects import KEPT_COLUMNS, KEPT_ROWS, KEPT_TYPES, pack_columns
from dropforge.domain.encoding import Encoding, Labels
from dropforge.domain.errors import UnusableEstimator
from dropforge.domain.instances import json_value
from dropforge.domain.metric_registry import Metric
from dropforge.domain.metrics import Scored
from dropforge.domain.slicing import Slicing
from raw_columns import RawColumns, put
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
    rows = np.sort(rng.permutation(len(split))[:IMPORTANCE_ROWS])
    matrix = model.encoding.encode(split.columns_at(rows))
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
            put(shuffled, places, matrix, rng.permutation(len(matrix)))
            value = Scored.of(contract, target, model.predict(shuffled)).value(metric.name)
            lost.append(float(metric.gain(base, value)))
        put(shuffled, places, matrix)
        losses[source] = {"mean": float(np.mean(lost)), "deviation": float(np.std(lost))}
    return losses


def scored(
    model: inference.Model, split: Split, guarded: Sequence[tuple[Slicing, NDArray[Any]]] = ()
) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
    """Return the model's scores of a split, and each row's place in `slices`: int16 (n, n_slices).

    A row with a missing or a rare value belongs to none (−1), but every row to a slice of a guarded column.

    Args:
        guarded: per guarded column how it is sliced, and its values in the split.
    """
    scores: list[NDArray[np.float64]] = []
    codes: list[NDArray[np.int16]] = []
    described = slices(model.encoding, guarded)[len(guarded) :]
    for columns in split.batches():
        scores.append(model.score(columns))
        codes.append(np.empty((len(scores[-1]), len(described)), dtype=np.int16))
        for place, each in enumerate(described):
            values = columns[each["name"]]
            if isinstance(values, Labels):
                numbers = values.mapped({label: float(n) for n, label in enumerate(each["labels"])}, -1, -1)
            else:
                numbers = np.where(np.isnan(values), -1, values)
            codes[-1][:, place] = numbers
    of_guarded = [slicing.codes(values)[:, np.newaxis] for slicing, values in guarded]
    return np.concatenate(scores), np.hstack([*of_guarded, np.concatenate(codes)])


def slices(
    encoding: Encoding | RawColumns, guarded: Sequence[tuple[Slicing, NDArray[Any]]] = ()
) -> list[dict[str, Any]]:
    """Return what to slice by, guarded columns first: name and labels."""
    described: list[dict[str, Any]] = [
        {"name": slicing.name, "labels": list(slicing.labels), "slicing": slicing.to_dict()}
        for slicing, _ in guarded
    ]
    for column in encoding.contract.features:
        if column.type not in ("category", "boolean") or len(described) >= MAXIMUM_SLICES:
            continue
        if column.name in encoding.contract.guarded:
            continue
        of_category = encoding.vocabularies.get(column.name, ())[:SLICE_LABELS]
        labels = ["false", "true"] if column.type == "boolean" else list(of_category)
        described.append({"name": column.name, "labels": labels})
    return described


def smoke(model: inference.Model, split: Split) -> dict[str, Any]:
    """Send up to SMOKE_ROWS evenly spaced rows as one request through the serving code; keep the answer.

    Raises:
        UnusableEstimator: the serving code refuses rows of the hold-out.
    """
    columns = split.columns_at(evenly_spaced(len(split), SMOKE_ROWS))
    rows = zip(*(columns[column.name] for column in model.contract.features), strict=True)
    instances = [
        {
            column.name: json_value(column, value)
            for column, value in zip(model.contract.features, row, strict=True)
        }
        for row in rows
    ]
    body = json.dumps({"instances": instances}, ensure_ascii=False)
    status, text = inference.answer(model, body, inference.JSON, inference.JSON)
    if status != 200:
        raise UnusableEstimator(f"the saved model answers {status} to rows of the hold-out: {text[:500]}")
    predictions = json.loads(text)["predictions"]
    return {"format": 1, "content_type": inference.JSON, "instances": instances, "predictions": predictions}


def holdout_columns(split: Split) -> bytes:
    """Return ``holdout_columns.npz``: the features of some rows, of those that predictions are logged with
    as they are. By them it is learned where errors are large."""
    rows = evenly_spaced(len(split), KEPT_ROWS)
    kept = [each for each in split.contract.features if each.privacy is None and each.type in KEPT_TYPES]
    columns = split.columns_at(rows)
    return pack_columns(rows, {each.name: columns[each.name] for each in kept[:KEPT_COLUMNS]})


def evenly_spaced(n: int, at_most: int) -> NDArray[np.intp]:
    """Return the places of up to so many of n rows."""
    return np.unique(np.linspace(0, n - 1, min(at_most, n)).round().astype(np.intp))


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
