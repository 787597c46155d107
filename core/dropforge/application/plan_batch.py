"""Plan a batch: claim the drop, hold its rows to the live model's contract, stage what the model is asked."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, BinaryIO

from dropforge.domain.batch import (
    CONTENT_TYPE,
    IN_PREFIX,
    MAXIMUM_ROW_BYTES,
    REQUEST_BYTES,
    REQUEST_ROWS,
    RULE_SIZE,
    BatchPlaces,
    BatchTable,
    BatchTables,
    RejectedRow,
    RejectReasons,
    RowId,
    RowProblem,
    ScorableRow,
)
from dropforge.domain.batch_source import drop_of_source
from dropforge.domain.errors import InvalidEvent, NoLiveModel, ObjectChanged, UnscorableBatch
from dropforge.domain.ledger import Ledger
from dropforge.domain.moments import iso
from dropforge.domain.ports import ObjectRef, ObjectStore
from dropforge.domain.records import Live
from dropforge.domain.row_rules import shown
from dropforge.domain.serving import read_live_contract
from dropforge.domain.triggers import Drop, parse_trigger

PLAN_FORMAT = 1
_JSON = "application/json"
_LINES = "application/jsonlines"
_REASONS_KEPT = 100
_REASONS_SHOWN = 3


@dataclass(frozen=True)
class BatchPlan:
    """``outcome`` is ``planned``, ``duplicate`` or ``nothing``; only a planned one has more to say."""

    outcome: str
    message: str
    batch_id: str | None = None
    plan_uri: str | None = None
    requests_uri: str | None = None
    output_uri: str | None = None
    content_type: str | None = None
    model_name: str | None = None
    model_version: int | None = None
    rows_to_score: int | None = None
    rows_rejected: int | None = None

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def plan_batch(
    event: Mapping[str, Any],
    *,
    execution_arn: str,
    data_bucket: str,
    ledger: Ledger,
    store: ObjectStore,
    tables: BatchTables,
    now: datetime,
) -> BatchPlan:
    """Decide whether and how a file dropped under ``batch/in/``, or a file of ``BatchSource``, is scored.

    Effect: the drop is claimed for this execution; the rows that keep the contract lie staged as requests,
    the others with their reasons; the plan that collecting reads is written last. Safe to run twice for one
    execution: the plan of the first run is the one that holds, also when another model went live meanwhile.

    Raises:
        InvalidEvent: the input is neither a drop under ``batch/in/`` nor a file of the source.
        NoLiveModel: no model has been deployed yet.
        UnscorableBatch: the file's columns are not the live model's, or no row keeps the contract.
        EmptyData, UnreadableData, UnsupportedFormat, DuplicateColumn: the file is no table.
        ObjectMissing: the file was deleted meanwhile.
        ObjectChanged: the source's file was replaced meanwhile.
    """
    sourced = drop_of_source(event)
    drop = sourced or parse_trigger(event).drop
    if drop is None:
        raise InvalidEvent("A batch is started by S3's 'Object Created' event of a file under batch/in/.")
    if sourced is None and not drop.key.startswith(IN_PREFIX):
        raise InvalidEvent(f"{drop.key!r} is not below {IN_PREFIX}, so it is no batch.")
    if drop.key.endswith("/"):
        return BatchPlan("nothing", f"{drop.key} is a folder's marker, which holds no data.")
    places = BatchPlaces(drop, data_bucket)
    if not _claimed(places, execution_arn, store):
        return BatchPlan("duplicate", f"s3://{drop.bucket}/{drop.key} is scored by another execution.")
    if store.exists(places.plan_uri):
        return _planned(places, json.loads(store.read(places.plan_uri)))
    live = ledger.live()
    if live is None:
        raise NoLiveModel(
            f"s3://{drop.bucket}/{drop.key} can't be scored: no model is live yet. Drop training data under "
            "incoming/, approve its model, then drop the batch again."
        )
    contract = read_live_contract(live, store.read)
    ref = ObjectRef(drop.bucket, drop.key, drop.version_id, drop.etag, drop.size)
    if sourced is not None:
        ref = _pinned(ref, store)
    with tables.open(ref, contract) as table:
        staged = _stage(table, places, store)
        form = table.form
    if not staged.scorable:
        raise UnscorableBatch(_nothing_scorable(drop, live, staged))
    plan = {
        "format": PLAN_FORMAT,
        "batch_id": drop.run_id,
        "planned_at": iso(now),
        "execution_arn": execution_arn,
        "drop": asdict(drop),
        "form": asdict(form),
        "model": {
            "version": live.version,
            "model_name": live.model_name,
            "model_package_arn": live.model_package_arn,
            "run_id": live.run_id,
            "contract_hash": live.contract_hash,
            "task": live.task,
        },
        "classes": None if contract.classes is None else list(contract.classes),
        "rows": {
            "read": staged.scorable + staged.rejected,
            "to_score": staged.scorable,
            "rejected": staged.rejected,
        },
        "reasons": staged.reasons.top(_REASONS_KEPT),
    }
    store.write(places.plan_uri, json.dumps(plan, indent=1, ensure_ascii=False).encode(), _JSON)
    return _planned(places, plan)


def _pinned(listed: ObjectRef, store: ObjectStore) -> ObjectRef:
    """The version that was listed, as long as it is the newest: a list names no versions."""
    found = store.pinned(listed.uri)
    if found.etag != listed.etag:
        raise ObjectChanged(
            f"{listed.uri} was replaced after it was listed. The next run of the schedule scores what lies "
            "there now."
        )
    return found


def _claimed(places: BatchPlaces, execution_arn: str, store: ObjectStore) -> bool:
    """Whether the drop is this execution's: of several deliveries of one event, the first counts."""
    claim = json.dumps({"execution_arn": execution_arn}).encode()
    if store.write_if_absent(places.claim_uri, claim, _JSON):
        return True
    holder = json.loads(store.read(places.claim_uri))["execution_arn"]
    return bool(holder == execution_arn)


