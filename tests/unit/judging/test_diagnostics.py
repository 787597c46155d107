from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics
from tests.unit.judging.test_gate import binary, regression

from dropforge.domain.decision_goal import Goal
from dropforge.domain.decision_threshold import Choice, DecisionThreshold
from dropforge.domain.diagnostics import CONFUSION_CLASSES, diagnostics, wilson_interval
from dropforge.domain.gate import GatePolicy, judge
from dropforge.domain.holdout import HoldOut, Slice


def multiclass(classes=3, n=600, seed=5):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, n)
    scores = rng.random((n, classes)) + 1.5 * np.eye(classes)[target]
    scores /= scores.sum(axis=1, keepdims=True)
    names = tuple(sorted(f"class {code:03d}" for code in range(classes)))
    return HoldOut("multiclass", names, np.arange(n, dtype=np.uint64), target, scores)


def test_binary_curves_agree_with_scikit_learn_and_stand_for_both_models():
    holdout = binary(champion_quality=1.0)
    found = diagnostics(holdout, {})
    for name, scores in (("candidate", holdout.candidate), ("champion", holdout.champion)):
        (curve,) = found[name]["roc"]
        area = metrics.auc(curve["false_positive_rate"], curve["true_positive_rate"])
        assert area == pytest.approx(metrics.roc_auc_score(holdout.target, scores[:, 1]), abs=0.01)
        expected = metrics.confusion_matrix(holdout.target, scores.argmax(axis=1))
        assert found[name]["confusion"]["counts"] == expected.tolist()
    assert found["candidate"]["roc"][0]["class"] == "yes"


def test_calibration_bins_hold_every_row_once_and_the_share_lies_in_its_interval():
    holdout = binary(n=407)
    points = diagnostics(holdout, {})["candidate"]["calibration"]
    assert sum(point["rows"] for point in points) == 407
    assert len(points) == 10
    assert [point["predicted"] for point in points] == sorted(point["predicted"] for point in points)
    assert all(0 <= point["low"] <= point["observed"] <= point["high"] <= 1 for point in points)


def test_a_small_holdout_gets_fewer_bins():
    assert len(diagnostics(binary(n=24), {})["candidate"]["calibration"]) == 2


def test_multiclass_curves_are_one_class_against_the_rest():
    holdout = multiclass()
    found = diagnostics(holdout, {})["candidate"]
    for code, curve in enumerate(found["roc"]):
        area = metrics.auc(curve["false_positive_rate"], curve["true_positive_rate"])
        expected = metrics.roc_auc_score(holdout.target == code, holdout.candidate[:, code])
        assert area == pytest.approx(expected, abs=0.01)
    confident = holdout.candidate.argmax(axis=1) == holdout.target
    total = sum(point["observed"] * point["rows"] for point in found["calibration"])
    assert total == pytest.approx(confident.sum())


def test_many_classes_are_merged_without_losing_a_row():
    confusion = diagnostics(multiclass(classes=80, n=2000), {})["candidate"]["confusion"]
    assert len(confusion["labels"]) == CONFUSION_CLASSES
    assert confusion["labels"][-1] == "(other classes)"
    assert np.sum(confusion["counts"]) == 2000


def test_residuals_are_the_same_random_sample_every_time_and_count_every_row():
    holdout = regression(n=1500)
    found = diagnostics(holdout, {})
    assert found == diagnostics(holdout, {})
    residuals = found["candidate"]["residuals"]
    assert len(residuals["points"]) == 500
    assert sum(residuals["counts"]) == 1500
    assert residuals["mean"] == pytest.approx(float((holdout.target - holdout.candidate).mean()))


def test_a_regression_that_is_never_wrong_still_has_its_residuals():
    holdout = regression(n=40, noise=0.0)
    residuals = diagnostics(holdout, {})["candidate"]["residuals"]
    assert sum(residuals["counts"]) == 40
    assert residuals["edges"][0] < 0 < residuals["edges"][-1]


def test_predictions_that_are_not_finite_have_no_curves_and_the_document_is_json():
    holdout = regression(n=40)
    broken = HoldOut("regression", None, holdout.row_key, holdout.target, np.full(40, np.nan))
    found = diagnostics(broken, {})
    assert found["candidate"] is None
    json.dumps(found, allow_nan=False)


