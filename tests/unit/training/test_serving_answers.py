"""inference.py: what a saved model answers, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import flask
import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.unit.training.job_folders import builtin, read_json

import inference
from dropforge.domain.contract import Column, Contract
from dropforge.domain.encoding import Encoding
from dropforge.domain.errors import InvalidModel, UnusableEstimator
from raw_columns import RawColumns

ROW = {"amount": 120.5, "visits": 3, "member": True, "city": "Bern", "since": "2024-03-01T15:00:00Z"}


@pytest.fixture(scope="module")
def model(trained):
    return inference.model_fn(str(trained("mixed") / "model"))


def ask(model, instances, content_type="application/json", accept="application/json"):
    body = instances if isinstance(instances, str | bytes) else json.dumps({"instances": instances})
    status, text = inference.answer(model, body, content_type, accept)
    return status, json.loads(text)


def problems(model, instances, **more):
    status, content = ask(model, instances, **more)
    assert status == 400
    assert content["error"]["type"] == "InvalidRequest"
    return [(p["instance"], p["column"], p["problem"]) for p in content["error"]["problems"]]


def test_classification_gives_label_and_probabilities(model):
    status, content = ask(model, [ROW])
    assert status == 200
    (prediction,) = content["predictions"]
    assert set(prediction["probabilities"]) == {"no", "yes"}
    assert sum(prediction["probabilities"].values()) == pytest.approx(1)
    assert prediction["label"] == max(prediction["probabilities"], key=prediction["probabilities"].get)


def test_regression_gives_a_value(trained):
    model = inference.model_fn(str(trained("diabetes") / "model"))
    contract, frame = builtin("diabetes")
    row = frame.iloc[0].drop(contract.target).to_dict()
    status, content = ask(model, [row])
    assert status == 200
    assert set(content["predictions"][0]) == {"value"}
    assert 20 < content["predictions"][0]["value"] < 350


def test_transform_fn_gives_the_status_to_the_server(model):
    good = inference.transform_fn(model, json.dumps({"instances": [ROW]}), "application/json", "*/*")
    bad = inference.transform_fn(model, b"{", "application/json", "application/json")
    assert isinstance(good, flask.Response)
    assert (good.status_code, good.mimetype, bad.status_code) == (200, "application/json", 400)


@pytest.mark.parametrize("name", ["mixed", "breast-cancer", "wine", "diabetes"])
def test_answers_to_smoke_rows_are_those_of_training(trained, name):
    """One row at a time, through another load of the model: the numbers differ at most by rounding."""
    smoke = read_json(trained(name) / "output" / "data" / "smoke.json")
    model = inference.model_fn(str(trained(name) / "model"))
    for instance, expected in zip(smoke["instances"], smoke["predictions"], strict=True):
        _, content = ask(model, [instance])
        (got,) = content["predictions"]
        if "value" in expected:
            assert got["value"] == pytest.approx(expected["value"], rel=1e-9)
        else:
            assert got["label"] == expected["label"]
            assert got["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-9)


def test_nulls_are_accepted_where_the_contract_says_so(model):
    assert ask(model, [dict.fromkeys(ROW)])[0] == 200


def test_unseen_category_is_accepted(model):
    assert ask(model, [{**ROW, "city": "Atlantis"}])[0] == 200


def test_key_and_ignored_columns_may_be_sent_along(model):
    plain = ask(model, [ROW])
    assert ask(model, [{**ROW, "id": "c1", "note": 7}]) == plain


def test_csv_gives_the_same_answer(model):
    csv = 'city,amount,visits,member,since\r\nBern,120.5,3,true,2024-03-01T15:00:00Z\r\n"Łódź",,,,\r\n'
    rows = [ROW, {**dict.fromkeys(ROW), "city": "Łódź"}]
    assert ask(model, csv, content_type="text/csv; charset=utf-8") == ask(model, rows)
    assert ask(model, b"\xef\xbb\xbf" + csv.encode(), content_type="text/csv") == ask(model, rows)


BAD_VALUES = [
    ("amount", "twelve", "must be a number, not the string 'twelve'"),
    ("amount", True, "must be a number, not a boolean"),
    ("amount", [1], "must be a number, not a list"),
    ("visits", 1.5, "must be an integer, not 1.5"),
    ("visits", "x", "must be an integer"),
    ("visits", 2**63, "must be a 64-bit integer"),
    ("visits", -1, "-1 is below the minimum 0"),
    ("member", 2, "must be true or false, not a number"),
    ("city", {}, "must be a string, not an object"),
    ("since", "yesterday", "must be a timestamp in ISO 8601, not the string 'yesterday'"),
    ("since", 1700000000, "must be a timestamp in ISO 8601, not a number"),
]


@pytest.mark.parametrize(("column", "value", "problem"), BAD_VALUES)
def test_value_of_the_wrong_type_is_refused(model, column, value, problem):
    ((instance, where, what),) = problems(model, [ROW, {**ROW, column: value}])
    assert (instance, where) == (1, column)
    assert problem in what


@pytest.mark.parametrize("spelling", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(model, spelling):
    body = json.dumps({"instances": [ROW]}).replace("120.5", spelling)
    ((_, _, what),) = problems(model, body)
    assert "no JSON number" in what or "finite" in what


def test_every_problem_of_every_instance_is_named(model):
    incomplete = {name: value for name, value in ROW.items() if name != "city"}
    found = problems(
        model,
        [{**ROW, "amount": "a", "colour": "red"}, {**incomplete, "bought": "yes"}, 7, {**ROW, "visits": "b"}],
    )
    assert sorted((i, c or "") for i, c, _ in found) == [
        (0, "amount"),
        (0, "colour"),
        (1, "bought"),
        (1, "city"),
        (2, ""),
        (3, "visits"),
    ]
    texts = {(i, c): p for i, c, p in found}
    assert texts[0, "colour"] == "is no column of the contract"
    assert texts[1, "bought"].startswith("is the target")
    assert texts[1, "city"] == "is missing; send null where the value is unknown"


def test_null_is_refused_where_the_contract_does_not_allow_it(trained):
    model = inference.model_fn(str(trained("wine") / "model"))
    contract, frame = builtin("wine")
    row = frame.iloc[0].drop(contract.target).to_dict()
    assert problems(model, [{**row, "alcohol": None}]) == [(0, "alcohol", "must not be null")]
    del row["alcohol"]
    assert problems(model, [row]) == [(0, "alcohol", "is missing")]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "no JSON"),
        (b"[1, 2]", "must be {"),
        (b'{"instances": {}}', "must be {"),
        (b'{"instances": []}', "no instances"),
        (b'{"instances": [{}], "signature": 1}', "unknown member 'signature'"),
        (b"\xff\xfe", "UTF-8"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_malformed_json_is_refused(model, body, problem):
    ((instance, _, what),) = problems(model, body)[:1]
    assert instance is None
    assert problem in what


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", (None, None, "no instances")),
        ("amount,amount\n1,2\n", (None, "amount", "stands twice")),
        ("amount,visits\n1\n", (0, None, "1 fields where the header has 2")),
        ('amount\n"1', (None, None, "no CSV")),
        ("city,amount,visits,member,since\nBern,inf,1,true,\n", (0, "amount", "must be a number")),
        ("city,amount,visits,member,since\nBern,ten,1,true,\n", (0, "amount", "must be a number")),
        ("city,amount,visits,member,since\nBern,1,1,maybe,\n", (0, "member", "must be true or false")),
    ],
)
def test_malformed_csv_is_refused(model, body, expected):
    instance, column, what = problems(model, body, content_type="text/csv")[0]
    assert (instance, column) == expected[:2]
    assert expected[2] in what


def test_a_flood_of_problems_is_cut_with_a_count(model):
    found = problems(model, [7] * 1500)
    assert len(found) == 1001
    assert found[-1] == (None, None, "500 more problems are not listed")


def test_other_content_types_are_refused(model):
    for content_type in ("application/x-npy", "text/plain"):
        status, content = ask(model, [ROW], content_type=content_type)
        assert status == 415
        assert content["error"]["type"] == "UnsupportedMediaType"
    assert ask(model, [ROW], content_type="Application/JSON; charset=utf-8")[0] == 200


def test_other_answer_types_are_refused(model):
    assert ask(model, [ROW], accept="text/csv")[0] == 406
    assert ask(model, [ROW], accept="text/html, */*;q=0.1")[0] == 200
    assert ask(model, [ROW], accept=None)[0] == 200


def test_hard_rules_refuse_what_breaks_them():
    contract = Contract(
        "y",
        None,
        "regression",
        None,
        (
            Column("size", "number", minimum=1.0, maximum=2.0),
            Column("kind", "category", categories=("a", "b")),
            Column("y", "number", "target"),
        ),
    )
    encoding = Encoding(contract, {"kind": ("a", "b")})
    model = inference.Model(contract, encoding, lambda matrix: matrix.sum(axis=1))
    assert ask(model, [{"size": 2, "kind": "b"}]) == (200, {"predictions": [{"value": 3.0}]})
    assert problems(model, [{"size": 2.1, "kind": "c"}]) == [
        (0, "size", "2.1 is above the maximum 2.0"),
        (0, "kind", "'c' is none of the categories a, b"),
    ]


def copied(trained, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained("wine") / "model", folder)
    return folder


@pytest.mark.parametrize("name", ["model.joblib", "compiled.npz", "encoding.json", "code/model.py"])
def test_changed_file_is_refused_before_anything_is_unpickled(trained, tmp_path, monkeypatch, name):
    folder = copied(trained, tmp_path)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    monkeypatch.setattr(inference, "load_predictor", lambda *_: pytest.fail("it was unpickled"))
    with pytest.raises(InvalidModel, match=f"{name} has another digest"):
        inference.model_fn(str(folder))


def test_missing_and_unlisted_files_are_refused(trained, tmp_path):
    folder = copied(trained, tmp_path)
    (folder / "code" / "sitecustomize.py").write_text("import os")
    (folder / "encoding.json").unlink()
    with pytest.raises(InvalidModel, match=r"encoding.json is missing; code/sitecustomize.py is not listed"):
        inference.model_fn(str(folder))


def test_another_model_than_the_registered_one_is_refused_before_anything_is_unpickled(trained, monkeypatch):
    folder = trained("wine") / "model"
    digest = json.loads((folder / "model.json").read_text())["model_digest"]
    monkeypatch.setenv("DROPFORGE_MODEL_DIGEST", digest)
    assert inference.model_fn(str(folder)).contract.target == "cultivar"
    monkeypatch.setenv("DROPFORGE_MODEL_DIGEST", "0" * 64)
    monkeypatch.setattr(inference, "load_predictor", lambda *_: pytest.fail("it was unpickled"))
    with pytest.raises(InvalidModel, match=f"this is model {digest}, but 0000"):
        inference.model_fn(str(folder))


def test_classes_that_training_never_saw_get_probability_zero():
    contract = Contract(
        "y", None, "multiclass", ("a", "b", "c"), (Column("x", "number"), Column("y", "category", "target"))
    )

    class Estimator:
        classes_ = np.array([0, 2])

        def predict_proba(self, matrix):
            return np.tile([0.25, 0.75], (len(matrix), 1))

    predict = inference.predictor_of(Estimator(), contract)
    assert predict(np.zeros((1, 1))).tolist() == [[0.25, 0.0, 0.75]]


@pytest.mark.parametrize("answer", [np.zeros((1, 1)), np.full((1, 2), np.nan), np.array([[0.9, 0.9]])])
def test_estimator_that_gives_no_probabilities_is_refused(answer):
    contract = Contract(
        "y", None, "binary", ("a", "b"), (Column("x", "number"), Column("y", "category", "target"))
    )

    class Estimator:
        classes_ = np.array([0, 1])

        def predict_proba(self, matrix):
            return answer

    with pytest.raises(UnusableEstimator):
        inference.predictor_of(Estimator(), contract)(np.zeros((1, 1)))


class Picky:
    """A pipeline of one's own that knows two colours, as an encoder without handle_unknown does."""

    classes_ = np.array([0, 1])

    def predict_proba(self, frame):
        if unknown := set(frame["colour"]) - {"red", "blue"}:
            raise ValueError(f"Found unknown categories {sorted(unknown)} in column 0")
        return np.tile([0.25, 0.75], (len(frame), 1))


