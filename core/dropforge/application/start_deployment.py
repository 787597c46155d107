"""Deployments that no waiting run makes: of a late approval, and back from a rejected version."""

from __future__ import annotations

from dropforge.domain.records import ModelVersion
from dropforge.domain.services import Workflows

REJECTION = "rejection"
"""The reason of a rollback that follows the rejection of the live version, as distinct from one by hand."""

LATE_APPROVAL = "late-approval"
"""The reason of a deployment whose run has ended before the approval came."""


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
