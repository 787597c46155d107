"""The training job chooses a decision threshold on rows that the scoring model has not learned from."""

from __future__ import annotations

import dataclasses
import json

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from tests.unit.training.job_folders import builtin, pack, read_json, run_job, write_job
from tests.unit.training.test_champion_scoring import candidate_job, sha256

import deciding
import inference
from compiling import compile_checked
from deciding import chosen_threshold
from dropforge.domain.contract import Column, Contract
from dropforge.domain.decision_goal import Goal, Wish
from dropforge.domain.decision_threshold import DecisionThreshold
from dropforge.domain.errors import InvalidDecisionGoal
from fitting import Fitting
from model import build_model

WISH = Wish(Goal(1, 40), "malignant")
CONTRACT = Contract(
    "target", None, "binary", ("no", "yes"),
    (*(Column(f"x{i}", "number") for i in range(3)), Column("target", "category", "target")),
)  # fmt: skip


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    """The folders of a job that was asked for a threshold."""
    root = write_job(
        tmp_path_factory.mktemp("decided"),
        *builtin("breast-cancer"),
        {"metric": "auto", "seed": "0", "decision_goal": WISH.to_json()},
    )
    result = run_job(root, DROPFORGE_RUN_ID="run-1")
    assert result.returncode == 0, result.stderr
    return root


def report_of(root):
    return read_json(root / "output" / "data" / "training_report.json")


def test_the_threshold_is_in_the_archive_and_in_the_digest_and_changes_nothing_else(decided, trained):
    model, plain = (read_json(root / "model" / "model.json") for root in (decided, trained("breast-cancer")))
    assert report_of(decided)["decision"] == read_json(decided / "model" / "threshold.json")
    changed = model["files"].items() ^ plain["files"].items()
    assert {name for name, _ in changed} == {"threshold.json"}
    assert model["model_digest"] != plain["model_digest"]
    assert "decision" not in report_of(trained("breast-cancer"))


def test_every_row_is_labelled_by_it_the_smoke_rows_too(decided):
    model = inference.model_fn(str(decided / "model"))
    smoke = read_json(decided / "output" / "data" / "smoke.json")["predictions"]
    value = model.threshold.value
    assert value < 0.5
    for each in smoke:
        called = each["probabilities"]["malignant"] >= value
        assert each["label"] == ("malignant" if called else "benign")
    chosen = report_of(decided)["decision"]["chosen_on"]
    rows = report_of(decided)["rows"]
    assert (chosen["source"], chosen["rows"]) == ("out-of-fold", rows["train"] + rows["validation"])


def test_both_forms_of_the_model_give_the_same_labels(decided):
    folder = decided / "model"
    model = inference.model_fn(str(folder))
    with np.load(decided / "output" / "data" / "holdout.npz") as arrays:
        scores = arrays["candidate"]
    contract, frame = builtin("breast-cancer")
    matrix = model.encoding.encode({c.name: frame[c.name].to_numpy() for c in contract.features})
    pickled = inference.predictor_of(joblib.load(folder / "model.joblib"), contract)(matrix)
    compiled = model.predict(matrix)
    assert report_of(decided)["compiled"]["used"]
    # A threshold at any row's own score, by either form, is reached by that row in both.
    for value in np.unique(np.concatenate([pickled[:, 1], compiled[:, 1], scores[:, 1]])):
        threshold = dataclasses.replace(model.threshold, value=float(value))
        assert np.array_equal(
            threshold.labels(contract.classes, pickled), threshold.labels(contract.classes, compiled)
        )


def test_a_champion_is_told_with_the_threshold_that_it_serves_by(decided, trained, tmp_path):
    for name, root in (("with", decided), ("without", trained("breast-cancer"))):
        champion = pack(root / "model", tmp_path / f"{name}.tar.gz")
        job = candidate_job(tmp_path / name, champion, name="breast-cancer")
        assert run_job(job).returncode == 0
        its = report_of(job)["champion"]
        assert its["scored"]
        assert its.get("decision") == report_of(root).get("decision")
        assert its["sha256"] == sha256(champion)


def test_a_compiled_form_that_labels_a_row_otherwise_is_not_used():
    matrix, target = data(400)
    estimator = build_model(CONTRACT, {"estimator": "linear"}).fit(matrix, target)
    predict = inference.predictor_of(estimator, CONTRACT)
    score = float(predict(matrix)[7, 1])
    shifted = lambda rows: predict(rows) + np.array([[5e-10, -5e-10]])  # noqa: E731 - within what is allowed

    def labels(scores):
        return (scores[:, 1] >= score).astype(np.int64)

    found = compile_checked(estimator, 2, shifted, matrix, labels)
    assert found.compiled is None
    assert found.reason == "the decision threshold gives 1 rows another label"
    assert compile_checked(estimator, 2, shifted, matrix).compiled is not None


