"""What a check of the doctor finds, and how checks are run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from botocore.exceptions import BotoCoreError, ClientError

from dropforge_ops.errors import CommandError, from_aws


class Status(StrEnum):
    """How something stands. Only `FAIL` keeps dropforge from working; `SKIP` does not apply here."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor. ``remedy`` says what to do, where something is to be done."""

    check: str
    status: Status
    detail: str
    remedy: str | None = None


@dataclass(frozen=True)
class Check:
    """A check, and what it means that it could not be made."""

    name: str
    look: Callable[[], Finding | Iterable[Finding]]
    unreadable: Status = Status.FAIL


def made(checks: Sequence[Check], where: str) -> list[Finding]:
    """Make the checks one after the other; an error of one is its finding, and keeps no other back."""
    found: list[Finding] = []
    for check in checks:
        try:
            answer = check.look()
            found += [answer] if isinstance(answer, Finding) else list(answer)
        except CommandError as error:
            found.append(Finding(check.name, check.unreadable, str(error)))
        except (ClientError, BotoCoreError) as error:
            found.append(Finding(check.name, check.unreadable, str(from_aws(error, where))))
    return found


def skipped(names: Iterable[str], why: str) -> list[Finding]:
    """A line for each check that does not apply."""
    return [Finding(name, Status.SKIP, why) for name in names]
