"""Stable hashes of rows, and the split that a hash decides.

Hashes depend on nothing but the values: the same row lands in the same split in every file, version and
machine. A library's hash() promises none of that.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]

SPLITS = ("train", "validation", "test")
_VALIDATION_FROM = np.uint64(2**64 * 8 // 10)
_TEST_FROM = np.uint64(2**64 * 9 // 10)

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_LANE_SEEDS = (np.uint64(0x243F6A8885A308D3), np.uint64(0x13198A2E03707344))  # digits of pi: nothing hidden
_MISSING = (np.uint64(0xA4093822299F31D0), np.uint64(0x082EFA98EC4E6C89))
_TAIL_MASKS = np.array([0xFFFFFFFFFFFFFFFF] + [(1 << (8 * n)) - 1 for n in range(1, 8)], dtype=np.uint64)

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

    def lanes(self) -> tuple[UInt64, UInt64]:
        """Return both lanes of the rows' hashes, each uint64 (n,)."""
        return splitmix64(self._lanes[0]), splitmix64(self._lanes[1])


def split_codes(row_keys: UInt64) -> npt.NDArray[np.uint8]:
    """Give each row its split by its key's hash: 80 % train (0), 10 % validation (1), 10 % test (2)."""
    return (row_keys >= _VALIDATION_FROM).astype(np.uint8) + (row_keys >= _TEST_FROM).astype(np.uint8)


class Lane(Protocol):
    """One lane of the rows' hashes: uint64 (n,), read by slices; an array, or a file behind it."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> UInt64: ...


def last_occurrences(first: Lane, second: Lane, rows_per_pass: int = 1 << 21) -> npt.NDArray[np.bool_]:
    """Mark the rows whose 128-bit hash doesn't occur again further down.

    Works on one range of hashes at a time, so that memory stays bounded: about 50 bytes per row of a pass,
    and one byte per row in total.

    Args:
        first, second: the lanes, of one length.
        rows_per_pass: about how many rows to sort at once.

    Returns:
        bool (n,): True for the last row of every distinct hash.
    """
    rows = len(first)
    keep = np.ones(rows, dtype=np.bool_)
    bits = max(0, math.ceil(math.log2(max(rows, 1) / rows_per_pass)))
    for number in range(1 << bits):
        index, *lanes = _in_range(first, second, bits, number, rows_per_pass)
        keep[index[_repeated_later(lanes[0], lanes[1], bits)]] = False
    return keep


def _in_range(
    first: Lane, second: Lane, bits: int, number: int, step: int
) -> tuple[npt.NDArray[np.int64], UInt64, UInt64]:
    """Return the rows whose first lane begins with these bits, and both their lanes."""
    nothing = np.empty(0, dtype=np.uint64)
    places, firsts, seconds = [np.empty(0, dtype=np.int64)], [nothing], [nothing]
    for start in range(0, len(first), step):
        piece = first[start : start + step]
        if not bits:
            found = np.arange(len(piece))
        else:
            found = np.flatnonzero((piece >> np.uint64(64 - bits)) == np.uint64(number))
        places.append(found + start)
        firsts.append(piece[found])
        seconds.append(second[start : start + step][found])
    return np.concatenate(places), np.concatenate(firsts), np.concatenate(seconds)


def _repeated_later(first: UInt64, second: UInt64, known_bits: int) -> npt.NDArray[np.int64]:
    """Return the places of the rows whose hash occurs again further down.

    Sorts what fits beside a row's place into one word; only where these leading bits agree the rest matters.
    """
    if len(first) < 2:
        return np.empty(0, dtype=np.int64)
    place_bits = np.uint64(len(first).bit_length())
    place_mask = (np.uint64(1) << place_bits) - np.uint64(1)
    words = (first << np.uint64(known_bits)) & ~place_mask
    words |= np.arange(len(first), dtype=np.uint64)
    words.sort()
    alike = np.flatnonzero((words[1:] ^ words[:-1]) <= place_mask)
    places = (words & place_mask).astype(np.int64)
    earlier, later = places[alike], places[alike + 1]
    if np.array_equal(first[earlier], first[later]) and np.array_equal(second[earlier], second[later]):
        return earlier
    members = np.unique(np.concatenate([earlier, later]))
    order = members[np.lexsort((members, second[members], first[members]))]
    same = (first[order][1:] == first[order][:-1]) & (second[order][1:] == second[order][:-1])
    return order[:-1][same]
