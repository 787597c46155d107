"""Stable hashes of rows, and the split that a hash decides.

Hashes depend on nothing but the values: the same row lands in the same split in every file, version and
machine. A library's hash() promises none of that.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from dropforge.domain.time_split import Placing

if TYPE_CHECKING:
    from dropforge.domain.contract import Contract

UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]

SPLITS = ("train", "validation", "test")
LEFT_OUT = len(SPLITS)
"""The code of a row that goes to none of them."""
_TEST = SPLITS.index("test")
_VALIDATION_FROM = np.uint64(2**64 * 8 // 10)
_TEST_FROM = np.uint64(2**64 * 9 // 10)

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_LANE_SEEDS = (np.uint64(0x243F6A8885A308D3), np.uint64(0x13198A2E03707344))  # digits of pi: nothing hidden
_MISSING = (np.uint64(0xA4093822299F31D0), np.uint64(0x082EFA98EC4E6C89))
_TAIL_MASKS = np.array([0xFFFFFFFFFFFFFFFF] + [(1 << (8 * n)) - 1 for n in range(1, 8)], dtype=np.uint64)

_READ_AT_ONCE = 1 << 18
"""Rows of a lane: few enough to stay in a core's cache while they are looked at."""

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("Row hashes are defined on little-endian machines.")


def splitmix64(values: UInt64) -> UInt64:
    """Mix each 64-bit value; a bijection, so different values keep different hashes.

    Source: Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators (OOPSLA 2014).

    Example:
        >>> hex(splitmix64(np.array([0], dtype=np.uint64))[0])
        '0xe220a8397b1dcdaf'
    """
    mixed = values + _GAMMA
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    return mixed ^ (mixed >> np.uint64(31))


def hash_texts(offsets: npt.NDArray[Any], data: npt.NDArray[np.uint8]) -> tuple[UInt64, UInt64]:
    """Hash n byte strings to 2 x 64 bits each.

    Each little-endian 8-byte word is mixed with its position by splitmix64; a lane is the mixed sum of the
    words and of the length. Two lanes with different seeds make 128 bits: among 10^9 rows the chance of
    any collision is below 10^-20.

    Args:
        offsets: integers (n + 1,), ascending; string i is ``data[offsets[i]:offsets[i + 1]]``.
        data: uint8 (bytes,).

    Returns:
        Two uint64 arrays (n,).
    """
    offsets = offsets.astype(np.int64)
    lengths = np.diff(offsets)
    words_each = np.maximum((lengths + 7) >> 3, 1)
    first_word = np.concatenate([[0], np.cumsum(words_each)])
    position = np.arange(first_word[-1]) - np.repeat(first_word[:-1], words_each)
    start = np.repeat(offsets[:-1], words_each) + (position << 3)
    padded = np.concatenate([data, np.zeros(8, dtype=np.uint8)])
    overlapping: UInt64 = np.ndarray((len(data) + 1,), dtype=np.uint64, buffer=padded.data, strides=(1,))
    words = overlapping[start]
    last = first_word[1:] - 1
    words[last] &= _TAIL_MASKS[lengths & 7]
    words[last[lengths == 0]] = np.uint64(0)
    position_u = position.astype(np.uint64)
    lanes = []
    for seed in _LANE_SEEDS:
        mixed = splitmix64(words ^ splitmix64(position_u ^ seed))
        sums = np.add.reduceat(mixed, first_word[:-1]) if len(lengths) else np.empty(0, dtype=np.uint64)
        lanes.append(splitmix64(sums + splitmix64(lengths.astype(np.uint64) ^ seed)))
    return lanes[0], lanes[1]


def hash_bits(bits: UInt64) -> tuple[UInt64, UInt64]:
    """Hash 64-bit keys. The first lane alone tells them apart, because splitmix64 is a bijection."""
    return splitmix64(bits), np.zeros(len(bits), dtype=np.uint64)


class RowHash:
    """Combines the cells of n rows into 2 x 64 bits per row, whatever the order of the columns.

    Args:
        rows: how many rows the columns have.
    """

    def __init__(self, rows: int) -> None:
        self._lanes = [np.zeros(rows, dtype=np.uint64) for _ in _LANE_SEEDS]

    def add(self, name: str, cells: Sequence[UInt64], missing: npt.NDArray[np.bool_] | None = None) -> None:
        """Add a column.

        Args:
            name: the column's name; the same value under another name hashes differently.
            cells: per lane uint64 (n,): a text's hash, or the value's 64 bits in both lanes.
            missing: bool (n,), where there is no value; None for nowhere.
        """
        raw = np.frombuffer(name.encode(), dtype=np.uint8)
        salts = hash_texts(np.array([0, len(raw)]), raw)
        for lane, salt, cell, seed in zip(self._lanes, salts, cells, _MISSING, strict=True):
            values = cell if missing is None else np.where(missing, seed, cell)
            np.add(lane, splitmix64(splitmix64(values ^ salt) ^ seed), out=lane)

    def first_lane(self) -> UInt64:
        """Return the first lane of the hashes of what was added so far, uint64 (n,)."""
        return splitmix64(self._lanes[0])

    def lanes(self) -> tuple[UInt64, UInt64]:
        """Return both lanes of the rows' hashes, each uint64 (n,)."""
        return splitmix64(self._lanes[0]), splitmix64(self._lanes[1])


