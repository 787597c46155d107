"""The block: some successive rows of an object, as every format's reader yields them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that is no row at all: too many fields, no JSON."""

    position: int
    """0-based among the block's records."""
    rule: str
    column: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Block:
    """Readable rows, each column as text or with the file's own type; and the records that are no rows.

    A column that is absent from `columns` has no value in any of these rows.
    """

    columns: Mapping[str, pa.Array]
    positions: npt.NDArray[np.int64]
    """int64 (rows,): the place of each readable row among the block's records."""
    records: int
    bad: Sequence[BadRecord] = field(default_factory=tuple)

    @property
    def rows(self) -> int:
        return len(self.positions)


class Table(Protocol):
    """An open object. `columns` names its columns, or is None where only reading all of it can tell."""

    columns: list[str] | None

    def native_types(self) -> Mapping[str, pa.DataType]:
        """Types that the file itself declares; empty for formats that hold text."""
        ...

    def blocks(self, wanted: Sequence[str] | None, numeric: Mapping[str, pa.DataType]) -> Iterator[Block]:
        """Yield the rows in order.

        Args:
            wanted: the columns to read; None for all.
            numeric: columns expected to parse as int64 or float64, so that they may come typed.
        """
        ...


def rows_without(records: int, bad: Sequence[BadRecord]) -> npt.NDArray[np.int64]:
    """Return the positions of the records that are rows."""
    if not bad:
        return np.arange(records, dtype=np.int64)
    mask = np.ones(records, dtype=np.bool_)
    mask[[record.position for record in bad]] = False
    return np.flatnonzero(mask)
