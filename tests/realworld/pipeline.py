"""One table through the product: prepared, trained and judged as in a run, in a folder, without a host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench.folder_store import FolderStore
from numpy.typing import NDArray

from dropforge.adapters.tables.streamed_tables import StreamedTables
from dropforge.application.judge_model import JudgeRequest, judge_model
from dropforge.application.preparation_request import PreparedData, PrepareRequest, PrepareSettings
from dropforge.application.prepare_data import prepare_data
from dropforge.domain import errors
from dropforge.domain.contract import Contract
from dropforge.domain.gate import GatePolicy
from tests.realworld.tables import Table

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = "s3://data"
RUN = "run"
SPLITS = ("train", "validation", "test")
TRAINING_WITHIN_S = 900.0


class Refused(Exception):
    """The product refused the table by a class of its own: ``error`` is the class's name."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(f"{error}: {message}")
        self.error, self.message = error, message


class Broken(Exception):
    """The product neither used nor refused the table: something in it broke."""


@dataclass(frozen=True)
class Result:
    """What became of a table.

    Attributes:
        prepared: what preparation answered.
        contract: the inferred contract.
        splits: the prepared rows, by split.
        metric: the judged metric: ``name``, ``value``, ``low``, ``high``; ``low`` and ``high`` may be None.
        target: (n_test,) codes into the contract's classes, or values.
        scores: (n_test, n_classes) probabilities, or (n_test,) values.
        verdict: whether the gate accepted it, and why not.
        leaks: columns that the leakage check told of, as in ``report.json``.
    """

    prepared: PreparedData
    contract: Contract
    splits: Mapping[str, pa.Table]
    metric: Mapping[str, Any]
    target: NDArray[Any]
    scores: NDArray[np.float64]
    verdict: Mapping[str, Any]
    leaks: Sequence[Mapping[str, Any]]


def leaks_of(table: Table, content: bytes, folder: Path) -> tuple[int, Sequence[Mapping[str, Any]]]:
    """Prepare the table alone. Returns how many features it has, and those that the leakage check told of.

    Raises:
        Refused: by an error of the product's own.
    """
    store = FolderStore(folder)
    uri = f"{DATA}/incoming/{table.file_name}"
    store.write(uri, content)
    request = PrepareRequest(RUN, (store.pinned(uri),), DATA, PrepareSettings(table.target, key=table.key))
    try:
        prepared = prepare_data(request, store, StreamedTables(store))
    except errors.DropforgeError as error:
        raise Refused(type(error).__name__, str(error)) from error
    contract = Contract.from_json(store.read(prepared.contract_uri))
    return len(contract.features), _leaks(store, prepared)


def _leaks(store: FolderStore, prepared: PreparedData) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = json.loads(store.read(prepared.report_uri))["leaks"]
    return found


def run_table(table: Table, content: bytes, folder: Path) -> Result:
    """Prepare, train and judge the table in the folder.

    Raises:
        Refused: by an error of the product's own.
        Broken: by anything else.
    """
    store = FolderStore(folder)
    uri = f"{DATA}/incoming/{table.file_name}"
    store.write(uri, content)
    settings = PrepareSettings(table.target, key=table.key)
    try:
        prepared = prepare_data(
            PrepareRequest(RUN, (store.pinned(uri),), DATA, settings), store, StreamedTables(store)
        )
        job = _train(store, prepared, folder / "ml")
        verdict = judge_model(_judging(job), store)
    except errors.DropforgeError as error:
        raise Refused(type(error).__name__, str(error)) from error
    except (Refused, Broken):
        raise
    except Exception as error:
        raise Broken(f"{type(error).__name__}: {error}") from error
    with np.load(folder / "ml" / "output" / "data" / "holdout.npz") as holdout:
        target, scores = holdout["target"], holdout["candidate"]
    return Result(
        prepared,
        Contract.from_json(store.read(prepared.contract_uri)),
        {split: _split(store, prepared, split) for split in SPLITS},
        verdict["metric"],
        target,
        scores,
        verdict,
        _leaks(store, prepared),
    )


def _split(store: FolderStore, prepared: PreparedData, split: str) -> pa.Table:
    parts = [pq.read_table(store.path(ref)) for ref in store.list(f"{prepared.prefix}{split}/")]
    return pa.concat_tables(parts)


def _train(store: FolderStore, prepared: PreparedData, root: Path) -> str:
    """Run training's own script as SageMaker lays its folders out. Returns the URI of the model's archive."""
    channels = root / "input" / "data"
    for split in SPLITS:
        shutil.copytree(store.path(f"{prepared.prefix}{split}"), channels / split)
    (channels / "contract").mkdir()
    shutil.copy(store.path(prepared.contract_uri), channels / "contract" / "schema.json")
    code = channels / "code"
    shutil.copytree(REPOSITORY / "training", code, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(
        REPOSITORY / "core" / "dropforge" / "domain",
        code / "dropforge" / "domain",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (code / "dropforge" / "__init__.py").touch()
    (root / "input" / "config").mkdir()
    (root / "input" / "config" / "hyperparameters.json").write_text(
        json.dumps({"metric": "auto", "seed": "0"})
    )
    ended = subprocess.run(
        [sys.executable, str(code / "train.py")],
        env={**os.environ, "ML_ROOT": str(root), "DROPFORGE_RUN_ID": RUN},
        capture_output=True,
        text=True,
        timeout=TRAINING_WITHIN_S,
        check=False,
    )
    if ended.returncode:
        failure = root / "output" / "failure"
        said = failure.read_text() if failure.is_file() else ended.stderr[-2000:]
        name, _, message = said.partition(":")
        if isinstance(getattr(errors, name, None), type):
            raise Refused(name, message.strip())
        raise Broken(f"training ended with {ended.returncode}: {said}")
    job = f"{DATA}/models/{RUN}/job/output"
    for name, place in (("model", root / "model"), ("output", root / "output" / "data")):
        archive = store.path(f"{job}/{name}.tar.gz")
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive, "w:gz", compresslevel=1) as packed:
            for entry in sorted(place.iterdir()):
                packed.add(entry, arcname=entry.name)
    return f"{job}/model.tar.gz"


def _judging(model_data_url: str) -> JudgeRequest:
    return JudgeRequest.of(
        {"run_id": RUN, "model_data_url": model_data_url, "champion": None, "lineage": {}},
        DATA.removeprefix("s3://"),
        GatePolicy(),
    )
