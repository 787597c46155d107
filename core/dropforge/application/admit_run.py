"""Admit: exactly once per drop, one training run at a time, later drops coalesce into one more run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from dropforge.application.answer_alarm import AlarmPolicy, fall_back, why_not
from dropforge.application.cost_cap import CostCap
from dropforge.application.labelled_predictions import LabelledWindow
from dropforge.application.training_lock import release_training_lock
from dropforge.application.untrained_predictions import window_since_last_training
from dropforge.domain.errors import InvalidEvent, PermanentError
from dropforge.domain.ledger import Ledger, newest
from dropforge.domain.metric_registry import METRIC_DEFINITIONS
from dropforge.domain.moments import iso
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.predictions import PredictionLog
from dropforge.domain.records import Lease, Live, LockName, RecordedDrop, Run, RunStatus
from dropforge.domain.services import Workflows
from dropforge.domain.training_code import TrainingCode
from dropforge.domain.triggers import Trigger, parse_trigger, run_id_of_execution

_KEYS_SHOWN = 5
TOO_EXPENSIVE = "too-expensive"
_RETRAININGS = ("alarm", "schedule", "manual")
_NOTHING_NEW = (
    "Neither a drop nor the outcome of a prediction came since the last run: there is nothing to train on."
)


@dataclass(frozen=True)
class AdmitPolicy:
    """What the stack's parameters say about starting runs.

    Attributes:
        lease_s: how long a run may train before its lock counts as abandoned.
        training_data: ``new-drops``, or ``all-drops``: also what was trained on before.
        labelled_predictions: whether a retraining (by alarm, by schedule, by hand) also takes the predictions
            whose outcome was reported since the last one.
        prediction_retention: how long predictions are kept.
        alarms: how alarms about the live model are answered.
        cost: what a run may cost.
    """

    data_bucket: str
    lease_s: int
    training_data: str = "new-drops"
    labelled_predictions: bool = True
    prediction_retention: timedelta = timedelta(days=90)
    alarms: AlarmPolicy = field(default_factory=AlarmPolicy)
    cost: CostCap = field(default_factory=CostCap)


@dataclass(frozen=True)
class Admission:
    """``outcome`` is ``admitted``, ``duplicate``, ``coalesced``, ``nothing-new``, ``not-answered`` or
    ``too-expensive``.

    ``not-answered`` is an alarm that no run answers; ``message`` says why. A run that is too expensive is
    open, holds its drops and the lock, and is to be closed with ``error``.
    """

    outcome: str
    message: str
    run: Run | None = None
    code: TrainingCode | None = None
    champion: Live | None = None
    error: PermanentError | None = None

    def to_dict(self) -> dict[str, Any]:
        """What the next states read; everything about a run only where one was admitted."""
        base: dict[str, Any] = {"outcome": self.outcome, "message": self.message}
        if self.run is None or self.code is None:
            return base
        champion = self.champion
        if self.error is not None:
            cause = {"errorType": type(self.error).__name__, "errorMessage": str(self.error)}
            base["error"] = {"Error": type(self.error).__name__, "Cause": json.dumps(cause)}
        return {
            **base,
            "run_id": self.run.run_id,
            "token": self.run.token,
            "trigger": self.run.trigger,
            "replay_of": self.run.replay_of,
            "manifest_uri": self.run.manifest_uri,
            "started_at": self.run.started_at,
            "code_uri": self.code.uri(self.run.manifest_uri),
            "code_sha256": self.code.sha256,
            "metric_definitions": list(METRIC_DEFINITIONS),
            "champion": None
            if champion is None
            else {
                "version": champion.version,
                "model_package_arn": champion.model_package_arn,
                "model_data_url": champion.model_data_url,
                "model_sha256": champion.model_sha256,
            },
        }


@dataclass(frozen=True)
class AdmissionDesk:
    """Decides which executions train, and on what."""

    ledger: Ledger
    store: ObjectStore
    code: TrainingCode
    log: PredictionLog
    workflows: Workflows
    training_machine_arn: str
    deployment_machine_arn: str
    policy: AdmitPolicy

    def admit(self, event: Mapping[str, Any], *, execution_arn: str, now: datetime) -> Admission:
        """Decide whether this execution trains, and if so on what.

        Effect: the drop is in the ledger; an admitted run holds the training lock, has its manifest and its
        training code in S3 and has claimed every drop it covers. Where an alarm is to be answered by a
        fallback, the deployment of the version before has started, whether or not there is anything to train
        on. Safe to run twice for one execution.

        Raises:
            InvalidEvent: the input is no trigger, or a replay names an unknown run.
            LostLock: the execution was so slow that another one took over its lock.
        """
        trigger = parse_trigger(event)
        if trigger.replay_of is not None:
            # Before the lock is taken: a replay of nothing must not keep others from training.
            self._manifest_of(trigger.replay_of)
        if trigger.drop is not None and trigger.drop.key.endswith("/"):
            return Admission("nothing-new", f"{trigger.drop.key} is a folder's marker, which holds no data.")
        if trigger.drop is not None:
            receipt = self.ledger.record_drop(trigger.drop, received_by=execution_arn, now=now)
            if not receipt.is_mine:
                covered = f"run {receipt.run_id} covers it" if receipt.run_id else "a run will cover it"
                return Admission(
                    "duplicate", f"s3://{trigger.drop.bucket}/{trigger.drop.key} is known; {covered}."
                )
        if trigger.alarm is not None:
            known = self.ledger.get_run(trigger.alarm.run_id)
            if known is not None and known.execution_arn != execution_arn:
                return Admission("duplicate", f"Run {known.run_id} answers this alarm.")
            # A run that was opened by an earlier try of this execution goes on, whatever changed meanwhile.
            reason = why_not(trigger.alarm, self.ledger, self.policy.alarms) if known is None else None
            if reason is not None:
                return Admission("not-answered", reason)
        admission = self._train(trigger, execution_arn, now)
        if trigger.alarm is not None:
            # After the run is open: a fallback changes what is live, and a second try must not take that for
            # the alarm having been answered by somebody else.
            version = fall_back(
                trigger.alarm,
                ledger=self.ledger,
                workflows=self.workflows,
                deployment_machine_arn=self.deployment_machine_arn,
                policy=self.policy.alarms,
            )
            if version is not None:
                message = f"{admission.message} Version {version} is deployed meanwhile."
                return replace(admission, message=message)
        return admission

    def _train(self, trigger: Trigger, execution_arn: str, now: datetime) -> Admission:
        """Take the training lock and open the run, or say why there is none."""
        waiting = self.ledger.pending_drops()
        lease = self.ledger.acquire(
            LockName.TRAINING,
            holder=execution_arn,
            subject=_run_id(trigger, waiting, execution_arn),
            now=now,
            lease_s=self.policy.lease_s,
        )
        if lease is None:
            return Admission("coalesced", _another_trains(trigger))

        def step_back(outcome: str, message: str) -> Admission:
            # Drops whose executions met the lock in this short while wait for whoever held it: for us.
            release_training_lock(
                token=lease.token,
                ledger=self.ledger,
                workflows=self.workflows,
                training_machine_arn=self.training_machine_arn,
            )
            return Admission(outcome, message)

        run = self.ledger.get_run(lease.subject)
        if run is None:
            labelled = self._labelled(trigger, now)
            drops, objects = self._objects(trigger, has_labelled=labelled is not None)
            if not objects and labelled is None:
                return step_back("nothing-new", _NOTHING_NEW)
            run = _run(trigger, lease, drops, objects, labelled, bucket=self.policy.data_bucket, now=now)
            self.store.write(run.manifest_uri, _manifest(run, objects), content_type="application/json")
        # Also where the run is there already: a call that was cut off may have left drops unclaimed.
        run = self.ledger.open_run(run)
        if run.execution_arn != execution_arn or run.token != lease.token:
            return step_back("coalesced", f"Run {run.run_id} has covered this meanwhile.")
        refusal = self.policy.cost.refusal(self._manifest_of(run.run_id))
        if refusal is not None:
            return Admission(TOO_EXPENSIVE, str(refusal), run, self.code, error=refusal)
        self.code.publish(self.store, run.manifest_uri)
        return Admission("admitted", _admitted(run), run, self.code, self.ledger.live())

    def _labelled(self, trigger: Trigger, now: datetime) -> LabelledWindow | None:
        """The labelled predictions that a retraining takes; None where there are none."""
        if not self.policy.labelled_predictions or trigger.kind not in _RETRAININGS:
            return None
        retention = self.policy.prediction_retention
        window = window_since_last_training(self.ledger, self.store, retention=retention, now=now)
        return window if window is not None and window.has_new(self.log) else None

    def _objects(self, trigger: Trigger, *, has_labelled: bool) -> tuple[list[RecordedDrop], list[ObjectRef]]:
        """The drops that this run claims and the objects that it trains on, the newest first."""
        if trigger.kind == "replay":
            return [], self._manifest_of(trigger.replay_of or "")
        # Read again under the lock: a drop recorded after the first look is covered as well.
        drops = sorted(self.ledger.pending_drops(), key=lambda each: each.received_at, reverse=True)
        objects = [
            ObjectRef(each.drop.bucket, each.drop.key, each.drop.version_id, each.drop.etag, each.drop.size)
            for each in drops
        ]
        has_new = bool(objects) or has_labelled
        wants_earlier = self.policy.training_data == "all-drops" and (has_new or trigger.kind == "manual")
        if wants_earlier or (trigger.kind == "manual" and not has_new):
            last = self._last_trained()
            if last is not None:
                seen = {each.identity for each in objects}
                objects += [each for each in self._manifest_of(last) if each.identity not in seen]
        return drops, objects

    def _last_trained(self) -> str | None:
        """The newest run whose data were good enough to train on."""
        for run in self.ledger.list_runs():
            if run.replay_of is None and run.status not in (RunStatus.RUNNING, RunStatus.FAILED):
                return run.run_id
        return None

    def _manifest_of(self, run_id: str) -> list[ObjectRef]:
        run = self.ledger.get_run(run_id)
        if run is None:
            raise InvalidEvent(f"There is no run {run_id!r}. 'dropforge runs' lists those there are.")
        return [
            ObjectRef.from_dict(each) for each in json.loads(self.store.read(run.manifest_uri))["objects"]
        ]


def _another_trains(trigger: Trigger) -> str:
    if trigger.kind in ("manual", "replay", "alarm"):
        return "Another run is training, so this one was not started. Start it again when that has ended."
    return "Another run is training; one more run will follow and cover what it leaves."


def _run_id(trigger: Trigger, waiting: Sequence[RecordedDrop], execution_arn: str) -> str:
    """Named after the drop or the alarm's transition; a follow-up after the newest drop that waits."""
    if trigger.drop is not None:
        return trigger.drop.run_id
    if trigger.alarm is not None:
        return trigger.alarm.run_id
    if trigger.kind == "follow-up" and waiting:
        return newest(waiting).drop.run_id
    return run_id_of_execution(trigger.kind, execution_arn.rsplit(":", 1)[-1])


