"""The words in which preparation is asked for and answered, and the port of the table machinery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, astuple, dataclass, field, replace
from typing import Any, Protocol

from dropforge.domain.contract import Contract
from dropforge.domain.leakage import Evidence
from dropforge.domain.ports import ObjectRef
from dropforge.domain.profile import TableProfile
from dropforge.domain.splitting import SPLITS
from dropforge.domain.survey import TableSurvey
from dropforge.domain.time_split import Boundaries, Times

EXAMPLES_PER_REASON = 3

SAMPLE_ROWS = 2000
"""Rows of which the profile keeps a coarse picture, for the domain classifier: 2.7 kB per column. Its AUC
then has a standard error of 0.013 at most where the window is as large."""


@dataclass(frozen=True, slots=True)
class Example:
    """One reject, as messages and the report show it. `row` counts the object's data rows from 1."""

    source: str
    row: int
    value: str | None

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Example:
        return cls(raw["source"], raw["row"], raw["value"])


@dataclass
class Reason:
    """How often one rule was broken in one column, with the first examples."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass
class ObjectCounts:
    """What happened to the rows of one object. `unlabelled` ones have no target."""

    read: int = 0
    rejected: int = 0
    unlabelled: int = 0

    @property
    def staged(self) -> int:
        """Rows that keep the contract and can be learned from."""
        return self.read - self.rejected - self.unlabelled


@dataclass
class CheckCounts:
    """What checking found.

    Attributes:
        reasons: keyed by rule and column (None: the record as a whole).
        filled: up to two different values of each column that said nothing in the first drop.
        read_otherwise: the last reading that may have split the rows by other values, by column.
        missing: how often each text of a column was read as missing, empty ones aside.
    """

    objects: dict[str, ObjectCounts] = field(default_factory=dict)
    reasons: dict[tuple[str, str | None], Reason] = field(default_factory=dict)
    filled: dict[str, list[str]] = field(default_factory=dict)
    read_otherwise: dict[str, int] = field(default_factory=dict)
    missing: dict[str, dict[str, int]] = field(default_factory=dict)

    def fill(self, name: str, values: Sequence[str]) -> None:
        """Note values of a column that said nothing in the first drop."""
        self.filled[name] = list(dict.fromkeys([*self.filled.get(name, ()), *values]))[:2]

    def note_missing(self, missing: Mapping[str, Mapping[str, int]]) -> None:
        """Add texts that were read as missing, by column."""
        for name, counts in missing.items():
            total = self.missing.setdefault(name, {})
            for text, count in counts.items():
                total[text] = total.get(text, 0) + count

    def note_reading(self, read_otherwise: Mapping[str, int]) -> None:
        """Note columns that earlier releases read otherwise."""
        for name, reading in read_otherwise.items():
            self.read_otherwise[name] = max(reading, self.read_otherwise.get(name, 0))

    @property
    def read(self) -> int:
        return sum(counts.read for counts in self.objects.values())

    @property
    def rejected(self) -> int:
        return sum(counts.rejected for counts in self.objects.values())

    @property
    def unlabelled(self) -> int:
        return sum(counts.unlabelled for counts in self.objects.values())

    def top_reasons(self) -> list[tuple[str, str | None, Reason]]:
        """Return rule, column and reason, the most frequent first."""
        ranked = sorted(self.reasons.items(), key=lambda item: (-item[1].count, str(item[0])))
        return [(rule, column, reason) for (rule, column), reason in ranked]

    def add(self, later: CheckCounts) -> None:
        """Add what checking found in the rows that follow; its rows are numbered from where they begin."""
        for key, more in later.reasons.items():
            reason = self.reasons.setdefault(key, Reason())
            reason.count += more.count
            for example in more.examples[: EXAMPLES_PER_REASON - len(reason.examples)]:
                before = self.objects.get(example.source, ObjectCounts()).read
                reason.examples.append(replace(example, row=example.row + before))
        for name, values in later.filled.items():
            self.fill(name, values)
        self.note_reading(later.read_otherwise)
        self.note_missing(later.missing)
        for source, counts in later.objects.items():
            total = self.objects.setdefault(source, ObjectCounts())
            total.read += counts.read
            total.rejected += counts.rejected
            total.unlabelled += counts.unlabelled

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON, for `from_dict`."""
        return {
            "objects": {source: astuple(each) for source, each in self.objects.items()},
            "reasons": [
                [rule, column, reason.count, [asdict(example) for example in reason.examples]]
                for (rule, column), reason in self.reasons.items()
            ],
            "filled": self.filled,
            "read_otherwise": self.read_otherwise,
            "missing": self.missing,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> CheckCounts:
        return cls(
            {source: ObjectCounts(*each) for source, each in raw["objects"].items()},
            {
                (rule, column): Reason(count, [Example.from_dict(each) for each in examples])
                for rule, column, count, examples in raw["reasons"]
            },
            {name: list(values) for name, values in raw["filled"].items()},
            # Chunks that were checked before an upgrade say nothing of it.
            dict(raw.get("read_otherwise", {})),
            {name: dict(counts) for name, counts in raw.get("missing", {}).items()},
        )


@dataclass
class SplitCounts:
    """Rows per split, and per split the rows of each class (empty for a regression)."""

    rows: dict[str, int]
    classes: dict[str, dict[str, int]]
    twin_share: float | None = None
    """Of the test rows, those with an equal in training, where every row is split for itself."""
    groups: int | None = None
    """How many there are, where rows have groups; of many an estimate."""
    left_out: int = 0
    """Rows that go to no split, because their groups occur in the test."""


def split_counts_of(
    rows: Sequence[Sequence[int]],
    contract: Contract,
    twin_share: float | None = None,
    groups: int | None = None,
    left_out: int = 0,
) -> SplitCounts:
    """Name the rows per split and class, [3][n_classes]; of a regression, [3][1]; or [] for none."""
    classes = contract.classes or ()
    rows = rows or [[0] * max(len(classes), 1)] * len(SPLITS)
    return SplitCounts(
        {split: sum(each) for split, each in zip(SPLITS, rows, strict=True)},
        {
            split: {label: count for label, count in zip(classes, each, strict=bool(classes)) if count}
            for split, each in zip(SPLITS, rows, strict=True)
        },
        twin_share,
        groups,
        left_out,
    )


@dataclass
class Written:
    """What came out: counts per split, and the profile of all rows that were kept.

    `sample` holds the values of a random sample of these rows by column name, equally long: float64 with NaN
    for a missing value, or texts with None. Keys and columns that are private or unjudged are not in it.
    """

    splits: SplitCounts
    profile: TableProfile
    sample: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=Evidence)
    """Of leaks."""


