"""What is live, from the ledger and S3, kept for a few seconds."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from dropforge.domain.errors import ServiceUnavailable
from dropforge.domain.predictions import needs_salt
from dropforge.domain.records import Live
from dropforge.domain.serving import LiveModel, read_live_contract
from dropforge.ledger_table import keys
from dropforge.ledger_table.calls import ConditionFailed, DynamoDbCalls
from dropforge.ledger_table.items import item_of
from dropforge.ledger_table.reader import LedgerReader

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
        self._ledger = LedgerReader(dynamodb, ledger_table)
        self._kept_s, self._clock = kept_s, clock
        self._known: LiveModel | None = None
        self._known_at = float("-inf")
        self._evaluation: tuple[int, Mapping[str, Any]] | None = None
        self._salt = b""

    def current(self, *, fresh: bool = False) -> LiveModel | None:
        now = self._clock()
        if fresh or self._known is None or now - self._known_at >= self._kept_s:
            live = self._ledger.live()
            self._known = None if live is None else self._model(live)
            self._known_at = now
        return self._known

    def evaluation(self, live: Live) -> Mapping[str, Any]:
        if self._evaluation is None or self._evaluation[0] != live.version:
            model = self._ledger.get_model(live.version)
            if model is None:
                raise ServiceUnavailable(f"Version {live.version} is live and not in the ledger.")
            self._evaluation = (live.version, json.loads(self._objects().read(model.evaluation_uri)))
        return self._evaluation[1]

    def _model(self, live: Live) -> LiveModel:
        if self._known is not None and self._known.contract.hash == live.contract_hash:
            return LiveModel(live, self._known.contract, self._known.salt)
        contract = read_live_contract(live, self._objects().read)
        return LiveModel(live, contract, self._read_salt() if needs_salt(contract) else b"")

    def _read_salt(self) -> bytes:
        """The key of the pseudonyms: read, or made by whoever comes first."""
        if not self._salt:
            salt = self._ledger.privacy_salt()
            if salt is None:
                self._offer_salt()
                salt = self._ledger.privacy_salt()
            if salt is None:
                raise ServiceUnavailable("The salt of the pseudonyms was written and is not there.")
            self._salt = salt
        return self._salt

    def _offer_salt(self) -> None:
        salt = base64.b64encode(os.urandom(_SALT_BYTES)).decode()
        request = {
            "TableName": self._table,
            "Item": item_of({**keys.PRIVACY_SALT, "salt": salt}),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        try:
            self._dynamodb.call("PutItem", request)
        except ConditionFailed:
            return  # another was first; its salt counts