def _run(
    trigger: Trigger,
    lease: Lease,
    drops: Sequence[RecordedDrop],
    objects: Sequence[ObjectRef],
    labelled: LabelledWindow | None,
    *,
    bucket: str,
    now: datetime,
) -> Run:
    return Run(
        run_id=lease.subject,
        status=RunStatus.RUNNING,
        trigger=trigger.kind,
        execution_arn=lease.holder,
        token=lease.token,
        started_at=iso(now),
        manifest_uri=f"s3://{bucket}/runs/{lease.subject}/manifest.json",
        drop_ids=[each.drop.drop_id for each in drops],
        keys=[each.key for each in objects[:_KEYS_SHOWN]],
        requested_by=trigger.requested_by,
        replay_of=trigger.replay_of,
        labelled=None if labelled is None else labelled.to_dict(),
    )


def _manifest(run: Run, objects: Sequence[ObjectRef]) -> bytes:
    document = {
        "format": 1,
        "run_id": run.run_id,
        "trigger": run.trigger,
        "replay_of": run.replay_of,
        "objects": [each.to_dict() for each in objects],
        **({} if run.labelled is None else {"labelled": run.labelled}),
    }
    return json.dumps(document, indent=1).encode()


def _admitted(run: Run) -> str:
    labelled = "" if run.labelled is None else " and on predictions whose outcome was reported"
    return f"Run {run.run_id} trains on {len(run.drop_ids) or len(run.keys)} object(s){labelled}."
