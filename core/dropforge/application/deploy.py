"""Deployment: plan, smoke test, promote, settle, retire; the state machine moves the endpoint in between."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dropforge.application.archive_copies import check_digest, copies, make_copy
from dropforge.application.serving_environment import serving_environment
from dropforge.application.start_deployment import REJECTION
from dropforge.domain.asynchronous import PREFIX
from dropforge.domain.caught_errors import readable_error
from dropforge.domain.errors import (
    ArtifactChanged,
    ArtifactMissing,
    DeploymentInProgress,
    NotApproved,
    NothingToRollBackTo,
    PermanentError,
    ServiceUnavailable,
    SmokeTestFailed,
)
from dropforge.domain.ledger import Ledger
from dropforge.domain.moments import iso
from dropforge.domain.notifications import deployment_failed, endpoint_gap, promoted, restore_failed
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.records import Approval, Live, LockName, ModelVersion, RunStatus, Stage
from dropforge.domain.services import EndpointMode, Endpoints, EndpointScaling, Registry

# Probabilities travel as JSON text of binary64 and are computed by the same library versions.
_TOLERANCE = 1e-6

Wait = Callable[[Callable[[], str | None]], str | None]


@dataclass(frozen=True)
class Plan:
    """One deployment: what goes live, under which names, and what to go back to."""

    version: int
    token: int
    already_live: bool
    model_package_arn: str
    run_id: str
    settles_run: str | None
    requested_by: str | None
    reason: str
    endpoint_name: str
    endpoint_config: str
    model_name: str
    model_data_url: str
    smoke_uri: str
    previous_config: str | None
    previous_version: int | None
    announcements: Mapping[str, Any] = field(default_factory=dict)
    """What is told on the way, by kind: ``gap``, ``restore_failed``, ``promoted``."""
    environment: dict[str, str] = field(default_factory=dict)
    """The container's, whole: a package that an earlier release registered lacks what it needs to start.

    Empty in a deployment that an earlier release planned; that one's state machine doesn't ask for it.
    """
    is_asynchronous: bool = False
    instances: int = 1
    """How many a real-time endpoint begins with: as many as it has."""


def plan_deployment(
    *,
    version: int | None,
    reason: str,
    run_id: str | None,
    requested_by: str | None,
    execution_arn: str,
    endpoint_name: str,
    model_name: str,
    region: str,
    mode: EndpointMode,
    ledger: Ledger,
    store: ObjectStore,
    endpoints: Endpoints,
    scaling: EndpointScaling,
    lease_s: int,
    now: datetime,
) -> Plan:
    """Take the endpoint's lock and decide what is to be deployed.

    ``version`` None asks for a rollback: the newest earlier version that was live, is still approved and
    whose archive is still there, unchanged. A rollback because of a rejection leaves an approved version
    alone: another deployment was quicker, and the rejected one is not live any more. Safe to run twice for
    one execution: the same lock, token and names.

    The endpoint isn't scaled until the next reconciliation after the deployment: SageMaker refuses to change
    the instance type of one that is, and nothing must take the instances away that are tested.

    Raises:
        DeploymentInProgress: another deployment holds the endpoint; try again later.
        NotApproved, ArtifactMissing, ArtifactChanged, NothingToRollBackTo: nothing may be deployed; the
            lock is free again.
    """
    lease = ledger.acquire(
        LockName.DEPLOYMENT,
        holder=execution_arn,
        subject=run_id or reason,
        now=now,
        lease_s=lease_s,
    )
    if lease is None:
        raise DeploymentInProgress("Another deployment is moving the endpoint; this one waits its turn.")
    live = ledger.live()
    try:
        model = _wanted(version, reason, ledger, store, live)
        _verify_artifact(model, store)
        already_live = live is not None and live.version == model.version and reason != "repair"
        instances = 1 if already_live else _hold_still(endpoint_name, endpoints, scaling)
    except PermanentError:
        ledger.release(LockName.DEPLOYMENT, token=lease.token)
        raise
    if run_id is not None:
        if already_live:
            ledger.advance_run(run_id, RunStatus.SUCCEEDED, ended_at=iso(now))
        else:
            ledger.advance_run(run_id, RunStatus.DEPLOYING)
    name = f"{endpoint_name}-v{model.version}-{lease.token}"
    previous_config, previous_version = (live.endpoint_config, live.version) if live else (None, None)
    announcements = {
        "gap": endpoint_gap(model_name, model.version, endpoint_name, mode),
        "restore_failed": restore_failed(model_name, model.version, endpoint_name, previous_config),
        "promoted": promoted(
            model_name,
            model.version,
            endpoint_name,
            reason=reason,
            requested_by=requested_by,
            previous_version=previous_version,
        ),
    }
    return Plan(
        version=model.version,
        token=lease.token,
        already_live=already_live,
        model_package_arn=model.model_package_arn,
        run_id=model.run_id,
        settles_run=run_id,
        requested_by=requested_by,
        reason=reason,
        endpoint_name=endpoint_name,
        endpoint_config=name,
        model_name=name,
        model_data_url=model.model_data_url,
        smoke_uri=model.smoke_uri,
        previous_config=previous_config,
        previous_version=previous_version,
        announcements={kind: asdict(each) for kind, each in announcements.items()},
        environment=serving_environment(region, model.model_digest),
        is_asynchronous=mode == "asynchronous",
        instances=instances,
    )


def _hold_still(endpoint_name: str, endpoints: Endpoints, scaling: EndpointScaling) -> int:
    """End the endpoint's scaling; how many instances it has, at least one."""
    state = endpoints.describe(endpoint_name)
    if state is None or state.mode in (None, "serverless"):
        return 1
    scaling.stop(endpoint_name)
    return max(state.instances, 1)


