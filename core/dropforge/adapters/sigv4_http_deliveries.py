"""Answers to EventBridge and poison to the dead-letter queue, without the SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import batched
from typing import Any

from dropforge.adapters.sigv4_http import (
    CallRefused,
    Credentials,
    SignedHttp,
    Signer,
    endpoint_url,
    translated,
)
from dropforge.adapters.sigv4_http_services import json_error

SOURCE, DETAIL_TYPE = "dropforge", "Prediction"
# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
_EVENTS_A_CALL = 10
_CALL_BYTES = 240_000


class DeliveriesHttp:
    """`Deliveries` over signed HTTP: the account's default event bus, and one queue."""

    def __init__(self, env: Mapping[str, str], queue_url: str) -> None:
        region, credentials = env["AWS_REGION"], Credentials.from_env(env)
        self._queue_url = queue_url
        self._events = SignedHttp(
            endpoint_url(env, "EVENTBRIDGE", "events", region), Signer(credentials, region, "events")
        )
        self._queues = SignedHttp(endpoint_url(env, "SQS", "sqs", region), Signer(credentials, region, "sqs"))

    def publish(self, details: Sequence[str]) -> list[bool]:
        taken: list[bool] = []
        for call in _calls(details):
            entries = [{"Source": SOURCE, "DetailType": DETAIL_TYPE, "Detail": each} for each in call]
            answer = _call(self._events, "AWSEvents.PutEvents", "1.1", {"Entries": entries})
            taken += ["ErrorCode" not in each for each in answer["Entries"]]
        return taken

    def set_aside(self, message: str) -> None:
        request = {"QueueUrl": self._queue_url, "MessageBody": message}
        _call(self._queues, "AmazonSQS.SendMessage", "1.0", request)


def _calls(details: Sequence[str]) -> list[list[str]]:
    """The events of each call, which are bounded in number and in size together."""
    calls: list[list[str]] = []
    for some in batched(details, _EVENTS_A_CALL):
        size = _CALL_BYTES
        for each in some:
            length = len(each.encode())
            if size + length > _CALL_BYTES:
                calls.append([])
                size = 0
            calls[-1].append(each)
            size += length
    return calls


def _call(http: SignedHttp, target: str, version: str, request: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"content-type": f"application/x-amz-json-{version}", "x-amz-target": target}
    try:
        answer = http.send("POST", "/", headers, json.dumps(request).encode(), json_error)
    except CallRefused as refused:
        raise translated(refused, target) from refused
    found: dict[str, Any] = json.loads(answer.body)
    return found
