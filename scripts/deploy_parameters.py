"""Print the parameters of one environment, one a line, with those given on the command line on top.

``sam deploy --parameter-overrides`` replaces what samconfig.toml says instead of adding to it.

    python scripts/deploy_parameters.py dev TargetColumn=diagnosis IdColumn=id
"""

from __future__ import annotations

import shlex
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def merged(environment: str, given: Sequence[str], config: Path = ROOT / "samconfig.toml") -> list[str]:
    """``Name=value`` for every parameter; the given ones win.

    Raises:
        ValueError: there is no such environment, or an argument is no ``Name=value``.
    """
    environments = tomllib.loads(config.read_text(encoding="utf-8"))
    if environment not in environments:
        known = ", ".join(name for name in environments if name != "version")
        raise ValueError(f"samconfig.toml has no environment {environment!r}; it has {known}.")
    stated = environments[environment].get("deploy", {}).get("parameters", {}).get("parameter_overrides", "")
    values: dict[str, str] = {}
    for each in [*shlex.split(stated), *given]:
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise ValueError(f"{each!r} is no parameter; write Name=value.")
        values[name] = value
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
