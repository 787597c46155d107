"""What is live, from the ledger and S3, kept for a few seconds."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from dropforge.adapters.sigv4_http_services import ConditionFailed, DynamoDbCalls
from dropforge.domain import ledger_keys as keys
from dropforge.domain.contract import Contract
from dropforge.domain.errors import ArtifactChanged, ServiceUnavailable
from dropforge.domain.predictions import needs_salt
from dropforge.domain.records import Live
from dropforge.domain.serving import LiveModel

KEPT_S = 5.0
_SALT_BYTES = 32


class Objects(Protocol):
    """Reads S3 objects whole."""

    def read(self, uri: str) -> bytes: ...


class LedgerLiveModels:
    """See ``dropforge.domain.serving.LiveModels`` for what each method promises.

    Args:
        kept_s: how long the live pointer is trusted, in seconds.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        dynamodb: DynamoDbCalls,
        ledger_table: str,
        objects: Callable[[], Objects],
        *,
        kept_s: float = KEPT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dynamodb, self._table, self._objects = dynamodb, ledger_table, objects
        self._kept_s, self._clock = kept_s, clock
        self._known: LiveModel | None = None
        self._known_at = float("-inf")
        self._evaluation: tuple[int, Mapping[str, Any]] | None = None
        self._salt = b""

    def current(self, *, fresh: bool = False) -> LiveModel | None:
        now = self._clock()
        if fresh or self._known is None or now - self._known_at >= self._kept_s:
            item = self._get(keys.LIVE)
            self._known = None if item is None else self._model(Live.from_dict(item))
            self._known_at = now
        return self._known

    def evaluation(self, live: Live) -> Mapping[str, Any]:
        if self._evaluation is None or self._evaluation[0] != live.version:
            item = self._get(keys.model(live.version))
            if item is None:
                raise ServiceUnavailable(f"Version {live.version} is live and not in the ledger.")
            self._evaluation = (live.version, json.loads(self._objects().read(item["evaluation_uri"])))
        return self._evaluation[1]

    def _model(self, live: Live) -> LiveModel:
        if self._known is not None and self._known.contract.hash == live.contract_hash:
            return LiveModel(live, self._known.contract, self._known.salt)
        contract = Contract.from_json(self._objects().read(live.contract_uri))
        if contract.hash != live.contract_hash:
            raise ArtifactChanged(
                f"{live.contract_uri} is not the contract that version {live.version} was trained on. "
                "Restore the object's first version."
            )
        return LiveModel(live, contract, self._read_salt() if needs_salt(contract) else b"")

    def _read_salt(self) -> bytes:
        """The key of the pseudonyms: read, or made by whoever comes first."""
        if not self._salt:
            salt = read_salt(self._dynamodb, self._table)
            if salt is None:
                self._offer_salt()
                salt = read_salt(self._dynamodb, self._table)
            if salt is None:
                raise ServiceUnavailable("The salt of the pseudonyms was written and is not there.")
            self._salt = salt
        return self._salt

    def _offer_salt(self) -> None:
        salt = base64.b64encode(os.urandom(_SALT_BYTES)).decode()
        item = {name: {"S": value} for name, value in {**keys.PRIVACY_SALT, "salt": salt}.items()}
        request = {
            "TableName": self._table,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        try:
            self._dynamodb.call("PutItem", request)
        except ConditionFailed:
            return  # another was first; its salt counts

    def _get(self, key: keys.Key) -> dict[str, Any] | None:
        return _item(self._dynamodb, self._table, key)


def read_salt(dynamodb: DynamoDbCalls, ledger_table: str) -> bytes | None:
    """The key of the pseudonyms, or None where none was made yet: then nothing was logged under one."""
    item = _item(dynamodb, ledger_table, keys.PRIVACY_SALT)
    return None if item is None else base64.b64decode(item["salt"])


def _item(dynamodb: DynamoDbCalls, table: str, key: keys.Key) -> dict[str, Any] | None:
    wanted = {name: {"S": value} for name, value in key.items()}
    request = {"TableName": table, "Key": wanted, "ConsistentRead": True}
    item = dynamodb.call("GetItem", request).get("Item")
    return None if item is None else {name: _plain(value) for name, value in item.items()}


def _plain(attribute: Mapping[str, Any]) -> Any:
    """The plain value of one of DynamoDB's typed attributes; numbers with a fraction are floats.
    https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_AttributeValue.html
    """
    ((kind, value),) = attribute.items()
    match kind:
        case "S" | "BOOL":
            return value
        case "N":
            return int(value) if value.lstrip("-").isdigit() else float(value)
        case "NULL":
            return None
        case "M":
            return {name: _plain(each) for name, each in value.items()}
        case "L":
            return [_plain(each) for each in value]
    raise ServiceUnavailable(f"The ledger has an attribute of type {kind}, which it never writes.")
