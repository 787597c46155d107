"""Every finding has a reason or is a fault, and every reason is needed by a finding."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from scan import scanners
from scan.__main__ import SCANNED, SCANS, main, report, scanner_of
from scan.findings import Excuse, Finding, InvalidExceptions, Outcome, judge, read_excuses
from scan.scanners import ROOT, rendered
from scan.worst import FAULTY, WORST, unseen

OPEN = Finding("checkov", "CKV_AWS_18", "DataBucket", "default", "access logging")
EXCUSE = Excuse("CKV_AWS_18", ("Data*",), ("default",), "it costs")


def test_a_finding_without_a_reason_is_named_and_fails_the_scan(capsys):
    assert not report([Outcome("checkov", 3, [OPEN])], [])
    assert "UNEXPLAINED CKV_AWS_18 DataBucket (default): access logging" in capsys.readouterr().out
    assert report([Outcome("checkov", 3, [OPEN])], [EXCUSE])
    printed = capsys.readouterr().out
    assert "because it costs" in printed
    assert "checkov: 3 passed, 1 explained, 0 unexplained" in printed


@pytest.mark.parametrize(
    "finding",
    [
        Finding("checkov", "CKV_AWS_19", "DataBucket", "default"),
        Finding("checkov", "CKV_AWS_18", "LogBucket", "default"),
        Finding("checkov", "CKV_AWS_18", "DataBucket", "hardened"),
    ],
)
def test_a_reason_covers_its_own_rule_resources_and_configurations_alone(finding):
    verdict = judge([finding], [EXCUSE])
    assert verdict.unexplained == [finding]
    assert verdict.unneeded == [EXCUSE]


def test_a_reason_that_nothing_needs_fails_the_scan_that_could_have_needed_it(capsys):
    assert not report([Outcome("checkov", 3, [])], [EXCUSE])
    assert "UNNEEDED CKV_AWS_18" in capsys.readouterr().out
    assert report([Outcome("cfn-guard", 3, [])], [EXCUSE])


def test_the_file_of_exceptions_is_read_and_a_broken_entry_is_named(tmp_path):
    excuses = read_excuses(configurations=SCANNED)
    assert all(len(each.reason) > 20 for each in excuses)
    assert {scanner_of(each.rule) for each in excuses} <= {"checkov", "cfn-guard", "pip-audit"}
    broken = tmp_path / "exceptions.yaml"
    for text, message in [
        ("[{rule: A, resources: [x]}]", "entry 1 lacks"),
        ("[{rule: A, resources: [], reason: b}]", "entry 1 .A. has no reason or no resource"),
        ("[{rule: A, resources: [x], reason: b, configurations: [c]}]", "names ..c.., which is nothing"),
    ]:
        broken.write_text(text)
        with pytest.raises(InvalidExceptions, match=message):
            read_excuses(broken, SCANNED)


def test_none_of_the_ten_worst_can_be_explained_away(capsys):
    found = Finding("checkov", "CKV_AWS_110", "Role", "default", "privilege escalation")
    assert not report([Outcome("checkov", 3, [found])], [Excuse("CKV_AWS_110", ("*",), ("default",), "so")])
    assert "public templates of this kind: CKV_AWS_110" in capsys.readouterr().out


def test_the_ten_worst_have_no_exception_and_are_told_to_whoever_reads_the_documentation():
    assert len(WORST) == 10
    assert not WORST.keys() & {each.rule for each in read_excuses(configurations=SCANNED)}
    text = (ROOT / "docs" / "security.md").read_text()
    assert all(f"`{rule}`" in text for rule in WORST)


def test_a_scanner_that_misses_a_planted_fault_is_not_believed():
    found = [Finding("checkov", rule, name, FAULTY) for rule, name in WORST.items()]
    assert unseen(found) == []
    assert unseen(found[1:]) == ["CKV_AWS_110"]


def test_an_unknown_scan_is_refused(capsys):
    assert main(["everything"]) == 2
    assert "there are template, dependencies and sbom" in capsys.readouterr().err


def test_a_scanner_that_cannot_be_had_is_skipped_with_the_reason(monkeypatch, capsys):
    def missing() -> Outcome:
        raise scanners.ScannerMissing("no network")

    monkeypatch.setitem(SCANS["dependencies"], "pip-audit", missing)
    assert main(["dependencies"]) == 0
    assert "SKIP pip-audit: no network" in capsys.readouterr().out


def test_rules_that_cannot_be_fetched_are_skipped_and_rules_that_break_are_not(monkeypatch):
    ended = SimpleNamespace(returncode=69, stdout="", stderr="npm: no registry\n")
    monkeypatch.setattr(scanners, "_run", lambda *_: ended)
    with pytest.raises(scanners.ScannerMissing, match="npm: no registry"):
        scanners.guard()
    ended.returncode = 5
    with pytest.raises(scanners.ScannerFailed):
        scanners.guard()


def advisories(answers: list[dict[str, object]]) -> Callable[..., SimpleNamespace]:
    """A run of each command that gives pip-audit these answers, a package each."""
    printed = json.dumps({"dependencies": answers})
    return lambda *_: SimpleNamespace(returncode=0, stdout=printed, stderr="")


GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "b", "skip_reason": "not found"}


def test_a_known_vulnerability_is_a_finding_that_says_what_mends_it(monkeypatch):
    monkeypatch.setattr(scanners, "_run", advisories([GOOD, BAD]))
    assert scanners.pip_audit() == Outcome(
        "pip-audit", 1, [Finding("pip-audit", "PYSEC-1", "b", "dependencies", "2, fixed in 3")]
    )


def test_advisories_that_know_no_package_are_not_taken_for_a_clean_bill(monkeypatch):
    monkeypatch.setattr(scanners, "_run", advisories([UNKNOWN]))
    with pytest.raises(scanners.ScannerMissing, match="can't be reached"):
        scanners.pip_audit()
    monkeypatch.setattr(scanners, "_run", advisories([GOOD, UNKNOWN]))
    with pytest.raises(scanners.ScannerFailed, match="could not look up b"):
        scanners.pip_audit()


def test_bills_of_materials_name_what_extras_groups_and_layers_bring(tmp_path):
    whole, deployed = (json.loads(path.read_text()) for path in scanners.write_bills(tmp_path))
    assert whole["bomFormat"] == deployed["bomFormat"] == "CycloneDX"
    everything, shipped = ({each["name"] for each in bill["components"]} for bill in (whole, deployed))
    assert {"boto3", "nicegui", "ministack", "scikit-learn", "ruff", "statsmodels"} <= everything
    assert {"aws-lambda-powertools", "numpy", "pyarrow"} <= shipped < everything
    assert not shipped & {"nicegui", "ministack", "scikit-learn", "pandas"}
    assert all(each["purl"].startswith("pkg:pypi/") for each in deployed["components"])


def test_the_template_is_rendered_as_the_parameters_decide():
    template = rendered({"TargetColumn": "x", "EndpointMode": "real-time", "LogRetentionDays": "7"})
    resources = template["Resources"]
    assert resources["WorkflowLog"]["Properties"]["RetentionInDays"] == 7
    assert resources["AdmitRunFunctionRole"]["Type"] == "AWS::IAM::Role"
    assert resources["PredictPermission"]["Properties"]["SourceArn"] == (
        "arn:aws:execute-api:us-east-1:123456789012:dropforge-PredictionApi/*"
    )
    assert "Fn::If" not in json.dumps(resources)
    assert "AWS::NoValue" not in json.dumps(resources)
