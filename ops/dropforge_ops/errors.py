"""Every way in which a command can end, and the exit code that says so."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, Self

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)

from dropforge.domain.errors import cut


class ExitCode(IntEnum):
    """What a command's exit code says; ``meaning`` is what the help and the reference say of it."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        made = int.__new__(cls, code)
        made._value_ = code
        made.meaning = meaning
        return made

    OK = 0, "done; a run that ended with a verdict (rejected, superseded, expired) is done too"
    FAILED = 1, "the run or operation failed"
    USAGE = 2, "wrong usage or input"
    NOT_FOUND = 3, "what was asked for is not there"
    UNREACHABLE = 4, "AWS or the local host can't be reached, or refuses the credentials or the permission"
    TIMED_OUT = 5, "a wait ran out of time; what was waited for goes on"
    INTERRUPTED = 130, "interrupted with Ctrl-C"


class CommandError(Exception):
    """Base of the expected ends of a command. The message says what is wrong, where, and what to do.

    ``facts`` goes beside the message into the JSON document of ``--json``. A message that is too long for a
    terminal is cut in its middle.
    """

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, /, **facts: Any) -> None:
        super().__init__(cut(message))
        self.facts = facts


class OperationFailed(CommandError):
    """The run or operation came to an end that is a failure."""


class UsageError(CommandError):
    """The arguments or the input can't be used."""

    exit_code = ExitCode.USAGE


class NotInstalled(CommandError):
    """The command needs a part of dropforge that is not installed here."""

    exit_code = ExitCode.USAGE


class NotFound(CommandError):
    """What was asked for is not there (yet)."""

    exit_code = ExitCode.NOT_FOUND


class Unreachable(CommandError):
    """AWS or the local host doesn't answer, or refuses who asks."""

    exit_code = ExitCode.UNREACHABLE


class TimedOut(CommandError):
    """A wait ran out of time. What was waited for goes on."""

    exit_code = ExitCode.TIMED_OUT


class Interrupted(CommandError):
    """Ctrl-C."""

    exit_code = ExitCode.INTERRUPTED


_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "UnauthorizedOperation",
        "NotAuthorized",
        "403",
        "Forbidden",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "MissingAuthenticationToken",
        "RequestExpired",
        "OptInRequired",
    }
)


_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, TokenRetrievalError)
_UNREACHABLE: tuple[tuple[tuple[type[BotoCoreError], ...], str], ...] = (
    ((ProfileNotFound,), "{error}. 'aws configure list-profiles' names those there are."),
    (
        _NO_CREDENTIALS,
        "No AWS credentials: {error}. Sign in (for example 'aws sso login') or name a profile with "
        "--profile; for the local host start 'dropforge up' in the project's folder.",
    ),
    ((NoRegionError,), "{error}. Give one with --region, or set it in the profile."),
    (
        (ConnectionError, HTTPClientError),
        "{where} doesn't answer: {error}. Is the host running, and the network up?",
    ),
)

NO_PACKAGE: Final = ("ValidationException", "ResourceNotFound")
"""What SageMaker says of a model package that there is not.

https://docs.aws.amazon.com/sagemaker/latest/APIReference/CommonErrors.html
"""


def code_of(error: ClientError) -> str:
    """The service's name for the error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def message_of(error: ClientError) -> str:
    """The service's own words."""
    return str(error.response.get("Error", {}).get("Message") or error)


def from_aws(error: ClientError | BotoCoreError, where: str) -> CommandError:
    """The command's end that an AWS error means. ``where`` names the host that was asked."""
    if isinstance(error, ClientError):
        said = f"{error.operation_name} on {where}: {message_of(error)}"
        if code_of(error) in _DENIED:
            return Unreachable(f"{said} ({code_of(error)}). Check the credentials and their permissions.")
        return OperationFailed(f"{said} ({code_of(error)}).")
    for kinds, template in _UNREACHABLE:
        if isinstance(error, kinds):
            return Unreachable(template.format(error=str(error).rstrip("."), where=where))
    return OperationFailed(f"{where}: {error}")
