"""What became of a run's data, beside that of the live version: read for whoever is told."""

from __future__ import annotations

from dropforge.application.run_documents import content_from
from dropforge.domain.data_report import DataReport
from dropforge.domain.ledger import Ledger
from dropforge.domain.ports import ObjectStore


def told_data(prefix: str, run_id: str, ledger: Ledger, store: ObjectStore) -> DataReport | None:
    """Return the report; None where the run has none that can be read. It is told, and holds nothing up.

    Args:
        prefix: the run's, with its final slash.
    """
    return DataReport.read_beside_live(prefix.removesuffix(f"{run_id}/"), run_id, ledger, content_from(store))
