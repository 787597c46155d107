"""The list of runs, a page at a time, and what is found among the newest of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from dropforge.domain.records import Run
from dropforge.ledger_table.reader import Cursor, LedgerReader
from dropforge_ops.console.reading.finding import Wanted
from dropforge_ops.render import files, why
from dropforge_ops.stack.target import Target

PAGE_ROWS = 25
LOOKED_AT: Final = 1000
"""The newest runs, among which a find looks: about a megabyte of the ledger."""


class Order(Protocol):
    """What runs are sorted by."""

    def sort(self, rows: Sequence[Run]) -> list[Run]: ...


@dataclass(frozen=True)
class RunsPage:
    """Some runs, the newest first, from ``start``; ``older`` is where the next page begins.

    Of a find: how many runs were looked at, and how many ``matches`` there are; else ``looked_at`` is None.
    """

    runs: list[Run]
    start: Cursor | None
    older: Cursor | None
    looked_at: int | None = None
    matches: int = 0

    @property
    def is_cut(self) -> bool:
        """Whether there may be more than were looked at."""
        return self.looked_at is not None and self.looked_at >= LOOKED_AT


def read_runs(ledger: LedgerReader, start: Cursor | None = None) -> RunsPage:
    """One page of runs, with one request to DynamoDB."""
    runs, older = ledger.runs_page(PAGE_ROWS, start)
    return RunsPage(runs, start, older)


def newest_runs(_: Target, ledger: LedgerReader) -> list[Run]:
    """Those that a find looks at."""
    return ledger.list_runs(LOOKED_AT)


def find_runs(
    newest: Sequence[Run], wanted: Wanted, order: Order | None, start: Cursor | None = None
) -> RunsPage:
    """One page of those that are wanted; of these pages the cursor is the number of rows before them."""
    found = [each for each in newest if wanted.takes(each.status, *_texts(each))]
    if order is not None:
        found = order.sort(found)
    first = 0 if start is None else int(start["rows"])
    end = first + PAGE_ROWS
    older = {"rows": end} if end < len(found) else None
    return RunsPage(found[first:end], start, older, len(newest), len(found))


def _texts(run: Run) -> tuple[object, ...]:
    return run.run_id, run.trigger, files(run), run.requested_by, why(run)
