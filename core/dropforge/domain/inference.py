"""How the first drop becomes a contract. The rules:

- A column is a number, integer or date if every value is one; or if at most the tolerated share is not and
  there are more than `MEASURED_DISTINCT` different values, so that stray words ("unknown") in a measured
  column cost their rows instead of the column. Few different values with a word among them are categories.
  Placeholders ("?", "-") beside numbers and dates are missing values.
- Numbers and dates may be written as people export them; the column then has a format (see `formats`).
- Leading zeros without a point (``007``) or integers beyond 64 bits in any value make a column text: as
  numbers, different identifiers would become equal.
- true/false in any usual case, with 0/1 among them, is boolean; 0/1 alone is integer.
- Other values are a category, unless most rows have a value of their own or there are more different ones
  than are counted; those are text. Of texts, and of categories with more values than have codes, the first
  MAXIMUM_TEXTS columns are learned from by their words, or by what their values say of the target.
- Constant columns, columns without values, row numbers, exported indexes and identifiers are ignored, each
  with a note.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dropforge.domain.contract import (
    LEARNED,
    MAXIMUM_CATEGORIES,
    MAXIMUM_TEXTS,
    NO_VALUES,
    ONE_VALUE,
    RESERVED,
    TIME_TYPES,
    Column,
    Contract,
)
from dropforge.domain.errors import (
    ConstantTarget,
    MissingKey,
    MissingSplitColumn,
    MissingTarget,
    TooFewRows,
    UnsuitableSplitColumn,
    UnsuitableTarget,
    UnsupportedColumn,
)
from dropforge.domain.formats import MEASURED_DISTINCT, Locale, Reading, code_format, reading_of
from dropforge.domain.row_rules import MISSING_SPELLINGS, finite_number, label_of, whole_number
from dropforge.domain.survey import DISTINCT_TEXTS, ColumnSurvey, TableSurvey

MAXIMUM_CLASSES = 100
FEW_INTEGERS = 20
ROWS_PER_INTEGER = 10
"""An integer target is a class if it has at most 20 values and on average at least 10 rows for each."""
MINIMUM_CLASS_ROWS = 10
"""With 10 rows, the chance that none of them lands in the 80 % for training is 10^-7."""

_TIMES_NAMED = 5
_UNCOUNTED = DISTINCT_TEXTS + 1
_INDEX_NAME = re.compile(r"^(Unnamed: \d+|__index_level_\d+__|level_\d+)$")
_IDENTIFIER_NAME = re.compile(r"(^|[\s_.-])(id|uuid|guid|index|key|no|nr)$", re.IGNORECASE)
_GROUP_NAME = re.compile(
    r"(^|[\s_.-])(customer|client|patient|subject|user|person|member|household|account|device|machine|session|"
    r"employee|company|vehicle)([\s_.-]?(id|key|no|nr|number|name))?$",
    re.IGNORECASE,
)
GROUP_NOTE = "it says which rows belong together (GroupColumn), so it is not learned from"
TIME_NOTE = "it says which rows are newer (SplitColumn), so it is not learned from"
GUARDED_NOTE = "quality is judged by its values (GuardedColumns), and it is not learned from"
_CAMEL_IDENTIFIER = re.compile(r"[a-z](Id|ID)$")


@dataclass(frozen=True, slots=True)
class Inferred:
    """A contract, and what goes into the report: the remarks, and per column the texts that were read as
    missing with their counts."""

    contract: Contract
    notes: tuple[str, ...]
    missing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def infer_contract(
    survey: TableSurvey,
    *,
    target: str,
    key: str | None,
    task: str,
    tolerated: float,
    group: str | None = None,
    time: str | None = None,
) -> Inferred:
    """Infer the contract of a first drop.

    Args:
        survey: what was seen in all of its rows.
        target: the column to predict.
        key: the column that identifies a row, or None.
        task: ``binary``, ``multiclass``, ``regression``, or ``auto``: classes for text, booleans and few
            integers, a regression for other numbers.
        tolerated: the share of rows that may be rejected, in [0, 1).
        group: the column that says which rows belong together, or None.
        time: the column that says which rows are newer, or None.

    Raises:
        MissingTarget, MissingKey, MissingSplitColumn, ConstantTarget, UnsuitableTarget, UnsupportedColumn,
            UnsuitableSplitColumn, TooFewRows.
    """
    _require_columns(survey, target, key, group, time)
    notes: list[str] = []
    locale = Locale.of(survey)
    reading = reading_of(target, survey.columns[target], tolerated, locale)
    task, classes, target_type = _infer_target(
        target, survey.columns[target], reading, task, tolerated, notes, survey.sources.get(target, "")
    )
    columns = []
    for name, seen in survey.columns.items():
        if name == target:
            told = reading if target_type == reading.kind else Reading(target_type, missing=reading.missing)
            columns.append(
                Column(
                    *(name, target_type, "target"), missing=told.missing, format=told.format, note=told.note
                )
            )
        elif name == key:
            columns.append(_key_column(name, seen))
        elif name == group:
            columns.append(replace(_key_column(name, seen), role="split", note=GROUP_NOTE))
            notes.append(f"column {name!r}: {GROUP_NOTE}")
        elif name == time:
            columns.append(_time_column(name, seen, reading_of(name, seen, tolerated, locale)))
            notes.append(f"column {name!r}: {TIME_NOTE}")
        else:
            texts = sum(c.role == "feature" and (c.type == "text" or c.encoding is not None) for c in columns)
            columns.append(_infer_column(name, seen, survey, tolerated, locale, notes, texts))
    missing = {column.name: _read_as_missing(survey.columns[column.name], column) for column in columns}
    missing = {name: counts for name, counts in missing.items() if counts}
    for name, counts in missing.items():
        listed = ", ".join(f"{text!r} ({count})" for text, count in counts.items())
        notes.append(f"column {name!r}: read as missing: {listed}")
    if not any(column.role == "feature" for column in columns):
        raise TooFewRows(
            f"No column is left to learn {target!r} from: {'; '.join(notes) or 'there is no other column'}. "
            "Drop a table with at least one column that varies."
        )
    # The target is left out, so that nothing of it shows in the split; equal rows lie in one split.
    features = tuple(column.name for column in columns if column.role == "feature")
    split_by = features if key is None else None
    contract = Contract(target, key, task, classes, tuple(columns), split_by, group, time)
    if group is None:
        notes += _looks_like_groups(contract, survey)
    if time is None:
        notes += _looks_like_time(contract)
    return Inferred(contract, tuple(notes), missing)


def _read_as_missing(seen: ColumnSurvey, column: Column) -> dict[str, int]:
    """The texts that were read as missing, with their counts; empty where none was spelled out."""
    counts = dict(seen.spellings)
    means_missing = MISSING_SPELLINGS if column.missing is None else column.missing
    for text, count in seen.placeholders.items():
        if text in means_missing:
            counts[text] = counts.get(text, 0) + count
    return dict(sorted(counts.items()))


def refuse_missing(
    target: str, key: str | None, present: Mapping[str, object], source: str, *placing: str | None
) -> None:
    """Raise MissingTarget, MissingKey or MissingSplitColumn unless the object `source` has these columns.

    Args:
        placing: the columns that decide on the split, each None for none.
    """
    for role, name, error in (
        ("target", target, MissingTarget),
        ("key", key, MissingKey),
        *(("split", name, MissingSplitColumn) for name in placing),
    ):
        if name is not None and name not in present:
            raise error(_missing_column(role, name, present, source))


def _require_columns(survey: TableSurvey, target: str, key: str | None, *placing: str | None) -> None:
    refuse_missing(target, key, survey.columns, next(iter(survey.sources.values()), ""), *placing)
    if key == target:
        raise MissingKey(f"The key and the target are the same column {target!r}; name two columns.")
    for name in RESERVED:
        if name in survey.columns:
            raise UnsupportedColumn(
                f"{survey.sources.get(name, '')}: column {name!r} has a reserved name; rename it."
            )


_PARAMETERS = {"target": "TargetColumn", "key": "IdColumn", "split": "GroupColumn or SplitColumn"}
"""Of the stack, which name a column of each role."""


def _missing_column(role: str, name: str, present: Mapping[str, object], source: str) -> str:
    listed = ", ".join(repr(column) for column in list(present)[:20])
    hint = ""
    if present and all(finite_number(column.strip()) is not None for column in present):
        hint = " The first line looks like data: the file needs a header line that names the columns."
    # Also for who quotes names by an apostrophe, which belongs to the name in CSV.
    alike = [c for c in present if c.strip(" \t'\"`").casefold() == name.strip(" \t'\"`").casefold()]
    if alike:
        hint += f" Did you mean {alike[0]!r}?"
    return (
        f"{source}: the {role} column {name!r} is not among the columns ({listed}).{hint} "
        f"Set {_PARAMETERS[role]} to a column of the file, or drop a file that has it."
    )


def _infer_column(
    name: str,
    seen: ColumnSurvey,
    survey: TableSurvey,
    tolerated: float,
    locale: Locale,
    notes: list[str],
    texts: int,
) -> Column:
    """Infer a column of no role of its own, after `texts` ones that are learned from as texts are."""

    def ignored(kind: str, why: str) -> Column:
        notes.append(f"column {name!r} is ignored: {why}")
        return Column(name, kind, "ignored", nullable=True, note=why)

    missing = survey.rows - seen.values
    if seen.values == 0:
        return ignored("text", NO_VALUES)
    reading = reading_of(name, seen, tolerated, locale)
    kind = reading.kind
    if seen.distinct_texts == 1 and not missing:
        return ignored(kind, ONE_VALUE)
    if kind in ("integer", "number") and _is_exported_index(name, seen, survey):
        how = "by its name" if _INDEX_NAME.search(name) else "as it has no name of its own"
        return ignored(kind, f"{how}, it is the index that a tool wrote beside the data")
    if kind == "integer" and not missing and seen.sequence.is_row_number:
        return ignored(kind, "it counts the rows")
    if kind == "integer" and _identifies(name, seen):
        return ignored(kind, "by its name and its values, it identifies rows")
    if kind == "text" and _is_named_identifier(name) and seen.distinct_texts in (seen.values, _UNCOUNTED):
        return ignored(kind, "by its name and its many different values, it identifies rows")
    if kind == "text":
        why = reading.note or _why_text(seen)
        if texts >= MAXIMUM_TEXTS:
            return ignored(kind, f"{why}; {MAXIMUM_TEXTS} columns of texts are learned from at most")
        notes.append(f"column {name!r} is learned from by its words: {why}")
        return Column(
            *(name, kind),
            nullable=missing > 0,
            missing=reading.missing,
            format=reading.format,
            note=reading.note,
        )
    if kind in ("number", "integer", "timestamp"):
        if reading.strays:
            notes.append(f"column {name!r} is a {kind}: {reading.strays} of {seen.values} values are not")
        missing += reading.placeholders
    if reading.note:
        notes.append(f"column {name!r}: {reading.note}")
    many = kind == "category" and seen.distinct_texts > MAXIMUM_CATEGORIES and texts < MAXIMUM_TEXTS
    return Column(
        name,
        kind,
        nullable=missing > 0,
        missing=reading.missing,
        format=reading.format,
        note=reading.note,
        encoding=LEARNED if many else None,
    )


def _is_exported_index(name: str, seen: ColumnSurvey, survey: TableSurvey) -> bool:
    """Whether a tool wrote its row labels as a column: whole numbers under a name of its own making."""
    if seen.whole != seen.values:
        return False
    if _INDEX_NAME.search(name):
        return True
    # A column without a name, in front of others that have one.
    return name == next(iter(survey.columns)) == "column_1" and "column_2" not in survey.columns


def _identifies(name: str, seen: ColumnSurvey) -> bool:
    return _is_named_identifier(name) and seen.values > MEASURED_DISTINCT and seen.identifiers.all_differ


def _is_named_identifier(name: str) -> bool:
    return bool(_IDENTIFIER_NAME.search(name) or _CAMEL_IDENTIFIER.search(name))


def _why_text(seen: ColumnSurvey) -> str:
    why = (
        "free text: its values are long, or very many differ"
        if seen.texts is None
        else f"free text: {len(seen.texts):,} different values in {seen.values:,} rows"
    )
    if seen.numbers * 2 > seen.values:
        why += f" ({seen.numbers} of its {seen.values} values are numbers)"
    return why


def deciding(column: Column, note: str) -> Column:
    """What becomes of a column that decides on the split from now on, of which nobody thought before."""
    if column.role != "ignored":
        return column
    return replace(column, role="split", nullable=False, note=note)


def _time_column(name: str, seen: ColumnSurvey, reading: Reading) -> Column:
    if reading.kind not in TIME_TYPES:
        what = f"is a {reading.kind}, which doesn't say" if seen.values else "has no values, so nothing says"
        raise UnsuitableSplitColumn(
            f"The split column {name!r} {what} which rows are newer. Name a column of dates or "
            "numbers in SplitColumn, or leave it empty."
        )
    return Column(name, reading.kind, "split", missing=reading.missing, format=reading.format, note=TIME_NOTE)


def _looks_like_time(contract: Contract) -> list[str]:
    """Remark columns that seem to say when a row came to be. Nothing is done about it."""
    found = [
        c.name for c in contract.columns if c.type == "timestamp" and c.note not in (NO_VALUES, ONE_VALUE)
    ]
    if not found:
        return []
    listed = ", ".join(map(repr, found[:_TIMES_NAMED]))
    return [
        f"{listed}: holds points in time. Where the model will be asked about later rows than it learned "
        "from, the metrics are too good unless the newest rows test it: set SplitColumn to the column that "
        "says when a row came to be"
    ]


def _looks_like_groups(contract: Contract, survey: TableSurvey) -> list[str]:
    """Remark columns that seem to say which rows belong together. Nothing is done about it."""
    found = []
    for column in contract.columns:
        seen = survey.columns[column.name]
        is_named = _GROUP_NAME.search(column.name) or _is_named_identifier(column.name)
        if column.role not in ("feature", "ignored") or not is_named:
            continue
        if seen.texts is None:
            first = seen.identifiers.first
            rows, groups = len(first), len(set(first.tolist()))
        else:
            rows, groups = seen.values, len(seen.texts)
        if groups > FEW_INTEGERS and groups * 2 <= rows:
            found.append(
                f"column {column.name!r} may say which rows belong together: its values come "
                f"{rows / groups:.0f} times each, on average. Where new rows will be of others, the metrics "
                f"are too good unless all rows of one lie in one split: set GroupColumn={column.name}"
            )
    return found


def _key_column(name: str, seen: ColumnSurvey) -> Column:
    if seen.values and seen.whole == seen.values and not seen.leading_zeros:
        return Column(name, "integer", "key")
    missing = None if seen.spelled else ()
    return Column(name, "text", "key", missing=missing, format=code_format(seen))


def _infer_target(
    name: str,
    seen: ColumnSurvey,
    reading: Reading,
    task: str,
    tolerated: float,
    notes: list[str],
    source: str,
) -> tuple[str, tuple[str, ...] | None, str]:
    """Return task, classes and type of the target."""
    if seen.values == 0:
        raise MissingTarget(
            f"{source}: the target {name!r} has no value in any row, so there is nothing to learn from. Drop "
            "rows of which it is known."
        )
    kind = reading.kind
    if kind == "text":
        kind = "category"
    if reading.note:
        notes.append(f"the target {name!r}: {reading.note}")
    if seen.distinct_texts == 1:
        only = next(iter(seen.texts or {"": 0}))
        raise ConstantTarget(
            f"The target {name!r} is {only!r} in every row, so there is nothing to learn; "
            "drop rows with at least two different values."
        )
    if kind == "timestamp":
        raise UnsuitableTarget(
            f"The target {name!r} holds dates; turn it into a number (such as days until) or a class."
        )
    is_written = reading.format is not None and kind in ("number", "integer")
    if task == "regression" or (task == "auto" and (is_written or not _is_class(kind, seen))):
        if kind not in ("number", "integer"):
            raise UnsuitableTarget(
                f"A regression needs a number, but the target {name!r} is a {kind}; "
                "name another target or let the task be auto."
            )
        return "regression", None, kind
    if is_written:
        # Amounts that are classes: their labels are the words of the data.
        kind = "category"
    task, classes = _classes(name, _label_counts(name, kind, seen), task, tolerated, notes)
    return task, classes, kind


def _is_class(kind: str, seen: ColumnSurvey) -> bool:
    if kind in ("boolean", "category"):
        return True
    if seen.texts is None:
        return False
    values = {finite_number(text) for text in seen.texts} - {None}
    whole = all(value is not None and value.is_integer() for value in values)
    return whole and len(values) <= FEW_INTEGERS and seen.values >= ROWS_PER_INTEGER * len(values)


def _label_counts(name: str, kind: str, seen: ColumnSurvey) -> dict[str, int]:
    counts: dict[str, int] = {}
    for text, count in (seen.texts or {}).items():
        label = class_label(text, kind)
        if label is not None:
            counts[label] = counts.get(label, 0) + count
    if seen.texts is None or len(counts) > MAXIMUM_CLASSES:
        raise UnsuitableTarget(
            f"The target {name!r} has more than {MAXIMUM_CLASSES} classes; "
            "group its values, or name a numeric target for a regression."
        )
    return counts


def class_label(text: str, kind: str) -> str | None:
    """The class that a written target value stands for under the column's type; None if it breaks the type.

    Example:
        >>> class_label("TRUE", "boolean"), class_label("1.0", "integer"), class_label("x", "integer")
        ('true', '1', None)
    """
    if kind == "boolean":
        return {"true": "true", "1": "true", "false": "false", "0": "false"}.get(text.lower())
    if kind == "integer":
        whole = whole_number(text)
        return None if whole is None else str(whole)
    if kind == "number":
        number = finite_number(text)
        return None if number is None else label_of(number)
    return text


def _classes(
    name: str, counts: dict[str, int], task: str, tolerated: float, notes: list[str]
) -> tuple[str, tuple[str, ...]]:
    """Return the task and the classes that have enough rows to be learned."""
    rare = {label: count for label, count in counts.items() if count < MINIMUM_CLASS_ROWS}
    common = {label: count for label, count in counts.items() if label not in rare}
    shown = ", ".join(f"{label!r} ({count})" for label, count in sorted(rare.items()))
    if rare and (len(common) < 2 or sum(rare.values()) > tolerated * sum(counts.values())):
        raise TooFewRows(
            f"Classes of the target {name!r} with fewer than {MINIMUM_CLASS_ROWS} rows: {shown}. "
            "Drop more rows of them, or merge them into other classes."
        )
    if rare:
        notes.append(
            f"the target's values {shown} have fewer than {MINIMUM_CLASS_ROWS} rows: their rows are rejected"
        )
    classes = tuple(sorted(common))
    if len(classes) < 2:
        raise ConstantTarget(
            f"The target {name!r} has the single value {classes}; there is nothing to learn."
        )
    found = "binary" if len(classes) == 2 else "multiclass"
    if task not in ("auto", found):
        raise UnsuitableTarget(
            f"The task is {task}, but the target {name!r} has {len(classes)} classes "
            f"({', '.join(classes[:10])}); set the task to {found} or auto."
        )
    return found, classes
