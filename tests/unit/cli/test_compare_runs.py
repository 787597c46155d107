"""Two runs side by side: what differs, and both models on the rows that both were scored on."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from tests.fakes.records import a_run, a_version
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.console.stored import StoredS3
from tests.unit.console.test_model_review import ReadLedger
from tests.unit.judging.test_judge_model_use_case import model_archive, tarball

from dropforge.application.judge_model import JudgeRequest, judge_model
from dropforge.domain.comparison import compare
from dropforge.domain.decision_goal import Goal, Wish
from dropforge.domain.gate import GatePolicy
from dropforge.domain.metric_registry import METRICS
from dropforge.domain.metrics import Scored
from dropforge.domain.records import RunStatus
from dropforge_ops.actions import compared_view
from dropforge_ops.actions.compared_runs import ComparedRuns, Part, Row, compare_runs
from dropforge_ops.errors import NotFound, UsageError

CHAMPION_ARN = "arn:aws:sagemaker:eu-west-1:1:model-package/m/1"


def scores(target: np.ndarray, strength: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=len(target))
    positive = 1 / (1 + np.exp(-(strength * (target - 0.5) + noise)))
    return np.stack([1 - positive, positive], axis=1)


@dataclass
class Shelf:
    """A bucket with runs that the product's own code has judged."""

    store: InMemoryObjectStore = field(default_factory=InMemoryObjectStore)
    runs: list[Any] = field(default_factory=list)
    models: list[Any] = field(default_factory=list)

    def run(
        self,
        run_id: str,
        keys: range,
        *,
        strength: float = 2.0,
        flipped: int = 0,
        beside: str | None = None,
        version: int | None = None,
        target: str = "y",
        classes: tuple[str, str] = ("no", "yes"),
        libraries: dict[str, str] | None = None,
        **record: Any,
    ) -> dict[str, np.ndarray]:
        """Judge a model on rows of these keys; the first `flipped` have another true value."""
        truth = (np.array(keys) * 7 // 3) % 2
        truth[:flipped] = 1 - truth[:flipped]
        seed = len(self.runs) + 1
        archive, content = model_archive(libraries=libraries or {"numpy": "2"}, seed=seed)
        arrays: dict[str, Any] = {
            "row_key": np.array(keys, dtype=np.uint64),
            "target": truth,
            "candidate": scores(truth, strength, seed),
            "slice_codes": np.zeros((len(keys), 0), dtype=np.int16),
        }
        champion = None
        if beside is not None:
            digest = self.store.sha256(f"s3://data/models/{beside}/job/output/model.tar.gz")
            champion = {"model_package_arn": CHAMPION_ARN, "model_sha256": digest}
            arrays["champion"] = scores(truth, 1.0, 99)
        report = {
            "task": "binary",
            "classes": list(classes),
            "slices": [],
            "champion": champion and {"scored": True, "reason": None, "sha256": champion["model_sha256"]},
            "model_digest": content["model_digest"],
            "contract_hash": "hash",
            "lineage": {},
            "metric": "auc",
            "importance": {"x": {"mean": 0.1 * seed, "deviation": 0.01}},
        }
        npz = io.BytesIO()
        np.savez(npz, **arrays)
        smoke = {"format": 1, "instances": [{"x": 1.0}], "predictions": [{"label": "no"}]}
        job = f"s3://data/models/{run_id}/job/output"
        self.store.objects |= {
            f"{job}/model.tar.gz": archive,
            f"{job}/output.tar.gz": tarball(
                {
                    "holdout.npz": npz.getvalue(),
                    "training_report.json": json.dumps(report).encode(),
                    "smoke.json": json.dumps(smoke).encode(),
                }
            ),
            f"s3://data/runs/{run_id}/contract/schema.json": json.dumps(
                {"target": target, "task": "binary",
                 "columns": [{"name": f"x{seed}", "type": "number", "role": "feature"}]}
            ).encode(),
            f"s3://data/runs/{run_id}/manifest.json": json.dumps(
                {"objects": [{"key": "incoming/all.csv", "version_id": "1"},
                             {"key": f"incoming/{run_id}.csv", "version_id": "1"}]}
            ).encode(),
            f"s3://data/runs/{run_id}/report.json": json.dumps(
                {"rows": {"read": 100 * seed, "kept": 90}, "split": {"by": "row"},
                 "splits": {"test": {"rows": 9}}}
            ).encode(),
        }  # fmt: skip
        raw = {"run_id": run_id, "model_data_url": f"{job}/model.tar.gz", "champion": champion, "lineage": {}}
        judge_model(JudgeRequest.of(raw, "data", GatePolicy()), self.store)
        self.runs.append(a_run(run_id, version=version, **record))
        if version is not None:
            self.models.append(a_version(version, run_id=run_id))
        return arrays

    @property
    def target(self) -> Any:
        s3 = StoredS3(self.store)
        return SimpleNamespace(
            ledger=ReadLedger(self.models, runs=self.runs),
            documents=s3.documents,
            bucket="data",
            client={"s3": s3}.__getitem__,
        )

    def compare(self, first: str, second: str) -> ComparedRuns:
        return compare_runs(first, second, self.target)


def part(found: ComparedRuns, title: str) -> Part:
    return next(each for each in found.parts if each.title.startswith(title))


def row(found: ComparedRuns, title: str, name: str) -> Row:
    return next(each for each in part(found, title).rows if each.name == name)


def printed(found: ComparedRuns, **how: Any) -> str:
    out = Console(file=io.StringIO(), width=200)
    compared_view.show(found, out, **how)
    text: str = out.file.getvalue()
    return text


@pytest.fixture
def shelf() -> Shelf:
    made = Shelf()
    made.run("one", range(400), version=1, source_commit="a" * 40)
    made.run(
        "two", range(200, 600), strength=4.0, version=2, source_commit="b" * 40, libraries={"numpy": "3"}
    )
    return made


def test_says_what_differs_and_only_that(shelf: Shelf) -> None:
    found = shelf.compare("one", "v2")
    assert (found.first.title, found.second.title) == ("version 1", "version 2")
    assert row(found, "Code", "commit") == Row("commit", "a" * 40, "b" * 40)
    assert row(found, "Libraries", "numpy").shown == ("2", "3")
    assert row(found, "Data", "rows read").to_dict() == {
        "name": "rows read", "first": 100, "second": 200, "differs": True,
    }  # fmt: skip
    assert not row(found, "Data", "rows kept").differs
    assert part(found, "Data").lines == (
        "Only version 1 was trained on one.csv.",
        "Only version 2 was trained on two.csv.",
    )
    assert [each.name for each in part(found, "Columns").rows] == ["columns", "x1", "x2"]
    assert row(found, "Metrics", "auc").differs
    assert row(found, "Importance", "x").shown == ("0.1", "0.2")
    text = printed(found)
    assert "rows read" in text
    assert "rows kept" not in text
    assert "rows kept" in printed(found, every=True)


def test_what_a_threshold_serves_and_costs_is_told_in_words(shelf: Shelf) -> None:
    for run, costs, cost in (("one", (1.0, 20.0), 31.5), ("two", (1.0, 50.0), 28.0)):
        folder = f"s3://data/models/{run}"
        judgement = json.loads(shelf.store.read(f"{folder}/judgement.json"))
        span = {"value": cost, "low": cost - 5, "high": cost + 5}
        errors = {"cost_per_1000": span, "precision": span, "recall": span}
        decision = {"threshold": 0.05, "chosen": errors, "argmax": errors}
        shelf.store.write(
            f"{folder}/judgement.json", json.dumps({**judgement, "decision": decision}).encode()
        )
        lineage = json.loads(shelf.store.read(f"{folder}/lineage.json"))
        lineage["hyperparameters"] = {"decision_goal": Wish(Goal(*costs), "yes").to_json()}
        shelf.store.write(f"{folder}/lineage.json", json.dumps(lineage).encode())
    found = shelf.compare("one", "two")
    serves = row(found, "Parameters", "the threshold serves")
    assert serves.shown == ("a false alarm costs 1, a miss 20", "a false alarm costs 1, a miss 50")
    assert "decision_goal" not in [each.name for each in part(found, "Parameters").rows]
    assert row(found, "Metrics", "cost per 1,000 rows").shown == ("31.5 [26.5, 36.5]", "28 [23, 33]")


def test_the_commit_is_told_by_the_lineage_where_the_ledger_has_forgotten_the_run(shelf: Shelf) -> None:
    uri = "s3://data/models/one/lineage.json"
    lineage = json.loads(shelf.store.read(uri))
    shelf.store.write(uri, json.dumps({**lineage, "run": {"source_commit": "c" * 40}}).encode())
    assert row(shelf.compare("one", "two"), "Code", "commit").first == "c" * 40


def test_the_paired_difference_is_that_of_the_rows_in_both_holdouts(shelf: Shelf) -> None:
    shelf.runs.clear()
    shelf.models.clear()
    one = shelf.run("one", range(400))
    two = shelf.run("two", range(200, 600), strength=4.0)
    paired = shelf.compare("one", "two").paired
    assert (paired.rows, paired.left_out) == (200, 0)
    truth = one["target"][200:]
    expected = compare(
        Scored("binary", truth, two["candidate"][:200]),
        Scored("binary", truth, one["candidate"][200:]),
        tuple(METRICS["binary"]),
        classes=("no", "yes"),
        resamples=1000,
        seed=0,
    )
    for name, each in expected.items():
        assert paired.metrics[name]["second"] == each.candidate.to_dict(), name
        assert paired.metrics[name]["first"] == each.champion.to_dict(), name
        assert paired.metrics[name]["difference"] == each.difference.to_dict(), name
    assert paired.metrics["auc"]["difference"]["low"] > 0
    assert "B is better" in printed(shelf.compare("one", "two"))
    turned = shelf.compare("two", "one").paired.metrics
    assert turned["auc"]["difference"]["value"] == pytest.approx(
        -paired.metrics["auc"]["difference"]["value"]
    )


def test_rows_whose_true_value_was_changed_are_left_out_and_counted(shelf: Shelf) -> None:
    shelf.run("later", range(200, 600), flipped=30)
    found = shelf.compare("one", "later")
    assert (found.paired.rows, found.paired.left_out) == (170, 30)
    assert "30 with another true value are left out" in printed(found)


def test_a_model_that_was_live_when_the_other_was_judged_is_compared_on_that_whole_holdout(
    shelf: Shelf,
) -> None:
    three = shelf.run("three", range(5000, 5300), beside="one", version=3)
    found = shelf.compare("1", "3")
    assert found.paired.rows == 300
    assert "judged beside the first" in found.paired.how
    judgement = found.second.judgement
    assert found.paired.metrics["auc"]["difference"] == judgement["compared"]["auc"]["difference"]
    turned = shelf.compare("3", "1")
    assert turned.paired.rows == len(three["target"])
    assert "the first, which was judged beside the second" in turned.paired.how


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda shelf: shelf.run("other", range(9000, 9300)), "no row lies in the hold-outs of both runs"),
        (
            lambda shelf: shelf.run("other", range(400), classes=("a", "b")),
            "the classes that they tell apart differ",
        ),
        (lambda shelf: shelf.run("other", range(400), flipped=400), "other true values by now"),
    ],
)
def test_says_why_there_are_no_same_rows(shelf: Shelf, change: Any, said: str) -> None:
    change(shelf)
    found = shelf.compare("one", "other")
    assert found.paired.rows == 0
    assert found.paired.metrics == {}
    assert said in found.paired.how
    assert "They can't be compared on the same rows" in printed(found)


