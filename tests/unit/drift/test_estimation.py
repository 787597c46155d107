from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from tests.unit.drift.test_watch_model import World

from dropforge.domain.drift.column_effects import EffectColumn, pack_columns, unpack_columns
from dropforge.domain.drift.estimation import ESTIMATION, LEAST_ROWS, Calibration, estimate
from dropforge.domain.drift.quality import DEGRADED, STEADY
from dropforge.domain.errors import InvalidProfile, InvalidTrainingOutput
from dropforge.domain.intervals import Interval
from dropforge.domain.metrics import Scored


def binary(rng, rows, shift=0.0, confidence=1.0):
    """Scores whose log odds are too large by a factor, and labels."""
    odds = 1.5 * rng.normal(shift, 1, rows) - 0.5
    label = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.int64)
    said = 1 / (1 + np.exp(-confidence * odds))
    return np.stack([1 - said, said], axis=1), label


def multiclass(rng, rows, shift=0.0):
    odds = rng.normal(0, 1.5, (rows, 3)) + np.array([shift, 0, -shift])
    chances = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    label = (rng.random((rows, 1)) > np.cumsum(chances, axis=1)).sum(axis=1).clip(max=2)
    return chances, label


def regression(rng, rows, shift=0.0):
    value = rng.normal(shift, 1, rows)
    return 3 * value, 3 * value + rng.normal(0, 1, rows) * np.exp(0.3 * value)


DRAWS = {"binary": binary, "multiclass": multiclass, "regression": regression}
CASES = [
    ("binary", "auc"), ("binary", "recall"), ("binary", "brier"), ("multiclass", "accuracy"),
    ("multiclass", "log_loss"), ("regression", "mae"), ("regression", "r2"),
]  # fmt: skip


def calibrated(task, seed, rows=2000, **how):
    scores, target = DRAWS[task](np.random.default_rng(seed), rows, **how)
    return Calibration.learn(task, target, scores)


@pytest.mark.parametrize(("task", "metric"), CASES)
def test_the_true_metric_lies_in_the_interval_under_covariate_shift(task, metric):
    covered = 0
    for seed in range(20):
        rng = np.random.default_rng([1, seed])
        calibration = calibrated(task, [2, seed])
        scores, target = DRAWS[task](rng, 400, rng.uniform(-0.7, 0.7))
        found = estimate(calibration, metric, scores, seed=seed)
        assert found.refused is None
        covered += found.interval.low <= Scored(task, target, scores).value(metric) <= found.interval.high
    # Of 20 at 95 % fewer than 16 are covered once in 400 times.
    assert covered >= 16


def test_probabilities_that_are_too_sure_are_calibrated():
    rng = np.random.default_rng(2)
    scores, target = binary(rng, 4000, confidence=2.0)
    calibration = Calibration.learn("binary", target, scores)
    scores, target = binary(rng, 2000, 0.4, confidence=2.0)
    found = estimate(calibration, "log_loss", scores)
    true = Scored("binary", target, scores).value("log_loss")
    naive = float(-(scores * np.log(scores)).sum(axis=1).mean())
    assert abs(found.interval.value - true) < 0.06 < abs(naive - true)


@pytest.mark.parametrize(
    ("task", "scores", "target", "reason"),
    [
        ("binary", np.full((50, 2), 0.5), np.arange(50) % 2, f"{LEAST_ROWS} are needed"),
        ("binary", np.full((500, 2), 0.5), np.zeros(500, dtype=np.int64), "a class has 0 rows"),
        ("multiclass", np.full((600, 60), 1 / 60), np.arange(600) % 60, "there are 60 classes"),
        ("regression", np.arange(500.0), np.arange(500.0), "all errors on the hold-out are equal"),
    ],
)
def test_it_refuses_what_the_hold_out_cant_calibrate(task, scores, target, reason):
    calibration = Calibration.learn(task, target, scores)
    assert reason in calibration.refused
    found = estimate(calibration, "mae" if task == "regression" else "accuracy", scores)
    assert found.refused == calibration.refused
    assert math.isnan(found.interval.value)
    assert Calibration.from_json(json.dumps(calibration.to_dict())) == calibration


