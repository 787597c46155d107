"""The port to the ledger: every state change that must not be half-done is one method here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from dropforge.domain.batch_source import SourceFile
from dropforge.domain.drop_life import RecordedDrop
from dropforge.domain.records import (
    Approval,
    Lease,
    Live,
    LockName,
    ModelVersion,
    Run,
    RunStatus,
    StageChange,
)
from dropforge.domain.triggers import Drop

DropChange = Callable[[RecordedDrop, str | None], RecordedDrop]
"""A transition of a drop, given the id of the newest version of its object; the same drop for none."""


@dataclass(frozen=True)
class DropReceipt:
    """What recording a drop found: how it stood. ``is_mine``: the same execution had recorded it before."""

    recorded: RecordedDrop
    is_new: bool
    is_mine: bool


class Ledger(Protocol):
    """Runs, drops, locks, model versions and the live pointer. Every method is safe to call twice."""

    # --- drops ----------------------------------------------------------------------------------

    def record_drop(
        self,
        drop: Drop,
        *,
        received_by: str,
        now: datetime,
        due_at: str = "",
        waits_for: str | None = None,
    ) -> DropReceipt:
        """Note a drop, once; each other execution that it is delivered to is a duplicate.

        It waits, unless a newer version of its object is known; an older one that waits or is set aside is
        superseded by it, in the same step.

        Args:
            due_at: from when it starts a run by itself, at once by default.
            waits_for: the marker that completes its folder; no run takes it before `due_at`.
        """
        ...

    def waiting_drops(self) -> list[RecordedDrop]:
        """Drops that wait, the oldest first. Reads what was written before the call."""
        ...

    def newest_due(self, now: datetime) -> str | None:
        """The id of the newest drop that is to start a run by itself now; None where none is."""
        ...

    def get_drop(self, drop_id: str) -> RecordedDrop | None: ...

    def list_drops(self) -> Iterator[RecordedDrop]:
        """Every drop that there ever was, in no order."""
        ...

    def newest_versions(self, object_keys: Iterable[str]) -> dict[str, str]:
        """The drop id of the newest known version of each object, by key."""
        ...

    def change_drops(
        self, drop_ids: Iterable[str], change: DropChange, *, token: int | None = None
    ) -> list[RecordedDrop]:
        """Move drops on by a transition of `dropforge.domain.drop_life`; returns them as they stand now.

        Each moves in one step from where it stood when it was read, or is read again. Not all at once:
        whoever is interrupted repeats the call.

        Args:
            change: called with a drop and the id of the newest version of its object.
            token: the training lock's, which must still be held.

        Raises:
            LostLock: another execution has taken the training lock.
        """
        ...

    def folder_completed_at(self, marker_keys: Iterable[str]) -> str | None:
        """When the latest of these markers was written; None where none has come."""
        ...

    def complete_folder(self, marker_key: str, written_at: str) -> None:
        """Note that the marker has come which completes its folder."""
        ...

    def unsettled_runs(self) -> list[str]:
        """The ids of runs that may hold drops."""
        ...

    def mark_settled(self, run_id: str, **changes: Any) -> None:
        """Note that the run, which has ended, holds no drop any more, with what is known of it since."""
        ...

    def drop_format(self) -> int:
        """In which form all drops are kept; 1 is that of before drops had a state."""
        ...

    def note_newest(self, drops: Iterable[RecordedDrop]) -> None:
        """Note each as the newest version of its object, where none is noted."""
        ...

    def source_files(self, bucket: str) -> Iterator[SourceFile]:
        """Every file of `bucket` that was ever scored, or tried, as part of a batch source."""
        ...

    def put_source_file(self, file: SourceFile, *, known: SourceFile | None) -> bool:
        """Note how a file stands. False, and nothing is changed, unless it still stood as in `known`."""
        ...

    def mark_unsettled(self, run_ids: Iterable[str]) -> None:
        """Note that these runs may hold drops."""
        ...

    def set_drop_format(self, number: int) -> None:
        """Note in which form all drops are kept."""
        ...

    # --- locks ----------------------------------------------------------------------------------

    def acquire(
        self, name: LockName, *, holder: str, subject: str, now: datetime, lease_s: int
    ) -> Lease | None:
        """Take a lock that is free or whose lease ran out; the holder gets its own lease again.

        Returns:
            The lease with a token greater than every earlier one, or None while another holds it.
        """
        ...

    def release(self, name: LockName, *, token: int) -> bool:
        """Free the lock if this token still holds it. False if it had passed on: nothing is changed."""
        ...

    def held_lease(self, name: LockName) -> Lease | None:
        """The lease in force, expired or not; None while the lock is free."""
        ...

    # --- runs -----------------------------------------------------------------------------------

    def open_run(self, run: Run) -> Run:
        """Create the run, as one that may hold drops.

        Conditional on the run's token still holding the training lock. A run that is there already is
        returned as it is.

        Raises:
            LostLock: another execution has taken the training lock.
        """
        ...

    def get_run(self, run_id: str) -> Run | None: ...

    def list_runs(self, limit: int | None = 100) -> list[Run]:
        """The newest runs first."""
        ...

    def advance_run(self, run_id: str, status: RunStatus, **changes: Any) -> Run:
        """Set the run's status and fields unless it has ended; an ended run is returned unchanged."""
        ...

    # --- model versions -------------------------------------------------------------------------

    def register_model(self, model: ModelVersion, *, token: int, now: datetime) -> ModelVersion:
        """Add a version, waiting for a decision, and set its run to awaiting approval, in one step.

        Raises:
            LostLock: the run's token no longer holds the training lock, so a newer run is under way.
        """
        ...

    def get_model(self, version: int) -> ModelVersion | None: ...

    def list_models(self) -> list[ModelVersion]:
        """Every version, the newest first."""
        ...

    def history(self, version: int) -> list[StageChange]:
        """The version's stage changes and decisions, the oldest first."""
        ...

    def await_decision(self, version: int, *, task_token: str, execution: str, due_at: str) -> ModelVersion:
        """Note who waits for the decision, unless it was made; the version is returned either way."""
        ...

    def decide(
        self, version: int, approval: Approval, *, by: str | None, reason: str | None, now: datetime
    ) -> ModelVersion:
        """Record a decision. The same decision twice changes nothing; a different one replaces it.

        Only a version that waits can be superseded: what a person decided is never overridden by that.
        Returns the version as it stands after the call.
        """
        ...

    def expire_waiting(self, version: int, *, now: datetime) -> ModelVersion:
        """If no decision was made, end the wait and, as expired, the run, in one step.

        The version stays pending: a late decision finds a run that has ended, and still counts.
        """
        ...

    def retire_model(self, version: int, *, now: datetime) -> None:
        """Note that the version's endpoint configuration and model were deleted."""
        ...

    # --- the live pointer -----------------------------------------------------------------------

    def live(self) -> Live | None: ...

    def asleep_token(self) -> int | None:
        """The token of the promotion whose endpoint was put to sleep last; None if none ever was."""
        ...

    def fall_asleep(self, token: int, *, now: datetime) -> None:
        """Note that the endpoint of the promotion with this token is put to sleep."""
        ...

    def tracked_state(self) -> str | None:
        """What the tracker of experiments was told last; None if it never was told all of something."""
        ...

    def note_tracked(self, state: str) -> None:
        """Note that the tracker was told all of that state of runs and versions."""
        ...

    def promote(self, live: Live, *, by: str, now: datetime, settles_run: str | None) -> Live:
        """Flip the live pointer, the stages of both versions and the run record in one transaction.

        Conditional on the deployment lock's token, on the version being approved, and on the pointer
        being older than the token.

        Raises:
            LostLock: the token is not the deployment lock's any more, or a later one was promoted.
            NotApproved: the version was rejected or superseded meanwhile.
        """
        ...
