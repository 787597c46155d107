"""Runs the scanners, each in a pinned version and apart from the project, and reads what they print.

Their own files of exceptions can't say of which resource, in which configuration and why: ours does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from proof.iam.roles import values_of

from scan import worst
from scan.findings import Finding, Outcome

ROOT = Path(__file__).resolve().parent.parent
CHECKOV = "checkov==3.3.30"
PIP_AUDIT = "pip-audit==2.10.1"
DEFAULT: Mapping[str, str] = {"TargetColumn": "target"}
HARDENED: Mapping[str, str] = {
    **DEFAULT,
    "EncryptionKey": "create",
    "PermissionsBoundaryArn": "arn:aws:iam::123456789012:policy/boundary",
    "AccessLogs": "true",
    "WebFirewall": "true",
    "SubnetIds": "subnet-0123456789abcdef0",
    "SecurityGroupIds": "sg-0123456789abcdef0",
    "EndpointMode": "real-time",
    "PredictConcurrency": "5",
    "LogRetentionDays": "365",
}
CONFIGURATIONS = {"default": DEFAULT, "hardened": HARDENED}
"""Parameters under which the template is looked at: as it comes, and with everything on that guards it."""
BILLS = {
    "sbom.cdx.json": ("--all-groups", "--all-extras"),
    "sbom-deployed.cdx.json": ("--only-group", "core-layer", "--only-group", "data-layer"),
}
"""Bills of materials in CycloneDX: of everything that the project uses, and of what gets into the layers."""

_UV = (sys.executable, "-m", "uv", "--quiet")
_TIMEOUT_S = 600
_UNAVAILABLE = 69


class ScannerMissing(Exception):
    """A scanner can't be had on this machine; the message says why."""


class ScannerFailed(Exception):
    """A scanner ended without a result; the message holds what it printed."""


def rendered(parameters: Mapping[str, str], template: Path = ROOT / "template.yaml") -> dict[str, Any]:
    """The template as CloudFormation would deploy it, which scanners need to see everything.

    SAM's resources are expanded, conditions decided, and references replaced by names and ARNs.
    """
    values = values_of(template.read_text(), parameters)
    resources = {
        name: values.resolve({key: each for key, each in resource.items() if key != "Condition"})
        for name, resource in values.document["Resources"].items()
        if "Condition" not in resource or values.holds(resource["Condition"])
    }
    return {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources}


def checkov() -> Outcome:
    """Run checkov over the template's configurations, and over a template that has the ten worst faults.

    Raises:
        ScannerMissing: it can't be installed.
        ScannerFailed: it gave no result, or did not find those faults.
    """
    templates = {name: rendered(parameters) for name, parameters in CONFIGURATIONS.items()}
    with _written({**templates, worst.FAULTY: worst.faulty_template()}) as folder:
        arguments = ("--directory", folder, "--framework", "cloudformation", "--compact", "--skip-download")
        result = _json_of("checkov", CHECKOV, *arguments, "--output", "json")
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


def guard() -> Outcome:
    """Run cfn-guard with AWS Control Tower's rules over the template's configurations.

    Raises:
        ScannerMissing: it can't be fetched, or there is no build for this machine.
        ScannerFailed: it gave no result.
    """
    with _written({name: rendered(parameters) for name, parameters in CONFIGURATIONS.items()}) as folder:
        ended = _run("scripts/cfn_guard.sh", folder)
    if ended.returncode == _UNAVAILABLE:
        raise ScannerMissing(f"cfn-guard can't be fetched, or not for this machine ({_last_line(ended)})")
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


def pip_audit() -> Outcome:
    """Look every locked package up in PyPI's advisories.

    Raises:
        ScannerMissing: pip-audit can't be installed, or the advisories can't be reached.
        ScannerFailed: it gave no result, or knew nothing of some packages.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        options = ("--all-groups", "--all-extras", "--no-emit-workspace", "--no-annotate", "--no-header")
        file.write(_exported(*options))
        file.flush()
        arguments = ("--requirement", file.name, "--disable-pip", "--progress-spinner", "off")
        answers = _json_of("pip-audit", PIP_AUDIT, *arguments, "--format", "json")["dependencies"]
    # pip-audit calls a package that it could not look up "skipped", and the whole "no known vulnerabilities".
    unknown = [each["name"] for each in answers if "skip_reason" in each]
    if len(unknown) == len(answers):
        raise ScannerMissing("PyPI's advisories can't be reached: its JSON API does not answer from here")
    if unknown:
        raise ScannerFailed(f"pip-audit could not look up {', '.join(unknown)}.")
    findings = [
        Finding(
            "pip-audit",
            each["id"],
            answer["name"],
            "dependencies",
            f"{answer['version']}, fixed in {', '.join(each['fix_versions']) or 'no version'}",
        )
        for answer in answers
        for each in answer["vulns"]
    ]
    return Outcome("pip-audit", sum(not answer["vulns"] for answer in answers), findings)


def write_bills(folder: Path = ROOT / ".dropforge") -> Iterator[Path]:
    """Write the bills of materials from uv.lock. Yields their paths."""
    folder.mkdir(exist_ok=True)
    for name, groups in BILLS.items():
        bill = _exported("--preview-features", "sbom-export", "--format", "cyclonedx1.5", *groups)
        path = folder / name
        path.write_text(json.dumps(json.loads(bill), indent=2) + "\n")
        yield path


# --- what they print ----------------------------------------------------------------------------------


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


# --- how they are run ---------------------------------------------------------------------------------


@contextmanager
def _written(templates: Mapping[str, Any]) -> Iterator[str]:
    """A folder with these templates, each under its name."""
    with tempfile.TemporaryDirectory(prefix="scan-") as folder:
        for name, template in templates.items():
            (Path(folder) / f"{name}.json").write_text(json.dumps(template, indent=1))
        yield folder


def _json_of(program: str, package: str, *arguments: str) -> Any:
    """What a program of a package on PyPI prints, as JSON."""
    tool = (*_UV, "tool", "run", "--python", sys.executable, "--from", package)
    available = _run(*tool, "python", "-c", "")
    if available.returncode != 0:
        raise ScannerMissing(f"{program} can't be installed ({_last_line(available)})")
    ended = _run(*tool, program, *arguments)
    try:
        return json.loads(ended.stdout)
    except json.JSONDecodeError as error:
        raise ScannerFailed(f"{program}: {ended.stderr[-2000:]}") from error


def _exported(*options: str) -> str:
    """What uv.lock names."""
    ended = _run(*_UV, "export", "--frozen", *options)
    if ended.returncode != 0:
        raise ScannerFailed(f"uv export: {ended.stderr.strip()}")
    return ended.stdout


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ScannerFailed(f"{command[0]} did not end within {_TIMEOUT_S} s.") from error


def _last_line(ended: subprocess.CompletedProcess[str]) -> str:
    return (ended.stderr.strip().splitlines() or ["it says nothing"])[-1][:200]
