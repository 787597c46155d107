"""What the live model may be asked: a form from its contract, and rows out of an uploaded file."""

from __future__ import annotations

import csv
import io
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dropforge.domain.contract import Column, Contract
from dropforge.domain.figures import figure
from dropforge.domain.instance_rules import InvalidInstances, checked_values
from dropforge.domain.profile import median_of
from dropforge.domain.records import Live
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.actions import predictions
from dropforge_ops.actions.prediction_api import MAXIMUM_ITEMS, PredictionApi
from dropforge_ops.errors import CommandError, UsageError
from dropforge_ops.stack.documents import Documents
from dropforge_ops.stack.target import Target

MOST_UPLOADED_ROWS: Final = 5_000
"""Rows that are predicted while somebody waits; more are a batch's."""

MOST_UPLOADED_BYTES: Final = 20 * 1024**2
_OFFERED_CATEGORIES: Final = 100
_EXAMPLES: Final = 32


@dataclass(frozen=True)
class Field:
    """One feature as it is asked for.

    ``choices`` are the values that training saw; ``is_closed`` says that the contract allows no others.
    ``seen`` says in words what training saw, ``rule`` what the contract demands.
    """

    column: Column
    choices: tuple[str, ...]
    is_closed: bool
    seen: str
    rule: str

    @property
    def name(self) -> str:
        return self.column.name


@dataclass(frozen=True)
class Form:
    """What is live, and how to ask it.

    ``examples`` are hold-out rows, by column; ``target`` is the target's entry in the training profile.
    """

    live: Live
    contract: Contract
    fields: tuple[Field, ...]
    examples: tuple[Mapping[str, Any], ...]
    target: Mapping[str, Any] = field(default_factory=dict)

    def base_rate(self, label: str) -> float | None:
        """The share of training rows of a class; None where the profile doesn't say."""
        count = self.target.get("count") or 0
        for each in self.target.get("categories") or []:
            if str(each["value"]) == label and count:
                return float(each["count"]) / float(count)
        return None

    def rank(self, value: float) -> float | None:
        """The share of training rows whose target is at most this value."""
        values, cumulative = self.target.get("quantiles") or [], self.target.get("cumulative") or []
        if not values or not self.target.get("count"):
            return None
        at = bisect_right(values, value)
        return 0.0 if at == 0 else float(cumulative[at - 1]) / float(self.target["count"])


@dataclass(frozen=True)
class Row:
    """One row of a file: its values as they stood there, and the instance that they make."""

    number: int
    texts: Mapping[str, str]
    instance: Mapping[str, Any] | None
    problems: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Upload:
    """A file's rows, each either to be predicted or with its problems. ``notes`` are about the whole file."""

    header: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def good(self) -> list[Row]:
        return [row for row in self.rows if row.instance is not None]


def read_form(ledger: LedgerReader, documents: Documents) -> Form:
    """The live model's form.

    Raises:
        NotFound: nothing is live, or its contract is gone.
    """
    model = predictions.live_model(ledger, documents)
    profile = documents.find(model.live.profile_uri)
    columns = {each["name"]: each for each in (profile.content["columns"] if profile else [])}
    smoke = documents.find(model.live.smoke_uri)
    examples = [] if smoke is None else smoke.content.get("instances") or []
    return Form(
        model.live,
        model.contract,
        tuple(_field(column, columns.get(column.name) or {}) for column in model.contract.features),
        tuple(examples[:_EXAMPLES]),
        columns.get(model.contract.target) or {},
    )


def texts_of(form: Form, instance: Mapping[str, Any]) -> dict[str, str]:
    """An instance as it is written into the form; a missing value is empty."""
    return {each.name: _text(instance.get(each.name)) for each in form.fields}


def instance_of(contract: Contract, texts: Mapping[str, str]) -> dict[str, Any]:
    """The instance that a form's texts make."""
    return {
        column.name: predictions.typed(contract, column.name, texts.get(column.name, ""))
        for column in contract.features
    }


