"""Metrics agree with scikit-learn, weighted and unweighted, wherever scikit-learn defines them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from dropforge.domain.errors import InvalidSettings
from dropforge.domain.evaluation import evaluation
from dropforge.domain.metric_registry import (
    MEANINGS,
    METRIC_DEFINITIONS,
    METRIC_NAMES,
    METRICS,
    metric_line,
    metric_named,
)
from dropforge.domain.metrics import Scored, confusion_matrix, roc_curve

SEEDS = st.integers(0, 2**32 - 1)


def probabilities(rng, n, n_classes, coarse):
    """Rows of probabilities; coarse ones have many ties."""
    raw = rng.integers(0, 4, (n, n_classes)) + 1e-3 if coarse else rng.random((n, n_classes))
    return raw / raw.sum(axis=1, keepdims=True)


@settings(max_examples=60)
@given(seed=SEEDS, n=st.integers(4, 60), coarse=st.booleans(), weighted=st.booleans())
def test_binary_metrics_agree_with_scikit_learn(seed, n, coarse, weighted):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 2, n)
    assume(0 < target.sum() < n)
    scores = probabilities(rng, n, 2, coarse)
    weights = rng.integers(1, 4, n).astype(float) if weighted else np.ones(n)
    labels, positive = scores.argmax(axis=1), scores[:, 1]
    w = {"sample_weight": weights}
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        target, labels, average="binary", zero_division=0, **w
    )
    expected = {
        "auc": reference.roc_auc_score(target, positive, **w),
        "average_precision": reference.average_precision_score(target, positive, **w),
        "accuracy": reference.accuracy_score(target, labels, **w),
        "balanced_accuracy": reference.balanced_accuracy_score(target, labels, **w),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "log_loss": reference.log_loss(target, scores, **w),
        "brier": reference.brier_score_loss(target, positive, **w),
    }
    measured = Scored("binary", target, scores).measure(weights=weights[None, :])
    assert {name: value[0] for name, value in measured.items()} == pytest.approx(expected, abs=1e-9)


@settings(max_examples=60)
@given(seed=SEEDS, n=st.integers(12, 60), k=st.integers(3, 5), coarse=st.booleans(), weighted=st.booleans())
def test_multiclass_metrics_agree_with_scikit_learn(seed, n, k, coarse, weighted):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, k, n)
    assume(len(np.unique(target)) == k)
    scores = probabilities(rng, n, k, coarse)
    weights = rng.integers(1, 4, n).astype(float) if weighted else np.ones(n)
    labels = scores.argmax(axis=1)
    w = {"sample_weight": weights}
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        target, labels, average="macro", zero_division=0, **w
    )
    expected = {
        "auc": reference.roc_auc_score(target, scores, multi_class="ovr", average="macro", **w),
        "accuracy": reference.accuracy_score(target, labels, **w),
        "balanced_accuracy": reference.balanced_accuracy_score(target, labels, **w),
        "macro_precision": precision,
        "macro_recall": recall,
        "macro_f1": f1,
        "log_loss": reference.log_loss(target, scores, **w),
    }
    measured = Scored("multiclass", target, scores).measure(weights=weights[None, :])
    assert {name: value[0] for name, value in measured.items()} == pytest.approx(expected, abs=1e-9)


@settings(max_examples=60)
@given(seed=SEEDS, n=st.integers(2, 60), offset=st.sampled_from([0.0, 1e6]), weighted=st.booleans())
def test_regression_metrics_agree_with_scikit_learn(seed, n, offset, weighted):
    rng = np.random.default_rng(seed)
    target, scores = rng.normal(size=n) + offset, rng.normal(size=n) + offset
    weights = rng.integers(1, 4, n).astype(float) if weighted else np.ones(n)
    w = {"sample_weight": weights}
    repeated = np.repeat(np.arange(n), weights.astype(int))
    expected = {
        "r2": reference.r2_score(target, scores, **w),
        "mse": reference.mean_squared_error(target, scores, **w),
        "rmse": reference.root_mean_squared_error(target, scores, **w),
        "mae": reference.mean_absolute_error(target, scores, **w),
        # A row of weight 2 counts like two rows.
        "median_absolute_error": reference.median_absolute_error(target[repeated], scores[repeated]),
    }
    measured = Scored("regression", target, scores).measure(weights=weights[None, :])
    assert {name: value[0] for name, value in measured.items()} == pytest.approx(expected, rel=1e-6)


@settings(max_examples=40)
@given(seed=SEEDS, task=st.sampled_from(["binary", "multiclass", "regression"]))
def test_many_weightings_at_once_equal_each_alone(seed, task):
    rng = np.random.default_rng(seed)
    n = 30
    target = rng.normal(size=n) if task == "regression" else np.arange(n) % (2 if task == "binary" else 4)
    scores = rng.normal(size=n) if task == "regression" else probabilities(rng, n, target.max() + 1, True)
    weights = rng.integers(0, 3, (5, n)).astype(float) + 0.5
    scored = Scored(task, target, scores)
    together = scored.measure(weights=weights)
    for row in range(5):
        alone = scored.measure(weights=weights[row : row + 1])
        assert {n: v[row] for n, v in together.items()} == pytest.approx({n: v[0] for n, v in alone.items()})


@settings(max_examples=40)
@given(seed=SEEDS, n=st.integers(4, 50), k=st.integers(2, 5))
def test_confusion_matrix_agrees_with_scikit_learn(seed, n, k):
    rng = np.random.default_rng(seed)
    target, scores = rng.integers(0, k, n), probabilities(rng, n, k, False)
    scored = Scored("binary" if k == 2 else "multiclass", target, scores)
    expected = reference.confusion_matrix(target, scores.argmax(axis=1), labels=range(k))
    assert confusion_matrix(scored).tolist() == expected.tolist()


@settings(max_examples=40)
@given(seed=SEEDS, coarse=st.booleans())
def test_roc_curve_agrees_with_scikit_learn(seed, coarse):
    rng = np.random.default_rng(seed)
    target = rng.permutation(np.arange(40) % 2)
    scores = probabilities(rng, 40, 2, coarse)
    false_rate, true_rate = roc_curve(Scored("binary", target, scores))
    expected = reference.roc_curve(target, scores[:, 1], drop_intermediate=False)
    assert false_rate == pytest.approx(expected[0])
    assert true_rate == pytest.approx(expected[1])


def test_roc_curve_is_thinned_but_keeps_its_ends():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, 5000)
    false_rate, true_rate = roc_curve(Scored("binary", target, probabilities(rng, 5000, 2, False)))
    assert len(false_rate) <= 200
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)
    assert (np.diff(false_rate) >= 0).all()
    assert (np.diff(true_rate) >= 0).all()


def test_metrics_that_are_undefined_are_nan():
    scores = np.array([[0.2, 0.8], [0.6, 0.4]])
    assert np.isnan(Scored("binary", np.array([1, 1]), scores).value("auc"))
    assert np.isnan(Scored("regression", np.array([3.0, 3.0]), np.array([1.0, 2.0])).value("r2"))
    assert np.isnan(Scored("binary", np.array([], dtype=int), np.empty((0, 2))).value("accuracy"))


def test_metric_lines_are_found_by_the_definitions():
    found = {d["Name"]: d["Regex"] for d in METRIC_DEFINITIONS}
    assert len(found) == len(METRIC_NAMES) <= 40
    for name in METRIC_NAMES:
        for value in (0.9934, -1.5e-7, 3.0, 123456.789):
            line = metric_line(name, value)
            hits = {n: m.group(1) for n, regex in found.items() if (m := re.search(regex, line))}
            assert {n: float(v) for n, v in hits.items()} == {f"validation:{name}": pytest.approx(value)}


def test_undefined_value_gives_a_line_that_no_definition_finds():
    line = metric_line("auc", float("nan"))
    assert not any(re.search(d["Regex"], line) for d in METRIC_DEFINITIONS)


def test_unknown_metric_is_refused_with_the_known_ones():
    with pytest.raises(InvalidSettings, match=r"rmse.*auto, auc, average_precision"):
        metric_named("binary", "rmse")


@pytest.mark.parametrize(
    ("task", "name"), [("binary", "auc"), ("multiclass", "accuracy"), ("regression", "r2")]
)
def test_auto_is_the_usual_metric_of_the_task(task, name):
    assert metric_named(task, "auto").name == name


def test_gain_is_positive_when_better_whatever_the_direction():
    assert METRICS["binary"]["auc"].gain(0.9, 0.8) > 0
    assert METRICS["regression"]["rmse"].gain(10.0, 12.0) > 0


def test_evaluation_follows_sagemakers_schema():
    target = np.array([0, 1, 1, 0])
    scored = Scored("binary", target, np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]))
    content = evaluation(scored, {"auc": 1.0, "f1": float("nan")}, {"auc": 0.1})
    section = content["binary_classification_metrics"]
    assert section["auc"] == {"value": 1.0, "standard_deviation": 0.1}
    assert section["f1"] == {"value": "NaN", "standard_deviation": "NaN"}
    assert section["confusion_matrix"] == {"0": {"0": 2, "1": 0}, "1": {"0": 1, "1": 1}}
    assert set(section["receiver_operating_characteristic_curve"]) == {
        "false_positive_rates",
        "true_positive_rates",
    }


def test_evaluation_of_a_regression_has_no_confusion_matrix():
    content = evaluation(Scored("regression", np.ones(2), np.ones(2)), {"rmse": 0.0}, {})
    assert content["regression_metrics"] == {"rmse": {"value": 0.0, "standard_deviation": "NaN"}}


def test_every_metric_says_what_it_means() -> None:
    assert set(METRIC_NAMES) == MEANINGS.keys()


def test_shares_are_the_metrics_between_0_and_1_of_rights_and_wrongs() -> None:
    shares = {name for known in METRICS.values() for name, metric in known.items() if metric.is_share}
    assert shares == {
        *("auc", "average_precision", "accuracy", "balanced_accuracy", "precision", "recall", "f1"),
        *("macro_precision", "macro_recall", "macro_f1"),
    }
