"""The SDK's errors, translated into dropforge's classes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    ClientError,
    HTTPClientError,
    ReadTimeoutError,
)
from botocore.exceptions import (
    ConnectionError as BotocoreConnectionError,
)

from dropforge.adapters.aws_error_codes import error_of
from dropforge.domain.errors import DropforgeError, ServiceUnavailable


def code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def translate(error: Exception, doing: str) -> DropforgeError:
    """The dropforge error for a failed AWS call; ``doing`` says what was tried, as in 'reading s3://b/k'."""
    if not isinstance(error, ClientError):
        return ServiceUnavailable(f"No answer from AWS while {doing}: {error}")
    code = code_of(error)
    message = error.response.get("Error", {}).get("Message", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    said = f"{error.operation_name} failed while {doing}: {code}: {message}"
    return error_of(code, status, said)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Let only dropforge's errors out of the block.

    Raises:
        ServiceUnavailable: throttling, a 5xx or no answer; a retry may succeed.
        AccessDenied, ServiceRejected: a retry changes nothing.
    """
    try:
        yield
    except (ClientError, BotocoreConnectionError, HTTPClientError, ReadTimeoutError) as error:
        raise translate(error, doing) from error
