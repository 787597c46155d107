"""The block: some successive rows of an object, as every format's reader yields them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dropforge.domain.values import NumberFormat


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
    names: Collection[str] = field(default_factory=tuple)
    """Every column that the rows name, wanted or not, in formats whose rows name their columns."""
    rewritten: Collection[str] = field(default_factory=tuple)
    """Columns with numbers that stand here otherwise than in the file: 1.0 as 1, in JSON."""
    spells_missing: bool = False
    """Whether the format has no other way to say that a value is missing than to spell it out."""

    @property
    def rows(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, slots=True)
class Hints:
    """How columns are best read, where their values allow it.

    Attributes:
        kinds: a number, or encoded text. Text that doesn't allow it comes as text.
        number_formats: columns of formats in which JSON's numbers are no plain text: the format that they
            have to be written in; None where numbers are no values.
    """

    kinds: Mapping[str, pa.DataType] = field(default_factory=dict)
    number_formats: Mapping[str, NumberFormat | None] = field(default_factory=dict)


Piece = Callable[[], Block]
"""Reads one block when it is called, in whatever thread."""


class Table(Protocol):
    """An open object. `columns` names its columns, or is None where only reading all of it can tell."""

    columns: list[str] | None

    def native_types(self) -> Mapping[str, pa.DataType]:
        """Types that the file itself declares; empty for formats that hold text."""
        ...

    def between(self, start: int | None, end: int) -> None:
        """Let `pieces` yield the rows of a span only, whose bounds are no longer rough (see `Span`).

        Only for objects that can be read from the middle.
        """
        ...

    def pieces(self, wanted: Sequence[str] | None, hints: Hints) -> Iterator[Piece]:
        """Cut the object into blocks, in order; the work of reading one is left to its piece.

        Args:
            wanted: the columns to read; None for all.
            hints: how to read them.
        """
        ...

    def blocks(self, wanted: Sequence[str] | None, hints: Hints) -> Iterator[Block]:
        """Read the blocks that hold a record, one after the other."""
        ...


class BlockTable:
    """Reads in one thread what `pieces` cuts."""

    def pieces(self, wanted: Sequence[str] | None, hints: Hints) -> Iterator[Piece]:
        raise NotImplementedError

    def blocks(self, wanted: Sequence[str] | None, hints: Hints) -> Iterator[Block]:
        return (block for piece in self.pieces(wanted, hints) if (block := piece()).records)


def rows_without(records: int, bad: Sequence[BadRecord]) -> npt.NDArray[np.int64]:
    """Return the positions of the records that are rows."""
    if not bad:
        return np.arange(records, dtype=np.int64)
    mask = np.ones(records, dtype=np.bool_)
    mask[[record.position for record in bad]] = False
    return np.flatnonzero(mask)
