"""The whole training job: reads its channels, fits, scores candidate and champion, and writes both down."""

from __future__ import annotations

import contextlib
import hashlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
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
from dropforge.domain.drift.column_effects import HOLDOUT_COLUMNS
from dropforge.domain.encoding import Encoding, category_counts, learned_columns
from dropforge.domain.errors import InvalidContract, NotDistributed
from dropforge.domain.metric_registry import metric_named
from dropforge.domain.slicing import Slicing
from fitting import Fitting
from folders import Folders, clear
from model_folder import libraries, write_model
from peers import OnLoss, Peers
from phases import write_phases
from raw_columns import COLUMNS, MATRIX, RawColumns, frame_of, wants_columns
from report import evenly_spaced, holdout_columns, importance, scored, slices, smoke, write_json
from settings import Settings, read_settings
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


@dataclass(frozen=True)
class _Learned:
    """What fitting leaves.

    Attributes:
        splits: the training and the validation rows, of this instance.
        measured: every metric of the validation rows.
        fitted: how many rows of which split `estimator` was fitted on.
        search: for the report; None without one.
        seen_until: the newest time among these rows, where they are split by time.
        guarded: see `splits.guarded_slices`.
        shards: which training rows each of several instances had.
    """

    estimator: Any
    encoding: Encoding | RawColumns
    splits: tuple[Split, Split]
    measured: dict[str, float]
    fitted: dict[str, int]
    threshold: DecisionThreshold | None
    search: dict[str, Any] | None
    seen_until: int | float | None
    guarded: list[tuple[Slicing, NDArray[Any]]]
    shards: list[dict[str, Any]]


def train(
    folders: Folders,
    environment: Mapping[str, str],
    work: Path,
    running: list[Champion],
    on_loss: OnLoss = sys.exit,
) -> None:
    """Run the whole job, or what one of several instances does of it; see ``train.py``.

    Args:
        running: receives the champion's process for clean-up.
        on_loss: see `peers.OnLoss`.
    """
    with Peers.of(folders, environment, on_loss) as peers:
        _train(folders, environment, work, running, peers)


