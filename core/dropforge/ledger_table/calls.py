"""DynamoDB's operations as the ledger's reader asks for them, whoever carries the calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class DynamoDbCalls(Protocol):
    """DynamoDB's JSON protocol: an operation's request in, its answer out, as in the API reference."""

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Call the operation.

        Raises:
            ConditionFailed: the request's condition did not hold.
            Exception: any other refusal, in the terms of whoever carries the calls.
        """
        ...


class ConditionFailed(Exception):
    """A conditional write found its condition unmet; nothing was written."""


class ClientCalls:
    """`DynamoDbCalls` through a client of the SDK, which is given; its own errors come through."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        name = "".join(f"_{each.lower()}" if each.isupper() else each for each in operation).lstrip("_")
        answer: dict[str, Any] = getattr(self._client, name)(**request)
        return answer
