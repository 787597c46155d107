"""Reads a table, or a span of one, through survey and check, and counts what was found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from dropforge.adapters.tables.checking.contract_check import (
    CheckedBlock,
    check_block,
    reading_hints,
    wanted_columns,
)
from dropforge.adapters.tables.checking.conversion import fits
from dropforge.adapters.tables.checking.surveying import survey_block
from dropforge.adapters.tables.reading.blocks import Block, Hints, Piece, Table
from dropforge.adapters.tables.threads import ordered
from dropforge.domain.contract import Contract
from dropforge.domain.drop_totals import SpanSurvey, hold_to_schema
from dropforge.domain.preparing import EXAMPLES_PER_REASON, CheckCounts, Example, ObjectCounts, Reason
from dropforge.domain.survey import TableSurvey


def survey_table(table: Table, uri: str, workers: int) -> SpanSurvey:
    """Examine every row that the table yields."""
    found = SpanSurvey(table.columns)
    for name in table.columns or ():
        found.seen.add_column(name, uri)
    calls = (partial(_surveyed, piece, uri) for piece in table.pieces(None, Hints()))
    for block, seen in ordered(calls, workers):
        if block.bad and not found.records:
            found.first_bad = block.bad[0].text
        found.records += block.records
        found.seen.add(seen)
    return found


def check_table(table: Table, uri: str, contract: Contract, workers: int) -> Iterator[CheckedBlock]:
    """Yield the table's blocks in order, each held to the contract.

    Raises:
        SchemaChanged, MissingTarget, MissingKey, MissingSplitColumn: the table names other columns than the
            contract.
    """
    if table.columns is not None:
        native = table.native_types()
        retyped = [
            f"~ column {column.name!r} was {column.type}, is {native[column.name]}"
            for column in contract.prepared
            if column.name in native and not fits(native[column.name], contract.reader(column.name))
        ]
        hold_to_schema(uri, table.columns, retyped, contract)
    pieces = table.pieces(wanted_columns(contract), reading_hints(contract))
    yield from ordered((partial(_checked, piece, contract) for piece in pieces), workers)


def _checked(piece: Piece, contract: Contract) -> CheckedBlock:
    return check_block(piece(), contract)


def _surveyed(piece: Piece, source: str) -> tuple[Block, TableSurvey]:
    block = piece()
    return replace(block, columns={}), survey_block(block, source)


def count_block(counts: CheckCounts, source: str, checked: CheckedBlock) -> None:
    """Add a block of the object that is named `source`."""
    total = counts.objects.setdefault(source, ObjectCounts())
    for group in checked.rejects:
        reason = counts.reasons.setdefault((group.rule, group.column), Reason())
        reason.count += len(group.positions)
        places = group.positions[: EXAMPLES_PER_REASON - len(reason.examples)]
        for position, value in zip(places, group.values, strict=False):
            reason.examples.append(Example(source, total.read + int(position) + 1, value.as_py()))
    for name, values in checked.filled.items():
        counts.fill(name, values)
    counts.note_missing(checked.missing)
    counts.note_reading(checked.read_otherwise)
    total.read += checked.records
    total.rejected += checked.rejected_rows
    total.unlabelled += checked.unlabelled_rows
