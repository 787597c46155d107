"""Model cards in the registry: drafted when a version is registered, signed when it is decided on."""

from __future__ import annotations

import json
from typing import Any

from dropforge.application.run_documents import content_from
from dropforge.domain.errors import ServiceRejected
from dropforge.domain.ledger import Ledger
from dropforge.domain.model_card import (
    APPROVED,
    DRAFT,
    PENDING_REVIEW,
    Identity,
    RunDocuments,
    draft,
    to_text,
    with_decision,
    with_peoples,
)
from dropforge.domain.ports import ObjectStore
from dropforge.domain.records import Approval, ModelVersion
from dropforge.domain.services import Package, Registry


def draft_card(
    package: Package, identity: Identity, bucket: str, ledger: Ledger, store: ObjectStore, registry: Registry
) -> list[str]:
    """Give a package that was just registered its card; what people wrote on the live version's goes along.

    Safe to run twice: a card that is there stays, because people may have changed it. A version without a
    card can be decided on as well, so a card that SageMaker refuses holds nothing up.

    Returns:
        What reviewers are told of it; nothing where all went well.
    """
    if package.card is not None:
        return []
    content = draft(identity, RunDocuments.read(bucket, identity.run_id, content_from(store)))
    live = ledger.live()
    if live is not None:
        content = with_peoples(content, _card_of(live.model_package_arn, registry))
    try:
        registry.set_card(package.arn, to_text(content), PENDING_REVIEW)
    except ServiceRejected as error:
        return [f"SageMaker refused the model card: {error}"]
    return []


def sign_card(package: Package, decided: ModelVersion, registry: Registry) -> None:
    """Write on the card what was decided, by whom and why. Safe to run twice.

    A package of a release that wrote no cards keeps none, and one that can't be changed stays as it is: the
    decision itself is in the ledger.
    """
    content = _parsed(package.card)
    if not content:
        return
    signed = with_decision(
        content,
        decision=str(decided.approval),
        by=decided.decided_by,
        at=decided.decided_at,
        reason=decided.decision_reason,
    )
    if signed == content:
        return
    try:
        registry.set_card(
            package.arn, to_text(signed), APPROVED if decided.approval is Approval.APPROVED else DRAFT
        )
    except ServiceRejected:
        return


def _card_of(package_arn: str, registry: Registry) -> dict[str, Any]:
    try:
        return _parsed(registry.describe(package_arn).card)
    except ServiceRejected:
        # Somebody deleted the live version's package.
        return {}


def _parsed(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
