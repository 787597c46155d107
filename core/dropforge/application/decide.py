"""Decisions: who waits for one, what a decision made anywhere does, and what happens when none comes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from dropforge.application.deploy import REJECTION
from dropforge.application.model_cards import sign_card
from dropforge.domain.errors import InvalidEvent, ServiceUnavailable
from dropforge.domain.ledger import Ledger
from dropforge.domain.moments import from_iso, iso
from dropforge.domain.notifications import approval_overdue, approval_reminder
from dropforge.domain.ports import ObjectStore
from dropforge.domain.records import Approval, ModelVersion, RunStatus
from dropforge.domain.services import Package, Registry, Workflows

LATE_APPROVAL = "late-approval"
"""The reason of a deployment whose run has ended before the approval came."""

_REMINDER_SHARE = 20
"""The wait grows with the time that nobody decided, so that no setting fills an execution's history."""

_APPROVED = "Approved"
_REJECTED = "Rejected"


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
    known = _existing(ledger, version)
    due_at = known.due_at or iso(now + timedelta(seconds=timeout_s))
    model = ledger.await_decision(version, task_token=task_token, execution=execution_arn, due_at=due_at)
    if model.approval is not Approval.PENDING:
        workflows.resolve(task_token, asdict(_decision(model)))
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
    model = _existing(ledger, version)
    remaining_s = int((from_iso(model.due_at) - now).total_seconds()) if model.due_at else reminder_s
    waited_s = int((now - from_iso(model.registered_at)).total_seconds())
    if model.approval is Approval.PENDING and remaining_s > 0:
        return {
            "outcome": "waiting",
            "wait_s": next_reminder_s(reminder_s, waited_s, remaining_s),
            "notification": asdict(approval_reminder(model_name, model)),
            **asdict(_decision(model)),
        }
    model = ledger.expire_waiting(version, now=now)
    decision = {"wait_s": 0, **asdict(_decision(model))}
    if model.approval is not Approval.PENDING:
        return {"outcome": "decided", "notification": None, **decision}
    return {"outcome": "overdue", "notification": asdict(approval_overdue(model_name, model)), **decision}


