from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropforge.domain import splitting
from dropforge.domain.profile import (
    DISTINCT_BOUND,
    QUANTILE_EDGES,
    RULER_POINTS,
    CategoricalProfile,
    NumericProfile,
    Ruler,
    TableProfile,
    exact_moments,
)
from dropforge.domain.splitting import (
    RowHash,
    hash_bits,
    hash_texts,
    last_occurrences,
    split_codes,
    splitmix64,
)
from dropforge.domain.survey import Sequence

MASK = 2**64 - 1


def plain_splitmix64(x: int) -> int:
    z = (x + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def plain_text_hash(text: bytes, seed: int) -> int:
    words = [int.from_bytes(text[i : i + 8], "little") for i in range(0, max(len(text), 1), 8)]
    total = sum(plain_splitmix64(w ^ plain_splitmix64(i ^ seed)) for i, w in enumerate(words))
    return plain_splitmix64((total + plain_splitmix64(len(text) ^ seed)) & MASK)


def pack(texts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.array([0, *itertools.accumulate(map(len, texts))])
    return offsets, np.frombuffer(b"".join(texts), dtype=np.uint8)


@given(st.lists(st.integers(0, MASK), max_size=20))
def test_integers_are_mixed_as_published(values):
    mixed = splitmix64(np.array(values, dtype=np.uint64))
    assert mixed.tolist() == [plain_splitmix64(value) for value in values]


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_texts_are_hashed_as_documented(texts):
    first, second = hash_texts(*pack(texts))
    assert first.tolist() == [plain_text_hash(text, 0x243F6A8885A308D3) for text in texts]
    assert second.tolist() == [plain_text_hash(text, 0x13198A2E03707344) for text in texts]


def test_padding_and_neighbours_don_t_change_a_hash():
    texts = [b"", b"\0", b"\0\0", b"a", b"a\0", b"abcdefgh", b"abcdefgh\0", b"hgfedcba" * 2]
    first, _ = hash_texts(*pack(texts))
    assert len(set(first.tolist())) == len(texts)
    assert hash_texts(*pack([b"a"]))[0][0] == first[3]


def test_row_hashes_tell_columns_and_missing_apart_but_not_order():
    def hashed(*cells):
        row = RowHash(1)
        for name, value, missing in cells:
            bits = np.array([value], dtype=np.uint64)
            row.add(name, (bits, bits), np.array([missing]))
        return tuple(int(lane[0]) for lane in row.lanes())

    assert hashed(("a", 1, False), ("b", 2, False)) == hashed(("b", 2, False), ("a", 1, False))
    assert hashed(("a", 1, False), ("b", 2, False)) != hashed(("a", 2, False), ("b", 1, False))
    assert hashed(("a", 0, False)) != hashed(("a", 0, True))
    assert hashed(("a", 7, True)) == hashed(("a", 0, True))


def test_the_split_of_known_keys_never_changes():
    keys, _ = hash_bits(np.arange(12, dtype=np.int64).view(np.uint64))
    assert split_codes(keys).tolist() == [
        2 if k >= (2**64 * 9 // 10) else int(k >= 2**64 * 8 // 10) for k in map(plain_splitmix64, range(12))
    ]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2)), max_size=60),
    st.sampled_from([1, 3, 10, 1000]),
)
def test_the_last_of_each_key_is_kept_whatever_the_pass_size(pairs, rows_per_pass):
    first = splitmix64(np.array([a for a, _ in pairs], dtype=np.uint64))
    second = np.array([b for _, b in pairs], dtype=np.uint64)
    with mock.patch.object(splitting, "_READ_AT_ONCE", 7):
        kept = last_occurrences(first, second, rows_per_pass)
    expected = sorted({pair: row for row, pair in enumerate(pairs)}.values())
    assert np.flatnonzero(kept).tolist() == expected


def test_a_collision_in_one_lane_is_no_duplicate():
    first = np.array([7, 7, 7, 7], dtype=np.uint64)
    second = np.array([1, 2, 1, 3], dtype=np.uint64)
    assert last_occurrences(first, second).tolist() == [False, True, True, True]


FINITE = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30)


def ruler_of(values: np.ndarray) -> Ruler:
    return (
        Ruler.of(values, float(values.min()), float(values.max())) if len(values) else Ruler.of(values, 1, -1)
    )


@settings(max_examples=50)
@given(FINITE, FINITE, FINITE)
def test_numeric_profiles_of_parts_are_exactly_that_of_the_whole(a, b, c):
    whole = np.array(a + b + c, dtype=np.float64)
    ruler = ruler_of(whole)
    parts = [NumericProfile.of(np.array(values, dtype=np.float64), 1, ruler) for values in (c, a, b)]
    parts[1] = NumericProfile.from_state(json.loads(json.dumps(parts[1].to_state())), ruler)
    expected = NumericProfile.of(whole, 3).to_dict()
    assert parts[0].merge(parts[1]).merge(parts[2]).to_dict() == expected
    assert parts[0].merge(parts[1].merge(parts[2])).to_dict() == expected


