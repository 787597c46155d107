"""The end of a run that does not end with a promotion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

from dropforge.application.settle_drops import Settlement, settle_run
from dropforge.application.start_deployment import LATE_APPROVAL, start_deployment
from dropforge.application.told_data import told_data
from dropforge.application.training_lock import start_follow_up
from dropforge.domain.caught_errors import readable_error
from dropforge.domain.data_report import TITLE
from dropforge.domain.ledger import Ledger
from dropforge.domain.moments import iso
from dropforge.domain.notifications import run_ended, run_failed
from dropforge.domain.ports import ObjectStore
from dropforge.domain.records import Approval, LockName, Run, RunStatus
from dropforge.domain.services import Workflows


@dataclass(frozen=True)
class Ending:
    """How an execution of the training machine ends.

    Attributes:
        run_id, token: None where it broke before it had a run.
        error: what Step Functions caught (``Error``, ``Cause``), or None for a verdict.
        details: what the run's record says of a verdict: ``metric``, ``reasons``.
        decision: a reviewer's (``version``, ``by``, ``reason``).
    """

    execution_arn: str
    run_id: str | None
    token: int | None
    status: RunStatus
    error: Mapping[str, Any] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    decision: Mapping[str, Any] | None = None

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Self:
        """Read what the state machine sends.

        Executions live for weeks: those that began under a release whose machine had a state for each ending
        send the details themselves, and word their notifications from what they are answered.
        """
        status, decision = RunStatus(event["status"]), event.get("approval")
        details = event.get("details")
        if details is None:
            details = _details(status, event["judgement"] or {}, decision or {})
        return cls(
            execution_arn=event.get("execution_arn", ""),
            run_id=event["run_id"],
            token=event["token"],
            status=status,
            error=event["error"],
            details=details,
            decision=decision,
        )


def _details(
    status: RunStatus, judgement: Mapping[str, Any], decision: Mapping[str, Any]
) -> Mapping[str, Any]:
    if status is RunStatus.REPLAYED:
        return {"metric": judgement["metric"]}
    if status is RunStatus.REJECTED_BY_GATE:
        return {"metric": judgement["metric"], "reasons": judgement["reasons"]}
    said = {
        RunStatus.REJECTED: ("Rejected", decision.get("reason") or "no reason given"),
        RunStatus.SUPERSEDED: ("Superseded", decision.get("reason") or "a newer candidate was registered"),
        RunStatus.STOPPED: ("Stopped", "the training job was stopped"),
    }
    if status not in said:
        return {}
    code, message = said[status]
    return {"reasons": [{"code": code, "message": message}]}


def close_run(
    ending: Ending,
    *,
    model_name: str,
    ledger: Ledger,
    store: ObjectStore,
    workflows: Workflows,
    training_machine_arn: str,
    deployment_machine_arn: str,
    now: datetime,
) -> dict[str, Any]:
    """Record how the run ended, free the training lock, let go of its drops, and start what is due.

    A version that was approved after its run had heard of a rejection is deployed from here: while the run
    was ending, whoever applied the approval left it to the run.

    Safe to run twice. An execution that has no run is only told of.

    Returns:
        ``notification``: what is to be told, or None. ``error``: what the execution fails with (``Error``,
        ``Cause``), readable, or None for a verdict. ``status``, ``error_class``, ``message``, ``drops`` and
        ``data`` are for executions that began under an earlier release.
    """
    readable = readable_error(ending.error or {}) if ending.status is RunStatus.FAILED else None
    run, settlement, data = None, Settlement(), ""
    if ending.run_id is not None and ending.token is not None:
        run = ledger.advance_run(
            ending.run_id, ending.status, ended_at=iso(now), error=readable, **ending.details
        )
        # The lock first: whoever still claims drops for this run can't do so after they were let go.
        ledger.release(LockName.TRAINING, token=ending.token)
        settlement = settle_run(run, ledger=ledger, store=store, now=now)
        start_follow_up(
            ledger=ledger,
            workflows=workflows,
            training_machine_arn=training_machine_arn,
            after=f"t{ending.token}",
            now=now,
        )
        _deploy_late_approval(run, ledger, workflows, deployment_machine_arn)
        data = _data_of_rejected(run, ledger, store)
    shown = (run.error if run is not None else None) or readable or {}
    drops = settlement.in_words()
    notification, error = None, None
    if ending.status is RunStatus.FAILED:
        notification = run_failed(
            model_name, shown, run_id=ending.run_id, execution_arn=ending.execution_arn, drops=drops
        )
        error = {"Error": shown["class"], "Cause": shown["message"]}
    elif run is not None:
        notification = run_ended(
            model_name, ending.status, run, decision=ending.decision, drops=drops, data=data
        )
    return {
        "run_id": ending.run_id,
        "notification": None if notification is None else asdict(notification),
        "error": error,
        "status": str(ending.status if run is None else run.status),
        "error_class": shown.get("class", ""),
        "message": shown.get("message", ""),
        "drops": drops,
        "data": data,
    }


def _deploy_late_approval(
    run: Run, ledger: Ledger, workflows: Workflows, deployment_machine_arn: str
) -> None:
    if run.status in (RunStatus.REJECTED, RunStatus.SUPERSEDED) and run.version is not None:
        model = ledger.get_model(run.version)
        if model is not None and model.approval is Approval.APPROVED:
            start_deployment(model, LATE_APPROVAL, workflows, deployment_machine_arn)


def _data_of_rejected(run: Run, ledger: Ledger, store: ObjectStore) -> str:
    """What became of the data of a candidate that the gate rejected; empty for other ends."""
    if run.status is not RunStatus.REJECTED_BY_GATE:
        return ""
    data = told_data(f"{run.manifest_uri.rpartition('/')[0]}/", run.run_id, ledger, store)
    return "" if data is None else "\n".join([f"{TITLE}:", *data.told()])
