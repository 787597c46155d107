"""`python -m bench <name> [options]` runs a benchmark or a study.

`python -m bench {all,benchmarks,studies} [--quick]` runs every one of them. Each prints its figures, and
keeps them in ``.dropforge/bench.json``; exit 0 if every goal was met.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

# What lays out a training job for the tests imports the job's modules.
sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))
# Small matrices on a busy machine: threads of BLAS would wait for each other. Set before numpy loads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

BENCHMARKS = {
    "preparation": "bench.preparation",
    "chunks": "bench.chunks",
    "training": "bench.training",
    "instances": "bench.instances",
    "drift": "bench.drift",
    "watching": "bench.watching",
    "serving": "bench.serving",
    "image": "bench.image",
    "imports": "bench.imports",
    "predict-cpu": "bench.predict_cpu",
    "predict-load": "bench.predict_load",
    "rates": "bench.rates",
}
"""What the product takes, beside its peers in the same run."""
APART = {"releases": "bench.releases", "host-start": "bench.host_start"}
"""None of `all`: the product beside a commit that is named; each piece of the local host's start-up."""
STUDIES = {
    "agreement": "bench.studies.agreement",
    "false-alarms": "bench.studies.false_alarms",
    "power": "bench.studies.power",
    "intervals": "bench.studies.intervals",
    "splits": "bench.studies.splits",
    "thresholds": "bench.studies.thresholds",
    "guarded": "bench.studies.guarded",
    "cycles": "bench.studies.cycles",
    "elsewhere": "bench.studies.elsewhere",
    "choices": "bench.studies.choices",
    "failing": "bench.studies.failing",
    "estimates": "bench.studies.estimates",
}
"""How right its statistics are, where the truth is known."""
QUICK: Mapping[str, Sequence[str]] = {
    "preparation": ("--megabytes", "100", "--small-megabytes", "50", "--rounds", "1"),
    "chunks": ("--megabytes", "100", "--rounds", "1"),
    "training": ("--megabytes", "30", "--rounds", "1", "--small-rounds", "1"),
    "instances": ("--megabytes", "30", "--rounds", "1"),
    "drift": ("--rows", "100000", "--rounds", "1"),
    "watching": ("--columns", "200", "--file-rows", "600000"),
    "false-alarms": ("--windows", "200", "--sizes", "100", "1000", "--evidently-windows", "0"),
    "power": ("--windows", "50"),
    "intervals": ("--runs", "200", "--peer-runs", "20", "--random-runs", "200", "--sizes", "100", "1000"),
    "splits": ("--runs", "20", "--sizes", "20", "100"),
    "thresholds": ("--rows", "5000", "--runs", "200", "--sizes", "300", "1000"),
    "guarded": ("--runs", "200", "--planted-runs", "10"),
    "choices": ("--runs", "200"),
    "cycles": (
        "--windows",
        "100",
        "--worlds",
        "1",
        "--others",
        "20",
        "--peer-windows",
        "0",
        "--cases",
        "0",
        "3",
    ),
    "failing": ("--runs", "50"),
    "estimates": ("--worlds", "6", "--windows", "4", "--peer-worlds", "3"),
    "serving": ("--rounds", "2", "--seconds", "1"),
    "image": ("--rounds", "2", "--seconds", "1"),
    "imports": ("--rounds", "3"),
    "predict-cpu": ("--rounds", "3", "--calls", "200"),
    "predict-load": ("--seconds", "10"),
}
"""Options for a look within minutes; figures of so little work are rough."""


def run_all(names: Iterable[str], arguments: list[str]) -> int:
    """Run each in a process of its own; returns 1 if any failed or missed a goal."""
    parser = argparse.ArgumentParser("bench all", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less work, rougher figures")
    quick = parser.parse_args(arguments).quick
    missed = []
    for name in names:
        print(f"== {name}", flush=True)
        options = QUICK.get(name, ()) if quick else ()
        if subprocess.run([sys.executable, "-m", "bench", name, *options], check=False).returncode:
            missed.append(name)
    if missed:
        print(f"failed or missed a goal: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


def main(arguments: list[str]) -> int:
    known = {**BENCHMARKS, **APART, **STUDIES}
    groups = {"all": {**BENCHMARKS, **STUDIES}, "benchmarks": BENCHMARKS, "studies": STUDIES}
    name, *options = arguments or [""]
    if name in groups:
        return run_all(groups[name], options)
    if name not in known:
        print(f"usage: python -m bench {{{','.join([*groups, *known])}}} [--help]", file=sys.stderr)
        return 2
    status: int = import_module(known[name]).main(options)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
