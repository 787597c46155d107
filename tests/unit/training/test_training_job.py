"""train.py as SageMaker runs it: a process of its own on prepared Parquet."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import replace

import pytest
from tests.unit.training.job_folders import (
    builtin,
    read_json,
    run_job,
    run_jobs_in_an_interpreter,
    started_job,
    write_job,
)

from dropforge.domain import manifest
from dropforge.domain.contract import Column, Contract
from dropforge.domain.drift.column_effects import HOLDOUT_COLUMNS, unpack_columns
from dropforge.domain.holdout import HoldOut
from dropforge.domain.metric_registry import METRIC_DEFINITIONS, METRICS
from dropforge.domain.metrics import Scored

NAMES = ("breast-cancer", "wine", "diabetes", "mixed")
# What a job of run_job differs in: it has one thread, and the hash seed of the process that is forked.
OTHER_PROCESS = {"PYTHONHASHSEED": "3", "OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "3"}


def report_of(root):
    return read_json(root / "output" / "data" / "training_report.json")


def holdout_of(root):
    return HoldOut.from_npz((root / "output" / "data" / "holdout.npz").read_bytes(), report_of(root))


@pytest.mark.parametrize("name", NAMES)
def test_writes_the_documented_files_and_no_others(trained, name):
    root = trained(name)
    # Other tests run the shared job's inference.py, and Python leaves its byte code beside it.
    files = {
        path.relative_to(root / "model").as_posix()
        for path in (root / "model").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    code = {path for path in files if path.startswith("code/dropforge/")}
    assert {"code/dropforge/__init__.py", "code/dropforge/domain/encoding.py"} <= code
    assert {"train.py", "code/train.py"} & files == set()
    assert files - code == {
        "model.joblib",
        "compiled.npz",
        "contract.json",
        "encoding.json",
        "model.json",
        "code/inference.py",
        "code/model.py",
        "code/raw_columns.py",
        "code/build_backend.py",
        "code/own_libraries.py",
        "code/shared_objects.py",
        "code/pyproject.toml",
    }
    of_errors = {"holdout_columns.npz"} if report_of(root)["task"] == "regression" else set()
    assert {path.name for path in (root / "output" / "data").iterdir()} == of_errors | {
        "holdout.npz",
        "training_report.json",
        "smoke.json",
    }
    assert not (root / "output" / "failure").exists()


def test_a_regression_leaves_the_columns_by_which_its_errors_may_be_large(trained):
    root = trained("diabetes")
    holdout = holdout_of(root)
    data = (root / "output" / "data" / HOLDOUT_COLUMNS).read_bytes()
    rows, columns = unpack_columns(data, len(holdout.target))
    assert len(rows) == len(holdout.target)
    assert "bmi" in columns
    assert all(values.shape == rows.shape for values in columns.values())


@pytest.mark.parametrize(
    ("name", "least"), [("breast-cancer", 0.97), ("wine", 0.9), ("diabetes", 0.3), ("mixed", 0.8)]
)
def test_predicts_the_holdout_well(trained, name, least):
    holdout = holdout_of(trained(name))
    metric = report_of(trained(name))["metric"]
    value = Scored(holdout.task, holdout.target, holdout.candidate).value(metric)
    print(f"{name}: hold-out {metric} {value:.4f}")
    assert value >= least


@pytest.mark.parametrize("name", NAMES)
def test_prints_every_metric_so_that_its_definition_finds_it(trained, name):
    log = (trained(name) / "stdout").read_text()
    found = {d["Name"]: re.findall(d["Regex"], log) for d in METRIC_DEFINITIONS}
    task = report_of(trained(name))["task"]
    assert {n for n, values in found.items() if values} == {
        f"validation:{metric}" for metric in METRICS[task]
    }
    validation = report_of(trained(name))["validation"]
    for metric in METRICS[task]:
        assert float(found[f"validation:{metric}"][-1]) == pytest.approx(validation[metric], rel=1e-6)


def test_manifest_names_every_file_and_the_report_its_digest(trained):
    root = trained("mixed")
    content = manifest.verify(root / "model")
    assert content["run_id"] == "run-1"
    assert content["model_digest"] == report_of(root)["model_digest"]
    assert content["contract_hash"] == Contract.from_json((root / "model" / "contract.json").read_text()).hash
    assert set(content["libraries"]) == {"python", "numpy", "scipy", "scikit-learn", "joblib", "pyarrow"}


def test_report_tells_how_the_estimator_was_chosen_and_what_matters_to_it(trained):
    report = report_of(trained("mixed"))
    folds = report["cross_validation"]
    assert report["estimator"] in ("linear", "boosted")
    assert {len(entry["folds"]) for entry in folds.values()} == {5}
    best = max(folds.values(), key=lambda entry: entry["mean"])
    chosen = max(folds, key=lambda name: folds[name]["mean"])
    assert chosen.startswith(report["estimator"])
    assert best["mean"] > 0.8
    important = report["importance"]
    assert set(important) == {"amount", "visits", "member", "city", "since"}
    assert important["city"]["mean"] > important["visits"]["mean"]
    assert report["champion"] is None
    assert report["rows"] == {"train": 480, "validation": 60, "test": 60}
    assert report["lineage"]["run_id"] == "run-1"


def test_slices_cover_categories_and_booleans(trained):
    report, holdout = report_of(trained("mixed")), holdout_of(trained("mixed"))
    assert [entry["name"] for entry in report["slices"]] == ["member", "city"]
    assert report["slices"][0]["labels"] == ["false", "true"]
    assert sorted(report["slices"][1]["labels"]) == sorted(["Bern", "Rom", "Oslo", "Paris", "Łódź"])
    assert holdout.slice_codes.shape == (60, 2)
    assert holdout.slice_codes.min() == -1


def test_smoke_rows_are_answered_by_the_saved_model(trained):
    smoke = read_json(trained("mixed") / "output" / "data" / "smoke.json")
    assert len(smoke["instances"]) == len(smoke["predictions"]) == 32
    assert set(smoke["instances"][0]) == {"amount", "visits", "member", "city", "since"}
    assert set(smoke["predictions"][0]) == {"label", "probabilities"}


def test_lineage_comes_from_the_environment(tmp_path):
    root = write_job(tmp_path, *builtin("wine"), {"estimator": "linear"})
    variables = {
        "DROPFORGE_RUN_ID": "run-9",
        "DROPFORGE_EXECUTION_ARN": "arn:aws:states:x",
        "DROPFORGE_DATA_VERSION": "data",
        "DROPFORGE_CODE_SHA256": "code",
        "TRAINING_JOB_NAME": "job",
    }
    assert run_job(root, **variables).returncode == 0
    assert report_of(root)["lineage"] == {
        "run_id": "run-9",
        "execution_arn": "arn:aws:states:x",
        "data_version": "data",
        "code_sha256": "code",
        "training_job": "job",
    }


@pytest.fixture(scope="module")
def boosted(tmp_path_factory):
    root = write_job(
        tmp_path_factory.mktemp("boosted"), *builtin("diabetes"), {"estimator": "boosted", "max_iter": "30"}
    )
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    return root


@pytest.fixture(scope="module")
def elsewhere(trained, boosted, tmp_path_factory):
    """Jobs of the same data and code in another interpreter, by name."""
    again = {}
    for name, root in {
        "breast-cancer": trained("breast-cancer"),
        "mixed": trained("mixed"),
        "boosted": boosted,
    }.items():
        again[name] = tmp_path_factory.mktemp(f"{name}-elsewhere")
        shutil.copytree(root / "input", again[name] / "input")
    environment = {"DROPFORGE_RUN_ID": "other", "PYTHONDONTWRITEBYTECODE": "1", **OTHER_PROCESS}
    result = run_jobs_in_an_interpreter(*again.values(), **environment)
    assert result.returncode == 0, result.stderr
    return again


@pytest.mark.parametrize("name", ["breast-cancer", "mixed"])
def test_same_data_and_code_give_the_same_digest_whatever_the_process(trained, elsewhere, name):
    """Another run id, hash seed and number of threads, with bytecode and without, forked and not."""
    assert report_of(elsewhere[name])["model_digest"] == report_of(trained(name))["model_digest"]


def test_boosted_model_has_the_same_digest_whatever_the_number_of_threads(boosted, elsewhere):
    assert report_of(boosted)["estimator"] == "boosted"
    assert report_of(elsewhere["boosted"])["model_digest"] == report_of(boosted)["model_digest"]


def test_own_boosting_has_the_same_digest_on_any_number_of_cores(tmp_path):
    """Boosting records its number of threads, in a pipeline as well."""
    model = (
        "from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier\n"
        "from sklearn.ensemble import VotingClassifier\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "def build_model(schema, hyperparameters):\n"
        "    boosted = HistGradientBoostingClassifier(max_iter=5, random_state=0)\n"
        "    forest = RandomForestClassifier(5, random_state=0, n_jobs=-1)\n"
        "    both = VotingClassifier([('b', boosted), ('f', forest)], voting='soft')\n"
        "    return make_pipeline(StandardScaler(), both)\n"
    )
    digests = set()
    for cores in (1, 2, 4):
        root = write_job(tmp_path / str(cores), *builtin("wine"), model_py=model)
        threads = {"OMP_NUM_THREADS": str(cores), "LOKY_MAX_CPU_COUNT": str(cores)}
        result = run_jobs_in_an_interpreter(root, **threads)
        assert result.returncode == 0, result.stderr
        digests.add(report_of(root)["model_digest"])
    assert len(digests) == 1


def test_running_twice_leaves_the_same_files(trained, tmp_path):
    root = tmp_path
    shutil.copytree(trained("wine") / "input", root / "input")
    (root / "model").mkdir()
    (root / "model" / "stale").write_text("of an earlier run")
    assert run_job(root).returncode == 0
    assert manifest.verify(root / "model")["model_digest"] == report_of(trained("wine"))["model_digest"]


def test_hyperparameters_of_the_tuning_toolkit_are_understood(tmp_path):
    """The toolkit's values are JSON in strings, and it adds its own."""
    given = {
        "sagemaker_program": '"train.py"',
        "_tuning_objective_metric": "validation:r2",
        "metric": '"rmse"',
        "seed": "3",
        "estimator": '"boosted"',
        "learning_rate": "0.2",
        "max_iter": "20.0",
    }
    root = write_job(tmp_path, *builtin("diabetes"), given)
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    report = report_of(root)
    assert (report["metric"], report["seed"], report["estimator"]) == ("rmse", 3, "boosted")
    assert report["parameters"] == {"learning_rate": 0.2, "max_iter": 20}
    assert not any(name.startswith(("sagemaker_", "_tuning")) for name in report["hyperparameters"])


