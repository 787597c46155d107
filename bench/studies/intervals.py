"""How often the gate's 95 % intervals hold the truth, and how often it accepts a model that knows nothing.

Hold-outs are simulated with a known truth, by metric, rows and positives: scores of two normal distributions
with a true area under the curve of 0.85, labels at the threshold that calls about as many rows positive as
are; of a regression half of the variance is explained, with normal errors or those of Student's t with 5
degrees of freedom. The peer is the percentile bootstrap, by which the gate judged before.

A cell passes if its coverage is not below the goal by a one-sided binomial test at 1 %; where the hold-out
is too small for an interval that holds, none is given ("can't say"), which is counted apart.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from bench.record import Result, kept
from bench.studies.chance import at_least, at_most, processes
from dropforge.domain.comparison import compare
from dropforge.domain.drift.distributions import normal_tail
from dropforge.domain.gate import GatePolicy, weigh
from dropforge.domain.holdout import HoldOut
from dropforge.domain.intervals import Interval
from dropforge.domain.metrics import Scored
from dropforge.domain.resampling import resample_weights
from dropforge.domain.verdicts import Verdict

SIZES = (100, 300, 1000, 10_000)
MANY_ROWS = 10_000
POSITIVES = ("1", "2", "3", "5", "10", "5 %", "50 %")
ERRORS = ("normal", "t5")
CLASSIFICATION = ("auc", "f1", "precision", "recall", "accuracy")
REGRESSION = ("r2", "rmse")
GOAL, SMALL_REGRESSION_GOAL = 0.93, 0.91
RANDOM_GOAL, POWER_GOAL = 0.025, 0.9
LENIENT = {
    "auc": "0.5",
    "f1": "0",
    "precision": "0",
    "recall": "0",
    "accuracy": "0",
    "r2": "0",
    "rmse": "1e9",
}
"""Thresholds that every model meets, so that only what is known of chance stands in a random one's way."""
AREA = 0.85
_PEER_RESAMPLES = 400
PEER = "percentile bootstrap"


@dataclass
class Counts:
    """Of one metric in one cell."""

    told: int = 0
    covered: int = 0
    peer_runs: int = 0
    peer_covered: int = 0
    random_runs: int = 0
    random_accepted: int = 0
    accepted: int = 0


@dataclass
class Cell:
    """One size with one number of positives, or kind of errors."""

    rows: int
    kind: str
    counts: dict[str, Counts] = field(default_factory=dict)

    @property
    def positives(self) -> int:
        share = self.kind.removesuffix(" %")
        return int(share) if share == self.kind else round(self.rows * int(share) / 100)


@lru_cache(maxsize=256)
def _quantile(level: float) -> float:
    low, high = -40.0, 40.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if normal_tail(middle) > level else (low, middle)
    return (low + high) / 2


def _classified(rng: np.random.Generator, cell: Cell, area: float) -> tuple[HoldOut, dict[str, float]]:
    """Return a hold-out of that many positives, and the true metrics of its model."""
    share = cell.positives / cell.rows
    shift = -_quantile(area) * math.sqrt(2)
    border = _quantile(share)
    target = (np.arange(cell.rows) < cell.positives).astype(np.int64)
    score = rng.normal(size=cell.rows) + shift * target
    probability = 1 / (1 + np.exp(-np.clip(score - border, -500, 500)))
    found, called = normal_tail(border - shift), normal_tail(border)
    hits, false = share * found, (1 - share) * called
    truth = {
        "auc": area,
        "recall": found,
        "precision": hits / (hits + false),
        "f1": 2 * hits / (hits + false + share),
        "accuracy": hits + (1 - share) * (1 - called),
    }
    scores = np.stack([1 - probability, probability], axis=1)
    keys = np.arange(cell.rows, dtype=np.uint64)
    return HoldOut("binary", ("no", "yes"), keys, target, scores), truth


