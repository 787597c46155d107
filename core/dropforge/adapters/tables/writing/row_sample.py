"""Keeps a random sample of prepared rows, whichever way they were cut into chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dropforge.domain.contract import PROFILED, ROW_KEY, Contract
from dropforge.domain.leakage import Evidence
from dropforge.domain.preparing import SAMPLE_ROWS

EVIDENCE_ROWS = 4096
_PLACE_COLUMNS = ("dropforge_split", "dropforge_object", "dropforge_place")
_SAMPLED_TYPES = ("number", "integer", "boolean", "category")


class RowSample:
    """The rows whose stable hash is least: random with regard to content, the same in every run.

    All that may be a leak is looked at, see `dropforge.domain.leakage`. What the profile gets of it are
    features only: keys identify rows, private columns must not be kept anywhere else, and time and free text
    are not compared.
    """

    def __init__(self, contract: Contract, rows: int = EVIDENCE_ROWS) -> None:
        self._told = [
            column.name
            for column in contract.features
            if column.privacy is None and column.type in _SAMPLED_TYPES
        ]
        self._names = [c.name for c in contract.prepared if c.role in PROFILED or c.name == contract.time]
        self._rows = rows
        self._kept: pa.Table | None = None
        self._is_evidence = True

    def add(self, rows: pa.Table) -> None:
        """Look at prepared rows, with what `placed` adds; keeps at most `rows` of all that were added."""
        names = [*self._names, *_PLACE_COLUMNS]
        if self._is_evidence and not {*names} <= {*rows.column_names}:
            # Of chunks that the release before has written there is the profile's part only.
            self._is_evidence = False
            self._kept = None if self._kept is None else self._kept.select([*self._told, ROW_KEY])
        if not self._is_evidence:
            names = self._told
        candidates = _decoded(self._least(rows.select([*names, ROW_KEY])))
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
        """Return the profile's sample by column, ordered by hash: float64 with NaN, or texts with None."""
        if self._kept is None:
            return {}
        ordered = self._kept.sort_by(ROW_KEY).slice(0, SAMPLE_ROWS)
        return {name: _values(ordered.column(name)) for name in self._told}

    def evidence(self) -> Evidence:
        """Return all that is kept, ordered by hash."""
        if self._kept is None or not self._is_evidence:
            return Evidence()
        ordered = self._kept.sort_by(ROW_KEY)
        split, source, place = (ordered.column(name).to_numpy() for name in _PLACE_COLUMNS)
        columns = {name: _values(ordered.column(name)) for name in self._names}
        return Evidence(columns, split.astype(np.int64), source, place)


def placed(
    rows: pa.Table,
    codes: npt.NDArray[np.uint8],
    objects: npt.NDArray[np.uint64],
    places: npt.NDArray[np.int64],
) -> pa.Table:
    """Add what a sample has to know of rows beside their values, (n,) each: see `Evidence`."""
    for name, values in zip(_PLACE_COLUMNS, (codes, objects, places), strict=True):
        rows = rows.append_column(name, pa.array(values))
    return rows


def _decoded(rows: pa.Table) -> pa.Table:
    """Rows with texts of their own, so that those of other parts fit on."""
    for index, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type):
            rows = rows.set_column(index, field.name, rows.column(index).cast(pa.string()))
    return rows


def _values(column: pa.ChunkedArray) -> Sequence[Any]:
    if pa.types.is_boolean(column.type):
        column = pc.if_else(column, "true", "false")
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if pa.types.is_string(column.type):
        return list(column.to_pylist())
    numbers: Sequence[Any] = column.cast(pa.float64(), safe=False).fill_null(float("nan")).to_numpy()
    return numbers