def data(n, seed=3, share=0.2):
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, 3))
    chance = 1 / (1 + np.exp(-(matrix @ [1.5, -1.0, 0.5] + np.log(share / (1 - share)))))
    return matrix, (rng.random(n) < chance).astype(np.int64)


def fitting_of(n=1000, build=LogisticRegression, groups=None, **more):
    matrix, target = data(n, **more)
    return Fitting(build, matrix, target, n * 8 // 9, groups)


def chosen(fitting, contract=CONTRACT, goal=None):
    return chosen_threshold(Wish(goal or Goal(1, 9)), contract, fitting, fitting.first(), seed=1)


def test_out_of_fold_every_row_is_scored_by_a_model_that_has_not_seen_it(monkeypatch):
    seen = {}

    class Memory(LogisticRegression):
        def fit(self, X, y):
            self.rows = {tuple(row) for row in X.tolist()}
            return super().fit(X, y)

        def predict_proba(self, X):
            for row in X.tolist():
                seen[tuple(row)] = seen.get(tuple(row), 0) + 1
                assert tuple(row) not in self.rows
            return super().predict_proba(X)

    fitting = fitting_of(build=Memory)
    assert chosen(fitting).choice.source == "out-of-fold"
    assert set(seen.values()) == {1}
    assert len(seen) == 1000


def test_whole_groups_are_left_out():
    groups = np.repeat(np.arange(100), 10)
    held = [set(groups[rows]) for _, _, rows in fitting_of(groups=groups).out_of_fold(None, 5, 0)]
    assert len(set.union(*held)) == sum(map(len, held)) == 100


def test_enough_validation_rows_decide_alone(monkeypatch):
    monkeypatch.setattr(deciding, "ENOUGH_OF_A_CLASS", 10)
    assert chosen(fitting_of()).choice.source == "validation"
    assert chosen(fitting_of()).choice.rows == 1000 - 1000 * 8 // 9


def test_rows_that_time_splits_are_not_folded():
    timed = dataclasses.replace(CONTRACT, time="x0")
    assert chosen(fitting_of(), timed).choice.source == "validation"


def test_an_estimator_that_stays_as_it_is_decides_on_the_validation_rows():
    class Stays(LogisticRegression):
        def fit(self, X, y, X_val=None, y_val=None):
            return super().fit(X, y)

    assert chosen(fitting_of(build=Stays)).choice.source == "validation"


def test_an_estimator_that_fits_last_is_left_as_it_was():
    fitting = fitting_of(build=lambda: build_model(CONTRACT, {"seed": 3}))
    first = fitting.first()
    before = first.predict_proba(fitting.validation[0])
    chosen_threshold(Wish(Goal(1, 9)), CONTRACT, fitting, first, seed=1)
    assert np.array_equal(before, first.predict_proba(fitting.validation[0]))


@pytest.mark.parametrize("positives", [2, 3])
def test_a_class_of_few_rows_is_enough_for_a_threshold(positives):
    matrix, target = data(200, share=0.5)
    target[:] = 0
    target[[5, 190, 70][:positives]] = 1
    fitting = Fitting(LogisticRegression, matrix, target, 160)
    assert isinstance(chosen(fitting), DecisionThreshold)


def test_without_a_wish_there_is_none():
    fitting = fitting_of()
    assert chosen_threshold(None, CONTRACT, fitting, fitting.first(), seed=1) is None


def test_a_job_of_three_classes_is_refused(tmp_path):
    job = write_job(
        tmp_path,
        *builtin("wine"),
        {"decision_goal": json.dumps({"minimum_recall": 0.9, "positive_class": None})},
    )
    assert run_job(job).returncode == 1
    assert (
        (tmp_path / "output" / "failure")
        .read_text()
        .startswith("InvalidDecisionGoal: A decision threshold needs two")
    )


def test_a_class_that_is_not_there_is_refused():
    with pytest.raises(InvalidDecisionGoal, match="'maybe' is no class of 'target': no, yes"):
        chosen_threshold(Wish(Goal(1, 9), "maybe"), CONTRACT, fitting_of(), None, seed=1)
