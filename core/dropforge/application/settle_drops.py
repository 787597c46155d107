"""What becomes of a run's drops once it lets go of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dropforge.domain.drop_life import NEVER, DropState, RecordedDrop, let_go, newest_of_each_key
from dropforge.domain.errors import ObjectMissing
from dropforge.domain.instance_rules import listed
from dropforge.domain.ledger import Ledger
from dropforge.domain.ports import ObjectStore
from dropforge.domain.records import Run
from dropforge.domain.run_endings import ending_of
from dropforge.domain.run_manifest import REMARKS_NAME, Remarks, RunManifest

FORMAT = 2
_NAMED = 5


@dataclass(frozen=True)
class Settlement:
    """The drops of a run that were not trained on, as they stand after it."""

    waiting: Sequence[RecordedDrop] = ()
    set_aside: Sequence[RecordedDrop] = ()

    def in_words(self) -> str:
        """For a notification: what waits, and what is set aside and how it comes back. Empty for nothing."""
        parts = []
        if self.waiting:
            again = min(each.due_at for each in self.waiting)
            when = "with the next run" if again == NEVER else f"by itself after {again}"
            names = listed([each.drop.key for each in self.waiting], _NAMED)
            parts.append(f"{names} waits again and is tried {when}, or now with 'dropforge runs start'.")
        for each in self.set_aside[:_NAMED]:
            said = each.reason or {}
            parts.append(
                f"{each.drop.key} was set aside: {said.get('class')}: {said.get('message')} Drop a mended "
                "file; or, once it can be used as it is, bring it back: "
                f"dropforge drops retry '{each.drop.key}'"
            )
        if len(self.set_aside) > _NAMED:
            parts.append(
                f"{len(self.set_aside) - _NAMED} more were set aside; 'dropforge drops --state set-aside' "
                "lists them."
            )
        return "\n".join(parts)


def settle_run(run: Run, *, ledger: Ledger, store: ObjectStore, now: datetime) -> Settlement:
    """Move the drops that a run took to where they belong, if it holds them no longer. Safe to run twice.

    Trained on, waiting again, set aside by name, or superseded by a newer version that came meanwhile.
    """
    manifest = _manifest(run, store)
    remarks = read_remarks(run, store)
    ending = ending_of(run, remarks.set_aside)
    if ending is None:
        return Settlement()
    drop_ids = [*(run.drop_ids or manifest.taken), *remarks.set_aside]
    moved = ledger.change_drops(drop_ids, lambda each, newest: let_go(each, ending, newest, now))
    labelled = manifest.labelled or {}
    changes: dict[str, Any] = {"labelled": dict(labelled)} if run.labelled and "rows" in labelled else {}
    if remarks.notes:
        changes["notes"] = list(dict.fromkeys([*run.notes, *remarks.notes]))
    ledger.mark_settled(run.run_id, **changes)
    own = [each for each in moved if each.run_id == run.run_id]
    return Settlement(
        waiting=[each for each in own if each.state is DropState.WAITING],
        set_aside=[each for each in own if each.state is DropState.SET_ASIDE],
    )


def settle_runs(*, ledger: Ledger, store: ObjectStore, now: datetime) -> list[str]:
    """Settle every run that has let go of its drops and was not settled yet, whoever was cut off.

    Returns:
        The ids of these runs.
    """
    _adopt_earlier_drops(ledger)
    settled = []
    for run_id in ledger.unsettled_runs():
        run = ledger.get_run(run_id)
        if run is not None and ending_of(run, {}) is not None:
            settle_run(run, ledger=ledger, store=store, now=now)
            settled.append(run_id)
    return settled


def _adopt_earlier_drops(ledger: Ledger) -> None:
    """Look once through what a release has left that knew no state of a drop.

    There a run's drops were its own for good, also when it had failed. Their runs are noted as unsettled, so
    that they are settled as all others are.
    """
    if ledger.drop_format() >= FORMAT:
        return
    ledger.note_newest(newest_of_each_key(ledger.list_drops()).values())
    ledger.mark_unsettled(run.run_id for run in ledger.list_runs(None) if run.drop_ids)
    ledger.set_drop_format(FORMAT)


def read_manifest(run: Run, store: ObjectStore) -> RunManifest:
    """Read what the run trains on."""
    return RunManifest.from_json(store.read(run.manifest_uri))


def _manifest(run: Run, store: ObjectStore) -> RunManifest:
    try:
        return read_manifest(run, store)
    except ObjectMissing:
        return RunManifest(run.run_id, run.trigger, ())


def read_remarks(run: Run, store: ObjectStore) -> Remarks:
    """Read what the run's preparation found out; nothing where it came to no end."""
    try:
        return Remarks.from_json(store.read(f"{run.manifest_uri.rpartition('/')[0]}/{REMARKS_NAME}"))
    except ObjectMissing:
        return Remarks()
