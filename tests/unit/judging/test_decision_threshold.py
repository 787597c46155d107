"""Which probability is enough to call a row positive: chosen, stored, applied."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropforge.domain.compiled import TOLERANCE
from dropforge.domain.decision_goal import Goal, Wish
from dropforge.domain.decision_threshold import (
    FILE_NAME,
    LEAST_GAP,
    Choice,
    DecisionThreshold,
    choose,
    operating_points,
)
from dropforge.domain.errors import InvalidDecisionGoal, InvalidModel

COSTS = Goal(1, 50)
CHOICE = Choice(10, 1, "validation", 0.5, 1.0, 12.0, reached=True)
CLASSES = ("fraud", "legit")


def threshold_at(value, positive="fraud", goal=COSTS):
    return DecisionThreshold(positive, value, goal, CHOICE)


def rows(n=4000, share=0.05, seed=1, strength=2.0):
    """Rows of a rare class with the probabilities that are right for them."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=n) * strength
    probability = share / (share + (1 - share) * np.exp(-score + strength**2 / 2))
    return probability, rng.random(n) < probability


def cost(goal, threshold, scores, positive):
    called = scores >= threshold - TOLERANCE
    return goal.cost_of(int((called & ~positive).sum()), int((positive & ~called).sum()))


@pytest.mark.parametrize("goal", [Goal(1, 50), Goal(1, 5), Goal(20, 1)])
def test_right_probabilities_are_cut_where_the_costs_say(goal):
    scores, positive = rows()
    found = choose(goal, "fraud", scores, positive, "validation")
    assert found.value == goal.false_positive_cost / (goal.false_positive_cost + goal.false_negative_cost)
    assert found.choice.cost_per_1000 == pytest.approx(cost(goal, found.value, scores, positive) / 4)
    assert cost(goal, found.value, scores, positive) < cost(goal, 0.5, scores, positive)


def test_wrong_probabilities_are_cut_where_it_costs_less():
    scores, positive = rows()
    found = choose(Goal(1, 20), "fraud", scores**3, positive, "validation")
    assert found.value < 0.01
    assert cost(COSTS, found.value, scores**3, positive) < cost(COSTS, 1 / 21, scores**3, positive)


def test_a_cheaper_threshold_that_may_be_luck_is_not_taken():
    scores = np.array([0.01, 0.02, 0.03, 0.9, 0.95] * 4)
    positive = np.array([False, False, True, True, True] + [False, False, False, True, True] * 3)
    assert choose(COSTS, "fraud", scores, positive, "validation").value == COSTS.expected_threshold


def brute_minima(goal, scores, positive):
    """Every cut between distinct scores, as (meets the minima, recall, precision)."""
    for cut in [0.0, *np.unique(scores)]:
        called = scores >= cut
        hits = (called & positive).sum()
        precision, recall = hits / max(called.sum(), 1), hits / positive.sum()
        meets = precision >= (goal.minimum_precision or 0) and recall >= (goal.minimum_recall or 0)
        yield meets, recall, precision


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize(
    ("goal", "of"),
    [
        (Goal(minimum_precision=0.5), lambda recall, precision: (recall, precision)),
        (Goal(minimum_recall=0.6), lambda recall, precision: (precision, recall)),
        (
            Goal(minimum_precision=0.3, minimum_recall=0.3),
            lambda recall, precision: (2 * precision * recall / (precision + recall),),
        ),
    ],
)
def test_minima_are_met_with_the_best_of_what_they_leave(goal, of, coarse):
    scores, positive = rows(n=600, share=0.2)
    scores = np.round(scores, 1) if coarse else scores
    found = choose(goal, "fraud", scores, positive, "out-of-fold")
    best = max(
        of(recall, precision) for meets, recall, precision in brute_minima(goal, scores, positive) if meets
    )
    assert found.choice.reached
    assert of(found.choice.recall, found.choice.precision) == pytest.approx(best)


def test_minima_that_no_threshold_meets_are_said_to_be_missed():
    scores, positive = rows(n=600, share=0.2, strength=0.5)
    goal = Goal(minimum_precision=0.9, minimum_recall=0.9)
    found = choose(goal, "fraud", scores, positive, "validation").choice
    assert not found.reached
    assert max(0.9 - found.precision, 0.9 - found.recall) == pytest.approx(
        min(max(0.9 - p, 0.9 - r) for _, r, p in brute_minima(goal, scores, positive))
    )


SCORES = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.25, 0.25 + 1e-10, 1.0])), max_size=40)