@dataclass(frozen=True)
class DecisionDesk:
    """Acts on decisions, whoever made them and wherever."""

    ledger: Ledger
    registry: Registry
    store: ObjectStore
    workflows: Workflows
    deployment_machine_arn: str
    package_group: str

    def apply(self, event: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
        """Act on ``SageMaker Model Package State Change``.

        The registry's present status counts, not the event's: events may come twice, late or out of order.

        Effect: the decision is in the ledger and on the model card; the run that waits goes on; where nobody
        waits any more an approval starts a deployment, and rejecting the live version starts a rollback. Safe
        to run twice.

        Raises:
            InvalidEvent: the event is of another kind or another group.
            ServiceUnavailable: the version is not in the ledger yet; the event is delivered again.
        """
        detail = event.get("detail") or {}
        arn = detail.get("ModelPackageArn")
        if not isinstance(arn, str) or detail.get("ModelPackageGroupName") != self.package_group:
            raise InvalidEvent(
                f"Expected a 'SageMaker Model Package State Change' of group {self.package_group!r}, "
                f"but got detail fields {sorted(detail)}."
            )
        package = self.registry.describe(arn)
        model = _existing(self.ledger, package.version)
        if package.status == _APPROVED:
            problem = _what_was_not_shown(package, model, self.store)
            if problem is not None:
                self.registry.reject(package.arn, problem)
                return {"version": model.version, "action": "rejected", "why": problem}
            outcome = self._approve(package, model, now)
        elif package.status == _REJECTED:
            outcome = self._reject(package, model, now)
        else:
            return {"version": model.version, "action": "none", "why": f"the package is {package.status}"}
        # Last: what the decision is for comes first, and a retry does both again.
        sign_card(package, _existing(self.ledger, model.version), self.registry)
        return outcome

    def _approve(self, package: Package, model: ModelVersion, now: datetime) -> dict[str, Any]:
        decided = self.ledger.decide(
            model.version, Approval.APPROVED, by=_who(package), reason=package.description, now=now
        )
        if self._is_live(decided):
            return {"version": decided.version, "action": "none", "why": "it is live already"}
        if self._is_waited_for(decided):
            return {"version": decided.version, "action": "resolved", "why": "its run goes on"}
        if self._was_acted_on(decided):
            return {"version": decided.version, "action": "none", "why": "this decision was acted on before"}
        execution = self._start_deployment(decided, LATE_APPROVAL)
        return {"version": decided.version, "action": "deployment", "execution_arn": execution}

    def _reject(self, package: Package, model: ModelVersion, now: datetime) -> dict[str, Any]:
        decided = model
        if model.approval is not Approval.SUPERSEDED:
            decided = self.ledger.decide(
                model.version, Approval.REJECTED, by=_who(package), reason=package.description, now=now
            )
        if self._is_live(decided):
            execution = self._start_deployment(decided, REJECTION)
            return {"version": decided.version, "action": "rollback", "execution_arn": execution}
        if self._is_waited_for(decided):
            return {"version": decided.version, "action": "resolved", "why": "its run ends"}
        return {"version": decided.version, "action": "none", "why": "nobody waits for it"}

    def _is_live(self, model: ModelVersion) -> bool:
        live = self.ledger.live()
        return live is not None and live.version == model.version

    def _is_waited_for(self, model: ModelVersion) -> bool:
        """Whether a run takes the decision from here.

        A run between two waits has no valid token, but asks for the decision when it waits again; so a
        run whose execution goes on is one that waits.
        """
        if model.task_token and self.workflows.resolve(model.task_token, asdict(_decision(model))):
            return True
        run = self.ledger.get_run(model.run_id)
        if run is None or run.status.is_final:
            return False
        return self.workflows.state(run.execution_arn) != "ended"

    def _was_acted_on(self, model: ModelVersion) -> bool:
        """Whether this very approval has led to a deployment before: an event may come hours late, or twice.

        Acting on it again would put the version in the place of a newer one.
        """
        decided_at = model.decided_at or ""
        if model.promoted_at is not None and model.promoted_at >= decided_at:
            return True
        run = self.ledger.get_run(model.run_id)
        return (
            run is not None
            and run.status is RunStatus.FAILED
            and run.ended_at is not None
            and run.ended_at >= decided_at
        )

    def _start_deployment(self, model: ModelVersion, reason: str) -> str:
        return start_deployment(model, reason, self.workflows, self.deployment_machine_arn)


def start_deployment(
    model: ModelVersion, reason: str, workflows: Workflows, deployment_machine_arn: str
) -> str:
    """Deploy a decided version outside its run, or take it back (``REJECTION``).

    The execution is named after the decision, so that a second delivery of its event starts nothing.
    """
    moment = "".join(each for each in model.decided_at or "" if each.isdigit())
    return workflows.start(
        deployment_machine_arn,
        name=f"{reason}-v{model.version}-{moment}",
        payload={
            "reason": reason,
            "version": None if reason == REJECTION else model.version,
            "run_id": None,
            "requested_by": model.decided_by,
        },
    )


def _what_was_not_shown(package: Package, model: ModelVersion, store: ObjectStore) -> str | None:
    """Why this approval doesn't count: it was given on other metrics than the registered ones."""
    shown = package.metadata.get("decision_judgement_sha256")
    if shown is not None and shown != model.judgement_sha256:
        return "the approval names other metrics than those of this version; look at it again"
    digest = hashlib.sha256(store.read(model.judgement_uri)).hexdigest()
    if digest != model.judgement_sha256:
        return f"{model.judgement_uri} was changed after the version was registered"
    return None


def _who(package: Package) -> str | None:
    """The person, as the tool that decided names them, or else as SageMaker recorded the caller."""
    return package.metadata.get("decided_by") or package.modified_by


def _decision(model: ModelVersion) -> Decision:
    return Decision(model.approval, model.version, model.decided_by, model.decision_reason)


def _existing(ledger: Ledger, version: int) -> ModelVersion:
    model = ledger.get_model(version)
    if model is None:
        raise ServiceUnavailable(
            f"Version {version} is not in the ledger yet; its run may still be registering it. "
            "A package that was made by hand is not managed by dropforge."
        )
    return model
