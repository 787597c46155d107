from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.fakes.records import a_pointer, a_run, a_version
from tests.unit.console.stored import StoredS3
from tests.unit.judging.test_judge_model_use_case import CHAMPION, guarded, request, store_with

from dropforge.application.judge_model import judge_model
from dropforge.domain.records import Approval, RunStatus
from dropforge_ops.console.reading.models import (
    BETTER,
    DELETED,
    EVEN,
    WORSE,
    Judged,
    Span,
    Versions,
    read_refused,
    read_review,
    read_standing,
    read_versions,
)
from dropforge_ops.console.reading.wording import difference_in_words, headline, interval_in_words
from dropforge_ops.errors import NotFound

SCORED = {"scored": True, "reason": None, "sha256": "c" * 64}


class ReadLedger:
    """The reads of a ledger that holds these records."""

    def __init__(self, models=(), live=None, runs=()):
        self.all, self.pointer, self.listed = list(models), live, list(runs)

    def list_models(self):
        return sorted(self.all, key=lambda each: -each.version)

    def get_model(self, version):
        return next((each for each in self.all if each.version == version), None)

    def live(self):
        return self.pointer

    def list_runs(self, limit):
        return self.listed[:limit]

    def get_run(self, run_id):
        return next((each for each in self.listed if each.run_id == run_id), None)

    def history(self, version):
        return []


class Registry:
    status = "PendingManualApproval"

    def describe_model_package(self, *, ModelPackageName: str) -> dict[str, Any]:
        return {"ModelApprovalStatus": self.status}


def judged(**output):
    """A bucket in which a candidate was judged, and the version that was registered for it."""
    champion = output.get("champion")
    store = store_with(**output)
    answer = judge_model(request(champion=CHAMPION if champion else None), store)
    report = {
        "rows": {"read": 10, "kept": 8, "rejected": 2, "duplicates": 0},
        "splits": {"train": {"rows": 6}},
        "rejects": [
            {"rule": "not_a_number", "column": "age", "count": 2, "examples": [{"value": "old", "row": 3}]}
        ],
    }
    profile = {
        "format": 1,
        "rows": 8,
        "columns": [
            {"name": "age", "type": "number", "role": "feature", "count": 6, "missing": 2, "distinct": 5,
             "distinct_exact": True, "minimum": 1.0, "maximum": 9.0, "mean": 5.0,
             "quantiles": [1.0, 4.0, 9.0], "cumulative": [4, 5, 6]},
            {"name": "ward", "type": "category", "role": "feature", "count": 8, "missing": 0, "distinct": 2,
             "distinct_exact": True, "categories": [{"value": "a", "count": 6}, {"value": "b", "count": 2}],
             "other": 0},
        ],
    }  # fmt: skip
    store.write("s3://data/runs/run-1/report.json", json.dumps(report).encode())
    store.write("s3://data/runs/run-1/profile.json", json.dumps(profile).encode())
    uris = {name: answer[name] for name in ("judgement_uri", "judgement_sha256", "diagnostics_uri")}
    return store, a_version(2, run_id="run-1", **uris)


def review(store, model, **ledger):
    s3 = StoredS3(store)
    return read_review("2", ReadLedger([model], **ledger), s3.documents)


def test_a_review_has_every_metric_of_both_models_the_deciding_one_first():
    found = review(*judged(champion=SCORED))
    first, *others = found.verdict.metrics
    assert (first.name, first.decides) == ("auc", True)
    assert {row.name for row in others} >= {"accuracy", "brier", "log_loss"}
    assert all(row.champion is not None and row.difference is not None for row in found.verdict.metrics)
    assert found.diagnostics["champion"]["roc"]
    assert found.shown.judgement.sha256 == found.model.judgement_sha256


