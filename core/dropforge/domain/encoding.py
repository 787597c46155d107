"""Turns typed columns into the float64 matrix that estimators learn from; the same code trains and serves.

A *column array* is the neutral form of a column's values, whether they come from Parquet or from a request:

- ``number``, ``integer``, ``boolean``: float64, NaN where missing (booleans are 0 and 1; integers beyond
  2**53 round, as in every float64 learner);
- ``timestamp``: float64 microseconds since 1970-01-01 UTC, NaN where missing;
- ``category``, ``text``: object array of str, None where missing, or the same as `Labels`, without an object
  per row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dropforge.domain.contract import LEARNED, MAXIMUM_CATEGORIES, Column, Contract
from dropforge.domain.errors import InvalidModel
from dropforge.domain.text_features import TextFeatures, names

FORMAT = 1
FORMAT_WITH_TEXTS = 2
"""Where columns are learned from as texts. Without any the file is what it always was."""

TIMESTAMP_PARTS = ("days", "hour", "weekday", "day of year")
"""What is learned from a point in time: days since 1970 for trends, the rest for cycles (all UTC)."""

_MICROSECONDS_PER_HOUR = 3_600_000_000
_MICROSECONDS_PER_DAY = 24 * _MICROSECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Labels:
    """Values of a category or text column: row i holds ``words[codes[i]]``, or none where its code is −1."""

    words: tuple[str, ...]
    codes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: NDArray[np.intp]) -> Labels:
        """Return those rows, in that order."""
        return Labels(self.words, self.codes[rows])

    def to_objects(self) -> NDArray[np.object_]:
        """Return the values as str, None where one is missing."""
        return np.array([*self.words, None], dtype=object)[self.codes]

    def counts(self) -> dict[str, int]:
        """Return how many rows hold each of the words, missing values not counted."""
        found = np.bincount(self.codes[self.codes >= 0], minlength=len(self.words))
        return {word: count for word, count in zip(self.words, found.tolist(), strict=True) if count}

    def mapped(self, values: Mapping[str, float], other: float, missing: float) -> NDArray[np.float64]:
        """Return each row's number: that of its word, `other` for words without one."""
        table = np.array([*(values.get(word, other) for word in self.words), missing], dtype=np.float64)
        return table[self.codes]  # −1 is the last


ColumnArrays = Mapping[str, Any]
"""Column arrays by name."""


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

    A timestamp becomes one numeric column per entry of TIMESTAMP_PARTS, a text one per entry of
    `text_features.names`; every other feature becomes one, followed by those of a text if it has so many
    categories that these say more (``encoding``).
    """
    columns: list[MatrixColumn] = []
    for feature in contract.features:
        parts: Sequence[str] = ()
        if feature.type == "timestamp":
            parts = TIMESTAMP_PARTS
        elif feature.type != "text":
            kind = {"category": "categorical", "boolean": "boolean"}.get(feature.type, "numeric")
            columns.append(MatrixColumn(feature.name, feature.name, kind))
        if is_learned(feature):
            parts = names(feature.type == "text", contract.classes)
        columns += [MatrixColumn(f"{feature.name} ({part})", feature.name, "numeric") for part in parts]
    return tuple(columns)


def is_learned(column: Column) -> bool:
    """Whether a feature's numbers are learned with the target: of texts and of many categories."""
    return column.type == "text" or column.encoding == LEARNED


def learned_columns(contract: Contract) -> tuple[Column, ...]:
    """Return the features whose numbers are learned with the target, in contract order."""
    return tuple(column for column in contract.features if is_learned(column))


