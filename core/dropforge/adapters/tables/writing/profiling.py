"""Profiles a chunk of prepared rows, column by column."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.adapters.tables.buffers import counted_codes, floats
from dropforge.domain.contract import PROFILED, Contract
from dropforge.domain.profile import CategoricalProfile, ColumnProfile, NumericProfile, Ruler, Rulers


def profile_table(table: pa.Table, contract: Contract, rulers: Rulers) -> dict[str, ColumnProfile]:
    """Profile features and target."""
    return {
        column.name: profile_column(table.column(column.name), rulers[column.name])
        for column in contract.prepared
        if column.role in PROFILED
    }


def profile_column(column: pa.ChunkedArray, ruler: Ruler | tuple[str, ...]) -> ColumnProfile:
    """Profile one column: as numbers by its ruler, or as categories given the candidates."""
    missing = column.null_count
    if isinstance(ruler, Ruler):
        chunks = [floats(chunk) for chunk in column.chunks]
        values = chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0), *chunks])
        values.sort()  # What is missing comes last.
        return NumericProfile.of_ordered(values[: len(values) - missing], missing, ruler)
    counts: dict[str, int] = {}
    for chunk in column.chunks:
        for value, count in _counted(chunk).items():
            counts[value] = counts.get(value, 0) + count
    return CategoricalProfile.of(counts, missing, ruler)


def _counted(values: pa.Array) -> dict[str, int]:
    if pa.types.is_dictionary(values.type):
        pairs = zip(values.dictionary.to_pylist(), counted_codes(values).tolist(), strict=True)
        return {value: count for value, count in pairs if count}
    if pa.types.is_boolean(values.type):
        true, present = pc.sum(values).as_py() or 0, len(values) - values.null_count
        return {value: n for value, n in (("true", true), ("false", present - true)) if n}
    counted = pc.value_counts(values.drop_null())
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
