"""What the predict function's import costs beside creating one boto3 client: CPU and wall time, medians.

Each import runs in a process of its own, in turn, so that the machine's other work falls on both alike; what
a bare Python costs is taken off both. Byte code is compiled before, as it is in the layer.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOAL = 0.5
CASES = {
    "bare": "pass",
    "predict": "import app; app._service()",
    "boto3 client": "import boto3; boto3.client('dynamodb')",
}
ENVIRONMENT = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "LEDGER_TABLE": "ledger",
    "PREDICTIONS_TABLE": "predictions",
    "PREDICTION_RETENTION_DAYS": "90",
    "CORS_ALLOWED_ORIGIN": "none",
}


def timed(code: str) -> tuple[float, float]:
    """CPU and wall seconds of a fresh interpreter that runs the code."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(ROOT / "core"), str(ROOT / "functions" / "predict")]),
        **ENVIRONMENT,
    }
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime), wall


def measure(rounds: int) -> dict[str, float]:
    """Median CPU and wall milliseconds per case beyond a bare interpreter, and their ratios."""
    for folder in (ROOT / "core" / "dropforge", ROOT / "functions" / "predict"):
        compileall.compile_dir(folder, quiet=2)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, code in CASES.items():
            found[name].append(timed(code))
    result: dict[str, float] = {}
    for index, unit in enumerate(("cpu", "wall")):
        medians = {name: statistics.median(each[index] for each in times) for name, times in found.items()}
        ours, theirs = (medians[name] - medians["bare"] for name in ("predict", "boto3 client"))
        result |= {
            f"predict_{unit}_ms": round(ours * 1000, 1),
            f"boto3_{unit}_ms": round(theirs * 1000, 1),
            f"{unit}_ratio": round(ours / theirs, 3),
        }
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    result = measure(parser.parse_args().rounds)
    print(json.dumps({"bench": "predict_import", "goal": GOAL, **result}))
    return 0 if result["cpu_ratio"] <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
