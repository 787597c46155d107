"""The port to the ledger: every state change that must not be half-done is one method here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from dropforge.domain.records import (
    Approval,
    DropReceipt,
    Lease,
    Live,
    LockName,
    ModelVersion,
    RecordedDrop,
    Run,
    RunStatus,
    StageChange,
)
from dropforge.domain.triggers import Drop


class Ledger(Protocol):
    """Runs, drops, locks, model versions and the live pointer. Every method is safe to call twice."""

    # --- drops ----------------------------------------------------------------------------------

    def record_drop(self, drop: Drop, *, received_by: str, now: datetime) -> DropReceipt:
        """Note a drop as pending, once; each other execution that it is delivered to is a duplicate."""
        ...

    def pending_drops(self) -> list[RecordedDrop]:
        """Drops that no run covers yet, oldest first. Reads what was written before the call."""
        ...

    def get_drop(self, drop_id: str) -> RecordedDrop | None: ...

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
        """Create the run and claim its drops, so that no other run covers them.

        Conditional on the run's token still holding the training lock. A run that is there already is
        returned as it is, after the same execution's claims have been completed.

        Raises:
            LostLock: another execution has taken the training lock.
        """
        ...

    def get_run(self, run_id: str) -> Run | None: ...

    def list_runs(self, limit: int = 100) -> list[Run]:
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

    def promote(self, live: Live, *, by: str, now: datetime, settles_run: str | None) -> Live:
        """Flip the live pointer, the stages of both versions and the run record in one transaction.

        Conditional on the deployment lock's token, on the version being approved, and on the pointer
        being older than the token.

        Raises:
            LostLock: the token is not the deployment lock's any more, or a later one was promoted.
            NotApproved: the version was rejected or superseded meanwhile.
        """
        ...


def newest(drops: Sequence[RecordedDrop]) -> RecordedDrop:
    """The drop that was received last."""
    return max(drops, key=lambda recorded: (recorded.received_at, recorded.drop.drop_id))
