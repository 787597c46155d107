"""How often the guard of slices refuses a candidate that is as good in each, and how often it finds a loss.

Hold-outs are simulated with both models' scores, and compared by the gate's own guard. *Equal*: the
candidate errs as much as the champion in every slice of two guarded columns (10 values of very different
frequency, and 4), each model with half of its noise its own; *twins* differ in a fiftieth of the rows
alone. A refusal for a slice is false. *Planted*: the candidate is better in all rows but those of one
slice, which has 5 % of them; a refusal that names it is right.

The goals: at most 2.5 % false refusals, all slices of a comparison together, by a one-sided binomial test at
1 %; at least 90 % of the planted losses found in 10,000 rows. Disparity is measured beside fairlearn's own.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.environments import ROOT, python_of, run
from bench.record import Result, kept
from bench.studies.chance import at_most, processes, shares
from dropforge.domain.gate import GatePolicy, guard
from dropforge.domain.guarded_slices import disparity
from dropforge.domain.holdout import HoldOut, Slice
from dropforge.domain.metric_registry import metric_named
from dropforge.domain.metrics import Scored
from dropforge.domain.slicing import Slicing

FALSE_GOAL, POWER_GOAL = 0.025, 0.9
EQUAL_ROWS, PLANTED_ROWS, PLANTED_SHARE = 1000, 10_000, 0.05
RESAMPLES = 200
_BATCH = 50
DISPARITY_TABLES, DISPARITY_GOAL = 200, 1e-12

SHARES = 1 / np.arange(1, 11) ** 0.7
COLUMNS = {"region": SHARES / SHARES.sum(), "age": np.full(4, 0.25)}


@dataclass(frozen=True)
class Kind:
    """What is simulated: a metric, how errors are spread, and how far apart both models are."""

    name: str
    metric: str
    positives: float | None = None
    """Share of positives; None of a regression."""

    tails: int = 0
    """Degrees of freedom of a regression's errors; 0 stands for normal ones."""

    twins: bool = False

    grouped: bool = False
    """Whether the gate is told that five rows each belong together."""


EQUAL = (
    Kind("auc, 50 % positive", "auc", 0.5),
    Kind("auc, 10 % positive", "auc", 0.1),
    Kind("auc, in groups", "auc", 0.5, grouped=True),
    Kind("accuracy", "accuracy", 0.3),
    Kind("accuracy of twins", "accuracy", 0.3, twins=True),
    Kind("f1", "f1", 0.3),
    Kind("recall of twins", "recall", 0.3, twins=True),
    Kind("log_loss", "log_loss", 0.3),
    Kind("r2, normal errors", "r2"),
    Kind("r2, errors of t5", "r2", tails=5),
)
PLANTED = (
    (Kind("auc: 0.65 instead of 0.85", "auc", 0.3), 0.545),
    (Kind("accuracy: 0.67 instead of 0.80", "accuracy", 0.3), 0.545),
    (Kind("r2: 0.2 instead of 0.5", "r2"), 0.0),
)
"""With how strong the candidate's signal is in the slice (the champion's is 1.466 in a classification)."""

_SIGNAL = 1.466
"""Distance of the classes in standard deviations: an area of 0.85."""


def simulate(kind: Kind, rows: int, rng: np.random.Generator, planted: float | None = None) -> HoldOut:
    """Return a hold-out of both models; with `planted` the candidate is better but in the last region."""
    shares = COLUMNS["region"]
    if planted is not None:
        shares = np.append(shares * (1 - PLANTED_SHARE) / shares.sum(), PLANTED_SHARE)
    codes = [rng.choice(len(shares), rows, p=shares)]
    codes += [rng.choice(len(each), rows, p=each) for each in list(COLUMNS.values())[1:]]
    lost = codes[0] == len(shares) - 1 if planted is not None else np.zeros(rows, dtype=bool)
    slices = tuple(_slice(name, codes[place]) for place, name in enumerate(COLUMNS))
    keys = np.arange(rows, dtype=np.uint64)
    both = rng.normal(size=(3, rows))
    if kind.tails:
        both = rng.standard_t(kind.tails, (3, rows)) / math.sqrt(kind.tails / (kind.tails - 2))
    # Half of the variance of each model's noise is its own.
    noise = [(both[0] + own) / math.sqrt(2) for own in both[1:]]
    if kind.twins:
        noise[0] = np.where(rng.random(rows) < 0.02, noise[0], noise[1])
    group = np.arange(rows, dtype=np.int64) // 5 if kind.grouped else None
    stacked = np.stack(codes, axis=1).astype(np.int16)
    if kind.positives is None:
        truth = rng.normal(size=rows)
        worse = np.where(lost, math.sqrt(0.8 / 0.5), 1.0 if planted is None else 0.9) * noise[0]
        spread = math.sqrt(0.5)
        models = truth + spread * worse, truth + spread * noise[1]
        return HoldOut("regression", None, keys, truth, *models, slices, stacked, group)
    target = (rng.random(rows) < kind.positives).astype(np.int64)
    strength = np.full(rows, _SIGNAL) if planted is None else np.where(lost, planted, _SIGNAL * 1.15)
    odds = math.log(kind.positives / (1 - kind.positives))
    scores = []
    for signal, each in ((strength, noise[0]), (np.full(rows, _SIGNAL), noise[1])):
        probability = 1 / (1 + np.exp(-(_SIGNAL * (signal * (target - 0.5) + each) + odds)))
        scores.append(np.stack([1 - probability, probability], axis=1))
    return HoldOut("binary", ("no", "yes"), keys, target, *scores, slices, stacked, group)


