"""Hyperparameters are searched on the training rows, the same way each time, and within their minutes."""

from __future__ import annotations

import itertools
import json
import sys
import types
from typing import Any

import numpy as np
import pytest
from sklearn.tree import DecisionTreeClassifier
from tests.unit.training.job_folders import mixed, read_json, run_job, write_job

import tuning
from dropforge.domain.contract import Column, Contract
from dropforge.domain.errors import InvalidHyperparameters, TuningFailed
from dropforge.domain.metric_registry import metric_named
from settings import Settings

CONTRACT = Contract(
    "y",
    None,
    "binary",
    ("a", "b"),
    (Column("x", "number"), Column("z", "number"), Column("y", "category", "target")),
)
METRIC = metric_named("binary", "auc")
SPACE: dict[str, tuple[Any, ...]] = {"max_depth": (1, 9), "min_samples_leaf": (1, 60, "log")}


def rows(n: int = 300, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    table = random.normal(size=(n, 2))
    noise = random.normal(size=n)
    return table, (table[:, 0] * table[:, 1] + 0.4 * noise > 0).astype(np.int64)


@pytest.fixture
def model(monkeypatch):
    """A ``model.py`` whose default is a stump, which can't tell the classes apart."""
    module = types.ModuleType("model")

    def build_model(_schema, given):
        parts = {name: given[name] for name in ("max_depth", "min_samples_leaf") if name in given}
        return DecisionTreeClassifier(**{"max_depth": 1, **parts}, random_state=given["seed"])

    module.build_model = build_model
    module.search_space = lambda _schema, _given: SPACE
    module.HYPERPARAMETERS = {"max_depth": (1, 20), "min_samples_leaf": (1, 1000), "kind": ("tree", "stump")}
    monkeypatch.setitem(sys.modules, "model", module)
    return module


def search(trials=10, minutes=0.0, given=None, seed=1, clock=lambda: 0.0, table=None, groups=None):
    settings = Settings("auc", seed, None, None, given or {}, {}, trials, minutes)
    found, target = rows()
    return tuning.tuned(CONTRACT, settings, METRIC, found if table is None else table, target, groups, clock)


@pytest.mark.usefixtures("model")
def test_the_best_trial_is_fitted_with_and_every_trial_is_told():
    known, found = search(12)
    assert known["max_depth"] > 1
    assert (known["seed"], known["metric"]) == (1, "auc")
    assert (found["asked"], found["done"], found["stopped_by"]) == (12, 12, "trials")
    best = found["trials"][found["best"]]
    assert best["value"] == max(each["value"] for each in found["trials"] if each["state"] == "complete")
    assert best["value"] > found["default"] + 0.1
    assert found["parameters"] == best["parameters"]
    assert set(found["importance"]) == set(SPACE)
    json.dumps(found, allow_nan=False)


@pytest.mark.usefixtures("model")
def test_trials_that_fall_behind_are_dropped_after_a_fold_and_never_the_best():
    _, found = search(30)
    pruned = [each for each in found["trials"] if each["state"] == "pruned"]
    assert pruned
    assert {len(each["folds"]) for each in pruned} <= set(range(1, tuning.FOLDS))
    assert found["trials"][found["best"]]["state"] == "complete"


@pytest.mark.usefixtures("model")
def test_the_same_seed_gives_the_same_trials_and_fewer_are_the_first_of_more():
    def told(found):
        return [(each["parameters"], each["value"]) for each in found["trials"]]

    first, again, fewer, other = (search(n, seed=seed)[1] for n, seed in ((14, 1), (14, 1), (9, 1), (14, 2)))
    assert told(first) == told(again)
    assert told(fewer) == told(first)[:9]
    assert told(other) != told(first)


@pytest.mark.usefixtures("model")
def test_out_of_minutes_the_best_so_far_is_taken_and_a_replay_of_as_many_trials_takes_it_too():
    ticks = itertools.count()
    known, found = search(100, minutes=1, clock=lambda: float(next(ticks)))
    assert found["stopped_by"] == "minutes"
    assert 0 < found["done"] < 100
    replayed, again = search(found["done"])
    assert replayed == known
    assert (again["best"], again["parameters"]) == (found["best"], found["parameters"])
    assert again["stopped_by"] == "trials"


@pytest.mark.usefixtures("model")
def test_a_search_without_time_for_a_trial_delivers_what_stood_before():
    ticks = itertools.count(step=100)
    known, found = search(10, minutes=1, clock=lambda: float(next(ticks)))
    assert (found["done"], found["best"], found["parameters"]) == (0, None, {})
    assert known == {"metric": "auc", "seed": 1}


def test_what_no_trial_beats_stays(model):
    model.search_space = lambda _schema, _given: {"max_depth": (1, 2), "min_samples_leaf": (140, 150)}
    known, found = search(5)
    assert (found["best"], found["parameters"]) == (None, {})
    assert "max_depth" not in known


@pytest.mark.usefixtures("model")
def test_what_is_set_by_hand_is_not_searched():
    known, found = search(6, given={"max_depth": 5})
    assert known["max_depth"] == 5
    assert {name for each in found["trials"] for name in each["parameters"]} == {"min_samples_leaf"}
    known, found = search(6, given={"max_depth": 5, "min_samples_leaf": 7})
    assert (found["done"], found["stopped_by"]) == (0, "nothing to search")


def test_a_choice_of_one_is_fixed_in_trials_alone(model):
    seen = []
    build = model.build_model
    model.build_model = lambda schema, given: (seen.append(given.get("kind")), build(schema, given))[1]
    model.search_space = lambda _schema, _given: {"kind": ("tree",), "max_depth": (3, 9)}
    known, found = search(3)
    assert (seen[0], set(seen[tuning.FOLDS :])) == (None, {"tree"})
    assert known["kind"] == found["parameters"]["kind"] == "tree"


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"max_dept": (1, 9)}, "'max_dept' is none of .* Did you mean 'max_depth'"),
        ({"max_depth": (1, 99)}, "max_depth must be a whole number from 1 to 20, not 99"),
        ({"kind": ("tree", "forest")}, "kind 'forest' is none of tree, stump"),
        ({"max_depth": (9, 1)}, r"max_depth is \(9, 1\); it must be"),
        ({"max_depth": (0, 9, "log")}, r"max_depth is \(0, 9, 'log'\)"),
        ({"max_depth": (1, 9, "linear")}, "max_depth is"),
    ],
)
def test_a_space_that_model_py_does_not_take_is_refused(model, space, says):
    model.search_space = lambda _schema, _given: space
    with pytest.raises(InvalidHyperparameters, match=says):
        search(2)


