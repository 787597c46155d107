"""Runs the tables and prints what became of each; ``make realworld``.

    python -m tests.realworld [NAME …] [--write] [--leaks] [--thresholds]

Exit 1 where a table is neither used nor refused by a class of the product's own, where more than five are
refused, or where a model is worse than the baseline beyond noise. ``--write`` puts the table into
docs/realworld.md. ``--leaks`` prepares only, and prints which columns the leakage check tells of.
``--thresholds`` compares ways to choose a decision threshold, and to calibrate, on the tables of two classes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.realworld.baseline import Comparison, NotAligned, compare
from tests.realworld.pipeline import Broken, Refused, Result, leaks_of, run_table
from tests.realworld.tables import Table, all_tables

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / ".dropforge" / "realworld"
PAGE = ROOT / "docs" / "realworld.md"
MAXIMUM_REFUSED = 5
FAMILY_ERROR = 0.05
"""Chance that any table looks worse than the baseline where none is: shared among all (Bonferroni)."""
_SAID = {"accepted": "accepted", "rejected": "not accepted", "undecided": "can't say"}


@dataclass(frozen=True)
class Row:
    """What is printed of a table."""

    table: Table
    result: Result | None = None
    comparison: Comparison | None = None
    refused: Refused | None = None
    broken: str | None = None

    @property
    def is_bad(self) -> bool:
        """Whether the run fails for it."""
        return self.broken is not None or (self.comparison is not None and self.comparison.is_below)

    def cells(self) -> list[str]:
        """The columns of the printed table."""
        if self.refused is not None:
            return [self.table.name, "", "", "", "", "", "", f"refused: {self.refused.error}"]
        if self.result is None or self.comparison is None:
            return [self.table.name, "", "", "", "", "", "", f"BROKEN: {self.broken}"]
        prepared, contract, metric = self.result.prepared, self.result.contract, self.result.metric
        used = [each.name for each in contract.columns if each.role == "feature"]
        unused = [each.name for each in contract.columns if each.role == "ignored"]
        low, high = metric.get("low"), metric.get("high")
        interval = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
        gain = self.comparison
        verdict = "BELOW" if gain.is_below else _SAID[self.result.verdict["verdict"]]
        return [
            self.table.name,
            f"{prepared.read:,}",
            f"{prepared.kept:,}",
            f"{len(used)}",
            ", ".join(unused[:3]) + (f" and {len(unused) - 3} more" if len(unused) > 3 else ""),
            f"{metric['name']} {gain.product:.3f}{interval}",
            f"{gain.baseline:.3f}",
            verdict,
        ]


HEADER = ["table", "rows", "used", "features", "not used", "hold-out", "baseline", "verdict"]


def run(table: Table, level: float, places: Sequence[Path]) -> Row:
    """Run one table in a folder that is gone afterwards."""
    content = table.read(places)
    with tempfile.TemporaryDirectory(prefix="dropforge-realworld-") as folder:
        try:
            result = run_table(table, content, Path(folder))
            return Row(table, result, compare(content, table.file_name, result, level))
        except Refused as refused:
            return Row(table, refused=refused)
        except Broken as broken:
            return Row(table, broken=str(broken))
        except NotAligned as moved:
            return Row(table, broken=f"NotAligned: {moved}")


def rendered(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, and what the owners of refused tables are told."""
    lines = [HEADER, ["---"] * len(HEADER), *(row.cells() for row in rows)]
    text = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)
    refused = [row for row in rows if row.refused is not None]
    for row in refused:
        assert row.refused is not None
        text += f"\n\n`{row.table.name}` is refused: {row.refused}"
    return text


def summary(rows: Sequence[Row], seconds: float) -> str:
    """How many were used, refused, broken and below, in one line."""
    used = [row for row in rows if row.comparison is not None]
    gains = [row.comparison.product - row.comparison.baseline for row in used if row.comparison is not None]
    below = sum(row.is_bad and row.comparison is not None for row in rows)
    middle = statistics.median(gains) if gains else float("nan")
    return (
        f"{len(rows)} tables: {len(used)} used, {sum(row.refused is not None for row in rows)} refused, "
        f"{sum(row.broken is not None for row in rows)} broken, {below} below the baseline beyond noise; "
        f"median gain over the baseline {middle:+.4f}; {seconds:.0f} s."
    )


def flagged(found: Mapping[str, tuple[int, Sequence[Mapping[str, Any]]]]) -> str:
    """What the leakage check told of: how many features of how many, and each, in lines.

    Args:
        found: by table, how many features it has, and the leaks.
    """
    features = sum(count for count, _ in found.values())
    told = [(name, leak) for name, (_, leaks) in found.items() for leak in leaks]
    columns = len({(name, leak["column"]) for name, leak in told})
    lines = [f"The leakage check tells of {columns} of {features:,} features in {len(found)} tables."]
    lines += [f"- {name}: {leak['column']} ({leak['kind']}, {leak['figure']:.4f})" for name, leak in told]
    return "\n".join(lines)


def _print_leaks(tables: Sequence[Table], places: Sequence[Path]) -> None:
    found = {}
    for table in tables:
        with tempfile.TemporaryDirectory(prefix="dropforge-realworld-") as folder:
            try:
                found[table.name] = leaks_of(table, table.read(places), Path(folder))
            except Refused as refused:
                print(f"{table.name}: refused: {refused.error}", flush=True)
    print(flagged(found))


def main(arguments: Sequence[str]) -> int:
    """Run, print, and say by the exit code whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.realworld", description=__doc__)
    parser.add_argument("names", nargs="*", help="only tables whose name holds one of these")
    parser.add_argument("--write", action="store_true", help="put the table into docs/realworld.md")
    parser.add_argument("--leaks", action="store_true", help="prepare only, and print what is told of leaks")
    parser.add_argument(
        "--thresholds", action="store_true", help="compare decision thresholds and calibration"
    )
    parser.add_argument("--splits", type=int, default=2, help="of each table, for --thresholds")
    given = parser.parse_args(arguments)
    wanted = [each for each in all_tables() if not given.names or any(n in each.name for n in given.names)]
    level = 1 - FAMILY_ERROR / len(all_tables())
    places = sorted(PACKAGES.glob("lib/python*/site-packages"))
    if given.leaks:
        _print_leaks(wanted, places)
        return 0
    if given.thresholds:
        from tests.realworld.thresholds import report

        report(wanted, places, given.splits)
        return 0
    started = time.monotonic()
    rows: list[Row] = []
    for number, table in enumerate(wanted, 1):
        row = run(table, level, places)
        rows.append(row)
        print(f"{number:>3}/{len(wanted)}  " + "  ".join(cell for cell in row.cells() if cell), flush=True)
    closing = summary(rows, time.monotonic() - started)
    used = {row.table.name: row.result for row in rows if row.result is not None}
    leaks = flagged({name: (len(each.contract.features), each.leaks) for name, each in used.items()})
    print(f"\n{rendered(rows)}\n\n{closing}\n\n{leaks}")
    if given.write:
        _write(rendered(rows), f"{closing}\n\n{leaks}")
    too_many = sum(row.refused is not None for row in rows) > MAXIMUM_REFUSED
    bad = sum(row.is_bad for row in rows) + too_many
    print(f"{len(rows) - bad} passed, {bad} failed")
    return 1 if bad else 0


def _write(table: str, closing: str) -> None:
    begin, end = "<!-- make realworld -->", "<!-- end -->"
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    PAGE.write_text(f"{before}{begin}\n{table}\n\n{closing}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
