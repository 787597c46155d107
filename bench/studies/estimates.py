"""How well quality is estimated before outcomes, where the truth is known, beside NannyML's CBPE and DLE.

Models are trained on made-up rows, calibrated on 2,000 others, and asked about windows whose rows have moved:
each column by up to 0.6 standard deviations, the same outcomes for the same rows. Counted are how often the
true metric of a window lies in the interval, how far the value is off, how often nothing is told, and, in
windows that haven't moved, how often the metric is called worse.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge

from bench.environments import PACKAGES, python_of, run
from bench.record import Result, kept
from bench.studies.baselines import baselines_of
from bench.studies.chance import at_least, at_most, processes
from dropforge.domain.comparison import compare
from dropforge.domain.drift.assessment import FEATURE, assess
from dropforge.domain.drift.estimation import Calibration, estimate
from dropforge.domain.drift.policy import WatchPolicy
from dropforge.domain.drift.quality import DEGRADED
from dropforge.domain.metric_registry import metric_named
from dropforge.domain.metrics import Scored
from dropforge.domain.resampling import resamples_for

TRAINED, HELD, ROWS, COLUMNS = 4000, 2000, 500, 6
FARTHEST = 0.6
COVERED, REFUSED = 0.9, 0.01
PEER = PACKAGES["nannyml"][0]

# Small models on a busy machine: threads would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

Floats = NDArray[np.float64]
Rng = np.random.Generator


def _signal(x: Floats) -> Floats:
    bent = np.maximum(x[:, 2], 0.0)
    return x[:, 0] + 0.7 * x[:, 1] + bent - 0.5 + 0.4 * x[:, 0] * x[:, 3]


def _drawn(chances: Floats, rng: Rng) -> NDArray[np.int64]:
    return (rng.random((len(chances), 1)) > np.cumsum(chances, axis=1)).sum(axis=1).clip(max=2)


def _two(offset: float) -> Callable[[Floats, Rng], NDArray[Any]]:
    return lambda x, rng: (rng.random(len(x)) < 1 / (1 + np.exp(-1.3 * (_signal(x) - offset)))).astype(
        np.int64
    )


def _three(x: Floats, rng: Rng) -> NDArray[Any]:
    odds = np.stack([_signal(x), 1.5 * x[:, 1] - x[:, 4], np.full(len(x), 0.3)], axis=1)
    chances = np.exp(odds - odds.max(axis=1, keepdims=True))
    return _drawn(chances / chances.sum(axis=1, keepdims=True), rng)


def _spread(scale: Callable[[Floats], Any]) -> Callable[[Floats, Rng], NDArray[Any]]:
    return lambda x, rng: 2 * _signal(x) + scale(x) * rng.normal(size=len(x))


WORLDS: Mapping[str, tuple[str, Callable[[Floats, Rng], NDArray[Any]]]] = {
    "two classes": ("binary", _two(0.0)),
    "a rare class": ("binary", _two(2.0)),
    "three classes": ("multiclass", _three),
    "errors that follow the prediction": ("regression", _spread(lambda x: np.exp(0.3 * _signal(x)))),
    "errors that follow a column": ("regression", _spread(lambda x: np.exp(0.4 * x[:, 5]))),
    "even errors": ("regression", _spread(lambda x: 1.0)),
}
"""By name the task, and how outcomes come of six columns."""
CASES = (
    ("two classes", "auc"), ("two classes", "accuracy"), ("a rare class", "f1"), ("two classes", "precision"),
    ("a rare class", "recall"), ("three classes", "accuracy"), ("errors that follow the prediction", "mae"),
    ("errors that follow a column", "rmse"), ("errors that follow the prediction", "r2"),
)  # fmt: skip
BESIDE = {
    ("two classes", "auc"): "roc_auc", ("a rare class", "f1"): "f1", ("a rare class", "recall"): "recall",
    ("three classes", "accuracy"): "accuracy", ("errors that follow the prediction", "mae"): "mae",
    ("errors that follow a column", "rmse"): "rmse",
}  # fmt: skip
"""Cases that NannyML is given as well, with its names of the metrics."""
KINDS = ("linear", "boosted", "forest")


def _model(kind: str, task: str, seed: int) -> Any:
    if task == "regression":
        return {
            "linear": Ridge(),
            "boosted": HistGradientBoostingRegressor(max_iter=60, random_state=seed),
            "forest": RandomForestRegressor(40, min_samples_leaf=3, random_state=seed),
        }[kind]
    return {
        "linear": LogisticRegression(C=10),
        "boosted": HistGradientBoostingClassifier(max_iter=60, random_state=seed),
        "forest": RandomForestClassifier(40, min_samples_leaf=2, random_state=seed),
    }[kind]


@dataclass(frozen=True)
class Found:
    """Of each window of a world: the true metric, the estimate with its limits (NaN if refused), whether it
    is marked, has moved, and is called worse."""

    true: list[float]
    value: list[float]
    low: list[float]
    high: list[float]
    marked: list[bool]
    moved: list[bool]
    degraded: list[bool]
    refused: str | None
    tables: tuple[pd.DataFrame, pd.DataFrame]


def _table(task: str, x: Floats, scores: Floats, target: NDArray[Any]) -> pd.DataFrame:
    table = pd.DataFrame({f"x{place}": x[:, place] for place in range(COLUMNS)})
    if task == "regression":
        return table.assign(called=scores, target=target)
    table = table.assign(**{f"p{code}": scores[:, code] for code in range(scores.shape[1])})
    return table.assign(called=scores.argmax(axis=1), target=target)


def world(number: int, name: str, metric: str, windows: int, seed: int) -> Found:
    """Train a model, calibrate it, and estimate windows, every other of which has moved."""
    task, outcome = WORLDS[name]
    rng = np.random.default_rng([seed, list(WORLDS).index(name), number])
    x = rng.normal(size=(TRAINED, COLUMNS))
    model = _model(KINDS[number % len(KINDS)], task, number).fit(x, outcome(x, rng))
    predict = model.predict if task == "regression" else model.predict_proba
    base = baselines_of({f"x{place}": x[:, place] for place in range(COLUMNS)})
    x = rng.normal(size=(HELD, COLUMNS))
    target, scores = outcome(x, rng), predict(x)
    columns = {f"x{place}": x[:, place] for place in range(COLUMNS)}
    calibration = Calibration.learn(task, target, scores, np.arange(HELD), columns)
    classes = None if task == "regression" else tuple(map(str, range(scores.shape[1])))
    held = compare(
        Scored(task, target, scores), None, (metric,), classes=classes, resamples=resamples_for(HELD, 300),
        seed=number,
    )[metric].candidate  # fmt: skip
    tables = [_table(task, x, scores, target)]
    policy, found = WatchPolicy(seed=number), Found([], [], [], [], [], [], [], calibration.refused, ())  # type: ignore[arg-type]
    greater = metric_named(task, metric).greater_is_better
    for window in range(windows):
        shift = rng.normal(size=COLUMNS)
        shift *= FARTHEST * rng.random() * math.sqrt(COLUMNS) / float(np.linalg.norm(shift)) * (window % 2)
        x = rng.normal(size=(ROWS, COLUMNS)) + shift
        target, scores = outcome(x, rng), predict(x)
        columns = {f"x{place}": x[:, place] for place in range(COLUMNS)}
        seen = assess(columns, base, rows=ROWS, policy=policy)
        told = estimate(
            calibration, metric, scores, columns=columns, seed=window,
            outside={
                each.drift.name: rate.value
                for each in seen.columns
                if each.kind == FEATURE and (rate := each.drift.statistic("out_of_domain_rate")) is not None
            },
            apart=0.5 if seen.classifier is None else seen.classifier.auc,
        ).against(held, greater_is_better=greater, tolerance=0.0, rate=policy.false_alarm_rate)  # fmt: skip
        found.true.append(Scored(task, target, scores).value(metric))
        found.value.append(told.interval.value)
        found.low.append(told.interval.low)
        found.high.append(told.interval.high)
        found.marked.append(told.label_shift is not None)
        found.moved.append(bool(window % 2))
        found.degraded.append(told.verdict == DEGRADED)
        tables.append(_table(task, x, scores, target))
    return Found(**{**vars(found), "tables": (tables[0], pd.concat(tables[1:], ignore_index=True))})


def _peer(name: str, metric: str, found: list[Found]) -> tuple[Floats, NDArray[np.bool_]]:
    """NannyML's values and alerts of the same windows."""
    task = WORLDS[name][0]
    kind = {"binary": "classification_binary", "multiclass": "classification_multiclass"}.get(task, task)
    told = {
        "kind": kind, "metric": metric, "rows": ROWS, "features": [f"x{place}" for place in range(COLUMNS)],
        "scores": {str(code): f"p{code}" for code in range(3)},
    }  # fmt: skip
    if kind == "classification_multiclass":
        told["scores"] = {code: f"p{code}" for code in range(3)}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "task.json").write_text(json.dumps(told))
        for number, each in enumerate(found):
            each.tables[0].to_parquet(Path(folder) / f"holdout-{number:03}.parquet")
            each.tables[1].to_parquet(Path(folder) / f"windows-{number:03}.parquet")
        said = run([python_of("nannyml"), "-m", "bench.peers.estimates_nannyml", folder], {0, 1})
    return np.array(said["values"]).ravel(), np.array(said["alerts"]).ravel()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench estimates", description=__doc__)
    parser.add_argument("--worlds", type=int, default=60, help="models of each case, a third of each kind")
    parser.add_argument("--windows", type=int, default=10, help="of each model, half of which have moved")
    parser.add_argument(
        "--peer-worlds", type=int, default=60, help="of these, those NannyML is given as well"
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    started, results = time.perf_counter(), []
    errors: list[float] = []
    print(
        f"{HELD:,} rows of hold-out, windows of {ROWS}; {options.worlds} models of {options.windows} windows"
    )
    print(f"{'case':<44}{'covered':>8}{'refused':>8}{'marked':>8}{'error':>8}{'hold-out':>9}{'false':>7}")
    with processes() as pool:
        for name, metric in CASES:
            arguments_of = (name, metric, options.windows, options.seed)
            waiting = [pool.submit(world, number, *arguments_of) for number in range(options.worlds)]
            found = [each.result() for each in waiting]
            true, value, low, high, marked, moved, degraded = (
                np.array([getattr(each, field) for each in found]).ravel()
                for field in ("true", "value", "low", "high", "marked", "moved", "degraded")
            )
            told = moved & np.isfinite(value) & np.isfinite(true)
            covered = float(((low <= true) & (true <= high))[told].mean())
            refused, false = float(1 - np.isfinite(value)[moved].mean()), float(degraded[~moved].mean())
            uncalibrated = sum(each.refused is not None for each in found) / len(found)
            met = covered >= at_least(COVERED, int(told.sum()))
            results.append(
                Result.alone(f"estimates: {metric}, {name}, covered", covered, f">= {COVERED}", met)
            )
            rate = WatchPolicy().false_alarm_rate
            most = at_most(rate, int((~moved).sum()))
            results.append(
                Result.alone(f"estimates: {metric}, {name}, false", false, f"<= {rate}", false <= most)
            )
            most = at_most(REFUSED, len(found))
            label = f"estimates: {metric}, {name}, calibrations refused"
            results.append(Result.alone(label, uncalibrated, f"<= {REFUSED}", uncalibrated <= most))
            off = np.abs(value - true)
            before = np.array([np.full(options.windows, _held(metric, name, each)) for each in found]).ravel()
            print(
                f"{metric + ', ' + name:<44}{covered:>8.1%}{refused:>8.1%}{marked[moved].mean():>8.1%}"
                f"{off[told].mean():>8.4f}{np.abs(before - true)[told].mean():>9.4f}{false:>7.2%}"
                f"{'' if all(each.met for each in results[-3:]) else '  MISSED'}",
                flush=True,
            )
            beside = found[: options.peer_worlds]
            if (name, metric) in BESIDE and beside:
                theirs, alerts = _peer(name, BESIDE[name, metric], beside)
                some = slice(0, len(theirs))
                results += _beside(
                    f"{metric}, {name}", off[some], np.abs(theirs - true[some]), told[some],
                    degraded[some], alerts, ~moved[some], errors,
                )  # fmt: skip
    if errors:
        ratio = float(np.mean(errors))
        result = Result("estimates: mean error over cases", ratio, PEER, 1.0, ratio, "< 1", ratio < 1)
        results.append(result)
        print(f"mean error, as a part of {PEER}'s: {ratio:.3f}{result.missed}")
    print(f"took {time.perf_counter() - started:.0f} s")
    return kept(results)


def _held(metric: str, name: str, found: Found) -> float:
    """The metric on the hold-out, which is what somebody who has no estimate expects."""
    task, table = WORLDS[name][0], found.tables[0]
    if task == "regression":
        scores: NDArray[Any] = table["called"].to_numpy()
    else:
        scores = table[[each for each in table.columns if each.startswith("p")]].to_numpy()
    return Scored(task, table["target"].to_numpy(), scores).value(metric)


def _beside(
    case: str, ours: Floats, theirs: Floats, told: NDArray[np.bool_], degraded: NDArray[np.bool_],
    alerts: NDArray[np.bool_], still: NDArray[np.bool_], errors: list[float],
) -> list[Result]:  # fmt: skip
    """Compare errors of moved windows and false alarms of the others, each beyond paired noise."""
    both = told & np.isfinite(theirs)
    more = ours[both] - theirs[both]
    noise = 2.326 * float(more.std()) / math.sqrt(len(more))
    mine, peers = float(ours[both].mean()), float(theirs[both].mean())
    errors.append(mine / peers)
    error = Result(
        f"estimates: {case}, error", mine, PEER, peers, mine / peers, "no more, paired",
        float(more.mean()) <= noise,
    )  # fmt: skip
    rings = degraded[still].astype(float) - alerts[still].astype(float)
    noise = 2.326 * float(rings.std()) / math.sqrt(len(rings))
    mine, peers = float(degraded[still].mean()), float(alerts[still].mean())
    false = Result(
        f"estimates: {case}, false alarms", mine, PEER, peers, mine / peers if peers else None,
        "no more, paired", float(rings.mean()) <= noise,
    )  # fmt: skip
    print(
        f"  {PEER}: error {error.peer_value:.4f} ({error.ratio:.2f} times){error.missed}, "
        f"false {peers:.2%}{false.missed}",
        flush=True,
    )
    return [error, false]
