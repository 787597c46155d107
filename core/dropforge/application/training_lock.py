"""The end of a run's hold on the training lock: whoever waited gets exactly one run."""

from __future__ import annotations

from datetime import datetime

from dropforge.domain.ledger import Ledger
from dropforge.domain.records import LockName
from dropforge.domain.services import Workflows

_PREPARATION_AND_JUDGING_S = 3600
_QUEUE_S = 3600
# The state machine goes through the list of instance types twice; see ClassifyTrainingFailure.
_ROUNDS = 2


def training_lease_s(instance_types: int, max_runtime_s: int, *, spot: bool = False) -> int:
    """How long a run may hold the lock, with all its attempts, before it counts as abandoned.

    Args:
        spot: there is an attempt on Spot capacity before the others, which may take twice as long.
    """
    on_spot_s = 2 * max_runtime_s + _QUEUE_S if spot else 0
    return _PREPARATION_AND_JUDGING_S + on_spot_s + _ROUNDS * instance_types * (max_runtime_s + _QUEUE_S)


def release_training_lock(
    *, token: int, ledger: Ledger, workflows: Workflows, training_machine_arn: str, now: datetime
) -> str | None:
    """Free the training lock and start the run that covers the drops which came meanwhile.

    Returns:
        The follow-up's execution ARN, or None where no drop is due. Safe to run twice: the second call
        finds the lock passed on, and the follow-up's name is derived from the newest drop that is due.
    """
    ledger.release(LockName.TRAINING, token=token)
    return start_follow_up(
        ledger=ledger,
        workflows=workflows,
        training_machine_arn=training_machine_arn,
        after=f"t{token}",
        now=now,
    )


def start_follow_up(
    *, ledger: Ledger, workflows: Workflows, training_machine_arn: str, after: str, now: datetime
) -> str | None:
    """Start one run for all drops that wait, if one of them is due and nobody holds the lock.

    ``after`` makes the execution's name differ from that of an earlier follow-up which found the lock taken.
    """
    if ledger.held_lease(LockName.TRAINING) is not None:
        return None
    due = ledger.newest_due(now)
    if due is None:
        return None
    name = f"follow-up-{after}-{due[:12]}"
    return workflows.start(training_machine_arn, name=name, payload={"trigger": "follow-up"})