@given(SCORES, st.integers(0, 2**40))
def test_operating_points_count_as_the_label_rule_does(scores, bits):
    scores = np.array(scores, dtype=np.float64)
    positive = np.array([bits >> place & 1 for place in range(len(scores))], dtype=bool)
    thresholds, called, hits = operating_points(scores, positive)
    assert (thresholds[0], called[0]) == (0, len(scores))
    assert (np.diff(thresholds) > 0).all()
    assert thresholds[-1] <= 1
    for value, count, hit in zip(thresholds, called, hits, strict=True):
        reached = scores >= value - TOLERANCE
        assert (reached.sum(), (reached & positive).sum()) == (count, hit)
        assert not (np.abs(scores - value) < LEAST_GAP / 4)[value > 0].any() or value == 0


@given(
    st.floats(0, 1),
    st.sampled_from(CLASSES),
    st.lists(st.floats(-TOLERANCE / 4, TOLERANCE / 4), min_size=1, max_size=20),
)
def test_scores_at_the_threshold_get_one_label_whichever_form_scored_them(value, positive, errors):
    """The two forms of a model differ by rounding: at the threshold itself as anywhere."""
    threshold = threshold_at(value, positive)
    exact = np.clip(value + np.zeros(len(errors)), 0, 1)
    other = np.clip(value + np.array(errors), 0, 1)
    code = CLASSES.index(positive)
    for scores in (exact, other):
        both = np.stack([scores, 1 - scores], axis=1)
        both = both if code == 0 else both[:, ::-1]
        assert (threshold.labels(CLASSES, both) == code).all()


def test_labels_are_of_the_class_that_is_looked_for_whatever_its_code():
    scores = np.array([[0.1, 0.9], [0.3, 0.7], [0.8, 0.2]])
    assert threshold_at(0.3).labels(CLASSES, scores).tolist() == [1, 0, 0]
    assert threshold_at(0.3, "legit").labels(CLASSES, scores).tolist() == [1, 1, 0]
    assert threshold_at(0.3).labels(CLASSES[::-1], scores[:, ::-1]).tolist() == [0, 1, 1]


def test_a_threshold_is_read_as_it_was_written(tmp_path):
    assert DecisionThreshold.read(tmp_path, CLASSES) is None
    written = threshold_at(0.0625)
    (tmp_path / FILE_NAME).write_text(json.dumps(written.to_dict()))
    assert DecisionThreshold.read(tmp_path, CLASSES) == written


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2"),
        ({"threshold": 1.5}, "no probability"),
        ({"threshold": float("nan")}, "no probability"),
        ({"threshold": None}, "can't be read"),
        ({"positive_class": "maybe"}, "none of two"),
        ({"goal": {"false_positive_cost": 1.0}}, "can't be read"),
    ],
)
def test_a_threshold_that_is_none_is_refused(tmp_path, change, said):
    (tmp_path / FILE_NAME).write_text(json.dumps({**threshold_at(0.1).to_dict(), **change}))
    with pytest.raises(InvalidModel, match=said):
        DecisionThreshold.read(tmp_path, CLASSES)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.0, 5.0, None, None), "FalsePositiveCost is 0; it must be above 0"),
        ((1.0, float("inf"), None, None), "FalseNegativeCost is inf"),
        ((1.0, None, None, None), "FalsePositiveCost is set and FalseNegativeCost isn't"),
        ((None, 1.0, None, None), "FalseNegativeCost is set and FalsePositiveCost isn't"),
        ((1.0, 5.0, 0.9, None), "FalsePositiveCost and FalseNegativeCost and MinimumPrecision are set"),
        ((None, None, 1.5, None), "MinimumPrecision is 1.5"),
        ((None, None, 0.9, 0.0), "MinimumRecall is 0; it must be above 0 and at most 1"),
        (
            (0.0, None, 2.0, None),
            "FalsePositiveCost is 0.*MinimumPrecision is 2.*isn't.*by costs or by minima",
        ),
    ],
)
def test_a_goal_that_contradicts_itself_is_refused_with_all_that_is_wrong(values, said):
    with pytest.raises(InvalidDecisionGoal, match=said):
        Goal.of(*values)


def test_nothing_set_is_no_goal():
    assert Goal.of(None, None, None, None) is None


@pytest.mark.parametrize("positive", [None, "it's <50 €"])
def test_a_wish_travels_as_text(positive):
    wish = Wish(Goal(minimum_recall=0.8), positive)
    assert Wish.from_json(wish.to_json()) == wish


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"positive_class": null}', '{"positive_class": null, "x": 1}']
)
def test_text_that_is_no_wish_is_refused(text):
    with pytest.raises(InvalidDecisionGoal):
        Wish.from_json(text)
