"""Admit: exactly once per drop, one training run at a time, later drops coalesce into one more run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from dropforge.application.answer_alarm import AlarmPolicy, fall_back, record_answer, why_not
from dropforge.application.labelled_predictions import LabelledWindow, is_labelled
from dropforge.application.receive_drop import Received, receive_drop, what_is_held
from dropforge.application.settle_drops import read_manifest, read_remarks, settle_runs
from dropforge.application.training_lock import release_training_lock
from dropforge.application.untrained_predictions import unlogged_features, window_since_last_training
from dropforge.domain.drop_life import DropState, RecordedDrop, brought_back, superseded, taken
from dropforge.domain.errors import InvalidEvent, InvalidHyperparameters, ObjectMissing, PermanentError
from dropforge.domain.hyperparameters import (
    carried,
    declared_in,
    parse_hyperparameters,
    problems_of,
    typed,
)
from dropforge.domain.ledger import Ledger
from dropforge.domain.metric_registry import METRIC_DEFINITIONS
from dropforge.domain.moments import iso
from dropforge.domain.notifications import Notification, alarm_led_nowhere
from dropforge.domain.ports import ObjectStore
from dropforge.domain.predictions import PredictionLog
from dropforge.domain.records import Lease, Live, LockName, ModelVersion, Run, RunStatus
from dropforge.domain.run_endings import ending_of
from dropforge.domain.run_manifest import NAME as MANIFEST_NAME
from dropforge.domain.run_manifest import ManifestObject, RunManifest
from dropforge.domain.services import Workflows
from dropforge.domain.training_code import TrainingCode
from dropforge.domain.training_data import ALL, TrainingData, manifest_objects, so_far, sort_out
from dropforge.domain.triggers import Drop, Trigger, parse_trigger, run_id_of_execution
from dropforge.pricing.run import CostCap

EVERY = "*"
_KEYS_SHOWN = 5
TOO_EXPENSIVE = "too-expensive"
REFUSED = "refused"
INVALID_HYPERPARAMETERS = "invalid-hyperparameters"
_RETRAININGS = ("alarm", "schedule", "manual")
_NOTHING_NEW = (
    "Neither a drop nor the outcome of a prediction came since the last run: there is nothing to train on."
)
_NO_DROP = "No drop came since the last run, and reported outcomes train nothing, as"


@dataclass(frozen=True)
class AdmitPolicy:
    """What the stack's parameters say about starting runs.

    Attributes:
        lease_s: how long a run may train before its lock counts as abandoned.
        training_data: ``all-drops``, also what was trained on before, or ``new-drops``.
        window_days: of what was trained on before, only what was written so recently counts; 0 for all.
        labelled_predictions: whether a retraining (by alarm, by schedule, by hand) also takes the predictions
            whose outcome was reported since the last one.
        prediction_retention: how long predictions are kept.
        alarms: how alarms about the live model are answered.
        cost: what a run may cost.
        hyperparameters: those of every run, as JSON.
        is_tuned: whether runs search hyperparameters.
        model_name: what notifications call the model.
        source_commit: what was deployed; None where nobody said.
    """

    data_bucket: str
    lease_s: int
    training_data: TrainingData = ALL
    window_days: int = 0
    labelled_predictions: bool = True
    prediction_retention: timedelta = timedelta(days=90)
    alarms: AlarmPolicy = field(default_factory=AlarmPolicy)
    cost: CostCap = field(default_factory=CostCap)
    hyperparameters: str = "{}"
    is_tuned: bool = False
    model_name: str = "model"
    source_commit: str | None = None


@dataclass(frozen=True)
class Admission:
    """``outcome`` is ``admitted``, ``duplicate``, ``coalesced``, ``superseded``, ``waits``, ``no-data``,
    ``nothing-new``, ``not-answered``, ``invalid-hyperparameters``, ``too-expensive`` or ``refused``.

    ``superseded`` is a version of which a newer one is known, ``waits`` a part of an incomplete folder.

    ``not-answered`` is an alarm that no run answers, ``invalid-hyperparameters`` a run by hand with some that
    ``model.py`` doesn't take; ``message`` says why. A run that is too expensive, or refused for the stack's
    hyperparameters, is open, holds its drops and the lock, and is to be closed with ``error``.

    ``notification`` tells of an alarm that nothing follows.
    """

    outcome: str
    message: str
    run: Run | None = None
    code: TrainingCode | None = None
    champion: Live | None = None
    champion_version: ModelVersion | None = None
    error: PermanentError | None = None
    notification: Notification | None = None

    def to_dict(self) -> dict[str, Any]:
        """What the next states read; everything about a run only where one was admitted."""
        base: dict[str, Any] = {"outcome": self.outcome, "message": self.message}
        if self.notification is not None:
            base["notification"] = asdict(self.notification)
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
            "source_commit": self.run.source_commit,
            "metric_definitions": list(METRIC_DEFINITIONS),
            "notes": self.run.notes,
            "hyperparameters": self.run.hyperparameters,
            "live_rows": None if self.champion_version is None else self.champion_version.rows,
            "champion": None
            if champion is None
            else {
                "version": champion.version,
                "model_package_arn": champion.model_package_arn,
                "model_data_url": champion.model_data_url,
                "model_sha256": champion.model_sha256,
                "metric": champion.metric,
                "model_digest": None if self.champion_version is None else self.champion_version.model_digest,
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
        admission = self._admit(trigger, execution_arn=execution_arn, now=now)
        if trigger.alarm is None or admission.outcome == "duplicate":
            return admission
        record_answer(
            trigger.alarm,
            admission.outcome,
            admission.message,
            run_id=None if admission.run is None else admission.run.run_id,
            execution_arn=execution_arn,
            store=self.store,
            now=now,
        )
        if admission.outcome not in ("not-answered", "nothing-new"):
            return admission
        told = alarm_led_nowhere(self.policy.model_name, trigger.alarm, admission.message)
        return replace(admission, notification=told)

    def _admit(self, trigger: Trigger, *, execution_arn: str, now: datetime) -> Admission:
        if trigger.replay_of is not None:
            # Before the lock is taken: a replay of nothing must not keep others from training.
            read_manifest(self._run(trigger.replay_of), self.store)
        try:
            self._check(carried(trigger.hyperparameters))
        except InvalidHyperparameters as error:
            return Admission(INVALID_HYPERPARAMETERS, str(error))
        if trigger.drop is not None:
            found = receive_drop(trigger.drop, received_by=execution_arn, ledger=self.ledger, now=now)
            outcome = _without_a_run(found, trigger.drop, now)
            if outcome is not None:
                return outcome
        if trigger.bring_back:
            self._bring_back(trigger.bring_back, now)
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
        lease = self.ledger.acquire(
            LockName.TRAINING,
            holder=execution_arn,
            subject=self._run_id(trigger, execution_arn, now),
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
                now=now,
            )
            return Admission(outcome, message)

        settle_runs(ledger=self.ledger, store=self.store, now=now)
        run = self.ledger.get_run(lease.subject)
        if run is None:
            labelled = self._labelled(trigger, now)
            waiting = sort_out(self.ledger.waiting_drops(), now)
            newer = {each.drop_id: by for each, by in waiting.outdated}
            self.ledger.change_drops(newer, lambda old, _: superseded(old, newer[old.drop_id]))
            manifest = self._manifest(trigger, lease.subject, waiting.ready, labelled, now)
            if not manifest.objects and labelled is None:
                held = f" {what_is_held(list(waiting.held))}" if waiting.held else ""
                return step_back("nothing-new", f"{self._nothing_new(trigger)}{held}")
            run = self._new_run(trigger, lease, manifest, now)
            self.store.write(run.manifest_uri, manifest.to_json(), content_type="application/json")
        run = self.ledger.open_run(run)
        if run.execution_arn != execution_arn or run.token != lease.token:
            return step_back("coalesced", f"Run {run.run_id} has covered this meanwhile.")
        # Also where the run is there already: a call that was cut off may have left drops untaken.
        manifest = self._take(run)
        if not manifest.objects and run.labelled is None:
            self.ledger.advance_run(run.run_id, RunStatus.SUPERSEDED, ended_at=iso(now))
            return step_back("nothing-new", "Newer versions of all its objects came meanwhile.")
        refusal = self.policy.cost.refusal(list(manifest.refs))
        if refusal is not None:
            return Admission(TOO_EXPENSIVE, str(refusal), run, self.code, error=refusal)
        try:
            if run.replay_of is None:
                self._check({**parse_hyperparameters(self.policy.hyperparameters), **run.hyperparameters})
        except InvalidHyperparameters as error:
            return Admission(REFUSED, str(error), run, self.code, error=error)
        self.code.publish(self.store, run.manifest_uri)
        live = self.ledger.live()
        champion = None if live is None else self.ledger.get_model(live.version)
        return Admission("admitted", _admitted(run), run, self.code, live, champion)

    def _check(self, hyperparameters: Mapping[str, str]) -> None:
        """Refuse what ``model.py`` doesn't take, where it says what it takes.

        Raises:
            InvalidHyperparameters: all that is wrong.
        """
        declared = declared_in(self.code.files["model.py"]) if hyperparameters else None
        if declared is None:
            return
        problems = problems_of({name: typed(text) for name, text in hyperparameters.items()}, declared)
        if problems:
            raise InvalidHyperparameters(f"hyperparameters: {'; '.join(problems)}.")

    def _hyperparameters(self, trigger: Trigger) -> dict[str, str]:
        """Those of a new run: the stack's with those of whoever started it on top; a replay's are its own.

        What is wrong with the stack's is told once the run is open, so that its drops aren't lost.
        """
        if trigger.replay_of is not None:
            replayed = self._run(trigger.replay_of)
            return {**replayed.hyperparameters, **self._trials_of(replayed)}
        try:
            of_stack = parse_hyperparameters(self.policy.hyperparameters)
        except InvalidHyperparameters:
            of_stack = {}
        return {**of_stack, **carried(trigger.hyperparameters)}

    def _trials_of(self, run: Run) -> dict[str, str]:
        """How many trials a replay makes: as many as the run had made when it was out of time, or all."""
        uri = f"s3://{self.policy.data_bucket}/models/{run.run_id}/lineage.json"
        try:
            lineage = json.loads(self.store.read(uri))
        except ObjectMissing:
            return {}
        done = int((lineage.get("tuning") or {}).get("done", 0))
        return {"tuning_trials": str(done), "tuning_minutes": "0"} if done or self.policy.is_tuned else {}

    def _take(self, run: Run) -> RunManifest:
        """Take the drops that the run's manifest names; the manifest without those that can't be taken.

        A newer version may have come since they were looked at.
        """
        manifest = read_manifest(run, self.store)
        stand = self.ledger.change_drops(
            manifest.taken, lambda each, _: taken(each, run.run_id), token=run.token
        )
        missed = frozenset(each.drop_id for each in stand if each.run_id != run.run_id)
        if missed:
            manifest = manifest.without(missed)
            self.store.write(run.manifest_uri, manifest.to_json(), content_type="application/json")
        return manifest

    def _bring_back(self, keys: Sequence[str], now: datetime) -> None:
        """Let drops wait again that were set aside, or that wait for whatever; all of them for ``*``."""
        settle_runs(ledger=self.ledger, store=self.store, now=now)
        if EVERY in keys:
            drop_ids = [
                each.drop_id for each in self.ledger.list_drops() if each.state is DropState.SET_ASIDE
            ]
        else:
            drop_ids = list(self.ledger.newest_versions(keys).values())
        self.ledger.change_drops(drop_ids, lambda each, newest: brought_back(each, newest, now))

    def _run_id(self, trigger: Trigger, execution_arn: str, now: datetime) -> str:
        """Named after the drop or the alarm's transition; a follow-up after the newest drop that is due."""
        if trigger.drop is not None:
            return trigger.drop.run_id
        if trigger.alarm is not None:
            return trigger.alarm.run_id
        due = self.ledger.newest_due(now) if trigger.kind == "follow-up" else None
        newest = None if due is None else self.ledger.get_drop(due)
        if newest is not None and self.ledger.get_run(newest.drop.run_id) is None:
            return newest.drop.run_id
        return run_id_of_execution(trigger.kind, execution_arn.rsplit(":", 1)[-1])

    def _labelled(self, trigger: Trigger, now: datetime) -> LabelledWindow | None:
        """The labelled predictions that a retraining takes; None where there are none."""
        if not self.policy.labelled_predictions or trigger.kind not in _RETRAININGS:
            return None
        retention = self.policy.prediction_retention
        window = window_since_last_training(self.ledger, self.store, retention=retention, now=now)
        return window if window is not None and window.has_new(self.log) else None

    def _nothing_new(self, trigger: Trigger) -> str:
        """Why there is nothing to train on: outcomes that may train nothing aren't said not to have come."""
        if trigger.kind in _RETRAININGS and not self.policy.labelled_predictions:
            return f"{_NO_DROP} LabelledPredictions is 'exclude': drop files with the new data."
        unlogged = unlogged_features(self.ledger, self.store) if trigger.kind in _RETRAININGS else []
        if not unlogged:
            return _NOTHING_NEW
        first = repr(unlogged[0]) + (f" (and {len(unlogged) - 1} more)" if len(unlogged) > 1 else "")
        return (
            f"{_NO_DROP} the contract keeps {first} out of the prediction log: drop files with the new data."
        )

    def _manifest(
        self,
        trigger: Trigger,
        run_id: str,
        ready: Sequence[RecordedDrop],
        labelled: LabelledWindow | None,
        now: datetime,
    ) -> RunManifest:
        """What this run trains on; without an object where it has no reason to."""
        if trigger.replay_of is not None:
            replayed = self._run(trigger.replay_of)
            again = self._again(replayed)
            return RunManifest(run_id, trigger.kind, again, trigger.replay_of)
        choice = trigger.data or ("all" if self.policy.training_data == ALL else "new")
        taken_now = [] if choice == "last-run" else list(ready)
        has_new = bool(taken_now) or labelled is not None
        # Whoever starts a run by hand wants one, also where nothing is new.
        if not has_new and trigger.kind != "manual":
            return RunManifest(run_id, trigger.kind, ())
        if choice == "all":
            drops = so_far(self.ledger.list_drops(), taken_now, now, self.policy.window_days)
            objects = (*manifest_objects(taken_now, drops), *self._earlier_outcomes())
        elif taken_now:
            objects = tuple(manifest_objects(taken_now, ()))
        else:
            # Outcomes alone, or nothing new at all: with what the last run was trained on.
            last = self._last_trained()
            objects = () if last is None else self._again(last)
        # The labelled predictions are told as they stand then: preparation pins their rows.
        window = None if labelled is None else asdict(labelled)
        return RunManifest(run_id, trigger.kind, objects, labelled=window)

    def _again(self, run: Run) -> tuple[ManifestObject, ...]:
        """What a run was trained on, as objects that are not new."""
        unfit = frozenset(read_remarks(run, self.store).set_aside)
        objects = read_manifest(run, self.store).without(unfit).objects
        return tuple(replace(each, is_new=False) for each in objects)

    def _earlier_outcomes(self) -> tuple[ManifestObject, ...]:
        """The labelled predictions that earlier runs were trained on: the last one's manifest has them."""
        last = self._last_trained() if self.policy.labelled_predictions else None
        if last is None:
            return ()
        objects = read_manifest(last, self.store).objects
        return tuple(replace(each, is_new=False) for each in objects if is_labelled(each.ref.key))

    def _last_trained(self) -> Run | None:
        """The newest run that was trained on its data."""
        for run in self.ledger.list_runs():
            ending = ending_of(run, {})
            if run.replay_of is None and ending is not None and ending.trained and run.objects:
                return run
        return None

    def _new_run(self, trigger: Trigger, lease: Lease, manifest: RunManifest, now: datetime) -> Run:
        return Run(
            run_id=lease.subject,
            status=RunStatus.RUNNING,
            trigger=trigger.kind,
            execution_arn=lease.holder,
            token=lease.token,
            started_at=iso(now),
            manifest_uri=f"s3://{self.policy.data_bucket}/runs/{lease.subject}/{MANIFEST_NAME}",
            keys=[each.ref.key for each in manifest.objects[:_KEYS_SHOWN]],
            drop_count=len(manifest.taken),
            drop_bytes=sum(each.ref.size or 0 for each in manifest.objects if each.is_new),
            object_count=len(manifest.objects),
            newest_at=manifest.newest_at,
            requested_by=trigger.requested_by,
            replay_of=trigger.replay_of,
            labelled=None if manifest.labelled is None else dict(manifest.labelled),
            notes=self._notes(trigger, manifest),
            hyperparameters=self._hyperparameters(trigger),
            alarm=None if trigger.alarm is None else trigger.alarm.to_event()["alarm"],
            source_commit=self.policy.source_commit,
        )

    def _notes(self, trigger: Trigger, manifest: RunManifest) -> list[str]:
        """What whoever decides on the model should know of its data."""
        live = self.ledger.live()
        of_live = None if live is None else self.ledger.get_run(live.run_id)
        if live is None or of_live is None or of_live.newest_at is None or manifest.newest_at is None:
            return []
        if trigger.replay_of is not None or manifest.labelled or manifest.newest_at > of_live.newest_at:
            return []
        is_older = manifest.newest_at < of_live.newest_at
        return [
            f"No object of this run is newer than those of the live version {live.version}: its newest was "
            f"written at {manifest.newest_at}, {'the live one' if is_older else 'as was the live one'}"
            f"{f's at {of_live.newest_at}' if is_older else 's'}."
        ]

    def _run(self, run_id: str) -> Run:
        run = self.ledger.get_run(run_id)
        if run is None:
            raise InvalidEvent(f"There is no run {run_id!r}. 'dropforge runs' lists those there are.")
        return run


