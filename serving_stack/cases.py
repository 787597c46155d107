"""What is asked of both servers, and whether they answered the same."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JSON = "application/json"


@dataclass(frozen=True)
class Request:
    """One request. `behind_nginx` tells whether nginx passes it on."""

    name: str
    method: str
    path: str
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    behind_nginx: bool = True

    def to_dict(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "path": self.path,
            "headers": dict(self.headers),
            "body": None if self.body is None else base64.b64encode(self.body).decode(),
        }


def requests_for(smoke: Mapping[str, Any]) -> list[Request]:
    """Return the requests for a model: its smoke rows in both types, and everything that is refused."""
    rows = smoke["instances"]
    sent = json.dumps({"instances": rows}).encode()
    as_json, as_csv = ("Content-Type", JSON), ("Content-Type", "text/csv")
    names = list(rows[0])
    csv = "\n".join(
        [",".join(names), *(",".join(json.dumps(row[name]) for name in names) for row in rows)]
    ).encode()
    incomplete = json.dumps({"instances": [{name: rows[0][name] for name in names[1:]}]}).encode()
    unseen = json.dumps(
        {
            "instances": [
                {n: "never seen" if isinstance(v, str) else v for n, v in row.items()} for row in rows
            ]
        }
    ).encode()
    wrong = json.dumps({"instances": [{**rows[0], names[0]: "no number"}]}).encode()

    def invocation(name: str, body: bytes, *headers: tuple[str, str]) -> Request:
        return Request(name, "POST", "/invocations", body, headers)

    return [
        Request("ping", "GET", "/ping"),
        Request("ping, HEAD", "HEAD", "/ping"),
        Request("ping, POST", "POST", "/ping", b""),
        invocation("smoke rows", sent, as_json),
        invocation("smoke rows one by one", json.dumps({"instances": rows[:1]}).encode(), as_json),
        invocation("smoke rows, no content type", sent),
        invocation("smoke rows, any answer", sent, as_json, ("Accept", "*/*")),
        invocation("smoke rows, charset", sent, ("Content-Type", f"{JSON}; charset=utf-8")),
        invocation("smoke rows, CSV", csv, as_csv),
        invocation("a column is missing", incomplete, as_json),
        invocation("text for a number", wrong, as_json),
        invocation("categories that were never seen", unseen, as_json),
        invocation("no JSON", b"{", as_json),
        invocation("no UTF-8", b'{"instances": "\xff"}', as_json),
        invocation("nothing", b"", as_json),
        invocation("no rows", b'{"instances": []}', as_json),
        invocation("another content type", sent, ("Content-Type", "image/png")),
        invocation("another answer wanted", sent, as_json, ("Accept", "image/png")),
        Request("invocations, GET", "GET", "/invocations"),
        Request("invocations, OPTIONS", "OPTIONS", "/invocations"),
        Request("another path", "GET", "/models", behind_nginx=False),
    ]


def answer_to(port: int, request: dict[str, Any], timeout_s: float = 60.0) -> dict[str, Any]:
    """Send a request; status, content type and body of the answer, status 0 if none came."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        body = base64.b64decode(request["body"]) if request["body"] is not None else None
        connection.request(request["method"], request["path"], body, request["headers"])
        answer = connection.getresponse()
        content = answer.read()
        return {
            "status": answer.status,
            "type": answer.getheader("Content-Type"),
            "body": base64.b64encode(content).decode(),
        }
    except (OSError, http.client.HTTPException) as error:
        return {"status": 0, "type": None, "body": base64.b64encode(repr(error).encode()).decode()}
    finally:
        connection.close()


def difference(request: Request, theirs: dict[str, Any], ours: dict[str, Any]) -> str | None:
    """Say in words how two answers differ in status, content type or body; None if they don't."""
    for name in ("status", "type"):
        if theirs[name] != ours[name]:
            return f"{request.name}: {name} {theirs[name]!r}, ours {ours[name]!r}"
    their_body, our_body = (base64.b64decode(each["body"]) for each in (theirs, ours))
    if their_body != our_body:
        return f"{request.name}: body {their_body[:120]!r}, ours {our_body[:120]!r}"
    return None
