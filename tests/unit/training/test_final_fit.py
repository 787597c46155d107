"""Which rows a delivered model was fitted on: the training and the validation rows, never the hold-out's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor
from tests.unit.training.job_folders import builtin, read_json, run_job, write_job
from tests.unit.training.test_model_selection import contract_of

from dropforge.domain import manifest
from dropforge.domain.contract import Column, Contract
from model import build_model

COUNTING = """
class Counting:
    def fit(self, X, y{more}):
        self.rows = len(X)
        return self
    def predict(self, X):
        return X[:, 0] * 0 + self.rows{method}
def build_model(schema, hyperparameters):
    return Counting()
"""
FINAL = """
    def fit_final(self, X, y):
        self.rows = 1000 + len(X)
        return self"""

LOOKING = """
import numpy as np
class Memory:
    def fit(self, X, y):
        self.known = {tuple(row): value for row, value in zip(X.tolist(), y.tolist())}
        self.mean = float(np.mean(y))
        return self
    def predict(self, X):
        return np.array([self.known.get(tuple(row), self.mean) for row in X.tolist()])
def build_model(schema, hyperparameters):
    return Memory()
"""


def report_of(root):
    return read_json(root / "output" / "data" / "training_report.json")


def fitted_by(root, model_py):
    """Run the job on 442 rows (353, 44 and 45). Returns the report and the predictions of the hold-out."""
    result = run_job(write_job(root, *builtin("diabetes"), model_py=model_py))
    assert result.returncode == 0, result.stderr
    with np.load(root / "output" / "data" / "holdout.npz") as arrays:
        return report_of(root), arrays["candidate"], result.stdout


@pytest.mark.parametrize(
    ("more", "method", "rows", "fitted"),
    [
        ("", "", 353 + 44, {"train": 353, "validation": 44}),
        (", X_val, y_val", "", 353, {"train": 353}),
        (", X_val, y_val", FINAL, 1000 + 353 + 44, {"train": 353, "validation": 44}),
    ],
    ids=["fit alone", "stops early", "stops early and fits once more"],
)
def test_model_is_fitted_on_training_and_validation_rows(tmp_path, more, method, rows, fitted):
    report, predicted, log = fitted_by(tmp_path, COUNTING.format(more=more, method=method))
    assert (predicted == rows).all()
    assert report["rows"] == {"train": 353, "validation": 44, "test": 45}
    assert report["fitted"] == manifest.verify(tmp_path / "model")["fitted"] == fitted
    assert ("fitted on the training rows alone" in log) == ("validation" not in fitted)


def test_validation_rows_are_measured_before_they_are_fitted(tmp_path):
    """A model that learns by heart has an R² of 1 on rows that it was fitted on, and about 0 on others."""
    report, _, _ = fitted_by(tmp_path, LOOKING)
    assert abs(report["validation"]["r2"]) < 0.2
    assert {each["mean"] for each in report["importance"].values()} == {0.0}
    assert report["importance_split"] == "test"


@pytest.mark.parametrize("estimator", ["linear", "boosted"])
def test_hold_out_rows_change_nothing_about_the_model(tmp_path, estimator):
    digests = []
    for name in ("as it is", "doubled"):
        root = write_job(
            tmp_path / name,
            *builtin("diabetes"),
            {"estimator": estimator, "max_iter": "20"}
            if estimator == "boosted"
            else {"estimator": estimator},
        )
        if name == "doubled":
            (part,) = (root / "input" / "data" / "test").glob("*.parquet")
            table = pq.read_table(part)
            frame = table.to_pandas()
            changed = frame.assign(**{c: frame[c] * 2 for c in frame if frame[c].dtype == float})
            pq.write_table(table.from_pandas(changed, schema=table.schema, preserve_index=False), part)
        assert run_job(root).returncode == 0
        digests.append(report_of(root)["model_digest"])
    assert digests[0] == digests[1]


def test_validation_rows_are_part_of_the_model(tmp_path):
    digests = []
    for name in ("as it is", "doubled"):
        root = write_job(tmp_path / name, *builtin("diabetes"), {"estimator": "linear", "alpha": "1"})
        if name == "doubled":
            (part,) = (root / "input" / "data" / "validation").glob("*.parquet")
            table = pq.read_table(part)
            frame = table.to_pandas()
            pq.write_table(
                table.from_pandas(
                    frame.assign(progression=frame.progression * 2), schema=table.schema, preserve_index=False
                ),
                part,
            )
        assert run_job(root).returncode == 0
        digests.append(report_of(root)["model_digest"])
    assert digests[0] != digests[1]


def test_rounds_of_early_stopping_are_kept():
    X, y = load_diabetes(return_X_y=True)
    first, rest = slice(350), slice(350, None)
    contract = contract_of("regression", 0, ["number"] * 10)
    fitted = build_model(contract, {"estimator": "boosted", "seed": 3})
    fitted.fit(X[first], y[first], X_val=X[rest], y_val=y[rest])
    rounds = fitted.rounds_
    assert rounds == fitted.best_.estimator.n_iter_ < 500
    fitted.fit_final(X, y)
    plain = HistGradientBoostingRegressor(max_iter=rounds, early_stopping=False, random_state=3).fit(X, y)
    assert fitted.rounds_ == fitted.best_.estimator.n_iter_ == rounds
    assert np.array_equal(fitted.predict(X), plain.predict(X))


def test_chosen_strength_is_kept():
    X, y = load_breast_cancer(return_X_y=True)
    contract = contract_of("binary", 2, ["number"] * 30)
    fitted = build_model(contract, {"seed": 0, "estimator": "linear"}).fit(X[:450], y[:450])
    strength = fitted.parameters_["strength"]
    alone = build_model(contract, {"seed": 0, "estimator": "linear", "C": strength}).fit(X, y)
    assert fitted.rounds_ is None
    assert np.array_equal(fitted.fit_final(X, y).predict_proba(X), alone.predict_proba(X))
    assert fitted.compiled_form().scorer(2)(X) == pytest.approx(alone.predict_proba(X), abs=1e-9)


def test_an_estimator_that_takes_groups_gets_those_of_the_training_rows(tmp_path):
    frame = pd.DataFrame(
        {"customer": np.arange(400) % 40, "x": np.arange(400) * 1.0, "y": np.arange(400) * 1.0}
    )
    columns = (Column("customer", "integer", "split"), Column("x", "number"), Column("y", "number", "target"))
    contract = Contract("y", None, "regression", None, columns, group="customer")
    counted = "print('groups', None if groups is None else (len(groups) == len(X), len(set(groups))))"
    model = COUNTING.format(more=", groups=None", method="").replace("self.rows", f"{counted}; self.rows", 1)
    result = run_job(write_job(tmp_path, contract, frame, model_py=model))
    assert result.returncode == 0, result.stderr
    told = [line for line in result.stdout.splitlines() if line.startswith("groups")]
    assert told == ["groups (True, 40)", "groups None"], "the last fit chooses nothing"


@pytest.mark.parametrize("estimator", ["linear", "boosted"])
def test_class_and_column_that_only_validation_rows_have_are_learned(tmp_path, estimator):
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"x": rng.normal(size=400), "late": np.full(400, np.nan), "y": "a"})
    frame.loc[frame.x > 0, "y"] = "b"
    # write_job shuffles with this seed, so that these become the validation rows.
    validation = frame.sample(frac=1.0, random_state=7).index[320:360]
    frame.loc[validation, "late"] = rng.normal(size=40)
    frame.loc[validation[:20], ["x", "y"]] = [9.0, "c"]
    columns = (
        Column("x", "number"),
        Column("late", "number", nullable=True),
        Column("y", "category", "target"),
    )
    contract = Contract("y", None, "multiclass", ("a", "b", "c"), columns)
    given = {"estimator": estimator} | ({"max_iter": "40"} if estimator == "boosted" else {})
    root = write_job(tmp_path, contract, frame, given)
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    assert report_of(root)["compiled"]["used"]
    with np.load(root / "output" / "data" / "holdout.npz") as arrays:
        assert (arrays["candidate"][:, 2] > 0).all()
