"""``python -m scan [template|dependencies|sbom]``: scan, print every finding with its reason, fail on others.

Exit code 0: each finding is explained in ``scan/exceptions.yaml``, and each exception is needed; 1 otherwise.
A scanner that can't be had on this machine is a SKIP with the reason, which is no success and no failure.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from scan import dependencies, scanners
from scan.findings import EXCEPTIONS, Excuse, InvalidExceptions, Outcome, judge, read_excuses
from scan.rendering import CONFIGURATIONS, ROOT, physical, rendered
from scan.worst import WORST

SCANNED = (*CONFIGURATIONS, "dependencies")


def scan_template() -> tuple[list[Outcome], list[str]]:
    """What both scanners find in the template's configurations, and why one of them was left out."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, concrete = Path(scratch) / "templates", Path(scratch) / "concrete"
        for made in (folder, concrete):
            made.mkdir()
        for name, parameters in CONFIGURATIONS.items():
            template = rendered(parameters)
            (folder / f"{name}.json").write_text(json.dumps(template, indent=1))
            # cfn-guard's rules compare texts, where checkov follows references.
            (concrete / f"{name}.json").write_text(json.dumps(physical(template), indent=1))
        return _each(
            {
                "checkov": lambda: scanners.checkov(folder),
                "cfn-guard": lambda: scanners.guard(sorted(concrete.glob("*.json"))),
            }
        )


def scan_dependencies() -> tuple[list[Outcome], list[str]]:
    """What the advisories know of the locked packages, or why they could not be asked."""
    return _each({"pip-audit": dependencies.audit})


def _each(scans: dict[str, Callable[[], Outcome]]) -> tuple[list[Outcome], list[str]]:
    outcomes, skipped = [], []
    for name, scan in scans.items():
        try:
            outcomes.append(scan())
        except scanners.ScannerMissing as error:
            skipped.append(f"SKIP {name}: {error}")
    return outcomes, skipped


def report(outcomes: Sequence[Outcome], excuses: Sequence[Excuse]) -> bool:
    """Print the findings and what explains them. Returns whether nothing is left to explain."""
    scanned = {outcome.scanner for outcome in outcomes}
    verdict = judge(
        [finding for outcome in outcomes for finding in outcome.findings],
        [excuse for excuse in excuses if scanner_of(excuse.rule) in scanned],
    )
    for excuse, findings in verdict.explained:
        print(f"{excuse.rule}  {findings[0].says}")
        for configuration in SCANNED:
            names = [each.resource for each in findings if each.configuration == configuration]
            if names:
                print(f"    {configuration}: {_shortened(names)}")
        print(f"    because {excuse.reason}")
    for finding in verdict.unexplained:
        print(f"UNEXPLAINED {finding.rule} {finding.resource} ({finding.configuration}): {finding.says}")
    for excuse in verdict.unneeded:
        print(f"UNNEEDED {excuse.rule}: no finding needs this exception of {EXCEPTIONS.relative_to(ROOT)}.")
    found_worst = [each for outcome in outcomes for each in outcome.findings if each.rule in WORST]
    if "checkov" in scanned:
        occurring = ", ".join(sorted({each.rule for each in found_worst})) or "none"
        print(f"of the ten worst findings in public templates of this kind: {occurring}")
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
    known = {"template": scan_template, "dependencies": scan_dependencies}
    wanted = list(arguments) or [*known, "sbom"]
    if unknown := [each for each in wanted if each not in (*known, "sbom")]:
        print(f"{unknown[0]!r} is no scan; there are template, dependencies and sbom.", file=sys.stderr)
        return 2
    outcomes, skipped = [], []
    try:
        excuses = read_excuses(configurations=SCANNED)
        for each in wanted:
            if each == "sbom":
                for path in dependencies.write_bills():
                    components = len(json.loads(path.read_text())["components"])
                    print(f"{path.relative_to(ROOT)}: {components} components")
            else:
                found, missing = known[each]()
                outcomes += found
                skipped += missing
    except (scanners.ScannerFailed, InvalidExceptions) as error:
        print(error, file=sys.stderr)
        return 1
    clean = report(outcomes, excuses)
    for reason in skipped:
        print(reason)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
