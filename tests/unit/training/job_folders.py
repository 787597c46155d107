"""Lays out a training job's folders from tables, as SageMaker and the preparation would, and runs the job."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from tests.unit.training.forked_programs import Forked, forked

from dropforge.domain.contract import GROUP_KEY, ROW_KEY, Column, Contract

REPOSITORY = Path(__file__).resolve().parents[3]
TRAINING = REPOSITORY / "training"
TIMEOUT_S = 120.0

ARROW_TYPES = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "category": pa.string(),
    "text": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
}


def builtin(name: str) -> tuple[Contract, pd.DataFrame]:
    """Return one of scikit-learn's data sets with its contract: breast-cancer, wine or diabetes."""
    load, task, target = {
        "breast-cancer": (load_breast_cancer, "binary", "diagnosis"),
        "wine": (load_wine, "multiclass", "cultivar"),
        "diabetes": (load_diabetes, "regression", "progression"),
    }[name]
    data = load(as_frame=True)
    frame = data.frame.drop(columns="target").astype(float)
    features = tuple(Column(column, "number") for column in frame.columns)
    if task == "regression":
        frame[target] = data.target.astype(float)
        return Contract(target, None, task, None, (*features, Column(target, "number", "target"))), frame
    frame[target] = data.target_names[data.target].astype(str)
    classes = tuple(sorted(map(str, data.target_names)))
    return Contract(target, None, task, classes, (*features, Column(target, "category", "target"))), frame


def write_job(
    root: Path,
    contract: Contract,
    frame: pd.DataFrame,
    hyperparameters: Mapping[str, str] | None = None,
    model_py: str | None = None,
    release: Path = REPOSITORY,
) -> Path:
    """Write the input side of `root`: an 80/10/10 shuffled split, two parts for train, contract and code.

    Args:
        release: where the training code and the domain are taken from.
    """
    shuffled = frame.sample(frac=1.0, random_state=7).reset_index(drop=True)
    first, second = int(len(frame) * 0.8), int(len(frame) * 0.9)
    half = first // 2
    pieces = {
        "train/part-00000": shuffled[:half],
        "train/part-00001": shuffled[half:first],
        "validation/part-00000": shuffled[first:second],
        "test/part-00000": shuffled[second:],
    }
    names = [column.name for column in contract.prepared]
    keys = [ROW_KEY] if contract.group is None else [GROUP_KEY, ROW_KEY]
    schema = pa.schema(
        [(column.name, ARROW_TYPES[column.type]) for column in contract.prepared]
        + [(key, pa.uint64()) for key in keys]
    )
    for place, piece in pieces.items():
        path = root / "input" / "data" / f"{place}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = piece[names].assign(**{ROW_KEY: piece.index.to_numpy(np.uint64)})
        if contract.group is not None:
            table[GROUP_KEY] = pd.util.hash_array(piece[contract.group].to_numpy())
        pq.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False), path)
    (root / "input" / "data" / "contract").mkdir(exist_ok=True)
    (root / "input" / "data" / "contract" / "schema.json").write_text(contract.to_json())
    config = root / "input" / "config"
    config.mkdir(exist_ok=True)
    (config / "hyperparameters.json").write_text(
        json.dumps(dict(hyperparameters or {"metric": "auto", "seed": "0"}))
    )
    code = root / "input" / "data" / "code"
    code.mkdir(exist_ok=True)
    for program in (release / "training").glob("*.py"):
        shutil.copy(program, code / program.name)
    if (release / "training" / "requirements.lock").is_file():
        program = release / "training" / "wheels.py"
        subprocess.run([sys.executable, str(program), "fetch", str(code / "wheels")], check=True)
    if model_py is not None:
        (code / "model.py").write_text(model_py)
    package = code / "dropforge"
    shutil.copytree(
        release / "core" / "dropforge" / "domain",
        package / "domain",
        ignore=shutil.ignore_patterns("__pycache__"),
        dirs_exist_ok=True,
    )
    (package / "__init__.py").touch()
    return root


def run_job(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the job's own copy of train.py in a process of its own, with `ML_ROOT` for ``/opt/ml``."""
    with started_job(root, **environment) as job:
        return job.wait(TIMEOUT_S)


def started_job(root: Path, **environment: str) -> AbstractContextManager[Forked]:
    """Start the job as `run_job` does."""
    return forked(program_of(root), job_environment(root, environment), root)


_ONE_AFTER_ANOTHER = """
import os, runpy, sys

for root in sys.argv[1:]:
    os.chdir(root)
    os.environ["ML_ROOT"] = root
    sys.path[0] = f"{root}/input/data/code"
    try:
        runpy.run_path(f"{root}/input/data/code/train.py", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(f"{root}/input/data/code/"):
            del sys.modules[name]
"""


def run_jobs_in_an_interpreter(*roots: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run each job's own code in an interpreter that loads everything itself, as SageMaker's does."""
    return subprocess.run(
        [sys.executable, "-c", _ONE_AFTER_ANOTHER, *map(str, roots)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def program_of(root: Path) -> Path:
    return root / "input" / "data" / "code" / "train.py"


def job_environment(root: Path, environment: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, "ML_ROOT": str(root), **environment}


def pack(folder: Path, archive: Path) -> Path:
    """Pack a folder's content as SageMaker packs ``/opt/ml/model``."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        for entry in sorted(folder.iterdir()):
            tar.add(entry, arcname=entry.name)
    return archive


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def mixed(n: int = 600) -> tuple[Contract, pd.DataFrame]:
    """Return a binary data set with a column of every type, with missing values and rare categories.

    The target follows the city (not linearly in its code), the amount and the hour of the day.
    """
    rng = np.random.default_rng(5)
    cities = rng.choice(["Bern", "Rom", "Oslo", "Paris", "Łódź"], n, p=[0.3, 0.3, 0.2, 0.1, 0.1])
    amount = rng.normal(100, 20, n)
    hours = rng.integers(0, 24, n)
    signal = np.isin(cities, ["Bern", "Paris"]) * 3.0 + (amount - 100) / 20 + (hours > 12) * 1.0
    label = np.where(signal + rng.normal(0, 0.7, n) > 2, "yes", "no")
    frame = pd.DataFrame(
        {
            "id": [f"c{number}" for number in range(n)],
            "amount": np.where(rng.random(n) < 0.1, np.nan, amount),
            "visits": pd.array(rng.integers(0, 9, n), dtype="Int64"),
            "member": pd.array(rng.random(n) < 0.5, dtype="boolean"),
            "city": cities.astype(object),
            "since": pd.Timestamp("2024-01-01", tz="UTC")
            + pd.to_timedelta(np.arange(n) * 24 + hours, unit="h"),
            "bought": label,
        }
    )
    frame.loc[::17, "visits"] = pd.NA
    frame.loc[::19, "member"] = pd.NA
    frame.loc[::23, "city"] = None
    frame.loc[::29, "since"] = pd.NaT
    columns = (
        Column("id", "text", "key"),
        Column("amount", "number", nullable=True),
        Column("visits", "integer", nullable=True, minimum=0),
        Column("member", "boolean", nullable=True),
        Column("city", "category", nullable=True),
        Column("since", "timestamp", nullable=True),
        Column("bought", "category", "target"),
        Column("note", "text", "ignored", nullable=True),
    )
    return Contract("bought", "id", "binary", ("no", "yes"), columns), frame
