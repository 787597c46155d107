"""What AWS's error codes mean to dropforge: one explicit table, without any SDK."""

from __future__ import annotations

from typing import Final

from dropforge.domain.errors import AccessDenied, DropforgeError, ServiceRejected, ServiceUnavailable

TRANSIENT_CODES: Final = frozenset(
    {
        "InternalDependencyException",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "InternalServerException",
        "KmsThrottlingException",
        "LimitExceededException",
        "ModelNotReadyException",
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
DENIED_CODES: Final = frozenset(
    {
        "403",  # of S3's HEAD requests, which have no body
        "AccessDenied",
        "AccessDeniedException",
        "KmsAccessDeniedException",
        "UnauthorizedOperation",
    }
)


def is_transient(code: str, status: int) -> bool:
    """Whether the same call may succeed later."""
    return code in TRANSIENT_CODES or status >= 500


def error_of(code: str, status: int, said: str) -> DropforgeError:
    """Return the dropforge error for a refused call; `said` names the operation and quotes AWS."""
    if is_transient(code, status):
        return ServiceUnavailable(said)
    if code in DENIED_CODES:
        return AccessDenied(f"{said}. Grant the function's role the action in template.yaml.")
    return ServiceRejected(said)
