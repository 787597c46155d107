"""Predictions of an asynchronous endpoint: what names them, where their parts lie, and how long they wait.

A request of many instances has an id of its own, and each prediction's id tells its request's: the request's
digits stand in it. So that whoever asks by either finds the request's objects without a table of both.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final, Protocol

from dropforge.domain.predictions import prediction_id

PREFIX: Final = "asynchronous"
"""Below this in the data bucket; the template's policies, its lifecycle and the state machine name it too."""

REQUEST_TTL_S: Final = 3600
"""How long a request may wait for an instance. The watch waits as long before it looks at a window."""

WAITING: Final = "waiting"
"""The status of what isn't answered yet."""

INVOCATION_TIMEOUT_S: Final = 60
"""How long the container may take, as on a real-time endpoint."""

SETTLED_AFTER_S: Final = REQUEST_TTL_S + INVOCATION_TIMEOUT_S + 240
"""After this no answer comes any more."""

_TIME, _REQUEST = 11, 10
_REQUEST_ID = re.compile(rf"[0-9a-f]{{{_TIME + _REQUEST}}}")


class LaterScorer(Protocol):
    """The asynchronous endpoint."""

    def submit(
        self, endpoint_name: str, input_uri: str, *, identifier: str, filename: str
    ) -> tuple[str, str]:
        """Queue a JSON request that lies in S3; returns the URIs of its answer and of its error.

        Args:
            identifier: the request's id, for the container's log.
            filename: of the answer.

        Raises:
            EndpointMissing, ServiceUnavailable: it was not queued.
        """
        ...


class Objects(Protocol):
    """Reads and writes S3 objects whole."""

    def find(self, uri: str) -> tuple[bytes, int] | None:
        """An object's content, and when it was written, in milliseconds since 1970; None if there is none."""
        ...

    def write(self, uri: str, content: bytes) -> None: ...


def request_id(at_ms: int, request: str) -> str:
    """Return the id of a request; see `prediction_id` for its arguments.

    >>> request_id(1_795_251_600_000, "52fdfc07")
    '1a1fd557a80822f3c8b97'
    """
    digest = hashlib.sha256(request.encode()).hexdigest()
    return f"{at_ms:0{_TIME}x}{digest[:_REQUEST]}"


def is_request_id(text: str) -> bool:
    """Whether the text has the form of a request's id."""
    return _REQUEST_ID.fullmatch(text) is not None


def id_in_request(request: str, index: int) -> str:
    """Return the id of one of a request's predictions.

    It is a prediction's id as any other: first the time, then the shard's digit, last what tells it apart.

    >>> id_in_request("1a1fd557a80822f3c8b97", 0)[:22], request_of(id_in_request("1a1fd557a80822f3c8b97", 0))
    ('1a1fd557a801822f3c8b97', '1a1fd557a80822f3c8b97')
    """
    own = prediction_id(0, request, index)[_TIME:]
    return f"{request[:_TIME]}{own[0]}{request[_TIME:]}{own[1 + _REQUEST :]}"


def request_of(prediction: str) -> str:
    """Return the id of the request that a prediction is part of, if it was asked for asynchronously."""
    return prediction[:_TIME] + prediction[_TIME + 1 : _TIME + 1 + _REQUEST]


def asked_at_ms(request: str) -> int:
    """Return when a request came, in milliseconds since 1970-01-01 UTC."""
    return int(request[:_TIME], 16)


def part_uri(bucket: str, part: str, request: str) -> str:
    """Return where a part of a request lies: ``in``, ``asked``, ``out`` or ``answers``."""
    return f"s3://{bucket}/{PREFIX}/{part}/{request}.json"


def request_of_output(event: Any) -> str | None:
    """Return the request whose answer an ``Object Created`` event tells of; None where it tells of another.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    key = str(event["detail"]["object"]["key"])
    found = key.removeprefix(f"{PREFIX}/out/").removesuffix(".json")
    return found if is_request_id(found) and key == f"{PREFIX}/out/{found}.json" else None
