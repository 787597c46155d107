"""The ledger on one DynamoDB table: conditional writes and transactions, nothing read and then trusted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import batched
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from dropforge.adapters.aws_errors import code_of, translate, translated
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
from dropforge.ledger_table import keys
from dropforge.ledger_table.calls import ClientCalls, ConditionFailed
from dropforge.ledger_table.items import attributes_of, item_of, values_of
from dropforge.ledger_table.reader import LedgerReader

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_CONFLICT_ATTEMPTS = 8
_CONFLICT_PAUSE_S = 0.05
_ACTIONS_PER_TRANSACTION = 100
# Two actions per drop, and one checks the lock.
_DROPS_PER_TRANSACTION = 49


def _marker(recorded: RecordedDrop) -> dict[str, Any]:
    """What stands among those that wait."""
    key = keys.pending(recorded.received_at, recorded.drop_id)
    return {**key, "drop_id": recorded.drop_id, "due_at": recorded.due_at}


class _TranslatedCalls:
    """Calls through the SDK's client, which end with dropforge's errors."""

    def __init__(self, client: DynamoDBClient) -> None:
        self._client = ClientCalls(client)

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        with translated(
            f"dynamodb:{operation} on {request.get('TableName') or list(request['RequestItems'])}"
        ):
            return self._client.call(operation, request)


class DynamoDbLedger(LedgerReader):
    """See ``dropforge.domain.ledger.Ledger`` for what each method promises."""

    def __init__(
        self,
        client: DynamoDBClient,
        table: str,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(_TranslatedCalls(client), table)
        self._client = client
        self._pause = pause

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
        fresh = RecordedDrop(drop, iso(now), received_by, due_at=due_at, waits_for=waits_for)
        for _ in range(_CONFLICT_ATTEMPTS):
            known = self.get_drop(drop.drop_id)
            if known is not None:
                return self._known_drop(known, received_by, now)
            newest = self._newest_version(drop.key)
            is_late = newest is not None and newest.drop.sequence > drop.sequence
            recorded = superseded(fresh, newest.drop_id) if newest is not None and is_late else fresh
            if self._transact(list(self._recording(recorded, newest)), "recording a drop"):
                return DropReceipt(recorded, is_new=True, is_mine=True)
        raise ServiceUnavailable(f"Other versions of {drop.key} were recorded at the same time; try again.")

    def _known_drop(self, known: RecordedDrop, received_by: str, now: datetime) -> DropReceipt:
        if known.received_by == received_by:
            return DropReceipt(known, is_new=False, is_mine=True)
        with suppress(ConditionFailed):  # the same execution's retry is not another delivery
            self._update(
                keys.drop(known.drop_id),
                "SET duplicates = duplicates + :one, last_duplicate_at = :at, last_duplicate_by = :by",
                {":one": 1, ":at": iso(now), ":by": received_by},
                condition="attribute_not_exists(last_duplicate_by) OR last_duplicate_by <> :by",
            )
        return DropReceipt(known, is_new=False, is_mine=False)

    def _newest_version(self, key: str) -> RecordedDrop | None:
        known = self.newest_versions([key])
        return self.get_drop(known[key]) if known else None

    def _recording(self, recorded: RecordedDrop, newest: RecordedDrop | None) -> Iterator[dict[str, Any]]:
        """The actions that record a drop, given the newest version of its object that is known."""
        yield self._put({**keys.drop(recorded.drop_id), **recorded.to_dict()}, "attribute_not_exists(pk)")
        if recorded.state is not DropState.WAITING:
            return
        yield self._put(_marker(recorded))
        pointer = {**keys.newest(recorded.drop.key), "drop_id": recorded.drop_id}
        if newest is None:
            yield self._put(pointer, "attribute_not_exists(pk)")
            return
        yield self._put(pointer, "drop_id = :known", values={":known": newest.drop_id})
        yield from self._change(newest, superseded(newest, recorded.drop_id))

    def change_drops(
        self, drop_ids: Iterable[str], change: DropChange, *, token: int | None = None
    ) -> list[RecordedDrop]:
        wanted = list(dict.fromkeys(drop_ids))
        batches = batched(wanted, _DROPS_PER_TRANSACTION)
        return [each for batch in batches for each in self._change_some(batch, change, token)]

    def _change_some(
        self, drop_ids: Iterable[str], change: DropChange, token: int | None
    ) -> list[RecordedDrop]:
        for _ in range(_CONFLICT_ATTEMPTS):
            known = self.get_drops(drop_ids)
            newest = self.newest_versions(each.drop.key for each in known)
            changed = [(each, change(each, newest.get(each.drop.key))) for each in known]
            actions = [action for before, after in changed for action in self._change(before, after)]
            lock = [] if token is None else [self._check_lock(LockName.TRAINING, token)]
            if not actions or self._transact([*lock, *actions], "moving drops"):
                return [after for _, after in changed]
            if token is not None and not self._holds(token):
                raise LostLock(_lost(LockName.TRAINING, token))
        raise ServiceUnavailable(
            "Other writers moved the same drops again and again; the next try settles it."
        )

    def _change(self, before: RecordedDrop, after: RecordedDrop) -> Iterator[dict[str, Any]]:
        """The actions that move a drop on, if it still stands where it was read: with it goes its marker."""
        if after == before:
            return
        was, becomes = before.to_dict(), after.to_dict()
        values = {name: value for name, value in becomes.items() if value != was[name]}
        gone = [name for name, value in values.items() if value is None]
        given = {name: value for name, value in values.items() if value is not None}
        # An item from before drops had a state has none.
        condition = "(#state = :was OR attribute_not_exists(#state)) AND " + (
            "run_id = :by" if before.run_id else "attribute_not_exists(run_id)"
        )
        yield self._conditional_update(
            keys.drop(before.drop_id),
            ("SET " + ", ".join(f"#{name} = :{name}" for name in given) if given else "")
            + (" REMOVE " + ", ".join(f"#{name}" for name in gone) if gone else ""),
            {
                **{f":{name}": value for name, value in given.items()},
                ":was": str(before.state),
                **({":by": before.run_id} if before.run_id else {}),
            },
            condition=condition,
            names={f"#{name}": name for name in {*values, "state"}},
        )
        if after.state is DropState.WAITING:
            yield self._put(_marker(after))
        elif before.state is DropState.WAITING:
            yield self._delete(keys.pending(before.received_at, before.drop_id))

    def _holds(self, token: int) -> bool:
        held = self.held_lease(LockName.TRAINING)
        return held is not None and held.token == token

    def complete_folder(self, marker_key: str, written_at: str) -> None:
        self._update(keys.folder_marker(marker_key), "SET written_at = :at", {":at": written_at})

    def note_newest(self, drops: Iterable[RecordedDrop]) -> None:
        for batch in batched(drops, _ACTIONS_PER_TRANSACTION):
            self._note_some({each.drop.key: each.drop_id for each in batch})

    def _note_some(self, newest: Mapping[str, str]) -> None:
        for _ in range(_CONFLICT_ATTEMPTS):
            known = self.newest_versions(newest)
            actions = [
                self._put({**keys.newest(key), "drop_id": drop_id}, "attribute_not_exists(pk)")
                for key, drop_id in newest.items()
                if key not in known
            ]
            if not actions or self._transact(actions, "noting the newest versions"):
                return
        raise ServiceUnavailable("Other writers noted the same objects again and again; try again.")

    def put_source_file(self, file: SourceFile, *, known: SourceFile | None) -> bool:
        item = {**keys.source_file(file.bucket, file.key), **file.to_dict()}
        if known is None:
            return self._transact([self._put(item, "attribute_not_exists(pk)")], "noting a file")
        as_known = {":state": str(known.state), ":attempt": known.attempt, ":at": known.changed_at}
        condition = "#state = :state AND attempt = :attempt AND changed_at = :at"
        put = self._put(item, condition, values=as_known, names={"#state": "state"})
        return self._transact([put], "noting a file")

    def mark_unsettled(self, run_ids: Iterable[str]) -> None:
        for batch in batched(run_ids, _ACTIONS_PER_TRANSACTION):
            self._transact([self._put(keys.unsettled(each)) for each in batch], "noting what runs hold")

    def mark_settled(self, run_id: str, **changes: Any) -> None:
        actions = [self._delete(keys.unsettled(run_id))]
        if changes:
            actions.append(
                self._conditional_update(
                    keys.run(run_id),
                    "SET " + ", ".join(f"#{name} = :{name}" for name in changes),
                    {f":{name}": value for name, value in changes.items()},
                    condition="attribute_exists(pk)",
                    names={f"#{name}": name for name in changes},
                )
            )
        self._transact(actions, "settling a run")

    def set_drop_format(self, number: int) -> None:
        self._update(
            keys.DROP_FORMAT, "SET #format = :format", {":format": number}, names={"#format": "format"}
        )

    # --- locks ----------------------------------------------------------------------------------

    def acquire(
        self, name: LockName, *, holder: str, subject: str, now: datetime, lease_s: int
    ) -> Lease | None:
        held = self.held_lease(name)
        if held is not None and held.holder == holder:
            return held
        try:
            item = self._update(
                keys.lock(name),
                "SET holder = :holder, subject = :subject, acquired_at = :now, expires_at = :until, "
                "#token = if_not_exists(#token, :zero) + :one",
                {
                    ":holder": holder,
                    ":subject": subject,
                    ":now": iso(now),
                    ":until": iso(now + timedelta(seconds=lease_s)),
                    ":zero": 0,
                    ":one": 1,
                },
                condition="attribute_not_exists(holder) OR expires_at < :now",
                names={"#token": "token"},
            )
        except ConditionFailed:
            # Another call of the same holder may have been quicker: then the holder has the lock.
            held = self.held_lease(name)
            return held if held is not None and held.holder == holder else None
        return Lease.from_dict({**item, "name": name})

    def release(self, name: LockName, *, token: int) -> bool:
        try:
            self._update(
                keys.lock(name),
                "REMOVE holder, subject, acquired_at, expires_at",
                {":token": token},
                condition="attribute_exists(holder) AND #token = :token",
                names={"#token": "token"},
            )
        except ConditionFailed:
            return False
        return True

    # --- runs -----------------------------------------------------------------------------------

    def open_run(self, run: Run) -> Run:
        item = {**keys.run(run.run_id), **run.to_dict(), "kind": keys.RUN_KIND, "at": run.started_at}
        opened = self._transact(
            [
                self._check_lock(LockName.TRAINING, run.token),
                self._put(item, "attribute_not_exists(pk)"),
                self._put(keys.unsettled(run.run_id)),
            ],
            "opening a run",
        )
        known = run if opened else self.get_run(run.run_id)
        if known is None:
            raise LostLock(_lost(LockName.TRAINING, run.token))
        return known

    def advance_run(self, run_id: str, status: RunStatus, **changes: Any) -> Run:
        values = {"status": str(status), **changes}
        final, is_final = _final_statuses()
        try:
            item = self._update(
                keys.run(run_id),
                "SET " + ", ".join(f"#{name} = :{name}" for name in values),
                {**{f":{name}": value for name, value in values.items()}, **final},
                condition=f"attribute_exists(pk) AND NOT {is_final}",
                names={f"#{name}": name for name in values},
            )
        except ConditionFailed:
            known = self.get_run(run_id)
            if known is None:
                raise ServiceUnavailable(f"Run {run_id} is not in the ledger yet.") from None
            return known
        return Run.from_dict(item)

    # --- model versions -------------------------------------------------------------------------

    def register_model(self, model: ModelVersion, *, token: int, now: datetime) -> ModelVersion:
        item = {
            **keys.model(model.version),
            **model.to_dict(),
            "kind": keys.MODEL_KIND,
            "at": model.registered_at,
        }
        registered = self._transact(
            [
                self._check_lock(LockName.TRAINING, token),
                self._put(item, "attribute_not_exists(pk)"),
                self._put(self._history_item(model, now, by=None, reason=None)),
                self._conditional_update(
                    keys.run(model.run_id),
                    "SET #status = :status, version = :version, model_package_arn = :arn, metric = :metric",
                    {
                        ":status": str(RunStatus.AWAITING_APPROVAL),
                        ":running": str(RunStatus.RUNNING),
                        ":version": model.version,
                        ":arn": model.model_package_arn,
                        ":metric": model.metric,
                    },
                    condition="#status = :running",
                    names={"#status": "status"},
                ),
            ],
            f"registering version {model.version}",
        )
        if registered:
            return model
        known = self.get_model(model.version)
        if known is None:
            raise LostLock(_lost(LockName.TRAINING, token))
        return known

    def await_decision(self, version: int, *, task_token: str, execution: str, due_at: str) -> ModelVersion:
        try:
            item = self._update(
                keys.model(version),
                "SET task_token = :task, waiting_execution = :execution, due_at = :due",
                {
                    ":task": task_token,
                    ":execution": execution,
                    ":due": due_at,
                    ":pending": str(Approval.PENDING),
                },
                condition="approval = :pending",
            )
        except ConditionFailed:
            return self._existing_model(version)
        return ModelVersion.from_dict(item)

    def decide(
        self, version: int, approval: Approval, *, by: str | None, reason: str | None, now: datetime
    ) -> ModelVersion:
        known = self._existing_model(version)
        # Superseding never overrides what a person decided, even a moment ago.
        is_too_late = approval is Approval.SUPERSEDED and known.approval is not Approval.PENDING
        if known.approval is approval or is_too_late:
            return known
        stage = Stage.STAGING if approval is Approval.APPROVED else Stage.ARCHIVED
        if known.stage is Stage.PRODUCTION:
            stage = Stage.PRODUCTION
        decided = ModelVersion.from_dict(
            {
                **known.to_dict(),
                "approval": approval,
                "stage": stage,
                "decided_at": iso(now),
                "decided_by": by,
                "decision_reason": reason,
            }
        )
        changed = self._transact(
            [
                self._conditional_update(
                    keys.model(version),
                    "SET approval = :approval, stage = :stage, decided_at = :at, decided_by = :by, "
                    "decision_reason = :reason",
                    {
                        ":approval": str(approval),
                        ":stage": str(stage),
                        ":at": iso(now),
                        ":by": by,
                        ":reason": reason,
                        ":known": str(known.approval),
                        ":known_stage": str(known.stage),
                    },
                    condition="approval = :known AND stage = :known_stage",
                ),
                self._put(self._history_item(decided, now, by=by, reason=reason)),
            ],
            f"recording the decision on version {version}",
        )
        if not changed:
            raise ServiceUnavailable(
                f"Version {version} was decided on by another call meanwhile; the next try sees it."
            )
        # Read again: a run that began to wait while this was decided is told only through its token.
        return self._existing_model(version)

    def expire_waiting(self, version: int, *, now: datetime) -> ModelVersion:
        final, is_final = _final_statuses()
        self._transact(
            [
                self._conditional_update(
                    keys.model(version),
                    "REMOVE task_token, waiting_execution",
                    {":pending": str(Approval.PENDING)},
                    condition="approval = :pending",
                ),
                self._conditional_update(
                    keys.run(self._existing_model(version).run_id),
                    "SET #status = :expired, ended_at = :at",
                    {":expired": str(RunStatus.EXPIRED), ":at": iso(now), **final},
                    condition=f"attribute_exists(pk) AND NOT {is_final}",
                    names={"#status": "status"},
                ),
            ],
            f"ending the wait for version {version}",
        )
        return self._existing_model(version)

    def retire_model(self, version: int, *, now: datetime) -> None:
        self._update(
            keys.model(version),
            "SET retired_at = :at REMOVE endpoint_config, model_name",
            {":at": iso(now)},
            condition="attribute_exists(pk)",
        )

    # --- the live pointer -----------------------------------------------------------------------

    def fall_asleep(self, token: int, *, now: datetime) -> None:
        self._update(
            keys.ASLEEP,
            "SET #token = :token, since = :now",
            {":token": token, ":now": iso(now)},
            names={"#token": "token"},
        )

    def note_tracked(self, state: str) -> None:
        self._update(keys.TRACKED, "SET #state = :state", {":state": state}, names={"#state": "state"})

    def promote(self, live: Live, *, by: str, now: datetime, settles_run: str | None) -> Live:
        current = self.live()
        if current is not None and current.token == live.token and current.version == live.version:
            return current
        candidate = self._existing_model(live.version)
        if candidate.approval is not Approval.APPROVED:
            raise NotApproved(_not_approved(candidate))
        promoted = ModelVersion.from_dict({**candidate.to_dict(), "stage": Stage.PRODUCTION})
        actions = [
            self._check_lock(LockName.DEPLOYMENT, live.token),
            self._put(
                {**keys.LIVE, **live.to_dict()},
                "attribute_not_exists(pk) OR #token < :token",
                values={":token": live.token},
                names={"#token": "token"},
            ),
            self._conditional_update(
                keys.model(live.version),
                "SET stage = :stage, promoted_at = :at, endpoint_config = :config, model_name = :name "
                "REMOVE retired_at, task_token, waiting_execution",
                {
                    ":stage": str(Stage.PRODUCTION),
                    ":at": iso(now),
                    ":config": live.endpoint_config,
                    ":name": live.model_name,
                    ":approved": str(Approval.APPROVED),
                },
                condition="approval = :approved",
            ),
            self._put(self._history_item(promoted, now, by=by, reason=None)),
        ]
        if current is not None and current.version != live.version:
            actions += self._archive(current.version, now=now, successor=live.version)
        if settles_run is not None:
            actions.append(
                self._conditional_update(
                    keys.run(settles_run),
                    # An execution that was given up may have been recorded as failed before.
                    "SET #status = :status, ended_at = :at REMOVE #error",
                    {":status": str(RunStatus.SUCCEEDED), ":at": iso(now)},
                    condition="attribute_exists(pk)",
                    names={"#status": "status", "#error": "error"},
                )
            )
        if self._transact(actions, f"promoting version {live.version}"):
            return live
        current = self.live()
        if current is not None and current.token == live.token and current.version == live.version:
            return current
        candidate = self._existing_model(live.version)
        if candidate.approval is not Approval.APPROVED:
            raise NotApproved(_not_approved(candidate))
        raise LostLock(_lost(LockName.DEPLOYMENT, live.token))

    def _archive(self, version: int, *, now: datetime, successor: int) -> list[dict[str, Any]]:
        archived = ModelVersion.from_dict(
            {**self._existing_model(version).to_dict(), "stage": Stage.ARCHIVED}
        )
        return [
            self._conditional_update(
                keys.model(version),
                "SET stage = :stage",
                {":stage": str(Stage.ARCHIVED)},
                condition="attribute_exists(pk)",
            ),
            self._put(self._history_item(archived, now, by=None, reason=f"version {successor} went live")),
        ]

    # --- building blocks ------------------------------------------------------------------------

    def _existing_model(self, version: int) -> ModelVersion:
        known = self.get_model(version)
        if known is None:
            raise ServiceUnavailable(
                f"Version {version} is not in the ledger (yet). Its run may still be registering it."
            )
        return known

    @staticmethod
    def _history_item(
        model: ModelVersion, now: datetime, *, by: str | None, reason: str | None
    ) -> dict[str, Any]:
        change = StageChange(
            version=model.version,
            at=iso(now),
            stage=model.stage,
            approval=model.approval,
            by=by,
            reason=reason,
        )
        return {
            **keys.history(model.version, change.at, change.approval, change.stage),
            **change.to_dict(),
        }

    def _check_lock(self, name: LockName, token: int) -> dict[str, Any]:
        return {
            "ConditionCheck": {
                "TableName": self._table,
                "Key": attributes_of(keys.lock(name)),
                "ConditionExpression": "attribute_exists(holder) AND #token = :token",
                "ExpressionAttributeNames": {"#token": "token"},
                "ExpressionAttributeValues": attributes_of({":token": token}),
            }
        }

    def _put(
        self,
        item: Mapping[str, Any],
        condition: str | None = None,
        *,
        values: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        put: dict[str, Any] = {"TableName": self._table, "Item": item_of(item)}
        if condition:
            put["ConditionExpression"] = condition
        if values:
            put["ExpressionAttributeValues"] = attributes_of(values)
        if names:
            put["ExpressionAttributeNames"] = dict(names)
        return {"Put": put}

    def _delete(self, key: keys.Key) -> dict[str, Any]:
        return {"Delete": {"TableName": self._table, "Key": attributes_of(key)}}

    def _conditional_update(
        self,
        key: keys.Key,
        expression: str,
        values: Mapping[str, Any],
        *,
        condition: str,
        names: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        update: dict[str, Any] = {
            "TableName": self._table,
            "Key": attributes_of(key),
            "UpdateExpression": expression,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": attributes_of(values),
        }
        if names:
            update["ExpressionAttributeNames"] = dict(names)
        return {"Update": update}

    def _update(
        self,
        key: keys.Key,
        expression: str,
        values: Mapping[str, Any],
        *,
        condition: str | None = None,
        names: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        request: dict[str, Any] = {
            "TableName": self._table,
            "Key": attributes_of(key),
            "UpdateExpression": expression,
            "ExpressionAttributeValues": attributes_of(values),
            "ReturnValues": "ALL_NEW",
        }
        if condition:
            request["ConditionExpression"] = condition
        if names:
            request["ExpressionAttributeNames"] = dict(names)
        with translated(f"updating {key['pk']} {key['sk']}"):
            try:
                return values_of(self._client.update_item(**request)["Attributes"])
            except self._client.exceptions.ConditionalCheckFailedException as error:
                raise ConditionFailed from error

    def _transact(self, actions: list[dict[str, Any]], doing: str) -> bool:
        """Run the transaction. False when a condition failed; conflicts with other writers are retried."""
        for attempt in range(_CONFLICT_ATTEMPTS):
            try:
                self._client.transact_write_items(TransactItems=cast("Any", actions))
            except ClientError as error:
                if code_of(error) != "TransactionCanceledException":
                    raise translate(error, doing) from error
                causes = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
                if "ConditionalCheckFailed" in causes:
                    return False
                if not causes & {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}:
                    raise translate(error, doing) from error
                # Full jitter: two writers that met once should not meet again.
                self._pause(random.uniform(0, _CONFLICT_PAUSE_S * 2**attempt))  # noqa: S311 - no secret
            else:
                return True
        raise ServiceUnavailable(f"Other writers were in the way {_CONFLICT_ATTEMPTS} times while {doing}.")


def _final_statuses() -> tuple[dict[str, str], str]:
    """The values and the condition by which an update tells a run that has ended."""
    values = {f":final{number}": str(each) for number, each in enumerate(RunStatus) if each.is_final}
    return values, f"#status IN ({', '.join(values)})"


def _lost(name: LockName, token: int) -> str:
    return (
        f"The {name} lock's token {token} is no longer the newest: another execution took over after the "
        "lease ran out. Nothing was changed; the other execution covers the work."
    )


def _not_approved(model: ModelVersion) -> str:
    return (
        f"Version {model.version} is {model.approval}, not approved, so it was not promoted. "
        f"Approve {model.model_package_arn} to deploy it."
    )
