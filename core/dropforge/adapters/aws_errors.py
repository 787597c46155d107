"""AWS's error codes, translated into dropforge's classes by one explicit table."""

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

from dropforge.domain.errors import AccessDenied, DropforgeError, ServiceRejected, ServiceUnavailable

_TRANSIENT_CODES = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "InternalServerException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
_DENIED_CODES = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})


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
    if code in _TRANSIENT_CODES or status >= 500:
        return ServiceUnavailable(said)
    if code in _DENIED_CODES:
        return AccessDenied(f"{said}. Grant the function's role the action in template.yaml.")
    return ServiceRejected(said)


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
