"""What columns say about a model's errors that its prediction doesn't: a linear part beside its curves.

The training job keeps the columns of some rows of the hold-out. The judge looks for those whose values go
with errors, and keeps how. Where none do, there is nothing to keep.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.drift.calibration_curve import Link, derivatives, newton, posterior_draws
from dropforge.domain.drift.distributions import chi_square_tail, normal_quantile
from dropforge.domain.errors import InvalidTrainingOutput

HOLDOUT_COLUMNS: Final = "holdout_columns.npz"
"""What the training job writes beside ``holdout.npz``."""
KEPT_ROWS: Final = 4000
KEPT_COLUMNS: Final = 250
KEPT_TYPES: Final = ("number", "integer", "boolean", "category")
_POINTS: Final = 64
_LABELS: Final = 10
_LEAST_OF_A_LABEL: Final = 20
_SELECTED_AT: Final = 0.02
_MOST_TERMS: Final = 240
_DEVIATIONS: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Of an effect's prior, among which the rows choose."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class EffectColumn:
    """How a column's values become terms.

    Attributes:
        points, heights: of numbers, values and the normal scores of their ranks, both ascending; between them
            it is interpolated, and beyond them level, so that no value is extrapolated.
        labels, shares: of categories, the frequent ones and their shares.
    """

    name: str
    points: tuple[float, ...] = ()
    heights: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()

    @classmethod
    def of(cls, name: str, values: NDArray[Any]) -> EffectColumn | None:
        """Lay out a column of the hold-out, float64 (n,) or objects; None where all rows are alike."""
        if values.dtype == object:
            present, counts = np.unique([each for each in values if each is not None], return_counts=True)
            often = [place for place in np.argsort(-counts) if counts[place] >= _LEAST_OF_A_LABEL]
            often = often[:_LABELS]
            if not often or counts[often[0]] == len(values):
                return None
            labels = tuple(str(present[place]) for place in often)
            return cls(
                name, labels=labels, shares=tuple(float(counts[place] / len(values)) for place in often)
            )
        ordered = np.sort(values[~np.isnan(values)])
        ranks = (np.arange(_POINTS) + 0.5) / _POINTS
        points = np.unique(np.quantile(ordered, ranks)) if len(ordered) else ordered
        if len(points) < 2:
            return None
        below, upto = (np.searchsorted(ordered, points, side) for side in ("left", "right"))
        middle = np.clip((below + upto) / 2 / len(ordered), 0.5 / _POINTS, 1 - 0.5 / _POINTS)
        heights = tuple(-normal_quantile(float(each)) for each in middle)
        return cls(name, tuple(points.tolist()), heights)

    @property
    def size(self) -> int:
        """How many terms a value makes."""
        return len(self.labels) or 2

    def terms(self, values: NDArray[Any] | None, rows: int) -> Floats:
        """Return float64 (rows, size), 0 where nothing is known."""
        if values is None:
            return np.zeros((rows, self.size))
        if self.labels:
            texts = values.astype(object)
            return np.stack(
                [(texts == label) - share for label, share in zip(self.labels, self.shares, strict=True)],
                axis=1,
            ).astype(np.float64)
        height = np.interp(values.astype(np.float64), self.points, self.heights)
        known = np.isfinite(height)
        height = np.where(known, height, 0.0)
        return np.stack([height, np.where(known, height**2 - 1, 0.0)], axis=1)

    def to_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("name", "points", "heights", "labels", "shares")}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> EffectColumn:
        return cls(str(raw["name"]), *(tuple(raw[n]) for n in ("points", "heights", "labels", "shares")))


@dataclass(frozen=True)
class Effects:
    """By how much the columns' terms move a curve, float64 (p,), and the covariance of these."""

    columns: tuple[EffectColumn, ...]
    coefficients: Floats
    covariance: Floats

    def design(self, values: Mapping[str, NDArray[Any]], rows: int) -> Floats:
        """Return float64 (rows, p)."""
        return np.concatenate([each.terms(values.get(each.name), rows) for each in self.columns], axis=1)

    def at(self, values: Mapping[str, NDArray[Any]], rows: int) -> Floats:
        """Return what is to be added to the curve, float64 (rows,)."""
        result: Floats = self.design(values, rows) @ self.coefficients
        return result

    def draws(
        self, values: Mapping[str, NDArray[Any]], rows: int, count: int, rng: np.random.Generator
    ) -> Floats:
        """Return what might truly have to be added, float64 (count, rows)."""
        drawn = posterior_draws(self.coefficients, self.covariance, count, rng)
        result: Floats = drawn @ self.design(values, rows).T
        return result

    def to_dict(self) -> dict[str, Any]:
        return {
            "columns": [each.to_dict() for each in self.columns],
            "coefficients": self.coefficients.tolist(), "covariance": self.covariance.tolist(),
        }  # fmt: skip

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Effects:
        arrays = (np.array(raw[name], dtype=np.float64) for name in ("coefficients", "covariance"))
        return cls(tuple(map(EffectColumn.from_dict, raw["columns"])), *arrays)


