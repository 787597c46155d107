"""The exported model: its signature by MLflow's own rules, and what its requirements name."""

from __future__ import annotations

import io
import json
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from tracked_stack import CONTRACT, an_archive

from dropforge.domain.contract import Contract
from dropforge.domain.errors import InvalidModel
from dropforge.tracking.model_files import MLFLOW, Packed, model_files, requirements, signature

ROOT = Path(__file__).parents[3]
LIBRARIES = {
    "python": "3.12.1",
    "numpy": "2.5.1",
    "pyarrow": "25.0.0",
    "scikit-learn": "1.9.0",
    "my-own": "1.0",
}
FRAME = pd.DataFrame(
    {
        "radius": [1.5, None],
        "count": [1, 2],
        "children": [None, 2],
        "smoker": [True, False],
        "site": ["left", None],
        "seen at": ["2026-01-02T03:04:05Z", "2026-01-02"],
    }
)


def packed(**settings: Any) -> Packed:
    return Packed.read(io.BytesIO(an_archive(libraries=LIBRARIES, **settings)))


def enforced(frame: pd.DataFrame, contract: Any = None) -> pd.DataFrame:
    """What MLflow makes of a frame before the model sees it."""
    from mlflow.models.utils import _enforce_schema
    from mlflow.types.schema import Schema

    told = signature(contract or CONTRACT.to_dict())
    Schema.from_json(told["outputs"])
    return _enforce_schema(frame, Schema.from_json(told["inputs"]))


def test_what_the_contract_takes_passes_mlflows_check() -> None:
    assert enforced(FRAME)["seen at"].tolist() == FRAME["seen at"].tolist()
    dates = FRAME.assign(**{"seen at": pd.to_datetime(["2026-01-02", "2026-01-03"], utc=True)})
    assert enforced(dates)["seen at"].dt.tz is not None
    assert enforced(FRAME.assign(children=[1, 2]))["children"].tolist() == [1, 2]


def test_mlflow_names_a_column_that_is_missing() -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="smoker"):
        enforced(FRAME.drop(columns="smoker"))


def test_a_regression_gives_values_and_a_classification_a_probability_for_each_class() -> None:
    regression = {**CONTRACT.to_dict(), "classes": None}
    assert json.loads(signature(regression)["outputs"] or "") == [
        {"name": "value", "type": "double", "required": True}
    ]
    outputs = json.loads(signature(CONTRACT.to_dict())["outputs"] or "")
    assert list(outputs[1]["properties"]) == ["benign", "malignant"]


def test_requirements_are_the_jobs_versions_without_what_is_carried_or_not_needed() -> None:
    assert requirements(packed(files={"wheels/my_own-1.0-py3-none-any.whl": b"w"})) == [
        f"mlflow=={MLFLOW}",
        "numpy==2.5.1",
        "scikit-learn==1.9.0",
    ]
    assert "my-own==1.0" in requirements(packed())
    assert requirements(packed(files={"compiled.npz": b"c"})) == [f"mlflow=={MLFLOW}", "numpy==2.5.1"]


def test_requirements_name_the_mlflow_that_the_lock_pins() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["mlflow"] == [f"mlflow=={MLFLOW}"]


def test_mlmodel_is_yaml_that_names_a_loader_of_the_models_own() -> None:
    files = model_files(packed(), "5" * 64, "2026-01-02T03:04:05.678Z", "run")
    described = yaml.safe_load(files["MLmodel"])
    flavor = described["flavors"]["python_function"]
    assert f"code/{flavor['loader_module']}.py" in files
    assert described["utc_time_created"] == "2026-01-02 03:04:05.678000"
    assert yaml.safe_load(files["python_env.yaml"])["python"] == "3.12.1"
    assert f"mlflow=={MLFLOW}" in yaml.safe_load(files["conda.yaml"])["dependencies"][-1]["pip"]
    assert (
        Contract.from_json(CONTRACT.to_json()).hash == json.loads(files["data/archive.json"])["contract_hash"]
    )


def test_what_is_no_models_archive_is_refused() -> None:
    import tarfile

    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w:gz").close()
    with pytest.raises(InvalidModel, match="no model"):
        Packed.read(io.BytesIO(empty.getvalue()))