FAILURES = {
    "raising model": (
        {"model_py": "def build_model(schema, hyperparameters):\n    raise OSError('no disk')\n"},
        "OSError: no disk",
    ),
    "model that doesn't parse": ({"model_py": "def build_model(:\n"}, "SyntaxError"),
    "model that exits": ({"model_py": "import sys\nsys.exit('enough')\n"}, "SystemExit: enough"),
    "no estimator": (
        {"model_py": "def build_model(s, h):\n    return 'trees'\n"},
        "UnusableEstimator.*not str",
    ),
    "classifier without probabilities": (
        {"model_py": "from sklearn.svm import LinearSVC\ndef build_model(s, h):\n    return LinearSVC()\n"},
        "UnusableEstimator: LinearSVC has no predict_proba",
    ),
    "unknown hyperparameter": (
        {"hyperparameters": {"lerning_rate": "1"}},
        "InvalidHyperparameters.*lerning_rate",
    ),
    "more unknown hyperparameters than a reason holds": (
        {"hyperparameters": {f"wrong_parameter_{n}": "1" for n in range(90)}},
        "InvalidHyperparameters.*wrong_parameter_0.* characters are left out here",
    ),
    "hyperparameter out of bounds": (
        {"hyperparameters": {"learning_rate": "7", "max_iter": "1.5", "estimator": "svm"}},
        "InvalidHyperparameters.*svm.*learning_rate must be.*max_iter must be",
    ),
    "malformed seed": ({"hyperparameters": {"seed": "-1"}}, "InvalidHyperparameters.*seed"),
    "metric of another task": ({"hyperparameters": {"metric": "r2"}}, "InvalidSettings.*'r2'"),
    "digest without a champion": (
        {"hyperparameters": {"champion_sha256": "a" * 64}},
        "InvalidHyperparameters.*need each other",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failure_begins_with_the_errors_class_and_leaves_no_model(tmp_path, case):
    changes, expected = FAILURES[case]
    root = write_job(tmp_path, *builtin("wine"), **changes)
    result = run_job(root)
    failure = (root / "output" / "failure").read_text()
    assert result.returncode == 1
    assert re.match(expected, failure), failure
    assert len(failure.partition("\n")[0]) < 1024
    assert not (root / "model").exists() or not any((root / "model").iterdir())


@pytest.mark.parametrize("module", ["job", "compiling", "folders"])
def test_what_can_not_be_imported_is_told_as_the_reason(tmp_path, module):
    """As in an image of one's own that lacks a library."""
    root = write_job(tmp_path, *builtin("wine"))
    (root / "input" / "data" / "code" / f"{module}.py").unlink()
    assert run_job(root).returncode == 1
    failure = (root / "output" / "failure").read_text()
    assert failure.startswith(f"ModuleNotFoundError: No module named '{module}'")


def test_probabilities_that_are_none_fail_the_job(tmp_path):
    model = (
        "import numpy as np\n"
        "class Broken:\n"
        "    classes_ = np.arange(3)\n"
        "    def fit(self, X, y):\n        return self\n"
        "    def predict_proba(self, X):\n        return np.full((len(X), 3), np.nan)\n"
        "def build_model(schema, hyperparameters):\n    return Broken()\n"
    )
    root = write_job(tmp_path, *builtin("wine"), model_py=model)
    assert run_job(root).returncode == 1
    assert (root / "output" / "failure").read_text().startswith("UnusableEstimator: predict_proba")


def test_any_estimator_of_scikit_learn_will_do(tmp_path):
    model = (
        "from sklearn.impute import SimpleImputer\n"
        "from sklearn.neighbors import KNeighborsClassifier\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "def build_model(schema, hyperparameters):\n"
        "    neighbours = KNeighborsClassifier(hyperparameters['neighbours'])\n"
        "    return make_pipeline(SimpleImputer(), StandardScaler(), neighbours)\n"
    )
    root = write_job(tmp_path, *builtin("wine"), {"neighbours": "5"}, model_py=model)
    result = run_job(root)
    assert result.returncode == 0, result.stderr
    assert report_of(root)["estimator"] == "Pipeline"
    assert report_of(root)["cross_validation"] is None
    assert report_of(root)["validation"]["accuracy"] > 0.8


def remove(root, channel):
    for path in (root / "input" / "data" / channel).glob("*"):
        path.unlink()


@pytest.mark.parametrize(
    ("channel", "expected"),
    [("test", "EmptyData.*'test' holds no Parquet"), ("contract", "InvalidContract.*no schema.json")],
)
def test_missing_input_is_named(tmp_path, channel, expected):
    root = write_job(tmp_path, *builtin("wine"))
    remove(root, channel)
    assert run_job(root).returncode == 1
    assert re.match(expected, (root / "output" / "failure").read_text())


def test_parquet_that_does_not_fit_the_contract_is_refused(tmp_path):
    contract, frame = builtin("wine")
    write_job(tmp_path, contract, frame)
    other = Contract(
        contract.target,
        None,
        "multiclass",
        contract.classes,
        (Column("vintage", "number"), *contract.columns),
    )
    (tmp_path / "input" / "data" / "contract" / "schema.json").write_text(other.to_json())
    assert run_job(tmp_path).returncode == 1
    assert re.match(r"SchemaChanged.*\['vintage'\]", (tmp_path / "output" / "failure").read_text())


def test_stopping_leaves_no_model_and_says_so(tmp_path):
    model = (
        "import pathlib, time\n"
        "def build_model(schema, hyperparameters):\n"
        "    pathlib.Path('fitting').touch()\n"
        "    time.sleep(60)\n"
    )
    root = write_job(tmp_path, *builtin("wine"), model_py=model)
    (root / "model").mkdir()
    (root / "model" / "half").write_text("written")
    with started_job(root) as job:
        deadline = time.monotonic() + 30
        while not (root / "fitting").exists():
            assert time.monotonic() < deadline
            assert job.process.exitcode is None
            time.sleep(0.02)
        job.process.terminate()
        stopped = job.wait(20)
    assert stopped.returncode == 143
    assert "Stopped: SIGTERM" in stopped.stdout
    assert list((root / "model").iterdir()) == []


def test_a_job_judges_by_the_positive_class_and_slices_guarded_columns(tmp_path):
    contract, frame = builtin("breast-cancer")
    size = contract.features[0].name
    columns = (*contract.columns, Column("site", "category", "guarded", nullable=True))
    contract = replace(contract, columns=columns, positive="benign", guarded=("site", size))
    frame["site"] = ["left", "right", None][0:1] * len(frame)
    frame.loc[::3, "site"] = "right"
    frame.loc[::7, "site"] = None
    root = write_job(tmp_path, contract, frame, {"metric": "recall", "seed": "0", "estimator": "linear"})
    assert run_job(root).returncode == 0, (root / "output" / "failure").read_text()
    report, holdout = report_of(root), holdout_of(root)
    assert [each["name"] for each in report["slices"]] == ["site", size]
    assert report["slices"][0]["labels"] == ["left", "right", "(other values)", "(missing)"]
    assert report["slices"][1]["labels"][0].startswith("up to ")
    assert len(report["slices"][1]["labels"]) == 5
    assert holdout.slice_codes.min() >= 0
    assert set(holdout.slice_codes[:, 0].tolist()) == {0, 1, 3}
    # The printed recall is the benign class's, of validation rows.
    scored = Scored("binary", holdout.target, holdout.candidate)
    assert Scored.of(contract, holdout.target, holdout.candidate).value("recall") != scored.value("recall")
    assert set(report["importance"]) == {column.name for column in contract.features}
