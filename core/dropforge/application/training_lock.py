"""The end of a run's hold on the training lock: whoever waited gets exactly one run."""

from __future__ import annotations

from dropforge.domain.ledger import Ledger, newest
from dropforge.domain.records import LockName
from dropforge.domain.services import Workflows


def release_training_lock(
    *, token: int, ledger: Ledger, workflows: Workflows, training_machine_arn: str
) -> str | None:
    """Free the training lock and start the run that covers the drops which came meanwhile.

    Returns:
        The follow-up's execution ARN, or None where no drop waits. Safe to run twice: the second call
        finds the lock passed on, and the follow-up's name is derived from the newest waiting drop.
    """
    ledger.release(LockName.TRAINING, token=token)
    return start_follow_up(
        ledger=ledger, workflows=workflows, training_machine_arn=training_machine_arn, after=f"t{token}"
    )


def start_follow_up(
    *, ledger: Ledger, workflows: Workflows, training_machine_arn: str, after: str
) -> str | None:
    """Start one run for all drops that no run covers, if there are any and nobody holds the lock.

    ``after`` makes the execution's name differ from that of an earlier follow-up which found the lock taken.
    """
    if ledger.held_lease(LockName.TRAINING) is not None:
        return None
    waiting = ledger.pending_drops()
    if not waiting:
        return None
    name = f"follow-up-{after}-{newest(waiting).drop.drop_id[:12]}"
    return workflows.start(training_machine_arn, name=name, payload={"trigger": "follow-up"})
