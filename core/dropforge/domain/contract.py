"""The contract: which columns the data has, what each holds, and what is predicted from what.

The file format is described in ``docs/architecture.md``. Preparation infers a contract from the first drop
and holds every later drop to it; training, serving and drift watching read it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dropforge.domain.errors import InvalidContract
from dropforge.domain.values import ColumnReader, format_problem

FORMAT = 1
COLUMN_TYPES = ("number", "integer", "boolean", "category", "text", "timestamp")
ROLES = ("feature", "target", "key", "split", "guarded", "ignored")
"""``split`` and ``guarded``: read and held to its type because it decides on the split, or because quality is
judged by its values, and not learned from."""
PROFILED = ("feature", "target")
"""Roles whose values are described and watched; those of others only identify or place a row."""
TASKS = ("binary", "multiclass", "regression")
NUMERIC_TYPES = ("number", "integer")
TIME_TYPES = ("timestamp", *NUMERIC_TYPES)
"""What a column that splits rows by time may hold."""
PRIVACIES = ("drop", "hash")
SLICED_TYPES = ("category", "boolean", "number", "integer")
"""What a guarded column may hold."""
LEARNED = "target"
"""How a category column with very many values is encoded beside its codes: by what they say of the target."""
MAXIMUM_TEXTS = 16
"""Columns that are learned from as texts, or by LEARNED, at most: each costs memory, time and numbers."""

ROW_KEY = "dropforge_row_key"
"""Column of the prepared Parquet that holds the row's stable hash; no data column may have this name."""

GROUP_KEY = "dropforge_group_key"
"""Likewise of the row's group, where the contract has one."""

RESERVED = (ROW_KEY, GROUP_KEY)

MAXIMUM_CATEGORIES = 200
"""Most frequent values of a category column that get a code of their own. With the code for all others it
stays below 255, the limit of scikit-learn's histogram boosting for a native categorical feature."""

NO_VALUES, ONE_VALUE = "it has no values", "it has the same value in every row"
"""Notes of ignored columns that later drops may fill."""

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

_COLUMN_FIELDS = (
    *("name", "type", "role", "nullable", "minimum", "maximum", "categories", "privacy"),
    *("missing", "format", "note", "encoding"),
)
_CONTRACT_FIELDS = (
    "format",
    "target",
    "key",
    "task",
    "classes",
    "split_by",
    "group",
    "time",
    "positive",
    "guarded",
    "columns",
    "hash",
)


