"""Counting into cells and sorting give the same numbers, whatever the values are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.drift.drift_data import numeric

from dropforge.domain.drift import ranked as module
from dropforge.domain.drift.features import compare
from dropforge.domain.drift.ranked import Celled, Ordered, ranked

SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_t(1, n),
    "far from zero": lambda rng, n: 1e15 + rng.integers(0, 50, n),
    "rounded": lambda rng, n: np.round(rng.normal(size=n), 1),
    "counts": lambda rng, n: rng.poisson(40, n).astype(np.float64),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.7, 0.0, rng.exponential(size=n)),
    "signed zeros": lambda rng, n: np.where(rng.random(n) < 0.5, -0.0, 0.0),
    "neighbours": lambda rng, n: 1.0 + rng.integers(0, 40, n) * 2**-52,
    "subnormal": lambda rng, n: rng.integers(0, 40, n) * 5e-324,
    "greatest": lambda rng, n: rng.choice([-1.7e308, 0.0, 1.7e308], n),
    "infinite": lambda rng, n: rng.choice([-math.inf, -1.0, 2.0, math.inf], n),
    "constant": lambda rng, n: np.full(n, 3.0),
    "one far away": lambda rng, n: np.where(np.arange(n) == n // 2, 1e300, rng.normal(size=n)),
}


def celled(values, expected):
    return Celled(values, expected, np.sort(values[:: max(1, len(values) // 100)]))


@given(
    st.sampled_from(sorted(SHAPES)),
    st.sampled_from(sorted(SHAPES)),
    st.integers(1, 700),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=300)
def test_cells_count_as_sorting_does(shape, points, n, seed):
    rng = np.random.default_rng(seed)
    values = SHAPES[shape](rng, n)
    drawn = SHAPES[points](rng, 60)
    expected = np.unique(drawn[np.isfinite(drawn)])
    if not len(expected):
        return
    fast, plain = celled(values, expected), Ordered(np.sort(values))
    # Halves of sums, so that none is beyond the greatest number.
    between = expected[:-1] / 2 + expected[1:] / 2
    for asked in (expected, between, values[:20], np.array([-math.inf, math.inf])):
        np.testing.assert_array_equal(fast.below(asked), plain.below(asked))
        np.testing.assert_array_equal(fast.upto(asked), plain.upto(asked))
    ranks = rng.integers(0, n, 5)
    np.testing.assert_array_equal(fast.at(ranks), plain.at(ranks))
    assert fast.infinite() == plain.infinite()
    assert len(fast) == len(plain) == n


@pytest.mark.parametrize("shape", ["normal", "heavy tails", "rounded", "mostly zero", "one far away"])
def test_a_large_window_shows_the_same_numbers_as_when_it_is_sorted(shape, monkeypatch):
    rng = np.random.default_rng(5)
    base, values = SHAPES[shape](rng, 30_000), SHAPES[shape](rng, 70_000) * 1.01
    values[rng.random(len(values)) < 0.1] = math.nan
    baseline = numeric(base)
    before = values.copy()

    def look():
        return compare(baseline, values, level=1e-3, minimum_rows=50, seed=0)

    assert isinstance(ranked(values, baseline.values), Celled)
    counted = look()
    monkeypatch.setattr(module, "COUNTED_FROM", len(values) + 1)
    assert isinstance(ranked(values, baseline.values), Ordered)
    assert counted == look()
    np.testing.assert_array_equal(values, before)


def test_a_window_that_has_moved_away_from_the_baseline_is_counted_as_well():
    rng = np.random.default_rng(6)
    expected = np.unique(rng.normal(size=500))
    values = rng.normal(1e6, 1, 50_000)
    fast, plain = ranked(values, expected), Ordered(np.sort(values))
    np.testing.assert_array_equal(fast.upto(expected), plain.upto(expected))
    np.testing.assert_array_equal(fast.at(np.array([0, 49_999])), plain.at(np.array([0, 49_999])))


@pytest.mark.parametrize("values", [np.empty(0), np.full(5, math.nan)])
def test_without_values_there_is_nothing_to_count(values):
    found = ranked(values, np.array([1.0]))
    assert (len(found), found.upto(np.array([1.0])).tolist()) == (0, [0])


def test_few_values_end_a_sort_early_and_are_sorted():
    baseline = numeric([0.0, 1.0] * 50)
    assert isinstance(ranked(np.tile([0.0, 1.0], 40_000), baseline.values), Ordered)