def test_guarded_slices_are_told_apart_from_those_that_are_only_shown():
    only_shown = {"name": "bed", "labels": ["x", "y", "z"]}
    found = review(*judged(champion=SCORED, strength=2.2, slices=[guarded(), only_shown]))
    assert [(each.column, each.is_guarded, each.verdict) for each in found.verdict.slices] == [
        *[("ward", True, "holds")] * 3,
        *[("bed", False, None)] * 3,
    ]
    guard = found.verdict.guard
    assert (guard.compared, guard.too_small) == (3, "report")
    assert guard.columns[0].disparity["candidate"]["equalized_odds_ratio"] <= 1


def test_a_first_model_has_nothing_to_be_compared_with():
    found = review(*judged())
    assert found.verdict.champion_version is None
    assert all(row.difference is None for row in found.verdict.metrics)
    assert "first model" in headline(found.verdict)
    assert difference_in_words(found.verdict.deciding, None) == ""
    assert "rows that the model has not learned from" in interval_in_words(found.verdict)


def test_rows_and_columns_are_told_as_they_were_prepared():
    found = review(*judged())
    [reason] = found.data.rejected
    assert (reason.column, reason.rule, reason.count) == ("age", "not a number", 2)
    assert reason.examples == "'old' (row 3)"
    age, ward = found.data.columns
    assert age.report.missing_share == 0.25
    assert age.spread == "1 to 9, median 1", "four of its six values are 1"
    assert (sum(age.bars), ward.bars) == (6, (6, 2))
    assert ward.spread == "a 75 %, b 25 %"


def test_curves_that_were_changed_after_judging_are_not_shown():
    store, model = judged()
    store.write(model.diagnostics_uri, b'{"candidate": {}}')
    found = review(store, model)
    assert found.diagnostics is None
    assert "was changed after the model was judged" in found.diagnostics_problem


def test_a_version_from_before_curves_were_kept_still_has_its_verdict():
    store, model = judged(champion=SCORED)
    content = json.loads(store.read(model.judgement_uri))
    for name in ("compared", "diagnostics_sha256"):
        content.pop(name)
    store.write(model.judgement_uri, json.dumps(content).encode())
    found = review(store, model)
    assert "judged before curves were kept" in found.diagnostics_problem
    [row] = found.verdict.metrics
    assert row.decides
    assert row.difference.value == content["difference"]["value"]


def test_a_refused_candidate_is_reviewed_by_its_run():
    store, _ = judged(champion=SCORED, strength=0.5)
    found = read_refused("run-1", "data", ReadLedger(), StoredS3(store).documents)
    assert found.verdict.verdict == "rejected"
    assert found.model is None
    assert headline(found.verdict) == f"The gate refused this candidate: {' '.join(found.verdict.reasons)}"
    assert "Worse than version" in difference_in_words(found.verdict.deciding, found.verdict.champion_version)
    with pytest.raises(NotFound, match="left no judgement"):
        read_refused("run-9", "data", ReadLedger(), StoredS3(store).documents)


def test_a_candidate_of_which_the_gate_cannot_say_is_put_to_the_reviewer():
    champion = {**SCORED, "scored": False, "reason": "SchemaChanged: other classes"}
    found = review(*judged(champion=champion))
    assert found.verdict.verdict == "undecided"
    said = headline(found.verdict)
    assert said.startswith("The gate can't say")
    assert "SchemaChanged: other classes" in said
    assert "takes a reason" in said


def test_standing_follows_ledger_and_registry_but_keeps_the_metrics_that_were_shown():
    store, model = judged()
    shown = review(store, model).shown
    registry = Registry()
    registry.status = "Approved"
    approved = replace(model, approval=Approval.APPROVED)
    earlier = a_version(1, approval=Approval.APPROVED, promoted_at="2026-01-01T00:00:00.000Z")
    ledger = ReadLedger([approved, earlier], live=a_pointer(approved, token=2))
    standing = read_standing(shown, ledger, registry)
    assert standing.shown.judgement is shown.judgement
    assert (standing.model.approval, standing.shown.registry_status) == (Approval.APPROVED, "Approved")
    assert standing.fallback == earlier
    with pytest.raises(NotFound, match="no version 2 any more"):
        read_standing(shown, ReadLedger(), registry)


