from __future__ import annotations

import json
from dataclasses import replace

import pytest
from tests.fakes.records import package_arn
from tests.unit.cli.cli_stack import CONTRACT

from dropforge.domain.contract import Column
from dropforge.domain.records import Approval


def test_shows_what_is_decided_by_and_approves(stack, on_stack):
    stack.trained(1, champion=True)
    stack.apply_decisions(deploys=False)
    outcome = on_stack("approve", "latest", "--reason", "better\n  than before", "--yes")
    assert outcome.exit_code == 0
    for shown in (
        "0.9931 [0.98, 1]",
        "0.99 [0.97, 1]",
        "+0.0031 [-0.001, +0.007]",
        "accuracy 0.95",
        "f1 of 'malignant' 0.9",
        "55",
    ):
        assert shown in outcome.stderr
    assert outcome.stdout == "Version 1 is approved; it will be deployed.\n"
    assert stack.sagemaker.updates[0]["ApprovalDescription"] == "better than before"


def test_what_the_gate_cannot_say_is_approved_by_somebody_who_says_why(stack, on_stack):
    stack.trained(1, undecided=True)
    stack.apply_decisions(deploys=False)
    outcome = on_stack("approve", "latest", "--yes")
    assert outcome.exit_code == 1
    assert (
        "The gate can't say whether this candidate is good enough: It can't be said how sure auc is"
        in outcome.stderr
    )
    assert "--reason TEXT" in outcome.stderr
    assert not stack.sagemaker.updates
    outcome = on_stack("approve", "latest", "--reason", "checked by hand", "--yes", "--json")
    assert outcome.exit_code == 0
    assert outcome.json["verdict"] == "undecided"
    assert stack.sagemaker.updates[0]["ApprovalDescription"] == "checked by hand"


def test_what_the_gate_cannot_say_is_rejected_like_any_other(stack, on_stack):
    stack.trained(1, undecided=True)
    stack.apply_decisions(deploys=False)
    assert on_stack("reject", "latest", "--yes").exit_code == 0


def test_columns_with_values_that_are_not_used_are_named_before_an_approval(stack, on_stack):
    model = stack.trained(1)
    left_out = Column("comment", "text", "ignored", nullable=True, note="free text")
    empty = Column("fax", "text", "ignored", nullable=True, note="it has no values")
    contract = replace(CONTRACT, columns=(*CONTRACT.columns, left_out, empty))
    stack.write(f"runs/{model.run_id}/contract/schema.json", json.loads(contract.to_json()))
    stack.write(f"runs/{model.run_id}/report.json", {"rows": {"read": 100, "kept": 100}})
    stack.apply_decisions(deploys=False)
    said = on_stack("approve", "1", "--yes").stderr
    assert "4 of 8 columns are learned from; 1 with values is not used." in said
    assert "'comment' is not used: free text." in said
    assert "'fax'" not in said


def test_the_decision_names_who_made_it_and_the_digest_of_what_was_shown(stack, on_stack):
    model = stack.trained(1)
    stack.apply_decisions(deploys=False)
    document = on_stack("approve", "1", "--json", "--yes").json
    [update] = stack.sagemaker.updates
    assert update["ModelPackageArn"] == model.model_package_arn
    assert update["ModelApprovalStatus"] == "Approved"
    metadata = update["CustomerMetadataProperties"]
    assert metadata["decision_judgement_sha256"] == model.judgement_sha256 == document["judgement_sha256"]
    assert metadata["decided_by"].endswith("@localhost")
    assert document["approval"] == "approved"
    assert document["changed"] is True
    assert document["metric"]["value"] == 0.9931


def test_follows_the_deployment_until_the_version_is_live(stack, on_stack):
    stack.trained(1)
    stack.apply_decisions()
    outcome = on_stack("approve", package_arn(1), "--wait", "--json", "--yes")
    assert outcome.exit_code == 0
    assert outcome.json["live"]["version"] == 1
    assert outcome.json["message"] == "Version 1 is live."


def test_fails_with_the_cause_when_the_deployment_does(stack, on_stack):
    stack.trained(1)
    stack.apply_decisions(breaks=True)
    outcome = on_stack("approve", "1", "--wait", "--yes")
    assert outcome.exit_code == 1
    assert "SmokeTestFailed: row 1 differs." in outcome.stderr
    assert "What was live before still serves" in outcome.stderr


def test_an_earlier_failed_deployment_is_not_taken_for_this_one(stack, on_stack):
    stack.trained(1)
    old = stack.sfn.begin(stack.target.outputs["DeploymentStateMachine"], "late-approval-v1-1")
    stack.sfn.end(old, "FAILED", error="SmokeTestFailed", cause="old")
    stack.apply_decisions()
    assert on_stack("approve", "1", "--wait", "--yes").exit_code == 0


def test_approving_the_live_version_again_changes_nothing(stack, on_stack):
    stack.lives(1)
    outcome = on_stack("approve", "1", "--json", "--yes")
    assert outcome.exit_code == 0
    assert outcome.json["changed"] is False
    assert outcome.json["message"] == "Version 1 is already approved and live."
    assert stack.sagemaker.updates == []


