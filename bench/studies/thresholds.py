"""What the decision threshold saves on a table with few positives, and whether its intervals hold.

The table is drawn with known chances, so that what errors cost on new rows is known. A model is fitted and
its threshold chosen as in a training job; the hold-out tells what errors cost as the gate does. Then
hold-outs are drawn in great number, to count how often the intervals of cost and saving hold the truth.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.record import Result, kept
from dropforge.domain.contract import Column, Contract
from dropforge.domain.decision_costs import Decided, decided
from dropforge.domain.decision_goal import Goal, Wish
from dropforge.domain.decision_threshold import Choice, DecisionThreshold
from dropforge.domain.figures import told_apart
from dropforge.domain.holdout import HoldOut
from dropforge.domain.intervals import Interval

# The training code is no package: a job has it beside its train.py.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "training"))

from deciding import chosen_threshold
from fitting import Fitting
from inference import predictor_of
from model import build_model

FEATURES = 6
NEW_ROWS = 200_000
GOALS = (Goal(1, 5), Goal(1, 20), Goal(1, 50), Goal(5, 1))
WIDTHS = (6, 9, 22, 22, 22, 9, 9)

DEAR = 0.1
"""Below this threshold a miss is so much dearer that one hold-out has to show what is saved."""

CONFIDENCE, FALSE_ALARM = 0.95, 0.01
SIZES = (100, 300, 1000, 10_000)

CONTRACT = Contract(
    "fraud",
    None,
    "binary",
    ("no", "yes"),
    (*(Column(f"x{number}", "number") for number in range(FEATURES)), Column("fraud", "category", "target")),
)


@dataclass(frozen=True)
class Rows:
    """Features float64 (n, FEATURES), and whether a row is positive, int64 (n,)."""

    features: NDArray[np.float64]
    target: NDArray[np.int64]


def draw(rng: np.random.Generator, rows: int) -> Rows:
    """Draw rows of which one in 27 is positive, by a rule that is not quite linear."""
    features = rng.normal(size=(rows, FEATURES))
    signal = (
        features[:, 0] * 1.6 + features[:, 1] - 0.8 * features[:, 2] + 0.7 * features[:, 3] * features[:, 4]
    )
    chance = 1 / (1 + np.exp(-(signal * 1.1 - 5.2)))
    return Rows(features, (rng.random(rows) < chance).astype(np.int64))


def holdout_of(rows: Rows, scores: NDArray[np.float64], threshold: DecisionThreshold) -> HoldOut:
    keys = np.arange(len(rows.target), dtype=np.uint64)
    return HoldOut("binary", CONTRACT.classes, keys, rows.target, scores, threshold=threshold)


def measured(rows: Rows, scores: NDArray[np.float64], threshold: DecisionThreshold) -> Decided:
    return known(decided(holdout_of(rows, scores, threshold), 1000, 0))


def known[Value](value: Value | None) -> Value:
    """What is there wherever a threshold serves costs, as each one does here."""
    if value is None:
        raise LookupError("a threshold without costs")
    return value


def written(*intervals: Interval | None) -> list[str]:
    values = [value for each in map(known, intervals) for value in (each.value, each.low, each.high)]
    texts = told_apart(*values)
    return [f"{texts[n]} [{texts[n + 1]}, {texts[n + 2]}]" for n in range(0, len(texts), 3)]


def on_the_sample(rows: int, seed: int) -> list[Result]:
    """Fit, choose and judge on one table; print what errors cost under each pair of costs."""
    rng = np.random.default_rng(seed)
    table, test, new = draw(rng, rows * 9 // 10), draw(rng, rows // 10), draw(rng, NEW_ROWS)
    settings = {"metric": "auc", "seed": seed}
    fitting = Fitting(lambda: build_model(CONTRACT, settings), table.features, table.target, rows * 8 // 10)
    first = fitting.first()
    thresholds = [chosen_threshold(Wish(goal), CONTRACT, fitting, first, seed) for goal in GOALS]
    predict = predictor_of(fitting.final(first)[0], CONTRACT)
    print(f"{rows:,} rows, {table.target.mean():.1%} of them positive; costs per 1,000 rows of the hold-out")
    titles = ("costs", "threshold", "chosen", "likelier class", "saving", "new rows", "likelier")
    print(" ".join(f"{title:>{width}}" for title, width in zip(titles, WIDTHS, strict=True)))
    results = []
    for threshold in map(known, thresholds):
        goal, found = threshold.goal, measured(test, predict(test.features), threshold)
        truth = measured(new, predict(new.features), threshold)
        chosen, likelier, saving = written(found.chosen.cost, found.argmax.cost, found.saving)
        name = f"{goal.false_positive_cost:g}:{goal.false_negative_cost:g}"
        ours, theirs = known(truth.chosen.cost).value, known(truth.argmax.cost).value
        # Where misses are dear, one hold-out shows the saving beyond chance; elsewhere new rows show it.
        told = known(found.saving).low > 0 or goal.expected_threshold > DEAR
        met = told and ours < theirs
        cells = (name, f"{threshold.value:.4f}", chosen, likelier, saving, f"{ours:.1f}", f"{theirs:.1f}")
        line = " ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
        label = f"thresholds: cost on new rows, {name}"
        results.append(Result(label, ours, "likelier class", theirs, ours / theirs, "< 1", met))
        print(f"{line}{results[-1].missed}", flush=True)
    return results


def coverage(rows: int, runs: int, seed: int) -> list[Result]:
    """Count how often both intervals hold the truth in hold-outs of so many rows."""
    rng, goal = np.random.default_rng(seed), Goal(1, 50)
    choice = Choice(rows, 1, "validation", 0.0, 0.0, None, reached=True)
    threshold = DecisionThreshold("yes", goal.expected_threshold, goal, choice)

    def drawn(size: int) -> Decided:
        score = rng.normal(size=size) * 1.8
        chance = 1 / (1 + np.exp(5.2 - score))
        target = (rng.random(size) < chance).astype(np.int64)
        return measured(Rows(score[:, None], target), np.column_stack([1 - chance, chance]), threshold)

    truth, results = drawn(4_000_000), []
    held = {"cost": 0, "saving": 0}
    for _ in range(runs):
        found = drawn(rows)
        for name, *both in (
            ("cost", found.chosen.cost, truth.chosen.cost),
            ("saving", found.saving, truth.saving),
        ):
            ours, true = map(known, both)
            held[name] += ours.low <= true.value <= ours.high
    for name, count in held.items():
        met = stats.binomtest(count, runs, CONFIDENCE, "less").pvalue > FALSE_ALARM
        label = f"thresholds: cover of the {name}, {rows} rows"
        results.append(Result.alone(label, count / runs, f">= {CONFIDENCE:.0%}", met))
        said = f"holds the truth in {count / runs:.1%}{results[-1].missed}"
        print(f"{rows:>7,} rows: the interval of the {name:<6} {said}", flush=True)
    return results


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench thresholds", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="of the table")
    parser.add_argument("--runs", type=int, default=2000, help="hold-outs per size")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="rows of a hold-out")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    results = on_the_sample(options.rows, options.seed)
    for rows in options.sizes:
        results += coverage(rows, options.runs, options.seed)
    return kept(results)
