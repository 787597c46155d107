"""Which rows of which items come again further down, for one range of hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dropforge.adapters.tables.staging.key_file import Keys
from dropforge.adapters.tables.staging.local_staging import SplitTally
from dropforge.domain.chunk_tables import NumberedOrigin
from dropforge.domain.contract import Contract
from dropforge.domain.ports import ObjectStore
from dropforge.domain.recurrence import recurring_rows
from dropforge.domain.splitting import SPLITS, RowSplits, last_occurrences
from dropforge.domain.time_split import Placing

_OFFSET = np.dtype("<i8")
_ROW = np.dtype("<u4")


@dataclass(frozen=True, slots=True)
class Repeats:
    """Per item the rows that are left out because they come again, and what remains of the others.

    Attributes:
        rows: uint32 (n,) per item, places of rows.
        left_out: how many rows of each object these are, by the object's number.
        tally: of the rows that remain; of none while nobody knows where the boundaries in time are.
        times: ascending, uint64 (n,), of the rows that remain, where these decide on the split.
        held: ascending, uint64 (n,), the groups that occur in the test, where boundaries in time are known.
    """

    rows: Sequence[npt.NDArray[np.uint32]]
    left_out: Mapping[int, int]
    tally: SplitTally
    times: npt.NDArray[np.uint64]
    held: npt.NDArray[np.uint64]

    @property
    def total(self) -> int:
        return sum(map(len, self.rows))

    def to_bytes(self) -> bytes:
        """Return the number of items, where each one's rows begin, and the rows, for `read_repeated`."""
        offsets = np.cumsum([0, *map(len, self.rows)])
        header = np.array([len(self.rows), *offsets], dtype=_OFFSET)
        return b"".join([header.tobytes(), *(each.astype(_ROW).tobytes() for each in self.rows)])


def find_repeated(
    items: Sequence[Keys],
    contract: Contract,
    origins: Sequence[Sequence[NumberedOrigin]],
    recurrences: Mapping[int, int],
    placing: Placing | None = None,
) -> Repeats:
    """Find the rows that come again: by their key, or without one, in the object that is the same data again.

    Args:
        items: the keys of each item, in order.
        origins: where the rows of each item come from.
        recurrences: see `find_recurrences`.
        placing: what decides where it is time; None while it isn't known.
    """
    first = np.concatenate([each.first for each in items])
    second = np.concatenate([each.second for each in items])
    bounds = np.cumsum([len(each.first) for each in items])[:-1]
    if contract.key is not None:
        keep = last_occurrences(first, second)
    else:
        objects = [_objects_of(each.rows, parts) for each, parts in zip(items, origins, strict=True)]
        keep = ~recurring_rows(first, second, np.concatenate(objects), recurrences)
    tally = SplitTally(contract)
    masks = np.split(keep, bounds)
    times, held = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.uint64)]
    for each, mask, parts in zip(items, masks, origins, strict=True):
        places, hashes = each.rows[mask].astype(np.int64), each.splitting[mask]
        groups = each.groups[mask]
        if contract.time is not None and placing is None:
            times.append(hashes)
            continue
        codes = RowSplits(contract, [part.origin for part in parts], placing).of(places, hashes, groups)[1]
        tally.add(hashes, codes, each.labels[mask] if contract.is_classification else None, groups)
        if placing is not None:
            held.append(groups[codes == SPLITS.index("test")])
    rows = [each.rows[~mask] for each, mask in zip(items, masks, strict=True)]
    numbers = np.concatenate([_objects_of(each, parts) for each, parts in zip(rows, origins, strict=True)])
    left_out = {
        int(number): int(count) for number, count in zip(*np.unique(numbers, return_counts=True), strict=True)
    }
    return Repeats(rows, left_out, tally, np.sort(np.concatenate(times)), np.unique(np.concatenate(held)))


def _objects_of(rows: npt.NDArray[np.uint32], origins: Sequence[NumberedOrigin]) -> npt.NDArray[np.int64]:
    """The number of the object that each row of an item comes from, int64 (n,)."""
    ends = np.cumsum([part.origin.rows for part in origins])
    numbers = np.array([part.number for part in origins], dtype=np.int64)
    return numbers[np.searchsorted(ends, rows, "right")] if len(numbers) else np.empty(0, dtype=np.int64)


def read_repeated(store: ObjectStore, uri: str, number: int) -> npt.NDArray[np.uint32]:
    """Read the rows of one item, uint32 (n,)."""
    with store.open(uri) as file:
        (items,) = np.frombuffer(file.read(_OFFSET.itemsize), dtype=_OFFSET).tolist()
        file.seek((1 + number) * _OFFSET.itemsize)
        start, end = np.frombuffer(file.read(2 * _OFFSET.itemsize), dtype=_OFFSET).tolist()
        file.seek((2 + items) * _OFFSET.itemsize + start * _ROW.itemsize)
        return np.frombuffer(file.read((end - start) * _ROW.itemsize), dtype=_ROW)
