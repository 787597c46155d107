"""What the live model may be asked: a form from its contract, and rows out of an uploaded file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dropforge.domain.contract import Column, Contract
from dropforge.domain.instance_rules import InvalidInstances, checked_values
from dropforge.domain.records import Live
from dropforge_ops import predictions
from dropforge_ops.documents import Documents
from dropforge_ops.errors import UsageError
from dropforge_ops.ledger_reader import LedgerReader

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
    """What is live, and how to ask it. ``examples`` are hold-out rows, by column."""

    live: Live
    contract: Contract
    fields: tuple[Field, ...]
    examples: tuple[Mapping[str, Any], ...]


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
    )


def texts_of(form: Form, instance: Mapping[str, Any]) -> dict[str, str]:
    """An instance as it is written into the form; a missing value is empty."""
    return {each.name: _text(instance.get(each.name)) for each in form.fields}


def instance_of(contract: Contract, texts: Mapping[str, str]) -> dict[str, Any]:
    """The instance that a form's texts make; empty is missing."""
    return {
        column.name: predictions.typed(contract, column.name, texts.get(column.name, "").strip())
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


def result_csv(
    upload: Upload, answers: Mapping[int, Mapping[str, Any]], contract: Contract, problems: Mapping[int, str]
) -> str:
    """The file with what was predicted beside each row, and what was wrong with the others.

    Args:
        answers: predictions by row number.
        problems: of rows, by number, beyond those found in the file.
    """
    added = _added_columns(contract, any("id" in each for each in answers.values()))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*upload.header, *added, "problem"])
    for row in upload.rows:
        answer = answers.get(row.number)
        cells = [""] * len(added) if answer is None else _cells(answer, contract, added)
        problem = problems.get(row.number) or "; ".join(row.problems)
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
        quantiles = profile.get("quantiles") or [profile["minimum"]]
        middle = quantiles[len(quantiles) // 2]
        return f"training saw {profile['minimum']:g} to {profile['maximum']:g}, mostly around {middle:g}"
    if column.type == "category" and profile.get("distinct"):
        return f"training saw {profile['distinct']:,} values"
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
