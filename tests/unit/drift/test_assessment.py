from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from bench.studies.agreement import differences
from bench.studies.baselines import assessed, baselines_of
from bench.studies.false_alarms import allowed, measure
from bench.studies.power import CASES
from bench.studies.power import measure as measure_power
from bench.studies.simulation import table
from tests.unit.drift.drift_data import categorical

from dropforge.domain.drift.alarm import PastWindow, decide
from dropforge.domain.drift.assessment import DRIFTED, NOT_ENOUGH_DATA, QUIET, assess
from dropforge.domain.drift.classifier import classify, codes_at, drawn_rows
from dropforge.domain.drift.policy import WatchPolicy
from dropforge.domain.drift.quality import measure_quality
from dropforge.domain.drift.scores import prediction_profile
from dropforge.domain.errors import InvalidSettings

HOURS = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=h) for h in range(100)]


def test_windows_without_drift_are_quiet_at_the_configured_rate():
    assert measure(50, 40, 2000, seed=5, rate=0.01)["ours"] <= allowed(0.01, 40)


@pytest.mark.parametrize("case", CASES)
def test_drift_of_known_size_is_found(case):
    assert measure_power(case, 8, 20_000, seed=5) >= 7 / 8


@pytest.mark.parametrize("name", ["normal_1", "lognormal_holes", "mostly_zero", "count_large"])
def test_stored_statistics_agree_with_exact_ones(name):
    found = differences(name, 10_000, 50_000, 1.25, seed=5)
    assert found["KS"] <= 1e-3
    assert found["PSI"] <= 2e-3


def test_too_few_rows_are_not_enough_data_whatever_they_hold():
    rng = np.random.default_rng(1)
    window = {name: values[:49] for name, values in table(rng, 60).items()}
    window["normal_1"] = window["normal_1"] + 100
    found = assessed(baselines_of(table(rng, 2000)), window, WatchPolicy())
    assert found.verdict == NOT_ENOUGH_DATA
    assert found.columns == ()


def test_the_column_that_drifted_is_named_and_a_rerun_finds_the_same():
    rng = np.random.default_rng(2)
    base, window = baselines_of(table(rng, 5000)), table(rng, 1000)
    window["uniform"] = window["uniform"] * 0.7
    first, second = (assessed(base, window, WatchPolicy()) for _ in range(2))
    assert first == second
    assert first.verdict == DRIFTED
    assert first.drifted == ["uniform"]


def test_small_shifts_in_many_columns_are_found_by_the_domain_classifier():
    rng = np.random.default_rng(3)
    base, window = baselines_of(table(rng, 5000)), table(rng, 2000)
    for name in (
        "normal_1",
        "normal_2",
        "normal_3",
        "normal_holes",
        "heavy",
        "bimodal",
        "rounded",
        "uniform",
    ):
        window[name] = window[name] + 0.12 * np.nanstd(window[name])
    found = assessed(base, window, WatchPolicy())
    assert found.classifier is not None
    assert found.classifier.auc > found.classifier.threshold


def test_the_domain_classifier_does_not_tell_a_sample_by_the_ranks_that_it_decided():
    shares = 1 / np.arange(1, 501) ** 0.7
    p_values = []
    for seed in range(40):
        rng = np.random.default_rng([11, seed])
        columns = {f"m{k}": rng.choice(500, 6000, p=shares / shares.sum()).astype(str) for k in range(3)}
        base = [categorical(list(map(str, v[:2500])), k, sample=True) for k, v in columns.items()]
        rows = drawn_rows(3500, seed)
        window = [codes_at(b, columns[b.name][2500:].tolist(), rows) for b in base]
        found = classify(base, window, level_z=3.0, seed=seed)
        p_values.append(found.p_value)
    assert 0.3 < np.mean(p_values) < 0.7
    assert min(p_values) > 1e-4


def test_a_column_that_the_log_does_not_hold_is_named_and_not_judged():
    rng = np.random.default_rng(4)
    window = table(rng, 300)
    del window["five"]
    found = assessed(baselines_of(table(rng, 2000)), window, WatchPolicy())
    assert found.verdict == QUIET
    assert list(found.unwatched) == ["five"]


class ReadWhenAsked(Mapping[str, Any]):
    """A window whose columns are made when they are asked for."""

    def __init__(self, window: Mapping[str, Any]) -> None:
        self.window, self.asked, self.alive = window, [], []

    def __getitem__(self, name: str) -> Any:
        assert [each for each in self.alive if each() is not None] == [], "the column before is still held"
        values = self.window[name].copy()
        self.asked.append(name)
        self.alive.append(weakref.ref(values))
        return values

    def __contains__(self, name: object) -> bool:
        return name in self.window

    def __iter__(self) -> Iterator[str]:
        return iter(self.window)

    def __len__(self) -> int:
        return len(self.window)