@dataclass(frozen=True, slots=True)
class Recurrence:
    """An object whose rows a later one holds again, and how many of them were left out for that."""

    source: str
    later: str
    rows: int


@dataclass(frozen=True, slots=True)
class Duplicates:
    """How many rows were left out because they come again, of which objects, and where there is no key, in
    which others they do."""

    rows: int = 0
    recurrences: tuple[Recurrence, ...] = ()
    objects: Mapping[str, int] = field(default_factory=dict)


class StagedRows(Protocol):
    """Rows that keep the contract, waiting on local disk."""

    counts: CheckCounts

    @property
    def has_few_combinations(self) -> bool:
        """Whether there are too few different rows, target aside, to split by them."""
        ...

    def split_by_row(self, contract: Contract) -> None:
        """Follow a contract that differs in giving every row a split of its own."""
        ...

    def times(self) -> Times:
        """Return the times of the remaining rows, where these decide on the split."""
        ...

    def place(self, boundaries: Boundaries) -> None:
        """Split the remaining rows at these times."""
        ...

    def deduplicate(self) -> Duplicates:
        """Drop all but the last row of every key; or without a key, what later objects hold again."""
        ...

    def split_counts(self) -> SplitCounts:
        """Count the remaining rows per split and class, without writing anything."""
        ...

    def write(self, prefix_uri: str) -> Written:
        """Write the remaining rows as Parquet under ``<prefix_uri><split>/``."""
        ...


class Tables(Protocol):
    """The machinery that streams tables through a bounded amount of memory."""

    def survey(self, objects: Sequence[ObjectRef], target: str) -> TableSurvey:
        """Examine every row of the objects, which may lack the target.

        Raises:
            EmptyData, UnreadableData, UnsupportedFormat, UnsupportedColumn, DuplicateColumn.
        """
        ...

    def check(self, ref: ObjectRef, contract: Contract) -> ObjectCounts:
        """Check every row of one object, and keep nothing. Raises what `stage` raises of it."""
        ...

    def stage(
        self, objects: Sequence[ObjectRef], contract: Contract, rejected_uri: str
    ) -> AbstractContextManager[StagedRows]:
        """Check every row of the objects, the oldest object first; write rejects under `rejected_uri`.

        Raises:
            SchemaChanged: an object has other columns, or columns of another type, than the contract.
            MissingTarget, MissingKey: an object lacks the target or the key.
            EmptyData, UnreadableData, UnsupportedFormat, UnsupportedColumn, DuplicateColumn.
        """
        ...
