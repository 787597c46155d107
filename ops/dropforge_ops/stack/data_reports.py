"""Reads what became of a run's data, beside that of the live version, and prints it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from dropforge.domain.data_report import TITLE, ColumnReport, DataReport, ObjectReport
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.render import facts, say, table

_OBJECTS_SHOWN = 50


def read_data_report(
    run_id: str, bucket: str, ledger: LedgerReader, content: Callable[[str], Mapping[str, Any] | None]
) -> DataReport | None:
    """What became of the data of a run; None where it was not looked at (yet).

    Args:
        content: returns the JSON object that lies at a URI, None where there is none.
    """
    return DataReport.read_beside_live(f"s3://{bucket}/runs/", run_id, ledger, content)


def show_data_report(report: DataReport | None, out: Console) -> None:
    """Print it for people; nothing where there is none."""
    if report is None:
        return
    out.print(f"\n[bold]{TITLE}[/bold]")
    say(out, report.rows_in_words)
    facts(out, [("splits", ", ".join(f"{name} {rows:,}" for name, rows in report.splits.items()))])
    if len(report.objects) > 1 or any(each.remark for each in report.objects):
        rows = [_object_row(each) for each in report.objects[:_OBJECTS_SHOWN]]
        more = len(report.objects) - len(rows)
        out.print(table(["file", "read", "rejected", "no target", "duplicates", ""], rows))
        if more > 0:
            say(out, f"… and {more} more; --json lists them all.")
    if report.columns:
        say(out, report.columns_in_words)
        rows = [_column_row(each) for each in report.columns]
        out.print(table(["column", "use", "read as", "missing", "note"], rows))
    for remark in report.remarks:
        say(out, remark)
    if report.compared_with is not None:
        say(out, f"{report.difference_title}:")
        for each in report.differences or ("nothing",):
            say(out, f"- {each}")


def _object_row(each: ObjectReport) -> list[str]:
    counts = [each.read, each.rejected, each.unlabelled, each.duplicates]
    return [each.name, *("" if count is None else f"{count:,}" for count in counts), each.remark]


def _column_row(each: ColumnReport) -> list[str]:
    return [each.name, each.use, each.read_as, each.missing_in_words, each.remark]
