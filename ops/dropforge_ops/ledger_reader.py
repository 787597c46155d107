"""Reads the ledger: runs, drops, model versions, history and the live pointer. It never writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from dropforge.domain import ledger_keys as keys
from dropforge.domain.moments import iso
from dropforge.domain.records import Lease, Live, LockName, ModelVersion, RecordedDrop, Run, StageChange
from dropforge.domain.triggers import Drop

_serialize = TypeSerializer().serialize
_deserialize = TypeDeserializer().deserialize
# BatchGetItem takes 100 keys.
_BATCH = 100
_BATCH_ATTEMPTS = 20

Cursor = Mapping[str, Any]
"""Where a page of a list starts, in DynamoDB's own form."""


class LedgerReader:
    """Typed reads of one ledger table. Reads of items are consistent; lists by time may lag a little."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def run(self, run_id: str) -> Run | None:
        item = self._get(keys.run(run_id))
        return None if item is None else Run.from_dict(item)

    def runs(self, limit: int, since: datetime | None = None) -> list[Run]:
        """The newest runs first; with ``since`` those that started then or later."""
        found = self._query(
            keys.RUN_KIND, partition="kind", index=keys.INDEX, newest_first=True, limit=limit, since=since
        )
        return [Run.from_dict(item) for item in found]

    def runs_page(self, rows: int, start: Cursor | None = None) -> tuple[list[Run], Cursor | None]:
        """Up to ``rows`` runs, the newest first, and where the next page starts; None at the end."""
        request = self._query_request(keys.RUN_KIND, partition="kind", index=keys.INDEX, newest_first=True)
        request |= {"Limit": rows} | ({"ExclusiveStartKey": start} if start else {})
        answer = self._client.query(**request)
        return [Run.from_dict(_plain(item)) for item in answer["Items"]], answer.get("LastEvaluatedKey")

    def drops(self, drop_ids: Iterable[str]) -> list[RecordedDrop]:
        """The drops of these ids that there are, in no order."""
        wanted = list(dict.fromkeys(drop_ids))
        found: list[RecordedDrop] = []
        for start in range(0, len(wanted), _BATCH):
            batch = [_wire(keys.drop(each)) for each in wanted[start : start + _BATCH]]
            request = {self._table: {"Keys": batch, "ConsistentRead": True}}
            for _ in range(_BATCH_ATTEMPTS):
                answer = self._client.batch_get_item(RequestItems=request)
                found += [_drop(_plain(item)) for item in answer["Responses"].get(self._table, [])]
                request = answer.get("UnprocessedKeys") or {}
                if not request:
                    break
        return found

    def pending_drops(self) -> list[RecordedDrop]:
        """The drops that no run covers yet, oldest first."""
        markers = [item["drop_id"] for item in self._query(keys.PENDING_PARTITION)]
        by_id = {each.drop.drop_id: each for each in self.drops(markers)}
        return [by_id[each] for each in markers if each in by_id and by_id[each].run_id is None]

    def lease(self, name: LockName) -> Lease | None:
        """Who holds a lock; None while it is free."""
        item = self._get(keys.lock(name))
        return None if item is None or "holder" not in item else Lease.from_dict({**item, "name": name})

    def model(self, version: int) -> ModelVersion | None:
        item = self._get(keys.model(version))
        return None if item is None else ModelVersion.from_dict(item)

    def models(self, limit: int | None = None) -> list[ModelVersion]:
        """Every version, the newest first, or so many of them."""
        found = self._query(keys.model(0)["pk"], newest_first=True, limit=limit)
        return [ModelVersion.from_dict(item) for item in found]

    def history(self, version: int) -> list[StageChange]:
        """A version's stage changes and decisions, the oldest first."""
        return [StageChange.from_dict(item) for item in self._query(keys.history_partition(version))]

    def asleep_since(self) -> str | None:
        """Since when the endpoint of what is live sleeps; None where it doesn't."""
        live, item = self.live(), self._get(keys.ASLEEP)
        if live is None or item is None or int(item["token"]) != live.token:
            return None
        return str(item["since"])

    def live(self) -> Live | None:
        item = self._get(keys.LIVE)
        return None if item is None else Live.from_dict(item)

    def _get(self, key: keys.Key) -> dict[str, Any] | None:
        answer = self._client.get_item(TableName=self._table, Key=_wire(key), ConsistentRead=True)
        return _plain(answer["Item"]) if "Item" in answer else None

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
            request["ExpressionAttributeValues"] |= _wire({":since": iso(since)})
        left = limit
        while left is None or left > 0:
            answer = self._client.query(**request, **({} if left is None else {"Limit": left}))
            yield from map(_plain, answer["Items"])
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
            "ExpressionAttributeValues": _wire({":value": value}),
            "ScanIndexForward": not newest_first,
        }
        # DynamoDB offers consistent reads of a table, not of a global index.
        return request | ({"IndexName": index} if index else {"ConsistentRead": True})


def _drop(item: Mapping[str, Any]) -> RecordedDrop:
    return RecordedDrop(
        drop=Drop.from_dict(item),
        received_at=item["received_at"],
        received_by=item["received_by"],
        run_id=item.get("run_id"),
        duplicates=item["duplicates"],
    )


def _wire(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _serialize(value) for name, value in values.items()}


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(_deserialize(value)) for name, value in item.items()}


def _number(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {name: _number(each) for name, each in value.items()}
    return [_number(each) for each in value] if isinstance(value, list) else value