def problems_of(contract: Contract, instance: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with an instance, by column; under ``""`` what is wrong with all of it."""
    try:
        checked_values(contract, [instance])
    except InvalidInstances as error:
        return {each.column or "": each.problem for each in error.problems}
    return {}


def read_upload(data: bytes, contract: Contract) -> Upload:
    """Read CSV with a header. Each row that breaks the contract keeps its problems; the others are good.

    The target and the key may be there; columns that the contract doesn't know are left out with a note.

    Raises:
        UsageError: it is no CSV with the features' columns, is empty, or is too large to wait for.
    """
    if len(data) > MOST_UPLOADED_BYTES:
        raise UsageError(
            f"The file has {len(data):,} bytes; at most {MOST_UPLOADED_BYTES:,} are predicted here. "
            "Score it as a batch."
        )
    try:
        lines = [
            line
            for line in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
            if line
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"The file is no CSV in UTF-8: {error}.") from error
    if len(lines) < 2:
        raise UsageError("The file needs a header with the columns' names and at least one row.")
    header = [name.strip() for name in lines[0]]
    notes = _check_header(header, contract)
    if len(lines) - 1 > MOST_UPLOADED_ROWS:
        raise UsageError(
            f"The file has {len(lines) - 1:,} rows; at most {MOST_UPLOADED_ROWS:,} are predicted "
            "here. Score it "
            "as a batch."
        )
    rows = tuple(_row(number, header, line, contract) for number, line in enumerate(lines[1:], start=1))
    return Upload(tuple(header), rows, tuple(notes))


@dataclass(frozen=True)
class Answers:
    """What the live model said, by row number, and what kept other rows from being predicted."""

    version: int
    predictions: Mapping[int, Mapping[str, Any]]
    problems: Mapping[int, str] = field(default_factory=dict)


def ask(target: Target, form: Form, rows: Sequence[Row], *, log: bool) -> Answers:
    """Predict rows with the live endpoint, in requests of up to 500.

    Args:
        log: ask as a caller of the API does: predictions are logged, watched, and have an id.

    A row that the model refuses, though it keeps the contract that the form was made from, has its problem in
    the answer; so have all rows of a request that failed.
    """
    found: dict[int, Mapping[str, Any]] = {}
    problems: dict[int, str] = {}
    version = form.live.version
    for start in range(0, len(rows), MAXIMUM_ITEMS):
        part = list(rows[start : start + MAXIMUM_ITEMS])
        instances = [dict(row.instance or {}) for row in part]
        try:
            if log:
                answered = PredictionApi(target).predict(instances)
                answers, version = answered["predictions"], int(answered["model_version"])
            else:
                answers = predictions.predict_live(target, form.live, instances)
        except predictions.RequestRefused as error:
            problems |= _refused(part, error)
            continue
        except CommandError as error:
            problems |= {row.number: str(error) for row in part}
            continue
        found |= {row.number: answer for row, answer in zip(part, answers, strict=True)}
    return Answers(version, found, problems)


def _refused(rows: Sequence[Row], error: predictions.RequestRefused) -> dict[int, str]:
    """The problem of each row of a request of which some were refused: one refuses all of them."""
    found = {row.number: "not predicted: other rows of the same request were refused" for row in rows}
    for each in error.problems:
        index = each.get("instance")
        if index is not None and index < len(rows):
            found[rows[index].number] = predictions.describe_problem({**each, "instance": None})
    return found


def result_csv(upload: Upload, answers: Answers, contract: Contract) -> str:
    """The file with what was predicted beside each row, and what was wrong with the others."""
    added = _added_columns(contract, any("id" in each for each in answers.predictions.values()))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*upload.header, *added, "problem"])
    for row in upload.rows:
        answer = answers.predictions.get(row.number)
        cells = [""] * len(added) if answer is None else _cells(answer, contract, added)
        problem = answers.problems.get(row.number) or "; ".join(row.problems)
        writer.writerow([*(row.texts.get(name, "") for name in upload.header), *cells, problem])
    return out.getvalue()


def _added_columns(contract: Contract, has_ids: bool) -> list[str]:
    if contract.classes is None:
        added = ["predicted_value"]
    else:
        added = ["predicted_label", *(f"probability_{name}" for name in contract.classes)]
    return [*added, "prediction_id"] if has_ids else added


def _cells(answer: Mapping[str, Any], contract: Contract, added: Sequence[str]) -> list[Any]:
    if contract.classes is None:
        cells = [answer["value"]]
    else:
        cells = [answer["label"], *(answer["probabilities"][name] for name in contract.classes)]
    return [*cells, answer.get("id", "")] if len(added) > len(cells) else cells


def _field(column: Column, profile: Mapping[str, Any]) -> Field:
    listed = [str(each["value"]) for each in profile.get("categories") or []]
    choices: tuple[str, ...] = ()
    if column.type == "boolean":
        choices = ("true", "false")
    elif column.categories is not None:
        choices = column.categories
    elif column.type == "category" and len(listed) <= _OFFERED_CATEGORIES:
        choices = tuple(listed)
    closed = column.type == "boolean" or column.categories is not None
    return Field(column, choices, closed, _seen(column, profile), _rule(column))


def _seen(column: Column, profile: Mapping[str, Any]) -> str:
    if column.type in ("number", "integer") and profile.get("minimum") is not None:
        low, high = figure(profile["minimum"]), figure(profile["maximum"])
        middle = median_of(profile)
        return f"in training {low} to {high}" + ("" if middle is None else f", median {figure(middle)}")
    if column.type == "category" and profile.get("distinct"):
        return f"{profile['distinct']:,} values in training"
    return ""


def _rule(column: Column) -> str:
    rules = []
    if column.minimum is not None:
        rules.append(f"at least {column.minimum:g}")
    if column.maximum is not None:
        rules.append(f"at most {column.maximum:g}")
    if column.categories is not None:
        rules.append("one of the values listed")
    rules.append("may be empty" if column.nullable else "required")
    return ", ".join(rules)


def _check_header(header: Sequence[str], contract: Contract) -> list[str]:
    twice = sorted({name for name in header if header.count(name) > 1})
    missing = [column.name for column in contract.features if column.name not in header]
    if twice:
        raise UsageError(f"The header names a column twice: {', '.join(twice)}.")
    if missing:
        raise UsageError(
            f"The file lacks {', '.join(map(repr, missing))}. It needs every feature of the live model: "
            f"{', '.join(column.name for column in contract.features)}."
        )
    unknown = [name for name in header if not contract.has_column(name)]
    return [f"Columns that the model doesn't know are not sent: {', '.join(unknown)}."] if unknown else []


def _row(number: int, header: Sequence[str], line: Sequence[str], contract: Contract) -> Row:
    texts = dict(zip(header, line, strict=False))
    if len(line) != len(header):
        return Row(number, texts, None, (f"has {len(line)} fields where the header has {len(header)}",))
    instance = instance_of(contract, texts)
    problems = problems_of(contract, instance)
    if problems:
        return Row(
            number, texts, None, tuple(f"{name}: {text}" if name else text for name, text in problems.items())
        )
    return Row(number, texts, instance)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