def split_codes(hashes: UInt64) -> npt.NDArray[np.uint8]:
    """Give each hash its split: 80 % train (0), 10 % validation (1), 10 % test (2)."""
    return (hashes >= _VALIDATION_FROM).astype(np.uint8) + (hashes >= _TEST_FROM).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Origin:
    """Successive rows that come from one object.

    Attributes:
        source: names the object and its version.
        before: how many rows of the object come before these.
        rows: how many there are.
    """

    source: str
    before: int
    rows: int


class RowSplits:
    """Says of staged rows which split each goes to, and which row key it gets.

    The key's hash is the row key where the key decides on the split. Otherwise rows may be equal, and what
    tells them apart is the object that they come from and their place in it.

    Args:
        contract: says what decides on the split.
        origins: where the rows come from, in their order.
        placing: what decides where it is time.
    """

    def __init__(self, contract: Contract, origins: Sequence[Origin], placing: Placing | None = None) -> None:
        self._placing = placing
        self._by_key, self._by_row = contract.splits_by_key, contract.splits_by_row
        self._starts = np.cumsum([0, *(origin.rows for origin in origins)])
        self._first = np.array([origin.before for origin in origins], dtype=np.int64) - self._starts[:-1]
        self._salts = _hashes_of([origin.source for origin in origins])

    def of(
        self, rows: Int64, hashes: UInt64, groups: UInt64 | None = None
    ) -> tuple[UInt64, npt.NDArray[np.uint8]]:
        """Return row keys and split codes, (n,) each; the code of rows that go to no split is LEFT_OUT.

        Args:
            rows: int64 (n,), places among the rows of all origins.
            hashes: uint64 (n,), of what decides on the split; of time its keys.
            groups: uint64 (n,), the keys of the rows' groups, where they have any.
        """
        if self._by_key:
            return hashes, split_codes(hashes)
        objects, numbers = self.origins_of(rows)
        keys = splitmix64(hashes ^ splitmix64(objects + numbers.astype(np.uint64)))
        if self._placing is not None:
            return keys, self._by_time(self._placing, hashes, groups)
        return keys, split_codes(keys if self._by_row else hashes)

    def origins_of(self, rows: Int64) -> tuple[UInt64, Int64]:
        """Return the hash of the object that each row comes from, and the row's place there, (n,) each."""
        place = np.searchsorted(self._starts, rows, "right") - 1
        return self._salts[place], rows + self._first[place]

    @staticmethod
    def _by_time(placing: Placing, times: UInt64, groups: UInt64 | None) -> npt.NDArray[np.uint8]:
        codes = placing.boundaries.codes(times)
        if placing.held is not None and groups is not None:
            codes[(codes != _TEST) & np.isin(groups, placing.held)] = LEFT_OUT
        return codes


def _hashes_of(texts: Sequence[str]) -> UInt64:
    raw = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, raw)])
    return hash_texts(offsets, np.frombuffer(b"".join(raw), dtype=np.uint8))[0]


