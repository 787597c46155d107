"""The GitHub workflows: their steps are the verbs, their actions are pinned, and prod waits for somebody."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts.stack_drift import drifted

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = {path.name: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def jobs(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(WORKFLOWS[name].read_text())["jobs"]
    return found


def steps() -> list[dict[str, Any]]:
    return [step for name in WORKFLOWS for job in jobs(name).values() for step in job.get("steps", [])]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_of_others_are_pinned_to_a_commit(name):
    uses = [
        line.strip().removeprefix("- ")
        for line in WORKFLOWS[name].read_text().splitlines()
        if "uses:" in line
    ]
    others = [line for line in uses if "uses: ./" not in line]
    assert [line for line in others if not PINNED.search(line)] == []


def test_every_step_that_runs_something_runs_a_verb():
    verbs = [step["run"] for step in steps() if "run" in step]
    assert verbs
    for verb in verbs:
        make, target, *assignments = verb.split()
        assert make == "make"
        assert target in TARGETS
        assert all(re.fullmatch(r"[A-Z]+=\w+", each) for each in assignments)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_workflow_holds_a_key_and_only_deploying_jobs_get_a_token(name):
    text = WORKFLOWS[name].read_text()
    assert "secrets." not in text
    assert "aws-access-key-id" not in text
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    for job in jobs(name).values():
        touches_aws = "role-to-assume" in str(job) or "deploy-environment" in str(job.get("uses"))
        assert (job.get("permissions", {}).get("id-token") == "write") == touches_aws


def test_each_stage_waits_for_the_one_before():
    order = ["check", "test", "build", "dev", "stage", "prod-changes", "prod"]
    found = jobs("deploy.yml")
    assert list(found) == order
    for before, after in pairwise(order):
        assert found[after]["needs"] == before
    # Every deployment shows its change set first, and is smoke tested.
    verbs = [step["run"] for step in jobs("deploy-environment.yml")["deploy"]["steps"] if "run" in step]
    assert verbs == ["make changes", "make deploy CONFIRM=no", "make smoke"]


def test_every_job_has_a_time_limit():
    for name in WORKFLOWS:
        for job in jobs(name).values():
            assert "uses" in job or job["timeout-minutes"] <= 60


class FakeCloudFormation:
    def __init__(self, *statuses: str, drifts: list[dict[str, Any]] | None = None) -> None:
        self.statuses, self.drifts = list(statuses), drifts or []

    def detect_stack_drift(self, StackName):
        return {"StackDriftDetectionId": f"{StackName}-1"}

    def describe_stack_drift_detection_status(self, StackDriftDetectionId):
        status = self.statuses.pop(0)
        return {"DetectionStatus": status, "DetectionStatusReason": "some reason"}

    def describe_stack_resource_drifts(self, NextToken="0", **_):
        at = int(NextToken)
        page = {"StackResourceDrifts": self.drifts[at : at + 1]}
        return page | ({"NextToken": str(at + 1)} if at + 1 < len(self.drifts) else {})


def test_drift_names_what_was_changed_and_what_is_gone():
    changed = {
        "LogicalResourceId": "Notifications",
        "ResourceType": "AWS::SNS::Topic",
        "StackResourceDriftStatus": "MODIFIED",
        "PropertyDifferences": [{"PropertyPath": "/Tags", "ExpectedValue": "a", "ActualValue": "b"}],
    }
    gone = {
        "LogicalResourceId": "DriftAlarm",
        "ResourceType": "AWS::CloudWatch::Alarm",
        "StackResourceDriftStatus": "DELETED",
    }
    pauses: list[float] = []
    client = FakeCloudFormation("DETECTION_IN_PROGRESS", "DETECTION_COMPLETE", drifts=[changed, gone])
    assert drifted(client, "s", pauses.append) == [
        "Notifications (AWS::SNS::Topic) /Tags: a in the template, b now",
        "DriftAlarm (AWS::CloudWatch::Alarm) is gone",
    ]
    assert len(pauses) == 1
    assert drifted(FakeCloudFormation("DETECTION_COMPLETE"), "s") == []


def test_a_look_that_failed_is_no_answer():
    with pytest.raises(RuntimeError, match="some reason"):
        drifted(FakeCloudFormation("DETECTION_FAILED"), "s")
