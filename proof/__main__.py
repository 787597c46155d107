"""``python -m proof workflow | api | iam | record``: prints what is wrong; ends with 1 where anything is."""

from __future__ import annotations

import sys
from pathlib import Path

from proof import api_checks, iam_checks, workflow_checks
from proof.findings import report
from proof.product import Product


def main(arguments: list[str]) -> int:
    """Run one of the commands."""
    match arguments:
        case ["workflow"]:
            return report("workflow", workflow_checks.all_findings(Product.load()))
        case ["api"]:
            return api_checks.audit(Product.load())
        case ["iam"]:
            return iam_checks.audit(Product.load())
        case ["record", *folder]:
            from proof.record import record  # noqa: PLC0415 - only here

            return record(Path(folder[0]) if folder else None)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
