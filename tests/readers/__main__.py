"""Reads tables of every dialect by all readers and counts where dropforge differs; ``make readers``.

    python -m tests.readers [--examples N] [--write]

Exit 1 at the first value that differs and that no intended difference covers. ``--write`` puts the table of
intended differences into docs/how-to/data.md instead.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from tests.readers.dialects import DIALECTS, Written
from tests.readers.differences import PAGE, Unexplained, compared, written_page


def main(arguments: Sequence[str]) -> int:
    """Run, print, and say by the exit code whether all differences are meant."""
    parser = argparse.ArgumentParser(prog="python -m tests.readers", description=__doc__)
    parser.add_argument("--examples", type=int, default=2000, help="tables per dialect")
    parser.add_argument("--write", action="store_true", help="write the table in docs/how-to/data.md")
    given_arguments = parser.parse_args(arguments)
    if given_arguments.write:
        PAGE.write_text(written_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    return max(_compare(dialect, given_arguments.examples) for dialect in DIALECTS)


def _compare(dialect: str, examples: int) -> int:
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:

        @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
        @given(table=DIALECTS[dialect]())
        def read_alike(table: Written) -> None:
            for difference in compared(table, Path(folder)):
                found["as two others or more" if difference is None else difference.written] += 1

        try:
            read_alike()
        except Unexplained as error:
            print(f"{dialect}: {error}")
            return 1
    print(f"{dialect}: {found.total():,} values of {examples:,} tables")
    for what, count in found.most_common():
        print(f"  {count:>9,}  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
