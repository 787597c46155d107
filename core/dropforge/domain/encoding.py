"""Turns typed columns into the float64 matrix that estimators learn from; the same code trains and serves.

A *column array* is the neutral form of a column's values, whether they come from Parquet or from a request:

- ``number``, ``integer``, ``boolean``: float64, NaN where missing (booleans are 0 and 1; integers beyond
  2**53 round, as in every float64 learner);
- ``timestamp``: float64 microseconds since 1970-01-01 UTC, NaN where missing;
- ``category``: object array of str, None where missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.contract import MAXIMUM_CATEGORIES, Contract
from dropforge.domain.errors import InvalidModel

FORMAT = 1

TIMESTAMP_PARTS = ("days", "hour", "weekday", "day of year")
"""What is learned from a point in time: days since 1970 for trends, the rest for cycles (all UTC)."""

_MICROSECONDS_PER_HOUR = 3_600_000_000
_MICROSECONDS_PER_DAY = 24 * _MICROSECONDS_PER_HOUR

ColumnArrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class MatrixColumn:
    """One column of the matrix: its name, the contract's column it is made of, and how to read it.

    ``kind`` is ``numeric`` (any finite number), ``boolean`` (0 or 1) or ``categorical`` (a code: 0 is the
    most frequent category of the fitted rows, ``len(vocabulary)`` stands for every unseen or rare one).
    Missing is NaN in all of them.
    """

    name: str
    source: str
    kind: str


def matrix_columns(contract: Contract) -> tuple[MatrixColumn, ...]:
    """Return the columns of the encoded matrix, in order. They depend on the contract alone.

    A timestamp becomes one numeric column per entry of TIMESTAMP_PARTS; every other feature becomes one.
    """
    columns: list[MatrixColumn] = []
    for feature in contract.features:
        if feature.type == "timestamp":
            columns += [
                MatrixColumn(f"{feature.name} ({part})", feature.name, "numeric") for part in TIMESTAMP_PARTS
            ]
        else:
            kind = {"category": "categorical", "boolean": "boolean"}.get(feature.type, "numeric")
            columns.append(MatrixColumn(feature.name, feature.name, kind))
    return tuple(columns)


@dataclass(frozen=True)
class Encoding:
    """The contract plus the category vocabularies seen in training: all that is needed to encode a row."""

    contract: Contract
    vocabularies: Mapping[str, tuple[str, ...]]

    @classmethod
    def learn(cls, contract: Contract, columns: ColumnArrays) -> Encoding:
        """Collect each category column's MAXIMUM_CATEGORIES most frequent values, ties in string order."""
        return cls(
            contract,
            {
                feature.name: _most_frequent(columns[feature.name])
                for feature in contract.features
                if feature.type == "category"
            },
        )

    @classmethod
    def from_json(cls, text: str | bytes, contract: Contract) -> Encoding:
        """Read what `to_json` wrote.

        Raises:
            InvalidModel: the text is no encoding of this contract.
        """
        try:
            raw = json.loads(text)
            vocabularies = {str(name): tuple(map(str, words)) for name, words in raw["vocabularies"].items()}
            version = raw["format"]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidModel(f"encoding.json is no encoding ({error!r}); train the model again.") from error
        expected = {feature.name for feature in contract.features if feature.type == "category"}
        if version != FORMAT or set(vocabularies) != expected:
            raise InvalidModel(
                "encoding.json doesn't fit contract.json: it must have the format "
                f"{FORMAT} and vocabularies of {sorted(expected)}; train the model again."
            )
        return cls(contract, vocabularies)

    def to_json(self) -> str:
        """Return the vocabularies as JSON; the contract has a file of its own."""
        content = {"format": FORMAT, "vocabularies": {n: list(v) for n, v in self.vocabularies.items()}}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    @cached_property
    def columns(self) -> tuple[MatrixColumn, ...]:
        """The columns of the matrix, in order."""
        return matrix_columns(self.contract)

    def encode(self, columns: ColumnArrays) -> NDArray[np.float64]:
        """Encode column arrays of n rows into float64 (n, len(self.columns)), NaN where a value is missing.

        A category that is not in the vocabulary gets the code ``len(vocabulary)``.
        """
        rows = len(columns[self.contract.features[0].name])
        matrix = np.empty((rows, len(self.columns)), dtype=np.float64)
        position = 0
        for feature in self.contract.features:
            values = columns[feature.name]
            if feature.type == "category":
                matrix[:, position] = self._codes(feature.name, values)
            elif feature.type == "timestamp":
                matrix[:, position : position + len(TIMESTAMP_PARTS)] = _parts_of(values)
                position += len(TIMESTAMP_PARTS) - 1
            else:
                matrix[:, position] = values
            position += 1
        return matrix

    def _codes(self, name: str, values: NDArray[Any]) -> list[float]:
        codes = self._codes_by_value[name]
        unseen = float(len(self.vocabularies[name]))
        return [codes.get(value, unseen) for value in values]

    @cached_property
    def _codes_by_value(self) -> dict[str, dict[str | None, float]]:
        return {
            name: {None: np.nan, **{word: float(code) for code, word in enumerate(words)}}
            for name, words in self.vocabularies.items()
        }


def _most_frequent(values: NDArray[Any]) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for value in values:
        if value is not None:
            counts[value] = counts.get(value, 0) + 1
    ranked: Sequence[str] = sorted(counts, key=lambda word: (-counts[word], word))
    return tuple(ranked[:MAXIMUM_CATEGORIES])


def _parts_of(microseconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Split points in time into TIMESTAMP_PARTS: float64 (n, 4), NaN rows where the time is missing."""
    parts = np.full((len(microseconds), len(TIMESTAMP_PARTS)), np.nan)
    known = ~np.isnan(microseconds)
    days, of_day = np.divmod(microseconds[known], _MICROSECONDS_PER_DAY)
    dates = days.astype("datetime64[D]")
    parts[known, 0] = days + of_day / _MICROSECONDS_PER_DAY
    parts[known, 1] = of_day // _MICROSECONDS_PER_HOUR
    parts[known, 2] = (days + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    parts[known, 3] = (dates - dates.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.float64)
    return parts
