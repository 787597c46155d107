"""``python -m scan [template|dependencies|sbom]``: scan, print every finding with its reason, fail on others.

Exit code 0: each finding is explained in ``scan/exceptions.yaml``, and each exception is needed; 1 otherwise.
A scanner that can't be had on this machine is a SKIP with the reason, which is no success and no failure.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence

from scan import scanners
from scan.findings import EXCEPTIONS, Excuse, InvalidExceptions, Outcome, judge, read_excuses
from scan.scanners import CONFIGURATIONS, ROOT
from scan.worst import WORST

SCANS: dict[str, dict[str, Callable[[], Outcome]]] = {
    "template": {"checkov": scanners.checkov, "cfn-guard": scanners.guard},
    "dependencies": {"pip-audit": scanners.pip_audit},
    "sbom": {},
}
SCANNED = (*CONFIGURATIONS, "dependencies")


def report(outcomes: Sequence[Outcome], excuses: Sequence[Excuse]) -> bool:
    """Print the findings and what explains them. Returns whether nothing is left to explain."""
    scanned = {outcome.scanner for outcome in outcomes}
    findings = [finding for outcome in outcomes for finding in outcome.findings]
    verdict = judge(findings, [excuse for excuse in excuses if scanner_of(excuse.rule) in scanned])
    for excuse, explained in verdict.explained:
        print(f"{excuse.rule}  {explained[0].says}")
        for configuration in SCANNED:
            names = [each.resource for each in explained if each.configuration == configuration]
            if names:
                print(f"    {configuration}: {_shortened(names)}")
        print(f"    because {excuse.reason}")
    for finding in verdict.unexplained:
        print(f"UNEXPLAINED {finding.rule} {finding.resource} ({finding.configuration}): {finding.says}")
    for excuse in verdict.unneeded:
        print(f"UNNEEDED {excuse.rule}: no finding needs this exception of {EXCEPTIONS.relative_to(ROOT)}.")
    found_worst = sorted({each.rule for each in findings if each.rule in WORST})
    if "checkov" in scanned:
        said = ", ".join(found_worst) or "none"
        print(f"of the ten worst findings in public templates of this kind: {said}")
    for outcome in outcomes:
        unexplained = sum(each.scanner == outcome.scanner for each in verdict.unexplained)
        print(
            f"{outcome.scanner}: {outcome.passed} passed, {len(outcome.findings) - unexplained} explained, "
            f"{unexplained} unexplained"
        )
    return verdict.is_clean and not found_worst


def scanner_of(rule: str) -> str:
    """Which scanner has a rule of this name."""
    if rule.startswith("CKV"):
        return "checkov"
    return "cfn-guard" if rule.startswith("CT.") else "pip-audit"


def _shortened(names: Iterable[str], most: int = 4) -> str:
    listed = sorted(names)
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")


def main(arguments: Sequence[str]) -> int:
    """Run the scans that are named, or all."""
    wanted = list(arguments) or list(SCANS)
    if unknown := [each for each in wanted if each not in SCANS]:
        print(f"{unknown[0]!r} is no scan; there are template, dependencies and sbom.", file=sys.stderr)
        return 2
    outcomes, skipped = [], []
    try:
        excuses = read_excuses(configurations=SCANNED)
        for name, scan in (scan for each in wanted for scan in SCANS[each].items()):
            try:
                outcomes.append(scan())
            except scanners.ScannerMissing as error:
                skipped.append(f"SKIP {name}: {error}")
        for path in scanners.write_bills() if "sbom" in wanted else ():
            print(f"{path.relative_to(ROOT)}: {len(json.loads(path.read_text())['components'])} components")
    except (scanners.ScannerFailed, InvalidExceptions) as error:
        print(error, file=sys.stderr)
        return 1
    clean = report(outcomes, excuses)
    for reason in skipped:
        print(reason)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
