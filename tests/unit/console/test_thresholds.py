"""What the console makes of the counts that the judge kept of every threshold."""

from __future__ import annotations

import pytest
from tests.unit.judging.test_diagnostics import decided, multiclass

from dropforge.domain.decision_costs import decided as measured
from dropforge.domain.diagnostics import diagnostics
from dropforge_ops.console.reading.thresholds import OperatingPoints


def test_the_models_own_threshold_comes_to_what_the_judgement_says():
    holdout = decided(0.21, n=3000)
    found = OperatingPoints.of(diagnostics(holdout, {})["candidate"])
    own, decision = found.points[found.own], measured(holdout, 100, 0)
    assert own.threshold == 0.21
    assert own.precision == pytest.approx(decision.chosen.precision.value)
    assert own.recall == pytest.approx(decision.chosen.recall.value)
    assert own.cost_per_1000(1, 5) == pytest.approx(decision.chosen.cost.value)
    likelier = found.points[found.likelier]
    assert likelier.threshold == 0.5
    assert likelier.cost_per_1000(1, 5) == pytest.approx(decision.argmax.cost.value)
    assert {each.rows for each in found.points} == {3000}


def test_the_curve_goes_from_few_found_to_all_found():
    found = OperatingPoints.of(diagnostics(decided(0.5), {})["candidate"])
    recalls = [recall for recall, _ in found.curve]
    assert recalls == sorted(recalls)
    assert found.curve[-1] == [1.0, 0.5]
    assert found.points[-1].precision is None, "none is called at the highest"


def test_other_tasks_and_earlier_releases_have_none():
    assert OperatingPoints.of(diagnostics(multiclass(), {})["candidate"]) is None
    assert OperatingPoints.of({"roc": []}) is None
    assert OperatingPoints.of(None) is None
