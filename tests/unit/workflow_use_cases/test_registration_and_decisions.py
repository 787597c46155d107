from __future__ import annotations

import json

import pytest
from tests.fakes.records import DEPLOYMENT, TRAINING, a_drop, at, iso
from tests.fakes.world import IMAGE, LEASE_S, World

from dropforge.application.serving_environment import serving_environment
from dropforge.domain.errors import ArtifactChanged, InvalidEvent, LostLock, ServiceUnavailable
from dropforge.domain.records import Approval, LockName, RunStatus


def waiting():
    """A run that waits for the decision on its version."""
    world = World()
    _, version = world.candidate(1)
    world.workflows.waiting.add("t1")
    world.request(version, "t1", now=at(20))
    return world


def package(world, version=1):
    return world.registry.describe(world.ledger.get_model(version).model_package_arn)


def started(world):
    return [each for each in world.workflows.started(DEPLOYMENT) if each.payload]


# --- registering --------------------------------------------------------------------------------


def test_registers_a_package_with_its_lineage_and_waits():
    world = World()
    admission, version = world.candidate(1)
    (registered,) = world.registry.registered.values()
    assert registered.package.status == "PendingManualApproval"
    assert registered.request.metadata["run_id"] == admission.run.run_id
    assert registered.request.generated_by == admission.run.execution_arn
    digest = world.ledger.get_model(version).model_digest
    assert registered.request.environment == serving_environment(IMAGE.region, digest)
    assert world.ledger.get_model(version).approval is Approval.PENDING
    assert world.ledger.get_run(admission.run.run_id).status is RunStatus.AWAITING_APPROVAL


def test_reviewers_are_told_first_what_the_gate_cannot_say():
    world = World()
    admission = world.admit(a_drop(1))
    reasons = [{"code": "TooFewToTell", "message": "It can't be said how sure auc is."}]
    registration = world.register(admission, verdict="undecided", accepted=False, reasons=reasons)
    assert registration.notes[0] == "The gate can't say whether this candidate is good enough:"
    assert registration.notes[1] == "- It can't be said how sure auc is."
    (registered,) = world.registry.registered.values()
    assert registered.package.status == "PendingManualApproval"
    assert registered.request.metadata["gate_verdict"] == "undecided"


def test_a_judgement_of_a_release_with_two_verdicts_is_registered():
    world = World()
    registration = world.register(world.admit(a_drop(1)), accepted=True)
    (registered,) = world.registry.registered.values()
    assert registered.request.metadata["gate_verdict"] == "accepted"
    assert not any("can't say" in note for note in registration.notes)


def test_the_package_names_a_copy_of_what_was_judged():
    world = World()
    admission, version = world.candidate(1)
    (registered,) = world.registry.registered.values()
    model = world.ledger.get_model(version)
    assert registered.request.model_data_url == model.model_data_url
    assert model.model_data_url == f"s3://data/registered/{admission.run.run_id}/model.tar.gz"
    assert world.store.sha256(model.model_data_url) == model.model_sha256


def test_registers_nothing_of_an_archive_that_was_exchanged_after_it_was_judged():
    world = World()
    admission = world.admit(a_drop(1))
    read = world.store.sha256
    world.store.sha256 = lambda location: read(location).translate(str.maketrans("0123", "3210"))
    with pytest.raises(ArtifactChanged, match="was judged"):
        world.register(admission)
    assert not world.registry.registered
    assert not [uri for uri in world.store.objects if uri.startswith("s3://data/registered/")]


def test_registering_passes_the_training_lock_to_what_waits():
    world = World()
    admission = world.admit(a_drop(1))
    world.admit(a_drop(2), now=at(1))
    registration = world.register(admission)
    assert registration.follow_up in world.workflows.executions
    assert world.ledger.held_lease(LockName.TRAINING) is None