@pytest.fixture
def picky():
    columns = Column("colour", "category"), Column("y", "category", "target")
    contract = Contract("y", None, "binary", ("a", "b"), columns)
    predict = inference.predictor_of(Picky(), contract)
    return inference.Model(contract, RawColumns(contract), predict)


def test_rows_on_which_the_estimator_fails_are_named_with_what_it_said(picky):
    assert ask(picky, [{"colour": "red"}])[0] == 200
    status, content = ask(picky, [{"colour": "red"}, {"colour": "green"}])
    said = "Picky.predict_proba fails on rows: ValueError: Found unknown categories ['green'] in column 0"
    assert (status, content["error"]) == (
        422,
        {"type": "UnusableEstimator", "problems": [{"instance": 1, "column": None, "problem": said}]},
    )


def test_of_many_rows_none_is_tried_alone_and_a_long_message_is_cut(picky):
    colours = [f"colour {number}" for number in range(inference.TRIED_ALONE + 1)]
    status, content = ask(picky, [{"colour": colour} for colour in colours])
    (problem,) = content["error"]["problems"]
    assert (status, problem["instance"]) == (422, None)
    assert len(problem["problem"]) < inference.PROBLEM_CHARACTERS + 100


def test_scores_a_split_as_a_program_with_the_archives_own_code_and_without_pandas(trained, tmp_path):
    root = trained("mixed")
    out = tmp_path / "scores.npz"
    program = root / "model" / "code" / "inference.py"
    data = root / "input" / "data" / "test"
    command = [sys.executable, "-X", "importtime", str(program), "score", "--model", str(root / "model")]
    command += ["--data", str(data), "--out", str(out)]
    done = subprocess.run(command, check=True, cwd=tmp_path, timeout=60, capture_output=True, text=True)
    assert "pyarrow" in done.stderr
    assert "pandas" not in done.stderr, "loading it takes longer than scoring"
    with np.load(out) as scored, np.load(root / "output" / "data" / "holdout.npz") as holdout:
        assert np.array_equal(scored["row_key"], holdout["row_key"])
        assert np.array_equal(scored["scores"], holdout["candidate"])
        assert scored["classes"].tolist() == ["no", "yes"]


