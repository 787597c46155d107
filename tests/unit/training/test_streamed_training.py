"""Large tables are read in pieces: what is learned from them is what the whole matrix teaches."""

from __future__ import annotations

import dataclasses
import io
from functools import partial

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from tests.unit.training.job_folders import read_json, run_jobs_in_an_interpreter, write_job
from tests.unit.training.test_model_selection import contract_of

import fitting
import inference
import streamed_boosting
import text_learning
from dropforge.domain.contract import LEARNED, Column, Contract
from fitting import Fitting
from folders import Folders
from model import Boosted, Design, Linear, build_model
from splits import Rows, features_of, read_splits

CITIES = ("Basel", "Bern", "Chur", "Genf", "Zug")


class Pieces:
    """A matrix as `splits.Rows` offers one, in pieces of different lengths."""

    def __init__(self, matrix, size=37):
        self.matrix, self.size, self.shape = matrix, size, matrix.shape

    def __len__(self):
        return len(self.matrix)

    def batches(self):
        for start in range(0, len(self.matrix), self.size):
            yield self.matrix[start : start + self.size]
        yield self.matrix[:0]

    def take(self, rows):
        return self.matrix[rows]


def matrix_of(rows, random):
    """Return two columns of codes, one of them with gaps, and three numbers, of which one has gaps."""
    matrix = random.normal(size=(rows, 5))
    matrix[:, 1] = random.integers(0, 7, rows)
    matrix[:, 3] = random.integers(2, 40, rows)
    matrix[random.random(rows) < 0.1, 3] = np.nan
    matrix[random.random(rows) < 0.2, 4] = np.nan
    return matrix, np.array([False, True, False, True, False])


def dumped(estimator):
    """Return the pickle, without the losses of the training rows, which tell nothing."""
    estimator.train_score_ = np.empty(0)
    file = io.BytesIO()
    joblib.dump(estimator, file)
    return file.getvalue()


@pytest.mark.parametrize("rows", [400, 205_000], ids=["all rows make the bins", "a sample of the rows does"])
@pytest.mark.parametrize("categories", [True, False], ids=["with categories", "numbers alone"])
@pytest.mark.parametrize("n_classes", [0, 2, 3], ids=["regression", "binary", "multiclass"])
def test_boosting_on_pieces_is_boosting_on_the_matrix_in_every_bit(rows, categories, n_classes):
    random = np.random.default_rng(rows + n_classes)
    matrix, categorical = matrix_of(rows, random)
    if not categories:
        categorical[:] = False
    signal = matrix[:, 0] + np.nan_to_num(matrix[:, 3]) / 20 + random.normal(size=rows)
    target = signal if n_classes == 0 else np.digitize(signal, [-0.5, 1.0][: n_classes - 1]).astype(np.uint8)
    stopping = {"X_val": matrix[:100], "y_val": target[:100]}
    chosen = {"max_iter": 3, "random_state": 5, "early_stopping": True}
    chosen["categorical_features"] = categorical if categories else None
    kind = HistGradientBoostingClassifier if n_classes else HistGradientBoostingRegressor
    whole = kind(**chosen).fit(matrix, target.astype(np.int64 if n_classes else float), **stopping)
    pieces = Pieces(matrix, 30_001)
    empty, found = streamed_boosting.surveyed(pieces, categorical)
    columns = np.flatnonzero(~empty)
    streamed = kind(**chosen)
    streamed_boosting.fit(streamed, streamed_boosting.Columns(pieces, columns, found), target, **stopping)
    assert type(streamed) is kind
    assert dumped(streamed) == dumped(whole)


def test_columns_without_a_value_are_found_piece_by_piece():
    matrix = np.array([[np.nan, 1.0, np.nan], [np.nan, np.nan, 3.0]])
    empty, found = streamed_boosting.surveyed(Pieces(matrix, 1), np.array([False, True, True]))
    assert empty.tolist() == [True, False, False]
    np.testing.assert_array_equal(found[1], [1.0, np.nan])
    np.testing.assert_array_equal(found[2], [3.0, np.nan])