def _planned(places: BatchPlaces, plan: Mapping[str, Any]) -> BatchPlan:
    model, rows = plan["model"], plan["rows"]
    return BatchPlan(
        outcome="planned",
        message=f"{rows['to_score']} of {rows['read']} rows go to version {model['version']}.",
        batch_id=plan["batch_id"],
        plan_uri=places.plan_uri,
        requests_uri=places.requests_uri,
        output_uri=places.output_uri,
        content_type=CONTENT_TYPE,
        model_name=model["model_name"],
        model_version=model["version"],
        rows_to_score=rows["to_score"],
        rows_rejected=rows["rejected"],
    )


def _stage(table: BatchTable, places: BatchPlaces, store: ObjectStore) -> _Staging:
    """Write requests, ids and rejected rows, each through a file on the local disk."""
    with (
        tempfile.TemporaryFile() as requests,
        tempfile.TemporaryFile() as ids,
        tempfile.TemporaryFile() as rejected,
    ):
        staging = _Staging(requests, ids, rejected)
        for row in table.rows():
            staging.add(row)
        staging.close_request()
        for file, uri in (
            (requests, places.requests_uri),
            (ids, places.ids_uri),
            (rejected, places.staged_rejected_uri),
        ):
            file.seek(0)
            store.upload(uri, file, _LINES)
        return staging


class _Staging:
    """Rows on their way: scorable ones gather into requests, of a bounded number of rows and bytes."""

    def __init__(self, requests: BinaryIO, ids: BinaryIO, rejected: BinaryIO) -> None:
        self._requests, self._ids, self._rejected = requests, ids, rejected
        self._instances: list[str] = []
        self._pending_ids: list[RowId] = []
        self._size = 0
        self.scorable = self.rejected = 0
        self.reasons = RejectReasons()

    def add(self, row: ScorableRow | RejectedRow) -> None:
        if isinstance(row, ScorableRow):
            text = json.dumps(row.instance, ensure_ascii=False, allow_nan=False)
            size = len(text.encode())
            if size <= MAXIMUM_ROW_BYTES:
                self._gather(row.id, text, size)
                return
            row = RejectedRow(row.number, row.id, (RowProblem(RULE_SIZE, None, shown(text)),))
        self.rejected += 1
        self.reasons.add(row)
        self._rejected.write(json.dumps(row.to_dict(), ensure_ascii=False).encode() + b"\n")

    def _gather(self, name: RowId, text: str, size: int) -> None:
        if self._instances and (len(self._instances) >= REQUEST_ROWS or self._size + size > REQUEST_BYTES):
            self.close_request()
        self._instances.append(text)
        self._pending_ids.append(name)
        self._size += size
        self.scorable += 1

    def close_request(self) -> None:
        """Write the request that is gathering, if there is one."""
        if self._instances:
            self._requests.write(f'{{"instances": [{", ".join(self._instances)}]}}\n'.encode())
            self._ids.write(json.dumps(self._pending_ids, ensure_ascii=False).encode() + b"\n")
        self._instances, self._pending_ids, self._size = [], [], 0


def _nothing_scorable(drop: Drop, live: Live, staged: _Staging) -> str:
    reasons = "; ".join(
        f"rule {each['rule']!r} in "
        + ("the record as a whole" if each["column"] is None else f"column {each['column']!r}")
        + ": {rows} times, for example {examples[0][value]!r} in row {examples[0][row]}".format(**each)
        for each in staged.reasons.top(_REASONS_SHOWN)
    )
    return (
        f"s3://{drop.bucket}/{drop.key}: none of its {staged.rejected} rows keeps the contract of the live "
        f"version {live.version} ({reasons}). Correct the file and drop it again."
    )
