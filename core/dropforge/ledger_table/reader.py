"""Reads the ledger: for the functions, for predictions without the SDK, for command line and console."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from dropforge.domain.batch_source import SourceFile
from dropforge.domain.drop_life import DropState, RecordedDrop
from dropforge.domain.moments import iso
from dropforge.domain.records import Lease, Live, LockName, ModelVersion, Run, StageChange
from dropforge.ledger_table import keys
from dropforge.ledger_table.calls import DynamoDbCalls
from dropforge.ledger_table.items import attributes_of, values_of

# BatchGetItem takes 100 keys.
_BATCH = 100
_BATCH_ATTEMPTS = 20

Cursor = Mapping[str, Any]
"""Where a page of a list starts, in DynamoDB's own form."""


class LedgerReader:
    """Typed reads of one ledger table. Reads of items are consistent; lists by time may lag a little."""

    def __init__(self, calls: DynamoDbCalls, table: str) -> None:
        self._calls = calls
        self._table = table

    # --- drops ----------------------------------------------------------------------------------

    def get_drop(self, drop_id: str) -> RecordedDrop | None:
        item = self._get(keys.drop(drop_id))
        return None if item is None else RecordedDrop.from_dict(item)

    def get_drops(self, drop_ids: Iterable[str]) -> list[RecordedDrop]:
        """The drops of these ids that there are, in no order."""
        found = self._get_many(keys.drop(each) for each in dict.fromkeys(drop_ids))
        return [RecordedDrop.from_dict(item) for item in found]

    def waiting_drops(self) -> list[RecordedDrop]:
        """Drops that wait, the oldest first. Reads what was written before the call."""
        markers = [item["drop_id"] for item in self._query(keys.PENDING_PARTITION)]
        by_id = {each.drop_id: each for each in self.get_drops(markers)}
        found = (by_id[each] for each in markers if each in by_id)
        return [each for each in found if each.state is DropState.WAITING]

    def newest_due(self, now: datetime) -> str | None:
        """The id of the newest drop that is to start a run by itself now; None where none is."""
        due = [
            item["drop_id"]
            for item in self._query(keys.PENDING_PARTITION)
            if item.get("due_at", "") <= iso(now)
        ]
        return due[-1] if due else None

    def list_drops(self) -> Iterator[RecordedDrop]:
        """Every drop that there ever was, in no order; a page of some 2,000 at a time."""
        return map(RecordedDrop.from_dict, self._query(keys.DROP_PARTITION))

    def newest_versions(self, object_keys: Iterable[str]) -> dict[str, str]:
        """The drop id of the newest known version of each object, by key."""
        found = self._get_many(keys.newest(each) for each in dict.fromkeys(object_keys))
        return {item["sk"]: item["drop_id"] for item in found}

    def folder_completed_at(self, marker_keys: Iterable[str]) -> str | None:
        """When the latest of these markers was written; None where none has come."""
        found = self._get_many(keys.folder_marker(each) for each in dict.fromkeys(marker_keys))
        return max((item["written_at"] for item in found), default=None)

    def unsettled_runs(self) -> list[str]:
        """The ids of runs that may hold drops."""
        return [item["sk"] for item in self._query(keys.UNSETTLED_PARTITION)]

    def drop_format(self) -> int:
        """In which form all drops are kept; 1 is that of before drops had a state."""
        item = self._get(keys.DROP_FORMAT)
        return 1 if item is None else int(item["format"])

    def source_files(self, bucket: str) -> Iterator[SourceFile]:
        """Every file of a batch source in `bucket` that was tried, by key; a page of some 3,000 at a time."""
        return map(SourceFile.from_dict, self._query(keys.source_partition(bucket)))

    # --- locks and runs -------------------------------------------------------------------------

    def held_lease(self, name: LockName) -> Lease | None:
        """The lease in force, expired or not; None while the lock is free."""
        item = self._get(keys.lock(name))
        return None if item is None or "holder" not in item else Lease.from_dict({**item, "name": name})

    def get_run(self, run_id: str) -> Run | None:
        item = self._get(keys.run(run_id))
        return None if item is None else Run.from_dict(item)

    def list_runs(self, limit: int | None = 100, since: datetime | None = None) -> list[Run]:
        """The newest runs first; with ``since`` those that started then or later."""
        found = self._query(
            keys.RUN_KIND, partition="kind", index=keys.INDEX, newest_first=True, limit=limit, since=since
        )
        return [Run.from_dict(item) for item in found]

    def runs_page(self, rows: int, start: Cursor | None = None) -> tuple[list[Run], Cursor | None]:
        """Up to ``rows`` runs, the newest first, and where the next page starts; None at the end."""
        request = self._query_request(keys.RUN_KIND, partition="kind", index=keys.INDEX, newest_first=True)
        request |= {"Limit": rows} | ({"ExclusiveStartKey": start} if start else {})
        answer = self._calls.call("Query", request)
        return [Run.from_dict(values_of(item)) for item in answer["Items"]], answer.get("LastEvaluatedKey")

    # --- model versions and what is live --------------------------------------------------------

    def get_model(self, version: int) -> ModelVersion | None:
        item = self._get(keys.model(version))
        return None if item is None else ModelVersion.from_dict(item)

    def list_models(self, limit: int | None = None) -> list[ModelVersion]:
        """Every version, the newest first, or so many of them."""
        found = self._query(keys.model(0)["pk"], newest_first=True, limit=limit)
        return [ModelVersion.from_dict(item) for item in found]

    def history(self, version: int) -> list[StageChange]:
        """A version's stage changes and decisions, the oldest first."""
        return [StageChange.from_dict(item) for item in self._query(keys.history_partition(version))]

    def live(self) -> Live | None:
        item = self._get(keys.LIVE)
        return None if item is None else Live.from_dict(item)

    def asleep_token(self) -> int | None:
        """The token of the promotion whose endpoint was put to sleep last; None if none ever was."""
        item = self._get(keys.ASLEEP)
        return None if item is None else int(item["token"])

    def asleep_since(self) -> str | None:
        """Since when the endpoint of what is live sleeps; None where it doesn't."""
        live, item = self.live(), self._get(keys.ASLEEP)
        if live is None or item is None or int(item["token"]) != live.token:
            return None
        return str(item["since"])

    def tracked_state(self) -> str | None:
        """What the tracker was told last, see `note_tracked`; None if it never was."""
        item = self._get(keys.TRACKED)
        return None if item is None else str(item["state"])

    def privacy_salt(self) -> bytes | None:
        """The key of the pseudonyms in the prediction log; None where none was made yet."""
        item = self._get(keys.PRIVACY_SALT)
        return None if item is None else base64.b64decode(item["salt"])

    # --- building blocks ------------------------------------------------------------------------

    def _get(self, key: keys.Key) -> dict[str, Any] | None:
        request = {"TableName": self._table, "Key": attributes_of(key), "ConsistentRead": True}
        item = self._calls.call("GetItem", request).get("Item")
        return None if item is None else values_of(item)

    def _get_many(self, wanted: Iterable[keys.Key]) -> Iterator[dict[str, Any]]:
        """Yield the items that there are, in no order."""
        waiting = [attributes_of(key) for key in wanted]
        attempts = 0
        while waiting:
            batch, waiting = waiting[:_BATCH], waiting[_BATCH:]
            request = {"RequestItems": {self._table: {"Keys": batch, "ConsistentRead": True}}}
            answer = self._calls.call("BatchGetItem", request)
            yield from map(values_of, answer["Responses"].get(self._table, []))
            left = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
            attempts = attempts + 1 if len(left) == len(batch) else 0
            if attempts == _BATCH_ATTEMPTS:
                raise TimeoutError(f"{self._table} left {len(left)} items unread {attempts} times in a row.")
            waiting += left

    def _query(
        self,
        value: str,
        *,
        partition: str = "pk",
        index: str | None = None,
        newest_first: bool = False,
        limit: int | None = None,
        since: datetime | None = None,
    ) -> Iterator[dict[str, Any]]:
        request = self._query_request(value, partition=partition, index=index, newest_first=newest_first)
        if since is not None:
            request["KeyConditionExpression"] += " AND #at >= :since"
            request["ExpressionAttributeNames"]["#at"] = "at"
            request["ExpressionAttributeValues"] |= attributes_of({":since": iso(since)})
        left = limit
        while left is None or left > 0:
            answer = self._calls.call("Query", request | ({} if left is None else {"Limit": left}))
            yield from map(values_of, answer["Items"])
            if left is not None:
                left -= len(answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _query_request(
        self, value: str, *, partition: str, index: str | None, newest_first: bool
    ) -> dict[str, Any]:
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "#partition = :value",
            "ExpressionAttributeNames": {"#partition": partition},
            "ExpressionAttributeValues": attributes_of({":value": value}),
            "ScanIndexForward": not newest_first,
        }
        # DynamoDB offers consistent reads of a table, not of a global index.
        return request | ({"IndexName": index} if index else {"ConsistentRead": True})