def test_refuses_to_approve_a_superseded_version(stack, on_stack):
    stack.trained(1)
    stack.decide(1, Approval.SUPERSEDED, by="dropforge", reason="superseded by version 2")
    outcome = on_stack("approve", "1", "--yes")
    assert outcome.exit_code == 1
    assert "superseded by version 2" in outcome.stderr
    assert "dropforge approve latest" in outcome.stderr
    assert stack.sagemaker.updates == []


def test_refuses_to_approve_metrics_that_were_changed_after_registration(stack, on_stack):
    model = stack.trained(1)
    stack.write(f"models/{model.run_id}/judgement.json", {"metric": {"name": "auc", "value": 1.0}})
    outcome = on_stack("approve", "1", "--yes")
    assert outcome.exit_code == 1
    assert "was changed after version 1 was registered" in outcome.stderr
    assert stack.sagemaker.updates == []


def test_says_when_the_registry_takes_the_approval_back(stack, on_stack):
    stack.trained(1)

    def take_back(update):
        stack.sagemaker.packages[update["ModelPackageArn"]] = {
            "ModelApprovalStatus": "Rejected",
            "ApprovalDescription": "judgement.json was changed after the version was registered",
        }

    stack.sagemaker.on_update = take_back
    outcome = on_stack("approve", "1", "--yes")
    assert outcome.exit_code == 1
    assert "was taken back: judgement.json was changed" in outcome.stderr


@pytest.mark.parametrize(
    ("named", "exit_code", "said"),
    [
        ("7", 3, "There is no version 7 of this model. The newest are 1."),
        (package_arn(7), 3, "There is no version"),
        (package_arn(1).replace("/model/", "/other/"), 3, "There is no version"),
        ("newest", 2, "'newest' is no version"),
    ],
)
def test_names_a_version_that_is_not_there(stack, on_stack, named, exit_code, said):
    stack.trained(1)
    for command in ("approve", "reject"):
        outcome = on_stack(command, named)
        assert outcome.exit_code == exit_code
        assert said in outcome.stderr


def test_says_what_to_do_where_there_is_no_version_at_all(on_stack):
    outcome = on_stack("approve", "latest", "--json", "--yes")
    assert outcome.exit_code == 3
    assert outcome.json["error"]["class"] == "NotFound"
    assert "dropforge drop FILE" in outcome.json["error"]["message"]


def test_refuses_a_reason_that_sagemaker_would_not_keep(stack, on_stack):
    stack.trained(1)
    assert on_stack("approve", "1", "--reason", "x" * 1025).exit_code == 2


def test_asks_before_it_decides_and_takes_no_for_an_answer(stack, on_stack, asked):
    stack.trained(1)
    stack.apply_decisions(deploys=False)
    outcome = on_stack("approve", "1", stdin="n\n")
    assert outcome.exit_code == 1
    assert "Approve version 1?" in outcome.stderr
    assert stack.sagemaker.updates == []
    assert on_stack("approve", "1", stdin="y\n").exit_code == 0


def test_does_not_ask_with_yes(stack, on_stack, asked):
    stack.trained(1)
    stack.apply_decisions(deploys=False)
    assert "Approve version 1?" not in on_stack("approve", "1", "--yes").stderr


def test_rejects_with_the_reason(stack, on_stack):
    stack.trained(1)
    stack.apply_decisions()
    outcome = on_stack("reject", "1", "--reason", "too good to be true", "--json", "--yes")
    assert outcome.exit_code == 0
    assert outcome.json["approval"] == "rejected"
    assert stack.sagemaker.updates[0]["ModelApprovalStatus"] == "Rejected"
    assert json.loads(outcome.stdout)["decision_reason"] == "too good to be true"


def test_says_which_version_rejecting_the_live_one_rolls_back_to(stack, on_stack, asked):
    stack.lives(1)
    stack.lives(2)
    stack.apply_decisions()
    assert "rejecting it rolls back to version 1" in on_stack("reject", "2", stdin="n\n").stderr
    outcome = on_stack("reject", "2", "--yes")
    assert outcome.exit_code == 0
    assert "the rollback to version 1 starts" in outcome.stdout


def test_says_beforehand_that_rejecting_the_only_live_version_leaves_it_serving(stack, on_stack, asked):
    stack.lives(1)
    stack.apply_decisions()
    outcome = on_stack("reject", "1", stdin="n\n")
    assert "nothing can be rolled back to" in outcome.stderr
    assert stack.sagemaker.updates == []
    outcome = on_stack("reject", "1", "--yes")
    assert outcome.exit_code == 0
    assert "still serves" in outcome.stdout
    assert "rollback" not in outcome.stdout


def test_an_earlier_version_that_was_rejected_is_nothing_to_roll_back_to(stack, on_stack):
    stack.lives(1)
    stack.lives(2)
    stack.decide(1, Approval.REJECTED)
    stack.apply_decisions()
    assert "nothing can be rolled back to" in on_stack("reject", "2", "--yes").stdout


def test_rejecting_twice_changes_nothing(stack, on_stack):
    stack.trained(1)
    stack.decide(1, Approval.REJECTED)
    outcome = on_stack("reject", "1", "--yes")
    assert outcome.exit_code == 0
    assert outcome.stdout == "Version 1 is already rejected.\n"
    assert stack.sagemaker.updates == []
