"""Print the parameters of one environment, one a line, with those given on the command line on top.

python scripts/deploy_parameters.py dev TargetColumn=diagnosis IdColumn=id
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dropforge_ops.environments import CONFIG, environment_parameters

ROOT = Path(__file__).resolve().parent.parent


def merged(environment: str, given: Sequence[str]) -> list[str]:
    """``Name=value`` for every parameter; the given ones win."""
    values = environment_parameters(environment, given, ROOT / CONFIG)
    return [f"{name}={value}" for name, value in values.items()]


def main() -> int:
    try:
        parameters = merged(sys.argv[1], sys.argv[2:])
    except (IndexError, ValueError) as error:
        print(f"{error}" if str(error) else __doc__, file=sys.stderr)
        return 2
    if not any(each.startswith("TargetColumn=") for each in parameters):
        print('Name the column to predict: make deploy PARAMETERS="TargetColumn=…".', file=sys.stderr)
        return 2
    print("\n".join(parameters))
    return 0


if __name__ == "__main__":
    sys.exit(main())
