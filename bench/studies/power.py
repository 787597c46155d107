"""How often drift of a known size is found in a window."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from bench.record import Result, kept
from bench.studies.baselines import assessed, baselines_of
from bench.studies.simulation import Rng, Table, swapped, table
from dropforge.domain.drift.assessment import DRIFTED
from dropforge.domain.drift.policy import WatchPolicy

GOAL = 0.95


def _shifted(by: float) -> Callable[[Rng, Table], None]:
    def change(rng: Rng, window: Table) -> None:
        window["normal_1"] = window["normal_1"] + by

    return change


def _swapped(rng: Rng, window: Table) -> None:
    window["five"] = swapped(rng, len(window["five"]))


CASES: dict[str, tuple[int, Callable[[Rng, Table], None]]] = {
    "shift of 0.25 sd in 1 of 20, n=1000": (1000, _shifted(0.25)),
    "shift of 0.5 sd in 1 of 20, n=300": (300, _shifted(0.5)),
    "10 points of share swapped, n=1000": (1000, _swapped),
}


def measure(case: str, windows: int, baseline_rows: int, seed: int) -> float:
    """Return the share of drifted windows that are called drifted."""
    rows, change = CASES[case]
    found = 0
    for number in range(windows):
        rng = np.random.default_rng([seed, rows, number])
        base, window = table(rng, baseline_rows), table(rng, rows)
        change(rng, window)
        found += assessed(baselines_of(base), window, WatchPolicy(seed=seed)).verdict == DRIFTED
    return found / windows


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench power", description=__doc__)
    parser.add_argument("--windows", type=int, default=500)
    parser.add_argument("--baseline-rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    print(f"drifted windows that are found, of {options.windows}; baseline {options.baseline_rows} rows")
    results = []
    for case in CASES:
        share = measure(case, options.windows, options.baseline_rows, options.seed)
        results.append(Result.alone(f"power: {case}", share, f">= {GOAL}", share >= GOAL))
        print(f"{case:<40} {share:>7.1%}{results[-1].missed}", flush=True)
    return kept(results)