@pytest.mark.parametrize("strength", [0.1, 1000.0])
def test_ridge_regression_on_pieces_is_that_on_the_matrix(strength):
    random = np.random.default_rng(1)
    matrix, categorical = matrix_of(3000, random)
    target = 1e4 + matrix[:, 0] * 3 + matrix[:, 1] + random.normal(size=3000)
    design = Design(tuple(categorical), matrix)
    whole = Linear("regression", design, strength).fit(matrix, target)
    streamed = Linear("regression", design, strength).fit(matrix[:200], target[:200])
    streamed.refit(Pieces(matrix), target)
    np.testing.assert_allclose(streamed.predict(matrix), whole.predict(matrix), rtol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("strength", [0.01, 10.0])
def test_logistic_regression_on_pieces_is_that_on_the_matrix(n_classes, strength):
    random = np.random.default_rng(2)
    matrix, categorical = matrix_of(4000, random)
    signal = matrix[:, 0] + (matrix[:, 1] == 3) + random.normal(size=4000)
    codes = np.digitize(signal, [0.0, 0.7, 1.5][: n_classes - 1]).astype(np.uint8)
    design = Design(tuple(categorical), matrix)
    streamed = Linear("binary", design, strength).fit(matrix[:500], codes[:500])
    streamed.estimator.tol = 1e-7
    streamed.refit(Pieces(matrix), codes)
    exact = LogisticRegression(C=strength, tol=1e-9, max_iter=10_000).fit(design(matrix), codes)
    assert streamed.classes_.tolist() == list(range(n_classes))
    np.testing.assert_allclose(streamed.predict_proba(matrix), exact.predict_proba(design(matrix)), atol=2e-4)


def mixed_frame(rows, seed=0):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": random.normal(size=rows), "z": random.normal(size=rows)})
    frame["city"] = random.choice(np.array([*CITIES, None], dtype=object), rows)
    chance = 1 / (1 + np.exp(-2 * frame.x - (frame.city == "Bern") + frame.z**2 - 1))
    frame["y"] = np.where(random.random(rows) < chance, "yes", "no")
    frame.loc[random.random(rows) < 0.1, "z"] = np.nan
    columns = (
        Column("x", "number"),
        Column("z", "number", nullable=True),
        Column("city", "category", nullable=True),
        Column("y", "category", "target"),
    )
    return Contract("y", None, "binary", ("no", "yes"), columns), frame


def worded_frame(rows):
    """Add a text of which one word tells something, and a category of many values that do."""
    contract, frame = mixed_frame(rows)
    random = np.random.default_rng(8)
    is_yes = (frame.y == "yes").to_numpy()
    frame["text"] = [
        None if gap else f"{'red' if yes ^ odd else 'blue'} note {n % 90}"
        for n, (yes, odd, gap) in enumerate(
            zip(is_yes, random.random(rows) < 0.3, random.random(rows) < 0.05, strict=True)
        )
    ]
    frame["shop"] = [
        f"s{n}" for n in np.where(is_yes, random.integers(0, 260, rows), random.integers(90, 350, rows))
    ]
    more = (Column("text", "text", nullable=True), Column("shop", "category", encoding=LEARNED))
    return dataclasses.replace(contract, columns=(*more, *contract.columns)), frame


def rows_of(root, contract):
    splits = read_splits(Folders(root), contract)[:2]
    target = np.concatenate([split.target for split in splits])
    encoding, own = text_learning.learn(contract, partial(features_of, splits), target, None)
    return Rows(encoding, splits, own), target, splits


@pytest.mark.parametrize("frame_of", [mixed_frame, worded_frame], ids=["without texts", "with texts"])
@pytest.mark.parametrize("estimator", ["boosted", "linear"])
def test_a_large_table_gives_the_model_of_the_small_ones_way(tmp_path, monkeypatch, estimator, frame_of):
    contract, frame = frame_of(3000)
    rows, target, splits = rows_of(write_job(tmp_path, contract, frame), contract)
    monkeypatch.setattr(inference, "BATCH_ROWS", 100)
    matrix = np.asarray(rows)
    models = {}
    for limit in (100_000, 0):
        monkeypatch.setattr(fitting, "STREAMED_ROWS", limit)
        given = {"seed": 3, "estimator": estimator, **({"max_iter": 30} if estimator == "boosted" else {})}
        work = Fitting(
            lambda given=given: build_model(contract, given),
            *(rows, target, len(splits[0]), None, splits[1].row_key),
        )
        first = work.first()
        models[limit], fitted = work.final(first)
        assert fitted == {"train": len(splits[0]), "validation": len(splits[1])}
        if frame_of is worded_frame and estimator == "boosted":
            assert models[limit].selected_ == "boosted"
            assert set(models[limit].scores_) == {"boosted", "boosted without texts"}
    whole, streamed = models.values()
    if estimator == "boosted":
        assert dumped(streamed.best_.estimator) == dumped(whole.best_.estimator)
    else:
        assert streamed.parameters_ == whole.parameters_
        np.testing.assert_allclose(streamed.predict_proba(matrix), whole.predict_proba(matrix), atol=2e-3)
    scores = streamed.compiled_form().scorer(2)(matrix)
    np.testing.assert_allclose(scores, streamed.predict_proba(matrix), atol=1e-9)


def test_boosting_without_texts_sees_none_of_them_in_a_large_table_either(tmp_path):
    contract, frame = worded_frame(2000)
    rows, target, _ = rows_of(write_job(tmp_path, contract, frame), contract)
    categorical = build_model(contract, {"seed": 1}).categorical
    none = np.empty((0, rows.shape[1])), target[:0]
    chosen = {"max_iter": 10, "random_state": 1}
    whole, streamed = (
        Boosted("binary", categorical, chosen, with_texts=False).fit(table, codes, *none)
        for table, codes in ((np.asarray(rows), target.astype(np.int64)), (rows, target))
    )
    assert {categorical[column] for column in streamed.columns} == {False, True}
    assert streamed.columns.tolist() == whole.columns.tolist()
    assert dumped(streamed.estimator) == dumped(whole.estimator)


def test_what_is_learned_of_texts_does_not_depend_on_the_pieces(tmp_path, monkeypatch):
    contract, frame = worded_frame(2500)
    root = write_job(tmp_path, contract, frame)
    (encoding, whole), (other, pieces) = (
        learned_in_pieces_of(size, root, contract, monkeypatch) for size in (1_000_000, 61)
    )
    assert other.to_json() == encoding.to_json()
    assert whole.keys() == pieces.keys() == {"text", "shop"}
    for name, numbers in whole.items():
        assert pieces[name].tobytes() == numbers.tobytes()
        assert numbers.dtype == np.float32


def learned_in_pieces_of(size, root, contract, monkeypatch):
    monkeypatch.setattr(inference, "BATCH_ROWS", size)
    splits = read_splits(Folders(root), contract)[:2]
    target = np.concatenate([split.target for split in splits])
    return text_learning.learn(contract, partial(features_of, splits), target, None)


def test_validation_rows_that_nobody_needs_to_stop_are_fitted_at_once(tmp_path, monkeypatch):
    contract, frame = mixed_frame(8000)
    rows, target, splits = rows_of(write_job(tmp_path, contract, frame), contract)
    for name, value in {"STREAMED_ROWS": 0, "STOPPING_ROWS": 300, "STOPPING_ROWS_OF_A_CLASS": 50}.items():
        monkeypatch.setattr(fitting, name, value)
    seen = []

    class Watching:
        streams = True

        def fit(self, X, y, X_val, y_val):
            seen.append((np.asarray(X), y, X_val, y_val))
            return self

        def fit_final(self, X, y):
            raise AssertionError("the second fit would add 300 of 7,200 rows")

    work = Fitting(Watching, rows, target, len(splits[0]), None, splits[1].row_key)
    first = work.first()
    assert work.final(first) == (first, {"train": 6400, "validation": 500})
    ((fitted, y, stopping, y_stopping),) = seen
    assert (len(fitted), len(y), len(stopping), len(y_stopping)) == (6900, 6900, 300, 300)
    matrix = np.asarray(rows)
    np.testing.assert_array_equal(fitted[:6400], matrix[:6400])
    both = np.vstack([fitted, stopping])
    order = np.lexsort(both.T), np.lexsort(matrix.T)
    np.testing.assert_array_equal(both[order[0]], matrix[order[1]])
    np.testing.assert_array_equal(np.append(y, y_stopping)[order[0]], target[order[1]])


@pytest.mark.parametrize(
    ("positives", "least", "most"),
    [(500, 100, 100), (20, 400, 1000), (0, 100, 100), (2, 1000, 1000)],
    ids=["even classes", "a rare class", "one class alone", "too few of a class"],
)
def test_rows_that_stop_are_enough_of_each_class(monkeypatch, positives, least, most):
    monkeypatch.setattr(fitting, "STOPPING_ROWS", 100)
    monkeypatch.setattr(fitting, "STOPPING_ROWS_OF_A_CLASS", 10)
    random = np.random.default_rng(4)
    target = (random.permutation(1000) < positives).astype(np.uint8)
    keys = random.permutation(1000).astype(np.uint64)
    watched = fitting._watched(target, keys)
    assert least <= watched.sum() <= most
    assert target[watched].sum() >= min(10, positives)
    assert keys[watched].max() == watched.sum() - 1, "the first in order"


def test_all_validation_rows_stop_where_rows_belong_together(monkeypatch):
    monkeypatch.setattr(fitting, "STOPPING_ROWS", 100)
    assert fitting._watched(np.zeros(1000), None).all()


@settings(max_examples=10)
@given(size=st.integers(1, 9), piece=st.integers(1, 5), data=st.data())
def test_rows_are_the_matrix_however_they_are_read(tmp_path_factory, size, piece, data):
    root = tmp_path_factory.mktemp("rows")
    contract, frame = mixed_frame(60 * size, seed=piece)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inference, "BATCH_ROWS", piece * 7)
        rows, _, _ = rows_of(write_job(root, contract, frame), contract)
        matrix = np.asarray(rows)
        assert matrix.shape == rows.shape == (len(rows), 3)
        np.testing.assert_array_equal(np.vstack(list(rows.batches())), matrix)
        asked = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=20)), dtype=np.intp)
        np.testing.assert_array_equal(rows.take(asked), matrix[asked])
        kept = np.random.default_rng(piece).random(len(rows)) < 0.5
        np.testing.assert_array_equal(np.asarray(rows.only(kept)), matrix[kept])
        np.testing.assert_array_equal(np.asarray(rows.only(kept).only(kept[kept] & False)), np.empty((0, 3)))


