"""Which rows of which items come again further down, for one range of hashes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dropforge.adapters.tables.key_file import Keys
from dropforge.adapters.tables.staging import rows_per_split
from dropforge.domain.contract import Contract
from dropforge.domain.ports import ObjectStore
from dropforge.domain.splitting import last_occurrences

_OFFSET = np.dtype("<i8")
_ROW = np.dtype("<u4")


@dataclass(frozen=True, slots=True)
class Repeats:
    """Per item the rows that come again further down, in the same item or in a later one.

    Attributes:
        rows: uint32 (n,) per item, places of rows.
        counts: int64 (3, n_classes), where they would have gone.
    """

    rows: Sequence[npt.NDArray[np.uint32]]
    counts: npt.NDArray[np.int64]

    @property
    def total(self) -> int:
        return sum(map(len, self.rows))

    def to_bytes(self) -> bytes:
        """Return the number of items, where each one's rows begin, and the rows, for `read_repeated`."""
        offsets = np.cumsum([0, *map(len, self.rows)])
        header = np.array([len(self.rows), *offsets], dtype=_OFFSET)
        return b"".join([header.tobytes(), *(each.astype(_ROW).tobytes() for each in self.rows)])


def find_repeated(items: Sequence[Keys], contract: Contract) -> Repeats:
    """Find the rows whose key comes again, given the keys of each item in order."""
    first = np.concatenate([each.first for each in items])
    keep = last_occurrences(first, np.concatenate([each.second for each in items]))
    bounds = np.cumsum([len(each.first) for each in items])[:-1]
    masks = np.split(keep, bounds)
    labels = np.concatenate([each.labels for each in items]) if contract.is_classification else None
    counts = rows_per_split(first[~keep], None if labels is None else labels[~keep], contract)
    return Repeats([each.rows[~mask] for each, mask in zip(items, masks, strict=True)], counts)


def read_repeated(store: ObjectStore, uri: str, number: int) -> npt.NDArray[np.uint32]:
    """Read the rows of one item, uint32 (n,)."""
    with store.open(uri) as file:
        (items,) = np.frombuffer(file.read(_OFFSET.itemsize), dtype=_OFFSET).tolist()
        file.seek((1 + number) * _OFFSET.itemsize)
        start, end = np.frombuffer(file.read(2 * _OFFSET.itemsize), dtype=_OFFSET).tolist()
        file.seek((2 + items) * _OFFSET.itemsize + start * _ROW.itemsize)
        return np.frombuffer(file.read((end - start) * _ROW.itemsize), dtype=_ROW)
