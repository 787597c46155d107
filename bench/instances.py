"""A training job of two instances beside the same of one, each instance with one core.

    python -m bench instances [--megabytes 1024] [--rounds 3] [--cores 0 1]

The table is that of `bench training`, in PARTS files per split. Two instances share the files of the training
rows out, and speak over a loopback interface of their own, which takes less time than a network does: what
is measured is the work that they do twice, and what they wait for each other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet

from bench.environments import ROOT, in_turn, median
from bench.record import Result, at_most, kept
from bench.training import SHARES, in_a_line, write_large_job, write_splits
from dropforge.domain.metrics import Scored
from dropforge_local.sagemaker.container import SharedNetwork

PARTS = 8
NAMES = ("127.0.0.1", "127.1")
"""One address, by which LightGBM finds itself among the hosts, under two names."""
ALONE, TOGETHER = "1 instance", "2 instances"
TIME_SHARE, MEMORY_SHARE, LOST_AUC = 0.7, 0.6, 1e-3

_JOINING = """
import json, os, resource, subprocess, sys

cores, namespaces, program = sys.argv[1], sys.argv[2].split(), sys.argv[3]
for namespace in namespaces:
    os.setns(int(namespace))
os.sched_setaffinity(0, {int(cores)})
subprocess.run([sys.executable, program], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""
"""A process of its own, which loads little: a child inherits the peak memory of whoever starts it."""


def cut(splits: Path) -> None:
    """Cut each split's one file into PARTS."""
    for name in SHARES:
        whole = splits / name / "part-00000.parquet"
        with pyarrow.parquet.ParquetFile(whole) as file:
            sinks = [
                pyarrow.parquet.ParquetWriter(splits / name / f"cut-{part}.parquet", file.schema_arrow)
                for part in range(PARTS)
            ]
            for number, batch in enumerate(file.iter_batches(1 << 16)):
                sinks[number % PARTS].write_batch(batch)
        for sink in sinks:
            sink.close()


def lay_out(root: Path, splits: Path, instances: int) -> list[Path]:
    """Return a root for each instance."""
    roots = []
    for place in range(instances):
        one = write_large_job(root / str(place), splits, ROOT)
        for name in SHARES:
            channel = one / "input" / "data" / name
            (channel / "part-00000.parquet").unlink()
            parts = range(place, PARTS, instances) if name == "train" else range(PARTS)
            for part in parts:
                (channel / f"part-{part}.parquet").symlink_to(splits / name / f"cut-{part}.parquet")
        told = {"hosts": NAMES[:instances], "current_host": NAMES[place]}
        (one / "input" / "config" / "resourceconfig.json").write_text(json.dumps(told))
        roots.append(one)
    return roots


def run(roots: list[Path], cores: list[int]) -> dict[str, Any]:
    """Run a job, and return what it took: the memory is that of the instance with the most."""
    network = SharedNetwork(sys.executable, [])
    namespaces = " ".join(map(str, network.namespaces))
    began = time.perf_counter()
    jobs = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", _JOINING, str(core), namespaces),
                str(root / "input" / "data" / "code" / "train.py"),
            ],
            env={**os.environ, "ML_ROOT": str(root), "PYTHONPATH": ""},
            stdout=subprocess.PIPE,
            pass_fds=network.namespaces,
        )
        for root, core in zip(roots, cores, strict=False)
    ]
    told = [job.communicate()[0] for job in jobs]
    network.close()
    if any(job.returncode for job in jobs):
        raise SystemExit(f"a job failed: {(roots[0] / 'output' / 'failure').read_text()}")
    with np.load(roots[0] / "output" / "data" / "holdout.npz") as arrays:
        auc = Scored("binary", arrays["target"], arrays["candidate"]).value("auc")
    return {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": max(cpu_seconds for cpu_seconds, _ in map(json.loads, told)),
        "memory_mb": max(memory_mb for _, memory_mb in map(json.loads, told)),
        "auc": auc,
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench instances", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, nargs=2, default=[0, 1])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true", help="compare CPU time: on a busy machine")
    options = parser.parse_args(arguments)
    key = "cpu_seconds" if options.cpu_time else "seconds"
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder = Path(made)
        rows = write_splits(folder / "splits", options.megabytes, options.seed)
        cut(folder / "splits")
        print(f"{options.megabytes} MB of CSV, {rows:,} rows, one core per instance", flush=True)
        laid = {
            name: lay_out(folder / f"of-{count}", folder / "splits", count)
            for count, name in enumerate((ALONE, TOGETHER), start=1)
        }
        found = in_turn(laid, options.rounds, lambda name: run(laid[name], options.cores), in_a_line)

    goals = (
        ("training time of 2 instances", key, TIME_SHARE),
        ("peak memory of each in MB", "memory_mb", MEMORY_SHARE),
    )
    results = [
        at_most(name, median(found, TOGETHER, what), ALONE, median(found, ALONE, what), limit)
        for name, what, limit in goals
    ]
    ours, theirs = median(found, TOGETHER, "auc"), median(found, ALONE, "auc")
    goal, met = f">= one instance's - {LOST_AUC:g}", ours >= theirs - LOST_AUC
    results.append(Result("AUC of 2 instances", ours, ALONE, theirs, ours / theirs, goal, met))
    for result in results:
        print(f"{result.name}: {result.ours:.6g}, {result.peer} {result.peer_value:.6g}, goal {result.goal}")
    return kept(results)
