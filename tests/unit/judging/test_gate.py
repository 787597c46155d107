from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from scipy import stats

from dropforge.domain.decision_costs import decided as costs_of
from dropforge.domain.decision_goal import Goal
from dropforge.domain.decision_threshold import Choice, DecisionThreshold
from dropforge.domain.errors import InvalidSettings, InvalidTrainingOutput
from dropforge.domain.gate import GatePolicy, judge
from dropforge.domain.holdout import HoldOut, Slice
from dropforge.domain.metric_registry import METRICS
from dropforge.domain.resampling import resample_weights, resamples_for


def binary(n=400, quality=2.0, champion_quality=None, seed=1, **more):
    """A hold-out on which a higher quality ranks better; equal qualities give equal predictions."""
    rng = np.random.default_rng(seed)
    target = rng.permutation(np.arange(n) % 2)
    noise = rng.normal(size=n)

    def scores(strength):
        positive = 1 / (1 + np.exp(-(strength * (target - 0.5) + noise)))
        return np.stack([1 - positive, positive], axis=1)

    return HoldOut(
        "binary",
        ("no", "yes"),
        np.arange(n, dtype=np.uint64),
        target,
        scores(quality),
        None if champion_quality is None else scores(champion_quality),
        **more,
    )


def regression(n=200, noise=0.5, champion_noise=None, seed=2):
    rng = np.random.default_rng(seed)
    target, error = rng.normal(size=n), rng.normal(size=n)
    champion = None if champion_noise is None else target + champion_noise * error
    keys = np.arange(n, dtype=np.uint64)
    return HoldOut("regression", None, keys, target, target + noise * error, champion)


def codes(judgement):
    return [reason.code for reason in judgement.reasons]


@pytest.mark.parametrize(("task", "name"), [(task, name) for task in METRICS for name in METRICS[task]])
def test_any_metric_can_decide(task, name):
    rng = np.random.default_rng(5)
    target = rng.normal(size=60) if task == "regression" else rng.permutation(np.arange(60) % 3)
    classes = None if task == "regression" else ("a", "b", "c")
    scores = target + 0.1 if task == "regression" else np.eye(3)[target] * 0.8 + 0.1 / 1.5
    if task == "binary":
        target, classes, scores = target % 2, classes[:2], np.eye(2)[target % 2] * 0.8 + 0.1
    holdout = HoldOut(task, classes, np.arange(60, dtype=np.uint64), target, scores)
    judged = judge(holdout, GatePolicy(metric=name, threshold="0.5", resamples=100))
    assert judged.metric.name == name


def test_accepts_first_model_that_meets_the_threshold():
    judgement = judge(binary(), GatePolicy())
    assert judgement.accepted
    assert codes(judgement) == ["ThresholdMet", "FirstModel"]
    assert judgement.threshold == 0.70
    assert judgement.champion is None
    assert judgement.candidate.low < judgement.candidate.value < judgement.candidate.high


def test_rejects_candidate_below_the_threshold():
    judgement = judge(binary(quality=0.1), GatePolicy())
    assert not judgement.accepted
    assert codes(judgement) == ["ThresholdMissed"]


def test_rejects_candidate_worse_than_champion():
    judgement = judge(binary(quality=1.5, champion_quality=3.0), GatePolicy())
    assert not judgement.accepted
    assert codes(judgement) == ["SignificantlyWorse", "WorseThanTolerance"]
    assert judgement.difference.high < 0


def test_accepts_candidate_better_than_champion():
    judgement = judge(binary(quality=3.0, champion_quality=1.5), GatePolicy())
    assert judgement.accepted
    assert codes(judgement) == ["ThresholdMet", "NotWorseThanChampion"]
    assert judgement.difference.low > 0


def test_accepts_a_tie():
    judgement = judge(binary(champion_quality=2.0), GatePolicy())
    assert judgement.accepted
    assert (judgement.difference.low, judgement.difference.value, judgement.difference.high) == (0, 0, 0)


