"""What decision thresholds and calibration are worth on the real tables of two classes; ``--thresholds``.

Each table is split anew several times. The delivered model is fitted as in a training job; ways to choose its
threshold and to calibrate it are compared on the rows held out. Everything is relative: costs to those of the
likelier class as the label, the Brier score to that of the model as it is.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench.folder_store import FolderStore
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from dropforge.adapters.tables.streamed_tables import StreamedTables
from dropforge.application.preparation_request import PrepareRequest, PrepareSettings
from dropforge.application.prepare_data import prepare_data
from dropforge.domain.contract import Contract
from dropforge.domain.decision_goal import Goal
from dropforge.domain.decision_threshold import choose, operating_points
from dropforge.domain.errors import DropforgeError
from tests.realworld.tables import Table

# The training code is no package: a job has it beside its train.py.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "training"))

import text_learning
from deciding import FOLDS
from fitting import Fitting
from inference import columns_of, labels_of, predictor_of
from model import build_model

GOALS = (Goal(1, 5), Goal(1, 20), Goal(1, 50), Goal(5, 1))
MOST_ROWS = 20_000
DATA = "s3://data"
CLEAR = 0.005
"""A Brier score below this is of a table that is as good as told apart: nothing is to be won there."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def report(tables: Sequence[Table], places: Sequence[Path], splits: int) -> None:
    """Print a line per table, and what all of them come to."""
    found: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    for table in tables:
        for measured in _measured(table, places, splits):
            found[table.name].append(measured)
        if table.name in found:
            print(f"{table.name}: Brier {_mean(found[table.name], 'brier as it is'):.4f}", flush=True)
    used = [each for each in found.values() if _mean(each, "brier as it is") >= CLEAR]
    print(f"{len(found)} tables of two classes, {splits} splits each; {len(used)} aren't told apart already:")
    for name in used[0][0] if used else ():
        kind, _, _ = name.partition(" ")
        base = "brier as it is" if kind == "brier" else f"{kind} likelier class"
        if name == base:
            continue
        # A cost of 0 is no ratio; a unit beside both keeps it one.
        unit = 0.0 if kind == "brier" else 1.0
        ratios = [(_mean(each, name) + unit) / (_mean(each, base) + unit) for each in used]
        better, worse = sum(ratio < 1 for ratio in ratios), sum(ratio > 1 for ratio in ratios)
        middle = math.exp(sum(map(math.log, ratios)) / len(ratios))
        than = "uncalibrated" if kind == "brier" else "the likelier class"
        print(f"{name:<28} {middle:.3f} times {than}; better in {better}, worse in {worse}")


def _mean(runs: Sequence[Mapping[str, float]], name: str) -> float:
    return sum(each[name] for each in runs) / len(runs)


