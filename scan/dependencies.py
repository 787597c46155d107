"""What the lock file names: known vulnerabilities of it, and a bill of materials."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scan.findings import Finding, Outcome
from scan.rendering import ROOT
from scan.scanners import ScannerFailed, ScannerMissing

PIP_AUDIT = "pip-audit==2.10.1"
BILLS = {
    "sbom.cdx.json": ("--all-groups", "--all-extras"),
    "sbom-deployed.cdx.json": ("--only-group", "core-layer", "--only-group", "data-layer"),
}
"""Bills of materials in CycloneDX: of everything that the project uses, and of what gets into the layers."""

_UV = [sys.executable, "-m", "uv"]
_TIMEOUT_S = 600


def audit() -> Outcome:
    """Look every locked package up in PyPI's advisories.

    Raises:
        ScannerMissing: pip-audit can't be installed, or the advisories can't be reached.
        ScannerFailed: it gave no result, or knew nothing of some packages.
    """
    locked = _uv(
        "export",
        "--frozen",
        "--all-groups",
        "--all-extras",
        "--no-emit-workspace",
        "--no-annotate",
        "--no-header",
    )
    # pip-audit calls a package that it could not look up "skipped", and the whole "no known vulnerabilities":
    # one package tells whether there is anybody to ask.
    first = locked.split("\n" + _first_of_next(locked), 1)[0] + "\n"
    if all("skip_reason" in each for each in _asked(first)):
        raise ScannerMissing("PyPI's advisories can't be reached: its JSON API does not answer from here")
    answers = _asked(locked)
    if unknown := [each["name"] for each in answers if "skip_reason" in each]:
        raise ScannerFailed(f"pip-audit could not look up {', '.join(unknown)}.")
    findings = [
        Finding(
            "pip-audit", each["id"], answer["name"], "dependencies", f"{answer['version']}, fixed in {fixed}"
        )
        for answer in answers
        for each in answer["vulns"]
        for fixed in [", ".join(each["fix_versions"]) or "no version"]
    ]
    return Outcome("pip-audit", sum(not answer["vulns"] for answer in answers), findings)


def write_bills(folder: Path = ROOT / ".dropforge") -> list[Path]:
    """Write the bills of materials from uv.lock. Returns their paths."""
    folder.mkdir(exist_ok=True)
    written = []
    for name, groups in BILLS.items():
        bill = json.loads(
            _uv(
                "export", "--frozen", "--preview-features", "sbom-export", "--format", "cyclonedx1.5", *groups
            )
        )
        path = folder / name
        path.write_text(json.dumps(bill, indent=2) + "\n")
        written.append(path)
    return written


def _first_of_next(requirements: str) -> str:
    """The line that begins the second package; continuation lines are indented."""
    starts = [line for line in requirements.splitlines() if line and not line.startswith((" ", "#"))]
    return starts[1]


def _asked(requirements: str) -> list[dict[str, Any]]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(requirements)
        file.flush()
        command = [
            *_UV,
            "tool",
            "run",
            "--quiet",
            "--python",
            sys.executable,
            "--from",
            PIP_AUDIT,
            "pip-audit",
        ]
        command += [
            "--requirement",
            file.name,
            "--disable-pip",
            "--progress-spinner",
            "off",
            "--format",
            "json",
        ]
        ended = _run(command)
    try:
        found: list[dict[str, Any]] = json.loads(ended.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        reason = (ended.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise ScannerMissing(f"pip-audit gives no answer here ({reason[:200]})") from None
    return found


def _uv(*arguments: str) -> str:
    ended = _run([*_UV, "--quiet", *arguments])
    if ended.returncode != 0:
        raise ScannerFailed(f"uv {arguments[0]}: {ended.stderr.strip()}")
    return ended.stdout


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ScannerFailed(f"{command[-1]} did not end within {_TIMEOUT_S} s.") from error
