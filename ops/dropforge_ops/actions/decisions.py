"""Decisions on model versions: what a reviewer is shown, and how a decision is made known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dropforge.domain.records import Approval, Live, ModelVersion
from dropforge.domain.verdicts import UNDECIDED, Verdict
from dropforge.ledger_table.reader import LedgerReader
from dropforge_ops.errors import NotFound, OperationFailed, UsageError
from dropforge_ops.stack.documents import Document, Documents

# https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_UpdateModelPackage.html
_REASON_CHARACTERS = 1024
_REGISTRY_STATUS = {Approval.APPROVED: "Approved", Approval.REJECTED: "Rejected"}


class Outdated(OperationFailed):
    """What a decision was to be made by has changed since it was shown. Nothing was decided."""


class ReasonNeeded(OperationFailed):
    """The gate can't say whether the version is good enough, and the approval doesn't say why it is."""


@dataclass(frozen=True)
class Candidate:
    """A version, and exactly what a reviewer of it is shown.

    ``registry_status`` is the package's approval status in the registry, which is ahead of the ledger for as
    long as a decision is on its way; None where nobody asked for it.
    """

    model: ModelVersion
    judgement: Document
    live: Live | None
    registry_status: str | None = None

    @property
    def is_live(self) -> bool:
        return self.live is not None and self.live.version == self.model.version

    @property
    def verdict(self) -> Verdict:
        """What the gate said of it."""
        return Verdict.of(self.judgement.content)

    def to_dict(self) -> dict[str, Any]:
        content = self.judgement.content
        return {
            "version": self.model.version,
            "model_package_arn": self.model.model_package_arn,
            "run_id": self.model.run_id,
            "approval": str(self.model.approval),
            "stage": str(self.model.stage),
            "metric": content.get("metric"),
            "metrics": content.get("metrics"),
            "champion": content.get("champion"),
            "difference": content.get("difference"),
            "reasons": content.get("reasons"),
            "verdict": str(self.verdict),
            "rows": content.get("rows"),
            "judgement_uri": self.judgement.uri,
            "judgement_sha256": self.judgement.sha256,
        }


def parse_version(text: str, ledger: LedgerReader) -> ModelVersion:
    """The version that a number, ``latest`` or a model package's ARN names.

    Raises:
        UsageError: the text is none of these.
        NotFound: there is no such version.
    """
    if text == "latest":
        models = ledger.list_models()
        if not models:
            raise NotFound(
                "There is no model version yet. Drop a file ('dropforge drop FILE'); a run that passes the "
                "gate registers one."
            )
        return models[0]
    number = re.fullmatch(r"v?(\d{1,8})", text)
    arn = re.fullmatch(
        r"arn:[^:]+:sagemaker:[^:]*:\d*:model-package/(?P<group>[^/]+)/(?P<version>\d{1,8})", text
    )
    if number is None and arn is None:
        raise UsageError(f"{text!r} is no version: give a number, 'latest', or a model package's ARN.")
    version = int(number.group(1) if number else arn["version"])  # type: ignore[index]
    model = ledger.get_model(version)
    if model is None or (arn is not None and model.model_package_arn != text):
        known = ", ".join(str(each.version) for each in ledger.list_models()[:10])
        raise NotFound(
            f"There is no version {text} of this model. "
            + (f"The newest are {known}." if known else "There is none at all yet.")
        )
    return model


def candidate(
    model: ModelVersion, ledger: LedgerReader, documents: Documents, sagemaker: Any = None
) -> Candidate:
    """Read what is to be shown; with a SageMaker client, what a decision is made by (see `check_current`).

    Raises:
        OperationFailed: the judgement is gone or isn't the one that was registered.
    """
    judgement = documents.find(model.judgement_uri)
    if judgement is None:
        raise OperationFailed(
            f"{model.judgement_uri}, the metrics of version {model.version}, is gone, so there is nothing to "
            "decide by. Restore the object's version in S3, or train again."
        )
    status = None
    if sagemaker is not None:
        package = sagemaker.describe_model_package(ModelPackageName=model.model_package_arn)
        status = str(package.get("ModelApprovalStatus"))
    return Candidate(model, judgement, ledger.live(), status)


def check_current(shown: Candidate, ledger: LedgerReader, documents: Documents, sagemaker: Any) -> None:
    """Look again, right before a decision, at what it is made by.

    Raises:
        Outdated: the version's status, its metrics or what is live is another than was shown.
    """
    version = shown.model.version
    model = ledger.get_model(version)
    if model is None:
        raise Outdated(f"Version {version} is gone. Nothing was decided.")
    now = candidate(model, ledger, documents, sagemaker)
    before, after = shown.model, now.model
    changes = []
    if (before.approval, before.decided_at) != (after.approval, after.decided_at):
        by = f" by {after.decided_by}" if after.decided_by else ""
        changes.append(f"it is {after.approval} now{by}")
    elif shown.registry_status not in (None, now.registry_status):
        changes.append(f"the registry has it as {now.registry_status} now")
    if shown.judgement.sha256 != now.judgement.sha256:
        changes.append("its metrics are others now")
    live = [None if each is None else each.version for each in (shown.live, now.live)]
    if live[0] != live[1]:
        changes.append(f"what is live is {'nothing' if live[1] is None else f'version {live[1]}'} now")
    if changes:
        raise Outdated(
            f"Version {version} changed while you were looking: {'; '.join(changes)}. Nothing was decided; "
            "look again."
        )


def check_approvable(shown: Candidate, reason: str | None) -> str | None:
    """Whether an approval would do something.

    Args:
        shown: the version.
        reason: as the reviewer gave it. What the gate can't say is overridden by somebody who says why.

    Returns:
        Why nothing is to be done, or None.

    Raises:
        OperationFailed: the version can't be approved; the message says why and what to do.
    """
    model = shown.model
    if model.approval is Approval.APPROVED:
        return f"Version {model.version} is already approved{' and live' if shown.is_live else ''}."
    if model.approval is Approval.SUPERSEDED:
        raise OperationFailed(
            f"Version {model.version} was superseded ({model.decision_reason or 'by a newer version'}). "
            "Approve the newest version: 'dropforge approve latest'."
        )
    if shown.judgement.sha256 != model.judgement_sha256:
        raise OperationFailed(
            f"{shown.judgement.uri} was changed after version {model.version} was registered, so an approval "
            "wouldn't count. Restore the object's version in S3, or train again."
        )
    if shown.verdict is Verdict.UNDECIDED and not (reason or "").strip():
        raise ReasonNeeded(
            f"{UNDECIDED} {' '.join(told(shown))} Approve it only if you know better, and say why: "
            f"'dropforge approve {model.version} --reason TEXT'."
        )
    return None


def told(shown: Candidate) -> list[str]:
    """The gate's reasons, as sentences."""
    return [str(each.get("message", each)) for each in shown.judgement.content.get("reasons") or []]


