"""The compiled form gives the estimator's own scores, or is not used."""

from __future__ import annotations

import json
import subprocess
import sys
import timeit

import numpy as np
import pytest
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from tests.unit.training.job_folders import builtin, read_json, run_job, write_job

import inference
from compiling import NotCompilable, compile_checked, compiled_form
from dropforge.domain.compiled import Compiled, largest_difference
from dropforge.domain.contract import Column, Contract
from dropforge.domain.errors import InvalidModel
from dropforge.domain.linear_form import LinearForm
from model import build_model

CATEGORICAL = [3, 5]


def table(n=1500, seed=0):
    """Six columns: numbers with gaps, whole numbers, one number without gaps, two of category codes."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(n, 6))
    matrix[:, 1] = rng.integers(0, 9, n)
    matrix[:, 3] = rng.integers(0, 40, n)
    matrix[:, 5] = rng.choice([0, 1, 2, 7], n)
    for column in (0, 1, 3):
        matrix[rng.random(n) < 0.1, column] = np.nan
    signal = np.nan_to_num(matrix[:, 0]) + np.sin(np.nan_to_num(matrix[:, 3])) + matrix[:, 2] ** 2
    return matrix, signal + (matrix[:, 5] == 7) * 2 + rng.normal(0, 0.3, n)


def hostile(matrix, edges, seed=1):
    """Rows that training never saw: unseen codes, gaps anywhere, infinities, values right at an edge."""
    rng = np.random.default_rng(seed)
    rows = matrix[rng.integers(0, len(matrix), 2000)].copy()
    for column in range(rows.shape[1]):
        rows[rng.random(len(rows)) < 0.15, column] = np.nan
    for column in CATEGORICAL:
        rows[rng.random(len(rows)) < 0.2, column] = rng.integers(0, 200)
    for value in (np.inf, -np.inf, 1e300, 0.0):
        rows[rng.random(len(rows)) < 0.03, 2] = value
    at = rng.random(len(rows)) < 0.3
    rows[at, 0] = rng.choice(edges, at.sum())
    return rows


def labels_of(signal, classes):
    return np.digitize(signal, np.quantile(signal, np.linspace(0, 1, classes + 1)[1:-1]))


def boosted(task, **settings):
    matrix, signal = table()
    settings = {"max_iter": 25, "random_state": 0, "categorical_features": CATEGORICAL, **settings}
    if task == "regression":
        return HistGradientBoostingRegressor(**settings).fit(matrix, signal)
    if task == "positive":
        return HistGradientBoostingRegressor(**settings, loss="poisson").fit(matrix, np.exp(signal / 3))
    return HistGradientBoostingClassifier(**settings).fit(matrix, labels_of(signal, task))


def own_scores(estimator, matrix):
    return (estimator.predict_proba if hasattr(estimator, "classes_") else estimator.predict)(matrix)


def n_classes_of(estimator):
    return len(getattr(estimator, "classes_", ()))


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        (2, {}),
        (4, {}),
        ("regression", {}),
        ("positive", {}),
        (2, {"categorical_features": None}),
        (2, {"max_leaf_nodes": 33}),
        (3, {"max_leaf_nodes": 200, "min_samples_leaf": 2, "max_iter": 8}),
        ("regression", {"max_leaf_nodes": 2}),
        (2, {"max_iter": 1}),
        (2, {"max_bins": 5, "categorical_features": [5]}),
    ],
)
def test_trees_answer_as_the_estimator_does_on_rows_that_training_never_saw(task, settings):
    estimator = boosted(task, **settings)
    compiled = compiled_form(estimator)
    matrix, _ = table()
    place = compiled.form.columns.tolist().index(0) if 0 in compiled.form.columns else None
    edges = [0.0] if place is None else compiled.form._column_edges[place]
    rows = hostile(matrix, edges)
    score = compiled.scorer(n_classes_of(estimator))
    assert largest_difference(score(rows), own_scores(estimator, rows)) < 1e-14
    # One by one it is the same to the bit.
    assert np.array_equal(np.concatenate([score(row[np.newaxis]) for row in rows[:200]]), score(rows[:200]))
    assert score(rows[:0]).shape == own_scores(estimator, rows[:1])[:0].shape


def test_trees_without_a_single_split_answer_the_mean():
    matrix, signal = table(60)
    estimator = HistGradientBoostingRegressor(min_samples_leaf=60).fit(matrix, signal)
    score = compiled_form(estimator).scorer(0)
    assert score(matrix) == pytest.approx(np.full(60, signal.mean()))
    assert score(matrix[:1]) == pytest.approx([signal.mean()])


def contract_of(task):
    kinds = ["number", "number", "number", "category", "number", "category"]
    columns = tuple(Column(f"c{n}", kind, nullable=True) for n, kind in enumerate(kinds))
    classes = {"binary": ("a", "b"), "multiclass": ("a", "b", "c")}.get(task)
    target = Column("y", "category" if classes else "number", "target")
    return Contract("y", None, task, classes, (*columns, target))


@pytest.mark.parametrize("kind", ["linear", "boosted"])
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_default_models_are_compiled(task, kind):
    matrix, signal = table()
    target = signal if task == "regression" else labels_of(signal, 2 if task == "binary" else 3)
    matrix[:, 4] = np.nan  # without any value in training, it must not matter later
    chosen = {"estimator": kind, **({"max_iter": 20} if kind == "boosted" else {})}
    estimator = build_model(contract_of(task), chosen).fit(matrix, target)
    contract = contract_of(task)
    rows = hostile(matrix, [0.0])
    rows[:, 2] = np.clip(rows[:, 2], -1e200, 1e200)
    plain = inference.predictor_of(estimator, contract)
    found = compile_checked(estimator, len(contract.classes or ()), plain, rows)
    assert found.to_dict() == {
        "used": True,
        "kind": {"linear": "linear", "boosted": "trees"}[kind],
        "reason": None,
        "largest_difference": pytest.approx(0, abs=1e-12),
        "rows_compared": len(rows),
    }


@pytest.mark.parametrize("kind", ["linear", "boosted"])
def test_classes_that_training_never_saw_keep_their_place(kind):
    """The estimator knows the codes 0 and 2 of three: the probability in between is 0."""
    matrix, signal = table(400)
    target = (signal > 0) * 2
    estimator = build_model(contract_of("multiclass"), {"estimator": kind, "metric": "accuracy"})
    estimator.fit(matrix, target)
    scores = compiled_form(estimator).scorer(3)(matrix)
    assert scores[:, 1].tolist() == [0.0] * 400
    plain = inference.predictor_of(estimator, contract_of("multiclass"))(matrix)
    assert largest_difference(scores, plain) < 1e-12


def test_linear_model_of_categories_alone_and_of_numbers_alone():
    matrix, signal = table(300)
    for kept, kinds in (([3, 5], ["category"] * 2), ([0, 2], ["number"] * 2)):
        columns = tuple(Column(f"c{n}", kind, nullable=True) for n, kind in enumerate(kinds))
        contract = Contract("y", None, "regression", None, (*columns, Column("y", "number", "target")))
        estimator = build_model(contract, {"estimator": "linear"}).fit(matrix[:, kept], signal)
        form = compiled_form(estimator)
        assert isinstance(form.form, LinearForm)
        assert form.scorer(0)(matrix[:, kept]) == pytest.approx(estimator.predict(matrix[:, kept]), rel=1e-12)


def test_extreme_scores_give_probabilities_without_a_warning():
    form = LinearForm(
        numbers=np.array([0]),
        largest=np.array(1e150),
        medians=np.zeros(1),
        means=np.zeros(1),
        scales=np.ones(1),
        weights=np.ones((1, 1)),
        indicated=np.empty(0, dtype=np.int64),
        indicator_weights=np.empty((0, 1)),
        categorical=np.empty(0, dtype=np.int64),
        category_weights=np.empty((0, 31, 1)),
        intercept=np.zeros(1),
    )
    score = Compiled(form, "logit", (0, 1)).scorer(2)
    with np.errstate(all="raise", under="ignore"):
        got = score(np.array([[-1e5], [0.0], [1e5]]))
    assert got.tolist() == [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]


def test_ensemble_that_needs_too_much_memory_is_not_compiled(monkeypatch):
    monkeypatch.setattr("compiling.MAXIMUM_TABLE_BYTES", 10_000)
    with pytest.raises(NotCompilable, match=r"25 trees of up to 31 leaves would take .* MiB"):
        compiled_form(boosted(2))


def test_size_that_the_limit_is_held_against_is_the_tables_size():
    form = compiled_form(boosted(3)).form
    assert form.table_bytes == form._table.nbytes


def test_estimators_without_a_form_are_named_in_the_reason():
    matrix, signal = table(200)
    matrix = np.nan_to_num(matrix)
    forest = RandomForestClassifier(5, random_state=0).fit(matrix, labels_of(signal, 2))
    found = compile_checked(forest, 2, forest.predict_proba, matrix)
    assert (found.compiled, found.reason) == (None, "RandomForestClassifier has no compiled form")


def test_form_that_differs_from_the_estimator_is_not_used():
    estimator = boosted(2)
    matrix, _ = table(100)

    def changed(rows):
        scores = estimator.predict_proba(rows)
        scores[7] += (2e-9, -2e-9)
        return scores

    found = compile_checked(estimator, 2, changed, matrix)
    assert found.compiled is None
    assert found.reason == "its scores differ from the estimator's by up to 2e-09; 1e-09 is allowed"
    assert found.to_dict()["largest_difference"] == pytest.approx(2e-9)
    assert compile_checked(estimator, 2, estimator.predict_proba, matrix).compiled is not None


@pytest.mark.parametrize("form", [RuntimeError("no"), "text", None])
def test_form_that_breaks_does_not_break_the_job(form):
    class Estimator:
        def compiled_form(self):
            if isinstance(form, Exception):
                raise form
            return form

    found = compile_checked(Estimator(), 0, len, np.zeros((2, 1)))
    assert found.compiled is None
    assert found.reason in (
        "compiling failed: RuntimeError: no",
        "compiled_form() returned a str, no Compiled",
        "compiled_form() returned a NoneType, no Compiled",
    )


def test_file_reads_back_as_it_was_written_and_is_the_same_each_time(tmp_path):
    matrix, _ = table()
    for task in (2, "regression"):
        compiled = compiled_form(boosted(task))
        compiled.write(tmp_path / "a.npz")
        compiled_form(boosted(task)).write(tmp_path / "b.npz")
        assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
        back = Compiled.read(tmp_path / "a.npz")
        assert (back.kind, back.link, back.classes) == ("trees", compiled.link, compiled.classes)
        assert np.array_equal(back.scorer(2)(matrix), compiled.scorer(2)(matrix))


@pytest.mark.parametrize("damage", ["cut", "format", "link", "kind", "array", "pickle"])
def test_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "compiled.npz"
    compiled_form(boosted(2)).write(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        with np.load(path) as file:
            arrays = dict(file)
        arrays |= {
            "format": {"format": np.array(2)},
            "link": {"link": np.array("probit")},
            "kind": {"kind": np.array("forest")},
            "array": {},
            "pickle": {"baseline": np.array([{}], dtype=object)},
        }[damage]
        if damage == "array":
            del arrays["cut_mask"]
        np.savez(path, **arrays)
    with pytest.raises(InvalidModel, match=r"compiled.npz"):
        Compiled.read(path)


@pytest.mark.parametrize("name", ["mixed", "breast-cancer", "wine", "diabetes"])
def test_job_ships_the_compiled_form_and_says_so(trained, name):
    root = trained(name)
    entry = read_json(root / "output" / "data" / "training_report.json")["compiled"]
    with np.load(root / "output" / "data" / "holdout.npz") as holdout:
        rows = len(holdout["candidate"])
    assert (entry["used"], entry["reason"], entry["rows_compared"]) == (True, None, rows)
    assert entry["largest_difference"] <= 1e-9
    assert entry["kind"] in ("linear", "trees")
    assert "compiled.npz" in read_json(root / "model" / "model.json")["files"]


def test_serving_loads_neither_scikit_learn_nor_the_pickle(trained):
    """Cold starts depend on it, and what isn't loaded can't be attacked."""
    root = trained("mixed")
    instances = read_json(root / "output" / "data" / "smoke.json")["instances"]
    program = (
        "import sys, json; sys.path.insert(0, sys.argv[1] + '/code'); import inference\n"
        "model = inference.model_fn(sys.argv[1])\n"
        "print(inference.answer(model, sys.stdin.read(), 'application/json', None)[0])\n"
        "print(sorted({'sklearn', 'scipy', 'pandas', 'joblib', 'pyarrow', 'model'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(root / "model")],
        input=json.dumps({"instances": instances}),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["200", "[]"]


FOREST = """
from sklearn.ensemble import RandomForestClassifier

