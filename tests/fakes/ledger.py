"""A ``Ledger`` in memory; tests/unit/ledger holds it and the one on DynamoDB to the same behaviour."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from dropforge.domain.batch_source import SourceFile
from dropforge.domain.drop_life import DropState, RecordedDrop, superseded
from dropforge.domain.errors import LostLock, NotApproved, ServiceUnavailable
from dropforge.domain.ledger import DropChange, DropReceipt
from dropforge.domain.moments import iso
from dropforge.domain.records import (
    Approval,
    Lease,
    Live,
    LockName,
    ModelVersion,
    Run,
    RunStatus,
    Stage,
    StageChange,
)
from dropforge.domain.triggers import Drop


class FakeLedger:
    """Every method is one step under one lock, as every method of the real ledger appears to be."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        self.drops: dict[str, RecordedDrop] = {}
        self.newest: dict[str, str] = {}
        self.markers: dict[str, str] = {}
        self.unsettled: set[str] = set()
        self.format = 1
        self.last_duplicate_by: dict[str, str] = {}
        self.tokens: dict[LockName, int] = {}
        self.leases: dict[LockName, Lease] = {}
        self.runs: dict[str, Run] = {}
        self.models: dict[int, ModelVersion] = {}
        self.changes: dict[int, list[StageChange]] = {}
        self.pointer: Live | None = None
        self.asleep: int | None = None
        self.sourced: dict[tuple[str, str], SourceFile] = {}
        self.tracked: str | None = None

    def snapshot(self) -> dict[str, Any]:
        """Everything that is stored, as plain values, but the tokens' counter: it may skip."""
        return {
            "drops": {
                drop_id: {**each.to_dict(), "received_at": "", "due_at": ""}
                for drop_id, each in self.drops.items()
            },
            "newest": self.newest,
            "markers": self.markers,
            "unsettled": sorted(self.unsettled),
            "leases": {str(name): lease.to_dict() for name, lease in self.leases.items()},
            "runs": {run_id: run.to_dict() for run_id, run in self.runs.items()},
            "models": {version: model.to_dict() for version, model in self.models.items()},
            "history": {
                version: [change.to_dict() for change in changes] for version, changes in self.changes.items()
            },
            "live": self.pointer.to_dict() if self.pointer else None,
            "asleep": self.asleep,
            "tracked": self.tracked,
        }

    # --- drops ----------------------------------------------------------------------------------

    def record_drop(
        self,
        drop: Drop,
        *,
        received_by: str,
        now: datetime,
        due_at: str = "",
        waits_for: str | None = None,
    ) -> DropReceipt:
        with self._guard:
            known = self.drops.get(drop.drop_id)
            if known is None:
                fresh = RecordedDrop(drop, iso(now), received_by, due_at=due_at, waits_for=waits_for)
                newest = self.drops.get(self.newest.get(drop.key, ""))
                if newest is not None and newest.drop.sequence > drop.sequence:
                    fresh = superseded(fresh, newest.drop_id)
                else:
                    self.newest[drop.key] = drop.drop_id
                    if newest is not None:
                        self.drops[newest.drop_id] = superseded(newest, drop.drop_id)
                self.drops[drop.drop_id] = fresh
                return DropReceipt(fresh, is_new=True, is_mine=True)
            if known.received_by == received_by:
                return DropReceipt(known, is_new=False, is_mine=True)
            if self.last_duplicate_by.get(drop.drop_id) != received_by:
                self.last_duplicate_by[drop.drop_id] = received_by
                self.drops[drop.drop_id] = replace(known, duplicates=known.duplicates + 1)
            return DropReceipt(known, is_new=False, is_mine=False)

    def waiting_drops(self) -> list[RecordedDrop]:
        with self._guard:
            waiting = [each for each in self.drops.values() if each.state is DropState.WAITING]
        return sorted(waiting, key=lambda each: (each.received_at, each.drop_id))

    def newest_due(self, now: datetime) -> str | None:
        due = [each.drop_id for each in self.waiting_drops() if each.due_at <= iso(now)]
        return due[-1] if due else None

    def get_drop(self, drop_id: str) -> RecordedDrop | None:
        return self.drops.get(drop_id)

    def list_drops(self) -> Iterator[RecordedDrop]:
        with self._guard:
            return iter(list(self.drops.values()))

    def newest_versions(self, object_keys: Iterable[str]) -> dict[str, str]:
        with self._guard:
            return {key: self.newest[key] for key in object_keys if key in self.newest}

    def change_drops(
        self, drop_ids: Iterable[str], change: DropChange, *, token: int | None = None
    ) -> list[RecordedDrop]:
        with self._guard:
            known = [self.drops[each] for each in dict.fromkeys(drop_ids) if each in self.drops]
            changed = [change(each, self.newest.get(each.drop.key)) for each in known]
            if token is not None and changed != known:
                self._require(LockName.TRAINING, token)
            self.drops |= {each.drop_id: each for each in changed}
            return changed

    def folder_completed_at(self, marker_keys: Iterable[str]) -> str | None:
        return max((self.markers[key] for key in marker_keys if key in self.markers), default=None)

    def complete_folder(self, marker_key: str, written_at: str) -> None:
        self.markers[marker_key] = written_at

    def unsettled_runs(self) -> list[str]:
        return sorted(self.unsettled)

    def mark_settled(self, run_id: str, **changes: Any) -> None:
        with self._guard:
            self.unsettled.discard(run_id)
            if changes:
                self.runs[run_id] = Run.from_dict({**self.runs[run_id].to_dict(), **changes})

    def drop_format(self) -> int:
        return self.format

    def note_newest(self, drops: Iterable[RecordedDrop]) -> None:
        for each in drops:
            self.newest.setdefault(each.drop.key, each.drop_id)

    def source_files(self, bucket: str) -> Iterator[SourceFile]:
        with self._guard:
            return iter([each for (place, _), each in sorted(self.sourced.items()) if place == bucket])

    def put_source_file(self, file: SourceFile, *, known: SourceFile | None) -> bool:
        with self._guard:
            place = (file.bucket, file.key)
            before = self.sourced.get(place)
            if (before is None) != (known is None):
                return False
            if before is not None and known is not None:
                marks = [(each.state, each.attempt, each.changed_at) for each in (before, known)]
                if marks[0] != marks[1]:
                    return False
            self.sourced[place] = file
            return True

    def mark_unsettled(self, run_ids: Iterable[str]) -> None:
        self.unsettled.update(run_ids)

    def set_drop_format(self, number: int) -> None:
        self.format = number

    # --- locks ----------------------------------------------------------------------------------

    def acquire(
        self, name: LockName, *, holder: str, subject: str, now: datetime, lease_s: int
    ) -> Lease | None:
        with self._guard:
            held = self.leases.get(name)
            if held is not None and held.holder == holder:
                return held
            if held is not None and held.expires_at >= iso(now):
                return None
            self.tokens[name] = self.tokens.get(name, 0) + 1
            until = iso(now + timedelta(seconds=lease_s))
            self.leases[name] = Lease(name, holder, subject, self.tokens[name], iso(now), until)
            return self.leases[name]

    def release(self, name: LockName, *, token: int) -> bool:
        with self._guard:
            held = self.leases.get(name)
            if held is None or held.token != token:
                return False
            del self.leases[name]
            return True

    def held_lease(self, name: LockName) -> Lease | None:
        return self.leases.get(name)

    # --- runs -----------------------------------------------------------------------------------

    def open_run(self, run: Run) -> Run:
        with self._guard:
            known = self.runs.get(run.run_id)
            if known is None:
                self._require(LockName.TRAINING, run.token)
                self.runs[run.run_id] = known = run
                self.unsettled.add(run.run_id)
            return known

    def get_run(self, run_id: str) -> Run | None:
        return self.runs.get(run_id)

    def list_runs(self, limit: int | None = 100) -> list[Run]:
        with self._guard:
            return sorted(self.runs.values(), key=lambda run: run.started_at, reverse=True)[:limit]

    def advance_run(self, run_id: str, status: RunStatus, **changes: Any) -> Run:
        with self._guard:
            run = self.runs.get(run_id)
            if run is None:
                raise ServiceUnavailable(f"Run {run_id} is not in the ledger yet.")
            if not run.status.is_final:
                self.runs[run_id] = run = Run.from_dict({**run.to_dict(), **changes, "status": status})
            return run

    # --- model versions -------------------------------------------------------------------------

    def register_model(self, model: ModelVersion, *, token: int, now: datetime) -> ModelVersion:
        with self._guard:
            if model.version in self.models:
                return self.models[model.version]
            self._require(LockName.TRAINING, token)
            run = self.runs.get(model.run_id)
            if run is None or run.status is not RunStatus.RUNNING:
                raise LostLock(f"Run {model.run_id} does not run.")
            self.models[model.version] = model
            self._note(model, now, by=None, reason=None)
            self.runs[model.run_id] = replace(
                run,
                status=RunStatus.AWAITING_APPROVAL,
                version=model.version,
                model_package_arn=model.model_package_arn,
                metric=model.metric,
            )
            return model

    def get_model(self, version: int) -> ModelVersion | None:
        return self.models.get(version)

    def list_models(self) -> list[ModelVersion]:
        with self._guard:
            return sorted(self.models.values(), key=lambda model: model.version, reverse=True)

    def history(self, version: int) -> list[StageChange]:
        return list(self.changes.get(version, []))

    def await_decision(self, version: int, *, task_token: str, execution: str, due_at: str) -> ModelVersion:
        with self._guard:
            model = self._model(version)
            if model.approval is Approval.PENDING:
                model = replace(model, task_token=task_token, waiting_execution=execution, due_at=due_at)
                self.models[version] = model
            return model

    def decide(
        self, version: int, approval: Approval, *, by: str | None, reason: str | None, now: datetime
    ) -> ModelVersion:
        with self._guard:
            model = self._model(version)
            if model.approval is approval or (
                approval is Approval.SUPERSEDED and model.approval is not Approval.PENDING
            ):
                return model
            stage = Stage.STAGING if approval is Approval.APPROVED else Stage.ARCHIVED
            if model.stage is Stage.PRODUCTION:
                stage = Stage.PRODUCTION
            self.models[version] = model = replace(
                model,
                approval=approval,
                stage=stage,
                decided_at=iso(now),
                decided_by=by,
                decision_reason=reason,
            )
            self._note(model, now, by=by, reason=reason)
            return model

    def expire_waiting(self, version: int, *, now: datetime) -> ModelVersion:
        with self._guard:
            model = self._model(version)
            run = self.runs[model.run_id]
            if model.approval is Approval.PENDING and not run.status.is_final:
                self.models[version] = model = replace(model, task_token=None, waiting_execution=None)
                self.runs[run.run_id] = replace(run, status=RunStatus.EXPIRED, ended_at=iso(now))
            return model

    def retire_model(self, version: int, *, now: datetime) -> None:
        with self._guard:
            self.models[version] = replace(
                self._model(version), retired_at=iso(now), endpoint_config=None, model_name=None
            )

    # --- the live pointer -----------------------------------------------------------------------

    def live(self) -> Live | None:
        return self.pointer

    def asleep_token(self) -> int | None:
        return self.asleep

    def fall_asleep(self, token: int, *, now: datetime) -> None:
        with self._guard:
            self.asleep = token

    def tracked_state(self) -> str | None:
        return self.tracked

    def note_tracked(self, state: str) -> None:
        with self._guard:
            self.tracked = state

    def promote(self, live: Live, *, by: str, now: datetime, settles_run: str | None) -> Live:
        with self._guard:
            current = self.pointer
            if current is not None and (current.token, current.version) == (live.token, live.version):
                return current
            model = self._model(live.version)
            if model.approval is not Approval.APPROVED:
                raise NotApproved(f"Version {live.version} is {model.approval}.")
            self._require(LockName.DEPLOYMENT, live.token)
            if current is not None and current.token >= live.token:
                raise LostLock("A later deployment was promoted.")
            if settles_run is not None:
                run = self.runs[settles_run]
                self.runs[settles_run] = replace(
                    run, status=RunStatus.SUCCEEDED, ended_at=iso(now), error=None
                )
            model = replace(
                model,
                stage=Stage.PRODUCTION,
                promoted_at=iso(now),
                endpoint_config=live.endpoint_config,
                model_name=live.model_name,
                retired_at=None,
                task_token=None,
                waiting_execution=None,
            )
            self.models[live.version] = model
            self._note(model, now, by=by, reason=None)
            if current is not None and current.version != live.version:
                archived = replace(self.models[current.version], stage=Stage.ARCHIVED)
                self.models[current.version] = archived
                self._note(archived, now, by=None, reason=f"version {live.version} went live")
            self.pointer = live
            return live

    # --- building blocks ------------------------------------------------------------------------

    def _require(self, name: LockName, token: int) -> None:
        held = self.leases.get(name)
        if held is None or held.token != token:
            raise LostLock(f"The {name} lock's token {token} is no longer the newest.")

    def _model(self, version: int) -> ModelVersion:
        model = self.models.get(version)
        if model is None:
            raise ServiceUnavailable(f"Version {version} is not in the ledger (yet).")
        return model

    def _note(self, model: ModelVersion, now: datetime, *, by: str | None, reason: str | None) -> None:
        change = StageChange(model.version, iso(now), model.stage, model.approval, by, reason)
        self.changes.setdefault(model.version, []).append(change)