def _regressed(rng: np.random.Generator, cell: Cell, signal: float) -> tuple[HoldOut, dict[str, float]]:
    """Return a hold-out whose errors have that distribution, and the true metrics of its model."""
    error = rng.normal(size=cell.rows)
    if cell.kind == "t5":
        error = rng.standard_t(5, cell.rows) / math.sqrt(5 / 3)
    predicted = signal * rng.normal(size=cell.rows)
    keys = np.arange(cell.rows, dtype=np.uint64)
    truth = {"r2": signal**2 / (signal**2 + 1), "rmse": 1.0}
    return HoldOut("regression", None, keys, predicted + error, predicted), truth


def _resamples(cell: Cell) -> int:
    return 1000 if cell.rows <= 1000 else 200


def measure(cell: Cell, runs: int, peer_runs: int, random_runs: int, seed: int) -> Cell:
    """Fill a cell: coverage of both methods, and the verdicts on a random model and on the good one."""
    is_regression = cell.kind in ERRORS
    names: Sequence[str] = REGRESSION if is_regression else CLASSIFICATION
    make: Callable[..., tuple[HoldOut, dict[str, float]]] = _regressed if is_regression else _classified
    good, random = (1.0, 0.0) if is_regression else (AREA, 0.5)
    cell.counts = {name: Counts() for name in names}
    for run in range(runs):
        rng = np.random.default_rng([seed, cell.rows, run, *cell.kind.encode()])
        holdout, truth = make(rng, cell, good)
        found = _compared(holdout, names, cell, run)
        for name, count in cell.counts.items():
            interval = found[name].candidate
            count.told += interval.is_told
            count.covered += interval.low <= truth[name] <= interval.high
        if "auc" in names:
            verdict, _ = weigh(holdout, found, GatePolicy(metric="auc", threshold="0.7"))
            cell.counts["auc"].accepted += verdict is Verdict.ACCEPTED
        if run < peer_runs:
            for name, interval in _peer(holdout, names, run).items():
                cell.counts[name].peer_runs += 1
                cell.counts[name].peer_covered += interval.low <= truth[name] <= interval.high
        if run >= random_runs:
            continue
        holdout, _ = make(rng, cell, random)
        found = _compared(holdout, names, cell, run)
        for name, count in cell.counts.items():
            verdict, _ = weigh(holdout, found, GatePolicy(metric=name, threshold=LENIENT[name]))
            count.random_runs += 1
            count.random_accepted += verdict is Verdict.ACCEPTED
    return cell


def _compared(holdout: HoldOut, names: Sequence[str], cell: Cell, seed: int):  # type: ignore[no-untyped-def]
    scored = Scored(holdout.task, holdout.target, holdout.candidate)
    return compare(scored, None, names, classes=holdout.classes, resamples=_resamples(cell), seed=seed)


def _peer(holdout: HoldOut, names: Sequence[str], seed: int) -> dict[str, Interval]:
    """The percentile bootstrap of rows, drawn by class."""
    scored = Scored(holdout.task, holdout.target, holdout.candidate)
    strata = np.zeros(len(holdout.target), dtype=np.int64) if holdout.classes is None else holdout.target
    drawn = [
        scored.measure(tuple(names), weights) for weights in resample_weights(strata, _PEER_RESAMPLES, seed)
    ]
    point = scored.measure(tuple(names))
    return {
        name: Interval.of(float(point[name][0]), np.concatenate([each[name] for each in drawn]))
        for name in names
    }


def peer_runs_of(cell: Cell, wanted: int) -> int:
    """Of many rows fewer: the peer's resamples would take longer than all that is measured of ours."""
    return wanted if cell.rows < MANY_ROWS else wanted // 4


