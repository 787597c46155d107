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


def test_reviewers_are_told_what_it_saves_and_what_the_live_models_labels_cost():
    found = decision()
    costs = {"value": 154.0, "low": 103.0, "high": 271.0}
    found["chosen"] = {**found["chosen"], "cost_per_1000": costs}
    found["argmax"] = {**found["argmax"], "cost_per_1000": {**costs, "value": 404.5}}
    found["saving_per_1000"] = {"value": 250.5, "low": 98.0, "high": 451.0}
    found["champion"] = found["chosen"]
    said = decision_in_words(found)
    assert said[-2:] == [
        "On the same rows that saves 250.5 [98, 451].",
        "The live model's labels cost 154 [103, 271] there.",
    ]
    found["champion"] = None
    found["saving_per_1000"] = {"value": -26.5, "low": -151.5, "high": 106.0}
    assert decision_in_words(found)[-1] == "On the same rows that costs 26.5 [-106, 151.5] more."
    found["saving_per_1000"] = {"value": -26.5, "low": None, "high": None}
    assert decision_in_words(found)[-1] == "On the same rows that costs 26.5 more."
    assert decision_in_words({**found, "saving_per_1000": None, "champion": None})[-1].startswith(
        "Errors cost"
    )


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
