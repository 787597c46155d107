"""A training job on a large table: memory, time and quality beside the release before and the bare engine.

    python -m bench training [--megabytes 1024] [--rounds 3] [--cores 2] [--cpu-time]

The table has ten features, two of them categories, and a target that depends on most of them; its size is
that of the CSV that it would come in. The release before runs the same job on the same Parquet, in turn, and
every other round the other way round; shown are medians. The bare engine is scikit-learn's boosting on the
float64 matrix, one call of ``fit`` that stops early on the validation rows: reading is not in its time.
A small job (scikit-learn's breast cancer table) stands beside the release before's as well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from tests.unit.training.job_folders import builtin, write_job
from tests.workflow.previous_release import unpack_previous_release

from bench.environments import ROOT, Measured, in_turn, median, run
from bench.record import Result, at_most, kept
from dropforge.domain.contract import ROW_KEY, Column, Contract

RELEASE_BEFORE = "1e3675a0506d8e15dfe54cad0bc8b50ad7aecb05"
BEFORE, BARE = f"dropforge {RELEASE_BEFORE[:7]}", "the engine's call alone"
OURS = "dropforge"
BLOCK_ROWS = 250_000
CITIES, KINDS = tuple(f"c{number:02d}" for number in range(40)), ("a", "b", "c", "d")
SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
MEMORY_SHARE, TIME_SHARE, BARE_TIMES, SMALL_TIMES, LOST_AUC = 0.12, 0.45, 2.0, 1.05, 1e-4
MEGABYTE = 1 << 20

CONTRACT = Contract(
    "y",
    None,
    "binary",
    ("no", "yes"),
    (
        *(Column(f"n{number}", "number", nullable=number == 2) for number in range(5)),
        Column("i0", "integer"),
        Column("i1", "integer"),
        Column("b", "boolean"),
        Column("city", "category"),
        Column("kind", "category"),
        Column("y", "category", "target"),
    ),
)


def blocks(seed: int) -> Iterator[pa.Table]:
    """Yield the table's rows, BLOCK_ROWS at a time, without an end."""
    start = 0
    effects = np.random.default_rng(seed).normal(0, 0.6, len(CITIES))
    while True:
        rng = np.random.default_rng([seed, start])
        n = BLOCK_ROWS
        columns: dict[str, Any] = {
            f"n{number}": rng.normal(10 * number, 1 + number, n).round(4) for number in range(5)
        }
        columns["i0"], columns["i1"] = rng.integers(0, 100, n), rng.integers(0, 10_000, n)
        columns["b"] = rng.random(n) < 0.4
        city, kind = rng.integers(0, len(CITIES), n), rng.choice(len(KINDS), n, p=[0.5, 0.3, 0.15, 0.05])
        odds = 0.25 * (columns["n1"] - 10) + 0.6 * np.sin(columns["n2"] - 20) + effects[city]
        odds += 0.3 * (kind == 2) * (columns["n0"] > 0) + 0.0002 * (columns["i0"] - 50) * columns["n3"]
        odds += 0.4 * columns["b"] * (columns["n4"] > 40)
        columns["n2"] = pa.array(columns["n2"], mask=rng.random(n) < 0.05)
        columns["city"] = pa.array(CITIES).take(pa.array(city))
        columns["kind"] = pa.array(KINDS).take(pa.array(kind))
        columns["y"] = np.where(rng.random(n) < 1 / (1 + np.exp(-odds)), "yes", "no")
        yield pa.table({**columns, ROW_KEY: np.arange(start, start + n, dtype=np.uint64)})
        start += n


