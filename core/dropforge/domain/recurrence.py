"""Rows that an object has in common with a later one, where nothing but their values identifies rows.

Equal rows are observations of their own: two customers may well be alike. But a file that was dropped again,
or an export that grows from day to day, holds the rows of before once more. Which of the two it is, samples
of the objects' row hashes tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]

RECURRING_SHARE = 0.9
"""Of an object's rows: from here on the later object is taken for the same data, exported again."""
DISTINCT_SHARE = 0.5
"""Of the later object's rows that have no equal in it. Below this rows are so much alike that they recur by
chance; independent rows at this share would recur to a half."""
FEWEST_SAMPLED = 20
_HELD, _SAMPLES = 1 << 22, (1 << 10, 1 << 18)
_LATER = 8
"""Objects behind one that are looked at, per row of its sample: of a growing export the next ones suffice."""


def sample_size(objects: int) -> int:
    """Return how many different row hashes to keep of each of so many objects: 64 MiB for all of them."""
    return min(max(_HELD // max(objects, 1), _SAMPLES[0]), _SAMPLES[1])


class ObjectSketch:
    """What is remembered of an object's rows: how many there are, an order-free digest, and the least hashes.

    Sketches of parts merge into that of the whole, in any grouping.

    Args:
        size: how many different hashes to keep.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.rows = 0
        self.digest = np.zeros(2, dtype=np.uint64)
        self.hashes: UInt64 = np.empty(0, dtype=np.uint64)
        """Ascending, uint64 (n,): every row's hash that is not above the last one, if there are `size`."""
        self.counts: Int64 = np.empty(0, dtype=np.int64)

    def add(self, first: UInt64, second: UInt64) -> None:
        """Add rows by both lanes of their hashes."""
        with np.errstate(over="ignore"):
            self.digest += np.array([first.sum(dtype=np.uint64), second.sum(dtype=np.uint64)])
        self.rows += len(first)
        near = first[first <= self.hashes[-1]] if len(self.hashes) == self.size else first
        hashes, counts = np.unique(near, return_counts=True)
        self._keep(hashes, counts.astype(np.int64))

    def merge(self, other: ObjectSketch) -> None:
        """Add another part of the object."""
        with np.errstate(over="ignore"):
            self.digest += other.digest
        self.rows += other.rows
        self._keep(other.hashes, other.counts)

    def _keep(self, hashes: UInt64, counts: Int64) -> None:
        joined, places = np.unique(np.concatenate([self.hashes, hashes]), return_inverse=True)
        total = np.bincount(places, weights=np.concatenate([self.counts, counts]), minlength=len(joined))
        self.hashes, self.counts = joined[: self.size], total[: self.size].astype(np.int64)

    @property
    def tells_rows_apart(self) -> bool:
        """Whether most rows have no equal in the object."""
        return bool(self.counts[self.counts == 1].sum() >= DISTINCT_SHARE * self.counts.sum())

    def share_in(self, later: ObjectSketch) -> float | None:
        """The share of rows that another object has as well, by the hashes that both would have kept."""
        ends = [each.hashes[-1] for each in (self, later) if len(each.hashes) == each.size]
        sampled = len(self.hashes) if not ends else int(np.searchsorted(self.hashes, min(ends), "right"))
        exact = not ends
        if sampled < FEWEST_SAMPLED and not exact:
            return None
        counts = self.counts[:sampled]
        found = np.isin(self.hashes[:sampled], later.hashes, assume_unique=True)
        return float(counts[found].sum() / counts.sum()) if counts.sum() else None

    def to_bytes(self) -> bytes:
        """Return the sketch, for `from_bytes`."""
        head = np.array([self.size, self.rows, len(self.hashes)], dtype="<u8")
        arrays = (head, self.digest, self.hashes, self.counts)
        return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> ObjectSketch:
        words = np.frombuffer(data, dtype="<u8")
        size, rows, kept = (int(word) for word in words[:3])
        sketch = cls(size)
        sketch.rows, sketch.digest = rows, words[3:5].copy()
        sketch.hashes, sketch.counts = words[5 : 5 + kept], words[5 + kept :].astype(np.int64)
        return sketch


def find_recurrences(sketches: Sequence[ObjectSketch]) -> dict[int, int]:
    """Return which objects are contained in a later one: the later one's number by the object's number.

    Args:
        sketches: of every object, the oldest first.
    """
    found: dict[int, int] = {}
    for earlier, later in _candidates(sketches):
        if earlier not in found and _is_contained(sketches[earlier], sketches[later]):
            found[earlier] = later
    return found


def _is_contained(earlier: ObjectSketch, later: ObjectSketch) -> bool:
    if not earlier.rows:
        return False
    if earlier.rows == later.rows and np.array_equal(earlier.digest, later.digest):
        return True
    share = earlier.share_in(later) if later.tells_rows_apart else None
    return share is not None and share >= RECURRING_SHARE


def _candidates(sketches: Sequence[ObjectSketch]) -> list[tuple[int, int]]:
    """Return pairs of objects that have a row in common, the nearest pairs of each object first."""
    if len(sketches) < 2:
        return []
    hashes = np.concatenate([each.hashes[: _SAMPLES[0]] for each in sketches])
    numbers = np.repeat(np.arange(len(sketches)), [len(each.hashes[: _SAMPLES[0]]) for each in sketches])
    order = np.lexsort((numbers, hashes))
    hashes, numbers = hashes[order], numbers[order]
    pairs: set[tuple[int, int]] = set()
    for step in range(1, _LATER + 1):
        same = hashes[step:] == hashes[:-step]
        joint = np.unique(numbers[:-step][same] * len(sketches) + numbers[step:][same])
        pairs.update((int(each) // len(sketches), int(each) % len(sketches)) for each in joint)
    return sorted(pairs)


def recurring_rows(
    first: UInt64, second: UInt64, objects: Int64, recurrences: Mapping[int, int]
) -> npt.NDArray[np.bool_]:
    """Mark the rows that the later object has as well, for every object that is contained in one.

    Args:
        first, second: uint64 (n,), the lanes of the rows' hashes.
        objects: int64 (n,), the number of each row's object.
        recurrences: as found by `find_recurrences`.

    Returns:
        bool (n,).
    """
    marked = np.zeros(len(first), dtype=np.bool_)
    for earlier, later in recurrences.items():
        rows, others = np.flatnonzero(objects == earlier), np.flatnonzero(objects == later)
        marked[rows] = np.isin(first[rows], first[others]) & np.isin(second[rows], second[others])
    return marked


class Twins:
    """How many test rows have an equal among the training rows, by the hashes of what is learned from.

    Exact up to `LIMIT` different hashes; beyond that it counts the rows of the least ones, a random sample.
    """

    LIMIT = 1024

    def __init__(self) -> None:
        self._hashes: UInt64 = np.empty(0, dtype=np.uint64)
        self._counts: Int64 = np.empty((0, 2), dtype=np.int64)

    def add(self, hashes: UInt64, is_training: npt.NDArray[np.bool_], is_test: npt.NDArray[np.bool_]) -> None:
        """Add rows, (n,) each."""
        found, places = np.unique(hashes, return_inverse=True)
        counts = [np.bincount(places, weights=each, minlength=len(found)) for each in (is_training, is_test)]
        self._keep(found, np.stack(counts, axis=1).astype(np.int64))

    def merge(self, other: Twins) -> None:
        """Add what was seen of other rows."""
        self._keep(other._hashes, other._counts)

    def _keep(self, hashes: UInt64, counts: Int64) -> None:
        joined, places = np.unique(np.concatenate([self._hashes, hashes]), return_inverse=True)
        total = np.zeros((len(joined), 2), dtype=np.int64)
        np.add.at(total, places, np.concatenate([self._counts, counts]))
        self._hashes, self._counts = joined[: self.LIMIT], total[: self.LIMIT]

    @property
    def share(self) -> float | None:
        """The share of test rows with an equal in training, in [0, 1]; None where there are no test rows."""
        tested = int(self._counts[:, 1].sum())
        return float(self._counts[self._counts[:, 0] > 0, 1].sum() / tested) if tested else None

    def to_list(self) -> list[list[int]]:
        return [[int(each), *map(int, row)] for each, row in zip(self._hashes, self._counts, strict=True)]

    @classmethod
    def from_list(cls, raw: Sequence[Sequence[int]]) -> Twins:
        twins = cls()
        twins._hashes = np.array([each[0] for each in raw], dtype=np.uint64)
        twins._counts = np.array([each[1:] for each in raw], dtype=np.int64).reshape(len(raw), 2)
        return twins


class GroupTally:
    """How many groups there are, by their hashes. Exact up to `LIMIT` groups, beyond that an estimate.

    Which rows were added in which order, or merged from which parts, leaves no trace.
    """

    LIMIT = 4096

    def __init__(self) -> None:
        self._hashes: UInt64 = np.empty(0, dtype=np.uint64)
        self._counts: Int64 = np.empty(0, dtype=np.int64)

    def add(self, hashes: UInt64) -> None:
        """Add rows by their groups' hashes, uint64 (n,)."""
        if len(self._hashes) == self.LIMIT:
            hashes = hashes[hashes <= self._hashes[-1]]
        found, counts = np.unique(hashes, return_counts=True)
        self._keep(found, counts.astype(np.int64))

    def merge(self, other: GroupTally) -> None:
        """Add what was seen of other rows."""
        self._keep(other._hashes, other._counts)

    def _keep(self, hashes: UInt64, counts: Int64) -> None:
        joined, places = np.unique(np.concatenate([self._hashes, hashes]), return_inverse=True)
        total = np.bincount(places, weights=np.concatenate([self._counts, counts]), minlength=len(joined))
        # The rows of a group among the least are all counted: its hash was among the least of every part.
        self._hashes, self._counts = joined[: self.LIMIT], total[: self.LIMIT].astype(np.int64)

    def groups_among(self, rows: int) -> int:
        """Return how many groups there are among so many rows, which were all added."""
        kept, counted = len(self._hashes), int(self._counts.sum())
        return kept if kept < self.LIMIT else round(rows * kept / counted)

    def to_list(self) -> list[list[int]]:
        return [[int(each), int(count)] for each, count in zip(self._hashes, self._counts, strict=True)]

    @classmethod
    def from_list(cls, raw: Sequence[Sequence[int]]) -> GroupTally:
        tally = cls()
        tally._hashes = np.array([each[0] for each in raw], dtype=np.uint64)
        tally._counts = np.array([each[1] for each in raw], dtype=np.int64)
        return tally


class Combinations:
    """Whether the rows have at least `FEWEST` different combinations of what is learned from.

    Args:
        seen: hashes of combinations that were seen before.
        rows: in so many rows.
    """

    FEWEST = 200
    """Fewer can't be split so that each split has its share of the rows."""

    def __init__(self, seen: Sequence[int] = (), rows: int = 0) -> None:
        self._seen, self.rows = set(seen), rows

    def add(self, hashes: UInt64) -> None:
        """Add rows by their hashes."""
        self.rows += len(hashes)
        if len(self._seen) < self.FEWEST:
            self._seen.update(np.unique(hashes)[: self.FEWEST].tolist())

    @property
    def are_few(self) -> bool:
        """Whether there are fewer, and not only because there are so few rows, all of them different."""
        return len(self._seen) < min(self.FEWEST, self.rows)

    @property
    def seen(self) -> list[int]:
        """Some of the hashes: all of them where they are few."""
        return sorted(self._seen)[: self.FEWEST]
