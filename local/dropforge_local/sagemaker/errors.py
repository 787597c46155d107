"""The one error that the SageMaker service answers with."""

from __future__ import annotations

from typing import Any

UNAVAILABLE_OPERATION = "UnsupportedOperation"


class ServiceError(Exception):
    """An answer that is no success: an AWS error code, a message, and the HTTP status that goes with it.

    ``extra`` holds further members of the error's shape (``OriginalStatusCode`` of a ``ModelError``).
    """

    def __init__(self, code: str, message: str, http_status: int = 400, **extra: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.http_status = http_status
        self.extra = extra


def validation(message: str) -> ServiceError:
    """The error of a request that SageMaker refuses because of its content or of a resource's state."""
    return ServiceError("ValidationException", message, 400)


def unsupported(what: str) -> ServiceError:
    """The error of a request that is right on AWS but that this host can't carry out.

    A ``ValidationException``, because that is what callers handle; the text says whose limit it is.
    """
    return validation(f"The local host does not support {what}.")
