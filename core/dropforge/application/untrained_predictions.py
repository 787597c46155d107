"""Which labelled predictions no run has been trained on yet.

Apart from `labelled_predictions`, which preparation loads: the ledger's records cost its start a twentieth.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from dropforge.application.labelled_predictions import LabelledWindow
from dropforge.domain.contract import Contract
from dropforge.domain.ledger import Ledger
from dropforge.domain.moments import from_iso, iso
from dropforge.domain.ports import ObjectStore
from dropforge.domain.records import Run
from dropforge.domain.run_endings import ending_of


def window_since_last_training(
    ledger: Ledger, store: ObjectStore, *, retention: timedelta, now: datetime
) -> LabelledWindow | None:
    """Return the predictions whose outcome no run has been trained on yet.

    None where there is no model, or where the log lacks the value of a feature that is kept private: such a
    prediction is no training row.
    """
    live = ledger.live()
    if live is None:
        return None
    contract = Contract.from_json(store.read(live.contract_uri))
    if _unlogged(contract):
        return None
    first = min(from_iso(model.registered_at) for model in ledger.list_models())
    until = next(
        (
            from_iso(run.labelled["until"])
            for run in ledger.list_runs()
            if run.labelled is not None and run.replay_of is None and _was_trained(run)
        ),
        None,
    )
    return LabelledWindow(
        predicted_from=iso(max(first, now - retention)),
        since=iso(first if until is None else until),
        until=iso(now),
    )


def unlogged_features(ledger: Ledger, store: ObjectStore) -> list[str]:
    """Return the live model's features whose values the log lacks, so that outcomes train nothing."""
    live = ledger.live()
    return [] if live is None else _unlogged(Contract.from_json(store.read(live.contract_uri)))


def _unlogged(contract: Contract) -> list[str]:
    return [column.name for column in contract.features if column.privacy is not None]


def _was_trained(run: Run) -> bool:
    """Whether the run was trained on its data, or still may be."""
    ending = ending_of(run, {})
    return ending is None or ending.trained
