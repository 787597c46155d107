from __future__ import annotations

import numpy as np
from tests.unit.drift.drift_data import categorical, numeric

from dropforge.domain.drift.display import (
    OTHER_LABEL,
    SHOWN_CATEGORIES,
    categorical_distribution,
    numeric_distribution,
)
from dropforge.domain.drift.ranked import Ordered


def test_bars_of_baseline_and_window_agree_with_a_histogram_and_lose_no_row():
    rng = np.random.default_rng(3)
    base, window = rng.normal(size=5000), rng.normal(0.5, 1, 700)
    found = numeric_distribution(numeric(base), Ordered(np.sort(window)))
    assert (sum(found.baseline), sum(found.window)) == (5000, 700)
    inner = slice(1, -1)
    edges = np.array(found.edges)
    # The profile keeps 1,024 of the values, so a bar is right within one step of them.
    assert np.abs(np.histogram(base, edges)[0][inner] - found.baseline[inner]).max() <= 2 * 5000 / 1024
    assert np.histogram(window, edges)[0][inner].tolist() == list(found.window[inner])


def test_an_outlier_is_counted_at_the_end_and_does_not_squeeze_the_rest():
    base = np.concatenate([np.linspace(0, 1, 1000), [1e9]])
    found = numeric_distribution(numeric(base), Ordered(np.linspace(0, 1, 300)))
    assert found.edges[-1] <= 1.01
    assert sum(found.baseline) == 1001


def test_small_integers_get_a_bar_each_with_the_value_in_its_middle():
    found = numeric_distribution(
        numeric([1, 1, 2, 4] * 30, kind="integer"), Ordered(np.array([2.0] * 20 + [5.0] * 20))
    )
    assert found.edges == (0.5, 1.5, 2.5, 3.5, 4.5, 5.5)
    assert found.baseline == (60, 30, 0, 30, 0)
    assert found.window == (0, 20, 0, 0, 20)


def test_infinite_values_count_at_the_ends():
    found = numeric_distribution(numeric(np.linspace(0, 1, 100)), Ordered(np.array([-np.inf, 0.5, np.inf])))
    assert np.isfinite(found.edges).all()
    assert (found.window[0], found.window[-1], sum(found.window)) == (1, 1, 3)


def test_a_constant_is_one_bar():
    found = numeric_distribution(numeric([3.0] * 40), Ordered(np.full(50, 3.0)))
    assert (found.baseline, found.window) == ((40,), (50,))


def test_without_values_there_is_nothing_to_draw():
    assert numeric_distribution(numeric([1.0, 2.0]), Ordered(np.empty(0))) is None
    assert categorical_distribution(categorical(["a"]), []) is None


def test_categories_of_the_window_that_training_never_saw_are_shown():
    found = categorical_distribution(categorical(["a"] * 90 + ["b"] * 10), ["new"] * 60 + ["a"] * 40)
    assert dict(zip(found.labels, zip(found.baseline, found.window, strict=True), strict=True)) == {
        "a": (90, 40),
        "new": (0, 60),
        "b": (10, 0),
    }


def test_many_categories_are_counted_together_without_losing_a_row():
    labels = [f"c{code:02d}" for code in range(40)]
    found = categorical_distribution(categorical(labels * 5), labels * 2)
    assert len(found.labels) == SHOWN_CATEGORIES + 1
    assert found.labels[-1] == OTHER_LABEL
    assert (sum(found.baseline), sum(found.window)) == (200, 80)
