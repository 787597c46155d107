"""What the overview says: what is live, what waits for a decision, what ran last."""

from __future__ import annotations

from dataclasses import dataclass

from dropforge.domain.records import Approval, Live, ModelVersion, Run
from dropforge_ops.ledger_reader import LedgerReader

_RUNS_SHOWN = 5


@dataclass(frozen=True)
class Overview:
    """A look at one stack."""

    live: Live | None
    waiting: list[ModelVersion]
    runs: list[Run]


def read_overview(ledger: LedgerReader) -> Overview:
    """Collect it."""
    return Overview(
        live=ledger.live(),
        waiting=[each for each in ledger.models() if each.approval is Approval.PENDING],
        runs=ledger.runs(_RUNS_SHOWN),
    )
