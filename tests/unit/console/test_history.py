"""Which versions the chart of the metric shows."""

from __future__ import annotations

from typing import Any

from tests.fakes.records import a_pointer, a_version
from tests.unit.console.test_model_review import ReadLedger

from dropforge_ops.console.reading.history import SHOWN, history_of, read_history

AUC = {"name": "auc", "low": 0.8, "high": 0.99, "threshold": 0.7}


def versions(*values: float | None, **metric: Any) -> list[Any]:
    """The newest first, numbered from 1."""
    found = [
        a_version(number, metric={**AUC, **metric, "value": value})
        for number, value in enumerate(values, start=1)
    ]
    return found[::-1]


def test_versions_are_in_order_with_their_intervals_and_the_live_one() -> None:
    found = history_of(versions(0.9, 0.91, 0.95), 2)
    assert found is not None
    assert [(each.version, each.span.value) for each in found.points] == [(1, 0.9), (2, 0.91), (3, 0.95)]
    assert (found.live, found.threshold, found.note) == (2, 0.7, "")
    assert found.points[0].span.low == 0.8
    assert found.in_words == (
        "auc of 3 versions with 95 % intervals: version 1 0.9, version 3 0.95; live is version 2, 0.91"
    )


def test_of_hundreds_the_newest_are_shown_and_the_rest_is_counted() -> None:
    found = history_of(versions(*[0.9] * 200), 1)
    assert found is not None
    assert (len(found.points), found.points[-1].version, found.live) == (SHOWN, 200, None)
    assert found.note == f"{200 - SHOWN} earlier versions are not shown."


def test_versions_that_were_judged_by_another_metric_or_for_another_class_are_left_out() -> None:
    models = [
        a_version(4, metric={**AUC, "name": "f1", "positive_class": "fraud", "value": 0.8}),
        a_version(3, metric={**AUC, "name": "f1", "positive_class": "legit", "value": 0.9}),
        a_version(2, metric={**AUC, "name": "f1", "positive_class": "fraud", "value": 0.7}),
        a_version(1, metric={**AUC, "value": 0.95}),
    ]
    found = history_of(models, 4)
    assert found is not None
    assert found.title == "f1 of 'fraud'"
    assert [each.version for each in found.points] == [2, 4]
    assert found.note == "2 versions are not shown: judged by another metric."


def test_another_positive_class_makes_no_other_auc() -> None:
    models = [
        a_version(2, metric={**AUC, "positive_class": "yes", "value": 0.9}),
        a_version(1, metric={**AUC, "value": 0.8}),
    ]
    found = history_of(models, None)
    assert found is not None
    assert len(found.points) == 2


def test_one_version_is_no_history() -> None:
    assert history_of([], None) is None
    assert history_of(versions(0.9), 1) is None
    assert history_of(versions(None, 0.9), 1) is None


def test_the_overview_reads_the_live_version_and_the_newest_ones() -> None:
    class Counting(ReadLedger):
        def list_models(self, limit: int | None = None) -> list[Any]:
            return super().list_models()[:limit]

    found = read_history(Counting(versions(*[0.9] * 30), a_pointer(a_version(30), token=1)))  # type: ignore[arg-type]
    assert found is not None
    assert (len(found.points), found.live) == (20, 30)
