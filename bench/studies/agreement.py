"""How far statistics from the stored profile are from those on the raw baseline."""

from __future__ import annotations

import argparse

import numpy as np

from bench.record import Result, kept
from bench.studies.simulation import NUMERIC
from dropforge.adapters.tables.staging.outline import SAMPLE_ROWS
from dropforge.domain.drift import counts
from dropforge.domain.drift.baseline import NumericBaseline
from dropforge.domain.drift.features import binned, kolmogorov_distance
from dropforge.domain.drift.ranked import Ordered
from dropforge.domain.profile import NumericProfile, Ruler, TableProfile

GOALS = {"KS": 2e-4, "PSI": 5e-4}
"""At a million rows on both sides; fewer rows vary more between two stored values."""
_CHUNK = 20_000


def differences(name: str, rows: int, baseline_rows: int, scale: float, seed: int) -> dict[str, float]:
    """Return |stored - exact| of both statistics for one kind of column.

    Exact is the two-sample distance over all values, and the PSI over deciles of the raw baseline.
    """
    rng = np.random.default_rng([seed, rows])
    base, window = NUMERIC[name](rng, baseline_rows), NUMERIC[name](rng, rows) * scale
    base, window = base[~np.isnan(base)], np.sort(window[~np.isnan(window)])
    # Rows are in random order, so the first ones are such a sample as preparation takes.
    ruler = Ruler.of(base[:SAMPLE_ROWS], float(base.min()), float(base.max()))
    profile = TableProfile()
    for start in range(0, len(base), _CHUNK):
        part = base[start : start + _CHUNK]
        profile.add(len(part), {name: NumericProfile.of(part, 0, ruler)})
    entry = profile.columns[name].to_dict()
    stored = NumericBaseline.of({"name": name, "type": "number", **entry})
    points = np.unique(np.concatenate([base, window]))
    above = [np.searchsorted(np.sort(each), points, "right") / len(each) for each in (base, window)]
    ordered = np.sort(base)
    edges = np.unique(ordered[np.ceil(np.arange(1, 10) / 10 * len(base)).astype(int) - 1])
    edges = edges[edges < ordered[-1]]
    sides = [np.bincount(np.searchsorted(edges, v, "left"), minlength=len(edges) + 1) for v in (base, window)]
    return {
        "KS": abs(kolmogorov_distance(stored, Ordered(window)) - float(np.abs(above[0] - above[1]).max())),
        "PSI": abs(float(counts.psi(*binned(stored, Ordered(window)))) - float(counts.psi(*sides))),
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench agreement", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--baseline-rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    worst = dict.fromkeys(GOALS, 0.0)
    print(f"greatest difference to the exact statistic; baseline {options.baseline_rows} rows")
    for name in NUMERIC:
        each = [
            differences(name, rows, options.baseline_rows, scale, options.seed)
            for rows in options.sizes
            for scale in (1.0, 1.25)
        ]
        most = {goal: max(found[goal] for found in each) for goal in GOALS}
        worst = {goal: max(worst[goal], most[goal]) for goal in GOALS}
        print(f"{name:<16} KS {most['KS']:.6f}  PSI {most['PSI']:.6f}", flush=True)
    results = [
        Result(
            f"agreement: binned {goal}", worst[goal], "exact", 0.0, None, f"<= {limit}", worst[goal] <= limit
        )
        for goal, limit in GOALS.items()
    ]
    return kept(results)