def _wanted(
    version: int | None, reason: str, ledger: Ledger, store: ObjectStore, live: Live | None
) -> ModelVersion:
    if version is not None:
        return _approved(ledger, version)
    serving = ledger.get_model(live.version) if live is not None else None
    if reason == REJECTION and serving is not None and serving.approval is Approval.APPROVED:
        return serving
    return _rollback_target(ledger, store, live)


def _approved(ledger: Ledger, version: int) -> ModelVersion:
    model = ledger.get_model(version)
    if model is None or model.approval is not Approval.APPROVED:
        state = "unknown" if model is None else str(model.approval)
        raise NotApproved(
            f"Version {version} is {state}. Only an approved version is deployed: approve it first."
        )
    return model


def _rollback_target(ledger: Ledger, store: ObjectStore, live: Live | None) -> ModelVersion:
    tried = []
    for model in sorted(ledger.list_models(), key=lambda each: each.promoted_at or "", reverse=True):
        was_live = model.promoted_at is not None and (live is None or model.version != live.version)
        if not was_live or model.approval is not Approval.APPROVED:
            continue
        try:
            _verify_artifact(model, store)
        except (ArtifactMissing, ArtifactChanged) as error:
            tried.append(str(error))
        else:
            return model
    raise NothingToRollBackTo(
        "No earlier version was live, is still approved and has its archive unchanged. "
        + " ".join(tried)
        + " The endpoint is left as it is; approve another version to replace it."
    )


def _verify_artifact(model: ModelVersion, store: ObjectStore) -> None:
    """Raise unless what the package names is there, as it was judged; a retired copy is made again."""
    if model.trained_archive is not None:
        make_copy(ObjectRef.from_dict(model.trained_archive), model.model_data_url, model.model_sha256, store)
    elif not store.exists(model.model_data_url):
        raise ArtifactMissing(
            f"{model.model_data_url}, the archive of version {model.version}, is gone. "
            "Restore the object's version in S3, or train again."
        )
    check_digest(model.model_data_url, model.model_sha256, store)


def smoke_test(plan: Plan, *, bucket: str, store: ObjectStore, endpoints: Endpoints, wait: Wait) -> int:
    """Send hold-out rows to the endpoint and compare with the answers that training recorded.

    Args:
        wait: looks again until there is something, for as long as the function has.

    Returns:
        The number of rows compared.

    Raises:
        SmokeTestFailed: an answer differs: another label, or a number off by more than 1e-6 (relative
            above 1, else absolute).
        ServiceUnavailable: an asynchronous endpoint hasn't answered yet.
    """
    endpoint_name, smoke_uri = plan.endpoint_name, plan.smoke_uri
    smoke = json.loads(store.read(smoke_uri))
    request = json.dumps({"instances": smoke["instances"]}).encode()
    if plan.is_asynchronous:
        body = _asked_later(plan, request, bucket, store, endpoints, wait)
    else:
        body = endpoints.invoke(endpoint_name, request)
    got, expected = _predictions(body), smoke["predictions"]
    if not isinstance(got, list) or len(got) != len(expected):
        raise SmokeTestFailed(
            f"{endpoint_name} answered {0 if not isinstance(got, list) else len(got)} predictions to "
            f"{len(expected)} rows."
        )
    for row, (said, should) in enumerate(zip(got, expected, strict=True), start=1):
        problem = _difference(said, should)
        if problem:
            raise SmokeTestFailed(
                f"{endpoint_name}, row {row} of {smoke_uri}: {problem}. The archive that serves is not the "
                "one that was judged, or its libraries differ."
            )
    return len(expected)