@dataclass(frozen=True, slots=True)
class Column:
    """What one column holds and what it is used for.

    ``minimum`` and ``maximum`` (inclusive, numeric columns) and ``categories`` (category columns) are hard
    rules: a row that breaks one is rejected. None means no rule. ``privacy`` keeps the column's values out of
    the prediction log: ``drop`` leaves them out, ``hash`` keeps a pseudonym; None keeps them as they are.

    ``missing`` lists the texts that mean a missing value, None the usual ones. ``format`` says how values are
    written where that is not the plain way. Both are rules of `dropforge.domain.values`. ``note`` is a remark
    for people: why a format was taken, say. ``encoding`` is LEARNED for a category column that is learned by
    how often its values occur and what they say of the target as well, None for codes alone.
    """

    name: str
    type: str
    role: str = "feature"
    nullable: bool = False
    minimum: float | int | None = None
    maximum: float | int | None = None
    categories: tuple[str, ...] | None = None
    privacy: str | None = None
    missing: tuple[str, ...] | None = None
    format: str | None = None
    note: str | None = None
    encoding: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the column as it stands in ``schema.json``; optional members only where they are set."""
        fields = {
            "name": self.name,
            "type": self.type,
            "role": self.role,
            "nullable": self.nullable,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "categories": None if self.categories is None else list(self.categories),
        }
        optional = {
            "privacy": self.privacy,
            "missing": None if self.missing is None else list(self.missing),
            "format": self.format,
            "note": self.note,
            "encoding": self.encoding,
        }
        return fields | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True)
class Contract:
    """A validated contract. Equal contracts have equal hashes; the hash names no file, run or time.

    ``split_by`` names the columns whose values decide which split a row goes to; an empty tuple gives every
    row a split of its own. None, as in contracts of before there was a choice: the key decides, or where
    there is none, the whole row.

    ``group`` names the column whose values say which rows belong together, None for none. It decides before
    ``split_by``: all rows of a group lie in one split. ``time`` names the column by which newer rows test and
    older ones train, None for none. It decides before both; of groups that occur in the test, no other split
    has rows.

    ``positive`` is the class that metrics of one class are measured for, None for the later of two.
    ``guarded`` names the columns in whose slices a candidate may not be worse than the live model.

    Raises:
        InvalidContract: the parts don't fit each other; the message names every problem.
    """

    target: str
    key: str | None
    task: str
    classes: tuple[str, ...] | None
    columns: tuple[Column, ...]
    split_by: tuple[str, ...] | None = None
    group: str | None = None
    time: str | None = None
    positive: str | None = None
    guarded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = list(_problems_of(self))
        if problems:
            raise InvalidContract(_message(problems))

    @classmethod
    def from_json(cls, text: str | bytes) -> Contract:
        """Read ``schema.json``.

        The stored ``hash`` is derived from the rest, so it is computed anew: editing the file by hand is
        the documented way to change a contract and needs no hash tool.

        Raises:
            InvalidContract: the text is no contract; the message names every problem.
        """
        return _parse(text)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``schema.json``, the hash included."""
        return {**self._content(), "hash": self.hash}

    def to_json(self) -> str:
        """Return ``schema.json``: one spelling per contract, indented because people edit it."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) over the compact, key-sorted JSON of everything but the hash itself."""
        canonical = json.dumps(
            self._content(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return hashlib.sha256(canonical.encode()).hexdigest()

    @cached_property
    def features(self) -> tuple[Column, ...]:
        """The columns to learn from, in contract order."""
        return tuple(column for column in self.columns if column.role == "feature")

    @cached_property
    def prepared(self) -> tuple[Column, ...]:
        """The columns of the prepared Parquet (feature, target and key), in contract order."""
        return tuple(column for column in self.columns if column.role != "ignored")

    @property
    def splits_by_key(self) -> bool:
        """Whether the key decides which split a row goes to."""
        return self.key is not None and self.split_by is None and self.group is None and self.time is None

    @property
    def splits_by_row(self) -> bool:
        """Whether every row is split for itself."""
        return self.split_by == () and self.group is None and self.time is None

    @property
    def splitting_columns(self) -> tuple[str, ...] | None:
        """The columns whose values are hashed for the split; None for the key, or else the whole row. Of time
        nothing is hashed.

        Where every row is split for itself, what it is learned from still tells which rows are alike.
        """
        if self.group is not None:
            return (self.group,)
        return self.split_by if self.split_by != () else tuple(column.name for column in self.features)

    def splits_like(self, other: Contract) -> bool:
        """Whether both give the same row the same split, so that neither trains on the other's test rows."""
        return self._split_rule() == other._split_rule()

    def _split_rule(self) -> tuple[Any, ...]:
        if self.group is not None or self.time is not None:
            names: tuple[str, ...] = tuple(name for name in (self.time, self.group) if name is not None)
        elif self.splits_by_key:
            names = (self.key or "",)
        else:
            names = tuple(c.name for c in self.columns) if self.split_by is None else self.split_by
        read = [self.column(name) for name in sorted(names)]
        rules = [(c.name, c.type, c.role == "ignored", c.missing, c.format) for c in read]
        # All of a row but by its key: the order of the columns never mattered.
        return (self.splits_by_key, self.group, self.time, self.splits_by_row, rules)

    @cached_property
    def unfilled(self) -> tuple[str, ...]:
        """The ignored columns in which the first drop said nothing; later ones may fill them."""
        ignored = [column for column in self.columns if column.role == "ignored"]
        return tuple(column.name for column in ignored if column.note in (NO_VALUES, ONE_VALUE))

    @property
    def positive_code(self) -> int | None:
        """The code of the positive class: of two classes that of ``positive``, or else 1; None of others."""
        if self.task != "binary" or self.classes is None or len(self.classes) != 2:
            return None
        if self.positive is None:
            return 1
        return self.classes.index(self.positive) if self.positive in self.classes else None

    @property
    def target_column(self) -> Column:
        """The column to predict."""
        return self.column(self.target)

    @property
    def is_classification(self) -> bool:
        """Whether the target is one of ``classes``."""
        return self.task != "regression"

    def column(self, name: str) -> Column:
        """Return the column of that name.

        Raises:
            KeyError: the contract has no such column.
        """
        return self._by_name[name]

    def has_column(self, name: str) -> bool:
        """Whether the contract knows a column of that name, whatever its role."""
        return name in self._by_name

    def reader(self, name: str) -> ColumnReader:
        """Return what reads the values of the column of that name.

        Raises:
            KeyError: the contract has no such column.
        """
        return self._readers[name]

    @cached_property
    def _readers(self) -> Mapping[str, ColumnReader]:
        return {column.name: ColumnReader(column, self.classes) for column in self.columns}

    @cached_property
    def _by_name(self) -> Mapping[str, Column]:
        return {column.name: column for column in self.columns}

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "target": self.target,
            "key": self.key,
            "task": self.task,
            "classes": None if self.classes is None else list(self.classes),
            **({} if self.split_by is None else {"split_by": list(self.split_by)}),
            **({} if self.group is None else {"group": self.group}),
            **({} if self.time is None else {"time": self.time}),
            **({} if self.positive is None else {"positive": self.positive}),
            **({} if not self.guarded else {"guarded": list(self.guarded)}),
            "columns": [column.to_dict() for column in self.columns],
        }


def diff(old: Contract, new: Contract) -> str:
    """Describe in plain lines what changed from `old` to `new`; the empty string if nothing did.

    Example:
        >>> y = Column("y", "number", "target")
        >>> a = Contract("y", None, "regression", None, (Column("x", "number"), y))
        >>> b = Contract("y", None, "regression", None, (Column("z", "number"), y))
        >>> print(diff(a, b))
        - column 'x' (number, feature) is gone
        + column 'z' (number, feature) is new
    """
    lines = [
        f"- column {c.name!r} ({c.type}, {c.role}) is gone" for c in old.columns if not new.has_column(c.name)
    ]
    lines += [
        f"+ column {c.name!r} ({c.type}, {c.role}) is new" for c in new.columns if not old.has_column(c.name)
    ]
    for before in old.columns:
        if new.has_column(before.name):
            was, after = before.to_dict(), new.column(before.name).to_dict()
            lines += [
                f"~ column {before.name!r}: {name} was {_shown(was.get(name))}, is {_shown(after.get(name))}"
                for name in _COLUMN_FIELDS
                if was.get(name) != after.get(name)
            ]
    lines += [
        f"~ {field} was {_shown(getattr(old, field))}, is {_shown(getattr(new, field))}"
        for field in ("target", "key", "task", "classes", "split_by", "group", "time", "positive", "guarded")
        if getattr(old, field) != getattr(new, field)
    ]
    if not lines and old.hash != new.hash:
        lines.append("~ the order of the columns changed")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)


