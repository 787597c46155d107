"""Rollbacks: which version one goes back to, and how it is started."""

from __future__ import annotations

import json
import secrets

from dropforge.domain.records import Approval, Live, ModelVersion
from dropforge_ops.errors import NotFound, OperationFailed
from dropforge_ops.stack.target import Target


def check(model: ModelVersion, live: Live | None) -> str | None:
    """Why nothing is to be done to make this version live, or None.

    Raises:
        OperationFailed: the version may not be deployed.
    """
    if live is not None and live.version == model.version:
        return f"Version {model.version} is live already."
    if model.approval is not Approval.APPROVED:
        raise OperationFailed(
            f"Version {model.version} is {model.approval}. Only an approved version is deployed: "
            f"'dropforge approve {model.version}' approves and deploys it."
        )
    return None


def earlier(live: Live | None, models: list[ModelVersion]) -> list[ModelVersion]:
    """Versions that were live before and, still approved, can be again; the last one first."""
    version = None if live is None else live.version
    found = [
        each
        for each in models
        if each.promoted_at and each.version != version and each.approval is Approval.APPROVED
    ]
    return sorted(found, key=lambda each: each.promoted_at or "", reverse=True)


def expected(live: Live | None, models: list[ModelVersion]) -> ModelVersion:
    """The version that a rollback without a version goes to, unless its archive turns out to be broken.

    Raises:
        NotFound: there is none to go back to.
    """
    if live is None:
        raise NotFound(
            "No model is live, so there is nothing to roll back. 'dropforge models' lists versions."
        )
    before = earlier(live, models)
    if not before:
        raise NotFound(
            f"No version but {live.version} was ever live and is still approved. Name one to deploy, or "
            "approve another: 'dropforge models' lists them."
        )
    return before[0]


def start(target: Target, wanted: ModelVersion | None, reason: str) -> str:
    """Start the deployment of an earlier version, by default of the one before. Returns the execution."""
    which = "" if wanted is None else f"v{wanted.version}-"
    payload = {
        "reason": "rollback",
        "version": None if wanted is None else wanted.version,
        "run_id": None,
        "requested_by": target.caller,
        "comment": reason,
    }
    answer = target.client("stepfunctions").start_execution(
        stateMachineArn=target.outputs["DeploymentStateMachine"],
        name=f"rollback-{which}{secrets.token_hex(6)}",
        input=json.dumps(payload),
    )
    return str(answer["executionArn"])
