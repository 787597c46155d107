"""The whole training job: reads its channels, fits, scores candidate and champion, and writes both down."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import compiling
import inference
import text_learning
from champion import Champion
from deciding import chosen_threshold
from dropforge.domain.contract import Contract
from dropforge.domain.decision_threshold import DecisionThreshold
from dropforge.domain.encoding import Encoding
from dropforge.domain.errors import InvalidContract
from dropforge.domain.metric_registry import metric_named
from fitting import Fitting
from folders import Folders, clear
from model_folder import libraries, write_model
from phases import write_phases
from raw_columns import COLUMNS, MATRIX, RawColumns, frame_of, wants_columns
from report import evenly_spaced, importance, scored, slices, smoke, write_json
from settings import read_settings
from splits import (
    Rows,
    Split,
    all_groups,
    features_of,
    groups_of,
    guarded_slices,
    joined,
    read_splits,
    seen_until,
    times_of,
)
from tuning import tuned

LINEAGE_VARIABLES = {
    "run_id": "DROPFORGE_RUN_ID",
    "execution_arn": "DROPFORGE_EXECUTION_ARN",
    "data_version": "DROPFORGE_DATA_VERSION",
    "code_sha256": "DROPFORGE_CODE_SHA256",
    "training_job": "TRAINING_JOB_NAME",
}

READ_OTHERWISE = "DROPFORGE_READ_OTHERWISE"
"""JSON: the columns by which releases of an earlier reading may have split the rows otherwise, by reading."""

COMPARED_ROWS = 100_000
"""Rows of the hold-out on which the compiled form is compared with the estimator."""


@dataclass
class Clock:
    """Seconds per step, for the report."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 4)


def train(folders: Folders, environment: Mapping[str, str], work: Path, running: list[Champion]) -> None:
    """Run the whole job; see ``train.py``. `running` receives the champion's process for clean-up."""
    from model import build_model  # noqa: PLC0415 - the user's file: its errors must reach output/failure

    clock = Clock()
    settings = read_settings(folders)
    contract = Contract.from_json(_contract_text(folders))
    metric = metric_named(contract.task, settings.metric)
    clear(folders.output)
    if settings.champion_sha256 is not None:
        with clock.step("open_champion"):
            places = folders.channel("champion"), settings.champion_sha256, folders.channel("test"), work
            running.append(Champion(*places))
    with clock.step("read"):
        training, validation, holdout = read_splits(folders, contract)
    rows = {"train": len(training.target), "validation": len(validation.target), "test": len(holdout.target)}
    with clock.step("fit"):
        order = validation.row_key if contract.group is None and contract.time is None else None
        both, target = joined(training, validation)
        del training, validation
        groups = all_groups(folders, contract)
        encoding, table = _encoded(contract, both, target, groups)
        known, search = tuned(contract, settings, metric, table, target[: rows["train"]], groups)
        fitting = Fitting(
            *(lambda: build_model(contract, known), table, target, rows["train"], groups, order),
        )
        first = fitting.first()
    with clock.step("validate"):
        measured = fitting.validated(first, contract)
    with clock.step("fit_final"):
        threshold = chosen_threshold(settings.wish, contract, fitting, first, settings.seed)
        estimator, fitted = fitting.final(first)
    lineage = {name: environment.get(variable) or None for name, variable in LINEAGE_VARIABLES.items()}
    with clock.step("compile"):
        compilation = _compiled(estimator, encoding, holdout, threshold)
        print(f"compiled form: {compilation.reason or 'agrees with the estimator'}", flush=True)
    with clock.step("save"):
        digest = write_model(
            *(folders.model, estimator, compilation, encoding, settings, lineage["run_id"], fitted),
            seen_until(folders, contract),
            threshold,
        )
        saved = inference.model_fn(str(folders.model))
    with clock.step("score"):
        guarded = guarded_slices(folders, contract)
        candidate, codes = scored(saved, holdout, guarded)
        important, answers = importance(saved, holdout, metric, settings.seed), smoke(saved, holdout)
        write_phases(folders, contract, both, candidate, settings.seed)
    arrays: dict[str, Any] = {
        "row_key": holdout.row_key,
        **({} if contract.group is None else {"group": groups_of(folders.channel("test"))}),
        "target": holdout.target if contract.classes is None else holdout.target.astype(np.int64),
        "candidate": candidate,
        "slice_codes": codes,
    }
    for live in running:
        with clock.step("wait_for_champion"):
            times = None if contract.time is None else times_of(folders.channel("test"), contract)
            arrays = live.scored(arrays, contract, environment.get(READ_OTHERWISE, ""), times)
    with (folders.output / "holdout.npz").open("wb") as file:
        np.savez(file, **arrays)
    report = {
        "format": 1,
        "task": contract.task,
        "metric": metric.name,
        "estimator": getattr(estimator, "selected_", type(estimator).__name__),
        "parameters": getattr(estimator, "parameters_", None),
        "rounds": getattr(estimator, "rounds_", None),
        "cross_validation": getattr(estimator, "scores_", None),
        "compiled": compilation.to_dict(),
        "validation": measured,
        "rows": rows,
        "fitted": fitted,
        "classes": contract.classes,
        "contract_hash": contract.hash,
        "importance": important,
        "importance_split": "test",
        "input": COLUMNS if isinstance(encoding, RawColumns) else MATRIX,
        "learned": {} if isinstance(encoding, RawColumns) else text_learning.made_of(contract),
        "slices": slices(encoding, guarded),
        "champion": next((live.outcome() for live in running), None),
        **({} if threshold is None else {"decision": threshold.to_dict()}),
        **({} if search is None else {"tuning": search}),
        "model_digest": digest,
        "hyperparameters": settings.given,
        "seed": settings.seed,
        "libraries": libraries(estimator, encoding),
        "lineage": lineage,
        "seconds": clock.seconds,
    }
    write_json(folders.output / "training_report.json", report)
    write_json(folders.output / "smoke.json", answers)
    print(f"trained {report['estimator']}, model_digest {digest}", flush=True)