def test_it_refuses_probabilities_that_no_smooth_curve_calibrates():
    rng = np.random.default_rng(3)
    scores, _ = binary(rng, 4000)
    place = scores[:, 1].argsort().argsort() // 250
    target = (rng.random(4000) < np.where(place % 2, 0.85, 0.15)).astype(np.int64)
    assert "follow no curve" in Calibration.learn("binary", target, scores).refused


def test_good_calibrations_are_hardly_ever_refused():
    refused = 0
    for seed in range(40):
        for task, rows in (("binary", 300), ("binary", 3000), ("multiclass", 1000), ("regression", 300)):
            refused += calibrated(task, [9, seed], rows).refused is not None
    # 160 at 1 % each: more than 5 once in 100 times.
    assert refused <= 5


def test_it_refuses_outside_of_what_was_trained_on():
    calibration = calibrated("regression", 4)
    scores = np.random.default_rng(5).normal(0, 3, 500)
    far = estimate(calibration, "mae", scores, outside={"age": 0.2, "city": 0.0})
    assert "20% of the values of 'age'" in far.refused
    assert "AUC 0.97" in estimate(calibration, "mae", scores, apart=0.97).refused
    assert "of the predictions lie outside" in estimate(calibration, "mae", scores + 20).refused
    near = estimate(calibration, "mae", scores, outside={"age": 0.01}, apart=0.6)
    assert near.refused is None
    farther = estimate(calibration, "mae", scores, apart=0.85)
    assert farther.interval.high - farther.interval.low > near.interval.high - near.interval.low


def test_a_hold_out_of_fewer_rows_makes_a_wider_interval():
    scores, _ = binary(np.random.default_rng(6), 3000, 0.5)
    few, many = (estimate(calibrated("binary", 7, rows), "auc", scores).interval for rows in (300, 10_000))
    assert few.high - few.low > 1.5 * (many.high - many.low)


def test_columns_that_go_with_errors_are_looked_at():
    rng = np.random.default_rng(8)

    def rows(count, shift=0.0):
        noise, city = rng.normal(shift, 1, count), rng.choice(["a", "b", None], count).astype(object)
        idle = rng.normal(size=count)
        value = rng.normal(0, 3, count)
        error = rng.normal(0, 1, count) * np.exp(0.5 * noise) + np.where(city == "b", 2.0, 0.0)
        return value, value + error, {"noise": noise, "city": city, "idle": idle}

    scores, target, columns = rows(3000)
    calibration = Calibration.learn("regression", target, scores, np.arange(3000), columns)
    assert {each.name for each in calibration.effects[0].columns} == {"city"}
    assert "noise" in {each.name for each in calibration.effects[1].columns}
    scores, target, columns = rows(800, 0.8)
    again = Calibration.from_json(json.dumps(calibration.to_dict()))
    found = estimate(again, "mae", scores, columns=columns, apart=0.7)
    true = Scored("regression", target, scores).value("mae")
    assert found.interval.low <= true <= found.interval.high
    blind = estimate(Calibration.learn("regression", *rows(3000)[1::-1]), "mae", scores, apart=0.7)
    assert abs(found.interval.value - true) < abs(blind.interval.value - true)
    # Of a column that the log lacks nothing is known.
    assert estimate(again, "mae", scores, columns={}).refused is None


def test_kept_columns_are_read_as_they_were_written():
    columns = {"x": np.array([1.5, np.nan]), "city": np.array(["", None], dtype=object)}
    rows, read = unpack_columns(pack_columns(np.array([3, 7]), columns), 10)
    assert rows.tolist() == [3, 7]
    np.testing.assert_array_equal(read["x"], columns["x"])
    assert read["city"].tolist() == ["", None]
    for data, rows in ((b"x", 10), (pack_columns(np.array([3, 7]), columns), 5)):
        with pytest.raises(InvalidTrainingOutput, match="holdout_columns"):
            unpack_columns(data, rows)


