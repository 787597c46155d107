"""Columns that tell more than will be known when a prediction is asked for, found in a sample of the rows.

Evidence, not proof: a column that counts rows may be innocent, and one that nearly determines the target may
be what everybody hopes for. Nothing is left out because of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dropforge.domain.contract import Contract
from dropforge.domain.figures import percent
from dropforge.domain.metrics import Scored
from dropforge.domain.splitting import SPLITS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

DETERMINES_AUC, DETERMINES_R2 = 0.995, 0.99
"""What one column alone reaches, on rows that were not looked at to find how, to be told of."""
TELLS_SPLIT_AUC = 0.99
COUNTS_CORRELATION = 0.999
MOSTLY = 0.5
_FEWEST = 20
"""Rows of a class, or of the test, below which nothing is said of it."""
_FEWEST_IN_ORDER = 50
_DISTINCT_SHARE = 0.95
_FEW_VALUES = 256
_NEIGHBOURS = 7
_FOLDS = 2
_CLASSES = 10
"""The most frequent ones, which are looked at."""
_TEST = SPLITS.index("test")


@dataclass(frozen=True)
class Evidence:
    """A random sample of the rows that were kept.

    Attributes:
        columns: features, target, and the column of time: float64 with NaN (dates in microseconds), or texts
            with None; (n,) each.
        splits: int64 (n,), the code of each row's split.
        objects, places: uint64 and int64 (n,), which object a row comes from, and its place there.
    """

    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    splits: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    objects: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    places: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Leak:
    """A column that tells too much.

    Attributes:
        kind: target, order, split or later.
        figure: how much, in the measure that `said` names.
        said: a sentence for people.
    """

    column: str
    kind: str
    figure: float
    said: str

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of ``report.json``."""
        return {"column": self.column, "kind": self.kind, "figure": round(self.figure, 6), "said": self.said}


def find_leaks(evidence: Evidence, contract: Contract) -> tuple[Leak, ...]:
    """Look at each feature alone."""
    if contract.target not in evidence.columns:
        return ()
    target = _target(evidence.columns[contract.target], contract)
    found: list[Leak] = []
    for column in contract.features:
        if column.name not in evidence.columns or column.name == contract.time:
            continue
        values = evidence.columns[column.name]
        codes = _codes(values)
        found += _of_target(column.name, values, codes, target, contract)
        found += _of_split(column.name, values, codes, evidence)
        if column.type in ("integer", "number"):
            found += _of_order(column.name, np.asarray(values, dtype=np.float64), evidence)
        if column.type == "timestamp" and contract.time is not None:
            found += _of_time(column.name, np.asarray(values, dtype=np.float64), evidence, contract)
    return tuple(found)


def _target(values: Sequence[Any], contract: Contract) -> Floats:
    """The target as (n, classes) indicators, or (n, 1) values."""
    if contract.classes is None:
        return np.asarray(values, dtype=np.float64)[:, None]
    return np.array([[value == label for label in contract.classes] for value in values], dtype=np.float64)


def _codes(values: Sequence[Any]) -> Ints | None:
    """Each value's number, where few differ; a missing value has one of its own. None for measurements."""
    if isinstance(values, np.ndarray):
        distinct, codes = np.unique(values, return_inverse=True)
        return codes.astype(np.int64) if len(distinct) <= _FEW_VALUES else None
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


def _predicted(values: Sequence[Any], codes: Ints | None, target: Floats) -> Floats:
    """Predict each row's target from its value alone, as other rows of like values have it.

    The rows' order has nothing to do with their content, so every second one is left out in turn.

    Returns:
        float64, as `target`.
    """
    predicted = np.zeros_like(target)
    folds = np.arange(len(target)) % _FOLDS
    for fold in range(_FOLDS):
        asked, known = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        mean = target[known].mean(axis=0)
        if codes is not None:
            size = int(codes.max(initial=0)) + 1
            counts = np.bincount(codes[known], minlength=size)[:, None]
            sums = np.stack([np.bincount(codes[known], each, size) for each in target[known].T], axis=1)
            predicted[asked] = np.where(counts > 0, sums / np.maximum(counts, 1), mean)[codes[asked]]
        else:
            numbers = np.asarray(values, dtype=np.float64)
            predicted[asked] = _near(numbers[known], target[known], numbers[asked], mean)
    return predicted