def _message(problems: Iterable[str]) -> str:
    listed = "; ".join(problems)
    return (
        f"contract/schema.json is no valid contract: {listed}. Correct the file, "
        "or delete it so that the next drop pins a new contract."
    )


def _problems_of(contract: Contract) -> Iterable[str]:
    names = [column.name for column in contract.columns]
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    yield from (f"column {name!r} stands twice" for name in repeated)
    for column in contract.columns:
        yield from (f"column {column.name!r}: {problem}" for problem in _column_problems(column))
    yield from _role_problems(contract)
    if contract.task not in TASKS:
        yield f"task {contract.task!r} is none of {', '.join(TASKS)}"
    else:
        yield from _class_problems(contract)
    if contract.split_by is not None:
        yield from _split_problems(contract, contract.split_by)
    if contract.group is not None:
        yield from _deciding_problems(contract, "group", contract.group)
    if contract.time is not None:
        yield from _deciding_problems(contract, "time", contract.time)
    if contract.positive is not None and contract.positive_code is None:
        yield f"positive {contract.positive!r} is not one of two classes"
    if len(set(contract.guarded)) < len(contract.guarded):
        yield "guarded names a column twice"
    texts = [c for c in contract.columns if c.role == "feature" and (c.type == "text" or c.encoding)]
    if len(texts) > MAXIMUM_TEXTS:
        yield f"{len(texts)} features are texts or have an encoding; at most {MAXIMUM_TEXTS} may"
    if not any(column.role == "feature" for column in contract.columns):
        yield "no column has the role feature, so there is nothing to learn from"