def _without_a_run(found: Received, drop: Drop, now: datetime) -> Admission | None:
    """What the written object leads to where that is no run; None where a run may start."""
    uri = f"s3://{drop.bucket}/{drop.key}"
    if found.why_no_data is not None:
        return Admission("no-data", f"{uri} is passed over: it has {found.why_no_data}.")
    if found.receipt is None:
        return None
    recorded = found.receipt.recorded
    if not found.receipt.is_mine:
        covered = f"run {recorded.run_id} covers it" if recorded.run_id else "a run will cover it"
        return Admission("duplicate", f"{uri} is known; {covered}.")
    if recorded.state is DropState.SUPERSEDED:
        return Admission("superseded", f"A newer version of {uri} is known; this one is passed over.")
    if recorded.state is DropState.WAITING and recorded.is_held(now):
        return Admission("waits", what_is_held([recorded]))
    return None


def _another_trains(trigger: Trigger) -> str:
    if trigger.kind in ("manual", "replay", "alarm"):
        return "Another run is training, so this one was not started. Start it again when that has ended."
    return "Another run is training; one more run will follow and cover what it leaves."


def _admitted(run: Run) -> str:
    labelled = "" if run.labelled is None else " and on predictions whose outcome was reported"
    new = f", {run.drop_count} of them new" if run.object_count > run.drop_count else ""
    return f"Run {run.run_id} trains on {run.object_count} object(s){new}{labelled}."
