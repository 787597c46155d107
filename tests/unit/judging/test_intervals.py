"""Intervals against SciPy's, against their definitions, and against simulated truths."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from dropforge.domain import shares
from dropforge.domain.comparison import Method, compare
from dropforge.domain.metric_registry import METRICS
from dropforge.domain.metrics import LOG_ERRORS, Scored
from dropforge.domain.rank_intervals import auc_limits
from dropforge.domain.shares import incomplete_beta, share_limits

Z = 1.959964


def test_the_examples_in_the_text_hold():
    assert doctest.testmod(shares).failed == 0


@given(st.floats(0.1, 1e5), st.floats(0.1, 1e5), st.floats(0, 1))
def test_the_incomplete_beta_function_is_scipys(a, b, x):
    assert incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-7, abs=1e-9)


@settings(max_examples=50)
@given(st.integers(1, 5000), st.floats(0, 1))
def test_limits_of_a_share_are_scipys_exact_ones(trials, share):
    hits = round(share * trials)
    theirs = stats.binomtest(hits, trials).proportion_ci(method="exact")
    assert share_limits(hits, trials, 0.95) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_a_share_of_nothing_may_be_anything():
    assert share_limits(0, 0, 0.95) == (0.0, 1.0)


def scores_of(positives, negatives, shift, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(shift, 1, positives), rng.normal(0, 1, negatives)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_limits_of_a_large_areas_interval_are_delongs(shift):
    positives, negatives = scores_of(2000, 3000, shift)
    low, high, deviation = auc_limits(positives, negatives, Z)
    above = np.array([(each > negatives).mean() for each in positives])
    below = np.array([(positives > each).mean() for each in negatives])
    delong = math.sqrt(above.var(ddof=1) / 2000 + below.var(ddof=1) / 3000)
    assert deviation == pytest.approx(delong)
    assert high - low == pytest.approx(2 * Z * delong, rel=0.2)
    assert low < above.mean() < high


def test_an_area_and_its_mirror_image_have_mirrored_limits():
    positives, negatives = scores_of(7, 40, 0.8)
    low, high, _ = auc_limits(positives, negatives, Z)
    mirrored_low, mirrored_high, _ = auc_limits(negatives, positives, Z)
    assert (low, high) == pytest.approx((1 - mirrored_high, 1 - mirrored_low))


def test_a_perfect_order_of_few_rows_is_not_certain():
    low, high, _ = auc_limits(np.arange(995.0, 1000.0), np.arange(995.0), Z)
    assert high == 1.0
    assert 0.6 < low < 0.9


def binary(rows, positives, shift, seed, border=0.0):
    rng = np.random.default_rng(seed)
    target = (np.arange(rows) < positives).astype(np.int64)
    probability = 1 / (1 + np.exp(-(rng.normal(size=rows) + shift * target - border)))
    return Scored("binary", target, np.stack([1 - probability, probability], axis=1))


def measured(scored, *names, resamples=300, groups=None, seed=0):
    classes = None if scored.task == "regression" else ("no", "yes")
    return compare(scored, None, names, classes=classes, resamples=resamples, seed=seed, groups=groups)


def test_seventeen_of_seventeen_is_not_certain():
    target = np.array([0] * 20 + [1] * 17)
    found = measured(Scored("binary", target, np.eye(2)[target]), "recall", "precision", "f1", "accuracy")
    for name in ("recall", "precision", "f1"):
        assert found[name].candidate.value == found[name].candidate.high == 1.0
    assert found["recall"].candidate.low == pytest.approx(0.805, abs=1e-3)
    assert found["f1"].candidate.low == pytest.approx(2 * 0.805 / 1.805, abs=1e-3)


def test_f1_is_measured_by_its_share_of_true_positives():
    scored = binary(200, 60, 1.0, seed=3)
    found = measured(scored, "f1")["f1"].candidate
    hits, trials = scored.share("f1")
    assert found.value == pytest.approx(2 * (hits / trials) / (1 + hits / trials))
    assert found.low < found.value < found.high


@pytest.mark.parametrize("name", LOG_ERRORS)
def test_the_logarithm_of_an_error_leads_back_to_the_metric_under_any_weighting(name):
    if name in METRICS["regression"]:
        rng = np.random.default_rng(1)
        target = rng.normal(3, 2, 50)
        scored = Scored("regression", target, target + rng.standard_t(5, 50))
    else:
        scored = binary(50, 20, 1.0, seed=2)
    weights = np.random.default_rng(4).integers(0, 3, (5, 50)).astype(float)
    errors, deviations = scored.log_error(name, weights)
    values = scored.measure((name,), weights)[name]
    assert [LOG_ERRORS[name](error) for error in errors] == pytest.approx(list(values))
    # A weighting says how often each row counts.
    rows = np.repeat(np.arange(50), weights[0].astype(int))
    repeated = Scored(scored.task, scored.target[rows], scored.scores[rows])
    (error,), (deviation,) = repeated.log_error(name, np.ones((1, len(rows))))
    assert (error, deviation) == pytest.approx((errors[0], deviations[0]))


def test_the_deviation_of_an_unexplained_share_is_that_of_its_influence():
    rng = np.random.default_rng(5)
    target = rng.normal(10, 2, 400)
    predicted = 0.7 * target + rng.normal(size=400)
    (_,), (deviation,) = Scored("regression", target, predicted).log_error("r2", np.ones((1, 400)))
    errors, centred = (target - predicted) ** 2, (target - target.mean()) ** 2
    influence = errors / errors.mean() - centred / centred.mean()
    assert deviation == pytest.approx(influence.std() / 20)


@pytest.mark.parametrize(
    ("name", "positives", "told"),
    [
        ("auc", 4, False),
        ("auc", 5, True),
        ("average_precision", 9, False),
        ("average_precision", 10, True),
        ("log_loss", 9, False),
        ("recall", 0, False),
        ("recall", 1, True),
        ("accuracy", 0, True),
    ],
)
def test_an_interval_is_told_from_as_many_rows_of_the_rarer_class_on_as_it_holds_from(name, positives, told):
    found = measured(binary(300, positives, 1.0, seed=1), name)[name]
    assert found.candidate.is_told == told
    assert (found.shortage is None) == told
    if not told:
        assert f"of 'yes' there {f'are {positives}' if positives else 'is none'}" in found.shortage


def test_a_difference_takes_ten_rows_of_each_class():
    few, many = binary(300, 9, 1.0, seed=1), binary(300, 10, 1.0, seed=1)
    for scored, told in ((few, False), (many, True)):
        found = compare(scored, scored, ("auc",), classes=("no", "yes"), resamples=100, seed=0)["auc"]
        assert found.candidate.is_told
        assert found.difference.is_told == told
        assert (found.difference_shortage is None) == told


def test_of_groups_each_class_takes_ten_that_it_occurs_in():
    entities = np.repeat(np.arange(40), 5)
    for occurs_in, told in ((9, False), (10, True)):
        target = (entities < occurs_in).astype(np.float64)
        probability = np.column_stack([1 - target * 0.5, target * 0.5])
        found = measured(Scored("binary", target, probability), "auc", groups=entities)["auc"]
        assert found.candidate.is_told == told
        if not told:
            assert "10 groups of rows of each class, and of 'yes' there are 9" in found.shortage


def test_rows_in_groups_are_measured_by_resamples_of_groups():
    rng = np.random.default_rng(7)
    entities = np.repeat(np.arange(60), 20)
    target = rng.normal(size=60)[entities]
    predicted = target + 0.3 * rng.normal(size=60)[entities]
    scored = Scored("regression", target, predicted)
    alone, grouped = measured(scored, "r2"), measured(scored, "r2", groups=entities)
    assert grouped["r2"].method is Method.BOOTSTRAP
    widths = [each["r2"].candidate.high - each["r2"].candidate.low for each in (alone, grouped)]
    assert widths[1] > 2 * widths[0]
    assert "30 groups" in measured(scored, "r2", groups=entities % 29)["r2"].shortage


def test_a_model_whose_error_is_the_same_in_every_row_is_measured_exactly():
    target = np.arange(50.0)
    found = measured(Scored("regression", target, target + 1), "rmse", "mae", "r2")
    assert (found["rmse"].candidate.low, found["rmse"].candidate.high) == (1.0, 1.0)
    perfect = measured(Scored("regression", target, target), "r2", "rmse")
    assert (perfect["r2"].candidate.low, perfect["r2"].candidate.high) == (1.0, 1.0)


def test_errors_that_few_rows_make_have_finite_limits():
    target = np.array([0] * 380 + [1] * 20)
    scores = np.eye(2)[target] * 0.8 + 0.1
    scores[:3] = scores[:3, ::-1]
    found = measured(Scored("binary", target, scores), "log_loss", "brier")
    for each in found.values():
        assert 0 < each.candidate.low < each.candidate.value < each.candidate.high < 1


@pytest.mark.parametrize(("positives", "goal"), [(5, 0.92), (10, 0.92)])
def test_the_area_of_few_positives_is_covered(positives, goal):
    shift = stats.norm.ppf(0.85) * math.sqrt(2)
    held = 0
    for seed in range(400):
        found = measured(binary(300, positives, shift, seed), "auc")["auc"].candidate
        held += found.low <= 0.85 <= found.high
    assert held / 400 >= goal
