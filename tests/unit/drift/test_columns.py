from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from tests.unit.drift.drift_data import categorical, drawn, numeric

from dropforge.domain.drift.baseline import Baseline, column_of, hashed
from dropforge.domain.drift.features import binned, compare, kolmogorov_distance
from dropforge.domain.drift.ranked import Ordered
from dropforge.domain.errors import InvalidProfile

LEVEL = 5e-4


def look(baseline, values):
    return compare(baseline, values, level=LEVEL, minimum_rows=50, seed=0)


@pytest.mark.parametrize("rows", [900, 20_000])
def test_binned_kolmogorov_smirnov_agrees_with_the_exact_one(rows):
    rng = np.random.default_rng(rows)
    base, window = rng.normal(size=rows), rng.normal(0.1, 1.2, size=10_000)
    exact = stats.ks_2samp(base, window).statistic
    assert kolmogorov_distance(numeric(base), Ordered(np.sort(window))) == pytest.approx(
        exact, abs=0.005 if rows > 1024 else 1 / rows
    )


def test_bins_hold_equal_shares_of_the_baseline():
    base, window = binned(numeric(np.arange(5000.0)), Ordered(np.arange(0, 5000, 5.0)))
    assert base.sum() == 5000
    assert base.min() >= 490
    assert window.sum() == 1000


def test_a_value_that_many_rows_share_lies_in_one_bin():
    baseline = numeric([0.0] * 700 + list(range(1, 301)))
    base, _ = binned(baseline, Ordered(np.zeros(200)))
    assert base.max() == 700
    assert base.sum() == 1000


def test_a_shift_is_found_and_each_statistic_passes_its_threshold():
    rng = np.random.default_rng(2)
    drift = look(numeric(rng.normal(size=5000)), rng.normal(0.7, 1, size=1000))
    assert drift.p_value < 1e-6
    for name in ("kolmogorov_smirnov", "psi", "chi_square", "jensen_shannon"):
        statistic = drift.statistic(name)
        assert statistic.value > statistic.threshold
        assert statistic.p_value < LEVEL


def test_a_narrower_spread_is_found():
    rng = np.random.default_rng(3)
    assert look(numeric(rng.normal(size=5000)), rng.normal(0, 0.6, size=1000)).p_value < 1e-5


def test_a_value_of_a_constant_column_that_changes_is_found():
    assert look(numeric([3.0] * 1000), [2.0] * 20 + [3.0] * 80).p_value < 1e-4
    assert look(numeric([3.0] * 1000), [3.0] * 100).p_value == 1.0


def test_missing_values_that_appear_are_found_and_those_that_stay_are_not():
    rng = np.random.default_rng(4)
    values = rng.normal(size=1000)
    holes = values.copy()
    holes[:60] = np.nan
    assert look(numeric(rng.normal(size=5000)), holes).p_value < LEVEL
    base = rng.normal(size=5000)
    base[:300] = np.nan
    assert look(numeric(base), holes).statistic("missing_rate").p_value > 0.5


def test_values_beyond_the_observed_range_are_found():
    rng = np.random.default_rng(5)
    window = rng.random(200)
    window[:4] = 9.0
    statistic = look(numeric(rng.random(5000)), window).statistic("out_of_domain_rate")
    assert statistic.value == 4 / 200
    assert statistic.p_value < 1e-3


def test_infinite_values_count_as_out_of_domain():
    drift = look(numeric(np.arange(1000.0)), [np.inf] * 30 + [-np.inf] * 30 + list(range(100)))
    assert drift.statistic("out_of_domain_rate").value == 60 / 160
    assert drift.p_value < 1e-6


def test_a_category_share_that_moves_is_found_and_an_unseen_one_too():
    rng = np.random.default_rng(6)
    shares = [0.4, 0.3, 0.2, 0.1]
    baseline = categorical(drawn(rng, 5000, shares))
    assert look(baseline, drawn(rng, 1000, shares)).p_value > 0.01
    assert look(baseline, drawn(rng, 1000, [0.3, 0.4, 0.2, 0.1])).p_value < LEVEL
    unseen = look(baseline, drawn(rng, 950, shares) + ["new"] * 50)
    assert unseen.p_value < LEVEL
    assert unseen.statistic("out_of_domain_rate").value == 0.05


def test_booleans_are_compared_as_the_profile_spells_them():
    baseline = categorical(["true"] * 500 + ["false"] * 500, kind="boolean")
    assert look(baseline, [True, False] * 100).p_value == 1.0


def test_too_few_values_leave_the_missing_rate_alone_to_decide():
    drift = look(numeric(np.arange(1000.0)), [None] * 80 + [1e9] * 20)
    assert [each.name for each in drift.statistics] == ["missing_rate"]
    assert drift.p_value < 1e-6


@pytest.mark.parametrize("kind", ["timestamp", "text"])
def test_time_and_free_text_are_judged_by_their_missing_rate_only(kind):
    if kind == "text":
        baseline, values = categorical([f"t{i}" for i in range(300)], kind=kind), ["x"] * 200
    else:
        baseline, values = numeric(np.arange(300.0), kind=kind), ["2026-01-02T03:04:05Z"] * 200
    assert look(baseline, values).p_value == 1.0
    assert look(baseline, [None] * 200).p_value < 1e-6


def test_pseudonyms_of_categories_stay_comparable_and_of_numbers_do_not():
    baseline = categorical(["a"] * 600 + ["b"] * 400)
    comparable = hashed(baseline, lambda value: f"<{value}>")
    assert look(comparable, ["<a>"] * 120 + ["<b>"] * 80).p_value > 0.5
    assert look(comparable, ["<b>"] * 200).p_value < 1e-6
    for left in (hashed(baseline, None), hashed(numeric(np.arange(900.0)), lambda value: value)):
        assert [each.name for each in look(left, ["ab12"] * 200).statistics] == ["missing_rate"]


def test_codes_are_levels_of_the_baselines_distribution():
    codes = numeric(np.arange(1000.0)).codes(np.array([-5.0, 0.0, 500.0, 999.0, 2000.0, np.nan]))
    assert codes.tolist() == [0, 0, 127, 253, 253, 255]
    assert categorical(["a", "a", "b"]).codes(["a", "b", "zzz", None]).tolist() == [0, 1, 254, 255]


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "x", "type": "number", "count": 3, "missing": 0, "quantiles": [1, 2, 3]},
        {"name": "x", "type": "number", "count": 2, "missing": 0, "quantiles": [2, 1], "cumulative": [1, 2]},
        {"name": "c", "type": "category", "count": 2},
    ],
)
def test_an_entry_that_contradicts_itself_is_named(entry):
    with pytest.raises(InvalidProfile, match=entry["name"]):
        column_of(entry)


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"format": 9, "rows": 1, "columns": []}'])
def test_a_profile_of_another_format_is_refused(text):
    with pytest.raises(InvalidProfile, match="train again"):
        Baseline.from_json(text)
