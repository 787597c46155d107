"""What the ledger holds: runs, drops, locks, model versions and the live pointer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Self


class RunStatus(StrEnum):
    """Where a run stands. A verdict (rejected, superseded, expired) is an end, not a failure."""

    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    DEPLOYING = "deploying"
    SUCCEEDED = "succeeded"
    REJECTED_BY_GATE = "rejected_by_gate"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    STOPPED = "stopped"
    REPLAYED = "replayed"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether the run's execution has nothing left to do."""
        return self not in (RunStatus.RUNNING, RunStatus.AWAITING_APPROVAL, RunStatus.DEPLOYING)


class Approval(StrEnum):
    """Where a model version stands with its reviewers."""

    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"


class Stage(StrEnum):
    """SageMaker's ``ModelLifeCycle`` stages, in the order a version passes through them."""

    DEVELOPMENT = "Development"
    STAGING = "Staging"
    PRODUCTION = "Production"
    ARCHIVED = "Archived"


class LockName(StrEnum):
    """What one execution at a time may do."""

    TRAINING = "training"
    DEPLOYMENT = "deployment"


@dataclass(frozen=True)
class _Record:
    """A frozen record that reads itself from, and writes itself to, plain JSON values."""

    def to_dict(self) -> dict[str, Any]:
        return {item.name: _plain(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        names = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, StrEnum) else value


@dataclass(frozen=True)
class Run(_Record):
    """One run of the training state machine, from its start to its end.

    Times are ISO 8601 in UTC. ``token`` is the training lock's fencing token; ``error`` is
    ``{"class", "message"}``; ``reasons`` says why a gate or a person said no; ``labelled`` says which
    predictions with an outcome it trains on besides its drops (``{"predicted_from", "since", "until"}``, and
    ``rows`` once they are counted). ``notes`` says what whoever decides on its model should know.
    ``alarm`` says which alarm a run answers (``{"kind", "at", "version", "report_uri", "reason"}``); runs of
    before the watch started them itself have none.
    ``hyperparameters`` are those that the stack's parameter or whoever started it has set, as SageMaker
    carries them; a run of before they could be set has none. ``source_commit`` is the commit of the deployed
    code, with ``-dirty`` where files differed from it; None where nobody said.

    The manifest names the objects and drops; ``drop_ids`` is what runs have that were started before it did.
    """

    run_id: str
    status: RunStatus
    trigger: str
    execution_arn: str
    token: int
    started_at: str
    manifest_uri: str
    drop_ids: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    requested_by: str | None = None
    replay_of: str | None = None
    labelled: dict[str, Any] | None = None
    drop_count: int = 0
    drop_bytes: int = 0
    object_count: int = 0
    newest_at: str | None = None
    notes: list[str] = field(default_factory=list)
    hyperparameters: dict[str, str] = field(default_factory=dict)
    alarm: dict[str, Any] | None = None
    source_commit: str | None = None
    ended_at: str | None = None
    version: int | None = None
    model_package_arn: str | None = None
    metric: dict[str, Any] | None = None
    reasons: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", RunStatus(self.status))

    @property
    def drops(self) -> int:
        """How many drops the run took."""
        return self.drop_count or len(self.drop_ids)

    @property
    def objects(self) -> int:
        """How many objects the run trains on, as far as its record tells."""
        return max(self.object_count, self.drops, len(self.keys))


@dataclass(frozen=True)
class Lease(_Record):
    """A lock that is held. Its token grows with every acquisition, so a late holder can be told apart."""

    name: LockName
    holder: str
    subject: str
    token: int
    acquired_at: str
    expires_at: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", LockName(self.name))


@dataclass(frozen=True)
class ModelVersion(_Record):
    """One registered model: what it is, who decided on it, and where it is in its life.

    ``judgement_sha256`` is the digest of the metrics that reviewers are shown; a decision is bound to it.
    ``task_token`` and ``waiting_execution`` are there while a run waits for the decision.
    ``model_data_url`` is the archive that the package names: a copy of ``trained_archive``, the object (and
    its version) that training left. That is None where the package names the job's own, as it did once.
    ``rows`` were prepared for it, ``holdout_rows`` of which it was judged on.
    """

    version: int
    model_package_arn: str
    run_id: str
    registered_at: str
    model_data_url: str
    model_sha256: str
    model_digest: str
    contract_uri: str
    contract_hash: str
    profile_uri: str
    evaluation_uri: str
    judgement_uri: str
    judgement_sha256: str
    smoke_uri: str
    task: str
    metric: dict[str, Any]
    stage: Stage = Stage.DEVELOPMENT
    approval: Approval = Approval.PENDING
    due_at: str | None = None
    decided_at: str | None = None
    decided_by: str | None = None
    decision_reason: str | None = None
    task_token: str | None = None
    waiting_execution: str | None = None
    diagnostics_uri: str | None = None
    endpoint_config: str | None = None
    model_name: str | None = None
    promoted_at: str | None = None
    retired_at: str | None = None
    trained_archive: dict[str, Any] | None = None
    rows: int | None = None
    holdout_rows: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stage", Stage(self.stage))
        object.__setattr__(self, "approval", Approval(self.approval))


@dataclass(frozen=True)
class StageChange(_Record):
    """One entry of a version's history."""

    version: int
    at: str
    stage: Stage
    approval: Approval
    by: str | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stage", Stage(self.stage))
        object.__setattr__(self, "approval", Approval(self.approval))


@dataclass(frozen=True)
class Live(_Record):
    """What serves now. All of it flips in one transaction, so a reader never sees a mix of two versions.

    ``token`` is the deployment lock's fencing token of the deployment that promoted it. ``is_asynchronous``
    tells how its endpoint is asked; a pointer of before there were asynchronous endpoints says nothing of it.
    """

    version: int
    model_package_arn: str
    run_id: str
    endpoint_name: str
    endpoint_config: str
    model_name: str
    model_data_url: str
    model_sha256: str
    contract_uri: str
    contract_hash: str
    profile_uri: str
    smoke_uri: str
    task: str
    metric: dict[str, Any]
    promoted_at: str
    token: int
    previous_version: int | None = None
    is_asynchronous: bool = False

    def was_rejected(self, model: ModelVersion | None) -> bool:
        """Whether ``model`` is the version that serves, and was rejected."""
        return model is not None and (model.version, model.approval) == (self.version, Approval.REJECTED)
