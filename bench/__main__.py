"""`python -m bench <name> [options]` runs a benchmark; `python -m bench` names them."""

from __future__ import annotations

import os
import sys
from importlib import import_module

# Small matrices on a busy machine: threads of BLAS would wait for each other. Set before numpy loads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

BENCHMARKS = {
    "false-alarms": "bench.false_alarms",
    "power": "bench.power",
    "agreement": "bench.agreement",
    "serving": "bench.serving",
    "rates": "bench.rates",
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in BENCHMARKS:
        print(f"usage: python -m bench {{{','.join(BENCHMARKS)}}} [--help]", file=sys.stderr)
        return 2
    status: int = import_module(BENCHMARKS[arguments[0]]).main(arguments[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
