"""Register: a model package that waits for approval, a version in the ledger, and the lock passed on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from dropforge.application.archive_copies import copy_uri, make_copy
from dropforge.application.model_cards import draft_card
from dropforge.application.serving_environment import serving_environment
from dropforge.application.settle_drops import Settlement, settle_run
from dropforge.application.told_data import told_data
from dropforge.application.training_lock import start_follow_up
from dropforge.domain.data_report import TITLE
from dropforge.domain.decision_words import decision_in_words
from dropforge.domain.errors import LostLock, ServiceRejected
from dropforge.domain.ledger import Ledger
from dropforge.domain.model_card import Identity
from dropforge.domain.moments import iso
from dropforge.domain.notifications import Notification, approval_needed
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.records import Approval, LockName, ModelVersion, Stage
from dropforge.domain.services import NewPackage, Package, Registry, Workflows
from dropforge.domain.verdicts import UNDECIDED, Verdict

_CLIENT_TOKEN_CHARACTERS = 36


@dataclass(frozen=True)
class ServingImage:
    """What SageMaker runs to serve the model: the container image, and the region that it runs in."""

    uri: str
    region: str


@dataclass(frozen=True)
class Registration:
    """One registered version, and what its reviewers are told.

    Executions that began under an earlier release word that from `drops` and `notes` themselves.
    """

    model: ModelVersion
    superseded: list[int]
    follow_up: str | None
    drops: str
    notes: Sequence[str]
    notification: Notification

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": self.model.version,
            "model_package_arn": self.model.model_package_arn,
            "superseded": self.superseded,
            "follow_up": self.follow_up,
            "drops": self.drops,
            "notes": list(self.notes),
            "notification": asdict(self.notification),
        }


def register_model(
    *,
    run_id: str,
    token: int,
    execution_arn: str,
    code_sha256: str,
    prepared: Mapping[str, Any],
    judgement: Mapping[str, Any],
    model_name: str,
    image: ServingImage,
    ledger: Ledger,
    store: ObjectStore,
    registry: Registry,
    workflows: Workflows,
    training_machine_arn: str,
    now: datetime,
) -> Registration:
    """Register a candidate that wasn't rejected, supersede those that still wait, and free the training lock.

    Effect: a copy of the archive lies where no job may write, and the package that names it is in the
    registry with its metrics, baselines, lineage and model card; the ledger has the version; older versions
    that wait for a decision are rejected with the reason; drops that came during the run have their
    follow-up. Safe to run twice.

    Raises:
        LostLock: a newer run took over; the package just made is rejected, so that nobody approves it.
        ObjectMissing, ArtifactMissing, ArtifactChanged: the archive is gone, or not the one that was judged.
    """
    trained = store.pinned(judgement["model_data_url"])
    archive = copy_uri(trained.bucket, run_id)
    make_copy(trained, archive, judgement["model_sha256"], store)
    data = told_data(prepared["prefix"], run_id, ledger, store)
    run = ledger.get_run(run_id)
    commit = None if run is None else run.source_commit
    package = registry.register(
        NewPackage(
            client_token=hashlib.sha256(run_id.encode()).hexdigest()[:_CLIENT_TOKEN_CHARACTERS],
            description=f"Trained by run {run_id}",
            image=image.uri,
            model_data_url=archive,
            environment=serving_environment(image.region, judgement["model_digest"]),
            evaluation_uri=judgement["evaluation_uri"],
            diagnostics_uri=judgement.get("diagnostics_uri"),
            profile_uri=prepared["profile_uri"],
            contract_uri=prepared["contract_uri"],
            metadata={
                "run_id": run_id,
                "model_digest": judgement["model_digest"],
                "model_sha256": judgement["model_sha256"],
                "judgement_sha256": judgement["judgement_sha256"],
                "gate_verdict": str(Verdict.of(judgement)),
                "contract_hash": prepared["contract_hash"],
                "data_version": prepared["data_version"],
                "code_sha256": code_sha256,
                **_decision_metadata(judgement.get("decision")),
                **({} if commit is None else {"source_commit": commit}),
                **({} if data is None else data.metadata()),
            },
            commit_id=code_sha256,
            generated_by=execution_arn,
        )
    )
    identity = Identity(model_name, run_id, archive, image.uri, commit)
    carded = draft_card(package, identity, trained.bucket, ledger, store, registry)
    try:
        model = ledger.register_model(
            _version(package, run_id, archive, trained, prepared, judgement, now), token=token, now=now
        )
    except LostLock:
        registry.reject(package.arn, f"run {run_id} was overtaken by a newer run before it registered")
        raise
    superseded, fewer = _supersede_waiting(model, ledger, registry, now)
    ledger.release(LockName.TRAINING, token=token)
    run = ledger.get_run(run_id)
    settlement = Settlement() if run is None else settle_run(run, ledger=ledger, store=store, now=now)
    follow_up = start_follow_up(
        ledger=ledger,
        workflows=workflows,
        training_machine_arn=training_machine_arn,
        after=f"t{token}",
        now=now,
    )
    doubts = _doubts_told(judgement)
    decision = judgement.get("decision")
    doubts += [] if decision is None else [*decision_in_words(decision), ""]
    notes = [*doubts, *judgement.get("slices_told", ())]
    notes += [*(run.notes if run is not None else ()), *prepared.get("remarks", ()), *fewer, *carded]
    if data is not None:
        notes += [*([""] if notes else []), f"{TITLE}:", *data.told()]
    drops = settlement.in_words()
    told = approval_needed(model_name, model, notes, drops)
    return Registration(model, superseded, follow_up, drops, notes, told)


def _doubts_told(judgement: Mapping[str, Any]) -> list[str]:
    """Return what reviewers are told first of a candidate of which the gate can't say whether it is good."""
    if Verdict.of(judgement) is not Verdict.UNDECIDED:
        return []
    return [
        UNDECIDED,
        *(f"- {reason['message']}" for reason in judgement["reasons"]),
        "Approve it only if you know better, and say why: --reason is kept with the decision.",
        "",
    ]


