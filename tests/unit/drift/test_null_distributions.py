from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dropforge.domain.drift import counts
from dropforge.domain.drift.assessment import benjamini_hochberg
from dropforge.domain.drift.distributions import (
    beta_binomial,
    chi_square_quantile,
    chi_square_tail,
    kolmogorov_quantile,
    kolmogorov_tail,
    normal_quantile,
    normal_tail,
)


@pytest.mark.parametrize("tail", [1e-300, 1e-12, 1e-4, 0.025, 0.3, 0.5, 0.99])
def test_normal_quantile_is_where_the_tail_begins(tail):
    assert normal_quantile(tail) == pytest.approx(stats.norm.isf(tail), rel=1e-12, abs=1e-15)
    assert normal_tail(normal_quantile(tail)) == pytest.approx(tail, rel=1e-12)


@pytest.mark.parametrize("freedom", [1, 2, 9, 50, 99])
@pytest.mark.parametrize("x", [0.0, 0.01, 1.0, 9.0, 60.0, 250.0])
def test_chi_square_tail_agrees_with_scipy(x, freedom):
    assert chi_square_tail(x, freedom) == pytest.approx(stats.chi2.sf(x, freedom), rel=1e-8, abs=1e-14)


@pytest.mark.parametrize("level", [0.5, 0.01, 1e-5])
def test_chi_square_quantile_inverts_its_tail(level):
    assert chi_square_quantile(level, 7) == pytest.approx(stats.chi2.isf(level, 7), rel=1e-6)


@pytest.mark.parametrize("x", [0.25, 0.5, 1.0, 2.0, 3.0])
def test_kolmogorov_tail_agrees_with_scipy(x):
    assert kolmogorov_tail(x, 1.0) == pytest.approx(stats.kstwobign.sf(x), abs=1e-9)


def test_kolmogorov_quantile_is_reached_with_its_level():
    assert kolmogorov_tail(kolmogorov_quantile(1e-3, 800.0), 800.0) == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("n", "alpha", "beta"), [(1, 1.0, 5.0), (40, 2.0, 999.0), (3000, 17.0, 2000.0), (10**6, 5e4, 9e5)]
)
def test_beta_binomial_agrees_with_scipy(n, alpha, beta):
    expected = stats.betabinom(n, alpha, beta)
    found = beta_binomial(n, alpha, beta)
    known = found.first + np.arange(len(found.probabilities))
    assert found.probabilities == pytest.approx(expected.pmf(known), rel=1e-6, abs=1e-12)
    assert expected.cdf(found.first - 1) == pytest.approx(0, abs=1e-8)
    assert expected.sf(known[-1]) == pytest.approx(0, abs=1e-8)
    level = 0.01
    least = found.upper_quantile(level)
    assert found.upper_tail(least) <= level < found.upper_tail(least - 1)
    assert found.upper_tail(0) == pytest.approx(1) == found.lower_tail(n)
    assert found.lower_tail(found.first - 1) == 0


def test_missing_tails_are_fishers_exact_test():
    rows, missing, base_rows, base_missing = 300, 20, 2000, 70
    table = [[missing, rows - missing], [base_missing, base_rows - base_missing]]
    above = beta_binomial(rows, base_missing + 1.0, float(base_rows - base_missing))
    below = beta_binomial(rows, float(base_missing), base_rows - base_missing + 1.0)
    assert above.upper_tail(missing) == pytest.approx(stats.fisher_exact(table, "greater").pvalue)
    assert below.lower_tail(missing) == pytest.approx(stats.fisher_exact(table, "less").pvalue)


def test_benjamini_hochberg_agrees_with_scipy():
    p_values = np.random.default_rng(4).random(30) ** 3
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values))


def test_statistics_of_counts_agree_with_their_definitions():
    base, window = np.array([300, 500, 200]), np.array([40, 30, 30])
    p, q = (base + 0.5) / 1001.5, (window + 0.5) / 101.5
    assert counts.psi(base, window) == pytest.approx(((q - p) * np.log(q / p)).sum())
    expected = stats.chi2_contingency(np.array([base, window]), correction=False).statistic
    assert counts.chi_square(base, window) == pytest.approx(expected)
    from scipy.spatial.distance import jensenshannon

    assert counts.jensen_shannon(base, window) == pytest.approx(jensenshannon(base, window, base=2))


def test_a_bin_that_is_empty_on_both_sides_changes_nothing():
    base, window = np.array([300, 0, 200]), np.array([40, 0, 30])
    assert counts.chi_square(base, window) == pytest.approx(counts.chi_square(base[[0, 2]], window[[0, 2]]))


def test_simulated_p_values_continue_the_limit_where_both_hold():
    base = np.array([20_000] * 10)
    window = np.array([1000] * 8 + [1110, 890])
    found = counts.calibrate(base, window, level=1e-3, seed=1)["chi_square"]
    limit = stats.chi2.sf(found.value, 9)
    assert 0.4 * limit < found.p_value < 4 * limit
    assert found.threshold == pytest.approx(stats.chi2.isf(1e-3, 9), rel=0.1)


@pytest.mark.parametrize("shares", [[1] * 10, [60, 20, 10, 5, 5]])
def test_where_every_bin_expects_many_rows_the_limit_is_as_near_as_many_draws(shares):
    n, draws = 20_000, 100_000
    pooled = np.array(shares) * 10 * n // sum(shares)
    windows = np.random.default_rng(1).multivariate_hypergeometric(pooled, n, draws, method="marginals")
    for name, statistic in (("psi", counts.psi), ("chi_square", counts.chi_square)):
        drawn = statistic(pooled - windows, windows)
        for level in (0.01, 0.001):
            threshold = counts.calibrate(pooled - windows[0], windows[0], level, seed=1)[name].threshold
            assert abs((drawn >= threshold).mean() - level) < 4 * (level / draws) ** 0.5
    shifted = windows[0] + np.array([300, -300, *[0] * (len(shares) - 2)])
    assert counts.calibrate(pooled - shifted, shifted, 0.01, seed=1)["chi_square"].p_value == pytest.approx(
        stats.chi2_contingency([pooled - shifted, shifted]).pvalue, rel=1e-6
    )


def test_rare_bins_merge_by_pooled_counts_until_each_expects_five_rows():
    base, window = np.array([900, 60, 40, 0]), np.array([80, 10, 6, 4])
    merged = counts.merge_rare(base, window)
    assert [row.tolist() for row in merged] == [[900, 60, 40], [80, 10, 10]]


def test_the_same_seed_gives_the_same_p_value():
    base, window = np.array([500, 300, 200]), np.array([30, 40, 30])
    first = counts.calibrate(base, window, 1e-3, seed=3)
    counts._simulated.cache_clear()
    assert counts.calibrate(base, window, 1e-3, seed=3) == first
