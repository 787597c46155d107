"""What watching takes at its widest and longest: 2,000 columns, and a scored file of 2 million rows.

    python -m bench watching [--columns 2000] [--file-rows 2000000]

The hour has as many predictions as the watch looks at of so many columns, and so has each hour of the day
before, where outcomes are looked for. What is left is compared with the limits of AWS; memory with that of
the function. The file stands beside one of a tenth of its rows.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from bench.environments import ROOT, run
from bench.record import Result, at_most, kept
from dropforge.domain.drift.policy import WatchPolicy
from dropforge.pricing.prices import load_prices
from dropforge.pricing.rates import LAMBDA_VCPU_GB
from dropforge_local.template import load_template

CHILD: Final = (sys.executable, "-m", "bench.watching_ours")
FILE_COLUMNS, WINDOWS_A_MONTH, GROWTH = 5, 730, 1.1
LINE_LIMIT, EMF_LIMIT, REPORT_LIMIT = 256 * 1024, 100, 1_000_000
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html, the metrics of a line
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html),
and a report of which the console reads hundreds."""
ITEM_LIMIT: Final = 400 * 1024
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html"""


def watched(kind: str, folder: Path, rows: int, columns: int) -> dict[str, Any]:
    """Lay out a window, and watch it in a process of its own."""
    folder.mkdir()
    laid_out = [*CHILD, "lay-out", kind, str(folder), str(rows), str(columns)]
    subprocess.run(laid_out, check=True, cwd=ROOT)
    return run([*CHILD, "watch", kind, str(folder)], [0])


def of_predictions(found: dict[str, Any], columns: int) -> list[Result]:
    """What watching the hour took and left, beside what it may."""
    function = load_template(ROOT / "template.yaml")["Resources"]["WatchModelFunction"]["Properties"]
    limits = {
        "MB": (found["memory_mb"], "MemorySize of the function", function["MemorySize"], 1.0),
        # A machine twice as slow, and reading from DynamoDB, have to fit as well.
        "s CPU": (found["cpu_seconds"], "Timeout of the function", function["Timeout"], 0.25),
        "bytes of the report": (
            found["report_bytes"],
            "what the console reads hundreds of",
            REPORT_LIMIT,
            1.0,
        ),
        "bytes of the longest line": (found["line_bytes"], "an event of CloudWatch Logs", LINE_LIMIT, 1.0),
        "metrics of a line": (found["metrics"], "a line of metrics", EMF_LIMIT, 1.0),
        "bytes of a prediction": (found["item_bytes"], "an item of DynamoDB", ITEM_LIMIT, 1.0),
    }
    return [
        at_most(f"watching {columns:,} columns, {what}", float(ours), limit, float(most), share)
        for what, (ours, limit, most, share) in limits.items()
    ]


def usd(found: dict[str, Any]) -> dict[str, float]:
    """What one window costs at list price: computing, and reading predictions (half a unit per 4 kB)."""
    prices = load_prices()
    return {
        "computing": prices["lambda.gb_second"].of(found["cpu_seconds"] * LAMBDA_VCPU_GB),
        "reading": prices["dynamodb.read"].of(found["read_bytes"] / 4096 / 2),
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("bench watching", description=__doc__)
    parser.add_argument("--columns", type=int, default=2000)
    parser.add_argument("--file-rows", type=int, default=2_000_000)
    options = parser.parse_args(arguments)
    columns, rows = options.columns, WatchPolicy().rows_of(options.columns)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        found = watched("predictions", folder / "predictions", rows, columns)
        print(f"an hour of {rows:,} predictions of {columns:,} columns, and outcomes of a day", flush=True)
        results = of_predictions(found, columns)
        cost = usd(found)
        shutil.rmtree(folder / "predictions")
        few, many = (
            watched("file", folder / str(count), count, FILE_COLUMNS)
            for count in (options.file_rows // 10, options.file_rows)
        )
    for each in results:
        print(f"  {each.name:<52} {each.ours:>12,.0f} of {each.peer_value:,.0f}, {each.peer}{each.missed}")
    parts = ", ".join(f"{what} {value:.4f}" for what, value in cost.items())
    month = sum(cost.values()) * WINDOWS_A_MONTH
    print(f"  USD a window: {parts}; a month of hourly windows {month:.2f}")
    beside = f"a file of {options.file_rows // 10:,} rows"
    name = f"watching a file of {options.file_rows:,} rows, MB"
    results.append(at_most(name, many["memory_mb"], beside, few["memory_mb"], GROWTH))
    print(f"{name} {many['memory_mb']:.0f}; {beside}: {few['memory_mb']:.0f}{results[-1].missed}")
    print(f"  {many['cpu_seconds']:.1f} s CPU; {many['looked_at']:,} rows looked at, {many['verdict']}")
    return kept(results)
