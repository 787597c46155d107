"""How often the slice in which a model fails is found and named, and how often one is found that isn't there.

2,000 rows of 20 columns; in a tenth of them, a range, a value or a combination of two columns, the error is
three times that of the others.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from bench.record import Result, kept
from bench.studies.chance import at_most, processes, shares
from bench.studies.simulation import NUMERIC, Rng, Table, table
from dropforge.domain.drift.failing import WRONG_LABELS, Errors, Failing, SlicedColumn, find_failing
from dropforge.domain.drift.policy import WatchPolicy

ROWS, TIMES = 2000, 3.0
FALSE_GOAL, POWER_GOAL = 0.01, 0.95
_SHARE = 0.1
_WRONG = 0.1
_BATCH = 25

Mask = NDArray[np.bool_]


def _range(rng: Rng, drawn: Table) -> Mask:
    low = rng.random() * (1 - _SHARE)
    first, last = np.quantile(drawn["normal_1"], [low, low + _SHARE])
    return np.asarray((drawn["normal_1"] > first) & (drawn["normal_1"] <= last))


def _value(rng: Rng, drawn: Table) -> Mask:
    return np.asarray(drawn["two"] == "c1")


def _both(rng: Rng, drawn: Table) -> Mask:
    return np.asarray((drawn["normal_1"] > np.quantile(drawn["normal_1"], 0.6)) & (drawn["five"] == "c1"))


def _nowhere(rng: Rng, drawn: Table) -> Mask:
    return np.zeros(ROWS, dtype=bool)


PLANTED: Mapping[str, tuple[frozenset[str], Callable[[Rng, Table], Mask]]] = {
    "a range of a number": (frozenset({"normal_1"}), _range),
    "a value of a category": (frozenset({"two"}), _value),
    "a range and a value": (frozenset({"normal_1", "five"}), _both),
    "nowhere": (frozenset(), _nowhere),
}


def _normal(rng: Rng, scale: NDArray[np.float64]) -> Errors:
    return Errors.of_values(rng.normal(size=len(scale)) * scale, np.zeros(len(scale)))


def _heavy(rng: Rng, scale: NDArray[np.float64]) -> Errors:
    return Errors.of_values(rng.standard_t(2, len(scale)) * scale, np.zeros(len(scale)))


def _labels(share: float) -> Callable[[Rng, NDArray[np.float64]], Errors]:
    def drawn(rng: Rng, scale: NDArray[np.float64]) -> Errors:
        wrong = rng.random(len(scale)) < share * scale
        return Errors(WRONG_LABELS, wrong.astype(np.float64), wrong, wrong.astype(np.float64))

    return drawn


ERRORS: Mapping[str, Callable[[Rng, NDArray[np.float64]], Errors]] = {
    "normal errors": _normal,
    "errors of Student's t with 2 degrees of freedom": _heavy,
    "a tenth of the labels wrong": _labels(_WRONG),
    "a twentieth of the labels wrong": _labels(_WRONG / 2),
}
HELD = ("normal errors", "a tenth of the labels wrong")
"""Whose power has a goal; the others are printed."""


def searched(errors: str, planted: str, run: int, seed: int) -> tuple[Failing, Mask]:
    """Search one table; returns what was found, and where the failure is."""
    names = (sorted(ERRORS), sorted(PLANTED))
    rng = np.random.default_rng([seed, names[0].index(errors), names[1].index(planted), run])
    drawn = table(rng, ROWS)
    inside = PLANTED[planted][1](rng, drawn)
    columns = [
        SlicedColumn.of(name, "number" if name in NUMERIC else "category", values)
        for name, values in drawn.items()
    ]
    policy = WatchPolicy()
    found = find_failing(
        columns,
        ERRORS[errors](rng, np.where(inside, TIMES, 1.0)),
        [str(row) for row in range(ROWS)],
        rate=policy.false_alarm_rate,
        minimum_rows=policy.minimum_rows,
    )
    return found, inside


def counted(runs: range, errors: str, planted: str, seed: int) -> tuple[int, int]:
    """Return in how many runs anything was found, and in how many the first slice names the right columns."""
    hits = named = 0
    for run in runs:
        found, _ = searched(errors, planted, run, seed)
        hits += bool(found.slices)
        if found.slices:
            columns = {each["column"] for each in found.slices[0].where}
            named += columns == PLANTED[planted][0]
    return hits, named


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench failing", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="of each kind")
    parser.add_argument("--errors", nargs="+", default=list(ERRORS), choices=ERRORS, metavar="KIND")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    runs, results = options.runs, []
    print(
        f"errors that are {TIMES:g} times as large in a tenth of {ROWS:,} rows, 20 columns; of {runs:,} each"
    )
    print(f"{'errors':<48} {'planted in':<24} {'found':>7} {'named':>7}")
    with processes() as pool:
        for errors in options.errors:
            for planted in PLANTED:
                found, named = map(float, shares(pool, counted, runs, _BATCH, errors, planted, options.seed))
                is_false = planted == "nowhere"
                met = (
                    found <= at_most(FALSE_GOAL, runs)
                    if is_false
                    else named >= POWER_GOAL or errors not in HELD
                )
                goal = f"<= {FALSE_GOAL}, binomial test" if is_false else f">= {POWER_GOAL}"
                if errors not in HELD and not is_false:
                    goal = "none"
                name = f"failing: {planted}, {errors}"
                results.append(Result.alone(name, found if is_false else named, goal, met))
                said = f"{found:>7.1%} {'' if is_false else f'{named:.1%}':>7}{results[-1].missed}"
                print(f"{errors:<48} {planted:<24} {said}", flush=True)
    print(f"took {time.perf_counter() - started:.0f} s")
    return kept(results)