def _train(
    folders: Folders, environment: Mapping[str, str], work: Path, running: list[Champion], peers: Peers
) -> None:
    import model  # noqa: F401, PLC0415 - the user's file: its errors must reach output/failure

    clock = Clock()
    settings = read_settings(folders)
    contract = Contract.from_json(_contract_text(folders))
    metric = metric_named(contract.task, settings.metric)
    clear(folders.output)
    with clock.step("read"):
        training, validation, holdout = read_splits(folders, contract, peers)
    if not len(training):
        print("This instance was given no training rows: it trains nothing.", flush=True)
        peers.listen()
        return
    if settings.champion_sha256 is not None and peers.leads:
        with clock.step("open_champion"):
            places = folders.channel("champion"), settings.champion_sha256, folders.channel("test"), work
            running.append(Champion(*places))
    rows = {"train": sum(peers.rows), "validation": len(validation.target), "test": len(holdout.target)}
    splits = [training, validation]
    del training, validation
    learned = _learned(folders, settings, contract, splits, peers, clock)
    if not peers.leads:
        print("This instance has done its part; the first one writes the model.", flush=True)
        return
    estimator, encoding, threshold = learned.estimator, learned.encoding, learned.threshold
    lineage = {name: environment.get(variable) or None for name, variable in LINEAGE_VARIABLES.items()}
    with clock.step("compile"):
        compilation = _compiled(estimator, encoding, holdout, threshold)
        print(f"compiled form: {compilation.reason or 'agrees with the estimator'}", flush=True)
    with clock.step("save"):
        digest = write_model(
            *(folders.model, estimator, compilation, encoding, settings, lineage["run_id"], learned.fitted),
            learned.seen_until,
            threshold,
        )
        saved = inference.model_fn(str(folders.model))
    with clock.step("score"):
        candidate, codes = scored(saved, holdout, learned.guarded)
        important, answers = importance(saved, holdout, metric, settings.seed), smoke(saved, holdout)
        if not peers.several:  # whose first has some of the rows alone
            write_phases(folders, contract, learned.splits, candidate, settings.seed)
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
    _write_holdout(folders, holdout, arrays)
    report = {
        "format": 1,
        "task": contract.task,
        "metric": metric.name,
        "estimator": getattr(estimator, "selected_", type(estimator).__name__),
        "parameters": getattr(estimator, "parameters_", None),
        "rounds": getattr(estimator, "rounds_", None),
        "cross_validation": getattr(estimator, "scores_", None),
        "compiled": compilation.to_dict(),
        "validation": learned.measured,
        "rows": rows,
        "fitted": learned.fitted,
        **({"instances": learned.shards} if peers.several else {}),
        "classes": contract.classes,
        "contract_hash": contract.hash,
        "importance": important,
        "importance_split": "test",
        "input": COLUMNS if isinstance(encoding, RawColumns) else MATRIX,
        "learned": {} if isinstance(encoding, RawColumns) else text_learning.made_of(contract),
        "slices": slices(encoding, learned.guarded),
        "champion": next((live.outcome() for live in running), None),
        **({} if threshold is None else {"decision": threshold.to_dict()}),
        **({} if learned.search is None else {"tuning": learned.search}),
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


def _learned(
    folders: Folders,
    settings: Settings,
    contract: Contract,
    splits: list[Split],
    peers: Peers,
    clock: Clock,
) -> _Learned:
    """Fit on the training and the validation rows: all that several instances do together.

    Args:
        splits: the training and the validation rows; emptied, since both share their targets from here on.
    """
    from model import build_model  # noqa: PLC0415 - see `_train`

    metric = metric_named(contract.task, settings.metric)
    n_training, order = len(splits[0]), splits[1].row_key
    with clock.step("fit"):
        both, target = joined(*splits)
        splits.clear()
        groups = all_groups(folders, contract)
        encoding, table = _encoded(contract, both, target, groups, peers)
        known, search = tuned(contract, settings, metric, table, target[:n_training], groups)
        fitting = Fitting(
            *(lambda: build_model(contract, known), table, target, n_training, groups),
            order if contract.group is None and contract.time is None else None,
            peers if peers.several else None,
        )
        first = fitting.first()
    with clock.step("validate"):
        measured = fitting.validated(first, contract)
    with clock.step("fit_final"):
        threshold = chosen_threshold(settings.wish, contract, fitting, first, settings.seed)
        estimator, fitted = fitting.final(first)
        learned = _Learned(
            *(estimator, encoding, both, measured, fitted, threshold, search),
            seen_until(folders, contract, peers),
            guarded_slices(folders, contract, peers),
            _shards(folders, peers) if peers.several else [],
        )
        peers.leave()
    return learned


def _shards(folders: Folders, peers: Peers) -> list[dict[str, Any]]:
    """Return which training rows each host had: how many, and a digest of their files' names."""
    names = sorted(path.name for path in folders.channel("train").iterdir())
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    told = {"host": peers.names[peers.place], "rows": peers.rows[peers.place]}
    return peers.exchange_json({**told, "files": len(names), "files_sha256": digest})


def require_shared(contract: Contract, model: ModuleType) -> None:
    """Refuse what is learned from on one instance, which has to see all rows. Raises NotDistributed."""
    learned = [column.name for column in learned_columns(contract)]
    if learned:
        raise NotDistributed(
            f"{', '.join(learned)}: texts and categories of many values are learned from on one instance. "
            "Give them the role ignored in the contract, or set TrainingInstanceCount to 1."
        )
    if wants_columns(model):
        raise NotDistributed(
            'INPUT = "columns" reads all rows on one instance; set TrainingInstanceCount to 1.'
        )


def _encoded(
    contract: Contract,
    splits: tuple[Split, ...],
    target: NDArray[Any],
    groups: NDArray[np.int64] | None,
    peers: Peers,
) -> tuple[Encoding | RawColumns, Any]:
    """Return how rows are encoded, and those of the splits: as `Rows`, or the columns themselves.

    Raises:
        NotDistributed: there are several hosts, and columns of which one has to see all rows.
    """
    import model  # noqa: PLC0415 - the user's file, imported by `train` before

    pieces = partial(features_of, splits)
    if peers.several:
        require_shared(contract, model)
        # The validation rows are on every host, and count once.
        counted = features_of(splits if peers.leads else splits[:1], ["category"])
        counts: dict[str, Counter[str]] = {}
        for each in peers.exchange_json(category_counts(contract, counted)):
            for name, found in each.items():
                counts.setdefault(name, Counter()).update(found)
        encoding = Encoding.of_counts(contract, counts)
        return encoding, Rows(encoding, splits)
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


def _write_holdout(folders: Folders, holdout: Split, arrays: Mapping[str, Any]) -> None:
    """Write ``holdout.npz``, and of a regression the columns by which its errors may be large."""
    with (folders.output / "holdout.npz").open("wb") as file:
        np.savez(file, **arrays)
    if holdout.contract.task == "regression":
        (folders.output / HOLDOUT_COLUMNS).write_bytes(holdout_columns(holdout))


def _contract_text(folders: Folders) -> bytes:
    try:
        return (folders.channel("contract") / "schema.json").read_bytes()
    except FileNotFoundError as error:
        raise InvalidContract("the channel 'contract' holds no schema.json.") from error