def test_nothing_is_extrapolated_beyond_the_values_of_the_hold_out():
    column = EffectColumn.of("x", np.random.default_rng(1).normal(size=500))
    at = np.array([-1e9, column.points[0], column.points[-1], 1e9, math.nan])
    low, least, most, high, missing = column.terms(at, 5)
    assert (low == least).all()
    assert (high == most).all()
    assert (missing == 0).all()
    assert EffectColumn.of("x", np.full(500, 2.0)) is None
    assert EffectColumn.of("x", np.full(500, math.nan)) is None


def test_known_outcomes_count_as_they_are_and_check_the_estimate():
    rng = np.random.default_rng(5)
    scores, target = binary(rng, 3000)
    calibration = Calibration.learn("binary", target, scores)
    window, truth = binary(rng, 500)
    found = estimate(calibration, "accuracy", window, outcomes=truth.tolist())
    assert found.interval.value == pytest.approx(Scored("binary", truth, window).value("accuracy"))
    assert (found.known, found.check.rows) == (500, 500)
    some = [*truth[:250].tolist(), *[None] * 250]
    half, none = (estimate(calibration, "accuracy", window, outcomes=each) for each in (some, None))
    assert half.interval.high - half.interval.low < none.interval.high - none.interval.low
    assert none.check is None


@pytest.mark.parametrize(("task", "metric"), [("binary", "accuracy"), ("regression", "mae")])
def test_outcomes_that_contradict_the_estimate_refuse_it(task, metric):
    calibration = calibrated(task, 11)
    scores, truth = DRAWS[task](np.random.default_rng(12), 500)
    changed = 1 - truth if task == "binary" else 2 * truth
    outcomes = [*changed[:100].tolist(), *[None] * 400]
    found = estimate(calibration, metric, scores, outcomes=outcomes)
    assert "the 100 known outcomes contradict it" in found.refused
    assert found.check.p_value < 0.01
    assert found.verdict == "refused"


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_shift_of_the_labels_is_marked_and_covered(task):
    marked = covered = 0
    for seed in range(8):
        rng = np.random.default_rng([13, seed])
        calibration = calibrated(task, [14, seed], 3000)
        scores, target = DRAWS[task](rng, 4000)
        rare = target == 1 if task != "regression" else target > 2
        kept = rng.random(4000) < np.where(rare, 1.0, 0.35)
        scores, target = scores[kept][:600], target[kept][:600]
        metric = "mae" if task == "regression" else "accuracy"
        found = estimate(calibration, metric, scores, seed=seed)
        marked += found.label_shift is not None
        covered += found.interval.low <= Scored(task, target, scores).value(metric) <= found.interval.high
    assert marked >= 6
    assert covered >= 6


def test_windows_like_the_hold_out_are_hardly_ever_marked():
    marked = 0
    for seed in range(60):
        calibration = calibrated("binary", [15, seed], 2000)
        scores, _ = binary(np.random.default_rng([16, seed]), 300)
        marked += calibration.shift.look_at(scores, 2, 0.01, seed) is not None
    # 60 at 1 %: more than 4 once in 3,000 times.
    assert marked <= 4


def test_a_metric_of_the_first_class_is_estimated_for_it():
    rng = np.random.default_rng(6)
    scores, target = binary(rng, 3000)
    calibration = Calibration.learn("binary", target, scores)
    outcomes = [*target[:100].tolist(), *[None] * 2900]
    found = estimate(calibration, "recall", scores, positive_code=0, outcomes=outcomes)
    true = Scored("binary", 1 - target, scores[:, ::-1]).value("recall")
    assert found.interval.low <= true <= found.interval.high
    assert found.check.value == Scored("binary", 1 - target[:100], scores[:100, ::-1]).value("recall")


