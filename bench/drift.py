"""Watching a window of many rows: dropforge's stored baseline beside Evidently, and scipy with pandas.

    python -m bench drift [--rows 1000000] [--rounds 3]

Each reads the window from Parquet (the peers the baseline's rows as well, which they need) and tests 20 mixed
columns, on one core in a process of its own, in turn; imports are not counted. Ours reads a column, looks at
it and lets it go, which is also the cheapest way to read alone. The release that sorted every column stands
beside it. Shown are medians of CPU time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests.workflow.previous_release import unpack_previous_release

from bench.environments import ROOT, Measured, in_turn, median, python_of, run
from bench.record import Result, at_most, kept, times_less
from bench.studies.simulation import table

OURS, READ, EVIDENTLY, SCIPY = (
    "dropforge",
    "reading the window alone",
    "Evidently's default",
    "scipy and pandas",
)
SORTING = "1e3675a0506d8e15dfe54cad0bc8b50ad7aecb05"
BEFORE = f"dropforge {SORTING[:7]}"
PEERS = {EVIDENTLY: ("evidently", "drift_evidently"), SCIPY: ("scipy", "drift_scipy")}
SPEED = {EVIDENTLY: 100.0, SCIPY: 8.0}
MEMORY, READING, BESIDE_SORTING = 0.10, 2.5, 0.7


def write(path: Path, rows: int, seed: int) -> None:
    """Write a table; the odd seed's has drifted in one column."""
    drawn = table(np.random.default_rng([seed, rows]), rows)
    if seed % 2:
        drawn["normal_1"] = drawn["normal_1"] + 0.05
    arrays = {name: pa.array(values, from_pandas=values.dtype != object) for name, values in drawn.items()}
    pq.write_table(pa.table(arrays), path, compression="zstd")


def measure(folder: Path, rows: int, rounds: int, peers: list[str]) -> Measured:
    baseline, window, profile = (folder / name for name in ("baseline.parquet", "window.parquet", "p.json"))
    write(baseline, rows, 2)
    write(window, rows, 3)
    own = [sys.executable, "-m", "bench.drift_ours"]
    subprocess.run([*own, "profile", str(baseline), str(profile)], check=True)
    before = folder / "before"
    before.mkdir()
    unpack_previous_release(before, SORTING, ["bench"])
    files = [str(baseline), str(window)]
    commands = {
        OURS: [*own, "watch", str(window), str(profile)],
        BEFORE: [*own, "watch", str(window), str(profile)],
        READ: [*own, "read", str(window), str(profile)],
        **{
            name: [python_of(PEERS[name][0]), "-m", f"bench.peers.{PEERS[name][1]}", *files] for name in peers
        },
    }
    found = in_turn(
        commands,
        rounds,
        lambda name: run(commands[name], [0], tree=before if name == BEFORE else ROOT),
        lambda name, one: (
            f"{name:<26} {one['cpu_seconds']:7.3f} s CPU  {one['memory_mb']:6.0f} MB  {one.get('tests', '')}"
        ),
    )
    if found[OURS][0]["drifted"] != found[BEFORE][0]["drifted"]:
        raise RuntimeError(f"not the same work: {found[OURS][0]}, {found[BEFORE][0]}")
    return found


def compared(found: Measured) -> list[Result]:
    ours, memory = median(found, OURS, "cpu_seconds"), median(found, OURS, "memory_mb")
    read = median(found, READ, "cpu_seconds")
    results = [
        at_most("drift, s CPU", ours, READ, read, READING),
        at_most("drift, s CPU", ours, BEFORE, median(found, BEFORE, "cpu_seconds"), BESIDE_SORTING),
    ]
    results += [
        times_less("drift, s CPU", ours, name, median(found, name, "cpu_seconds"), goal)
        for name, goal in SPEED.items()
        if name in found
    ]
    if EVIDENTLY in found:
        theirs = median(found, EVIDENTLY, "memory_mb")
        results.append(at_most("drift peak memory in MB", memory, EVIDENTLY, theirs, MEMORY))
    return results


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench drift", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    options = parser.parse_args(arguments)
    print(f"{options.rows} rows against {options.rows}, 20 columns, one core", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        results = compared(measure(Path(folder), options.rows, options.rounds, options.peers))
    for each in results:
        theirs = f"{each.peer}: {each.peer_value:.3f}, {each.ratio:.2f} of it"
        print(f"{each.name:<28} {each.ours:8.3f}  {theirs}{each.missed}")
    return kept(results)
