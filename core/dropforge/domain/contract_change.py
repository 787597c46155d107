"""What a changed schema means: the contract that would fit the new drops, and the words that say so.

A proposal keeps everything of the pinned contract that the new drops still fit, edits by hand included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from dropforge.domain.contract import Column, Contract

if TYPE_CHECKING:
    from dropforge.domain.survey import ColumnSurvey, TableSurvey


@dataclass(frozen=True, slots=True)
class Proposal:
    """The contract to accept, and the columns whose values no longer are of the pinned type."""

    contract: Contract
    retyped: tuple[str, ...]


def propose(pinned: Contract, inferred: Contract, survey: TableSurvey) -> Proposal:
    """Return what `pinned` becomes when it follows the drops that `inferred` and `survey` tell of.

    Columns that are gone go, new ones come as inferred, and so do those of which at most half of the values
    have the pinned type. New classes join the pinned ones; where no pinned class is left, they replace them.

    Raises:
        InvalidContract: what is left is no contract; no column to learn from, say.
    """
    retyped = tuple(
        column.name
        for column in pinned.prepared
        if inferred.has_column(column.name)
        and (
            (
                _written(inferred.column(column.name)) != _written(column)
                and _no_longer(column, survey.columns[column.name])
            )
            or (column.role == "target" and _other_classes(pinned, inferred))
        )
    )
    columns = [
        _followed(column, inferred.column(column.name), column.name in retyped)
        for column in pinned.columns
        if inferred.has_column(column.name)
    ]
    columns += [column for column in inferred.columns if not pinned.has_column(column.name)]
    like = inferred if pinned.target in retyped else pinned
    classes = like.classes
    if like is pinned and classes is not None and inferred.classes is not None:
        classes = tuple(sorted({*classes, *inferred.classes}))
    task = like.task if classes == like.classes else "multiclass"
    # New columns don't take part in the split, so that the live model stays comparable.
    split_by = pinned.split_by and tuple(n for n in pinned.split_by if inferred.has_column(n))
    if split_by == () and pinned.split_by:
        split_by = inferred.split_by
    follows = task == "binary" and pinned.positive in (classes or ())
    return Proposal(
        Contract(
            *(pinned.target, pinned.key, task, classes, tuple(columns), split_by, pinned.group, pinned.time),
            positive=pinned.positive if follows else None,
            guarded=tuple(name for name in pinned.guarded if inferred.has_column(name)),
        ),
        retyped,
    )


def renames(pinned: Contract, inferred: Contract) -> list[tuple[str, str]]:
    """Guess which column was renamed to which: one that is gone and a new one of its type and role, in order.

    Empty where their numbers differ, because any pairing would be arbitrary.

    Example:
        >>> y = Column("y", "number", "target")
        >>> before = Contract("y", None, "regression", None, (Column("size", "number"), y))
        >>> after = Contract("y", None, "regression", None, (Column("Size", "number"), y))
        >>> renames(before, after)
        [('size', 'Size')]
    """
    gone = [column for column in pinned.columns if not inferred.has_column(column.name)]
    new = [column for column in inferred.columns if not pinned.has_column(column.name)]
    pairs = list(zip_longest(gone, new))
    if any(a is None or b is None or (a.type, a.role) != (b.type, b.role) for a, b in pairs):
        return []
    return [(a.name, b.name) for a, b in pairs]


def advice(run_id: str, proposal: Proposal | None, renamed: Sequence[tuple[str, str]]) -> str:
    """Say what to do about a changed schema: among that, the one command that accepts a proposal."""
    said = [f"Perhaps {old!r} was renamed to {new!r}." for old, new in renamed]
    if proposal is None:
        said.append(
            "Drop files that all have the pinned columns; no new contract can be made of these, so nothing "
            "can be accepted."
        )
    else:
        said.append(
            "Drop a file with the pinned columns; or accept the change with: "
            + accept_command(run_id, proposal.contract)
        )
    return " ".join(said)


def accept_command(run_id: str, proposed: Contract) -> str:
    """The command that accepts the proposal of a run, and no other."""
    return f"dropforge contract accept {run_id} --hash {proposed.hash[:12]}"


def retyped_lines(pinned: Contract, proposal: Proposal) -> Iterable[str]:
    """One line per column whose values no longer are of the pinned type."""
    for name in proposal.retyped:
        before, after = pinned.column(name), proposal.contract.column(name)
        if _written(before) == _written(after) and before.role == "target":
            classes = _classes_line(pinned.classes or (), proposal.contract.classes or ())
            yield f"~ the values of {name!r} {classes}"
        else:
            yield f"~ column {name!r} was {_written(before)}, is {_written(after)}"


def _written(column: Column) -> str:
    """The type of a column, and how its values are written where that is not the plain way."""
    return column.type if column.format is None else f"{column.type} written as {column.format}"


def _classes_line(before: Sequence[str], after: Sequence[str]) -> str:
    was, now = (", ".join(map(repr, classes[:10])) for classes in (before, after))
    line = f"were {was}, are {now}"
    if {label.casefold() for label in before} & {label.casefold() for label in after}:
        line += "; some differ in upper and lower case only, which counts: write them as before"
    return line


def _followed(pinned: Column, inferred: Column, retyped: bool) -> Column:
    if not retyped:
        return pinned
    # What keeps values out of the log is a decision of people, whatever the values' type.
    followed = replace(inferred, role=_role(pinned, inferred), privacy=pinned.privacy)
    return (
        followed
        if followed.role == "feature" and pinned.privacy is None
        else replace(followed, encoding=None)
    )


def _role(pinned: Column, inferred: Column) -> str:
    """A column that people took out of learning stays out; a private one that holds texts now comes out."""
    if pinned.privacy is not None and inferred.type == "text" and inferred.role == "feature":
        return "ignored"
    return pinned.role if pinned.role != "feature" else inferred.role


def _other_classes(pinned: Contract, inferred: Contract) -> bool:
    if pinned.classes is None or inferred.classes is None:
        return False
    return not set(pinned.classes) & set(inferred.classes)


def _no_longer(pinned: Column, seen: ColumnSurvey) -> bool:
    """Whether at most half of the values can be read as the pinned column says."""
    if pinned.format is not None and pinned.type not in ("category", "text"):
        written = [count for sample, count in seen.formats.items() if sample in pinned.format]
        fitting = max(written, default=0) + seen.timestamps * (pinned.type == "timestamp")
        return seen.values > 0 and fitting * 2 <= seen.values
    kind = pinned.type
    fitting = {
        "number": seen.numbers,
        "integer": seen.whole - seen.leading_zeros,
        "boolean": seen.boolean_words + seen.boolean_digits,
        "timestamp": seen.timestamps,
    }.get(kind, seen.values)
    return seen.values > 0 and fitting * 2 <= seen.values
