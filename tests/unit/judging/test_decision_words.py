"""How a decision threshold is told."""

from __future__ import annotations

import pytest

from dropforge.domain.decision_words import decision_in_words, few_positives

SPAN = {"value": 0.4, "low": 0.3, "high": 0.5}
NONE = {"value": None, "low": None, "high": None}


def decision(precision=SPAN, recall=SPAN, rows=812, positives=31, source="validation"):
    return {
        "positive_class": "yes",
        "threshold": 0.1,
        "chosen": {"cost_per_1000": None, "precision": SPAN, "recall": SPAN},
        "argmax": {"cost_per_1000": None, "precision": precision, "recall": recall},
        "chosen_on": {"rows": rows, "positives": positives, "source": source},
    }


def told(precision, recall):
    return decision_in_words(decision(precision, recall))[-1]


def test_what_the_likelier_class_would_reach_is_told_beside_it():
    text = told({**SPAN, "value": 0.75}, {**SPAN, "value": 0.25})
    assert text.endswith("With the likelier class as the label they would be 0.75 and 0.25.")


def test_a_likelier_class_that_is_never_the_positive_one_is_told_in_words():
    text = told(NONE, {"value": 0.0, "low": 0.0, "high": 0.0})
    assert text.endswith("With the likelier class as the label no row would be called 'yes'.")


@pytest.mark.parametrize(
    ("positives", "counted"),
    [
        (31, "31 of them are 'yes'"),
        (1, "1 of them is 'yes'"),
        (0, "none of them is 'yes'"),
        (800, "12 of them are not 'yes'"),
    ],
)
def test_reviewers_are_told_on_how_many_rows_of_the_rarer_class_it_was_chosen(positives, counted):
    text = decision_in_words(decision(positives=positives))[1]
    assert text == f"That was chosen on 812 validation rows; {counted}."


def test_rows_that_were_scored_out_of_fold_are_told_as_such():
    text = decision_in_words(decision(rows=5120, source="out-of-fold"))[1]
    assert text.startswith(
        "That was chosen on 5,120 training and validation rows, each scored by a model that "
    )


def test_a_threshold_of_few_rows_of_a_class_is_known_roughly():
    assert few_positives(decision(positives=30)) is None
    assert few_positives(decision(positives=29)).startswith("The decision threshold was chosen on 29 rows of")
    assert few_positives(decision(positives=811)).startswith("The decision threshold was chosen on 1 row of")