def _asked_later(
    plan: Plan, request: bytes, bucket: str, store: ObjectStore, endpoints: Endpoints, wait: Wait
) -> bytes:
    """What an asynchronous endpoint answers."""
    question = f"s3://{bucket}/{PREFIX}/in/{plan.endpoint_config}.json"
    store.write(question, request)
    output, failure = endpoints.invoke_later(plan.endpoint_name, question, identifier=plan.endpoint_config)
    found = wait(lambda: next((uri for uri in (output, failure) if uri and any(store.list(uri))), None))
    if found is None:
        raise ServiceUnavailable(f"{plan.endpoint_name} has not answered the smoke test yet.")
    content = store.read(found)
    if found == failure:
        raise SmokeTestFailed(f"The container of {plan.endpoint_name} failed: {content.decode()}")
    return content


def _predictions(body: bytes) -> Any:
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    return answer.get("predictions") if isinstance(answer, dict) else None


def _difference(said: Any, should: Mapping[str, Any]) -> str | None:
    if not isinstance(said, dict):
        return f"{said!r} is no prediction"
    if "label" in should:
        if said.get("label") != should["label"]:
            return f"label {said.get('label')!r} instead of {should['label']!r}"
        answered = said.get("probabilities") or {}
        for label, probability in should["probabilities"].items():
            if not _close(answered.get(label), probability):
                return f"probability of {label!r} {answered.get(label)!r} instead of {probability!r}"
        return None
    if not _close(said.get("value"), should["value"]):
        return f"value {said.get('value')!r} instead of {should['value']!r}"
    return None


def _close(said: Any, should: float) -> bool:
    return isinstance(said, (int, float)) and math.isclose(
        said, should, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE
    )


@dataclass(frozen=True)
class Promotion:
    """What is live now, and which packages the registry refused to mark (a package can be deleted there)."""

    live: Live
    not_marked: list[str]


def promote_model(plan: Plan, *, ledger: Ledger, registry: Registry, now: datetime) -> Promotion:
    """Make the deployed version the live one, in one transaction, and free the endpoint's lock.

    Effect: pointer, drift baseline, contract in force, stages and run record flip together; the registry's
    life-cycle stages follow. What the registry refuses for good is reported, not raised: the version is
    live, and undoing the deployment would make that untrue. Safe to run twice.

    Raises:
        LostLock, NotApproved: see ``Ledger.promote``; nothing has changed.
    """
    model = _approved(ledger, plan.version)
    serving = ledger.live()
    # A repair deploys the live version again: what it once replaced stays what to go back to.
    is_repair = serving is not None and serving.version == plan.version
    live = ledger.promote(
        Live(
            version=model.version,
            model_package_arn=model.model_package_arn,
            run_id=model.run_id,
            endpoint_name=plan.endpoint_name,
            endpoint_config=plan.endpoint_config,
            model_name=plan.model_name,
            model_data_url=model.model_data_url,
            model_sha256=model.model_sha256,
            contract_uri=model.contract_uri,
            contract_hash=model.contract_hash,
            profile_uri=model.profile_uri,
            smoke_uri=model.smoke_uri,
            task=model.task,
            metric=model.metric,
            promoted_at=iso(now),
            token=plan.token,
            previous_version=serving.previous_version if serving and is_repair else plan.previous_version,
            is_asynchronous=plan.is_asynchronous,
        ),
        by=plan.requested_by or "dropforge",
        now=now,
        settles_run=plan.settles_run,
    )
    marks = [(model.model_package_arn, Stage.PRODUCTION, "Live")]
    if plan.previous_version is not None and plan.previous_version != plan.version:
        previous = ledger.get_model(plan.previous_version)
        if previous is not None:
            status = "Rejected" if previous.approval is Approval.REJECTED else "Replaced"
            marks.append((previous.model_package_arn, Stage.ARCHIVED, status))
    not_marked = []
    for package_arn, stage, status in marks:
        try:
            registry.set_stage(package_arn, str(stage), status)
        except PermanentError as error:
            not_marked.append(str(error))
    ledger.release(LockName.DEPLOYMENT, token=plan.token)
    return Promotion(live, not_marked)


def settle_deployment(plan: Plan, *, ledger: Ledger, endpoints: Endpoints) -> None:
    """After a deployment that failed or was not needed: drop what it made, unless it serves, free the lock.

    Safe to run twice.
    """
    state = endpoints.describe(plan.endpoint_name)
    live = ledger.live()
    # An endpoint that is being deleted is still described for a while, but serves nothing any more.
    serving = state.config if state and state.status != "Deleting" else None
    if plan.endpoint_config not in (serving, live.endpoint_config if live else None):
        endpoints.delete_config(plan.endpoint_config)
        endpoints.delete_model(plan.model_name)
    ledger.release(LockName.DEPLOYMENT, token=plan.token)