def _encoded(
    contract: Contract, splits: tuple[Split, ...], target: NDArray[Any], groups: NDArray[np.int64] | None
) -> tuple[Encoding | RawColumns, Any]:
    """Return how rows are encoded, and those of the splits: as `Rows`, or the columns themselves."""
    import model  # noqa: PLC0415 - the user's file, imported by `train` before

    pieces = partial(features_of, splits)
    if wants_columns(model):
        raw = RawColumns(contract, Encoding.learn(contract, pieces(["category"])).vocabularies)
        return raw, frame_of(Rows(raw, splits).batches())
    encoding, own = text_learning.learn(contract, pieces, target, groups)
    return encoding, Rows(encoding, splits, own)


def _compiled(
    estimator: Any, encoding: Encoding | RawColumns, holdout: Split, threshold: DecisionThreshold | None
) -> compiling.Compilation:
    """Return the compiled form, compared on rows of the hold-out, of an estimator that has to be usable."""
    contract = encoding.contract
    predict = inference.predictor_of(estimator, contract)
    if isinstance(encoding, RawColumns):
        return compiling.Compilation(None, "it reads the columns themselves, not the matrix", None, 0)
    return compiling.compile_checked(
        estimator,
        len(contract.classes or ()),
        predict,
        Rows(encoding, [holdout]).take(evenly_spaced(len(holdout), COMPARED_ROWS)),
        None if threshold is None else partial(threshold.labels, contract.classes or ()),
    )


def _contract_text(folders: Folders) -> bytes:
    try:
        return (folders.channel("contract") / "schema.json").read_bytes()
    except FileNotFoundError as error:
        raise InvalidContract("the channel 'contract' holds no schema.json.") from error
