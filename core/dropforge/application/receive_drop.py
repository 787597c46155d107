"""What happens to a written object first: it is recorded as a drop, completes a folder, or is no data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dropforge.domain.drop_life import RecordedDrop, completed
from dropforge.domain.drop_names import PATIENCE, completes_folder, markers_of_part, why_no_data
from dropforge.domain.ledger import DropReceipt, Ledger
from dropforge.domain.moments import iso
from dropforge.domain.triggers import Drop


@dataclass(frozen=True)
class Received:
    """What a written object turned out to be.

    Attributes:
        receipt: of the drop that it is; None where it is none, as a folder's marker is.
        why_no_data: says so where it is none.
    """

    receipt: DropReceipt | None = None
    why_no_data: str | None = None


def receive_drop(drop: Drop, *, received_by: str, ledger: Ledger, now: datetime) -> Received:
    """Record the object as what it is. Safe to run twice, for any delivery and in any order."""
    folder = completes_folder(drop.key)
    if folder is not None:
        written_at = drop.written_at or iso(now)
        # First noted, then looked for parts; a part is first recorded, then looks for its marker. So
        # whichever comes last sees the other.
        ledger.complete_folder(drop.key, written_at)
        parts = [
            each.drop_id
            for each in ledger.waiting_drops()
            if drop.key in markers_of_part(each.drop.key) and each.written_at <= written_at
        ]
        ledger.change_drops(parts, lambda each, _: completed(each, now))
        return Received()
    reason = why_no_data(drop.key)
    if reason is not None:
        return Received(why_no_data=reason)
    markers = markers_of_part(drop.key)
    if not markers:
        return Received(ledger.record_drop(drop, received_by=received_by, now=now))
    receipt = ledger.record_drop(
        drop,
        received_by=received_by,
        now=now,
        due_at=iso(now + PATIENCE),
        waits_for=markers[0],
    )
    completed_at = ledger.folder_completed_at(markers)
    if completed_at is not None and completed_at >= receipt.recorded.written_at:
        [stands] = ledger.change_drops([drop.drop_id], lambda each, _: completed(each, now))
        return Received(DropReceipt(stands, receipt.is_new, receipt.is_mine))
    return Received(receipt)


def what_is_held(drops: list[RecordedDrop]) -> str:
    """Say which folders the parts wait for."""
    folders = sorted({(each.waits_for or "").rpartition("/")[0] for each in drops})
    until = max(each.due_at for each in drops)
    return f"{len(drops)} part(s) of {', '.join(folders)} wait for their _SUCCESS, at most until {until}."