def build_model(schema, hyperparameters):
    return RandomForestClassifier(n_estimators=5, random_state=0)
"""


def test_model_without_a_compiled_form_is_served_by_the_estimator_and_the_report_says_why(tmp_path):
    root = write_job(tmp_path, *builtin("wine"), model_py=FOREST)
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    assert read_json(root / "output" / "data" / "training_report.json")["compiled"] == {
        "used": False,
        "kind": None,
        "reason": "RandomForestClassifier has no compiled form",
        "largest_difference": None,
        "rows_compared": 0,
    }
    assert not (root / "model" / "compiled.npz").exists()
    smoke = read_json(root / "output" / "data" / "smoke.json")
    model = inference.model_fn(str(root / "model"))
    status, text = inference.answer(model, json.dumps({"instances": smoke["instances"]}), None, None)
    assert status == 200
    assert json.loads(text)["predictions"] == smoke["predictions"]


def test_one_row_costs_a_fraction_of_the_estimators_time():
    estimator = boosted(2, max_iter=100)
    row = table(1)[0]
    score = compiled_form(estimator).scorer(2)
    estimator.predict_proba(row)
    score(row)
    ours = min(timeit.repeat(lambda: score(row), number=50, repeat=7))
    theirs = min(timeit.repeat(lambda: estimator.predict_proba(row), number=5, repeat=7)) * 10
    assert ours < 0.25 * theirs


def test_trees_know_how_many_fitted_rows_each_leaf_held():
    matrix, signal = table()
    estimator = HistGradientBoostingRegressor(max_iter=7, categorical_features=CATEGORICAL, random_state=0)
    form = compiled_form(estimator.fit(matrix, signal)).form
    assert form.leaf_covers.shape == form.leaf_values.shape
    assert form.leaf_covers.sum(axis=1).tolist() == [len(matrix)] * 7
    leaves = [int(tree.nodes["is_leaf"].sum()) for (tree,) in estimator._predictors]
    assert (form.leaf_covers > 0).sum(axis=1).tolist() == leaves


def test_file_of_a_release_that_did_not_keep_covers_still_answers(tmp_path):
    matrix, signal = table()
    compiled = compiled_form(HistGradientBoostingRegressor(max_iter=5, random_state=0).fit(matrix, signal))
    compiled.write(tmp_path / "now.npz")
    with np.load(tmp_path / "now.npz") as file:
        np.savez(tmp_path / "then.npz", **{name: file[name] for name in file.files if name != "leaf_covers"})
    then = Compiled.read(tmp_path / "then.npz")
    assert then.form.leaf_covers is None
    assert np.array_equal(then.scorer(0)(matrix), compiled.scorer(0)(matrix))
