"""The baseline: what the live model's ``profile.json`` says about each column."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.errors import InvalidProfile
from dropforge.domain.profile import FORMAT, nearest

LEVELS = 254
"""A sampled value is kept as one of 254 levels: the share of the column below it, or the category's rank."""

HASHED = "hashed"
"""Type of a column of which the window holds pseudonyms that can't be compared with the profile."""

MISSING = 255
OTHER = 254

Floats = NDArray[np.float64]
Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class NumericBaseline:
    """A number, integer or timestamp column.

    Attributes:
        count, missing: rows with and without a value.
        values: float64 (k,), ascending and distinct, from the least to the greatest value.
        cumulative: int64 (k,), how many rows are at most each value.
        sample: uint8 (s,), levels of sampled rows (see `codes`); None where none was stored.
        complete: whether every value of the column is among `values`.
    """

    name: str
    type: str
    count: int
    missing: int
    values: Floats
    cumulative: NDArray[np.int64]
    sample: Codes | None = None
    complete: bool = False

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> NumericBaseline:
        edges = np.asarray(entry["quantiles"], dtype=np.float64)
        cumulative = np.asarray(entry["cumulative"], dtype=np.int64)
        count = int(entry["count"])
        if len(edges) != len(cumulative) or (count > 0) != (len(edges) > 0):
            raise ValueError(f"{len(edges)} quantiles, {len(cumulative)} cumulative counts, {count} values")
        if (np.diff(edges) < 0).any() or (np.diff(cumulative) < 0).any():
            raise ValueError("quantiles or cumulative counts fall")
        last = np.append(edges[1:] != edges[:-1], True) if count else np.empty(0, dtype=bool)
        return cls(
            entry["name"], entry["type"], count, int(entry["missing"]), edges[last], cumulative[last],
            _sample(entry), bool(entry.get("distinct_exact")) and entry["distinct"] == int(last.sum()),
        )  # fmt: skip

    def bins(self, most: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return inner bounds and counts of at most `most` bins of about equal counts, the last one open.

        A bin holds what is above the bound before and at most its own bound, so a value that many rows share
        lies in one bin.
        """
        wanted = self.count * np.arange(1, most) / most
        # Between two stored values others may lie: then the nearer one is nearer to the exact bound.
        found = (
            np.searchsorted(self.cumulative, wanted, "left")
            if self.complete
            else nearest(self.cumulative, wanted)
        )
        picked = np.unique(found)
        picked = picked[picked < len(self.values) - 1]
        bounds = self.values[picked]
        return bounds, np.diff(np.concatenate([[0], self.cumulative[picked], [self.count]]))

    def codes(self, values: Any) -> Codes:
        """Return the level of each value, float64 (n,), NaN meaning missing: 0..253, the middle between the
        shares of the column that lie below the value and at most at it."""
        if not self.count:
            return np.where(np.isnan(values), MISSING, 0).astype(np.uint8)
        padded = np.concatenate([[0], self.cumulative])
        below = padded[np.searchsorted(self.values, values, "left")]
        upto = padded[np.searchsorted(self.values, values, "right")]
        levels = np.floor((below + upto) / (2 * self.count) * (LEVELS - 1e-9))
        return np.where(np.isnan(values), MISSING, levels).astype(np.uint8)


@dataclass(frozen=True)
class CategoricalBaseline:
    """A category, boolean, text or class column.

    Attributes:
        values: the categories by falling count; `counts` how often each occurs, int64 (k,).
        other: rows whose category is not listed.
    """

    name: str
    type: str
    count: int
    missing: int
    values: tuple[str, ...]
    counts: NDArray[np.int64]
    other: int
    sample: Codes | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> CategoricalBaseline:
        values = tuple(str(each["value"]) for each in entry["categories"])
        counts = np.array([int(each["count"]) for each in entry["categories"]], dtype=np.int64)
        return cls(
            entry["name"], entry["type"], int(entry["count"]), int(entry["missing"]), values, counts,
            int(entry["other"]), _sample(entry),
        )  # fmt: skip

    @cached_property
    def ranks(self) -> Mapping[str, int]:
        return {value: rank for rank, value in enumerate(self.values)}

    def codes(self, values: Sequence[str | None]) -> Codes:
        """Return the category's rank, 254 for one that is rare or unknown, 255 for a missing value."""
        return np.array(
            [MISSING if v is None else min(self.ranks.get(v, OTHER), OTHER) for v in values], dtype=np.uint8
        )


ColumnBaseline = NumericBaseline | CategoricalBaseline


def hashed(baseline: ColumnBaseline, pseudonym: Callable[[str], str | None] | None) -> ColumnBaseline:
    """Return the baseline of a column that the log holds as pseudonyms.

    Equal categories have equal pseudonyms, so categories stay comparable where `pseudonym` can be computed;
    of any other column only the missing rate is.
    """
    if isinstance(baseline, NumericBaseline) or pseudonym is None or baseline.type == "text":
        return replace(baseline, type=HASHED, sample=None)
    return replace(baseline, values=tuple(str(pseudonym(value)) for value in baseline.values), sample=None)


def column_of(entry: Mapping[str, Any]) -> ColumnBaseline:
    """Read one column's entry of a profile.

    Raises:
        InvalidProfile: the entry lacks something or contradicts itself.
    """
    try:
        return NumericBaseline.of(entry) if "quantiles" in entry else CategoricalBaseline.of(entry)
    except (KeyError, TypeError, ValueError) as error:
        name = entry.get("name") if isinstance(entry, Mapping) else None
        raise InvalidProfile(
            f"column {name!r} of the profile can't be used ({error!r}); train again, which writes a new one."
        ) from error


@dataclass(frozen=True)
class Baseline:
    """A whole profile, columns by name."""

    rows: int
    columns: Mapping[str, ColumnBaseline]

    @classmethod
    def from_json(cls, text: bytes | str) -> Baseline:
        """Read ``profile.json`` or ``prediction_profile.json``.

        Raises:
            InvalidProfile: the text is no such profile.
        """
        try:
            content = json.loads(text)
            form, rows, entries = content["format"], int(content["rows"]), list(content["columns"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidProfile(
                f"the profile can't be read ({error!r}); train again, which writes a new one."
            ) from error
        if form != FORMAT:
            raise InvalidProfile(
                f"the profile has format {form!r}, expected {FORMAT}; train again, which writes a new one."
            )
        columns = [column_of(entry) for entry in entries]
        return cls(rows, {column.name: column for column in columns})


def packed(codes: Codes) -> str:
    """Return levels as the text that stands in a profile."""
    return base64.b64encode(codes.astype(np.uint8).tobytes()).decode("ascii")


def _sample(entry: Mapping[str, Any]) -> Codes | None:
    text = entry.get("sample")
    if text is None:
        return None
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