def test_scores_of_a_split_don_t_depend_on_the_pieces(trained, monkeypatch):
    root = trained("mixed")
    model = inference.model_fn(str(root / "model"))
    whole = inference.score_split(model, root / "input" / "data" / "test")
    monkeypatch.setattr(inference, "BATCH_ROWS", 7)
    pieces = inference.score_split(model, root / "input" / "data" / "test")
    np.testing.assert_array_equal(pieces["row_key"], whole["row_key"])
    np.testing.assert_allclose(pieces["scores"], whole["scores"], rtol=1e-14)


def test_a_large_table_has_the_same_digest_on_any_number_of_cores(tmp_path):
    contract, frame = mixed_frame(140_000)
    digests = set()
    for cores in (1, 2, 4):
        root = write_job(
            tmp_path / str(cores), contract, frame, {"estimator": "boosted", "max_iter": "5", "seed": "0"}
        )
        result = run_jobs_in_an_interpreter(root, OMP_NUM_THREADS=str(cores), LOKY_MAX_CPU_COUNT=str(cores))
        assert result.returncode == 0, result.stderr
        report = read_json(root / "output" / "data" / "training_report.json")
        digests.add(report["model_digest"])
    assert len(digests) == 1
    assert report["compiled"]["used"]
    assert report["fitted"] == {"train": 112_000, "validation": 14_000}


def test_selection_of_a_large_table_holds_every_class():
    fitted = build_model(contract_of("multiclass", 3, ["number"]), {"seed": 1})
    target = np.zeros(300_000, dtype=np.uint8)
    target[7], target[1000:4000] = 2, 1
    rows = fitted._selection_rows(target)
    assert len(rows) == pytest.approx(50_000, abs=3)
    assert np.array_equal(rows, np.unique(rows))
    assert np.bincount(target[rows]).tolist() == [49_500, 500, 1]
