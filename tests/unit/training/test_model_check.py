"""A model.py is tried on a tiny table before anything is deployed with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.training.job_folders import REPOSITORY, mixed

from dropforge.domain.contract import Column
from dropforge_ops.actions.model_check import check_model, code_files, lock_libraries
from dropforge_ops.errors import OperationFailed

FOREST = """
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
def build_model(schema, hyperparameters):
    forest = RandomForestRegressor if schema.task == "regression" else RandomForestClassifier
    return forest(n_estimators=3, random_state=0)
"""
ONE_TASK = """
from sklearn.linear_model import LinearRegression
def build_model(schema, hyperparameters):
    if schema.task != "regression":
        raise ValueError("for amounts only")
    return LinearRegression()
"""
BY_NAME = """
from dropforge.domain.encoding import matrix_columns
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
def build_model(schema, hyperparameters):
    place = [each.name for each in matrix_columns(schema)].index("visits")
    chosen = make_column_transformer(("passthrough", [place]))
    return make_pipeline(chosen, SimpleImputer(), LogisticRegression())
"""
BAD = {
    "a syntax error": (
        "auto",
        "import math\n\ndef build_model(:\n",
        r"SyntaxError: .* \(training/model.py, line 3\)",
    ),
    "a library that isn't there": (
        "auto",
        "import nolibrary\n",
        r"ModuleNotFoundError: .*nolibrary.*model.py, line 1",
    ),
    "no build_model": ("auto", "x = 1\n", "ImportError: cannot import name 'build_model'"),
    "an unknown name": (
        "auto",
        "def build_model(schema, hyperparameters):\n    return Forest()\n",
        r"NameError: name 'Forest' .*model.py, line 2\) \[binary, multiclass, regression\]",
    ),
    "a classifier without probabilities": (
        "auto",
        "from sklearn.svm import LinearSVC\nfrom sklearn.linear_model import Ridge\n"
        "def build_model(schema, h):\n"
        "    return Ridge() if schema.task == 'regression' else LinearSVC()\n",
        r"UnusableEstimator: LinearSVC has no predict_proba.*\[binary\]",
    ),
    "an input that there isn't": (
        "auto",
        'INPUT = "frame"\ndef build_model(schema, h):\n    return None\n',
        "UnusableEstimator: INPUT in model.py must be 'matrix' or 'columns', not 'frame'",
    ),
    "a function that can't be stored": (
        "regression",
        "from sklearn.linear_model import LinearRegression\nfrom sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import FunctionTransformer\n"
        "def build_model(schema, h):\n"
        "    return make_pipeline(FunctionTransformer(lambda X: X), LinearRegression())\n",
        "UnusableEstimator: the fitted Pipeline can't be stored: .*lambda",
    ),
}


@pytest.fixture
def project(tmp_path):
    """The folder of a project whose model.py is to be written."""
    shutil.copytree(REPOSITORY / "training", tmp_path / "training")

    def of(model_py: str) -> Path:
        (tmp_path / "training" / "model.py").write_text(model_py)
        return tmp_path

    return of


def test_the_default_passes_and_is_not_tried_twice(tmp_path, monkeypatch):
    shutil.copytree(REPOSITORY / "training", tmp_path / "training")
    check_model(tmp_path, contract=None, parameters={})

    def never(*_, **__):
        raise AssertionError("it has passed, and is the same")

    monkeypatch.setattr(subprocess, "run", never)
    check_model(tmp_path, contract=None, parameters={})
    with pytest.raises(AssertionError):
        check_model(tmp_path, contract=mixed()[0].to_json().encode(), parameters={})


@pytest.mark.parametrize("name", BAD)
def test_names_what_is_wrong_and_where(project, name):
    task, model_py, expected = BAD[name]
    with pytest.raises(OperationFailed, match=f"(?s)can't be used.*{expected}.*Nothing was deployed"):
        check_model(project(model_py), contract=None, parameters={"TaskType": task})


def test_a_model_for_one_task_passes_unless_it_is_needed_for_another(project):
    check_model(project(ONE_TASK), contract=None, parameters={})
    with pytest.raises(OperationFailed, match=r"ValueError: for amounts only .*line 5\) \[binary\]"):
        check_model(project(ONE_TASK), contract=None, parameters={"TaskType": "binary"})


def test_the_pinned_contracts_columns_are_used_with_what_they_may_lack(project):
    contract = mixed()[0].to_json().encode()
    check_model(project(BY_NAME), contract=contract, parameters={})
    with pytest.raises(OperationFailed, match=r"(?s)the pinned contract's columns.*'age' is not in list"):
        check_model(project(BY_NAME.replace("visits", "age")), contract=contract, parameters={})


def test_a_pinned_contract_whose_groups_and_times_decide_on_the_split_passes(project):
    contract = mixed()[0]
    columns = (
        *contract.columns,
        Column("customer", "text", "split"),
        Column("seen_at", "timestamp", "split"),
    )
    for parts in ({"group": "customer"}, {"time": "seen_at"}, {"group": "customer", "time": "seen_at"}):
        split = replace(contract, columns=columns, split_by=None, **parts)
        check_model(project(FOREST), contract=split.to_json().encode(), parameters={})


def test_the_stacks_hyperparameters_are_tried_too(tmp_path):
    shutil.copytree(REPOSITORY / "training", tmp_path / "training")
    parameters = {"TaskType": "binary", "Hyperparameters": '{"estimator": "boosted", "max_iter": 5}'}
    check_model(tmp_path, contract=None, parameters=parameters)
    for wrong, expected in (
        ('{"max_itre": 5}', "InvalidHyperparameters: .*Did you mean 'max_iter'"),
        ("max_iter=5", "InvalidHyperparameters: Hyperparameters is no JSON"),
    ):
        with pytest.raises(OperationFailed, match=expected):
            check_model(tmp_path, contract=None, parameters={**parameters, "Hyperparameters": wrong})


def test_a_search_needs_optuna_among_the_carried_libraries_whatever_this_machine_has(tmp_path):
    shutil.copytree(REPOSITORY / "training", tmp_path / "training")
    parameters = {"TaskType": "binary", "TuningTrials": "20"}
    with pytest.raises(OperationFailed, match=r"TuningFailed: .*Add the line optuna==5\.0\.0"):
        check_model(tmp_path, contract=None, parameters=parameters)
    # An image of one's own that has it.
    with (tmp_path / "training" / "image.txt").open("a") as file:
        file.write("optuna==5.0.0\n")
    check_model(tmp_path, contract=None, parameters=parameters)
    model = tmp_path / "training" / "model.py"
    model.write_text(model.read_text().replace('"max_leaf_nodes": (4, 128', '"max_leaf_node": (4, 128'))
    with pytest.raises(OperationFailed, match="search_space: 'max_leaf_node' is none of"):
        check_model(tmp_path, contract=None, parameters=parameters)


def test_several_instances_need_lightgbm_and_an_estimator_that_takes_part(project):
    parameters = {"TaskType": "regression", "TrainingInstanceCount": "2"}
    root = project((REPOSITORY / "training" / "model.py").read_text())
    with pytest.raises(OperationFailed, match=r"UnusableLibrary: .*Add the line lightgbm==4\.7\.0"):
        check_model(root, contract=None, parameters=parameters)
    worded = replace(mixed()[0], columns=(Column("note", "text"), *mixed()[0].columns[:-1]))
    with pytest.raises(OperationFailed, match="NotDistributed: note: texts and categories of many values"):
        check_model(root, contract=worded.to_json().encode(), parameters=parameters)
    with pytest.raises(OperationFailed, match=r"NotDistributed: .*RandomForest.* trains on one instance"):
        check_model(project(FOREST), contract=None, parameters=parameters)


def test_is_a_program_of_its_own(project):
    root = project(FOREST)
    ended = subprocess.run(
        [sys.executable, root / "training" / "check_model.py", "--task", "regression"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_library_that_cannot_be_had_is_named_before_anything_is_deployed(tmp_path):
    shutil.copytree(REPOSITORY / "training", tmp_path / "training")
    (tmp_path / "training" / "requirements.txt").write_text("--no-index\nnolibrary==1\n")
    with pytest.raises(OperationFailed, match=r"UnresolvableRequirement: .*line 2 \(nolibrary==1\)"):
        lock_libraries(tmp_path)
    assert not (tmp_path / "training" / "requirements.lock").exists()


def test_an_edited_requirement_counts_as_edited_code(tmp_path):
    shutil.copytree(REPOSITORY / "training", tmp_path / "training")
    assert {"model.py", "requirements.txt", "image.txt"} <= {path.name for path in code_files(tmp_path)}


def test_a_project_without_libraries_of_its_own_is_locked_without_asking_anybody(tmp_path):
    shutil.copytree(REPOSITORY / "training", tmp_path / "training")
    (tmp_path / "training" / "requirements.txt").write_text("# none\n")
    (tmp_path / "training" / "requirements.lock").unlink(missing_ok=True)
    lock_libraries(tmp_path)
    assert not (tmp_path / "training" / "requirements.lock").exists()