def write_splits(folder: Path, megabytes: int, seed: int) -> int:
    """Write Parquet as the preparation does, of so much CSV; returns the number of rows."""
    written = rows = 0
    writers: dict[str, pyarrow.parquet.ParquetWriter] = {}
    bounds = np.cumsum(list(SHARES.values()))[:-1]
    for block in blocks(seed):
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(block.drop_columns([ROW_KEY]), sink)
        written += sink.tell()
        rows += len(block)
        place = np.searchsorted(bounds, np.random.default_rng([seed, rows]).random(len(block)))
        for number, name in enumerate(SHARES):
            if name not in writers:
                (folder / name).mkdir(parents=True)
                part = folder / name / "part-00000.parquet"
                writers[name] = pyarrow.parquet.ParquetWriter(part, block.schema, compression="zstd")
            writers[name].write_table(block.filter(pa.array(place == number)))
        if written >= megabytes * MEGABYTE:
            break
    for writer in writers.values():
        writer.close()
    return rows


def write_large_job(root: Path, splits: Path, release: Path) -> Path:
    """Lay out a job of a release on the splits."""
    first = next(blocks(0)).slice(0, 1000).drop_columns([ROW_KEY]).to_pandas()
    write_job(root, CONTRACT, first, release=release)
    for name in SHARES:
        channel = root / "input" / "data" / name
        for part in channel.iterdir():
            part.unlink()
        (channel / "part-00000.parquet").symlink_to(splits / name / "part-00000.parquet")
    return root


def in_a_line(name: str, one: dict[str, Any]) -> str:
    """One run in a line."""
    return (
        f"{name:<26} {one['seconds']:7.1f} s  {one['cpu_seconds']:7.1f} s CPU  {one['memory_mb']:7.0f} MB  "
        f"AUC {one['auc']:.6f}"
    )


def measure(commands: dict[str, list[str]], cores: int, rounds: int) -> Measured:
    """Run each once per round, in turn."""
    return in_turn(commands, rounds, lambda name: run(commands[name], range(cores)), in_a_line)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench training", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small-rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=2, choices=[1, 2])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true", help="compare CPU time: on a busy machine, 1 core")
    options = parser.parse_args(arguments)
    key = "cpu_seconds" if options.cpu_time else "seconds"
    job = [sys.executable, "-m", "bench.training_job"]
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder = Path(made)
        (folder / "before").mkdir()
        unpack_previous_release(folder / "before", RELEASE_BEFORE)
        trees = {OURS: ROOT, BEFORE: folder / "before"}
        rows = write_splits(folder / "splits", options.megabytes, options.seed)
        print(f"{options.megabytes} MB of CSV, {rows:,} rows, cores: {options.cores}", flush=True)
        large = {
            name: [*job, "run", str(write_large_job(folder / f"large-{place}", folder / "splits", tree))]
            for place, (name, tree) in enumerate(trees.items())
        }
        found = measure({**large, BARE: [*job, "bare", large[OURS][-1]]}, options.cores, options.rounds)
        contract, frame = builtin("breast-cancer")
        small = {
            name: [*job, "run", str(write_job(folder / f"small-{place}", contract, frame, release=tree))]
            for place, (name, tree) in enumerate(trees.items())
        }
        print("breast cancer", flush=True)
        little = measure(small, options.cores, options.small_rounds)
    ours, theirs = median(found, OURS, "auc"), median(found, BEFORE, "auc")
    pairs: tuple[tuple[str, dict[str, Any], str, str, float], ...] = (
        ("training peak memory in MB", found, "memory_mb", BEFORE, MEMORY_SHARE),
        ("training time", found, key, BEFORE, TIME_SHARE),
        ("training time beside the engine", found, key, BARE, BARE_TIMES),
        ("training time, breast cancer", little, key, BEFORE, SMALL_TIMES),
    )
    results = [
        at_most(name, median(of, OURS, what), peer, median(of, peer, what), limit)
        for name, of, what, peer, limit in pairs
    ]
    goal, met = f">= the release before's - {LOST_AUC:g}", ours >= theirs - LOST_AUC
    results.append(Result("training AUC", ours, BEFORE, theirs, ours / theirs, goal, met))
    for result in results:
        print(f"{result.name}: {result.ours:.6g}, {result.peer} {result.peer_value:.6g}, goal {result.goal}")
    return kept(results)