def shuffled_ranks(loss_rows, n=400):
    """The candidate and the champion agree but for a few rows that only one of them gets right."""
    base = binary(n=n, quality=4.0)
    right = np.stack([1.0 - base.target, base.target.astype(float)], axis=1) * 0.8 + 0.1
    candidate = right.copy()
    candidate[:loss_rows] = candidate[:loss_rows, ::-1]
    champion = right.copy()
    champion[loss_rows : 2 * loss_rows - 1] = champion[loss_rows : 2 * loss_rows - 1, ::-1]
    return dataclasses.replace(base, candidate=candidate, champion=champion)


def test_accepts_a_loss_within_the_tolerance_that_chance_explains():
    policy = GatePolicy(metric="accuracy")
    judgement = judge(shuffled_ranks(20), policy)
    assert judgement.difference.value == pytest.approx(-1 / 400)
    assert judgement.accepted


def test_rejects_a_loss_beyond_the_tolerance_even_if_chance_explains_it():
    policy = GatePolicy(metric="accuracy", champion_tolerance=0.001)
    judgement = judge(shuffled_ranks(20), policy)
    assert judgement.difference.low < 0 < judgement.difference.high
    assert codes(judgement) == ["WorseThanTolerance"]


def test_rejects_a_significant_loss_even_within_the_tolerance():
    policy = GatePolicy(champion_tolerance=0.5)
    judgement = judge(binary(quality=1.5, champion_quality=3.0), policy)
    assert codes(judgement) == ["SignificantlyWorse"]


def test_a_loss_of_exactly_the_tolerance_passes():
    holdout = shuffled_ranks(5)
    # One row more is wrong than the champion's: 1/400 exactly.
    assert judge(holdout, GatePolicy(metric="accuracy", champion_tolerance=1 / 400)).accepted


def test_smaller_is_better_for_errors():
    policy = GatePolicy(metric="rmse", threshold="0.6")
    better = judge(regression(noise=0.4, champion_noise=0.5), policy)
    assert better.accepted
    assert better.difference.value > 0
    worse = judge(regression(noise=0.55, champion_noise=0.3), policy)
    assert codes(worse) == ["SignificantlyWorse", "WorseThanTolerance"]
    assert codes(judge(regression(noise=0.9), policy)) == ["ThresholdMissed"]


def test_regression_is_judged_by_variance_explained():
    assert judge(regression(noise=0.5), GatePolicy()).accepted
    assert codes(judge(regression(noise=3.0), GatePolicy())) == ["ThresholdMissed"]