def test_archives_copy_of_dropforge_wins_over_an_installed_one(trained, tmp_path):
    """A champion must be scored by the code it was trained with, not by today's."""
    folder = tmp_path / "model"
    shutil.copytree(trained("wine") / "model", folder)
    (folder / "code" / "dropforge" / "domain" / "encoding.py").write_text("raise SystemExit('its own')")
    program = folder / "code" / "inference.py"
    command = [sys.executable, str(program), "score", "--model", str(folder), "--data", ".", "--out", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.stderr.strip() == "its own"


def test_scoring_a_split_of_another_contract_names_what_is_missing(trained, tmp_path):
    root = trained("mixed")
    other = trained("wine") / "input" / "data" / "test"
    program = root / "model" / "code" / "inference.py"
    command = [sys.executable, str(program), "score", "--model", str(root / "model")]
    done = subprocess.run(
        [*command, "--data", str(other), "--out", str(tmp_path / "x.npz")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("SchemaChanged: test/part-00000.parquet lacks the contract's column(s)")


def test_requests_and_parquet_are_encoded_alike(trained, model):
    """Training reads Parquet, serving reads JSON: one row must become one and the same matrix row."""
    root = trained("mixed")
    smoke = read_json(root / "output" / "data" / "smoke.json")
    names = [column.name for column in model.contract.features]
    batches = inference.batches_of_split(root / "input" / "data" / "test", model.contract, names)
    trained_on = np.concatenate(
        [model.encoding.encode(inference.columns_of(batch, model.contract)) for batch in batches]
    )
    assert len(trained_on) == len(pq.read_table(root / "input" / "data" / "test"))
    rows = np.unique(np.linspace(0, len(trained_on) - 1, 32).round().astype(int))
    body = json.dumps({"instances": smoke["instances"]}).encode()
    served = model.encoding.encode(inference.columns_of_json(model.contract, body))
    np.testing.assert_array_equal(served, trained_on[rows])