def test_a_window_is_read_once_and_one_column_at_a_time():
    rng = np.random.default_rng(6)
    base, window = baselines_of(table(rng, 2000)), table(rng, 500)
    read = ReadWhenAsked(window)
    found = assess(read, base, rows=500, policy=WatchPolicy())
    assert read.asked == list(window)
    assert found == assessed(base, window, WatchPolicy())


def past(*found: bool | None, raised: int | None = None, version: int = 1) -> list[PastWindow]:
    """Windows that end at hours 50, 51, …"""
    return [PastWindow(HOURS[50 + i], version, each, i == raised) for i, each in enumerate(found)]


def alarm(found, before, **policy):
    return decide(
        found,
        start=HOURS[49 + len(before)],
        end=HOURS[50 + len(before)],
        model_version=1,
        promoted_at=HOURS[0],
        past=before,
        policy=WatchPolicy(**policy),
    )


def test_an_alarm_needs_k_of_the_last_m_windows_of_which_this_is_one():
    assert alarm(True, past(True, False)).raised
    assert not alarm(True, past(True, False, False)).raised
    assert not alarm(False, past(True, True)).raised
    assert alarm(True, [], windows_to_alarm=1, windows_considered=1).raised


def test_an_alarms_reason_counts_one_window_as_one():
    assert alarm(True, []).reason == "1 of 1 window, 2 of 3 needed"
    assert alarm(True, past(False)).reason == "1 of the last 2 windows, 2 of 3 needed"


def test_windows_without_enough_data_are_passed_over_and_never_alarm():
    assert alarm(True, past(True, None, None)).raised
    assert not alarm(None, past(True, True)).raised


def test_windows_of_another_model_do_not_count():
    assert not alarm(True, past(True, True, version=2)).raised


def test_no_alarm_is_raised_during_the_cooldown_after_an_alarm_or_a_promotion():
    after_alarm = past(True, True, raised=1)
    assert not alarm(True, after_alarm, cooldown_s=2 * 3600).raised
    assert alarm(True, after_alarm, cooldown_s=3600).raised
    promoted = decide(
        True,
        start=HOURS[59],
        end=HOURS[60],
        model_version=1,
        promoted_at=HOURS[59],
        past=past(True),
        policy=WatchPolicy(),
    )
    assert promoted.cooldown_until == HOURS[59] + timedelta(hours=6)
    assert not promoted.raised


@pytest.mark.parametrize(
    "settings", [{"false_alarm_rate": 0}, {"minimum_rows": 5}, {"windows_considered": 1}, {"seed": -1}]
)
def test_a_policy_that_makes_no_sense_is_refused(settings):
    with pytest.raises(InvalidSettings, match=next(iter(settings))):
        WatchPolicy(**settings)


def quality(outcomes, scores, judged, **changes):
    arguments = {
        "holdout_rows": 400, "rate": 0.01, "tolerance": 0.0, "minimum_rows": 50, "resamples": 200, "seed": 1
    }  # fmt: skip
    return measure_quality("binary", ("no", "yes"), scores, outcomes, judged, **{**arguments, **changes})


@pytest.fixture
def binary():
    """Scores, and outcomes that they predict."""
    rng = np.random.default_rng(7)
    chance = rng.random(400)
    outcomes = ["yes" if hit else "no" for hit in rng.random(400) < chance]
    return np.stack([1 - chance, chance], axis=1), outcomes


JUDGED = {"name": "auc", "value": 0.83, "low": 0.79, "high": 0.87, "threshold": 0.7}


def test_quality_as_on_the_hold_out_is_steady_and_labels_that_contradict_are_degraded(binary):
    scores, outcomes = binary
    assert quality(outcomes, scores, JUDGED).verdict == "steady"
    found = quality(["no" if label == "yes" else "yes" for label in outcomes], scores, JUDGED)
    assert found.verdict == "degraded"
    assert found.live.value < found.threshold < found.holdout.value