@settings(max_examples=50)
@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=30), st.integers(-300, 290))
def test_mean_and_deviation_agree_with_exact_fractions(whole, magnitude):
    values = [Fraction(value) * Fraction(10) ** magnitude for value in whole]
    floats = np.array([float(value) for value in values])
    exact = [Fraction(value) for value in floats.tolist()]
    profile = NumericProfile.of(floats, 0)
    mean = sum(exact) / len(exact)
    spread = max(exact) - min(exact)
    assert abs(Fraction(profile.mean) - mean) <= spread / 2**50 + abs(mean) / 2**50
    variance = sum((value - mean) ** 2 for value in exact) / len(exact)
    assert profile.deviation == pytest.approx(
        math.sqrt(variance / spread**2) * float(spread) if spread else 0
    )


def test_sums_don_t_depend_on_order_where_floats_would():
    whole = Ruler(np.empty(0), centre=0.0, exponent=0)
    values = np.array([1.0, 2.0**-55, -1.0] * 1000)
    sums = exact_moments(values, whole)
    assert sums[0] == 1000 << 7
    assert sums == exact_moments(np.sort(values), whole)


COUNTS = st.dictionaries(st.text(max_size=2), st.integers(1, 9), max_size=8)


@settings(max_examples=50)
@given(COUNTS, COUNTS, COUNTS)
def test_categorical_profiles_merge_in_any_grouping(a, b, c):
    parts = [CategoricalProfile.of(counts, 2, ()) for counts in (a, b, c)]
    parts[2] = CategoricalProfile.from_state(json.loads(json.dumps(parts[2].to_state())), ())
    assert parts[0].merge(parts[1]).merge(parts[2]) == parts[0].merge(parts[1].merge(parts[2]))


def test_too_many_categories_leave_the_candidates_whatever_the_parts():
    many = {str(number): 1 for number in range(DISTINCT_BOUND + 5)}
    few = {"7": 3, "other": 1}
    parts = [CategoricalProfile.of(counts, 0, ("7", "other")) for counts in (many, few, few)]
    left = parts[0].merge(parts[1]).merge(parts[2])
    assert left == parts[2].merge(parts[1]).merge(parts[0])
    assert left.to_dict()["categories"] == [{"value": "7", "count": 7}, {"value": "other", "count": 2}]
    assert left.to_dict()["other"] == DISTINCT_BOUND + 4


def test_quantiles_by_a_ruler_are_close_to_even_and_counted_exactly():
    rng = np.random.default_rng(3)
    values = rng.lognormal(size=400_000)
    ruler = Ruler.of(values[:16_384], float(values.min()), float(values.max()))
    table = TableProfile()
    for part in np.array_split(values, 7):
        table.add(len(part), {"x": NumericProfile.of(part, 0, ruler)})
    entry = table.columns["x"].to_dict()
    edges = np.array(entry["quantiles"])
    ordered = np.sort(values)
    assert table.rows == 400_000
    assert len(edges) == QUANTILE_EDGES
    assert entry["cumulative"] == np.searchsorted(ordered, edges, "right").tolist()
    ranks = np.array(entry["cumulative"]) / len(values)
    assert np.abs(ranks - np.linspace(0, 1, QUANTILE_EDGES)).max() < 8 / RULER_POINTS
    assert (edges[0], edges[-1]) == (values.min(), values.max())


def test_bounds_are_flagged():
    many = NumericProfile.of(np.arange(DISTINCT_BOUND + 1.0), 0).to_dict()
    assert (many["distinct"], many["distinct_exact"]) == (DISTINCT_BOUND, False)
    texts = CategoricalProfile.of({str(n): 1 for n in range(DISTINCT_BOUND + 5)}, 0).to_dict()
    assert texts["distinct_exact"] is False
    assert texts["other"] == DISTINCT_BOUND + 5 - 1000


def test_nothing_is_profiled_as_nothing():
    empty = NumericProfile.of(np.empty(0), 4).to_dict()
    assert empty["missing"] == 4
    assert empty["mean"] is None
    assert empty["quantiles"] == []


def test_huge_numbers_give_no_infinite_moments():
    huge = NumericProfile.of(np.array([1.5e308, 1.6e308, -1.7e308]), 0).to_dict()
    assert huge["deviation"] is None or np.isfinite(huge["deviation"])
    assert huge["mean"] is None or np.isfinite(huge["mean"])


@given(st.lists(st.integers(-3, 3), max_size=8), st.integers(0, 8))
def test_a_row_number_is_recognised_across_any_cut(steps, cut):
    values = np.cumsum([5, *steps]).astype(np.int64)
    joined = Sequence.of(values[:cut]).followed_by(Sequence.of(values[cut:]))
    expected = len(steps) > 0 and set(steps) in ({1}, {-1})
    assert joined.is_row_number == expected