def test_a_model_without_a_space_is_told_to_write_one(model):
    del model.search_space
    with pytest.raises(InvalidHyperparameters, match="has no search_space"):
        search(2)


def test_a_trial_that_cannot_be_fitted_is_told_and_passed_over(model):
    build = model.build_model

    def picky(schema, given):
        if given.get("max_depth", 1) > 5:
            raise MemoryError("too deep")
        return build(schema, given)

    model.build_model = picky
    _, found = search(12)
    failed = [each for each in found["trials"] if each["state"] == "failed"]
    assert failed
    assert {each["error"] for each in failed} == {"MemoryError: too deep"}
    model.search_space = lambda _schema, _given: {"max_depth": (6, 9)}
    with pytest.raises(TuningFailed, match="no trial could be fitted; the first: MemoryError: too deep"):
        search(3)


@pytest.mark.usefixtures("model")
def test_without_optuna_the_line_to_add_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(TuningFailed, match=r"optuna==5\.0\.0 to training/requirements\.txt"):
        search(2)


@pytest.mark.usefixtures("model")
def test_rows_beyond_the_training_rows_are_never_looked_at():
    found, _ = rows()
    table = np.vstack([found, np.full((50, 2), np.inf)])
    assert search(4, table=table)[1]["trials"][0]["folds"] == search(4)[1]["trials"][0]["folds"]


def test_whole_groups_are_dealt_and_told_to_who_asks(model):
    groups = np.repeat(np.arange(60), 5)
    seen = []

    class Asks(DecisionTreeClassifier):
        def fit(self, X, y, groups=None):
            seen.append(groups)
            return super().fit(X, y)

    model.build_model = lambda _schema, given: Asks(max_depth=given.get("max_depth", 1), random_state=0)
    search(1, groups=groups)
    fold = tuning._dealt(rows()[1], groups, 1)
    assert all(len(set(fold[groups == group])) == 1 for group in range(60))
    assert all(each is not None and set(each) == set(range(each.max() + 1)) for each in seen)


def test_rows_that_stop_early_are_none_of_those_that_measure(model):
    seen = []

    class Stops(DecisionTreeClassifier):
        def fit(self, X, y, X_val=None, y_val=None):
            seen.append((len(X), len(X_val)))
            return super().fit(X, y)

    model.build_model = lambda _schema, given: Stops(max_depth=given.get("max_depth", 1), random_state=0)
    search(1)
    assert set(seen) == {(180, 60)}


def test_a_whole_job_tunes_and_its_replay_gives_the_same_digest(tmp_path):
    contract, frame = mixed()
    given = {"seed": "1", "max_iter": "20"}
    first = write_job(
        tmp_path / "first", contract, frame, {**given, "tuning_trials": "3", "tuning_minutes": "30"}
    )
    again = write_job(
        tmp_path / "again", contract, frame, {**given, "tuning_trials": "3", "tuning_minutes": "0"}
    )
    reports = []
    for root in (first, again):
        result = run_job(root)
        assert result.returncode == 0, result.stderr
        assert "tuning: trial 2" in result.stdout
        reports.append(read_json(root / "output" / "data" / "training_report.json"))
    assert reports[0]["model_digest"] == reports[1]["model_digest"]
    found = reports[0]["tuning"]
    assert found["done"] == 3
    assert all(
        set(each["parameters"])
        == {"learning_rate", "max_leaf_nodes", "min_samples_leaf", "l2_regularization"}
        for each in found["trials"]
    )
    if found["best"] is not None:
        assert reports[0]["estimator"] == "boosted"