def test_importance_is_ordered_and_what_is_no_number_is_left_out():
    importance = {
        "a": {"mean": 0.1, "deviation": 0.01},
        "b": {"mean": 0.3, "deviation": 0.02},
        "c": {"mean": None, "deviation": 0.0},
        "d": "often",
    }
    found = diagnostics(binary(n=40), {"importance": importance, "metric": "auc"})["importance"]
    assert [each["name"] for each in found["features"]] == ["b", "a"]
    assert (found["metric"], found["split"]) == ("auc", "validation")
    told = {"importance": importance, "importance_split": "test"}
    assert diagnostics(binary(n=40), told)["importance"]["split"] == "test"
    assert diagnostics(binary(n=40), {"importance": "none"})["importance"] is None


def test_wilson_interval_agrees_with_scipy():
    from scipy import stats

    for hits, rows in ((0, 10), (3, 10), (50, 60), (60, 60)):
        expected = stats.binomtest(hits, rows).proportion_ci(0.95, "wilson")
        assert wilson_interval(hits, rows) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_every_metric_is_compared_on_the_same_resamples():
    judgement = judge(binary(champion_quality=2.0), GatePolicy())
    for compared in judgement.compared.values():
        # Equal predictions differ in no resample, however wide each one's own interval is.
        assert (compared.difference.value, compared.difference.low, compared.difference.high) == (0, 0, 0)
        assert compared.champion == compared.candidate


def test_a_slice_carries_its_interval_and_the_paired_difference():
    codes = (np.arange(400) % 4 == 0).astype(np.int16)[:, None]
    holdout = binary(
        quality=2.0, champion_quality=1.0, slices=(Slice("ward", ("a", "b")),), slice_codes=codes
    )
    slices = judge(holdout, GatePolicy()).to_dict()["slices"]
    assert [(each["label"], each["rows"]) for each in slices] == [("a", 300), ("b", 100)]
    for each in slices:
        assert each["low"] <= each["value"] <= each["high"]
        assert each["difference"]["low"] <= each["value"] - each["champion"] <= each["difference"]["high"]


def decided(threshold, positive="yes", **more):
    choice = Choice(100, 50, "validation", 0.8, 0.8, None, reached=True)
    return binary(threshold=DecisionThreshold(positive, threshold, Goal(1, 5), choice), **more)


@pytest.mark.parametrize(("n", "seed"), [(30, 1), (407, 2), (20_000, 3)])
def test_a_bounded_number_of_thresholds_counts_what_each_calls_right_and_wrong(n, seed):
    holdout = decided(0.123, n=n, seed=seed)
    found = diagnostics(holdout, {})["candidate"]
    points = found["operating"]
    thresholds = points["thresholds"]
    assert len(thresholds) <= 200
    assert thresholds == sorted(set(thresholds))
    assert {0.0, 0.123, 0.5} <= set(thresholds)
    scores, positive = holdout.candidate[:, 1], holdout.target == 1
    for value, hits, wrong in zip(
        thresholds, points["true_positives"], points["false_positives"], strict=True
    ):
        called = scores >= value - 1e-9
        assert (hits, wrong) == ((called & positive).sum(), (called & ~positive).sum())
    assert (points["positives"], points["negatives"]) == (positive.sum(), (~positive).sum())
    if n > 1000:
        recall = np.array(points["true_positives"]) / points["positives"]
        assert np.abs(np.diff(recall)).max() < 0.02, "the curve has a gap"
    spread = found["scores_by_class"]
    assert len(spread["edges"]) == 41
    assert (sum(spread["positives"]), sum(spread["negatives"])) == (positive.sum(), (~positive).sum())


def test_few_positives_are_seen_each_among_many_rows():
    rng = np.random.default_rng(4)
    target = (np.arange(50_000) < 60).astype(np.int64)
    chance = 1 / (1 + np.exp(4 - rng.normal(size=50_000) - 3 * target))
    keys = np.arange(50_000, dtype=np.uint64)
    holdout = HoldOut("binary", ("no", "yes"), keys, target, np.stack([1 - chance, chance], axis=1))
    points = diagnostics(holdout, {})["candidate"]["operating"]
    assert set(points["true_positives"]) == set(range(61))
    assert len(points["thresholds"]) <= 200


def test_a_threshold_of_the_other_class_is_told_for_the_class_that_is_looked_for():
    holdout = decided(0.3, "no")
    points = diagnostics(holdout, {})["candidate"]["operating"]
    assert points["threshold"] == 0.7
    place = points["thresholds"].index(0.7)
    called = holdout.of_candidate().labels == 1
    assert points["true_positives"][place] == (called & (holdout.target == 1)).sum()
    assert diagnostics(binary(), {})["candidate"]["operating"]["threshold"] is None