@dataclass(frozen=True)
class Encoding:
    """The contract plus what was seen in training: all that is needed to encode a row.

    ``vocabularies`` are the categories of each category column; ``texts`` what was learned of each of
    `learned_columns`, which need it before rows can be encoded.
    """

    contract: Contract
    vocabularies: Mapping[str, tuple[str, ...]]
    texts: Mapping[str, TextFeatures] = field(default_factory=dict)

    @classmethod
    def learn(cls, contract: Contract, batches: Iterable[Mapping[str, Labels]]) -> Encoding:
        """Collect each category column's MAXIMUM_CATEGORIES most frequent values, ties in string order.

        Args:
            batches: all rows, in pieces; of each its category columns.
        """
        return cls.of_counts(contract, category_counts(contract, batches))

    @classmethod
    def of_counts(cls, contract: Contract, counts: Mapping[str, Mapping[str, int]]) -> Encoding:
        """Do as `learn` does with rows that were counted before, of each category column."""
        return cls(contract, {name: _most_frequent(each) for name, each in counts.items()})

    @classmethod
    def from_json(cls, text: str | bytes, contract: Contract) -> Encoding:
        """Read what `to_json` wrote.

        Raises:
            InvalidModel: the text is no encoding of this contract.
        """
        try:
            raw = json.loads(text)
            vocabularies = {str(name): tuple(map(str, words)) for name, words in raw["vocabularies"].items()}
            texts = {str(n): TextFeatures.from_dict(each) for n, each in raw.get("texts", {}).items()}
            version = raw["format"]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidModel(f"encoding.json is no encoding ({error!r}); train the model again.") from error
        expected = {feature.name for feature in contract.features if feature.type == "category"}
        learned = {feature.name for feature in learned_columns(contract)}
        wanted = FORMAT_WITH_TEXTS if learned else FORMAT
        if version != wanted or set(vocabularies) != expected or set(texts) != learned:
            raise InvalidModel(
                f"encoding.json doesn't fit contract.json: it must have the format {wanted}, vocabularies of "
                f"{sorted(expected)} and what was learned of {sorted(learned)}; train the model again."
            )
        return cls(contract, vocabularies, texts)

    def to_json(self) -> str:
        """Return all but the contract, which has a file of its own, as JSON."""
        content: dict[str, Any] = {
            "format": FORMAT_WITH_TEXTS if self.texts else FORMAT,
            "vocabularies": {n: list(v) for n, v in self.vocabularies.items()},
        }
        if self.texts:
            content["texts"] = {name: each.to_dict() for name, each in self.texts.items()}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

    def with_texts(self, texts: Mapping[str, TextFeatures]) -> Encoding:
        """Return it with what was learned of each of `learned_columns`."""
        return replace(self, texts=texts)

    @cached_property
    def columns(self) -> tuple[MatrixColumn, ...]:
        """The columns of the matrix, in order."""
        return matrix_columns(self.contract)

    def encode(
        self, columns: ColumnArrays, own: Mapping[str, NDArray[np.float32]] | None = None
    ) -> NDArray[np.float64]:
        """Encode column arrays of n rows into float64 (n, len(self.columns)), NaN where a value is missing.

        A category that is not in the vocabulary gets the code ``len(vocabulary)``.

        Args:
            own: of rows that the encoding was learned from, the numbers of texts that their own targets say
                nothing of, by column; of any other row those of ``texts`` are taken.
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
            elif feature.type == "text":
                position -= 1
            else:
                matrix[:, position] = values
            position += 1
            if is_learned(feature):
                numbers = self._learned(feature.name, values) if own is None else own[feature.name]
                matrix[:, position : position + numbers.shape[1]] = numbers
                position += numbers.shape[1]
        return matrix

    def _codes(self, name: str, values: NDArray[Any] | Labels) -> NDArray[np.float64] | list[float]:
        codes = self._codes_by_value[name]
        unseen = float(len(self.vocabularies[name]))
        if isinstance(values, Labels):
            return values.mapped(codes, unseen, np.nan)
        return [codes.get(value, unseen) for value in values]

    def _learned(self, name: str, values: NDArray[Any] | Labels) -> NDArray[np.float64]:
        if isinstance(values, Labels):
            return self.texts[name].encode([*values.words, None])[values.codes]
        return self.texts[name].encode(values)

    @cached_property
    def _codes_by_value(self) -> dict[str, dict[Any, float]]:
        return {
            name: {None: np.nan, **{word: float(code) for code, word in enumerate(words)}}
            for name, words in self.vocabularies.items()
        }


def category_counts(contract: Contract, batches: Iterable[Mapping[str, Labels]]) -> dict[str, Counter[str]]:
    """Return how many rows hold each value of each category column; see `Encoding.learn`."""
    names = [feature.name for feature in contract.features if feature.type == "category"]
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for batch in batches:
        for name in names:
            counts[name].update(batch[name].counts())
    return counts


def _most_frequent(counts: Mapping[str, int]) -> tuple[str, ...]:
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
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
