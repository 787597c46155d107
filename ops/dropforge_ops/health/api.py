"""Checks of the deployed prediction API: it answers, and it refuses whoever it doesn't know."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

import urllib3

from dropforge_ops.health.findings import Finding, Status
from dropforge_ops.stack.target import Target

CLOSED = (
    ("GET", "/model"),
    ("POST", "/predict"),
    ("GET", f"/predictions/{'0' * 32}"),
    ("POST", "/outcomes"),
)
"""What only known callers may do. Even an open one would change nothing: the requests have no body."""
FUNCTION_REFUSED = "UnknownCaller"
"""How the function refuses what API Gateway should have."""
_TIMEOUT_S = 10.0
_REMEDY = "Deploy again, which renews the API's stage; docs/security.md says what to do if it stays open."


def check(target: Target) -> Iterable[Finding]:
    """Ask for its health, and without a key, a signature or a token for all that needs one."""
    url = target.api_url
    try:
        status, _ = answer("GET", f"{url}/health")
        if status >= 500:
            said = f"{url}/health answers {status}"
            return [Finding("API", Status.FAIL, said, "See the predict function's log.")]
        found = list(_open(url))
    except urllib3.exceptions.HTTPError as error:
        return [
            Finding("API", Status.FAIL, f"{url} doesn't answer: {error}", "Check the network and the URL.")
        ]
    return found or [Finding("API", Status.OK, f"{url} answers, and refuses unknown callers")]


def _open(url: str) -> Iterator[Finding]:
    for method, path in CLOSED:
        status, kind = answer(method, f"{url}{path}")
        if status not in (401, 403):
            said = (
                f"{method} {path} is answered with {status} to unknown callers, not refused with 401 or 403"
            )
            yield Finding("API", Status.FAIL, said, _REMEDY)
        elif kind == FUNCTION_REFUSED:
            said = f"{method} {path} is open: API Gateway lets anybody through, and only the function refuses"
            yield Finding("API", Status.FAIL, said, _REMEDY)


def answer(method: str, url: str) -> tuple[int, str]:
    """(HTTP status, type of the error) of a request with neither a body nor any credentials."""
    with urllib3.PoolManager(retries=False, timeout=_TIMEOUT_S) as pool:
        response = pool.request(method, url, headers={"Content-Type": "application/json"})
    try:
        return response.status, str(json.loads(response.data)["error"]["type"])
    except (ValueError, KeyError, TypeError):
        return response.status, ""
