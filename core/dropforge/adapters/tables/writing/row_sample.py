"""Keeps a random sample of prepared rows, whichever way they were cut into chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.domain.contract import ROW_KEY, Contract
from dropforge.domain.preparing import SAMPLE_ROWS

_SAMPLED_TYPES = ("number", "integer", "boolean", "category")


class RowSample:
    """The rows whose stable hash is least: random with regard to content, the same in every run.

    Features only: keys identify rows, private columns must not be kept anywhere else, and time and free text
    are not compared.
    """

    def __init__(self, contract: Contract, rows: int = SAMPLE_ROWS) -> None:
        self._names = [
            column.name
            for column in contract.features
            if column.privacy is None and column.type in _SAMPLED_TYPES
        ]
        self._rows = rows
        self._kept: pa.Table | None = None

    def add(self, rows: pa.Table) -> None:
        """Look at prepared rows; keeps at most `rows` of all that were added."""
        candidates = _decoded(self._least(rows.select([*self._names, ROW_KEY])))
        if self._kept is not None:
            candidates = self._least(pa.concat_tables([self._kept, candidates]))
        self._kept = candidates

    def _least(self, rows: pa.Table) -> pa.Table:
        if rows.num_rows <= self._rows:
            return rows
        keys = rows.column(ROW_KEY).to_numpy()
        return rows.take(pa.array(np.argpartition(keys, self._rows - 1)[: self._rows]))

    def table(self) -> pa.Table | None:
        """Return the kept rows, in no particular order, for another sample's `add`."""
        return self._kept

    def columns(self) -> dict[str, Sequence[Any]]:
        """Return the sample by column, ordered by hash: float64 with NaN, or texts with None."""
        if self._kept is None:
            return {}
        ordered = self._kept.sort_by(ROW_KEY)
        return {name: _values(ordered.column(name)) for name in self._names}


def _decoded(rows: pa.Table) -> pa.Table:
    """Rows with texts of their own, so that those of other parts fit on."""
    for index, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            rows = rows.set_column(index, field.name, rows.column(index).cast(pa.string()))
    return rows


def _values(column: pa.ChunkedArray) -> Sequence[Any]:
    if pa.types.is_boolean(column.type):
        column = pc.if_else(column, "true", "false")
    if pa.types.is_string(column.type):
        return list(column.to_pylist())
    numbers: Sequence[Any] = column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy()
    return numbers