class Lane(Protocol):
    """One lane of the rows' hashes: uint64 (n,), read by slices; an array, or a file behind it."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> UInt64: ...


def last_occurrences(first: Lane, second: Lane, rows_per_pass: int = 1 << 23) -> npt.NDArray[np.bool_]:
    """Mark the rows whose 128-bit hash doesn't occur again further down.

    Works on one range of hashes at a time, so that memory stays bounded: about 8 bytes per row of a pass, 60
    where most rows come again, and one byte per row in total.

    Args:
        first, second: the lanes, of one length.
        rows_per_pass: about how many rows to sort at once.

    Returns:
        bool (n,): True for the last row of every distinct hash.
    """
    rows = len(first)
    keep = np.ones(rows, dtype=np.bool_)
    bits = max(0, math.ceil(math.log2(max(rows, 1) / rows_per_pass)))
    for number, count in enumerate(_rows_by_range(first, bits)):
        earlier, later = _alike(_words_in_range(first, bits, number, count), rows)
        if len(earlier):
            keep[_repeated_later(earlier, later, first, second)] = False
    return keep


def rows_by_hash(
    first: Lane, second: Lane, rows_per_pass: int = 1 << 22
) -> Iterator[tuple[Int64, UInt64, UInt64]]:
    """Yield all rows, about as many at once, such that rows of equal hash come together.

    Returns:
        Per pass the rows' places, int64 (n,) ascending, and their lanes, uint64 (n,) each.
    """
    bits = max(0, math.ceil(math.log2(max(len(first), 1) / rows_per_pass)))
    for number in range(1 << bits):
        places, firsts, seconds = [], [], []
        for start in range(0, len(first), _READ_AT_ONCE):
            rows = slice(start, start + _READ_AT_ONCE)
            piece = first[rows]
            inside = np.arange(len(piece))
            if bits:
                inside = np.flatnonzero((piece >> np.uint64(64 - bits)) == np.uint64(number))
            places.append(inside + start)
            firsts.append(piece[inside])
            seconds.append(second[rows][inside])
        if places:
            yield np.concatenate(places), np.concatenate(firsts), np.concatenate(seconds)


def _rows_by_range(first: Lane, bits: int) -> list[int]:
    """Count the rows by the first bits of their first lane."""
    if not bits:
        return [len(first)]
    counts = np.zeros(1 << bits, dtype=np.int64)
    for start in range(0, len(first), _READ_AT_ONCE):
        numbers = first[start : start + _READ_AT_ONCE] >> np.uint64(64 - bits)
        counts += np.bincount(numbers.view(np.int64), minlength=len(counts))
    return [int(count) for count in counts]


def _words_in_range(first: Lane, bits: int, number: int, count: int) -> UInt64:
    """Return, for each row whose first lane begins with these bits, the bits that follow and the row's place.

    The place takes the least bits of a word, as many as `_place_mask` has.
    """
    mask = _place_mask(len(first))
    words = np.empty(count, dtype=np.uint64)
    filled = 0
    for start in range(0, len(first), _READ_AT_ONCE):
        piece = first[start : start + _READ_AT_ONCE]
        places = np.arange(start, start + len(piece), dtype=np.uint64)
        if bits:
            inside = np.flatnonzero((piece >> np.uint64(64 - bits)) == np.uint64(number))
            piece, places = piece.take(inside) << np.uint64(bits), places.take(inside)
        end = filled + len(piece)
        words[filled:end] = (piece & ~mask) | places
        filled = end
    return words


def _place_mask(rows: int) -> np.uint64:
    return np.uint64((1 << rows.bit_length()) - 1)


def _alike(words: UInt64, rows: int) -> tuple[Int64, Int64]:
    """Return the rows that are next to each other in order and agree in all that a word holds of the hash.

    Returns:
        Two int64 arrays (n,): each row, and the next one below it that agrees with it.
    """
    mask = _place_mask(rows)
    words.sort()
    found = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(words) - 1, _READ_AT_ONCE):
        piece = words[start : start + _READ_AT_ONCE + 1]
        found.append(np.flatnonzero((piece[1:] ^ piece[:-1]) <= mask) + start)
    alike = np.concatenate(found)
    return (words[alike] & mask).astype(np.int64), (words[alike + 1] & mask).astype(np.int64)


def _repeated_later(earlier: Int64, later: Int64, first: Lane, second: Lane) -> Int64:
    """Return which of the rows that agree in their leading bits have a hash that comes again further down."""
    members = np.sort(np.concatenate([earlier, later]))
    members = members[np.append(True, members[1:] != members[:-1])]
    lanes = _rows_of(first, members), _rows_of(second, members)
    before, after = np.searchsorted(members, earlier), np.searchsorted(members, later)
    if all(np.array_equal(lane[before], lane[after]) for lane in lanes):
        return earlier
    order = np.lexsort((members, lanes[1], lanes[0]))
    same = [lane[order][1:] == lane[order][:-1] for lane in lanes]
    return members[order[:-1][same[0] & same[1]]]


def _rows_of(lane: Lane, rows: Int64) -> UInt64:
    """Return the lane at some rows, int64 (n,), ascending."""
    found = [np.empty(0, dtype=np.uint64)]
    bounds = np.searchsorted(rows, np.arange(0, len(lane) + _READ_AT_ONCE, _READ_AT_ONCE))
    for number, (low, high) in enumerate(pairwise(bounds)):
        start = number * _READ_AT_ONCE
        if high > low:
            found.append(lane[start : start + _READ_AT_ONCE][rows[low:high] - start])
    return np.concatenate(found)
