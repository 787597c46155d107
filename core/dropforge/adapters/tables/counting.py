"""Counts what checking found in successive blocks."""

from __future__ import annotations

from dropforge.adapters.tables.checking import CheckedBlock
from dropforge.domain.preparing import EXAMPLES_PER_REASON, CheckCounts, Example, ObjectCounts, Reason


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
