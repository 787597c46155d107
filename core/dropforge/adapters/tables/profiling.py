"""Profiles a chunk of prepared rows, column by column."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.domain.contract import Contract
from dropforge.domain.profile import CategoricalProfile, ColumnProfile, NumericProfile


def profile_table(table: pa.Table, contract: Contract) -> dict[str, ColumnProfile]:
    """Profile features and target; keys identify rows and are left out."""
    return {
        column.name: profile_column(table.column(column.name))
        for column in contract.prepared
        if column.role != "key"
    }


def profile_column(column: pa.ChunkedArray) -> ColumnProfile:
    """Profile one column: as categories if it holds texts or booleans, otherwise as numbers."""
    missing = column.null_count
    present = column.drop_null()
    if pa.types.is_boolean(column.type):
        present = pc.if_else(present, "true", "false")
    if pa.types.is_string(present.type):
        counted = pc.value_counts(present)
        values, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
        return CategoricalProfile.of(dict(zip(values, counts, strict=True)), missing)
    if pa.types.is_timestamp(column.type):
        present = present.cast(pa.int64())
    return NumericProfile.of(present.to_numpy().astype(np.float64), missing)
