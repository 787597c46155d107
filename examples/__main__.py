"""Writes an example's table and prints how to train on it; ``make example NAME=text``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
TABLES: Final = ROOT / ".dropforge" / "examples" / "tables"

PARAMETERS: Final[Mapping[str, Mapping[str, str]]] = {
    "text": {"TargetColumn": "kind", "PositiveClass": "spam"},
    "time_series": {"TargetColumn": "temperature", "SplitColumn": "time"},
    "recommendation": {"TargetColumn": "bought", "GroupColumn": "customer", "PositiveClass": "yes"},
    "images": {"TargetColumn": "digit"},
}
"""What the owner of each table tells the template about it."""


def write(name: str) -> Path:
    """Write the table of an example as CSV; returns the file."""
    TABLES.mkdir(parents=True, exist_ok=True)
    file = TABLES / f"{name}.csv"
    file.write_text(importlib.import_module(f"examples.{name}.data").table())
    return file


def main(arguments: list[str]) -> int:
    """Write it, and say what to do with it."""
    if len(arguments) != 1 or arguments[0] not in PARAMETERS:
        sys.stderr.write(f"Name one example: make example NAME=… of {', '.join(PARAMETERS)}.\n")
        return 2
    name = arguments[0]
    file = write(name).relative_to(ROOT)
    told = " ".join(f"--parameter {key}={value}" for key, value in PARAMETERS[name].items())
    sys.stdout.write(
        f"cp examples/{name}/model.py training/\ndropforge up {told}\ndropforge drop {file} --wait\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