def test_a_version_whose_package_was_deleted_can_still_be_looked_at():
    store, model = judged()
    shown = review(store, model).shown

    class Emptied:
        def describe_model_package(self, *, ModelPackageName):
            error = {"Code": "ValidationException", "Message": f"{ModelPackageName} does not exist."}
            raise ClientError({"Error": error}, "DescribeModelPackage")

    assert read_standing(shown, ReadLedger([model]), Emptied()).shown.registry_status == DELETED


def test_the_list_has_what_the_gate_refused_and_where_one_can_go_back_to():
    at = "2026-01-0{}T00:00:00.000Z"
    models = [
        a_version(4, approval=Approval.APPROVED, promoted_at=at.format(4)),
        a_version(3, approval=Approval.REJECTED, promoted_at=at.format(3)),
        a_version(2, approval=Approval.APPROVED, promoted_at=at.format(1)),
        a_version(1, approval=Approval.APPROVED, promoted_at=at.format(2)),
    ]
    runs = [a_run("r1", status=RunStatus.REJECTED_BY_GATE), a_run("r2", status=RunStatus.FAILED)]
    found = read_versions(ReadLedger(models, a_pointer(models[0], token=1), runs))
    assert [run.run_id for run in found.refused] == ["r1"]
    assert [each.version for each in found.earlier] == [1, 2], "the last that was live first, none rejected"
    assert Versions(None, [], []).earlier == []


@pytest.mark.parametrize(
    ("span", "side", "said"),
    [
        (Span(0.02, 0.01, 0.03), BETTER, "even the low end of the interval, 0.01, is a gain"),
        (Span(-0.02, -0.03, -0.01), WORSE, "even the good end of the interval, 0.01, is a loss"),
        (Span(0.0, -0.01, 0.03), EVEN, "from 0.01 auc worse to 0.03 better"),
        (Span(0.0, 0.0, 0.0), EVEN, "as good as version 1"),
        (Span(0.01, 0.0, 0.03), EVEN, "from no loss to 0.03 better"),
        (Span(-0.01, -0.02, 0.0), EVEN, "from 0.02 auc worse to no gain"),
    ],
)
def test_a_difference_is_told_by_where_its_whole_interval_lies(span, side, said):
    verdict = Judged.of(
        {
            "metric": {"name": "auc", "value": 0.8, "low": 0.7, "high": 0.9, "threshold": 0.7},
            "difference": {"value": span.value, "low": span.low, "high": span.high},
            "champion": {
                "model_package_arn": "arn:aws:sagemaker:r:1:model-package/m/1",
                "metric": {"value": 0.8},
            },
        }
    )
    assert verdict.champion_version == 1
    assert verdict.deciding.difference.side == side
    assert said in difference_in_words(verdict.deciding, verdict.champion_version)


@pytest.mark.parametrize(
    ("low", "high", "threshold", "greater", "said"),
    [
        (0.72, 0.9, 0.7, True, "The whole 95 % interval meets"),
        (0.68, 0.9, 0.7, True, "reaches beyond it"),
        (1.0, 2.0, 2.5, False, "The whole 95 % interval meets"),
        (1.0, 3.0, 2.5, False, "reaches beyond it"),
    ],
)
def test_the_interval_is_told_against_the_threshold_whichever_way_the_metric_goes(
    low, high, threshold, greater, said
):
    metric = {"name": "m", "value": (low + high) / 2, "low": low, "high": high, "threshold": threshold}
    verdict = Judged.of({"accepted": True, "rows": 50, "metric": {**metric, "greater_is_better": greater}})
    assert said in interval_in_words(verdict)