def test_a_newer_candidate_supersedes_the_one_that_waits():
    world = waiting()
    _, version = world.candidate(2, seconds=100)
    assert package(world, 1).status == "Rejected"
    assert package(world, 1).description == "superseded by version 2"
    assert world.ledger.get_model(1).approval is Approval.SUPERSEDED
    assert version == 2
    event = world.registry.review(package(world, 1).arn, "Rejected", reason="superseded by version 2")
    assert world.apply(event)["action"] == "resolved"
    assert world.workflows.results["t1"]["decision"] == "superseded"


def test_a_newer_candidate_leaves_decided_versions_alone():
    world = World()
    world.make_live(1)
    admission, version = world.candidate(2, seconds=100)
    world.apply(world.review(version, "Rejected"), now=at(110))
    admission = world.admit(a_drop(3), now=at(200))
    assert world.register(admission, now=at(201)).superseded == []
    assert package(world, 1).status == "Approved"
    assert world.ledger.get_model(2).approval is Approval.REJECTED


def test_a_waiting_package_that_was_deleted_does_not_stop_a_newer_one():
    world = waiting()
    del world.registry.registered[world.ledger.get_model(1).model_package_arn]
    _, version = world.candidate(2, seconds=100)
    assert version == 2
    assert world.ledger.get_model(1).approval is Approval.SUPERSEDED
    assert world.ledger.held_lease(LockName.TRAINING) is None


def test_the_package_of_an_overtaken_run_is_rejected():
    world = World()
    overtaken = world.admit(a_drop(1))
    world.admit(a_drop(2), now=at(LEASE_S + 1))
    with pytest.raises(LostLock):
        world.register(overtaken, now=at(LEASE_S + 2))
    (registered,) = world.registry.registered.values()
    assert registered.package.status == "Rejected"
    assert "overtaken" in registered.package.description
    assert world.ledger.list_models() == []


def test_registering_twice_makes_one_package_and_one_version():
    world = World()
    admission, _ = world.candidate(1)
    again = world.register(admission, now=at(99))
    assert again.model.version == 1
    assert len(world.registry.registered) == len(world.ledger.list_models()) == 1


def test_reviewers_are_told_what_became_of_the_data_and_the_package_has_it():
    world = World()
    world.make_live(1)
    admission = world.admit(a_drop(2), now=at(100))
    live_run = world.ledger.get_model(1).run_id
    for run_id, kept in ((live_run, 100), (admission.run.run_id, 60)):
        report = {"rows": {"read": 110, "rejected": 110 - kept, "kept": kept}}
        world.store.objects[f"s3://data/runs/{run_id}/report.json"] = json.dumps(report).encode()
    registration = world.register(admission, now=at(101))
    assert registration.notes == [
        "What became of your data:",
        "110 rows read, 60 kept; 50 rejected.",
        "1 of 2 columns is learned from.",
        "What differs from version 1:",
        "- 60 rows kept; 100 in version 1.",
        "- 45.5 % of the rows rejected; 9.09 % in version 1.",
    ]
    registered = world.registry.registered[registration.model.model_package_arn].request
    assert registered.metadata["data_rows_rejected"] == "50"
    assert registered.metadata["data_columns_used"] == "2"


@pytest.mark.parametrize("content", [b"no JSON", b"[]", None])
def test_a_report_that_cannot_be_read_holds_no_version_up(content):
    world = World()
    admission = world.admit(a_drop(1))
    if content is not None:
        world.store.objects[f"s3://data/runs/{admission.run.run_id}/report.json"] = content
    assert world.register(admission).notes == []


# --- waiting ------------------------------------------------------------------------------------


def test_waits_until_the_time_counted_from_the_first_request():
    world = World()
    world.candidate(1)
    assert world.request(1, "t1", now=at(20), timeout_s=600) == iso(at(620))
    assert world.request(1, "t2", now=at(300), timeout_s=600) == iso(at(620))
    assert world.ledger.get_model(1).task_token == "t2"


