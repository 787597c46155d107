"""What a child of a benchmark tells its parent; needs the standard library only."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path


def report(started: tuple[float, float], found: Mapping[str, object]) -> None:
    """Print, as one line of JSON, what was found and what it took since `started` (wall and CPU clock)."""
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    print(json.dumps({"seconds": wall, "cpu_seconds": cpu, "memory_mb": peak_mb(), **found}))


def peak_mb() -> float:
    """The most memory that this process held. `getrusage` would count what its parent held as it forked."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