def _decision_metadata(decision: Mapping[str, Any] | None) -> dict[str, str]:
    """What the package says of the decision threshold, in numbers as they are."""
    if decision is None:
        return {}
    cost = decision["chosen"]["cost_per_1000"] or {}
    costs = {f"cost_per_1000_rows_{name}": cost.get(name) for name in ("value", "low", "high")}
    found = {"decision_threshold": decision["threshold"], **costs}
    return {name: repr(float(value)) for name, value in found.items() if value is not None}


def _version(
    package: Package,
    run_id: str,
    archive: str,
    trained: ObjectRef,
    prepared: Mapping[str, Any],
    judgement: Mapping[str, Any],
    now: datetime,
) -> ModelVersion:
    return ModelVersion(
        version=package.version,
        model_package_arn=package.arn,
        run_id=run_id,
        registered_at=iso(now),
        model_data_url=archive,
        model_sha256=judgement["model_sha256"],
        model_digest=judgement["model_digest"],
        contract_uri=prepared["contract_uri"],
        contract_hash=prepared["contract_hash"],
        profile_uri=prepared["profile_uri"],
        evaluation_uri=judgement["evaluation_uri"],
        judgement_uri=judgement["judgement_uri"],
        judgement_sha256=judgement["judgement_sha256"],
        smoke_uri=judgement["smoke_uri"],
        diagnostics_uri=judgement.get("diagnostics_uri"),
        task=prepared["task"],
        metric=dict(judgement["metric"]),
        stage=Stage.DEVELOPMENT,
        approval=Approval.PENDING,
        trained_archive=asdict(trained),
        rows=(prepared.get("rows") or {}).get("kept"),
        holdout_rows=((prepared.get("splits") or {}).get("test") or {}).get("rows"),
    )


def _supersede_waiting(
    by: ModelVersion, ledger: Ledger, registry: Registry, now: datetime
) -> tuple[list[int], list[str]]:
    """Reject what still waits: reviewers should see one candidate, the newest.

    The registry's event then ends the waiting run, the same way as any other decision does.

    Returns:
        Their versions; and what is to be said of those that were judged on more rows.
    """
    superseded, fewer = [], []
    for model in ledger.list_models():
        if model.version >= by.version:
            continue
        reason = f"superseded by version {by.version}"
        if (model.holdout_rows or 0) > (by.holdout_rows or 0) > 0:
            reason += f", which was judged on {by.holdout_rows:,} rows instead of {model.holdout_rows:,}"
        if model.approval is Approval.PENDING:
            model = ledger.decide(  # noqa: PLW2901 - the same version, a step later
                model.version, Approval.SUPERSEDED, by="dropforge", reason=reason, now=now
            )
        # A call that was cut off may have left the package as it was; a decision made meanwhile stands.
        if model.approval is Approval.SUPERSEDED and model.decision_reason == reason:
            # A package that somebody deleted needs no rejection, and must not stop the new one.
            with suppress(ServiceRejected):
                registry.reject(model.model_package_arn, reason)
            superseded.append(model.version)
            if "instead of" in reason:
                fewer.append(f"Version {model.version} is {reason}.")
    return superseded, fewer