def test_rejects_when_the_holdout_has_too_few_rows():
    judgement = judge(binary(n=8, quality=9.0), GatePolicy())
    assert not judgement.accepted
    assert codes(judgement) == ["TooFewHoldOutRows"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rejects_predictions_that_are_not_finite(bad):
    holdout = binary()
    holdout.candidate[3, 1] = bad
    judgement = judge(holdout, GatePolicy())
    assert not judgement.accepted
    assert codes(judgement) == ["NonFinitePredictions"]
    assert judgement.to_dict()["metric"]["value"] is None


def test_rejects_when_the_champions_predictions_are_not_finite():
    holdout = binary(champion_quality=2.0)
    holdout.champion[0] = np.nan
    assert codes(judge(holdout, GatePolicy())) == ["NonFinitePredictions"]


def test_cannot_say_when_a_class_is_missing():
    holdout = binary()
    one_class = dataclasses.replace(holdout, target=np.zeros(len(holdout.target), dtype=np.int64))
    judgement = judge(one_class, GatePolicy())
    assert judgement.verdict == "undecided"
    assert codes(judgement) == ["TooFewToTell", "FirstModel"]
    assert "undefined on this hold-out: no row is 'yes'" in judgement.reasons[0].message


def test_cannot_say_when_the_regressions_target_does_not_vary():
    holdout = dataclasses.replace(regression(), target=np.zeros(200))
    judgement = judge(holdout, GatePolicy())
    assert judgement.verdict == "undecided"
    assert codes(judgement) == ["UndefinedMetric", "FirstModel"]


def test_a_champion_that_could_not_be_scored_does_not_lower_the_bar():
    judgement = judge(binary(), GatePolicy(), champion_reason="SchemaChanged: it has other classes")
    assert judgement.verdict == "undecided"
    assert codes(judgement) == ["ChampionNotScored", "ThresholdMet"]
    assert "SchemaChanged" in judgement.reasons[0].message
    rejected = judge(binary(quality=0.1), GatePolicy(), champion_reason="SchemaChanged: it has other classes")
    assert rejected.verdict == "rejected"
    assert codes(rejected) == ["ThresholdMissed", "ChampionNotScored"]


def test_auto_threshold_of_accuracy_asks_more_than_guessing_the_largest_class():
    n = 100
    target = (np.arange(n) >= 90).astype(np.int64)
    guess = np.tile([0.9, 0.1], (n, 1))
    keys = np.arange(n, dtype=np.uint64)
    judgement = judge(HoldOut("binary", ("a", "b"), keys, target, guess), GatePolicy(metric="accuracy"))
    assert judgement.threshold == pytest.approx(0.91)
    assert not judgement.accepted


def test_number_as_text_sets_the_threshold():
    assert judge(binary(), GatePolicy(threshold="0.999")).accepted is False
    assert judge(binary(), GatePolicy(threshold="0.5")).accepted is True


def test_metric_without_an_auto_threshold_needs_a_number():
    with pytest.raises(InvalidSettings, match=r"'f1' has no threshold 'auto'.*number"):
        judge(binary(), GatePolicy(metric="f1"))
    assert judge(binary(), GatePolicy(metric="f1", threshold="0.5")).accepted


def test_policy_names_every_problem():
    with pytest.raises(InvalidSettings, match=r"threshold must be.*'high'.*-1.*at least 2, not 1"):
        GatePolicy(threshold="high", champion_tolerance=-1, minimum_holdout_rows=1)


def test_judgement_is_the_same_every_time():
    holdout = binary(champion_quality=2.1)
    assert judge(holdout, GatePolicy()).to_dict() == judge(holdout, GatePolicy()).to_dict()


def test_reports_slices_with_enough_rows_and_no_others():
    n = 400
    region = np.where(np.arange(n) < 390, np.arange(n) % 2, -1).astype(np.int16)
    rare = np.where(np.arange(n) < 5, 0, -1).astype(np.int16)
    holdout = binary(
        n=n,
        champion_quality=1.0,
        slices=(Slice("region", ("north", "south")), Slice("rare", ("x",))),
        slice_codes=np.stack([region, rare], axis=1),
    )
    slices = judge(holdout, GatePolicy()).slices
    assert [(s["slice"], s["label"], s["rows"]) for s in slices] == [
        ("region", "north", 195),
        ("region", "south", 195),
    ]
    assert all(0.7 < s["champion"] < s["value"] <= 1 for s in slices)


def test_interval_of_a_median_agrees_with_scipys_bootstrap():
    holdout = regression(n=120)
    mine = judge(holdout, GatePolicy(metric="median_absolute_error", threshold="9")).candidate
    errors = np.abs(holdout.target - holdout.candidate)
    theirs = stats.bootstrap((errors,), np.median, n_resamples=4000, method="percentile", rng=0)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert mine.low == pytest.approx(theirs.confidence_interval.low, abs=0.1 * width)
    assert mine.high == pytest.approx(theirs.confidence_interval.high, abs=0.1 * width)
    assert mine.deviation == pytest.approx(theirs.standard_error, rel=0.1)


def test_resamples_keep_the_size_of_every_stratum():
    strata = np.array([0] * 7 + [1] * 3)
    blocks = list(resample_weights(strata, 50, seed=3))
    weights = np.concatenate(blocks)
    assert weights.shape == (50, 10)
    assert (weights[:, :7].sum(axis=1) == 7).all()
    assert (weights[:, 7:].sum(axis=1) == 3).all()


def test_resamples_of_groups_draw_whole_groups():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    blocks = list(resample_weights(np.zeros(6, dtype=np.int64), 200, seed=3, groups=groups))
    weights = np.concatenate(blocks)
    for name in "abc":
        assert (weights[:, groups == name] == weights[:, groups == name][:, :1]).all()
    drawn = weights[:, [0, 1, 3]]
    assert (drawn.sum(axis=1) == 3).all()
    assert abs(drawn.mean(axis=0) - 1).max() < 0.2


def test_groups_of_one_row_are_rows():
    strata = np.zeros(50, dtype=np.int64)
    rows, singles = (
        np.concatenate(list(resample_weights(strata, 20, seed=3, groups=groups)))
        for groups in (None, np.arange(50))
    )
    assert (rows == singles).all()


def test_a_large_holdout_gets_fewer_resamples():
    assert resamples_for(1000, 1000) == 1000
    assert resamples_for(1_000_000, 1000) == 200


def grouped(groups, rows_each=10, seed=1):
    """Rows of one group have one target, and scores that hardly differ."""
    rng = np.random.default_rng(seed)
    holdout = binary(n=groups * rows_each)
    target = rng.permutation(np.arange(groups) % 2).repeat(rows_each)
    logit = (rng.normal(2 * target[::rows_each] - 1, 1.5)).repeat(rows_each)
    score = 1 / (1 + np.exp(-logit - rng.normal(0, 0.01, len(target))))
    candidate = np.column_stack([1 - score, score])
    return dataclasses.replace(
        holdout, target=target, candidate=candidate, group=np.arange(groups).repeat(rows_each)
    )


def test_rows_of_a_group_say_little_more_than_one_row():
    holdout = grouped(60)
    of_groups = judge(holdout, GatePolicy()).candidate
    of_rows = judge(dataclasses.replace(holdout, group=None), GatePolicy()).candidate
    once = dataclasses.replace(
        holdout,
        **{
            name: getattr(holdout, name)[::10]
            for name in ("row_key", "target", "candidate", "slice_codes")
            if getattr(holdout, name) is not None
        },
        group=None,
    )
    of_each_once = judge(once, GatePolicy()).candidate
    assert of_groups.high - of_groups.low > 2 * (of_rows.high - of_rows.low)
    assert of_groups.high - of_groups.low == pytest.approx(of_each_once.high - of_each_once.low, rel=0.25)


def test_a_hold_out_of_few_groups_decides_nothing():
    judgement = judge(grouped(29), GatePolicy())
    assert judgement.verdict == "undecided"
    assert codes(judgement) == ["TooFewToTell", "ThresholdMet", "FirstModel"]
    assert "30 groups of rows, and there are 29" in judgement.reasons[0].message
    assert judge(grouped(30), GatePolicy()).verdict == "accepted"


def packed(**changes):
    holdout = binary(n=20, champion_quality=1.0)
    arrays = {
        "row_key": holdout.row_key,
        "target": holdout.target,
        "candidate": holdout.candidate,
        "champion": holdout.champion,
        "slice_codes": np.zeros((20, 0), dtype=np.int16),
        **changes,
    }
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return file.getvalue()


REPORT = {"task": "binary", "classes": ["no", "yes"], "slices": []}


def test_holdout_reads_what_training_writes():
    holdout = HoldOut.from_npz(packed(), REPORT)
    assert holdout.champion is not None
    assert HoldOut.from_npz(packed(champion=None), REPORT).champion is None
    assert HoldOut.from_npz(packed(), REPORT).group is None, "as every release before groups wrote it"
    groups = HoldOut.from_npz(packed(group=np.arange(20) // 2), REPORT).group
    assert groups is not None
    assert len(set(groups.tolist())) == 10


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no archive", "can't be read"),
        (packed()[:-40], "can't be read"),
        (packed(row_key=None), "row_key"),
        (packed(candidate=np.ones((20, 3))), "candidate is float64"),
        (packed(champion=np.ones((19, 2))), "champion is float64"),
        (packed(target=np.full(20, 2)), "codes outside 0..1"),
        (packed(row_key=np.zeros(20, dtype=np.uint64)), "twice"),
        (packed(group=np.zeros(19, dtype=np.int64)), "group is int64"),
        (packed(target=np.array([{}] * 20, dtype=object)), "can't be read"),
    ],
)
def test_holdout_refuses_what_training_does_not_write(data, message):
    with pytest.raises(InvalidTrainingOutput, match=message):
        HoldOut.from_npz(data, REPORT)


@pytest.mark.parametrize(
    ("rows", "right", "threshold", "message"),
    [
        (10_000, 8_999, "0.9", "accuracy 0.8999 is below the threshold 0.9."),
        (10_000, 9_001, "0.9", "accuracy 0.9001 meets the threshold 0.9."),
        (10_000, 9_000, "0.9", "accuracy 0.9 meets the threshold 0.9."),
    ],
)
def test_figures_say_on_which_side_of_the_threshold_the_value_is(rows, right, threshold, message):
    target = np.arange(rows) % 2
    label = np.where(np.arange(rows) < right, target, 1 - target)
    scores = np.eye(2)[label]
    holdout = HoldOut("binary", ("no", "yes"), np.arange(rows, dtype=np.uint64), target, scores)
    judgement = judge(holdout, GatePolicy(metric="accuracy", threshold=threshold, resamples=100))
    assert judgement.reasons[0].message == message


def test_large_errors_are_written_plainly_and_told_apart_from_the_threshold():
    target = np.zeros(100)
    target[:50] = 1.0
    holdout = HoldOut("regression", None, np.arange(100, dtype=np.uint64), target, target + 51234.3)
    judgement = judge(holdout, GatePolicy(metric="rmse", threshold="51234"))
    assert judgement.reasons[0].message == "rmse 51,234.3 is above the threshold 51,234."


def test_a_value_of_exactly_the_threshold_meets_it_whatever_float64_makes_of_it():
    # 0.9 + 0.1 * 0.1 is not the float64 of 91 in 100.
    target = np.array([0] * 9000 + [1] * 1000)
    label = target.copy()
    label[:900] = 1
    holdout = HoldOut("binary", ("no", "yes"), np.arange(10_000, dtype=np.uint64), target, np.eye(2)[label])
    judgement = judge(holdout, GatePolicy(metric="accuracy", resamples=100))
    assert judgement.candidate.value == 0.91
    assert codes(judgement) == ["ThresholdMet", "FirstModel"]


def test_the_class_that_is_looked_for_is_the_one_that_precision_and_recall_are_measured_for():
    target = np.array([0] * 40 + [1] * 360)
    label = target.copy()
    label[:10] = 1
    label[100:105] = 0
    keys = np.arange(400, dtype=np.uint64)
    holdout = HoldOut("binary", ("fraud", "legit"), keys, target, np.eye(2)[label], np.eye(2)[label])
    policy = GatePolicy(metric="recall", threshold="0.7", positive_class="fraud")
    judgement = judge(holdout.with_positive("fraud"), policy)
    assert judgement.positive_class == "fraud"
    assert judgement.candidate.value == 30 / 40
    assert judgement.metrics["precision"].value == 30 / 35
    assert judgement.reasons[0].message == "recall of 'fraud' 0.75 meets the threshold 0.7."
    assert judgement.to_dict()["metric"]["positive_class"] == "fraud"
    assert judge(holdout, policy).candidate.value == 355 / 360
    assert judge(holdout, policy).positive_class == "legit"


def test_metrics_of_both_classes_are_the_same_whichever_is_looked_for():
    one = binary(champion_quality=1.0)
    other = one.with_positive("no")
    mine, theirs = (judge(each, GatePolicy()).metrics for each in (one, other))
    for name in ("auc", "accuracy", "balanced_accuracy", "log_loss", "brier"):
        assert mine[name].value == pytest.approx(theirs[name].value)
    assert one.with_positive(None) is one.with_positive("yes") is one
    with pytest.raises(InvalidSettings, match=r"PositiveClass is 'maybe'.*no, yes"):
        one.with_positive("maybe")
    with pytest.raises(InvalidSettings, match="regression"):
        regression().with_positive("yes")


def test_a_constant_legit_is_no_better_than_chance_beside_one_percent_fraud():
    target = np.array([0] * 10 + [1] * 990)
    constant = np.tile([0.01, 0.99], (1000, 1))
    keys = np.arange(1000, dtype=np.uint64)
    holdout = HoldOut("binary", ("fraud", "legit"), keys, target, constant)
    judgement = judge(holdout, GatePolicy(metric="f1", threshold="0.8"))
    assert judgement.verdict == "rejected"
    assert codes(judgement) == ["NotAboveChance"]
    assert "f1 of 'legit'" in judgement.reasons[0].message
    looked_for = judge(holdout.with_positive("fraud"), GatePolicy(metric="f1", threshold="0.8"))
    assert looked_for.reasons[0].message == "f1 of 'fraud' 0 is below the threshold 0.8."


def decided(value, goal, *, reached=True, **more):
    choice = Choice(100, 50, "validation", 0.8, 0.8, None, reached=reached)
    threshold = DecisionThreshold("yes", value, goal, choice)
    return judge(binary(threshold=threshold, **more), GatePolicy())


def test_a_minimum_that_no_threshold_reached_is_refused_with_what_was_reached():
    judgement = decided(0.9, Goal(minimum_precision=0.99), reached=False)
    assert codes(judgement) == ["MinimumNotReached"]
    assert "a precision of 0.99 for 'yes'" in judgement.reasons[0].message
    assert "0.9, has a precision of 0.8 and a recall of 0.8" in judgement.reasons[0].message


def test_a_minimum_that_the_hold_out_contradicts_beyond_chance_is_refused():
    judgement = decided(0.01, Goal(minimum_precision=0.9))
    assert codes(judgement) == ["MinimumMissed"]
    assert "below the minimum of 0.9, beyond chance" in judgement.reasons[0].message
    assert decided(0.01, Goal(minimum_recall=0.95)).accepted
    assert codes(decided(0.99, Goal(minimum_recall=0.95))) == ["MinimumMissed"]


def test_a_minimum_that_chance_may_explain_is_not_held_against_the_candidate():
    precision = decided(0.5, Goal(minimum_precision=0.5)).decision.chosen.precision
    assert precision.low < precision.value < precision.high
    assert decided(0.5, Goal(minimum_precision=(precision.value + precision.high) / 2)).accepted


def test_costs_of_grouped_rows_need_enough_groups():
    goal, keys = Goal(1, 5), np.arange(400)
    told = decided(0.2, goal, group=keys // 10).decision
    assert told.chosen.cost.is_told
    assert told.saving.is_told
    few = decided(0.2, goal, group=keys // 40).decision
    assert not few.chosen.cost.is_told
    assert few.chosen.cost.value == told.chosen.cost.value


def test_what_a_threshold_costs_is_within_its_interval_as_often_as_it_says():
    """Few and dear errors: a rare class of which some rows are missed."""
    rng, goal, covered, saved = np.random.default_rng(5), Goal(1, 40), 0, 0
    choice = Choice(100, 50, "validation", 0.8, 0.8, None, reached=True)
    threshold = DecisionThreshold("yes", 0.05, goal, choice)

    def drawn(n):
        score = rng.normal(size=n) * 1.5
        chance = 1 / (1 + 60 * np.exp(-score))
        target = (rng.random(n) < chance).astype(np.int64)
        return HoldOut(
            "binary", ("no", "yes"), np.arange(n, dtype=np.uint64), target,
            np.stack([1 - chance, chance], axis=1), threshold=threshold,
        )  # fmt: skip

    truth = costs_of(drawn(1_000_000), 100, 0)
    for _ in range(300):
        found = costs_of(drawn(400), 100, 0)
        covered += found.chosen.cost.low <= truth.chosen.cost.value <= found.chosen.cost.high
        saved += found.saving.low <= truth.saving.value <= found.saving.high
    assert stats.binomtest(covered, 300, 0.95, "less").pvalue > 0.01
    assert stats.binomtest(saved, 300, 0.95, "less").pvalue > 0.01
