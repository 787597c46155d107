"""What a check has to say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Finding:
    """One fault.

    ``check`` is the check's name, ``where`` a state, a resource, a file or a role.
    """

    check: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message} [{self.check}]"


def report(what: str, findings: list[Finding]) -> int:
    """Print the findings and how many there are; the exit code."""
    for finding in findings:
        print(finding)
    print(f"{len(findings)} finding(s) in {what}")
    return 1 if findings else 0
