"""Roles are held to their policies in the deployed stack: what a policy lacks fails where it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.workflow.stack import Stack, wait_for


def test_a_removed_permission_fails_the_run_by_name(
    deploy_sample: Callable[..., Stack], product_copy: Path, samples: Mapping[str, Path]
) -> None:
    whole = product_copy.read_text(encoding="utf-8")
    manifest = '!Sub "${DataBucket.Arn}/runs/*/manifest.json"'
    assert manifest in whole
    product_copy.write_text(whole.replace(manifest, '!Sub "${DataBucket.Arn}/other/*"', 1), encoding="utf-8")
    stack = deploy_sample("wine", product_copy)
    stack.drop(samples["wine"])

    def failed() -> Any:
        listed = stack.stepfunctions.list_executions(
            stateMachineArn=stack.outputs["TrainingStateMachine"], statusFilter="FAILED"
        )
        return listed["executions"]

    ended = stack.execution(wait_for("a failed execution", failed)[0]["executionArn"])
    assert ended["error"] == "AccessDenied"
    assert "AdmitRunFunctionRole" in ended["cause"]
    assert "is not authorized to perform: s3:" in ended["cause"]
    assert "/manifest.json" in ended["cause"]
