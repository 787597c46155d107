"""Decisions: what one that was made anywhere does."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from dropforge.application.await_decision import decision_on, existing_model
from dropforge.application.model_cards import sign_card
from dropforge.application.start_deployment import LATE_APPROVAL, REJECTION, start_deployment
from dropforge.domain.errors import InvalidEvent
from dropforge.domain.ledger import Ledger
from dropforge.domain.ports import ObjectStore
from dropforge.domain.records import Approval, ModelVersion, RunStatus
from dropforge.domain.services import Package, Registry, Workflows

_APPROVED = "Approved"
_REJECTED = "Rejected"


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
        model = existing_model(self.ledger, package.version)
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
        sign_card(package, existing_model(self.ledger, model.version), self.registry)
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
        if model.task_token and self.workflows.resolve(model.task_token, asdict(decision_on(model))):
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