def test_scores_that_are_gone_or_damaged_leave_the_rest(shelf: Shelf) -> None:
    uri = "s3://data/models/one/job/output/output.tar.gz"
    shelf.store.objects[uri] = b"no archive"
    assert "can't be read" in shelf.compare("one", "two").paired.how
    del shelf.store.objects[uri]
    found = shelf.compare("one", "two")
    assert f"{uri}, the scores of run one, is gone" in found.paired.how
    assert row(found, "Metrics", "auc").differs


def test_a_run_of_an_earlier_release_is_compared_by_what_it_left(shelf: Shelf) -> None:
    for name in ("models/one/lineage.json", "models/one/diagnostics.json", "runs/one/report.json"):
        del shelf.store.objects[f"s3://data/{name}"]
    found = shelf.compare("one", "two")
    assert row(found, "Data", "rows read") == Row("rows read", None, 200)
    assert row(found, "Data", "rows read").shown == ("–", "200")
    assert "names no archive" in found.paired.how


def test_what_is_the_same_is_said_to_be(shelf: Shelf) -> None:
    found = shelf.compare("one", "one")
    assert not any(each.differs for each in found.parts)
    assert found.paired.metrics["auc"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert "the same" in printed(found)


def test_unknown_runs_runs_without_a_model_and_other_targets_are_told_in_a_line(shelf: Shelf) -> None:
    shelf.runs.append(replace(a_run("failed"), status=RunStatus.FAILED))
    shelf.run("other", range(400), target="z")
    for first, second, kind, said in (
        ("one", "nothing", NotFound, "There is no run 'nothing'"),
        ("one", "7", NotFound, "There is no version 7"),
        ("failed", "one", UsageError, "Run failed is failed and has no model to compare."),
        ("one", "other", UsageError, "They predict different columns, 'y' and 'z'"),
    ):
        with pytest.raises(kind) as told:
            shelf.compare(first, second)
        assert said in str(told.value)
        assert "\n" not in str(told.value)


def test_numbers_that_differ_look_different() -> None:
    assert Row("a", 0.123456, 0.123457).shown == ("0.123456", "0.123457")
    assert Row("a", 12000, 13000).shown == ("12,000", "13,000")
    assert Row("a", None, "x").shown == ("–", "x")
