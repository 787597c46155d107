"""How fast the parts of a run are on this machine, for ``dropforge cost``: writes the file that it reads.

    python -m bench rates [--write] [--only preparation|training|functions]

Measured in CPU seconds of one core where the work is computing, so that a busy machine shows little:

- preparation: `prepare_data` on a made-up CSV of 12 mixed columns, in memory;
- training: ``training/train.py`` on two sizes of that table, of which the slope and the fixed part come;
- every function: its mean duration on the local host, in a loop from a drop to predictions and a window.

Without ``--write`` it only prints. What is assumed, with its reason, stands here and is written beside it.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tests.unit.preparation.dropping import prepare
from tests.unit.training.job_folders import job_environment, program_of, write_job

ROOT = Path(__file__).resolve().parents[1]
PATH = ROOT / "core" / "dropforge" / "pricing" / "rates.json"
COMMAND = "python -m bench rates --write"
WARM_ROWS, PREPARED_ROWS = 20_000, 1_200_000
# Both above the rows that the selection looks at, so that the slope is that of large tables.
TRAINED_ROWS = (50_000, 800_000)
SEED = 20261121
WINDOW_HOURS = 0.01

# A child inherits the peak memory of whoever starts it, so the job is started by a small process.
LAUNCHER = """
import json, resource, subprocess, sys
subprocess.run([sys.executable, sys.argv[1]], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print()
print(json.dumps({"cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}))
"""

ASSUMED: Mapping[str, tuple[float, str, str]] = {
    "prepare.block_mb": (16.777216, "MB", "the preparation reads and writes blocks of 16 MiB"),
    "train.start_s": (
        120.0,
        "s",
        "a job is billed from its download to its upload; two minutes cover image, download and upload",
    ),
    "endpoint.update_s": (300.0, "s", "a serverless endpoint is updated within about five minutes"),
    "run.transitions": (150.0, "transitions", "no run without a detour has more; a test counts"),
    "run.functions_s": (5.0, "s of one vCPU", "no run's calls take longer, preparation aside; a test adds"),
    "expansion.gz": (5.0, "CSV bytes per byte", "gzip shrinks tables of numbers to a fifth or more"),
    "expansion.zst": (5.0, "CSV bytes per byte", "as gzip"),
    "expansion.parquet": (3.0, "CSV bytes per byte", "columns, compressed"),
}


def table(rows: int) -> pd.DataFrame:
    """A learnable table of 12 mixed columns, beside its key."""
    random = np.random.default_rng(SEED)
    frame = pd.DataFrame({"id": np.arange(rows)})
    for number in range(6):
        frame[f"n{number}"] = random.normal(10 * number, 1 + number, rows).round(4)
    for number in range(3):
        frame[f"i{number}"] = random.integers(0, 10 ** (number + 2), rows)
    frame["city"] = random.choice(["Basel", "Bern", "Chur", "Genf", "Lugano", "Zug"], rows)
    frame["kind"] = random.choice(["a", "b", "c"], rows, p=[0.7, 0.2, 0.1])
    risk = frame["n1"] / 4 + (frame["city"] == "Bern") + random.logistic(0, 1, rows)
    frame["y"] = np.where(risk > risk.median(), "yes", "no")
    return frame


def preparation() -> dict[str, tuple[float, str, str]]:
    """CSV megabytes per CPU second, and how much smaller the splits are."""
    # The first one loads libraries and makes threads, which a large drop does not notice.
    prepare(table(WARM_ROWS).to_csv(index=False).encode(), key="id")
    content = table(PREPARED_ROWS).to_csv(index=False).encode()
    began = time.process_time()
    outcome = prepare(content, key="id")
    cpu_s = time.process_time() - began
    kept = sum(
        len(data) for uri, data in outcome.store.objects.items() if "/run/t" in uri or "/validation/" in uri
    )
    said = f"a first drop of {len(content) / 1e6:.0f} MB, {PREPARED_ROWS:,} rows of 12 mixed columns"
    return {
        "prepare.csv_mb_per_cpu_s": (len(content) / 1e6 / cpu_s, "MB/s", said),
        "prepare.parquet_mb_per_csv_mb": (kept / len(content), "MB per MB", said),
    }


def training() -> dict[str, tuple[float, str, str]]:
    """Seconds of a job that don't depend on the data, and seconds and memory per megabyte of CSV."""
    from dropforge.domain.contract import Contract  # noqa: PLC0415

    seconds, megabytes, peaks = [], [], []
    for rows in TRAINED_ROWS:
        frame = table(rows)
        first = prepare(frame.head(2000).to_csv(index=False).encode(), key="id")
        contract: Contract = first.contract
        buffer = io.StringIO()
        frame.to_csv(buffer, index=False)
        with tempfile.TemporaryDirectory(prefix="dropforge-rates-") as folder:
            root = write_job(Path(folder), contract, frame)
            used = json.loads(
                subprocess.run(
                    [sys.executable, "-c", LAUNCHER, str(program_of(root))],
                    env=job_environment(root, {}),
                    capture_output=True,
                    check=True,
                ).stdout.splitlines()[-1]
            )
        seconds.append(used["cpu_s"])
        megabytes.append(len(buffer.getvalue()) / 1e6)
        peaks.append(used["peak_mb"])
    slope = (seconds[1] - seconds[0]) / (megabytes[1] - megabytes[0])
    memory = (peaks[1] - peaks[0]) / (megabytes[1] - megabytes[0])
    if slope <= 0 or memory <= 0:
        raise RuntimeError(f"Larger data took no more ({seconds} s, {peaks} MB): measure again.")
    said = f"CPU of train.py on {TRAINED_ROWS[0]:,} and {TRAINED_ROWS[1]:,} rows ({megabytes[1]:.1f} MB)"
    return {
        "train.fixed_s": (max(0.0, seconds[0] - slope * megabytes[0]), "s", said),
        "train.s_per_csv_mb": (slope, "s/MB", said),
        "train.memory_mb_per_csv_mb": (memory, "MB per MB", f"peak memory of the same jobs: {said[7:]}"),
    }


def functions() -> dict[str, tuple[float, str, str]]:
    """Mean seconds of each function over a loop on the local host, and of a request to the endpoint."""
    from tests.workflow.prediction_api import Api  # noqa: PLC0415
    from tests.workflow.stack import Stack  # noqa: PLC0415

    from dropforge_local.host import LocalHost  # noqa: PLC0415
    from dropforge_ops.stack.samples import write_samples  # noqa: PLC0415

    found: dict[str, tuple[float, str, str]] = {}
    with LocalHost(ROOT, wait_scale=0.1) as host, tempfile.TemporaryDirectory() as folder:
        write_samples(Path(folder))
        parameters = {
            "TargetColumn": "diagnosis",
            "IdColumn": "id",
            "WatchWindowHours": str(WINDOW_HOURS),
            "WatchScheduleState": "DISABLED",
        }
        stack = Stack(host, "rates", parameters, ROOT / "template.yaml")
        sample = Path(folder) / "breast-cancer.csv"
        stack.train_and_deploy(sample)
        frame = pd.read_csv(sample).drop(columns=["diagnosis"])
        api = Api(stack)
        for start in range(0, 300, 3):
            row = json.loads(frame.iloc[start % len(frame)].to_json())
            row["id"] = int(row["id"])
            answer = api.call("POST", "/predict", {"instance": row})
            if answer.status != 200:
                raise RuntimeError(str(answer.body))
        invoked = {"WatchModelFunction": {"time": (datetime.now(UTC) + timedelta(seconds=36)).isoformat()}}
        for name in ("WatchModelFunction", "ReconcileRunsFunction"):
            host.client("lambda").invoke(
                FunctionName=stack.resource(name), Payload=json.dumps(invoked.get(name, {}))
            )
        found |= _durations(host, stack)
        items = host.client("dynamodb").scan(TableName=stack.outputs["PredictionsTable"])["Items"]
        took = [float(item["latency_ms"]["N"]) / 1000 for item in items]
    said = f"the endpoint's answer to one row, median of {len(took)}, on the local host"
    found["endpoint.s_per_request"] = (float(np.median(took)), "s", said)
    return found


def _durations(host: Any, stack: Any) -> dict[str, tuple[float, str, str]]:
    listed = host.client("cloudformation").describe_stack_resources(StackName=stack.name)["StackResources"]
    names = {
        each["LogicalResourceId"]: each["PhysicalResourceId"]
        for each in listed
        if each["ResourceType"] == "AWS::Lambda::Function"
    }
    now, cloudwatch = datetime.now(UTC), host.client("cloudwatch")
    found = {}
    for logical_id, name in sorted(names.items()):
        points = cloudwatch.get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="Duration",
            Dimensions=[{"Name": "FunctionName", "Value": name}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(minutes=2),
            Period=3600,
            Statistics=["Sum", "SampleCount"],
        )["Datapoints"]
        calls = sum(point["SampleCount"] for point in points)
        if calls:
            mean_s = sum(point["Sum"] for point in points) / calls / 1000
            said = f"mean duration of {calls:.0f} call(s) on the local host, cold starts included"
            found[f"function.{logical_id}"] = (mean_s, "s of one vCPU", said)
    return found


PARTS = {"preparation": preparation, "training": training, "functions": functions}


def machine() -> str:
    """The processor and how many of it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
    return f"{os.cpu_count()} × {model}, {platform.system()} {platform.machine()}"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench rates", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--write", action="store_true", help=f"write {PATH.relative_to(ROOT)}")
    parser.add_argument("--only", choices=sorted(PARTS), help="measure this, and keep the other rates")
    asked = parser.parse_args(arguments)
    parts = [PARTS[asked.only]] if asked.only else list(PARTS.values())
    measured = {key: value for part in parts for key, value in part().items()}
    known = json.loads(PATH.read_text(encoding="utf-8"))["rates"] if asked.only else {}
    rates = {
        **known,
        **{key: _entry(*value, "measured") for key, value in measured.items()},
        **{key: _entry(*value, "assumed") for key, value in ASSUMED.items()},
    }
    document = {
        "format": 1,
        "machine": machine(),
        "measured_on": datetime.now(UTC).date().isoformat(),
        "command": COMMAND,
        "rates": rates,
    }
    for key, entry in rates.items():
        print(f"{key:34} {entry['value']:>12} {entry['unit']:20} {entry['kind']}: {entry['why']}")
    if asked.write:
        PATH.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        print(f"Written to {PATH.relative_to(ROOT)}", file=sys.stderr)
    return 0


def _entry(value: float, unit: str, why: str, kind: str) -> dict[str, Any]:
    return {"value": float(f"{value:.4g}"), "unit": unit, "kind": kind, "why": why}
