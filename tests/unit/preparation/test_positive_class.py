"""A class to look for that isn't there is told before anything is trained."""

from __future__ import annotations

import random

import pytest
from tests.unit.preparation.dropping import prepare

from dropforge.domain.errors import UnknownPositiveClass


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
