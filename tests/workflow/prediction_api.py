"""The deployed prediction API over HTTP, as its callers see it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dropforge_local.api_urls import local_api_url
from tests.workflow.stack import Stack


@dataclass(frozen=True)
class HttpAnswer:
    """Status, headers by lower-case name, and the JSON body."""

    status: int
    headers: Mapping[str, str]
    body: Any


class Api:
    """The API of a stack; ``key`` is the value of its API key, None where the stack has none."""

    def __init__(self, stack: Stack) -> None:
        self.url = local_api_url(stack.outputs["ApiUrl"], stack.host.endpoint_url)
        self.key: str | None = None
        if "ApiKeyId" in stack.outputs:
            found = stack.host.client("apigateway").get_api_key(
                apiKey=stack.outputs["ApiKeyId"], includeValue=True
            )
            self.key = found["value"]

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        """Send exactly this."""
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        try:
            connection.request(method, parts.path + path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        return HttpAnswer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            json.loads(text) if text else None,
        )

    def call(self, method: str, path: str, document: Any = None) -> HttpAnswer:
        """Send a JSON document, with the key."""
        headers = {"Content-Type": "application/json"}
        if self.key is not None:
            headers["x-api-key"] = self.key
        body = None if document is None else json.dumps(document).encode()
        return self.send(method, path, body, headers)
