"""The starts: which archive, with what settings, as whom and where; and what has to come of each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tests.unit.training.job_folders import builtin, run_job, write_job

from dropforge.application.serving_environment import serving_environment
from dropforge.domain import manifest
from dropforge.domain.contract import Column, Contract
from serving_stack.environment import IMAGE, REPOSITORY

OPENMP = "libgomp.so.1"
WHEELS = REPOSITORY / "training" / "wheels.py"
XGBOOST = REPOSITORY / "examples" / "xgboost" / "model.py"
PICKY = """
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

INPUT = "columns"


def build_model(schema, hyperparameters):
    # An unseen colour makes the encoder raise.
    parts = [("colours", OneHotEncoder(), ["colour"])]
    return make_pipeline(ColumnTransformer(parts, remainder="passthrough"), LogisticRegression())
"""
LIGHTGBM = """
from lightgbm import LGBMClassifier


def build_model(schema, hyperparameters):
    # Threads of OpenMP, in a worker that gunicorn has forked.
    return LGBMClassifier(n_estimators=20, n_jobs=2, random_state=0, verbose=-1)
"""
REGION = "us-east-1"
NOBODY = 65534
HEALTHY, ENDED, UNHEALTHY = "healthy", "ended", "unhealthy"
_ADDED = (
    *("SAGEMAKER_USE_NGINX", "PYTHONPATH"),
    *("PIP_NO_BUILD_ISOLATION", "PIP_DISABLE_PIP_VERSION_CHECK", "PIP_TARGET"),
)
"""What a package of the previous release lacks."""


@dataclass(frozen=True)
class Archive:
    """A model's folder as the archive unpacks it."""

    name: str
    folder: Path
    smoke: Mapping[str, Any]
    """Rows and their predictions, as training wrote them."""

    def environment(self) -> dict[str, str]:
        """What is registered with it."""
        digest = json.loads((self.folder / manifest.FILE_NAME).read_text())["model_digest"]
        return serving_environment(REGION, digest)


@dataclass(frozen=True)
class Cell:
    """One start: what, as whom, where; and what has to come of it."""

    archive: Archive
    settings: str
    environment: dict[str, str]
    user: int
    network: bool
    with_nginx: bool = False
    outcome: str = HEALTHY
    said: str = ""
    """What the log has to say where the start fails."""
    asks: bool = False
    """Whether the package index is asked."""
    locally: bool = True
    """Whether the local model server runs it too."""
    without: str | None = None
    """A system library that isn't there."""


def train(work: Path) -> tuple[Archive, Archive]:
    """Train; returns the archive, and the same one as the previous release wrote it.

    Raises:
        RuntimeError: training failed.
    """
    job = work / "job"
    today = _trained(job, "today's")
    previous = work / "previous"
    shutil.copytree(job / "model", previous)
    for name in ("pyproject.toml", "build_backend.py"):
        (previous / "code" / name).unlink()
    _write_digests(previous)
    return today, Archive("previous", previous, today.smoke)


def train_with_library(work: Path, requirement: str, model_py: str) -> Archive:
    """Train with a library that the image lacks. Raises RuntimeError as `train` does."""
    name = requirement.partition("==")[0]
    project, job = work / f"{name}-requirements", work / name
    project.mkdir()
    (project / "requirements.txt").write_text(f"{requirement}\n")
    shutil.copyfile(IMAGE, project / IMAGE.name)
    carried = job / "input" / "data" / "code" / "wheels"
    for verb in (["lock"], ["fetch", str(carried)]):
        command = [sys.executable, str(WHEELS), "--requirements", str(project), *verb]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr[-2000:])
    return _trained(job, name, model_py)


def train_on_columns(work: Path) -> Archive:
    """Train a pipeline that reads the columns themselves. Raises RuntimeError as `train` does."""
    colours = np.array(["red", "green", "blue"])[np.arange(300) % 3]
    sizes = np.random.default_rng(0).normal(size=300)
    wanted = np.where((colours == "red") ^ (sizes > 0), "yes", "no")
    frame = pd.DataFrame({"size": sizes, "colour": colours, "wanted": wanted})
    columns = Column("size", "number"), Column("colour", "category"), Column("wanted", "category", "target")
    contract = Contract("wanted", None, "binary", ("no", "yes"), columns)
    return _trained(work / "columns", "raw columns", PICKY, (contract, frame))


def _trained(
    job: Path, name: str, model_py: str | None = None, table: tuple[Contract, pd.DataFrame] | None = None
) -> Archive:
    contract, frame = table or builtin("wine")
    job.mkdir(exist_ok=True)
    write_job(job, contract, frame, model_py=model_py)
    done = run_job(job)
    if done.returncode != 0:
        raise RuntimeError(f"training failed: {done.stderr[-2000:]}")
    return Archive(name, job / "model", json.loads((job / "output" / "data" / "smoke.json").read_bytes()))


