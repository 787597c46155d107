"""From spans to objects to the whole drop: what was seen and what was rejected, in the order of the rows.

The rules that only a whole object can break are held here, so that they hold however it was read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from dropforge.domain.contract import Contract
from dropforge.domain.errors import DataError, EmptyData, SchemaChanged, TooManyRejects, UnreadableData
from dropforge.domain.inference import refuse_missing
from dropforge.domain.instance_rules import listed
from dropforge.domain.preparing import CheckCounts
from dropforge.domain.row_rules import shown
from dropforge.domain.survey import Identifiers, TableSurvey

_NAMED = 5


@dataclass
class SpanSurvey:
    """What was seen in a span of an object, or in all of it.

    Attributes:
        columns: those that the object names; None where only its rows can tell.
        records: rows, readable or not.
        first_bad: the text of the first record, where it is no row.
    """

    columns: Sequence[str] | None
    records: int = 0
    first_bad: str | None = None
    seen: TableSurvey = field(default_factory=TableSurvey)

    def add(self, later: SpanSurvey) -> None:
        """Add the span that follows in the same object."""
        if not self.records:
            self.first_bad = later.first_bad
        self.records += later.records
        self.seen.add(later.seen)


@dataclass
class SpanCheck:
    """What checking found in a span. `names` are the columns that its rows name, in such formats."""

    counts: CheckCounts
    names: Sequence[str] | None = None


class DropSurvey:
    """Collects the spans of a drop in the order of the rows; `total` is the evidence of whole objects.

    Args:
        target: the column that an object may lack: its rows are unlabelled then.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self.total = TableSurvey()
        self._object: SpanSurvey | None = None

    @property
    def records(self) -> int:
        """Rows of the object that is being added, so far."""
        return 0 if self._object is None else self._object.records

    def identifiers_of(self, name: str) -> Identifiers:
        """The leading integers of a column, so far."""
        seen = [self.total] if self._object is None else [self.total, self._object.seen]
        found = Identifiers()
        for table in seen:
            if name in table.columns:
                found.add(table.columns[name].identifiers)
        return found

    def add(self, uri: str, span: SpanSurvey, is_last: bool = True) -> None:
        """Add a span of the object `uri`, its last one or not.

        Raises:
            EmptyData, UnreadableData, TooManyRejects: the object has no row that can be read.
            SchemaChanged: it has other columns than the object before.
        """
        if self._object is None:
            self._object = span
        else:
            self._object.add(span)
        if not is_last:
            return
        whole, self._object = self._object, None
        refuse_empty(uri, whole.records)
        if not whole.seen.rows and whole.first_bad is not None:
            raise _nothing_readable(uri, whole.records, whole.first_bad, whole.columns)
        if whole.columns is not None:
            refuse_other_columns(uri, whole.seen, self.total, self._target)
        self.total.add(whole.seen)


class DropCheck:
    """Collects what checking found, span by span in the order of the rows."""

    def __init__(self, contract: Contract) -> None:
        self.counts = CheckCounts()
        self._contract = contract
        self.records = 0
        """Of the object that is being added, so far."""
        self._names: dict[str, None] = {}

    def add(self, uri: str, span: SpanCheck, is_last: bool = True) -> None:
        """Add a span of the object `uri`, its last one or not.

        Raises:
            EmptyData: the object has no rows.
            SchemaChanged: its rows name other columns than the contract.
        """
        self.records += span.counts.read
        self._names.update(dict.fromkeys(span.names or ()))
        self.counts.add(span.counts)
        if not is_last:
            return
        records, names = self.records, self._names
        self.records, self._names = 0, {}
        refuse_unusable(uri, records, None if span.names is None else names, self._contract)


def refuse_unusable(uri: str, records: int, names: Collection[str] | None, contract: Contract) -> None:
    """Refuse an object whose rows, all of them known, can't be used.

    Args:
        names: the columns that they name, in formats whose rows do; otherwise None.

    Raises:
        EmptyData: it has no rows.
        SchemaChanged, MissingTarget, MissingKey, MissingSplitColumn: its rows name other columns than the
            contract.
    """
    if names is not None:
        # An object without a value often leaves the key out.
        absent = [c.name for c in contract.prepared if c.nullable and c.name not in names]
        hold_to_schema(uri, [*names, *absent], (), contract)
    refuse_empty(uri, records)


def hold_to_schema(uri: str, columns: Sequence[str], retyped: Iterable[str], contract: Contract) -> None:
    """Refuse an object whose columns are not the contract's; without the target its rows are unlabelled.

    Args:
        retyped: lines about columns whose type can't hold the contract's.

    Raises:
        MissingTarget, MissingKey, MissingSplitColumn, SchemaChanged.
    """
    if all(map(contract.has_column, columns)):
        # Otherwise the target may stand there under another name.
        columns = list(dict.fromkeys([*columns, contract.target]))
    placing = (contract.group, contract.time)
    refuse_missing(contract.target, contract.key, dict.fromkeys(columns), uri, *placing)
    ignored = {column.name for column in contract.columns if column.role == "ignored"}
    expected = [column.name for column in contract.columns]
    lines = _column_lines([name for name in expected if name not in ignored or name in columns], columns)
    lines += retyped
    if lines:
        raise SchemaChanged(f"{uri} doesn't have the pinned columns: {'; '.join(lines)}.")


def refuse_empty(uri: str, records: int) -> None:
    """Raise EmptyData for an object without rows."""
    if not records:
        raise EmptyData(f"{uri} has a header and no rows. Drop a file with rows.")


def unlabelled(uris: Sequence[str], rows: int, target: str) -> str:
    """Say that nothing can be learned from objects without a single target."""
    return (
        f"None of the {rows} rows of {listed(uris, _NAMED)} has a value of the target {target!r}, so there "
        "is nothing to learn from. Drop the rows again once it is known."
    )


def _nothing_readable(uri: str, records: int, first: str, columns: Sequence[str] | None) -> DataError:
    line = repr(shown(first))
    if columns is None:
        return UnreadableData(
            f"{uri}: none of its {records} lines is a flat JSON object; row 1 is {line}. "
            'Write one object per line, such as {"a": 1}.'
        )
    return TooManyRejects(
        f"{uri}: none of its {records} rows has the header's number of fields ({len(columns)}); "
        f"row 1 of {uri} is {line}. Correct the header or the rows."
    )


def refuse_other_columns(uri: str, seen: TableSurvey, before: TableSurvey, target: str) -> None:
    """Refuse an object whose columns are not those of the objects before it, the target aside."""
    if before.columns and {*seen.columns, target} != {*before.columns, target}:
        lines = _column_lines(list(before.columns), list(seen.columns))
        raise SchemaChanged(
            f"{uri} has other columns than the objects dropped before it: {'; '.join(lines)}. "
            "Drop files with the same columns together."
        )


def _column_lines(expected: Sequence[str], given: Sequence[str]) -> list[str]:
    was, now = set(expected), set(given)
    return [f"- column {name!r} is missing" for name in expected if name not in now] + [
        f"+ column {name!r} is new" for name in given if name not in was
    ]
