"""A batch: a file dropped under ``batch/in/``, what of it goes to the model, and where everything lies.

The model is asked in requests of its serving contract, one request a line, so that a batch is scored exactly
as the endpoint would; see ``docs/architecture.md`` (Batch).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, Literal, Protocol

from dropforge.domain.contract import Contract
from dropforge.domain.errors import UnscorableBatch
from dropforge.domain.ports import ObjectRef
from dropforge.domain.triggers import Drop

IN_PREFIX, OUT_PREFIX, WORK_PREFIX = "batch/in/", "batch/out/", "batch/work/"
MANIFEST_SUFFIX, REJECTED_SUFFIX = ".manifest.json", ".rejected.jsonl"
CONTENT_TYPE = "application/json"

REQUEST_ROWS = 500
REQUEST_BYTES = 1 << 20
"""A request closes at either bound: enough rows to share a call's cost, and few enough that the answer, with
the probabilities of many classes, is no larger than a payload of the transform job, 6 MB."""
MAXIMUM_ROW_BYTES = 4 << 20
RULE_SIZE = "size"

RowId = int | str


@dataclass(frozen=True, slots=True)
class TableForm:
    """How a table is written: ``csv`` (with its delimiter) or ``json`` (lines)."""

    format: Literal["csv", "json"]
    delimiter: str = ","


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One rule that a row breaks; `column` is None for the record as a whole, `value` what stood there."""

    rule: str
    column: str | None
    value: str | None


@dataclass(frozen=True, slots=True)
class ScorableRow:
    """A row that keeps the contract. `number` counts the file's data rows from 1."""

    number: int
    id: RowId
    instance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that doesn't, with every rule that it breaks. `id` is None where that is what is missing."""

    number: int
    id: RowId | None
    problems: tuple[RowProblem, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the line of the file of rejected rows."""
        return {"row": self.number, "id": self.id, "problems": [asdict(each) for each in self.problems]}


class BatchTable(Protocol):
    """An open file of a batch, for a single pass."""

    form: TableForm

    def rows(self) -> Iterator[ScorableRow | RejectedRow]:
        """Yield every row in the file's order, in bounded memory.

        Raises:
            EmptyData, UnreadableData: the file has no rows, or is damaged further on.
            UnscorableBatch: its columns don't fit the contract; for JSON lines that is known at the end.
        """
        ...


class BatchTables(Protocol):
    """Files of batches, and files of results in the same compression."""

    def open(self, ref: ObjectRef, contract: Contract) -> AbstractContextManager[BatchTable]:
        """Open a file.

        Raises:
            EmptyData, UnreadableData, UnsupportedFormat, DuplicateColumn: it is no table.
            UnscorableBatch: its header doesn't fit the contract.
        """
        ...

    def compressing(self, file: BinaryIO, name: str) -> AbstractContextManager[BinaryIO]:
        """A stream that writes to `file`, compressed as the name says; the same bytes give the same file."""
        ...


@dataclass(frozen=True, slots=True)
class BatchPlaces:
    """Where a batch is read, worked on and answered, all derived from the drop and the stack's bucket.

    What was dropped keeps its name; a file of the source is named by its bucket and key, so that no two meet.

    >>> BatchPlaces(Drop("b", "batch/in/may/new.csv", "v1", "e", "01", 9), "b").result_uri
    's3://b/batch/out/may/new.csv'
    >>> BatchPlaces(Drop("lake", "daily/new.csv", None, "e", "01", 9), "b").result_uri
    's3://b/batch/out/lake/daily/new.csv'
    """

    drop: Drop
    data_bucket: str

    def __post_init__(self) -> None:
        key = self.drop.key
        if key.endswith((MANIFEST_SUFFIX, REJECTED_SUFFIX)):
            raise UnscorableBatch(
                f"s3://{self.drop.bucket}/{key}: a name that ends in {MANIFEST_SUFFIX} or {REJECTED_SUFFIX} "
                "belongs to the results of another batch; rename the file and drop it again."
            )

    @property
    def name(self) -> str:
        if self.drop.bucket == self.data_bucket and self.drop.key.startswith(IN_PREFIX):
            return self.drop.key.removeprefix(IN_PREFIX)
        return f"{self.drop.bucket}/{self.drop.key}"

    @property
    def work_uri(self) -> str:
        return f"s3://{self.data_bucket}/{WORK_PREFIX}{self.drop.run_id}/"

    @property
    def claim_uri(self) -> str:
        return f"{self.work_uri}claim.json"

    @property
    def plan_uri(self) -> str:
        return f"{self.work_uri}plan.json"

    @property
    def outcomes_uri(self) -> str:
        """JSON lines of what turned out to be true, ``id`` and ``outcome`` by row; missing until then."""
        return f"{self.work_uri}outcomes.jsonl"

    @property
    def requests_uri(self) -> str:
        return f"{self.work_uri}input/requests.jsonl"

    @property
    def ids_uri(self) -> str:
        return f"{self.work_uri}ids.jsonl"

    @property
    def output_uri(self) -> str:
        """The folder of the transform jobs' output; each attempt has one of its own in it."""
        return f"{self.work_uri}output/"

    @property
    def result_uri(self) -> str:
        return f"s3://{self.data_bucket}/{OUT_PREFIX}{self.name}"

    @property
    def rejected_uri(self) -> str:
        return f"{self.result_uri}{REJECTED_SUFFIX}"

    @property
    def staged_rejected_uri(self) -> str:
        return f"{self.work_uri}rejected.jsonl"

    @property
    def manifest_uri(self) -> str:
        return f"{self.result_uri}{MANIFEST_SUFFIX}"


@dataclass
class RejectReasons:
    """Rejected rows by rule and column, with the first examples."""

    examples_kept: int = 3
    _found: dict[tuple[str, str | None], list[Any]] = field(default_factory=dict)

    def add(self, row: RejectedRow) -> None:
        for problem in row.problems:
            entry = self._found.setdefault((problem.rule, problem.column), [0, []])
            entry[0] += 1
            if len(entry[1]) < self.examples_kept:
                entry[1].append({"row": row.number, "value": problem.value})

    def top(self, limit: int) -> list[dict[str, Any]]:
        """The most frequent reasons first."""
        ranked = sorted(self._found.items(), key=lambda item: (-item[1][0], str(item[0])))
        return [
            {"rule": rule, "column": column, "rows": count, "examples": examples}
            for (rule, column), (count, examples) in ranked[:limit]
        ]


def hold_columns(uri: str, present: Sequence[str], contract: Contract, *, may_leave_out: bool) -> None:
    """Refuse a file whose columns are not those that the model is asked with.

    Every feature has to be there, and the key where there is one; ignored columns and the target may be.

    Args:
        present: the file's columns.
        may_leave_out: whether nullable columns may be absent altogether, as in JSON lines.

    Raises:
        UnscorableBatch: naming every column that is missing or unknown.
    """
    needed = [
        column.name
        for column in contract.columns
        if column.role == "key" or (column.role == "feature" and not (may_leave_out and column.nullable))
    ]
    problems = [f"column {name!r} is missing" for name in needed if name not in present]
    problems += [
        f"column {name!r} is no column of the contract" for name in present if not contract.has_column(name)
    ]
    if problems:
        raise UnscorableBatch(
            f"{uri} doesn't have the columns of the live model: {'; '.join(problems)}. Drop a file with the "
            "live model's columns; the target may be left out."
        )


def is_newer(one: Drop, other: Drop) -> bool:
    """Whether `one` was written after `other`, both under one key."""
    return one.sequence > other.sequence