def cells_of(sizes: Sequence[int], kinds: Sequence[str] = (*POSITIVES, *ERRORS)) -> list[Cell]:
    """All cells, the largest first, so that no process is left with one at the end."""
    return [Cell(rows, kind) for rows in sorted(sizes, reverse=True) for kind in kinds]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench intervals", description=__doc__)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--peer-runs", type=int, default=200)
    parser.add_argument("--random-runs", type=int, default=2000)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--kinds", nargs="+", default=[*POSITIVES, *ERRORS])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    cells = cells_of(options.sizes, options.kinds)
    with processes() as pool:
        waiting = [
            pool.submit(
                *(measure, cell, options.runs, peer_runs_of(cell, options.peer_runs)),
                *(options.random_runs, options.seed),
            )
            for cell in cells
        ]
        measured = []
        for each in as_completed(waiting):
            cell = each.result()
            measured.append(cell)
            # It takes a while: what is known is told at once.
            found = ", ".join(f"{name} {_coverage(cell, name)[1]}" for name in cell.counts)
            print(f"{cell.rows:,} rows, {cell.kind}: {found}", file=sys.stderr, flush=True)
    measured.sort(key=lambda each: (each.rows, (*POSITIVES, *ERRORS).index(each.kind)))
    results = _report(measured, options.runs)
    print(f"took {time.perf_counter() - started:.0f} s")
    return kept(results)


def _report(cells: Sequence[Cell], runs: int) -> list[Result]:
    results = []
    print(f"share of {runs:,} hold-outs whose 95 % interval holds the truth, in brackets the {PEER}'s")
    for names, is_regression in ((CLASSIFICATION, False), (REGRESSION, True)):
        chosen = [cell for cell in cells if (cell.kind in ERRORS) == is_regression]
        print(f"{'rows':>6} {'errors' if is_regression else 'positives':>9}  ", end="")
        print("".join(f"{name:>18}" for name in names))
        for cell in chosen:
            print(f"{cell.rows:>6} {cell.kind:>9}  ", end="")
            for name in names:
                result, text = _coverage(cell, name)
                results += [result] if result is not None else []
                print(f"{text:>18}", end="")
            print(flush=True)
    print("random models that are accepted though any value meets the threshold")
    for cell in cells:
        trials = next(iter(cell.counts.values())).random_runs
        if not trials:
            continue
        shares = {name: count.random_accepted / trials for name, count in cell.counts.items()}
        worst = max(shares, key=lambda name: shares[name])
        met = shares[worst] <= at_most(RANDOM_GOAL, trials)
        told = ", ".join(f"{name} {share:.2%}" for name, share in shares.items())
        label, goal = f"random accepted, n={cell.rows}, {cell.kind}", f"<= {RANDOM_GOAL}, binomial test"
        results.append(Result.alone(label, shares[worst], goal, met))
        print(f"{cell.rows:>6} {cell.kind:>9}  {told}{results[-1].missed}")
    print(f"models of a true area of {AREA} that are accepted at a threshold of 0.70")
    for cell in cells:
        if cell.kind in ERRORS or min(cell.positives, cell.rows - cell.positives) < 10 or cell.rows < 1000:
            continue
        share = cell.counts["auc"].accepted / runs
        label = f"good model accepted, n={cell.rows}, {cell.kind}"
        results.append(Result.alone(label, share, f">= {POWER_GOAL}", share >= POWER_GOAL))
        print(f"{cell.rows:>6} {cell.kind:>9}  {share:.1%}{results[-1].missed}")
    return results


def _coverage(cell: Cell, name: str) -> tuple[Result | None, str]:
    count = cell.counts[name]
    peer = f"({count.peer_covered / count.peer_runs:.0%})" if count.peer_runs else ""
    if not count.told:
        return None, f"can't say {peer}"
    share = count.covered / count.told
    goal = SMALL_REGRESSION_GOAL if cell.kind in ERRORS and cell.rows <= 100 else GOAL
    label, wanted = f"coverage of {name}, n={cell.rows}, {cell.kind}", f">= {goal}, binomial test"
    result = Result.alone(label, share, wanted, share >= at_least(goal, count.told))
    if count.peer_runs:
        theirs = count.peer_covered / count.peer_runs
        result = replace(result, peer=PEER, peer_value=theirs, ratio=share / theirs if theirs else None)
    return result, f"{share:.1%} {peer}{result.missed}"
