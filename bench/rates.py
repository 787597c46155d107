"""How fast the parts of a run are on this machine, for ``dropforge cost``: writes the file that it reads.

    python -m bench rates [--write] [--only preparation|training|functions]

Measured in CPU seconds of one core where the work is computing, so that a busy machine shows little:

- preparation: `prepare_data` on a made-up CSV of 12 mixed columns, in memory;
- training: ``training/train.py`` on three sizes of the table of ``python -m bench training``, of which the
  slopes, their errors and the fixed parts come;
- every function: its mean duration on the local host, in a loop from a drop to predictions and a window.

Without ``--write`` it only prints. What is assumed, with its reason, stands here and is written beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
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

from bench.environments import ROOT, run
from bench.training import write_large_job, write_splits

PATH = ROOT / "core" / "dropforge" / "pricing" / "rates.json"
COMMAND = "python -m bench rates --write"
WARM_ROWS, PREPARED_ROWS = 20_000, 1_200_000
# All are read in pieces and fitted once: the slope is that of large tables.
TRAINED_MB = (256, 512, 1024)
MIB_MB = (1 << 20) / 1e6
SEED = 20261121
WINDOW_HOURS = 0.01

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


def training() -> dict[str, tuple[Any, ...]]:
    """What a job takes whatever its data, and seconds and memory per megabyte of CSV, each with its error."""
    said, seconds, peaks, rows = [], [], [], 0
    for megabytes in TRAINED_MB:
        with tempfile.TemporaryDirectory(prefix="dropforge-rates-") as folder:
            splits = Path(folder) / "splits"
            rows = write_splits(splits, megabytes, SEED)
            root = write_large_job(Path(folder) / "job", splits, ROOT)
            job = [sys.executable, "-m", "bench.training_job", "run", str(root)]
            used = run(job, range(os.cpu_count() or 1))
        seconds.append(used["cpu_seconds"])
        peaks.append(used["memory_mb"] * MIB_MB)
        said.append(f"{megabytes * MIB_MB:,.0f} MB ({rows:,} rows of 10 features)")
        print(f"{said[-1]}: {seconds[-1]:.1f} s of CPU, {peaks[-1]:.0f} MB", file=sys.stderr, flush=True)
    sizes = [megabytes * MIB_MB for megabytes in TRAINED_MB]
    per_s, fixed_s, error_s = line_through(sizes, seconds)
    per_mb, fixed_mb, error_mb = line_through(sizes, peaks)
    if per_s <= 0 or per_mb <= 0:
        raise RuntimeError(f"Larger data took no more ({seconds} s, {peaks} MB): measure again.")
    of = f"of train.py on {', '.join(said)}"
    return {
        "train.fixed_s": (max(0.0, fixed_s), "s", f"CPU {of}"),
        "train.s_per_csv_mb": (per_s, "s/MB", f"CPU {of}", error_s),
        "train.fixed_memory_mb": (max(0.0, fixed_mb), "MB", f"peak memory {of}"),
        "train.rows_per_csv_mb": (rows / sizes[-1], "rows/MB", f"the largest of {', '.join(said)}"),
        "train.memory_mb_per_csv_mb": (per_mb, "MB per MB", f"peak memory {of}", error_mb),
    }


def line_through(sizes: list[float], found: list[float]) -> tuple[float, float, float]:
    """Slope and intercept of least squares, and the slope's standard error."""
    slope, intercept = np.polyfit(sizes, found, 1)
    left = np.asarray(found) - (slope * np.asarray(sizes) + intercept)
    error = np.sqrt((left**2).sum() / (len(sizes) - 2) / ((sizes - np.mean(sizes)) ** 2).sum())
    return float(slope), float(intercept), float(error)


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
        **{key: _entry(value, "measured") for key, value in measured.items()},
        **{key: _entry(value, "assumed") for key, value in ASSUMED.items()},
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


def _entry(measured: tuple[Any, ...], kind: str) -> dict[str, Any]:
    value, unit, why, *error = measured
    entry = {"value": float(f"{value:.4g}"), "unit": unit, "kind": kind, "why": why}
    return entry | ({"error": float(f"{error[0]:.2g}")} if error else {})
