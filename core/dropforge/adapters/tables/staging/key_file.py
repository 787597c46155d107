"""The hashes of an item's keys in object storage, sorted into ranges, each of which is read by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dropforge.domain.ports import ObjectStore

UInt64 = npt.NDArray[np.uint64]
_HEADER = np.dtype("<i8")
_LABELLED, _SPLIT, _GROUPED = 1, 2, 4
"""Flags of the header: which fields there are beside the lanes and the rows."""
_ROWS_PER_RANGE = 512


@dataclass(frozen=True, slots=True)
class Keys:
    """Rows whose keys' hashes lie in one range.

    Attributes:
        first, second: uint64 (n,), the lanes of the hashes.
        rows: uint32 (n,), ascending: which rows of the item these are.
        labels: uint16 (n,), the rows' classes; empty for a regression.
        splitting: uint64 (n,), the hashes that decide on the split, or the times.
        groups: uint64 (n,), the hashes of their groups; of rows without any, as `splitting`.
    """

    first: UInt64
    second: UInt64
    rows: npt.NDArray[np.uint32]
    labels: npt.NDArray[np.uint16]
    splitting: UInt64
    groups: UInt64


class KeySorter:
    """Collects the keys of an item, block by block, sorted into ranges. Holds 22 or 30 bytes per row.

    Args:
        ranges: a power of two.
    """

    def __init__(self, ranges: int) -> None:
        self._ranges = ranges
        self._pending: list[Keys] = []
        self._held = self._rows = self._flags = 0
        self._sorted: list[tuple[Sequence[npt.NDArray[Any]], npt.NDArray[np.int64]]] = []
        """Per run of rows its fields in the order of the ranges, and where each begins and the last ends."""

    def add(
        self,
        first: UInt64,
        second: UInt64,
        labels: npt.NDArray[np.uint16] | None,
        splitting: UInt64 | None = None,
        groups: UInt64 | None = None,
    ) -> None:
        """Add the rows that follow: the lanes of their hashes, their classes (None for a regression), what
        decides on their split (None for the first lane), and their groups (None for what decides)."""
        labels = np.empty(0, dtype=np.uint16) if labels is None else labels
        splitting = np.empty(0, dtype=np.uint64) if splitting is None else splitting
        groups = np.empty(0, dtype=np.uint64) if groups is None else groups
        rows = np.arange(self._rows, self._rows + len(first), dtype=np.uint32)
        self._pending.append(Keys(first, second, rows, labels, splitting, groups))
        self._rows += len(rows)
        self._held += len(rows)
        # Few rows at once stay in a core's cache, but ranges should not come in crumbs.
        if self._held >= _ROWS_PER_RANGE * self._ranges:
            self._sort()

    def to_bytes(self) -> bytes:
        """Return the content of the item's `KeyFile`."""
        self._sort()
        starts = sum((bounds for _, bounds in self._sorted), np.zeros(self._ranges + 1, dtype=np.int64))
        fields = len(self._sorted[0][0]) if self._sorted else 0
        pieces = (
            run[field][bounds[place] : bounds[place + 1]].data
            for place in range(self._ranges)
            for field in range(fields)
            for run, bounds in self._sorted
        )
        return b"".join([np.append(self._flags, starts).astype(_HEADER).data, *pieces])

    def _sort(self) -> None:
        if not self._pending:
            return
        keys = [np.concatenate(each) for each in zip(*map(_fields, self._pending), strict=True)]
        flags = zip((_LABELLED, _SPLIT, _GROUPED), keys[3:], strict=True)
        self._flags = sum(flag for flag, values in flags if len(values))
        fields = [each for each in keys if len(each)]
        places = _ranges_of(fields[0], self._ranges)
        order = np.argsort(places, kind="stable")
        bounds = np.cumsum(np.append(0, np.bincount(places, minlength=self._ranges)))
        self._sorted.append(([each.take(order) for each in fields], bounds))
        self._pending, self._held = [], 0


class KeyFile:
    """One item's keys. The file says where each range begins, in rows; then come the ranges by field."""

    def __init__(self, store: ObjectStore, uri: str) -> None:
        self._store, self._uri = store, uri

    def read(self, number: int, ranges: int) -> Keys:
        """Read one range."""
        with self._store.open(self._uri) as file:
            header = np.frombuffer(file.read((ranges + 2) * _HEADER.itemsize), dtype=_HEADER)
            labels = ("<u2",) if header[0] & _LABELLED else ()
            splitting = ("<u8",) if header[0] & _SPLIT else ()
            groups = ("<u8",) if header[0] & _GROUPED else ()
            kinds = [np.dtype(kind) for kind in ("<u8", "<u8", "<u4", *labels, *splitting, *groups)]
            start, end = int(header[1 + number]), int(header[2 + number])
            row_bytes = sum(kind.itemsize for kind in kinds)
            file.seek((ranges + 2) * _HEADER.itemsize + start * row_bytes)
            data = file.read((end - start) * row_bytes)
        found, offset = [], 0
        for kind in kinds:
            found.append(np.frombuffer(data, dtype=kind, count=end - start, offset=offset))
            offset += (end - start) * kind.itemsize
        decides = found[3 + len(labels)] if splitting else found[0]
        return Keys(
            found[0],
            found[1],
            found[2],
            found[3] if labels else np.empty(0, dtype=np.uint16),
            decides,
            found[-1] if groups else decides,
        )


def _fields(keys: Keys) -> tuple[npt.NDArray[Any], ...]:
    return keys.first, keys.second, keys.rows, keys.labels, keys.splitting, keys.groups


def _ranges_of(first: UInt64, ranges: int) -> npt.NDArray[np.uint16]:
    """Return each row's range; of 16 bits, which numpy sorts by counting."""
    bits = ranges.bit_length() - 1
    # Shifted twice, because a shift by all 64 bits has no meaning.
    return (first >> np.uint64(1) >> np.uint64(63 - bits)).astype(np.uint16)
