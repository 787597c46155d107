"""Whether the interval that a reviewer sees covers the truth where rows repeat entities: 20 rows of each.

The truth is how a model does on entities that it has never met. A model of near neighbours, which knows an
entity again by two numbers that all its rows share, is trained and judged under the split of rows and under
the split of groups, with the splits' own hashes and the gate's own intervals.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bench.record import Result, kept
from dropforge.domain.comparison import FEWEST_ROWS, compare
from dropforge.domain.gate import GatePolicy, judge
from dropforge.domain.holdout import HoldOut
from dropforge.domain.metrics import Scored
from dropforge.domain.resampling import resamples_for
from dropforge.domain.splitting import split_codes, splitmix64
from dropforge.domain.time_split import Times, ordered_keys

ROWS_EACH = 20
NEIGHBOURS = 15
NEW_ENTITIES, NEW_ROWS_EACH = 3000, 5
COVERAGE = 0.92
SIZES = (20, 100, 300)
LEAK_ROWS, LEAK_RUNS = 4000, 20
"""Groups in the hold-out on average, a tenth of all."""
_TRAIN, _TEST = 0, 2


@dataclass(frozen=True)
class Rows:
    """Rows of entities: features float64 (n, 3), target int64 (n,), entity int64 (n,)."""

    features: NDArray[np.float64]
    target: NDArray[np.int64]
    entity: NDArray[np.int64]


def draw(rng: np.random.Generator, entities: int, rows_each: int = ROWS_EACH) -> Rows:
    """Draw entities with an effect of their own that nothing but who they are tells."""
    entity = np.repeat(np.arange(entities), rows_each)
    effect, mark = rng.normal(0, 1.5, entities), rng.normal(0, 3, (entities, 2))
    signal = rng.normal(size=len(entity))
    chance = 1 / (1 + np.exp(-(signal + effect[entity])))
    target = (rng.random(len(entity)) < chance).astype(np.int64)
    return Rows(np.column_stack([0.2 * signal, mark[entity]]), target, entity)


def scores(train: Rows, asked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities, float64 (n, 2)."""
    found = cKDTree(train.features).query(asked, NEIGHBOURS)[1]
    positive = (train.target[found].sum(axis=1) + 0.5) / (NEIGHBOURS + 1)
    return np.column_stack([1 - positive, positive])


def taken(rows: Rows, places: NDArray[np.intp]) -> Rows:
    return Rows(rows.features[places], rows.target[places], rows.entity[places])


@dataclass
class Found:
    """Of so many runs: how many intervals hold the truth, how many are missing, the excess in all, and in how
    many runs the hold-out has too few groups."""

    runs: int = 0
    covered: int = 0
    silent: int = 0
    few: int = 0
    excess: float = 0.0


def measure(groups: int, runs: int, seed: int) -> dict[str, Found]:
    """Judge models of `groups` hold-out groups in many runs, under both splits."""
    found = {"row": Found(), "group": Found()}
    for number in range(runs):
        rng = np.random.default_rng([seed, groups, number])
        rows, new = draw(rng, groups * 10), draw(rng, NEW_ENTITIES, NEW_ROWS_EACH)
        salt = np.uint64(rng.integers(2**63))
        by = {"row": np.arange(len(rows.entity)), "group": rows.entity}
        for name, decides in by.items():
            codes = split_codes(splitmix64(decides.astype(np.uint64) ^ salt))
            train, holdout = _held_out(rows, codes, grouped=name == "group")
            _count(found[name], holdout, train, new)
    return found


def _held_out(rows: Rows, codes: NDArray[np.integer[Any]], *, grouped: bool = False) -> tuple[Rows, HoldOut]:
    """Return the training rows, and the hold-out as the model that was fitted on them scores it."""
    train, test = (taken(rows, np.flatnonzero(codes == code)) for code in (_TRAIN, _TEST))
    holdout = HoldOut(
        task="binary",
        classes=("no", "yes"),
        row_key=np.arange(len(test.target), dtype=np.uint64),
        target=test.target,
        candidate=scores(train, test.features),
        group=test.entity if grouped else None,
    )
    return train, holdout


