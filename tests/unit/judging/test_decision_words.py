"""How a decision threshold is told."""

from __future__ import annotations

from dropforge.domain.decision_words import decision_in_words

SPAN = {"value": 0.4, "low": 0.3, "high": 0.5}
NONE = {"value": None, "low": None, "high": None}


def told(precision, recall):
    argmax = {"cost_per_1000": None, "precision": precision, "recall": recall}
    chosen = {"cost_per_1000": None, "precision": SPAN, "recall": SPAN}
    return decision_in_words({"positive_class": "yes", "threshold": 0.1, "chosen": chosen, "argmax": argmax})[
        -1
    ]


def test_what_the_likelier_class_would_reach_is_told_beside_it():
    text = told({**SPAN, "value": 0.75}, {**SPAN, "value": 0.25})
    assert text.endswith("With the likelier class as the label they would be 0.75 and 0.25.")


def test_a_likelier_class_that_is_never_the_positive_one_is_told_in_words():
    text = told(NONE, {"value": 0.0, "low": 0.0, "high": 0.0})
    assert text.endswith("With the likelier class as the label no row would be called 'yes'.")