def test_shares_are_those_of_the_labels_that_were_answered_whatever_threshold_gave_them(binary):
    scores, outcomes = binary
    labels = (scores[:, 1] >= 0.1).astype(np.int64)
    actual = np.array(outcomes) == "yes"
    wanted = {"recall": labels[actual].mean(), "precision": actual[labels == 1].mean()}
    wanted["f1"] = 2 / (1 / wanted["recall"] + 1 / wanted["precision"])
    for name, value in wanted.items():
        found = quality(outcomes, scores, {**JUDGED, "name": name}, labels=labels)
        assert found.live.value == pytest.approx(value)
    specificity = 1 - labels[~actual].mean()
    of_the_other = {**JUDGED, "name": "recall", "positive_class": "no"}
    assert quality(outcomes, scores, of_the_other, labels=labels).live.value == pytest.approx(specificity)


def test_outcomes_that_are_unknown_or_of_no_class_are_counted_apart(binary):
    scores, outcomes = binary
    found = quality([None] * 200 + ["maybe"] * 10 + outcomes[210:], scores, JUDGED)
    assert (found.predictions, found.labelled, found.ignored) == (400, 190, 10)
    assert found.completeness == 190 / 400


def test_too_few_outcomes_and_a_single_class_decide_nothing(binary):
    scores, outcomes = binary
    assert quality([*outcomes[:49], *[None] * 351], scores, JUDGED).verdict == "not_enough_data"
    assert quality(["yes"] * 400, scores, JUDGED).verdict == "undefined"


def test_a_perfect_small_hold_out_does_not_make_one_error_an_alarm():
    rng = np.random.default_rng(8)
    codes = rng.integers(0, 2, 100)
    scores = np.stack([1.0 - codes, codes.astype(float)], axis=1)
    outcomes = ["yes" if code else "no" for code in codes]
    outcomes[0] = "no" if outcomes[0] == "yes" else "yes"
    judged = {"name": "accuracy", "value": 1.0, "low": 1.0, "high": 1.0}
    assert quality(outcomes, scores, judged, holdout_rows=36).verdict == "steady"


def test_a_regression_is_measured_by_its_own_metric():
    rng = np.random.default_rng(9)
    truth = rng.normal(size=200)
    judged = {"name": "rmse", "value": 0.1, "low": 0.09, "high": 0.11}
    scores = truth + rng.normal(0, 0.3, 200)
    found = measure_quality(
        "regression", None, scores, list(truth), judged, holdout_rows=200, rate=0.01, tolerance=0.0,
        minimum_rows=50, resamples=200, seed=1,
    )  # fmt: skip
    assert found.verdict == "degraded"
    assert found.live.value > found.threshold > found.holdout.value


@pytest.mark.parametrize(
    ("task", "classes", "scores", "names"),
    [
        ("binary", ("a", "b"), np.array([[0.4, 0.6], [0.9, 0.1]]), ["predicted score"]),
        ("multiclass", ("a", "b", "c"), np.eye(3), ["predicted label", "predicted score"]),
        ("regression", None, np.array([1.0, 2.0]), ["predicted value"]),
    ],
)
def test_predictions_are_profiled_as_columns(task, classes, scores, names):
    profile = prediction_profile(task, classes, scores)
    assert [column["name"] for column in profile["columns"]] == names
    assert profile["rows"] == len(scores)


def test_outcomes_of_some_kind_of_prediction_alone_are_called_biased(binary):
    scores, outcomes = binary
    judged = {"name": "auc", "value": 0.75, "low": 0.7, "high": 0.8, "positive_class": "yes"}
    everywhere = [each if row % 3 else None for row, each in enumerate(outcomes)]
    assert not quality(everywhere, scores, judged).is_biased
    only_high = [each if scores[row, 1] > 0.5 else None for row, each in enumerate(outcomes)]
    found = quality(only_high, scores, judged)
    assert found.is_biased
    assert found.to_dict()["is_biased"]
    assert found.unlike_rest < 1e-6
    all_known = quality(outcomes, scores, judged)
    assert (all_known.is_biased, all_known.to_dict()["unlike_rest"]) == (False, None)


def test_unbiased_outcomes_are_called_biased_no_more_often_than_asked_for():
    judged = {"name": "accuracy", "value": 0.7, "low": 0.6, "high": 0.8}
    hits = 0
    for seed in range(300):
        rng = np.random.default_rng([8, seed])
        raw = rng.dirichlet([1, 1, 1], 200)
        outcomes = [str(each) if rng.random() < 0.5 else None for each in rng.choice(3, 200)]
        found = measure_quality(
            "multiclass", ("0", "1", "2"), raw, outcomes, judged, holdout_rows=400, rate=0.05, tolerance=0.0,
            minimum_rows=50, resamples=20, seed=1,
        )  # fmt: skip
        hits += found.is_biased
    assert hits <= 300 * 0.05 + 3 * (300 * 0.05 * 0.95) ** 0.5