def _near(known: Floats, target: Floats, asked: Floats, mean: Floats) -> Floats:
    """The mean target of the nearest numbers; of rows without a number, that of the others without one."""
    missing = np.isnan(known)
    order = np.argsort(known[~missing], kind="stable")
    numbers, sums = known[~missing][order], np.cumsum(target[~missing][order], axis=0)
    sums = np.vstack([np.zeros(target.shape[1]), sums])
    width = min(_NEIGHBOURS, len(numbers))
    starts = np.clip(np.searchsorted(numbers, asked) - width // 2, 0, len(numbers) - width)
    near = (sums[starts + width] - sums[starts]) / max(width, 1)
    absent = target[missing].mean(axis=0) if missing.any() else mean
    return np.where(np.isnan(asked)[:, None], absent, near)


def _auc(predicted: Floats, is_one: Floats) -> float | None:
    """Of one class against the others; None where either has too few rows."""
    ones = int(is_one.sum())
    if min(ones, len(is_one) - ones) < _FEWEST:
        return None
    two = np.column_stack([1 - predicted, predicted])
    return float(Scored("binary", is_one.astype(np.int64), two).value("auc"))


def _of_target(
    name: str, values: Sequence[Any], codes: Ints | None, target: Floats, contract: Contract
) -> Iterator[Leak]:
    if len(target) < 2 * _FEWEST:
        return
    predicted = _predicted(values, codes, target)
    if contract.classes is None:
        spread = float(((target - target.mean()) ** 2).sum())
        figure = 1 - float(((target - predicted) ** 2).sum()) / spread if spread else 0.0
        measure, least = "R²", DETERMINES_R2
    else:
        several = [1] if len(contract.classes) == 2 else np.argsort(-target.sum(axis=0))[:_CLASSES]
        found = [_auc(predicted[:, number], target[:, number]) for number in several]
        known = [each for each in found if each is not None]
        figure, measure, least = float(np.mean(known)) if known else 0.0, "AUC", DETERMINES_AUC
    if figure >= least:
        yield Leak(
            name,
            "target",
            figure,
            f"{name!r} alone nearly determines {contract.target!r} ({measure} {figure:.4f} on rows that were "
            "not used to find how): is it known when a prediction is asked for?",
        )


def _of_split(name: str, values: Sequence[Any], codes: Ints | None, evidence: Evidence) -> Iterator[Leak]:
    tested = (evidence.splits == _TEST).astype(np.float64)
    if min(tested.sum(), len(tested) - tested.sum()) < _FEWEST:
        return
    figure = _auc(_predicted(values, codes, tested[:, None])[:, 0], tested)
    if figure is not None and figure >= TELLS_SPLIT_AUC:
        yield Leak(
            name,
            "split",
            figure,
            f"{name!r} tells which rows test the model (AUC {figure:.4f}): no row that is learned from "
            "has such values, so what it says of them was never seen",
        )


def _of_order(name: str, values: Floats, evidence: Evidence) -> Iterator[Leak]:
    """Whether whole numbers, nearly all different, grow or fall evenly from row to row of every object."""
    known = np.isfinite(values)
    if not known.all() or not np.array_equal(values, np.round(values)):
        return
    if len(np.unique(values)) < _DISTINCT_SHARE * len(values):
        return
    figures = []
    for number in np.unique(evidence.objects):
        rows = np.flatnonzero(evidence.objects == number)
        if len(rows) >= _FEWEST_IN_ORDER:
            pair = values[rows], evidence.places[rows].astype(np.float64)
            constant = any(np.ptp(each) == 0 for each in pair)
            figures.append(0.0 if constant else abs(float(np.corrcoef(*pair)[0, 1])))
    if figures and min(figures) >= COUNTS_CORRELATION:
        yield Leak(
            name,
            "order",
            min(figures),
            f"{name!r} counts the rows (correlation {min(figures):.5f} with their place in the file): new "
            "rows have numbers that no row before had",
        )


def _of_time(name: str, values: Floats, evidence: Evidence, contract: Contract) -> Iterator[Leak]:
    time = contract.time or ""
    if time not in evidence.columns or contract.column(time).type != "timestamp":
        return
    times = np.asarray(evidence.columns[time], dtype=np.float64)
    known = np.isfinite(values) & np.isfinite(times)
    if known.sum() < _FEWEST:
        return
    figure = float((values[known] > times[known]).mean())
    if figure > MOSTLY:
        yield Leak(
            name,
            "later",
            figure,
            f"{name!r} is later than {time!r} in {percent(figure)} of the rows: is it known when a "
            "prediction is asked for?",
        )