def _count(found: Found, holdout: HoldOut, train: Rows, new: Rows) -> None:
    scored = Scored(holdout.task, holdout.target, holdout.candidate)
    resamples = resamples_for(len(holdout.target), GatePolicy().resamples)
    # As the gate does, of the deciding metric alone: the others would take most of the time.
    judged = compare(
        *(scored, None, ("auc",)),
        classes=holdout.classes,
        resamples=resamples,
        seed=0,
        groups=holdout.group,
    )["auc"].candidate
    found.runs += 1
    found.few += holdout.group is not None and len(np.unique(holdout.group)) < FEWEST_ROWS
    if not math.isfinite(judged.low):
        found.silent += 1
        return
    true = Scored("binary", new.target, scores(train, new.features)).value("auc")
    found.covered += judged.low <= true <= judged.high
    found.excess += judged.value - true


def learned_the_future(by_time: bool, seed: int) -> tuple[bool, float]:
    """Judge a model whose best feature is known of old rows only: what happened later was written over it.

    The column is the outcome itself, blurred a little, in the first nine tenths of the time, then noise.

    Returns:
        Whether the gate accepts, and the auc on the hold-out.
    """
    rng = np.random.default_rng([seed, by_time])
    time = rng.permutation(LEAK_ROWS)
    target = rng.integers(0, 2, LEAK_ROWS)
    known = time < LEAK_ROWS * 9 // 10
    leak = np.where(known, target + rng.normal(0, 0.2, LEAK_ROWS), rng.normal(0.5, 0.5, LEAK_ROWS))
    features = np.column_stack([leak, rng.normal(size=(LEAK_ROWS, 2)) * 0.1])
    if by_time:
        keys = ordered_keys(time)
        codes = Times(lambda: [keys]).boundaries().codes(keys)
    else:
        codes = split_codes(splitmix64(np.arange(LEAK_ROWS, dtype=np.uint64) ^ np.uint64(seed)))
    rows = Rows(features, target.astype(np.int64), np.arange(LEAK_ROWS))
    _, holdout = _held_out(rows, codes)
    judged = judge(holdout, GatePolicy())
    return judged.accepted, judged.candidate.value


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench splits", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    print(f"95 % intervals of auc that hold the truth, of {options.runs}; entities of {ROWS_EACH} rows each")
    print(f"{'hold-out groups':>15} {'split by':>9} {'cover':>7} {'cannot say':>11} {'auc minus truth':>16}")
    results: list[Result] = []
    for groups in options.sizes:
        for name, found in measure(groups, options.runs, options.seed).items():
            given = found.runs - found.silent
            share = found.covered / given if given else math.nan
            if name == "row":
                goal, met = "below half", share < 0.5
            elif groups >= 100:
                goal, met = f">= {COVERAGE:.0%}", share >= COVERAGE and not found.silent
            else:
                goal, met = f"no interval below {FEWEST_ROWS}", found.silent == found.few
            excess = found.excess / given if given else math.nan
            label = f"splits: cover, {groups} groups, split by {name}"
            results.append(Result.alone(label, share if given else 0.0, goal, met))
            told = f"{share:>7.1%} {found.silent / found.runs:>11.1%} {excess:>+16.3f}{results[-1].missed}"
            print(f"{groups:>15} {name:>9} {told}", flush=True)
    for by_time in (False, True):
        judged = [learned_the_future(by_time, options.seed + number) for number in range(LEAK_RUNS)]
        accepted = sum(each for each, _ in judged)
        met = accepted == (0 if by_time else LEAK_RUNS)
        name, goal = ("with SplitColumn", "0") if by_time else ("without", "1")
        results.append(Result.alone(f"splits: learned the future, {name}", accepted / LEAK_RUNS, goal, met))
        mean = sum(value for _, value in judged) / LEAK_RUNS
        told = f"accepted in {accepted} of {LEAK_RUNS} runs, auc {mean:.3f}{results[-1].missed}"
        print(f"a model that learned the future, {name:<16}: {told}", flush=True)
    return kept(results)