def check_rejectable(shown: Candidate) -> str | None:
    """Whether a rejection would do something: why not, or None."""
    model = shown.model
    if model.approval is Approval.REJECTED:
        return f"Version {model.version} is already rejected."
    if model.approval is Approval.SUPERSEDED:
        return f"Version {model.version} is no longer a candidate: {model.decision_reason or 'superseded'}."
    return None


def consequence_of_rejecting_live(version: int, back_to: int | None) -> str:
    """What a rejection of the live version does, given the version that would be rolled back to.

    >>> consequence_of_rejecting_live(2, 1)
    'Version 2 is LIVE: rejecting it rolls back to version 1.'
    """
    if back_to is not None:
        return f"Version {version} is LIVE: rejecting it rolls back to version {back_to}."
    return (
        f"Version {version} is LIVE, and nothing can be rolled back to: no earlier version is approved. "
        "Rejected, it goes on serving until another version is live."
    )


def clean_reason(text: str | None, default: str) -> str:
    """The reason as SageMaker keeps it: one line.

    Raises:
        UsageError: it is too long.
    """
    reason = " ".join((text or default).split()) or default
    if len(reason) > _REASON_CHARACTERS:
        raise UsageError(f"--reason has {len(reason)} characters; SageMaker keeps {_REASON_CHARACTERS}.")
    return reason


def decide(sagemaker: Any, shown: Candidate, approval: Approval, *, by: str, reason: str) -> None:
    """Tell the registry. What follows (the run goes on, a deployment, a rollback) follows from its event.

    The decision carries the digest of the metrics that were shown, so that it counts for nothing else.
    """
    sagemaker.update_model_package(
        ModelPackageArn=shown.model.model_package_arn,
        ModelApprovalStatus=_REGISTRY_STATUS[approval],
        ApprovalDescription=reason,
        CustomerMetadataProperties={
            "decided_by": by,
            "decision_judgement_sha256": shown.judgement.sha256,
        },
    )