def test_what_is_worse_than_the_hold_out_is_degraded():
    scores, _ = binary(np.random.default_rng(7), 1000)
    found = estimate(calibrated("binary", 8, 4000), "accuracy", scores)
    value = found.interval.value
    same = Interval(value, value - 0.02, value + 0.02)
    better = Interval(value + 0.15, value + 0.13, value + 0.17)
    arguments = {"greater_is_better": True, "tolerance": 0.0, "rate": 0.01}
    assert found.against(same, **arguments).verdict == STEADY
    assert found.against(better, **arguments).verdict == DEGRADED
    assert found.against(better, **{**arguments, "tolerance": 0.2}).verdict == STEADY
    assert found.against(better, **{**arguments, "greater_is_better": False}).verdict == STEADY


def test_where_the_labels_may_have_shifted_both_readings_have_to_say_so():
    found = estimate(calibrated("binary", 8, 4000), "accuracy", binary(np.random.default_rng(7), 1000)[0])
    value = found.interval.value
    good = Interval(value + 0.15, value + 0.13, value + 0.17)
    arguments = {"greater_is_better": True, "tolerance": 0.0, "rate": 0.01}
    two = replace(found, label_shift=good)
    assert two.against(good, **arguments).verdict == STEADY


def test_it_is_read_as_it_was_written():
    for task, drawn in DRAWS.items():
        calibration = calibrated(task, 8, 1000)
        again = Calibration.from_json(json.dumps(calibration.to_dict()))
        scores, _ = drawn(np.random.default_rng(9), 300)
        metric = "mae" if task == "regression" else "accuracy"
        assert estimate(again, metric, scores) == estimate(calibration, metric, scores)
    with pytest.raises(InvalidProfile, match="train again"):
        Calibration.from_json("{}")


def judged(world):
    """Leave what the judge leaves."""
    rng = np.random.default_rng(9)
    chance = 1 / (1 + np.exp(-2 * rng.normal(size=3000)))
    target = (rng.random(3000) < chance).astype(np.int64)
    document = Calibration.learn("binary", target, np.stack([1 - chance, chance], axis=1)).to_dict()
    world.store.write(f"s3://data/models/run-1/{ESTIMATION}", json.dumps(document).encode())


def report_of(watched, world):
    return json.loads(world.store.read(watched.report_uri))["estimate"]


def test_a_model_of_before_there_were_estimates_says_so():
    world = World()
    world.serve(400, labelled=False)
    watched = world.watch()
    found = report_of(watched, world)
    assert (found["verdict"], found["estimate"]["value"]) == ("refused", None)
    assert found["refused"] == "the live model was judged before quality was estimated"
    assert "EstimateAlarm" not in {each.name for each in watched.metrics}


def test_a_window_is_estimated_where_the_judge_left_a_calibration():
    world = World()
    judged(world)
    world.serve(400, labelled=False)
    watched = world.watch()
    found = report_of(watched, world)
    assert (found["verdict"], found["known_outcomes"]) == (STEADY, 0)
    assert 0.8 < found["estimate"]["low"] < found["estimate"]["value"] < 0.95
    assert found["sees_concept_drift"] is False
    assert {each.name: each.value for each in watched.metrics}["EstimateAlarm"] == 0
    world.serve(20, hour=1, labelled=False)
    assert report_of(world.watch(1), world)["refused"] == "there are 20 predictions, 50 are needed"


def test_estimates_that_stay_below_the_hold_out_raise_an_alarm_that_starts_a_run():
    world = World()
    judged(world)
    sure = {"name": "auc", "value": 0.99, "low": 0.985, "high": 0.995}
    world.pointer = replace(world.pointer, metric=sure)
    for hour in range(7, 9):
        world.serve(400, hour=hour, labelled=False)
        watched = world.watch(hour)
    assert report_of(watched, world)["verdict"] == DEGRADED
    assert {each.name: each.value for each in watched.metrics}["EstimateAlarm"] == 1
    assert [each["kind"] for each in world.answers()] == ["estimate"]