def _column_problems(column: Column) -> Iterable[str]:
    if not column.name:
        yield "its name is empty"
    if column.name in RESERVED:
        yield f"the name {column.name} is reserved"
    if not _is_unicode(column.name):
        yield "its name is no valid Unicode"
    if column.type not in COLUMN_TYPES:
        yield f"type {column.type!r} is none of {', '.join(COLUMN_TYPES)}"
    if column.role not in ROLES:
        yield f"role {column.role!r} is none of {', '.join(ROLES)}"
    if column.privacy is not None and column.privacy not in PRIVACIES:
        yield f"privacy {column.privacy!r} is none of {', '.join(PRIVACIES)}"
    if column.format is not None and (problem := format_problem(column.type, column.format)):
        yield problem
    if column.role == "feature" and column.type == "text" and column.privacy is not None:
        yield "a text is not learned from where it is private; give it the role ignored, or no privacy"
    if column.encoding is not None:
        if column.encoding != LEARNED:
            yield f"encoding {column.encoding!r} must be {LEARNED!r}"
        elif column.type != "category" or column.role != "feature":
            yield "only a category column that is a feature has an encoding"
        elif column.privacy is not None:
            yield "nothing is learned of a private column's single values; leave its encoding out"
    if column.role in ("target", "key", "split") and column.nullable:
        yield f"the {column.role} can't be nullable"
    yield from _range_problems(column)
    if column.categories is not None:
        if column.type != "category":
            yield "only a category column has categories"
        if not column.categories:
            yield "categories is an empty list; write null for no rule"
        if len(set(column.categories)) < len(column.categories):
            yield "a category stands twice"
        if not all(map(_is_unicode, column.categories)):
            yield "a category is no valid Unicode"


def _range_problems(column: Column) -> Iterable[str]:
    bounds = [bound for bound in (column.minimum, column.maximum) if bound is not None]
    if not bounds:
        return
    if column.type not in NUMERIC_TYPES:
        yield "only number and integer columns have a minimum or maximum"
    elif any(isinstance(bound, float) and not math.isfinite(bound) for bound in bounds):
        yield "minimum and maximum must be finite"
    elif column.type == "integer" and not all(
        isinstance(bound, int) and INT64_MIN <= bound <= INT64_MAX for bound in bounds
    ):
        yield "minimum and maximum of an integer column must be 64-bit integers"
    elif len(bounds) == 2 and bounds[0] > bounds[1]:
        yield f"minimum {bounds[0]} is above maximum {bounds[1]}"


def _role_problems(contract: Contract) -> Iterable[str]:
    for field in ("target", "key"):
        name = getattr(contract, field)
        holders = [column.name for column in contract.columns if column.role == field]
        if name is not None and name not in [column.name for column in contract.columns]:
            yield f"{field} {name!r} is not among the columns"
        if holders != ([] if name is None else [name]):
            yield f"{field} is {name!r}, but the columns with the role {field} are {holders}"


def _split_problems(contract: Contract, names: tuple[str, ...]) -> Iterable[str]:
    known = {column.name for column in contract.columns}
    yield from (
        f"split_by names {name!r}, which is not among the columns" for name in names if name not in known
    )
    if len(set(names)) < len(names):
        yield "split_by names a column twice"
    if contract.target in names:
        yield "split_by names the target, which nobody knows of a new row"


def _deciding_problems(contract: Contract, field: str, name: str) -> Iterable[str]:
    """Problems of a column that decides on the split, under the contract's field of that name."""
    column = next((column for column in contract.columns if column.name == name), None)
    if column is None:
        yield f"{field} {name!r} is not among the columns"
    elif column.role not in ("feature", "split", "key"):
        yield f"{field} {name!r} has the role {column.role}; it needs the role split or feature"
    elif field == "time" and column.type not in TIME_TYPES:
        yield f"time {name!r} is a {column.type}; only {', '.join(TIME_TYPES)} columns have an order in time"
    elif column.nullable:
        yield f"{field} {name!r} can't be nullable, because a row without it has no split"


