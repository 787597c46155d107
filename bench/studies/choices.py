"""What the peers' tests and detectors do where nothing has drifted, beside ours: see docs/drift-choices.md.

Each peer runs in an environment of its own, of pinned versions.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable

import numpy as np

from bench.environments import PACKAGES, ROOT, python_of, run
from bench.record import Result, kept
from bench.studies.baselines import baselines_of
from bench.studies.false_alarms import allowed
from bench.studies.simulation import SWAPPED, Rng, Table
from dropforge.domain.drift.features import compare

RATE = 0.01
ROWS = 300
TIMES = (1, 10, 100)
NANNYML_CHUNKS = (100, 500, 1000)
STREAMS, STREAM = 3, 5_000


def _categories(rng: Rng, rows: int) -> Table:
    labels = np.array([f"c{code}" for code in range(len(SWAPPED))], dtype=object)
    return {"x": labels[rng.choice(len(SWAPPED), rows, p=SWAPPED)]}


def _counts(rng: Rng, rows: int) -> Table:
    return {"x": rng.poisson(1.0, rows).astype(np.float64)}


OURS: dict[str, Callable[[Rng, int], Table]] = {"five categories": _categories, "small counts": _counts}


def ours(draw: Callable[[Rng, int], Table], times: int, runs: int, seed: int) -> float:
    """Return how often one column's p-value is at most RATE where nothing has drifted."""
    hits = 0
    for number in range(runs):
        rng = np.random.default_rng([seed, times, number])
        (base,) = baselines_of(draw(rng, ROWS * times))
        drift = compare(base, draw(rng, ROWS)["x"], level=RATE, minimum_rows=50, seed=seed)
        hits += drift.p_value <= RATE
    return hits / runs


def child(peer: str, *arguments: object) -> dict[str, float]:
    script = ROOT / "bench" / "peers" / f"choices_{peer}.py"
    command = [python_of(peer), str(script), *map(str, arguments)]
    found: dict[str, float] = run(command, os.sched_getaffinity(0), {"NML_DISABLE_USAGE_LOGGING": "1"})
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench choices", description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    runs, seed = options.runs, options.seed
    results = []
    print(f"rejected at {RATE:.0%} without drift, of {runs:,} windows of {ROWS} rows")
    for name, share in child("scipy", runs, ROWS, seed).items():
        written = f"{share:g}" if name.startswith("anderson") else f"{share:.2%}"
        print(f"  {PACKAGES['scipy'][0]:<18} {name:<56} {written}", flush=True)
    for kind, draw in OURS.items():
        for times in TIMES:
            share = ours(draw, times, runs, seed)
            bound = allowed(RATE, runs)
            name = f"{kind}, baseline {times} times the window"
            results.append(Result.alone(f"choices: {name}", share, f"<= {bound:.4f}", share <= bound))
            print(f"  {'dropforge':<18} {name:<56} {share:.2%}{results[-1].missed}", flush=True)
    print(
        "alerts without drift, 20 columns, reference of 20,000 rows, defaults: of columns, of chunks with any"
    )
    found = child("nannyml", 100, seed, *NANNYML_CHUNKS)
    for size in NANNYML_CHUNKS:
        shares = f"{found[str(size)]:.2%} / {found[f'{size}, of chunks']:.0%}"
        print(f"  {PACKAGES['nannyml'][0]:<18} {found['methods']}, chunks of {size:<30} {shares}", flush=True)
    print(f"alarms on {STREAM:,} values of one distribution, defaults")
    for name, alarms in child("river", STREAMS, STREAM, seed).items():
        print(f"  {PACKAGES['river'][0]:<18} {name:<56} {alarms:g}", flush=True)
    return kept(results)
