from __future__ import annotations

import json

from dropforge.domain.records import Approval


def deploys(stack, version, *, fails=False):
    """The deployment state machine goes through its states at once."""

    def deploy(arn):
        stack.sfn.states(arn, "PlanDeployment", "SmokeTest", "PromoteModel")
        if fails:
            stack.sfn.end(arn, "FAILED", error="NothingToRollBackTo", cause="No earlier version.")
        else:
            stack.go_live(version)
            stack.sfn.end(arn)

    stack.sfn.on_start = deploy


def started(stack):
    return json.loads(list(stack.sfn.executions.values())[-1]["input"])


def test_lists_versions_with_stage_decision_and_what_is_live(stack, on_stack):
    stack.lives(1)
    stack.trained(2)
    outcome = on_stack("models")
    assert outcome.exit_code == 0
    second, first = outcome.stdout.splitlines()[1:]
    assert "pending" in second
    assert "live" not in second
    assert first.startswith("* live  1")
    assert "Production" in first
    assert "alice" in first


def test_json_marks_the_live_version_and_keeps_the_waiting_runs_key_to_itself(stack, on_stack):
    stack.lives(1)
    stack.trained(2)
    stack.ledger.await_decision(
        2, task_token="secret-token", execution="arn", due_at="2026-01-01T00:00:00.000Z"
    )
    outcome = on_stack("models", "--json", "--history")
    assert "secret-token" not in outcome.stdout
    document = outcome.json
    assert document["live_version"] == 1
    assert [each["live"] for each in document["models"]] == [False, True]
    stages = [change["stage"] for change in document["models"][1]["history"]]
    assert stages == ["Development", "Staging", "Production"]


def test_shows_one_version_with_its_metrics_and_history(stack, on_stack):
    stack.lives(1)
    outcome = on_stack("models", "1")
    assert outcome.exit_code == 0
    for shown in ("0.9931 [0.98, 1]", "Production", "approved", "model-v1-1", "auc 0.9931 meets"):
        assert shown in outcome.stdout
    assert on_stack("models", "1", "--json").json["judgement"]["rows"] == 55


def test_shows_a_version_whose_metrics_are_gone(stack, on_stack):
    model = stack.trained(1)
    stack.s3.delete_object(Bucket=stack.bucket, Key=f"models/{model.run_id}/judgement.json")
    outcome = on_stack("models", "1", "--json")
    assert outcome.exit_code == 0
    assert outcome.json["judgement"] is None
    assert "is gone" in outcome.stderr


def test_says_so_where_there_is_no_version(on_stack):
    assert "There is no version yet" in on_stack("models").stdout
    assert on_stack("models", "--json").json == {"live_version": None, "models": []}
    assert on_stack("models", "3").exit_code == 3
    assert on_stack("models", "x").exit_code == 2


def test_rolls_back_to_the_version_before(stack, on_stack):
    stack.lives(1)
    stack.lives(2)
    deploys(stack, 1)
    outcome = on_stack("rollback", "--wait", "--reason", "drift", "--yes")
    assert outcome.exit_code == 0
    assert outcome.stdout == "Version 1 is live.\n"
    assert "version 2, auc 0.9931" in outcome.stderr
    payload = started(stack)
    assert payload["reason"] == "rollback"
    assert payload["version"] is None
    assert payload["run_id"] is None
    assert payload["comment"] == "drift"
    assert payload["requested_by"].endswith("@localhost")


def test_rolls_back_to_a_named_version_without_waiting(stack, on_stack):
    for version in (1, 2, 3):
        stack.lives(version)
    document = on_stack("rollback", "1", "--json", "--yes").json
    assert started(stack)["version"] == 1
    assert document["changed"] is True
    assert document["version"] == 1
    assert document["execution_arn"] in stack.sfn.executions


def test_fails_with_the_cause_when_the_rollback_does(stack, on_stack):
    stack.lives(1)
    stack.lives(2)
    deploys(stack, 1, fails=True)
    outcome = on_stack("rollback", "--wait", "--yes")
    assert outcome.exit_code == 1
    assert "NothingToRollBackTo: No earlier version." in outcome.stderr


def test_refuses_a_version_that_is_not_approved(stack, on_stack):
    stack.lives(1)
    stack.trained(2)
    outcome = on_stack("rollback", "2", "--yes")
    assert outcome.exit_code == 1
    assert "Version 2 is pending" in outcome.stderr
    assert not any("rollback" in arn for arn in stack.sfn.executions)


def test_has_nothing_to_do_for_the_live_version(stack, on_stack):
    stack.lives(1)
    outcome = on_stack("rollback", "1", "--json", "--yes")
    assert outcome.exit_code == 0
    assert outcome.json["changed"] is False


def test_says_where_there_is_nothing_to_roll_back_to(stack, on_stack):
    assert on_stack("rollback", "--yes").exit_code == 3
    stack.lives(1)
    outcome = on_stack("rollback", "--yes")
    assert outcome.exit_code == 3
    assert "No version but 1 was ever live" in outcome.stderr


def test_does_not_roll_back_to_a_version_that_was_rejected_since(stack, on_stack):
    stack.lives(1)
    stack.lives(2)
    stack.decide(1, Approval.REJECTED)
    assert on_stack("rollback", "--yes").exit_code == 3


def test_asks_before_it_rolls_back(stack, on_stack, asked):
    stack.lives(1)
    stack.lives(2)
    outcome = on_stack("rollback", stdin="n\n")
    assert outcome.exit_code == 1
    assert "Roll back to version 1?" in outcome.stderr
    assert not any("rollback" in arn for arn in stack.sfn.executions)


def test_a_live_version_that_was_rejected_is_shown_as_such(stack, on_stack):
    stack.lives(1)
    stack.decide(1, Approval.REJECTED)
    assert "* rejected, still serving" in on_stack("models").stdout
    assert "rejected, still serving" in on_stack("models", "1").stdout
    assert on_stack("models", "--json").json["live_version"] == 1