def test_a_run_that_asks_after_the_decision_is_told_at_once():
    world = World()
    world.candidate(1)
    assert world.approve(1, reason="fine")["action"] == "resolved"
    world.workflows.waiting.add("t1")
    world.request(1, "t1", now=at(40))
    assert world.workflows.results["t1"] == {
        "decision": "approved",
        "version": 1,
        "by": "ann",
        "reason": "fine",
    }


def test_reminds_and_waits_on_while_there_is_time():
    world = waiting()
    checked = world.check(1, now=at(100), reminder_s=60)
    assert (checked["outcome"], checked["wait_s"]) == ("waiting", 60)
    assert world.check(1, now=at(590), reminder_s=60)["wait_s"] == 30


def test_gives_up_when_the_time_is_over():
    world = waiting()
    assert world.check(1, now=at(621))["outcome"] == "overdue"
    assert world.ledger.get_run(a_drop(1).run_id).status is RunStatus.EXPIRED
    assert world.ledger.get_model(1).approval is Approval.PENDING
    assert package(world).status == "PendingManualApproval"


def test_a_decision_at_the_last_moment_wins():
    world = waiting()
    world.approve(1, now=at(620))
    checked = world.check(1, now=at(700))
    assert (checked["outcome"], checked["decision"]) == ("decided", "approved")
    assert world.ledger.get_run(a_drop(1).run_id).status is RunStatus.AWAITING_APPROVAL


# --- decisions ----------------------------------------------------------------------------------


def test_an_approval_lets_the_waiting_run_go_on():
    world = waiting()
    assert world.approve(1)["action"] == "resolved"
    assert world.workflows.results["t1"]["decision"] == "approved"
    assert world.workflows.results["t1"]["by"] == "ann"
    assert started(world) == []


def test_a_rejection_ends_the_waiting_run_with_its_reason():
    world = waiting()
    world.apply(world.review(1, "Rejected", by="bob", reason="leaks the target"))
    assert world.workflows.results["t1"] == {
        "decision": "rejected",
        "version": 1,
        "by": "bob",
        "reason": "leaks the target",
    }


def test_the_person_whom_the_tool_names_counts_before_the_caller():
    world = waiting()
    world.approve(1, by="arn:aws:sts::1:assumed-role/console", decided_by="carol")
    assert world.ledger.get_model(1).decided_by == "carol"


def test_duplicates_of_a_decision_are_harmless():
    world = waiting()
    event = world.review(1, "Approved")
    outcomes = [world.apply(event, now=at(30 + delay))["action"] for delay in range(3)]
    assert outcomes == ["resolved"] * 3
    assert len(world.workflows.results) == 1
    assert started(world) == []
    assert len(world.ledger.history(1)) == 2


def test_a_late_approval_starts_exactly_one_deployment():
    world = waiting()
    world.check(1, now=at(621))
    world.end(world.ledger.get_run(a_drop(1).run_id).execution_arn)
    event = world.review(1, "Approved")
    outcomes = [world.apply(event, now=at(700 + delay)) for delay in range(3)]
    assert {each["action"] for each in outcomes} == {"deployment"}
    assert len({each["execution_arn"] for each in outcomes}) == 1
    (deployment,) = started(world)
    assert deployment.payload == {
        "reason": "late-approval",
        "version": 1,
        "run_id": None,
        "requested_by": "ann",
    }


def test_an_approval_between_giving_up_and_the_end_of_the_execution_is_not_lost():
    world = waiting()
    world.check(1, now=at(621))
    assert world.workflows.state(world.ledger.get_run(a_drop(1).run_id).execution_arn) == "running"
    assert world.approve(1, now=at(620))["action"] == "deployment"


def test_approving_the_live_version_again_changes_nothing():
    world = World()
    world.make_live(1)
    assert world.approve(1, now=at(99))["action"] == "none"
    assert started(world) == []