def _measured(table: Table, places: Sequence[Path], splits: int) -> Iterator[Mapping[str, float]]:
    """Yield what each split comes to; nothing of a table that is refused, or has not two classes."""
    with tempfile.TemporaryDirectory(prefix="dropforge-realworld-") as folder:
        store = FolderStore(Path(folder))
        uri = f"{DATA}/incoming/{table.file_name}"
        store.write(uri, table.read(places))
        settings = PrepareSettings(table.target, key=table.key)
        try:
            prepared = prepare_data(
                PrepareRequest("run", (store.pinned(uri),), DATA, settings), store, StreamedTables(store)
            )
        except DropforgeError:
            return
        if prepared.task != "binary":
            return
        contract = Contract.from_json(store.read(prepared.contract_uri))
        parts = [
            pq.read_table(store.path(ref))
            for split in ("train", "validation", "test")
            for ref in store.list(f"{prepared.prefix}{split}/")
        ]
    rows = pa.concat_tables(parts)
    if rows.num_rows > MOST_ROWS:
        rows = rows.take(np.random.default_rng(0).permutation(rows.num_rows)[:MOST_ROWS])
    (batch,) = rows.combine_chunks().to_batches()
    columns = columns_of(batch, contract)
    labels = labels_of(batch.column(contract.target)).to_objects()
    target = (labels == (contract.classes or ())[1]).astype(np.int64)
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(target))
        if len(np.unique(target[order[len(order) * 8 // 10 : len(order) * 9 // 10]])) == 2:
            yield _split(contract, columns, target, order, seed)


def _split(
    contract: Contract,
    columns: Mapping[str, Any],
    target: NDArray[np.int64],
    order: NDArray[np.intp],
    seed: int,
) -> Mapping[str, float]:
    fitted, test = order[: len(order) * 9 // 10], order[len(order) * 9 // 10 :]
    known = {name: values.take(fitted) for name, values in columns.items()}
    encoding, own = text_learning.learn(contract, lambda _: [known], target[fitted], None)
    matrix, n_training = encoding.encode(known, own), len(order) * 8 // 10
    settings = {"metric": "auc", "seed": seed}
    fitting = Fitting(lambda: build_model(contract, settings), matrix, target[fitted], n_training)
    first = fitting.first()
    validation = predictor_of(first, contract)(fitting.validation[0])[:, 1]
    folded = np.full(len(fitted), np.nan)
    for estimator, held_out, places in fitting.out_of_fold(first, FOLDS, seed):
        folded[places] = predictor_of(estimator, contract)(np.concatenate(list(held_out)))[:, 1]
    final = predictor_of(fitting.final(first)[0], contract)
    scores = final(encoding.encode({name: values.take(test) for name, values in columns.items()}))[:, 1]
    return {
        **_calibrated(scores, target[test], {
            "validation": (validation, fitting.validation[1]), "out of fold": (folded, fitting.target)
        }),
        **_costs(scores, target[test], validation, fitting.validation[1], folded, fitting.target),
    }  # fmt: skip


def _calibrated(
    scores: Floats, target: NDArray[np.int64], learned: Mapping[str, tuple[Floats, NDArray[np.int64]]]
) -> dict[str, float]:
    """Return the Brier score of the model as it is, and calibrated in two ways on two kinds of rows."""

    def brier(chances: Floats) -> float:
        return float(np.mean((chances - target) ** 2))

    found = {"brier as it is": brier(scores)}
    for name, (seen, truth) in learned.items():
        sigmoid = LogisticRegression(C=1e6).fit(_odds(seen), truth)
        steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(seen, truth)
        found[f"brier sigmoid, {name}"] = brier(sigmoid.predict_proba(_odds(scores))[:, 1])
        found[f"brier isotonic, {name}"] = brier(steps.predict(scores))
    return found


def _odds(chances: Floats) -> Floats:
    inside = np.clip(chances, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(inside / (1 - inside)))[:, None]


def _costs(
    scores: Floats,
    target: NDArray[np.int64],
    validation: Floats,
    validated: NDArray[np.int64],
    folded: Floats,
    truth: NDArray[np.int64],
) -> dict[str, float]:
    """Return what errors cost per 1,000 rows, of the rarer class as the positive one, by way to choose."""
    rare = int(truth.mean() <= 0.5)

    def of_rare(chances: Floats) -> Floats:
        return chances if rare else 1 - chances

    found = {}
    for goal in GOALS:
        positive = target == rare
        ways = {
            "likelier class": 0.5,
            "the costs alone": goal.expected_threshold,
            "cheapest on validation": _cheapest(goal, of_rare(validation), validated == rare),
            "cheapest out of fold": _cheapest(goal, of_rare(folded), truth == rare),
            "as chosen": choose(goal, "", of_rare(folded), truth == rare, "").value,
        }
        for way, threshold in ways.items():
            called = of_rare(scores) >= threshold
            errors = int((called & ~positive).sum()), int((positive & ~called).sum())
            name = f"{goal.false_positive_cost:g}:{goal.false_negative_cost:g} {way}"
            found[name] = 1000 * float(goal.cost_of(*errors)) / len(positive)
    return found


def _cheapest(goal: Goal, scores: Floats, positive: Flags) -> float:
    values, called, hits = operating_points(scores, positive)
    return float(values[np.argmin(goal.cost_of(called - hits, int(positive.sum()) - hits))])
