"""What a child of a benchmark tells its parent; needs the standard library only."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Mapping


def report(started: tuple[float, float], found: Mapping[str, object]) -> None:
    """Print, as one line of JSON, what was found and what it took since `started` (wall and CPU clock)."""
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    print(json.dumps({"seconds": wall, "cpu_seconds": cpu, "memory_mb": memory_mb, **found}))
