from __future__ import annotations

import doctest

from dropforge_ops.console.reading import drift, wording
from dropforge_ops.console.reading.drift import Quality
from dropforge_ops.console.reading.wording import quality_in_words, signed


def test_the_examples_in_the_text_hold():
    assert doctest.testmod(wording).failed == 0
    assert doctest.testmod(drift).failed == 0


def test_gains_have_a_sign_as_wide_as_a_plus():
    assert signed(-0.00012) == "−0.00012"
    assert signed(None) == "–"


def quality(**changes) -> Quality:
    fields = {
        "metric": "auc",
        "verdict": "steady",
        "predictions": 200,
        "labelled": 80,
        "live": 0.81,
        "low": 0.7,
        "high": 0.9,
        "holdout": 0.82,
        "threshold": 0.7,
    }
    return Quality(**{**fields, **changes})


def test_live_quality_is_told_with_how_much_is_known():
    assert "80 of 200 predictions is known" in quality_in_words(quality())
    assert "no loss beyond chance" in quality_in_words(quality())
    assert "a loss beyond chance" in quality_in_words(quality(verdict="degraded"))
    few = quality_in_words(quality(verdict="not_enough_data", live=None, labelled=3))
    assert "too few to measure auc" in few
    assert "dropforge outcome" in few.replace("\n", " ")
    assert quality_in_words(None) == "There are no predictions to measure."
