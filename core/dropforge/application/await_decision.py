"""Waiting for a decision: who waits, when people are reminded, and what happens when none comes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from dropforge.domain.errors import ServiceUnavailable
from dropforge.domain.ledger import Ledger
from dropforge.domain.moments import from_iso, iso
from dropforge.domain.notifications import approval_overdue, approval_reminder
from dropforge.domain.records import Approval, ModelVersion
from dropforge.domain.services import Workflows

_REMINDER_SHARE = 20
"""The wait grows with the time that nobody decided, so that no setting fills an execution's history."""


@dataclass(frozen=True)
class Decision:
    """What the waiting run is told."""

    decision: Approval
    version: int
    by: str | None
    reason: str | None


def request_approval(
    *,
    version: int,
    task_token: str,
    execution_arn: str,
    timeout_s: int,
    ledger: Ledger,
    workflows: Workflows,
    now: datetime,
) -> str:
    """Let the run wait for the decision on its version; a decision made already is passed on at once.

    Returns:
        When the wait ends, ISO 8601. It is counted from the first request, not from each reminder.
    """
    known = existing_model(ledger, version)
    due_at = known.due_at or iso(now + timedelta(seconds=timeout_s))
    model = ledger.await_decision(version, task_token=task_token, execution=execution_arn, due_at=due_at)
    if model.approval is not Approval.PENDING:
        workflows.resolve(task_token, asdict(decision_on(model)))
    return due_at


def next_reminder_s(reminder_s: int, waited_s: int, remaining_s: int) -> int:
    """The seconds until the next reminder: as configured, but at least a 20th of the time waited so far.

    >>> next_reminder_s(86_400, 3 * 86_400, 4 * 86_400)
    86400
    >>> next_reminder_s(60, 86_400, 6 * 86_400)
    4320
    >>> next_reminder_s(60, 86_400, 30)
    30

    Args:
        reminder_s: as the parameter says.
        waited_s: since the version was registered.
        remaining_s: until the run gives up.
    """
    return min(max(reminder_s, waited_s // _REMINDER_SHARE), remaining_s)


def check_approval(
    *, version: int, reminder_s: int, model_name: str, ledger: Ledger, now: datetime
) -> dict[str, Any]:
    """Decide what follows a wait that ended without a decision: remind and wait on, or give up.

    A decision that came at the last moment wins. When the time is up the run expires, but the version
    stays pending: a later approval still deploys it.

    Returns:
        ``outcome`` (``decided``, ``waiting`` or ``overdue``), ``wait_s`` until the next reminder,
        ``notification``, which is what is to be told or None, and the fields of a ``Decision``.
    """
    model = existing_model(ledger, version)
    remaining_s = int((from_iso(model.due_at) - now).total_seconds()) if model.due_at else reminder_s
    waited_s = int((now - from_iso(model.registered_at)).total_seconds())
    if model.approval is Approval.PENDING and remaining_s > 0:
        return {
            "outcome": "waiting",
            "wait_s": next_reminder_s(reminder_s, waited_s, remaining_s),
            "notification": asdict(approval_reminder(model_name, model)),
            **asdict(decision_on(model)),
        }
    model = ledger.expire_waiting(version, now=now)
    decision = {"wait_s": 0, **asdict(decision_on(model))}
    if model.approval is not Approval.PENDING:
        return {"outcome": "decided", "notification": None, **decision}
    return {"outcome": "overdue", "notification": asdict(approval_overdue(model_name, model)), **decision}


def decision_on(model: ModelVersion) -> Decision:
    """What the run that waits for this version is told."""
    return Decision(model.approval, model.version, model.decided_by, model.decision_reason)


def existing_model(ledger: Ledger, version: int) -> ModelVersion:
    """The version as the ledger has it.

    Raises:
        ServiceUnavailable: it is not there yet.
    """
    model = ledger.get_model(version)
    if model is None:
        raise ServiceUnavailable(
            f"Version {version} is not in the ledger yet; its run may still be registering it. "
            "A package that was made by hand is not managed by dropforge."
        )
    return model
