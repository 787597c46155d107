"""Preparing a mixed CSV: dropforge beside pandas, polars and DuckDB, each in an environment of its own.

    python -m bench preparation [--megabytes 1024] [--small-megabytes 250] [--rounds 3] [--cores 1 2]

Every contestant parses (with the same spellings of a missing value), checks, rejects with row, column, value
and rule, drops all but the last row of a key, splits by the key's hash, writes Parquet (zstd at its first
level, without statistics) in the rows' order and profiles; none imputes. The release before stands beside
them, as users have it. The peers are told in advance which
columns hold values of another type. Their counts must agree with ours. Each runs in a process of its
own on the same cores, in turn, so that what else the machine does meets all; shown are medians.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.workflow.previous_release import BEFORE_DROPS_HAD_STATES, unpack_previous_release

from bench.environments import ROOT, Measured, in_turn, median, python_of, run
from bench.mixed_table import write_csv
from bench.record import Result, at_most, kept, times_less

BEFORE = f"dropforge {BEFORE_DROPS_HAD_STATES[:7]}"
OURS, FLOOR, PANDAS = "dropforge", "parse and write alone", "pandas C engine"
EAGER, STREAMING, DUCKDB = "polars eager", "polars streaming", "DuckDB"
PEERS = (PANDAS, EAGER, STREAMING, DUCKDB)
SPEED_GOALS = {1: {PANDAS: 3.0, "best": 2.0}, 2: {PANDAS: 6.0, "best": 2.0}}
FLOOR_SHARE, MEMORY_SHARE, MEMORY_GROWTH = 0.55, 0.08, 1.15
SPEED_KEPT, MEMORY_KEPT = 0.97, 1.15
"""Rows per second and memory beside the release before."""
MEGABYTE = 1 << 20


def command(name: str, csv: Path, folder: str, cores: int) -> list[str]:
    """Return how to start a contestant.

    Raises:
        RuntimeError: a peer's environment can't be made.
    """
    files = [str(csv), folder]
    scripts: Mapping[str, Callable[[], list[str]]] = {
        OURS: lambda: [sys.executable, "-m", "bench.prepare_ours", "dropforge", *files, str(cores)],
        BEFORE: lambda: [sys.executable, "-m", "bench.prepare_ours", "dropforge", *files, str(cores)],
        FLOOR: lambda: [sys.executable, "-m", "bench.prepare_ours", "floor", *files, "1"],
        PANDAS: lambda: [python_of("pandas"), "-m", "bench.peers.prepare_pandas", *files],
        EAGER: lambda: [python_of("polars"), "-m", "bench.peers.prepare_polars", *files, "eager"],
        STREAMING: lambda: [python_of("polars"), "-m", "bench.peers.prepare_polars", *files, "streaming"],
        DUCKDB: lambda: [python_of("duckdb"), "-m", "bench.peers.prepare_duckdb", *files, str(cores)],
    }
    return scripts[name]()


def said(name: str, one: dict[str, Any]) -> str:
    took = f"{one['seconds']:7.2f} s  {one['cpu_seconds']:7.2f} s CPU"
    return f"{name:<22} {took}  {one['memory_mb']:7.0f} MB"


def measure(csv: Path, names: list[str], cores: int, rounds: int, before: Path = ROOT) -> Measured:
    """Run each contestant once per round, in turn, and every other round the other way round.

    Args:
        before: the tree of the release before.

    Raises:
        RuntimeError: a contestant came to other counts than ours.
    """

    def prepared(name: str) -> dict[str, Any]:
        tree = before if name == BEFORE else ROOT
        with tempfile.TemporaryDirectory(prefix="bench-", dir=csv.parent) as folder:
            asked = command(name, csv, folder, cores)
            return run(asked, range(cores), {"POLARS_MAX_THREADS": str(cores)}, tree)

    found = in_turn(names, rounds, prepared, said)
    counts = {
        name: {key: runs[0][key] for key in ("kept", "rejected", "duplicates")}
        for name, runs in found.items()
        if name != FLOOR
    }
    if any(each != counts[OURS] for each in counts.values()):
        raise RuntimeError(f"not the same work: {counts}")
    return found


def compared(found: Measured, cores: int, key: str) -> list[Result]:
    """Return how many times faster ours is than each peer and the best, and ours' share of the floor."""
    ours = median(found, OURS, key)
    times = {name: median(found, name, key) for name in found if name in PEERS}
    best = min((name for name in times if name != PANDAS), key=times.__getitem__, default=None)
    of_cores = f"{cores} core{'s' * (cores > 1)}"
    results = []
    for name, theirs in times.items():
        goal = SPEED_GOALS[cores][PANDAS] if name == PANDAS else SPEED_GOALS[cores]["best"]
        found_one = times_less(f"preparation speed, {of_cores}", ours, name, theirs, goal)
        if name not in (PANDAS, best):
            found_one = replace(found_one, goal="only the best of these peers has a goal", met=True)
        results.append(found_one)
    if FLOOR in found:
        least = median(found, FLOOR, key)
        name = f"preparation, share of the floor, {cores} core"
        results.append(times_less(name, ours, FLOOR, least, FLOOR_SHARE))
    return results


def beside_before(found: Measured, cores: int, key: str) -> list[Result]:
    """Return our rows per second and peak memory beside the release before."""
    after = f"beside the release before, {cores} core{'s' * (cores > 1)}"
    (ours, theirs), (held, they_held) = (
        (median(found, OURS, of), median(found, BEFORE, of)) for of in (key, "memory_mb")
    )
    return [
        times_less(f"preparation speed {after}", ours, BEFORE, theirs, SPEED_KEPT),
        at_most(f"preparation peak memory in MB {after}", held, BEFORE, they_held, MEMORY_KEPT),
    ]


def memory(large: Measured, small: Measured) -> list[Result]:
    """Return peak memory beside pandas' and beside our own for the small file."""
    ours, own = median(large, OURS, "memory_mb"), median(small, OURS, "memory_mb")
    name = "preparation peak memory in MB"
    against = at_most(f"{name}, large against small file", ours, "dropforge, small file", own, MEMORY_GROWTH)
    if PANDAS not in large:
        return [against]
    return [at_most(name, ours, PANDAS, median(large, PANDAS, "memory_mb"), MEMORY_SHARE), against]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench preparation", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--small-megabytes", type=int, default=250)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2], choices=[1, 2])
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true", help="compare CPU time: on a busy machine, 1 core")
    options = parser.parse_args(arguments)
    key = "cpu_seconds" if options.cpu_time else "seconds"
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        csv, small = Path(folder) / "large.csv", Path(folder) / "small.csv"
        before = Path(folder) / "before"
        before.mkdir()
        unpack_previous_release(before, more=("bench",))
        rows = write_csv(csv, options.megabytes * MEGABYTE, options.seed)
        write_csv(small, options.small_megabytes * MEGABYTE, options.seed)
        for cores in options.cores:
            print(
                f"{csv.stat().st_size / MEGABYTE:.0f} MB, {rows} rows, 12 columns; cores: {cores}", flush=True
            )
            names = [OURS, BEFORE, *([FLOOR] if cores == 1 else []), *options.peers]
            found = measure(csv, names, cores, options.rounds, before)
            results += compared(found, cores, key) + beside_before(found, cores, key)
            if cores == 1:
                print(f"{small.stat().st_size / MEGABYTE:.0f} MB", flush=True)
                results += memory(found, measure(small, [OURS], 1, options.rounds))
    return kept(results)
