"""What was seen in each column of a drop: the evidence from which a contract is inferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

DISTINCT_TEXTS = 10_000
"""How many distinct values are counted exactly; a column with more is no category."""
LONGEST_CATEGORY = 256
"""Characters beyond which a value is prose rather than a category."""
IDENTIFIER_SAMPLE = 65_536
"""How many leading values must all differ for an integer column to be taken for an identifier."""


_COUNTS = (
    *("values", "numbers", "integers", "fractions", "huge_integers", "leading_zeros"),
    *("boolean_words", "boolean_digits", "timestamps", "whole", "amounts"),
)
_TALLIES = ("spellings", "placeholders", "formats", "units", "widths")


@dataclass(frozen=True)
class Sequence:
    """Whether integers count up or down by one from row to row, as a row number does."""

    first: int | None = None
    last: int | None = None
    step: int | None = None
    broken: bool = False

    @classmethod
    def of(cls, values: npt.NDArray[np.int64]) -> Sequence:
        """Examine integers, int64 (n,), in row order."""
        if not len(values):
            return cls()
        first, last = int(values[0]), int(values[-1])
        if len(values) == 1:
            return cls(first, last)
        step = int(values[1]) - first
        with np.errstate(over="ignore"):
            broken = step not in (1, -1) or bool(np.any(np.diff(values) != step))
        return cls(first, last, step, broken)

    def followed_by(self, later: Sequence) -> Sequence:
        """Join with the rows that follow."""
        if self.first is None or self.last is None:
            return later if not self.broken else self
        if later.first is None:
            return Sequence(self.first, self.last, self.step, self.broken or later.broken)
        joint = later.first - self.last
        steps = {step for step in (self.step, joint, later.step) if step is not None}
        broken = self.broken or later.broken or len(steps) > 1 or not steps <= {1, -1}
        return Sequence(self.first, later.last, joint, broken)

    @property
    def is_row_number(self) -> bool:
        """Whether there are at least two values and every step is the same, up or down by one."""
        return self.step is not None and not self.broken


class Identifiers:
    """Whether the first `IDENTIFIER_SAMPLE` integers of a column all differ."""

    def __init__(self, values: npt.NDArray[np.int64] | None = None) -> None:
        self._seen = np.empty(0, dtype=np.int64) if values is None else values[:IDENTIFIER_SAMPLE]

    def add(self, later: Identifiers) -> None:
        """Add the values of the rows that follow."""
        room = IDENTIFIER_SAMPLE - len(self._seen)
        if room > 0:
            self._seen = np.concatenate([self._seen, later._seen[:room]])

    @property
    def first(self) -> npt.NDArray[np.int64]:
        """The values that are kept, int64 (n,)."""
        return self._seen

    @property
    def is_full(self) -> bool:
        """Whether the rows that follow change nothing."""
        return len(self._seen) >= IDENTIFIER_SAMPLE

    @property
    def all_differ(self) -> bool:
        """Whether no value among them occurs twice."""
        return len(np.unique(self._seen)) == len(self._seen)


@dataclass
class ColumnSurvey:
    """Evidence about one column; every count is of rows that have a value.

    ``integers`` (64-bit, written without a point) are also counted in ``numbers`` (finite). ``whole`` are the
    numbers of a file's own type that could be integers, ``amounts`` the numbers with whatever people export
    around them. ``texts`` maps distinct values to their counts and is None once there are more than
    `DISTINCT_TEXTS` or one is too long.

    Counts by text: ``spellings`` of missing values, which are none of `values`; ``placeholders``, and such
    spellings in files that can say null, which are; ``formats`` that values of numbers and dates fit;
    ``units`` beside amounts; ``widths`` of integers in digits. ``spelled`` says whether any object had to
    spell missing values out.
    """

    values: int = 0
    numbers: int = 0
    integers: int = 0
    fractions: int = 0
    huge_integers: int = 0
    leading_zeros: int = 0
    boolean_words: int = 0
    boolean_digits: int = 0
    timestamps: int = 0
    whole: int = 0
    amounts: int = 0
    spelled: bool = False
    spellings: dict[str, int] = field(default_factory=dict)
    placeholders: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    texts: dict[str, int] | None = field(default_factory=dict)
    sequence: Sequence = field(default_factory=Sequence)
    identifiers: Identifiers = field(default_factory=Identifiers)

    def add(self, later: ColumnSurvey) -> None:
        """Add what was seen in the rows that follow."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(later, name))
        for name in _TALLIES:
            tally = getattr(self, name)
            for text, count in getattr(later, name).items():
                tally[text] = tally.get(text, 0) + count
        self.spelled |= later.spelled
        self._add_texts(later.texts)
        self.sequence = self.sequence.followed_by(later.sequence)
        self.identifiers.add(later.identifiers)

    def _add_texts(self, more: dict[str, int] | None) -> None:
        if self.texts is None or more is None:
            self.texts = None
            return
        for text, count in more.items():
            self.texts[text] = self.texts.get(text, 0) + count
        if len(self.texts) > DISTINCT_TEXTS:
            self.texts = None

    def to_dict(self) -> dict[str, Any]:
        """Return the evidence as JSON, for `from_dict`; identifiers, which are large, travel apart."""
        fields = {name: getattr(self, name) for name in (*_COUNTS, *_TALLIES, "spelled")}
        return {**fields, "texts": self.texts, "sequence": astuple(self.sequence)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], identifiers: Identifiers) -> ColumnSurvey:
        counts = {name: raw[name] for name in (*_COUNTS, *_TALLIES, "spelled")}
        return cls(**counts, texts=raw["texts"], sequence=Sequence(*raw["sequence"]), identifiers=identifiers)

    @property
    def distinct_texts(self) -> int:
        """How many distinct values there are; `DISTINCT_TEXTS` + 1 stands for more than are counted."""
        return DISTINCT_TEXTS + 1 if self.texts is None else len(self.texts)


@dataclass
class TableSurvey:
    """Evidence about a whole drop: its columns in order of first appearance, and its readable rows."""

    rows: int = 0
    columns: dict[str, ColumnSurvey] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    """In which object each column was first seen, for messages."""

    def add_column(self, name: str, source: str) -> None:
        """Note a column that the object `source` names, whether or not it has values."""
        self.columns.setdefault(name, ColumnSurvey())
        self.sources.setdefault(name, source)

    def add(self, later: TableSurvey) -> None:
        """Add the rows that follow, of the same or another object."""
        self.rows += later.rows
        for name, column in later.columns.items():
            self.columns.setdefault(name, ColumnSurvey()).add(column)
            self.sources.setdefault(name, later.sources.get(name, ""))