def find_effects(
    link: Link,
    values: Mapping[str, NDArray[Any]],
    offset: Floats,
    response: Floats,
    precision: Floats | float = 1.0,
    most_terms: int = _MOST_TERMS,
) -> Effects | None:
    """Fit what columns add to a curve; None where none goes with what the curve leaves.

    Args:
        values: of the hold-out's rows by column, float64 or objects, (n,).
        offset: float64 (n,), the curve's height (of ``logit`` the log odds).
        response, precision: as of `calibration_curve.fit`.
    """
    rows = len(response)
    weight = np.broadcast_to(np.asarray(precision, dtype=np.float64), (rows,)).copy()
    slope, _ = derivatives(link, offset, response, weight)
    found: list[tuple[float, EffectColumn, Floats]] = []
    for name, column in values.items():
        effect = EffectColumn.of(name, column)
        if effect is None:
            continue
        terms = effect.terms(column, rows)
        pull, spread = terms.T @ slope, (terms * slope[:, None] ** 2).T @ terms
        statistic = float(pull @ np.linalg.pinv(spread) @ pull)
        p_value = chi_square_tail(statistic, effect.size)
        if p_value <= _SELECTED_AT:
            found.append((p_value, effect, terms))
    found.sort(key=lambda each: each[0])
    taken: list[tuple[float, EffectColumn, Floats]] = []
    for each in found:
        if sum(one[1].size for one in taken) + each[1].size <= most_terms:
            taken.append(each)
    if not taken:
        return None
    design = np.concatenate([terms for _, _, terms in taken], axis=1)
    # In units of what is left by the curve, as errors of a regression have a scale.
    unit = 1.0 if link != "identity" else float(np.sqrt(1 / weight.mean()))
    start = np.zeros(design.shape[1])
    best = max(
        (
            newton(link, design, offset, response, weight, np.full(len(start), (unit * each) ** -2.0), start)
            for each in _DEVIATIONS
        ),
        key=lambda each: each[0],
    )
    return Effects(tuple(effect for _, effect, _ in taken), best[1], best[2])


def pack_columns(rows: NDArray[np.intp], columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Return ``holdout_columns.npz``.

    Args:
        rows: int64 (n,), places in the hold-out, ascending.
        columns: their values, float64 or objects (str or None), (n,).
    """
    arrays: dict[str, NDArray[Any]] = {"rows": rows}
    for place, values in enumerate(columns.values()):
        if values.dtype == object:
            labels, codes = np.unique(
                ["" if each is None else f" {each}" for each in values], return_inverse=True
            )
            arrays[f"labels_{place}"], arrays[f"codes_{place}"] = labels, codes.astype(np.int32)
        else:
            arrays[f"numbers_{place}"] = values
    arrays["names"] = np.frombuffer(json.dumps(list(columns)).encode(), dtype=np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()


def unpack_columns(data: bytes, holdout_rows: int) -> tuple[NDArray[np.intp], dict[str, NDArray[Any]]]:
    """Read ``holdout_columns.npz``: the rows' places and the columns' values.

    Raises:
        InvalidTrainingOutput: it is no such file, or of another hold-out.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            rows = arrays["rows"].astype(np.intp)
            columns: dict[str, NDArray[Any]] = {}
            for place, name in enumerate(json.loads(arrays["names"].tobytes())):
                if f"numbers_{place}" in arrays:
                    columns[name] = arrays[f"numbers_{place}"].astype(np.float64)
                    continue
                known = [None if not each else str(each)[1:] for each in arrays[f"labels_{place}"].tolist()]
                columns[name] = np.array([*known, None], dtype=object)[:-1][arrays[f"codes_{place}"]]
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, KeyError, TypeError, IndexError) as error:
        raise InvalidTrainingOutput(
            f"{HOLDOUT_COLUMNS} can't be read ({error!r}); it isn't what train.py writes."
        ) from error
    lengths = {len(rows), *map(len, columns.values())}
    if len(lengths) != 1 or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < holdout_rows):
        raise InvalidTrainingOutput(f"{HOLDOUT_COLUMNS} doesn't fit the hold-out of {holdout_rows} rows.")
    return rows, columns


def read_by(columns: Sequence[Effects | None]) -> set[str]:
    """Return the names of the columns that any of these looks at."""
    return {each.name for one in columns if one is not None for each in one.columns}