def told_failure(event: Mapping[str, Any], plan: Plan | None, *, model_name: str) -> dict[str, Any]:
    """Word how a deployment failed.

    Args:
        event: ``execution_arn``; ``error``, which Step Functions caught, or None for a deployment that was
            not needed; ``restored``, false where what was live doesn't serve; ``replaced``, where its
            endpoint was deleted. Executions that began under an earlier release send none of these, and word
            it themselves.
        plan: None where planning failed.

    Returns:
        ``notification``, and ``error``: what the execution fails with, readable; None where nothing failed.
    """
    if event.get("error") is None:
        return {"notification": None, "error": None}
    error = readable_error(event["error"])
    told = deployment_failed(
        model_name,
        error,
        version=None if plan is None else plan.version,
        execution_arn=event["execution_arn"],
        is_restored=event["restored"],
        is_replaced=event["replaced"],
    )
    return {"notification": asdict(told), "error": {"Error": error["class"], "Cause": error["message"]}}


def retire_models(
    *,
    endpoint_name: str,
    bucket: str,
    execution_arn: str | None,
    grace: timedelta,
    ledger: Ledger,
    store: ObjectStore,
    endpoints: Endpoints,
    lease_s: int,
    now: datetime,
) -> list[str]:
    """Delete configurations and models of this endpoint that nothing uses and that are older than the grace.

    Never the live ones, the previous ones, or those the endpoint serves right now. With them go copies of
    archives that no version needs; the archives that training left stay, so a rollback to any approved
    version remains possible. The endpoint's lock is held meanwhile, so that no deployment finds half of what
    it needs. Safe to run twice.

    Without an execution, as a deployment asks that began before a release told it to name itself, nothing is
    deleted: the next deployment does it.

    Returns:
        The names and URIs deleted.
    """
    live, held = ledger.live(), ledger.held_lease(LockName.DEPLOYMENT)
    if live is None or execution_arn is None or (held is not None and held.holder != execution_arn):
        return []
    lease = ledger.acquire(
        LockName.DEPLOYMENT, holder=execution_arn, subject="retirement", now=now, lease_s=lease_s
    )
    if lease is None:
        return []
    try:
        kept = _kept(live, endpoint_name, ledger, endpoints)
        deleted = _retire_endpoint(f"{endpoint_name}-v", kept, now - grace, ledger, endpoints, now)
        # A run that trains was told where its champion lies.
        if ledger.held_lease(LockName.TRAINING) is None:
            deleted += _retire_copies(bucket, kept, now - grace, ledger, store)
    finally:
        ledger.release(LockName.DEPLOYMENT, token=lease.token)
    return deleted


@dataclass(frozen=True)
class _Kept:
    """What is in use: configurations and models by name, and the versions that they are of."""

    names: frozenset[str | None]
    versions: frozenset[int]


def _kept(live: Live, endpoint_name: str, ledger: Ledger, endpoints: Endpoints) -> _Kept:
    state = endpoints.describe(endpoint_name)
    names = {live.endpoint_config, live.model_name, state.config if state else None}
    previous = None if live.previous_version is None else ledger.get_model(live.previous_version)
    if previous is not None:
        names |= {previous.endpoint_config, previous.model_name}
    versions = {model.version for model in ledger.list_models() if model.endpoint_config in names}
    return _Kept(frozenset(names), frozenset(versions | {live.version}))


def _retire_endpoint(
    prefix: str, kept: _Kept, before: datetime, ledger: Ledger, endpoints: Endpoints, now: datetime
) -> list[str]:
    configs = [name for name in endpoints.configs_created_before(prefix, before) if name not in kept.names]
    models = [name for name in endpoints.models_created_before(prefix, before) if name not in kept.names]
    # The ledger first: what is deleted can't be listed again by a second try.
    for model in ledger.list_models():
        if model.endpoint_config in configs or model.model_name in models:
            ledger.retire_model(model.version, now=now)
    for name in configs:
        endpoints.delete_config(name)
    for name in models:
        endpoints.delete_model(name)
    return configs + models


def _retire_copies(
    bucket: str, kept: _Kept, before: datetime, ledger: Ledger, store: ObjectStore
) -> list[str]:
    """Delete copies of versions that were retired or turned down, and of runs that registered nothing."""
    by_run = {model.run_id: model for model in ledger.list_models()}
    deleted = []
    for run_id, uri in copies(bucket, store):
        model = by_run.get(run_id)
        if model is None:
            run = ledger.get_run(run_id)
            is_over = run is not None and run.status.is_final
        elif model.version in kept.versions or model.approval is Approval.PENDING:
            is_over = False
        elif model.approval is Approval.APPROVED:
            is_over = model.retired_at is not None
        else:
            is_over = (model.decided_at or "") < iso(before)
        if is_over:
            store.delete_prefix(uri)
            deleted.append(uri)
    return deleted
