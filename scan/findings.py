"""What a scanner has to say, and what we answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

EXCEPTIONS = Path(__file__).with_name("exceptions.yaml")


@dataclass(frozen=True, order=True)
class Finding:
    """One rule that one resource breaks, in one configuration of the template."""

    scanner: str
    rule: str
    resource: str
    configuration: str
    says: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a scanner looked at and found."""

    scanner: str
    passed: int
    findings: Sequence[Finding]


@dataclass(frozen=True)
class Excuse:
    """Why a rule may be broken by some resources: glob patterns of their names, in these configurations."""

    rule: str
    resources: tuple[str, ...]
    configurations: tuple[str, ...]
    reason: str

    def covers(self, finding: Finding) -> bool:
        return (
            finding.rule == self.rule
            and finding.configuration in self.configurations
            and any(fnmatchcase(finding.resource, pattern) for pattern in self.resources)
        )


@dataclass(frozen=True)
class Verdict:
    """The findings by what excuses them; `unexplained` ones and `unneeded` excuses are faults."""

    explained: Sequence[tuple[Excuse, Sequence[Finding]]]
    unexplained: Sequence[Finding]
    unneeded: Sequence[Excuse]

    @property
    def is_clean(self) -> bool:
        return not self.unexplained and not self.unneeded


class InvalidExceptions(ValueError):
    """The file of exceptions can't be read as such; the message says which entry and what it lacks."""


def read_excuses(path: Path = EXCEPTIONS, configurations: Sequence[str] = ()) -> list[Excuse]:
    """Every exception of the file.

    Raises:
        InvalidExceptions: an entry lacks a field or a reason, or names a configuration that isn't there.
    """
    excuses = []
    for number, entry in enumerate(yaml.safe_load(path.read_text(encoding="utf-8")), start=1):
        try:
            excuse = Excuse(
                rule=entry["rule"],
                resources=tuple(entry["resources"]),
                configurations=tuple(entry.get("configurations", configurations)),
                reason=" ".join(entry["reason"].split()),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidExceptions(f"{path}: entry {number} lacks rule, resources or reason.") from error
        if not excuse.reason or not excuse.resources:
            raise InvalidExceptions(f"{path}: entry {number} ({excuse.rule}) has no reason or no resource.")
        if unknown := set(excuse.configurations) - set(configurations):
            raise InvalidExceptions(
                f"{path}: entry {number} names {sorted(unknown)}, which is nothing scanned."
            )
        excuses.append(excuse)
    return excuses


def judge(findings: Iterable[Finding], excuses: Sequence[Excuse]) -> Verdict:
    """Put every finding to the first exception that covers it."""
    explained: dict[int, list[Finding]] = {}
    unexplained = []
    for finding in sorted(findings):
        number = next((n for n, excuse in enumerate(excuses) if excuse.covers(finding)), None)
        if number is None:
            unexplained.append(finding)
        else:
            explained.setdefault(number, []).append(finding)
    return Verdict(
        explained=[(excuse, explained[n]) for n, excuse in enumerate(excuses) if n in explained],
        unexplained=unexplained,
        unneeded=[excuse for n, excuse in enumerate(excuses) if n not in explained],
    )
