"""Preparing one CSV in chunks, as the state machine's Distributed Map does, beside one function on all cores.

    python -m bench chunks [--megabytes 1024] [--chunks 8] [--cores 2] [--rounds 3]

Both run the use cases of the deployed functions over files in a folder, under a pinned contract: one process
with a thread per core, or a process per core, each of one thread, which take the chunks of a phase one after
the other; the merge after each phase runs alone. Processes have loaded their libraries before, as warm
functions have. What both leave behind must be the same: the rows of every split in order, the rejected ones,
report, profile and answer. What AWS adds to a chunk, a start and requests to S3, is no part of it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.environments import Measured, in_turn, median, run
from bench.mixed_table import write_csv
from bench.preparation import said
from bench.record import kept, times_less
from dropforge.domain.splitting import SPLITS

ONE, MANY = "one function", "chunks"
GOAL = 0.9
MEGABYTE = 1 << 20


def command(name: str, csv: Path, folder: Path, options: argparse.Namespace) -> list[str]:
    """Return how to start a contestant."""
    own = {
        ONE: ["prepare_ours", "dropforge", str(csv), str(folder), str(options.cores)],
        MANY: ["chunks_ours", str(csv), str(folder), str(options.cores), str(options.chunks)],
    }
    module, *arguments = own[name]
    return [sys.executable, "-m", f"bench.{module}", *arguments]


def columns(folder: Path) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield each column of a folder of parts, in the order of the rows."""
    parts = sorted(folder.glob("*.parquet"))
    for name in pq.read_schema(parts[0]).names if parts else ():
        chunks = [chunk for part in parts for chunk in pq.read_table(part, columns=[name])[name].chunks]
        yield name, pa.chunked_array(chunks)


def difference(one: Path, many: Path) -> str | None:
    """Return the first thing in which two runs' folders differ, however their parts are cut."""
    for split in (*SPLITS, "rejected"):
        found, expected = columns(many / split), columns(one / split)
        for (name, values), (same, wanted) in zip(found, expected, strict=True):
            if name != same or not values.equals(wanted):
                return f"{split}, column {name}"
    documents = [{str(p.relative_to(f)): p.read_bytes() for p in f.rglob("*.json")} for f in (one, many)]
    names = sorted({name for each in documents for name in each})
    return next((name for name in names if documents[0].get(name) != documents[1].get(name)), None)


def measure(csv: Path, options: argparse.Namespace) -> Measured:
    """Run both once per round, in turn, comparing what they leave.

    Raises:
        RuntimeError: they left something else.
    """
    folders = {name: csv.parent / name.replace(" ", "-") for name in (ONE, MANY)}

    def prepared(name: str) -> dict[str, Any]:
        shutil.rmtree(folders[name], ignore_errors=True)
        folders[name].mkdir()
        return run(command(name, csv, folders[name], options), range(options.cores))

    found = in_turn(folders, options.rounds, prepared, _said)
    differs = difference(*(folder / "data" / "runs" / "run" for folder in folders.values()))
    if differs or found[ONE][0]["answer"] != found[MANY][0]["answer"]:
        raise RuntimeError(f"not the same output: {differs or 'the answer'}")
    return found


def _said(name: str, one: dict[str, Any]) -> str:
    phases = [
        f"    {each:<12} {wall:7.2f} s  {cpu:7.2f} s CPU"
        for each, (wall, cpu) in one.get("phases", {}).items()
    ]
    return "\n".join([said(name, one), *phases])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench chunks", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        csv = Path(folder) / "table.csv"
        rows = write_csv(csv, options.megabytes * MEGABYTE, options.seed)
        size = csv.stat().st_size / MEGABYTE
        print(f"{size:.0f} MB, {rows} rows, {options.chunks} chunks, {options.cores} cores", flush=True)
        found = measure(csv, options)
    one, many = (median(found, name, "seconds") for name in (ONE, MANY))
    name = f"preparation in {options.chunks} chunks, {options.cores} cores, seconds"
    result = times_less(name, many, f"{ONE}, {options.cores} cores", one, GOAL)
    print(f"the same output, at {one / many:.2f} times the speed{result.missed}")
    return kept([result])
