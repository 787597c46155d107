"""Where errors concentrate: found, named, corrected for the search, the same in any order of columns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dropforge.domain.drift.failing import (
    ABSOLUTE_ERROR,
    WRONG_LABELS,
    Errors,
    SlicedColumn,
    _fisher,
    find_failing,
    in_words,
    most_in_words,
)

ROWS = 2000


def number(name, values, **options):
    return SlicedColumn.of(name, "number", np.asarray(values, dtype=np.float64), **options)


def category(name, values, **options):
    return SlicedColumn.of(name, "category", np.array(values, dtype=object), **options)


def wrong(fails):
    fails = np.asarray(fails, dtype=bool)
    return Errors(WRONG_LABELS, fails.astype(np.float64), fails, fails.astype(np.float64))


def find(columns, errors, *, rate=0.01, minimum_rows=50):
    ids = [f"id-{row}" for row in range(len(errors.fails))]
    return find_failing(columns, errors, ids, rate=rate, minimum_rows=minimum_rows)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def columns_of(rng, rows=ROWS):
    values = {name: rng.normal(size=rows) for name in ("a", "b", "c")}
    wards = rng.choice(["n", "s", "w", "e"], rows)
    return values, wards, [*(number(name, each) for name, each in values.items()), category("ward", wards)]


def test_a_range_of_a_regression_is_found_with_its_limits(rng):
    values, _, columns = columns_of(rng)
    inside = (values["b"] > 0.5) & (values["b"] <= 0.9)
    size = rng.normal(size=ROWS) * np.where(inside, 3, 1)
    found = find(columns, Errors.of_values(size, np.zeros(ROWS)))
    assert found.measure == ABSOLUTE_ERROR
    (where,) = found.slices[0].where
    assert where["column"] == "b"
    assert (where["above"], where["up_to"]) == (pytest.approx(0.5, abs=0.15), pytest.approx(0.9, abs=0.2))
    rows = (values["b"] > where["above"]) & (values["b"] <= where["up_to"])
    assert found.slices[0].rows == rows.sum()
    assert found.slices[0].error == pytest.approx(np.abs(size)[rows].mean())
    assert found.slices[0].elsewhere == pytest.approx(np.abs(size)[~rows].mean())
    worst = sorted(np.flatnonzero(rows), key=lambda row: -abs(size[row]))[:5]
    assert found.slices[0].examples == tuple(f"id-{row}" for row in worst)
    assert "the mean absolute error of" in in_words(found.measure, found.slices[0].to_dict())


def test_two_columns_are_named_only_where_the_second_tells_more(rng):
    values, wards, columns = columns_of(rng, 4000)
    both = (values["a"] > 0.3) & (wards == "s")
    found = find(columns, wrong(rng.random(4000) < np.where(both, 0.5, 0.1)))
    assert {each["column"] for each in found.slices[0].where} == {"a", "ward"}
    found = find(columns, wrong(rng.random(4000) < np.where(wards == "s", 0.3, 0.1)))
    assert [each["column"] for each in found.slices[0].where] == ["ward"]


def test_a_second_failure_is_found_beside_the_first(rng):
    values, wards, columns = columns_of(rng, 4000)
    chance = np.where(wards == "s", 0.4, np.where(values["c"] > 1, 0.4, 0.1))
    found = find(columns, wrong(rng.random(4000) < chance))
    named = [{each["column"] for each in one.where} for one in found.slices]
    assert {"ward"} in named
    assert {"c"} in named
    assert most_in_words(found.to_dict()).count(" where ") == 2


def test_missing_values_are_a_slice_and_private_ones_are_not_told(rng):
    holes = np.where(rng.random(ROWS) < 0.2, math.nan, rng.normal(size=ROWS))
    found = find([number("x", holes)], wrong(rng.random(ROWS) < np.where(np.isnan(holes), 0.4, 0.1)))
    assert found.slices[0].where == ({"column": "x", "says": "x is missing", "value": None},)
    secret = rng.choice(["p1", "p2", "p3"], ROWS)
    chance = np.where(secret == "p2", 0.4, 0.1)
    found = find([category("who", secret, is_private=True)], wrong(rng.random(ROWS) < chance))
    assert "p2" not in str(found.to_dict())
    assert found.slices[0].where[0]["says"] == "who has one value, which is private"


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_where_nothing_or_everything_fails_there_is_nothing_to_find(rng, share):
    _, _, columns = columns_of(rng, 200)
    found = find(columns, wrong(np.full(200, share)))
    assert (found.slices, most_in_words(found.to_dict())) == ((), None)


def test_errors_of_labels_are_those_of_the_answered_ones():
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]])
    found = Errors.of_labels(np.array([0, 0, 1]), scores, np.array([1, 1, 0]))
    assert found.fails.tolist() == [True, True, True]
    assert found.expected == pytest.approx([0.9, 0.4, 0.2])
    assert Errors.of_labels(np.array([0, 0, 1]), scores).fails.tolist() == [False, True, True]


@given(st.integers(2, 60), st.data())
@settings(max_examples=60)
def test_the_tail_is_fishers(n, data):
    k, m = data.draw(st.integers(1, n - 1)), data.draw(st.integers(1, n - 1))
    x = data.draw(st.integers(max(0, k + m - n), min(k, m)))
    exact = sum(math.comb(k, i) * math.comb(n - k, m - i) for i in range(x, min(k, m) + 1)) / math.comb(n, m)
    assert _fisher(n, k, m, x) == pytest.approx(exact, rel=1e-9)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_what_is_found_depends_on_no_order_and_no_more_than_the_rate_is_found_by_chance(seed):
    rng = np.random.default_rng(seed)
    _, _, columns = columns_of(rng, 400)
    errors = wrong(rng.random(400) < 0.2)
    first, turned = find(columns, errors, rate=1e-6), find(columns[::-1], errors, rate=1e-6)
    assert first.slices == turned.slices == ()
    assert first.searched == turned.searched


def test_thousands_of_columns_are_searched_in_bounded_time_and_corrected_for_all_their_pairs(rng):
    rows = 1000
    columns = [number(f"x{place}", rng.normal(size=rows)) for place in range(400)]
    inside = columns[7].codes < 3
    found = find(columns, wrong(rng.random(rows) < np.where(inside, 0.7, 0.1)))
    assert [each["column"] for each in found.slices[0].where] == ["x7"]
    levels = sum(1 for _ in columns[0].paired())
    assert found.searched > 400 * 399 / 2 * levels**2