def _class_problems(contract: Contract) -> Iterable[str]:
    types = [column.type for column in contract.columns if column.name == contract.target]
    if contract.task == "regression":
        if contract.classes is not None:
            yield "a regression has no classes; write null"
        if types and types[0] not in NUMERIC_TYPES:
            yield f"the target of a regression must be number or integer, not {types[0]}"
        return
    if types and types[0] == "timestamp":
        yield "a timestamp can't be the target of a classification"
    classes = contract.classes
    if classes is None:
        yield f"a {contract.task} task needs classes"
    elif list(classes) != sorted(set(classes)):
        yield "classes must be sorted and hold no value twice"
    elif contract.task == "binary" and len(classes) != 2:
        yield f"a binary task has exactly two classes, not {len(classes)}"
    elif contract.task == "multiclass" and len(classes) < 3:
        yield f"a multiclass task has at least three classes, not {len(classes)}"
    if classes is not None and not all(map(_is_unicode, classes)):
        yield "a class is no valid Unicode"


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _parse(text: str | bytes) -> Contract:
    problems: list[str] = []

    def unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        problems.extend(
            f"field {name!r} stands twice" for name in sorted(set(names)) if names.count(name) > 1
        )
        return dict(pairs)

    def refuse_constant(spelling: str) -> None:
        problems.append(f"{spelling} is no JSON number")

    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        raw = json.loads(text, object_pairs_hook=unique_object, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidContract(_message([f"it is no JSON in UTF-8 ({error})"])) from error
    if not isinstance(raw, dict):
        raise InvalidContract(_message(["it is no JSON object"]))
    fields = _Fields("", raw, _CONTRACT_FIELDS, problems)
    if raw.get("format") != FORMAT or isinstance(raw.get("format"), bool):
        problems.append(f"format is {raw.get('format')!r}, this version reads {FORMAT}")
    target = fields.text("target")
    key = fields.optional_text("key")
    task = fields.text("task")
    classes = fields.optional_texts("classes")
    split_by = fields.optional_texts("split_by")
    group = fields.optional_text("group")
    time = fields.optional_text("time")
    positive = fields.optional_text("positive")
    guarded = fields.optional_texts("guarded") or ()
    entries = raw.get("columns")
    if not isinstance(entries, list) or not entries:
        problems.append("columns must be a list with at least one column")
        entries = []
    columns = tuple(_parse_column(index, entry, problems) for index, entry in enumerate(entries))
    if problems:
        raise InvalidContract(_message(problems))
    return Contract(target, key, task, classes, columns, split_by, group, time, positive, guarded)


def _parse_column(index: int, entry: Any, problems: list[str]) -> Column:
    if not isinstance(entry, dict):
        problems.append(f"columns[{index}] is no object")
        return Column("", "text")
    fields = _Fields(f"columns[{index}].", entry, _COLUMN_FIELDS, problems)
    column_type = fields.text("type")
    return Column(
        name=fields.text("name"),
        type=column_type,
        role=fields.text("role"),
        nullable=fields.boolean("nullable"),
        minimum=fields.optional_number("minimum", column_type),
        maximum=fields.optional_number("maximum", column_type),
        categories=fields.optional_texts("categories"),
        privacy=fields.optional_text("privacy"),
        missing=fields.optional_texts("missing"),
        format=fields.optional_text("format"),
        note=fields.optional_text("note"),
        encoding=fields.optional_text("encoding"),
    )


class _Fields:
    """Reads typed fields of one JSON object and collects what is wrong with them."""

    def __init__(self, where: str, raw: dict[str, Any], known: tuple[str, ...], problems: list[str]) -> None:
        self._where, self._raw, self._problems = where, raw, problems
        problems.extend(f"{where}{name} is no known field" for name in raw if name not in known)

    def _problem(self, name: str, expected: str) -> None:
        given = json.dumps(self._raw[name]) if name in self._raw else "missing"
        self._problems.append(f"{self._where}{name} must be {expected} and is {given}")

    def text(self, name: str) -> str:
        value = self._raw.get(name)
        if isinstance(value, str):
            return value
        self._problem(name, "a string")
        return ""

    def optional_text(self, name: str) -> str | None:
        return None if self._raw.get(name) is None else self.text(name)

    def boolean(self, name: str) -> bool:
        value = self._raw.get(name)
        if isinstance(value, bool):
            return value
        self._problem(name, "true or false")
        return False

    def optional_number(self, name: str, column_type: str) -> float | int | None:
        value = self._raw.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._problem(name, "a number or null")
            return None
        if column_type != "number":
            return value
        try:
            return float(value)
        except OverflowError:
            self._problem(name, "a number within double precision or null")
            return None

    def optional_texts(self, name: str) -> tuple[str, ...] | None:
        value = self._raw.get(name)
        if value is None:
            return None
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self._problem(name, "a list of strings or null")
        return None