def test_an_old_approval_that_comes_again_does_not_displace_a_newer_version():
    world = World()
    world.make_live(1)
    event = world.review(1, "Approved")
    world.make_live(2, seconds=100)
    assert world.apply(event, now=at(500))["action"] == "none"
    assert started(world) == []


def test_an_approval_whose_deployment_failed_is_not_tried_again_by_itself():
    world = waiting()
    event = world.review(1, "Approved")
    world.apply(event, now=at(30))
    world.ledger.advance_run(a_drop(1).run_id, RunStatus.FAILED, ended_at=iso(at(60)))
    world.end(world.ledger.get_run(a_drop(1).run_id).execution_arn)
    assert world.apply(event, now=at(90))["action"] == "none"


def test_rejecting_and_approving_anew_deploys():
    world = waiting()
    world.apply(world.review(1, "Rejected"), now=at(30))
    run_id = a_drop(1).run_id
    world.ledger.advance_run(run_id, RunStatus.REJECTED, ended_at=iso(at(31)))
    world.end(world.ledger.get_run(run_id).execution_arn)
    assert world.approve(1, now=at(60))["action"] == "deployment"


def test_rejecting_the_live_version_starts_one_rollback():
    world = World()
    world.make_live(1)
    world.make_live(2, seconds=100)
    event = world.review(2, "Rejected")
    outcomes = [world.apply(event, now=at(300 + delay)) for delay in range(2)]
    assert {each["action"] for each in outcomes} == {"rollback"}
    (rollback,) = started(world)
    assert (rollback.payload["version"], rollback.payload["reason"]) == (None, "rejection")


def test_rejecting_a_version_that_nobody_waits_for_is_noted():
    world = World()
    world.make_live(1)
    world.make_live(2, seconds=100)
    assert world.apply(world.review(1, "Rejected"), now=at(300))["action"] == "none"
    assert world.ledger.get_model(1).approval is Approval.REJECTED


def test_the_registry_counts_and_not_a_late_event():
    world = waiting()
    approval = world.review(1, "Approved")
    world.review(1, "Rejected")
    assert world.apply(approval)["action"] == "resolved"
    assert world.workflows.results["t1"]["decision"] == "rejected"


def test_a_package_that_is_pending_again_changes_nothing():
    world = waiting()
    event = world.review(1, "Approved")
    world.review(1, "PendingManualApproval")
    assert world.apply(event)["action"] == "none"


@pytest.mark.parametrize("how", ["the file was changed", "the approval names others"])
def test_an_approval_given_on_other_metrics_is_taken_back(how):
    world = waiting()
    named = {}
    if how == "the file was changed":
        world.store.objects[world.ledger.get_model(1).judgement_uri] += b" "
    else:
        named = {"decision_judgement_sha256": "f" * 64}
    outcome = world.approve(1, **named)
    assert outcome["action"] == "rejected"
    assert package(world).status == "Rejected"
    assert world.ledger.get_model(1).approval is Approval.PENDING
    assert world.workflows.results == {}


def test_an_approval_that_names_the_metrics_shown_counts():
    world = waiting()
    shown = world.ledger.get_model(1).judgement_sha256
    assert world.approve(1, decision_judgement_sha256=shown)["action"] == "resolved"


def test_a_decision_before_the_ledger_knows_the_version_is_tried_again():
    world = waiting()
    event = world.review(1, "Approved")
    world.ledger.models.clear()
    with pytest.raises(ServiceUnavailable):
        world.apply(event)


@pytest.mark.parametrize(
    "event", [{}, {"detail": {}}, {"detail": {"ModelPackageArn": "x", "ModelPackageGroupName": "other"}}]
)
def test_refuses_events_of_another_kind_or_group(event):
    with pytest.raises(InvalidEvent, match="model"):
        World().apply(event)


def test_no_second_training_run_is_started_by_decisions():
    world = waiting()
    world.approve(1)
    assert [each for each in world.workflows.started(TRAINING) if each.payload] == []