def _slice(name: str, codes: NDArray[Any]) -> Slice:
    labels = tuple(f"{code}" for code in range(int(codes.max()) + 1))
    return Slice(name, labels, Slicing(name, labels, (), labels))


def refused(runs: range, kind: Kind, rows: int, seed: int, planted: float | None = None) -> int:
    """Count the comparisons that are refused for a slice; of planted losses those that name it."""
    policy = GatePolicy(metric=kind.metric, resamples=RESAMPLES)
    metric = metric_named("regression" if kind.positives is None else "binary", kind.metric)
    count = 0
    for number in runs:
        rng = np.random.default_rng([seed, rows, number, *kind.name.encode()])
        slices = guard(simulate(kind, rows, rng, planted), metric, policy)
        worse = [(each.column, each.label) for each in slices if each.is_worse]
        count += ("region", "10") in worse if planted is not None else bool(worse)
    return count


def disparity_difference(tables: int, seed: int) -> float:
    """Return the largest difference of our measures of disparity from fairlearn's, over random tables."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(tables):
        codes = rng.permutation(np.arange(600) % rng.integers(2, 9))
        target = (rng.random(600) < rng.uniform(0.2, 0.8)).astype(np.int64)
        called = np.where(rng.random(600) < rng.uniform(0.5, 1.0), target, rng.integers(0, 2, 600))
        drawn.append(np.stack([target, called, codes]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tables.npz")
        np.savez(path, *drawn)
        command = [
            python_of("fairlearn"),
            str(ROOT / "bench" / "peers" / "disparity_fairlearn.py"),
            str(path),
        ]
        theirs = run(command, sorted(os.sched_getaffinity(0)))["tables"]
    largest = 0.0
    for (target, called, codes), wanted in zip(drawn, theirs, strict=True):
        scores = np.stack([1.0 - called, called.astype(np.float64)], axis=1)
        found = disparity(Scored("binary", target, scores), codes.astype(np.int16), 1)
        largest = max(largest, *(abs((found or {})[name] - value) for name, value in wanted.items()))
    return largest


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench guarded", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=10_000, help="comparisons of equal models, of all kinds together"
    )
    parser.add_argument("--planted-runs", type=int, default=100, help="planted losses, of each kind")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    results: list[Result] = []
    with processes() as pool:
        each = options.runs // len(EQUAL)
        print(f"candidates that are as good in every slice, {EQUAL_ROWS:,} rows, 14 slices: refused for one")
        for kind in EQUAL:
            share = float(shares(pool, refused, each, _BATCH, kind, EQUAL_ROWS, options.seed))
            met, goal = share <= at_most(FALSE_GOAL, each), f"<= {FALSE_GOAL}, binomial test"
            results.append(Result.alone(f"guarded: false, {kind.name}", share, goal, met))
            print(f"  {kind.name:<32} {share:>6.2%} of {each:,}{results[-1].missed}", flush=True)
        print(f"candidates that are worse in 5 % of {PLANTED_ROWS:,} rows, better in the others: refused")
        for kind, strength in PLANTED:
            runs = options.planted_runs
            share = float(shares(pool, refused, runs, _BATCH, kind, PLANTED_ROWS, options.seed, strength))
            label, goal = f"guarded: found, {kind.name}", f">= {POWER_GOAL}"
            results.append(Result.alone(label, share, goal, share >= POWER_GOAL))
            print(f"  {kind.name:<32} {share:>6.1%} of {runs:,}{results[-1].missed}", flush=True)
    largest = disparity_difference(DISPARITY_TABLES, options.seed)
    met = largest <= DISPARITY_GOAL
    results.append(Result("guarded: disparity", largest, "fairlearn", 0.0, None, f"<= {DISPARITY_GOAL}", met))
    said = f"at most {largest:.1g} from fairlearn's{results[-1].missed}"
    print(f"disparity of {DISPARITY_TABLES} tables: {said}")
    print(f"took {time.perf_counter() - started:.0f} s")
    return kept(results)
