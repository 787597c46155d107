"""What can't be looked for, or decided by, is told before anything is trained."""

from __future__ import annotations

import json
import random

import pytest
from tests.unit.preparation.dropping import prepare

from dropforge.domain.errors import InvalidDecisionGoal, UnknownPositiveClass


def table(of) -> bytes:
    rng = random.Random(1)  # noqa: S311 - a sample
    rows = [f"{rng.random():.4f},{of(number)}" for number in range(300)]
    return ("\n".join(["x,y", *rows]) + "\n").encode()


def test_one_of_two_classes_may_be_looked_for():
    outcome = prepare(table(lambda number: "fraud" if number % 3 == 0 else "legit"), positive="fraud")
    assert outcome.contract.classes == ("fraud", "legit")


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (lambda number: "fraud" if number % 3 == 0 else "legit", r"binary .* are 'fraud', 'legit'"),
        (lambda number: "abc"[number % 3], "multiclass .* are 'a', 'b', 'c'"),
        (lambda number: number * 1.5, "regression .* are none, because it is a number"),
    ],
)
def test_a_class_that_is_not_there_ends_the_run_before_anything_is_trained(of, said):
    with pytest.raises(UnknownPositiveClass, match=f"PositiveClass is 'Fraud', but the task is {said}"):
        prepare(table(of), positive="Fraud")


def two_classes(number):
    return "fraud" if number % 3 == 0 else "legit"


def test_a_decision_threshold_is_asked_of_the_training_job():
    outcome = prepare(table(two_classes), positive="fraud", false_positive_cost=1.0, false_negative_cost=20.0)
    asked = json.loads(outcome.prepared.to_dict()["decision_goal"])
    assert asked == {"positive_class": "fraud", "false_positive_cost": 1.0, "false_negative_cost": 20.0}
    assert "decision_goal" not in prepare(table(two_classes), positive="fraud").prepared.to_dict()


@pytest.mark.parametrize(
    ("of", "task"),
    [(lambda number: "abc"[number % 3], "multiclass"), (lambda number: number * 1.5, "regression")],
)
def test_a_decision_threshold_of_other_than_two_classes_ends_the_run(of, task):
    with pytest.raises(InvalidDecisionGoal, match=f"needs two classes, but the task of 'y' is {task}"):
        prepare(table(of), minimum_recall=0.9)


def test_what_contradicts_itself_ends_the_run_before_any_data_is_read():
    with pytest.raises(InvalidDecisionGoal, match="FalseNegativeCost isn't; set both"):
        prepare(b"", false_positive_cost=1.0)
