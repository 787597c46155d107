"""The list of runs, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass

from dropforge.domain.records import Run
from dropforge.ledger_table.reader import Cursor, LedgerReader

PAGE_ROWS = 25


@dataclass(frozen=True)
class RunsPage:
    """Some runs, the newest first, from ``start``; ``older`` is where the next page begins."""

    runs: list[Run]
    start: Cursor | None
    older: Cursor | None


def read_runs(ledger: LedgerReader, start: Cursor | None = None) -> RunsPage:
    """One page of runs, with one request to DynamoDB."""
    runs, older = ledger.runs_page(PAGE_ROWS, start)
    return RunsPage(runs, start, older)
