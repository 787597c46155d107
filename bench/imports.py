"""What a function costs before its first event beside creating one boto3 client: CPU time, medians.

    python -m bench imports [--rounds 9]

A function is imported and makes a client of its own, but `predict`, which signs its requests itself; those
that prepare tables load pyarrow as well. Each runs in a process of its own, in turn, so that the machine's
other work falls on all alike; what a bare Python costs is taken off. Byte code is compiled before, as it is
in the layers.
"""

from __future__ import annotations

import argparse
import compileall
import os
import re
import resource
import statistics
import subprocess
import sys
from pathlib import Path

from bench.record import Result, append

ROOT = Path(__file__).resolve().parents[1]
CLIENT = "boto3 client"
BARE = "bare"
GOALS = {"predict": 0.5}
OTHERS_GOAL, TABLES_GOAL = 1.6, 2.0
ENVIRONMENT = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "LEDGER_TABLE": "ledger",
    "PREDICTIONS_TABLE": "predictions",
    "PREDICTION_RETENTION_DAYS": "90",
    "CORS_ALLOWED_ORIGIN": "none",
    "POWERTOOLS_SERVICE_NAME": "bench",
}
CODE = {
    BARE: "pass",
    CLIENT: "import boto3; boto3.client('dynamodb')",
    # Its service is made at the first request.
    "predict": "import app; app._service()",
}


def functions() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py"))


def table_makers(function: str) -> list[str]:
    """Name what the function makes of the machinery of tables, which loads pyarrow when it is first used."""
    source = (ROOT / "functions" / function / "app.py").read_text()
    return sorted(set(re.findall(r"bootstrap\.((?:batch_)?tables)\(", source)))


def code_of(name: str) -> str:
    """Return what is timed: the function's import, and what it makes for its first event."""
    made = "".join(f"bootstrap.{maker}(None);" for maker in table_makers(name))
    return f"import app, boto3; boto3.client('dynamodb'); from dropforge import bootstrap; {made}"


def run(name: str, code: str) -> subprocess.CompletedProcess[bytes]:
    path = os.pathsep.join([str(ROOT / "core"), str(ROOT / "functions" / name)])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": path, **ENVIRONMENT}
    return subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True)


def cpu_seconds(name: str) -> float:
    """CPU seconds of a fresh interpreter that imports the function.

    Raises:
        RuntimeError: the import failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(name, CODE.get(name) or code_of(name))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.decode()[-500:]}")
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def measure(rounds: int) -> dict[str, float]:
    """Return the median CPU milliseconds of each import, and of the client, beyond a bare interpreter."""
    for folder in (ROOT / "core" / "dropforge", ROOT / "functions"):
        compileall.compile_dir(folder, quiet=2)
    found: dict[str, list[float]] = {name: [] for name in (BARE, CLIENT, *functions())}
    for _ in range(rounds):
        for name, times in found.items():
            times.append(cpu_seconds(name))
    bare = statistics.median(found.pop(BARE))
    return {name: (statistics.median(times) - bare) * 1000 for name, times in found.items()}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench imports", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    found = measure(parser.parse_args(arguments).rounds)
    client = found.pop(CLIENT)
    print(f"{CLIENT}: {client:.0f} ms CPU beyond a bare interpreter")
    results = []
    for name, milliseconds in found.items():
        goal = GOALS.get(name, TABLES_GOAL if table_makers(name) else OTHERS_GOAL)
        ratio = milliseconds / client
        results.append(
            Result(
                f"import of {name}, ms CPU", milliseconds, CLIENT, client, ratio, f"<= {goal}", ratio <= goal
            )
        )  # fmt: skip
        missed = "" if ratio <= goal else "  MISSED"
        print(f"{name:<20} {milliseconds:6.0f} ms  {ratio:5.2f} (goal {goal}){missed}", flush=True)
    append(results)
    return 0 if all(result.met for result in results) else 1
