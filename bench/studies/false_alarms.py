"""How often windows without any drift are called drifted: ours, a fixed PSI rule, Evidently's default.

Every window meets a baseline of its own, so windows are independent and the error is binomial.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from typing import Any

import numpy as np

from bench.environments import PACKAGES, python_of, run
from bench.record import Result, kept
from bench.studies.baselines import assessed, baselines_of
from bench.studies.fixed_rules import largest_psi
from bench.studies.simulation import table
from dropforge.domain.drift.assessment import DRIFTED
from dropforge.domain.drift.policy import WatchPolicy

SIZES = (50, 100, 300, 1000, 10_000)
EVIDENTLY = PACKAGES["evidently"][0].partition("==")[2]


def measure(rows: int, windows: int, baseline_rows: int, seed: int, rate: float) -> dict[str, float]:
    """Return the share of windows that raise an alarm, per rule."""
    policy = WatchPolicy(false_alarm_rate=rate, seed=seed)
    hits = {"ours": 0, "psi 0.1": 0, "psi 0.2": 0}
    for number in range(windows):
        rng = np.random.default_rng([seed, rows, number])
        base, window = table(rng, baseline_rows), table(rng, rows)
        hits["ours"] += assessed(baselines_of(base), window, policy).verdict == DRIFTED
        psi = largest_psi(base, window)
        hits["psi 0.1"] += psi > 0.1
        hits["psi 0.2"] += psi > 0.2
    return {name: count / windows for name, count in hits.items()}


def allowed(rate: float, windows: int) -> float:
    """The rate and its binomial error, three standard deviations so that five sizes hold together."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / windows)


def evidently(rows: int, windows: int, baseline_rows: int, seed: int) -> dict[str, Any] | str:
    """Run Evidently's default preset in an environment of its own; return shares and which tests it ran, or
    why it didn't run."""
    asked = map(str, (rows, windows, baseline_rows, seed))
    try:
        command = [python_of("evidently"), "-m", "bench.peers.evidently_windows", *asked]
        return run(command, os.sched_getaffinity(0), {"DO_NOT_TRACK": "1"})
    except RuntimeError as error:
        return str(error).splitlines()[-1]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench false-alarms", description=__doc__)
    parser.add_argument("--windows", type=int, default=2000)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--baseline-rows", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--evidently-windows", type=int, default=100, help="0 leaves Evidently out")
    options = parser.parse_args(arguments)
    bound = allowed(options.rate, options.windows)
    print(f"windows without drift that raise an alarm, of {options.windows}; 20 mixed features, ", end="")
    print(f"baseline {options.baseline_rows} rows; ours may reach {bound:.2%}")
    heads = f"{'n':>6} {'ours':>8} {'PSI 0.1':>8} {'PSI 0.2':>8}"
    print(f"{heads}  Evidently {EVIDENTLY}: any column / whole data set, and what it ran by its own report")
    results = []
    for rows in options.sizes:
        started = time.perf_counter()
        shares = measure(rows, options.windows, options.baseline_rows, options.seed, options.rate)
        took = time.perf_counter() - started
        theirs: dict[str, Any] | str = "left out"
        if options.evidently_windows:
            theirs = evidently(rows, options.evidently_windows, options.baseline_rows, options.seed)
        text = (
            theirs
            if isinstance(theirs, str)
            else f"{theirs['any']:.1%} / {theirs['dataset']:.1%}  {theirs['tests']}"
        )
        ours, met = shares["ours"], shares["ours"] <= bound
        print(f"{rows:>6} {ours:>8.2%} {shares['psi 0.1']:>8.1%} {shares['psi 0.2']:>8.1%}  {text}", end="")
        print(f"  {'' if met else 'MISSED '}({took:.0f} s)", flush=True)
        peers = {"PSI > 0.1": shares["psi 0.1"], "PSI > 0.2": shares["psi 0.2"]}
        if isinstance(theirs, dict):
            peers |= {f"Evidently {EVIDENTLY}, any column": theirs["any"]}
            peers |= {f"Evidently {EVIDENTLY}, data set": theirs["dataset"]}
        results += [
            Result(
                f"false alarms, n={rows}", ours, peer, value, ours / value if value else None,
                f"ours <= {bound:.4f}", met,
            )
            for peer, value in peers.items()
        ]  # fmt: skip
    return kept(results)
