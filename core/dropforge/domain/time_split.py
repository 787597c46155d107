"""Splits by time: the newest tenth of the rows tests, the tenth before it validates, the rest trains.

What decides are the values of one column as keys, uint64, that are in the values' order. Boundaries are exact
and the same however the rows are cut, and only move forward: rows go from test to validation to training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]

_SIGN = 1 << 63
_MASK = (1 << 64) - 1
_BUCKETS = 1 << 16
_SORTED_AT_ONCE = 1 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def ordered_keys(values: npt.NDArray[Any]) -> UInt64:
    """Return keys in the order of the values: int64, or float64 without NaN, (n,).

    Example:
        >>> keys = ordered_keys(np.array([-1.5, -0.0, 0.0, 2.0]))
        >>> bool((np.diff(keys) > 0).tolist() == [True, False, True])
        True
    """
    if values.dtype.kind != "f":
        return values.astype(np.int64).view(np.uint64) ^ np.uint64(_SIGN)
    bits: UInt64 = (values.astype(np.float64) + 0.0).view(np.uint64)
    flipped: UInt64 = np.where(bits >> np.uint64(63), ~bits, bits ^ np.uint64(_SIGN))
    return flipped


def value_of(key: int, column_type: str) -> float | int | str:
    """Return the value that a key stands for, as JSON can hold it and people read it."""
    if column_type == "number":
        bits = key ^ _SIGN if key & _SIGN else ~key & _MASK
        return float(np.array([bits], dtype=np.uint64).view(np.float64)[0])
    number = key - _SIGN
    return number if column_type == "integer" else moment_text(number)


def key_of(value: float | int | str, column_type: str) -> int:
    """Return the key of what `value_of` wrote."""
    if column_type == "number":
        return int(ordered_keys(np.array([value], dtype=np.float64))[0])
    if isinstance(value, str):
        value = (datetime.fromisoformat(value) - _EPOCH) // _MICROSECOND
    return int(value) + _SIGN


def moment_text(microseconds: int) -> str:
    """Return microseconds since 1970 as ISO 8601; beyond the calendar's years its first or last moment."""
    earliest, latest = ((each - _EPOCH) // _MICROSECOND for each in (_FIRST, _LAST))
    return (_EPOCH + min(max(microseconds, earliest), latest) * _MICROSECOND).isoformat()


_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Boundaries:
    """Keys from which on rows validate, and from which on they test."""

    validation_from: int
    test_from: int

    def not_before(self, earlier: Boundaries | None) -> Boundaries:
        """Return these, moved forward to an earlier run's where they lie before those."""
        if earlier is None:
            return self
        return Boundaries(
            max(self.validation_from, earlier.validation_from), max(self.test_from, earlier.test_from)
        )

    def codes(self, keys: UInt64) -> npt.NDArray[np.uint8]:
        """Return the split of each row: training (0), validation (1), test (2)."""
        validates = keys >= np.uint64(self.validation_from)
        return validates.astype(np.uint8) + (keys >= np.uint64(self.test_from)).astype(np.uint8)

    def to_dict(self, column: str, column_type: str) -> dict[str, Any]:
        """Return the boundaries as they are written down."""
        ends = {"validation_from": self.validation_from, "test_from": self.test_from}
        return {
            "column": column,
            "type": column_type,
            **{name: value_of(key, column_type) for name, key in ends.items()},
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], column: str, column_type: str) -> Boundaries | None:
        """Read what `to_dict` wrote; None where it is of another column, or of one of another type."""
        if (raw.get("column"), raw.get("type")) != (column, column_type):
            return None
        return cls(
            key_of(raw["validation_from"], column_type),
            key_of(raw["test_from"], column_type),
        )


@dataclass(frozen=True, slots=True)
class Placing:
    """What has to be known of all rows before any can be placed by time.

    Attributes:
        boundaries: of this run.
        held: ascending, uint64 (n,), the keys of the groups that occur in the test; rows of these are left
            out of training and validation. None where rows have no groups.
    """

    boundaries: Boundaries
    held: UInt64 | None = None

    def to_bytes(self) -> bytes:
        """Return it as it travels."""
        groups = np.empty(0, dtype=np.uint64) if self.held is None else self.held
        ends = [self.boundaries.validation_from, self.boundaries.test_from, self.held is not None]
        return np.concatenate([np.array(ends, dtype="<u8"), groups.astype("<u8")]).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Placing:
        words = np.frombuffer(data, dtype="<u8")
        boundaries = Boundaries(int(words[0]), int(words[1]))
        return cls(boundaries, words[3:] if words[2] else None)


class Times:
    """Keys of rows, in pieces that can be read again and again.

    Args:
        pieces: begins to read anew each time; uint64 arrays in any order.
    """

    def __init__(self, pieces: Callable[[], Iterable[UInt64]]) -> None:
        self._pieces = pieces
        self.rows, self.least, self.greatest = 0, _MASK, 0
        for piece in self._read():
            self.rows += len(piece)
            self.least = min(self.least, int(piece.min()))
            self.greatest = max(self.greatest, int(piece.max()))

    def _read(self) -> Iterator[UInt64]:
        return (piece for piece in self._pieces() if len(piece))

    def boundaries(self) -> Boundaries:
        """Return where the newest tenth and the tenth before it begin; rows of one time lie in one split.

        Where so many rows have one time that nothing would lie between, validation begins at the time before.
        """
        test_from = self.at(self.rows * 9 // 10)
        validation_from = self.at(self.rows * 8 // 10)
        if validation_from == test_from:
            validation_from = self._before(test_from)
        return Boundaries(validation_from, test_from)

    def later_than(self, key: int) -> int:
        """Count the rows with a greater key."""
        return sum(int((piece > np.uint64(key)).sum()) for piece in self._read())

    def at(self, rank: int) -> int:
        """Return the key at a place, from 0, among all of them in order."""
        low, high, total = self.least, self.greatest, self.rows
        while low < high:
            if total <= _SORTED_AT_ONCE:
                inside = np.concatenate([_between(piece, low, high) for piece in self._read()])
                return int(np.partition(inside, rank)[rank])
            width = -(-(high - low + 1) // _BUCKETS)
            counts = np.zeros(_BUCKETS, dtype=np.int64)
            for piece in self._read():
                steps = (_between(piece, low, high) - np.uint64(low)) // np.uint64(width)
                counts += np.bincount(steps.astype(np.int64), minlength=_BUCKETS)
            ends = np.cumsum(counts)
            bucket = int(np.searchsorted(ends, rank, "right"))
            rank -= int(ends[bucket] - counts[bucket])
            total = int(counts[bucket])
            low, high = low + bucket * width, min(high, low + (bucket + 1) * width - 1)
        return low

    def _before(self, key: int) -> int:
        """Return the greatest key below one; that itself where there is none."""
        found = [int(below.max()) for below in (p[p < np.uint64(key)] for p in self._read()) if len(below)]
        return max(found, default=key)


def _between(keys: UInt64, low: int, high: int) -> UInt64:
    return keys[(keys >= np.uint64(low)) & (keys <= np.uint64(high))]
