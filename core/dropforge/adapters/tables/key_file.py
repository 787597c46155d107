"""The hashes of an item's keys in object storage, sorted into ranges, each of which is read by itself."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dropforge.domain.ports import ObjectStore

UInt64 = npt.NDArray[np.uint64]
_HEADER = np.dtype("<i8")


@dataclass(frozen=True, slots=True)
class Keys:
    """Rows whose keys' hashes lie in one range.

    Attributes:
        first, second: uint64 (n,), the lanes of the hashes.
        rows: uint32 (n,), ascending: which rows of the item these are.
        labels: uint16 (n,), the rows' classes; empty for a regression.
    """

    first: UInt64
    second: UInt64
    rows: npt.NDArray[np.uint32]
    labels: npt.NDArray[np.uint16]


class KeyFile:
    """One item's keys. The file says where each range begins, in rows; then come the ranges by field."""

    def __init__(self, store: ObjectStore, uri: str) -> None:
        self._store, self._uri = store, uri

    def write(self, keys: Keys, ranges: int) -> None:
        """Write the keys of an item, sorted into `ranges` ranges, a power of two."""
        places = _ranges_of(keys.first, ranges)
        starts = np.cumsum([0, *np.bincount(places, minlength=ranges)])
        order = np.argsort(places, kind="stable")
        fields = [each for each in (keys.first, keys.second, keys.rows, keys.labels) if len(each)]
        header = np.array([len(keys.labels) > 0, *starts], dtype=_HEADER).tobytes()
        data = bytearray(len(header) + sum(each.nbytes for each in fields))
        data[: len(header)] = header
        position = len(header)
        for start, end in pairwise(starts):
            for each in fields:
                sorted_into = np.frombuffer(data, each.dtype, end - start, position)
                # With "clip" numpy writes there at once; every place is one that there is.
                each.take(order[start:end], out=sorted_into, mode="clip")
                position += sorted_into.nbytes
        self._store.write(self._uri, data)

    def read(self, number: int, ranges: int) -> Keys:
        """Read one range."""
        with self._store.open(self._uri) as file:
            header = np.frombuffer(file.read((ranges + 2) * _HEADER.itemsize), dtype=_HEADER)
            kinds = [np.dtype(kind) for kind in ("<u8", "<u8", "<u4", *(("<u2",) if header[0] else ()))]
            start, end = int(header[1 + number]), int(header[2 + number])
            row_bytes = sum(kind.itemsize for kind in kinds)
            file.seek((ranges + 2) * _HEADER.itemsize + start * row_bytes)
            data = file.read((end - start) * row_bytes)
        found, offset = [], 0
        for kind in kinds:
            found.append(np.frombuffer(data, dtype=kind, count=end - start, offset=offset))
            offset += (end - start) * kind.itemsize
        labels = found[3] if len(found) > 3 else np.empty(0, dtype=np.uint16)
        return Keys(found[0], found[1], found[2], labels)


def _ranges_of(first: UInt64, ranges: int) -> npt.NDArray[np.uint16]:
    """Return each row's range; of 16 bits, which numpy sorts by counting."""
    bits = ranges.bit_length() - 1
    # Shifted twice, because a shift by all 64 bits has no meaning.
    return (first >> np.uint64(1) >> np.uint64(63 - bits)).astype(np.uint16)
