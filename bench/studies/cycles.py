"""Windows whose rows differ by hour, weekday or month end: false alarms and power after the warm-up.

    python -m bench cycles [--windows 2000] [--worlds 4] [--others 200]

Each case is simulated hour by hour, 300 rows an hour of 20 mixed columns (fewer at first where traffic
grows): half of the numeric columns move with the phase. The model was trained on rows of all phases, without
timestamps. The first four weeks (three month ends) are what `dropforge` says that it needs to learn; then
windows are judged, without drift (false alarms) and with 0.5 sd added to one column that moves (power).
Beside it: the same watch without phases, a PSI rule, Evidently's default and NannyML's.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.environments import PACKAGES, python_of, run
from bench.record import Result, kept
from bench.studies.baselines import baselines_of
from bench.studies.chance import processes
from bench.studies.false_alarms import EVIDENTLY, allowed
from bench.studies.fixed_rules import largest_psi
from bench.studies.simulation import Rng, Table, table
from dropforge.domain.drift.assessment import DRIFTED, FEATURE, assess
from dropforge.domain.drift.baseline import ColumnBaseline
from dropforge.domain.drift.phases import (
    MONTH_END,
    WINDOWS_NEEDED,
    Key,
    Phase,
    PhaseWindow,
    Totals,
    known_past,
    phase_reference,
)
from dropforge.domain.drift.policy import WatchPolicy

HOUR = timedelta(hours=1)
FIRST = datetime(2026, 1, 5, tzinfo=UTC)
MOVING = ("normal_1", "normal_2", "normal_holes", "uniform", "heavy", "bimodal", "rounded", "count_large")
SPREAD = {"uniform": 0.289, "heavy": 1.5, "bimodal": 2.65, "count_large": 6.3}
ROWS, TRAINED, SHIFT, POWER, PSI_LIMIT = 300, 20_000, 0.5, 0.90, 0.1
OURS, PLAIN, PSI, FOUND = "ours", "without phases", "PSI > 0.1", "power"
PEERS = {
    f"Evidently {EVIDENTLY}": "evidently",
    f"NannyML {PACKAGES['nannyml'][0].partition('==')[2]}": "nannyml",
}
WIDTH = 16


@dataclass(frozen=True)
class Case:
    """A kind of traffic: how far columns have moved at a time, in sd, and rows per hour."""

    name: str
    moved: Callable[[datetime], float]
    rows: Callable[[datetime], int] = lambda at: ROWS
    month_ends: bool = False


def _daily(sd: float) -> Callable[[datetime], float]:
    return lambda at: sd * float(np.sin(2 * np.pi * at.hour / 24))


def _weekday(at: datetime) -> float:
    return 0.7 if at.weekday() >= 5 else -0.28


def _month_end(at: datetime) -> float:
    return 1.0 if Phase.at(0, at.date()).day == MONTH_END else 0.0


def _growing(at: datetime) -> int:
    """Doubles about every two months."""
    return round(100 * 2 ** ((at - FIRST) / timedelta(days=60)))


CASES = (
    Case("no cycle", lambda at: 0.0),
    Case("daily, 1/3 sd", _daily(1 / 3)),
    Case("daily, 2/3 sd", _daily(2 / 3)),
    Case("daily, 1 sd", _daily(1.0)),
    Case("weekday", _weekday),
    Case("month end", _month_end, month_ends=True),
    Case("growing traffic, daily 1/3 sd", _daily(1 / 3), _growing),
)


def moved(rng: Rng, rows: int, by: Any) -> Table:
    """Draw rows, the moving columns moved by so many sd: a number, or one per row."""
    drawn = table(rng, rows)
    for name in MOVING:
        drawn[name] = drawn[name] + by * SPREAD.get(name, 1.0)
    return drawn


@dataclass
class World:
    """A trained model, and what it has learned of phases."""

    case: Case
    rng: Rng
    baselines: list[ColumnBaseline]
    training: Table
    seen: dict[int, list[tuple[Phase, PhaseWindow]]]
    totals: Totals
    until: datetime

    @classmethod
    def of(cls, case: Case, seed: list[int]) -> World:
        rng = np.random.default_rng(seed)
        year = [
            FIRST + hour * HOUR
            for hour in rng.integers(0, 24 * 7 * 52 if case.month_ends else 24 * 7, TRAINED)
        ]
        training = moved(rng, TRAINED, np.array([case.moved(at) for at in year]))
        world = cls(case, rng, baselines_of(training), training, {}, Totals(), FIRST)
        needed = FIRST + timedelta(days=28 if not case.month_ends else 90)
        while world.until < needed:
            world.learn(world.until)
            world.until += HOUR
        return world

    @property
    def keyed(self) -> dict[Key, ColumnBaseline]:
        return {(FEATURE, each.name): each for each in self.baselines}

    def window(self, at: datetime) -> Table:
        return moved(self.rng, self.case.rows(at), self.case.moved(at))

    def learn(self, at: datetime) -> None:
        phase = Phase.at(at.hour, at.date())
        seen = self.seen.setdefault(phase.hour, [])
        before = [each for of, each in seen if of.day == phase.day]
        if len(before) < WINDOWS_NEEDED[phase.day]:
            rows = self.window(at)
            left = PhaseWindow.of(at.date(), len(rows["normal_1"]), {FEATURE: rows}, self.keyed, 0)
            self.totals.add(phase, left, before)
            seen.append((phase, left))

    def judged(self, at: datetime, rows: Table, policy: WatchPolicy, *, with_phase: bool) -> bool:
        phase = Phase.at(at.hour, at.date())
        reference = None
        if with_phase:
            seen = {each.day: each for _, each in self.seen.get(phase.hour, [])}
            past = [
                seen[day] for _, day in known_past(phase, [(Phase.at(phase.hour, day), day) for day in seen])
            ]
            reference = phase_reference(phase, HOUR, self.keyed, past, self.totals)
        found = assess(rows, self.baselines, rows=len(rows["normal_1"]), policy=policy, phase=reference)
        return found.verdict == DRIFTED


def hours_after(world: World, count: int) -> Iterator[datetime]:
    """Hours after the warm-up: every 13th, which meets all phases; or two a day and all of the month ends."""
    at, step = world.until, HOUR if world.case.month_ends else 13 * HOUR
    while count:
        if not world.case.month_ends or at.hour % 12 == 5 or world.case.moved(at):
            yield at
            count -= 1
        at += step


def of_world(kind: int, number: int, windows: int, step: int, seed: int) -> dict[str, tuple[int, int]]:
    """Judge windows of one world of a case; returns how many were called drifted, of how many: by ours, and
    of every `step`-th window without phases, by the PSI rule, and with a shift on top (power)."""
    case, policy = CASES[kind], WatchPolicy(seed=seed)
    world = World.of(case, [seed, number])
    hits, compared = dict.fromkeys((OURS, FOUND, PLAIN, PSI), 0), 0
    for place, at in enumerate(hours_after(world, windows)):
        rows = world.window(at)
        hits[OURS] += world.judged(at, rows, policy, with_phase=True)
        if place % step == 0:
            compared += 1
            hits[PLAIN] += world.judged(at, rows, policy, with_phase=False)
            hits[PSI] += largest_psi(world.training, rows) > PSI_LIMIT
            shifted = moved(world.rng, ROWS, case.moved(at))
            shifted["normal_1"] = shifted["normal_1"] + SHIFT
            hits[FOUND] += world.judged(at, shifted, policy, with_phase=True)
    return {name: (count, windows if name == OURS else compared) for name, count in hits.items()}


def measure(
    kind: int, windows: int, worlds: int, others: int, seed: int, pool: ProcessPoolExecutor
) -> dict[str, float]:
    """Return shares of windows called drifted, over so many worlds."""
    step = max(1, windows // others)
    waiting = [pool.submit(of_world, kind, number, windows // worlds, step, seed) for number in range(worlds)]
    found = [each.result() for each in waiting]
    return {
        name: sum(each[name][0] for each in found) / sum(each[name][1] for each in found) for name in found[0]
    }


def peers(case: Case, windows: int, seed: int) -> dict[str, dict[str, Any]]:
    """Give peers windows of one world; return the share in which ``any`` column is called drifted and the
    ``tests`` that say so, or what the peer ``failed`` with."""
    world = World.of(case, [seed, 0])
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        _write(Path(folder) / "training.parquet", world.training)
        for number, at in enumerate(hours_after(world, windows)):
            rows = world.window(at)
            kept = min(len(rows["normal_1"]), ROWS)
            _write(Path(folder) / f"window-{number:04}.parquet", {n: v[:kept] for n, v in rows.items()})
        for name, peer in PEERS.items():
            try:
                command = [python_of(peer), "-m", f"bench.peers.cycles_{peer}", folder]
                found[name] = run(
                    command, os.sched_getaffinity(0), {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
                )
            except RuntimeError as error:
                found[name] = {"failed": str(error).splitlines()[-1]}
    return found


def _write(path: Path, rows: Table) -> None:
    arrays = {name: pa.array(values, from_pandas=values.dtype != object) for name, values in rows.items()}
    pq.write_table(pa.table(arrays), path)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench cycles", description=__doc__)
    parser.add_argument("--windows", type=int, default=2000)
    parser.add_argument("--worlds", type=int, default=4)
    parser.add_argument("--others", type=int, default=200, help="windows for power, and for the other rules")
    parser.add_argument("--peer-windows", type=int, default=60, help="0 leaves Evidently and NannyML out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, nargs="*", default=list(range(len(CASES))))
    options = parser.parse_args(arguments)
    rate = WatchPolicy().false_alarm_rate
    bound = allowed(rate, options.windows)
    print(
        f"windows called drifted, of {options.windows:,} without drift; ours may reach {bound:.2%}. {FOUND}: "
        f"{SHIFT} sd in one column on top, n = {ROWS}; the other rules: of {options.others}, peers of "
        f"{options.peer_windows}, where any column drifts"
    )
    heads = [OURS, FOUND, PLAIN, PSI, *(PEERS if options.peer_windows else ())]
    print("  ".join([f"{'traffic':<30}", *(f"{head:>{WIDTH}}" for head in heads)]))
    results: list[Result] = []
    tests: dict[str, str] = {}
    with processes() as pool:
        for kind in options.cases:
            case = CASES[kind]
            started = time.perf_counter()
            found = measure(kind, options.windows, options.worlds, options.others, options.seed, pool)
            theirs = peers(case, options.peer_windows, options.seed) if options.peer_windows else {}
            told = {**found, **{name: each["any"] for name, each in theirs.items() if "any" in each}}
            tests |= {name: each.get("tests") or f"failed: {each['failed']}" for name, each in theirs.items()}
            cells = [f"{told[head]:>{WIDTH}.2%}" if head in told else f"{'–':>{WIDTH}}" for head in heads]
            false, power = told[OURS] <= bound, told[FOUND] >= POWER
            missed = "" if false and power else "  MISSED"
            took = time.perf_counter() - started
            print("  ".join([f"{case.name:<30}", *cells]) + f"{missed}  ({took:.0f} s)", flush=True)
            for peer in told.keys() - {OURS, FOUND}:
                ratio = told[OURS] / told[peer] if told[peer] else None
                name, goal = f"false alarms, {case.name}", f"ours <= {bound:.4f}"
                results.append(Result(name, told[OURS], peer, told[peer], ratio, goal, false))
            name = f"power on top of {case.name}"
            results.append(Result(name, told[FOUND], None, None, None, f">= {POWER}", power))
    for name, ran in tests.items():
        print(f"{name}, by its own report: {ran}")
    return kept(results)
