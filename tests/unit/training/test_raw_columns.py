"""A model of one's own that reads the columns themselves, from training to what it answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.unit.training.job_folders import REPOSITORY, mixed, pack, read_json, run_job, write_job
from tests.unit.training.test_champion_scoring import sha256

from dropforge.domain.contract import Column, Contract
from raw_columns import RawColumns, put, rows_of
from tests import documented

(EXAMPLE,) = [each.text for each in documented.blocks() if each.info == "python columns"]
COMMENTS = (
    "broken on arrival, want money back",
    "works well",
    "broken twice",
    "lovely, works",
    "money back now",
)


def with_comments() -> tuple[Contract, pd.DataFrame]:
    """The mixed table, whose target follows a text too, with texts missing."""
    contract, frame = mixed()
    texts = np.array(COMMENTS, dtype=object)[np.arange(len(frame)) % len(COMMENTS)]
    angry = np.array(["broken" in text or "money" in text for text in texts])
    frame["comment"] = [f"{text}, case {number}" for number, text in enumerate(texts)]
    frame["bought"] = np.where(angry, "no", "yes")
    frame.loc[::31, "comment"] = None
    columns = (*contract.columns, Column("comment", "text", nullable=True))
    return replace(contract, columns=columns), frame


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    result = run_job(write_job(root, *with_comments(), {"seed": "1"}, EXAMPLE))
    assert result.returncode == 0, result.stderr
    return root


def test_the_documented_pipeline_learns_from_texts_as_they_are(job):
    report = read_json(job / "output" / "data" / "training_report.json")
    assert report["input"] == "columns"
    assert report["estimator"] == "Pipeline"
    assert report["validation"]["auc"] > 0.95
    assert report["learned"] == {}
    assert report["fitted"] == {"train": 480, "validation": 60}
    assert "pandas" in report["libraries"]
    important = report["importance"]
    assert set(important) == {"amount", "visits", "member", "city", "since", "comment"}
    assert max(important, key=lambda name: important[name]["mean"]) == "comment"
    assert important["since"]["mean"] == 0, "the pipeline doesn't look at it"


def test_it_has_no_compiled_form_and_says_why(job):
    report = read_json(job / "output" / "data" / "training_report.json")
    assert report["compiled"]["reason"] == "it reads the columns themselves, not the matrix"
    assert not (job / "model" / "compiled.npz").exists()


ASK = """
import json, sys
sys.path.insert(0, "code")
import inference
model = inference.model_fn(".")
print(json.dumps([inference.answer(model, line, None, None) for line in sys.stdin]))
"""


def answers(folder, instances):
    """What the archive answers to each instance in a request of its own, by its own code."""
    lines = "\n".join(json.dumps({"instances": [each]}) for each in instances)
    ended = subprocess.run(
        [sys.executable, "-c", ASK], cwd=folder, input=lines, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return [(status, json.loads(text)["predictions"][0]) for status, text in json.loads(ended.stdout)]


def test_it_answers_one_row_as_it_answered_many(job):
    smoke = read_json(job / "output" / "data" / "smoke.json")
    first = smoke["instances"][0]
    lacking = {**first, "comment": None, "city": "Nowhere", "amount": None}
    *found, other = answers(job / "model", [*smoke["instances"], lacking])
    for (status, prediction), expected in zip(found, smoke["predictions"], strict=True):
        assert (status, prediction["label"]) == (200, expected["label"])
        assert prediction["probabilities"]["no"] == pytest.approx(expected["probabilities"]["no"])
    assert other[0] == 200


def test_a_replay_gives_the_same_digest(job, tmp_path):
    again = write_job(tmp_path, *with_comments(), {"seed": "1"}, EXAMPLE)
    result = run_job(again, PYTHONHASHSEED="3", OMP_NUM_THREADS="2")
    assert result.returncode == 0, result.stderr
    first, second = (read_json(root / "model" / "model.json")["model_digest"] for root in (job, again))
    assert first == second


def test_it_is_scored_as_the_live_model_of_a_job_on_the_matrix(job, tmp_path):
    champion = pack(job / "model", tmp_path / "champion.tar.gz")
    hyperparameters = {"seed": "1", "estimator": "linear", "champion_sha256": sha256(champion)}
    root = write_job(tmp_path / "job", *with_comments(), hyperparameters)
    channel = root / "input" / "data" / "champion"
    channel.mkdir()
    (channel / "model.tar.gz").write_bytes(champion.read_bytes())
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    report = read_json(root / "output" / "data" / "training_report.json")
    assert (report["input"], report["champion"]["scored"]) == ("matrix", True)
    places = [each / "output" / "data" / "holdout.npz" for each in (root, job)]
    with np.load(places[0]) as found, np.load(places[1]) as own:
        np.testing.assert_allclose(found["champion"], own["candidate"], rtol=0, atol=1e-12)


def test_it_may_have_a_decision_threshold_chosen_out_of_fold(tmp_path):
    wish = json.dumps({"minimum_recall": 0.9, "positive_class": "no"})
    root = write_job(tmp_path, *with_comments(), {"seed": "1", "decision_goal": wish}, EXAMPLE)
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    decision = read_json(root / "output" / "data" / "training_report.json")["decision"]
    assert decision["chosen_on"]["rows"] == 540


def test_the_types_of_columns_never_depend_on_the_rows():
    contract, _ = with_comments()
    columns = {
        "amount": np.array([1.5, np.nan]),
        "visits": np.array([2.0, np.nan]),
        "member": np.array([1.0, np.nan]),
        "city": np.array(["Bern", None], dtype=object),
        "since": np.array([1_700_000_000_000_001.0, np.nan]),
        "comment": np.array(["a b", None], dtype=object),
    }
    both = RawColumns(contract).encode(columns)
    assert both["since"][0] == pd.Timestamp("2023-11-14 22:13:20.000001", tz="UTC")
    assert both.isna().sum().tolist() == [1] * 6
    assert list(both.columns) == [each.name for each in contract.features]
    for rows in ([0], [1], []):
        some = RawColumns(contract).encode({name: values[rows] for name, values in columns.items()})
        assert some.dtypes.equals(both.dtypes)
        assert some.index.equals(pd.RangeIndex(len(rows)))


def test_rows_are_numbered_anew_and_columns_replaced_alike_in_a_matrix_and_a_frame():
    matrix = np.arange(12.0).reshape(4, 3)
    frame = pd.DataFrame(matrix, columns=list("abc"))
    order = np.array([2, 0, 3, 1])
    assert rows_of(frame, slice(2, None)).index.tolist() == [0, 1]
    for table in (shuffled := matrix.copy(), moved := frame.copy()):
        put(table, [1], frame if table is moved else matrix, order)
    assert np.array_equal(moved.to_numpy(), shuffled)
    assert shuffled[:, 1].tolist() == [7.0, 1.0, 10.0, 4.0]


def test_the_example_passes_the_check_before_a_deployment(tmp_path):
    shutil.copytree(REPOSITORY / "training", tmp_path / "training")
    (tmp_path / "training" / "model.py").write_text(EXAMPLE)
    program = tmp_path / "training" / "check_model.py"
    ended = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