def changed(archive: Archive, name: str, folder: Path, **files: str) -> Archive:
    """The archive with files of its ``code`` replaced and digests to match."""
    shutil.copytree(archive.folder, folder)
    for file, text in files.items():
        (folder / "code" / file.replace("__", ".")).write_text(text)
    _write_digests(folder)
    return Archive(name, folder, archive.smoke)


def _write_digests(folder: Path) -> None:
    said = json.loads((folder / manifest.FILE_NAME).read_text())
    files = manifest.file_digests(folder)
    said |= {"files": files, "model_digest": manifest.model_digest(files)}
    (folder / manifest.FILE_NAME).write_text(json.dumps(said))


def cells_for(today: Archive, previous: Archive, work: Path) -> Iterator[Cell]:
    """Every start."""
    everywhere = [(user, network) for user in (0, NOBODY) for network in (True, False)]
    now = "as registered"
    for archive in (today, previous):
        for user, network in everywhere:
            yield Cell(archive, now, archive.environment(), user, network)
    behind = {**today.environment(), "SAGEMAKER_USE_NGINX": "true"}
    for network in (True, False):
        yield Cell(today, "with nginx", behind, 0, network, with_nginx=True)
    yield Cell(
        today,
        "with nginx",
        behind,
        NOBODY,
        network=False,
        with_nginx=True,
        outcome=ENDED,
        said="PermissionError",
        locally=False,
    )
    # A model that an earlier release made keeps its environment until it is deployed again.
    before = _before(previous)
    then = "previous release's"
    failed = "InstallModuleError"
    yield Cell(previous, then, before, 0, network=True, asks=True)
    yield Cell(previous, then, before, 0, network=False, outcome=ENDED, said=failed)
    yield Cell(
        previous,
        then,
        before,
        NOBODY,
        network=True,
        asks=True,
        outcome=ENDED,
        said=failed,
        locally=False,
    )
    broken = changed(today, "import fails", work / "import", inference__py="raise RuntimeError('not here')\n")
    yield Cell(broken, now, broken.environment(), 0, network=False, outcome=ENDED, said="ImportModuleError")
    tampered = {**today.environment(), manifest.DIGEST_VARIABLE: "0" * 64}
    other = replace(today, name="another model's")
    yield Cell(other, now, tampered, 0, network=False, outcome=UNHEALTHY, said="was registered")
    raw = train_on_columns(work)
    for user in (0, NOBODY):
        yield Cell(raw, now, raw.environment(), user, network=False)
    yield from needing_packages(today, work)
    yield from with_libraries(work)


def needing_packages(today: Archive, work: Path) -> Iterator[Cell]:
    """Archives whose code asks for packages: one that is there, one that isn't."""
    there = changed(today, "needs numpy", work / "there", requirements__txt="numpy>=2\n")
    yield Cell(there, "as registered", there.environment(), 0, network=False, outcome=ENDED, said="pip")
    absent = changed(today, "needs more", work / "absent", requirements__txt="narwhals-of-nobody==1\n")
    yield Cell(absent, "as registered", absent.environment(), 0, network=False, outcome=ENDED, said="pip")


def with_libraries(work: Path) -> Iterator[Cell]:
    """Archives that carry wheels: one that bundles its OpenMP, and one that expects the system to have it."""
    bundled = train_with_library(work, "xgboost-cpu==3.4.1", XGBOOST.read_text())
    expected = train_with_library(work, "lightgbm==4.7.0", LIGHTGBM)
    for user in (0, NOBODY):
        yield Cell(bundled, "as registered", bundled.environment(), user, network=False)
        yield Cell(
            *(expected, "no libgomp", expected.environment(), user),
            network=False,
            without=OPENMP,
            said=f"{OPENMP}: scikit-learn's copy",
        )


def alone(archive: Archive) -> Cell:
    """The plainest start of an archive: as root, without a network."""
    return Cell(archive, "as registered", archive.environment(), 0, network=False, locally=False)


def as_before(archive: Archive) -> Cell:
    """The same as the previous release registered it, with what makes pip do without a network."""
    return replace(alone(archive), environment={**_before(archive), "PIP_NO_BUILD_ISOLATION": "0"})


def _before(archive: Archive) -> dict[str, str]:
    """What the previous release registered with an archive; and without nginx, which may not be here."""
    registered = {name: value for name, value in archive.environment().items() if name not in _ADDED}
    return {**registered, "SAGEMAKER_USE_NGINX": "false"}
