"""What every ledger promises; the one in memory and the one on DynamoDB run the same tests."""

from __future__ import annotations

import pytest
from tests.fakes.records import a_drop, a_pointer, a_run, a_version, at, execution

from dropforge.domain.drop_life import DropState, Ending, completed, let_go, taken
from dropforge.domain.errors import LostLock, NotApproved, ServiceUnavailable
from dropforge.domain.moments import iso
from dropforge.domain.records import Approval, LockName, RunStatus, Stage

TRAINING, DEPLOYMENT = LockName.TRAINING, LockName.DEPLOYMENT


def take(ledger, name=TRAINING, *, holder="x1", subject="run-1", seconds=0.0, lease_s=60):
    return ledger.acquire(name, holder=holder, subject=subject, now=at(seconds), lease_s=lease_s)


def opened(ledger, run_id="run-1", *, seconds=0.0, **changes):
    """A run under way, holding the training lock."""
    lease = take(ledger, holder=execution(run_id), subject=run_id, seconds=seconds)
    return ledger.open_run(a_run(run_id, token=lease.token, started_at=iso(at(seconds)), **changes))


def registered(ledger, version=1, *, seconds=0.0, **changes):
    """A version that waits for its decision; its run has passed the training lock on."""
    run = opened(ledger, f"run-{version}", seconds=seconds)
    model = a_version(version, run_id=run.run_id, **changes)
    ledger.register_model(model, token=run.token, now=at(seconds))
    ledger.release(TRAINING, token=run.token)
    return model


def approved(ledger, version=1, *, seconds=0.0):
    registered(ledger, version, seconds=seconds)
    return ledger.decide(version, Approval.APPROVED, by="ann", reason="fine", now=at(seconds + 1))


def promoted(ledger, version=1, *, seconds=0.0):
    model = approved(ledger, version, seconds=seconds)
    lease = take(ledger, DEPLOYMENT, holder=f"d{version}", seconds=seconds + 2)
    live = a_pointer(model, token=lease.token, now=at(seconds + 3))
    ledger.promote(live, by="ann", now=at(seconds + 3), settles_run=model.run_id)
    ledger.release(DEPLOYMENT, token=lease.token)
    return live


def take_drops(ledger, run, *drops):
    """Let a run take drops; those that it has."""
    stand = ledger.change_drops(
        [each.drop_id for each in drops], lambda each, _: taken(each, run.run_id), token=run.token
    )
    return [each for each in stand if each.run_id == run.run_id]


# --- drops --------------------------------------------------------------------------------------


def test_records_a_drop_once(ledger):
    drop = a_drop()
    first = ledger.record_drop(drop, received_by="x1", now=at(0))
    again = ledger.record_drop(drop, received_by="x1", now=at(1))
    assert (first.is_new, first.is_mine, first.recorded.run_id) == (True, True, None)
    assert (again.is_new, again.is_mine, again.recorded.run_id) == (False, True, None)
    assert [each.drop for each in ledger.waiting_drops()] == [drop]
    assert ledger.get_drop(drop.drop_id).received_at == iso(at(0))


def test_counts_each_other_execution_that_got_the_same_drop_once(ledger):
    drop = a_drop()
    ledger.record_drop(drop, received_by="x1", now=at(0))
    receipts = [ledger.record_drop(drop, received_by=name, now=at(1)) for name in ("x2", "x2", "x3")]
    assert [each.is_mine for each in receipts] == [False] * 3
    assert ledger.get_drop(drop.drop_id).duplicates == 2
    assert ledger.get_drop(drop.drop_id).received_by == "x1"
    assert len(ledger.waiting_drops()) == 1


def test_tells_a_duplicate_which_run_covers_its_drop(ledger):
    drop = a_drop()
    ledger.record_drop(drop, received_by="x1", now=at(0))
    take_drops(ledger, opened(ledger), drop)
    assert ledger.record_drop(drop, received_by="x2", now=at(1)).recorded.run_id == "run-1"


def test_keeps_every_field_of_a_drop_also_without_a_version(ledger):
    drop = a_drop(version_id=None)
    ledger.record_drop(drop, received_by="x1", now=at(0))
    assert ledger.get_drop(drop.drop_id).drop == drop


def test_lists_waiting_drops_oldest_first(ledger):
    for number in (3, 1, 2):
        ledger.record_drop(a_drop(number), received_by=f"x{number}", now=at(number))
    assert [each.drop for each in ledger.waiting_drops()] == [a_drop(1), a_drop(2), a_drop(3)]


def test_a_newer_version_supersedes_an_older_one_that_waits_or_is_set_aside(ledger):
    older, newer, newest = (a_drop(1, version_id=f"v{n}", sequencer=f"0{n}") for n in (1, 2, 3))
    ledger.record_drop(older, received_by="x", now=at(0))
    assert ledger.record_drop(newer, received_by="y", now=at(1)).recorded.state is DropState.WAITING
    run = opened(ledger)
    take_drops(ledger, run, newer)
    reason = {"class": "EmptyData", "message": "no rows"}
    aside = Ending(run.run_id, False, None, False, {newer.drop_id: reason})
    ledger.change_drops([newer.drop_id], lambda each, known: let_go(each, aside, known, at(2)))
    assert ledger.get_drop(newer.drop_id).reason == reason
    ledger.record_drop(newest, received_by="z", now=at(3))
    stand = {each.drop_id: (each.state, each.superseded_by) for each in ledger.list_drops()}
    assert stand == {
        older.drop_id: (DropState.SUPERSEDED, newer.drop_id),
        newer.drop_id: (DropState.SUPERSEDED, newest.drop_id),
        newest.drop_id: (DropState.WAITING, None),
    }
    assert [each.drop for each in ledger.waiting_drops()] == [newest]


def test_an_older_version_that_comes_late_is_superseded_by_the_one_that_is_known(ledger):
    newer, late = a_drop(1, sequencer="0A1"), a_drop(1, sequencer="09", version_id="v0")
    ledger.record_drop(newer, received_by="x", now=at(0))
    take_drops(ledger, opened(ledger), newer)
    receipt = ledger.record_drop(late, received_by="y", now=at(1))
    assert (receipt.recorded.state, receipt.recorded.superseded_by) == (DropState.SUPERSEDED, newer.drop_id)
    assert ledger.newest_versions([late.key]) == {late.key: newer.drop_id}
    assert ledger.waiting_drops() == []


def test_tells_which_drop_is_to_start_a_run_by_itself(ledger):
    assert ledger.newest_due(at(0)) is None
    ledger.record_drop(a_drop(1), received_by="x", now=at(0))
    ledger.record_drop(
        a_drop(2), received_by="x", now=at(1), due_at=iso(at(100)), waits_for="incoming/_SUCCESS"
    )
    assert ledger.newest_due(at(99)) == a_drop(1).drop_id
    assert ledger.newest_due(at(100)) == a_drop(2).drop_id
    ledger.change_drops([a_drop(2).drop_id], lambda each, _: completed(each, at(50)))
    assert ledger.newest_due(at(60)) == a_drop(2).drop_id
    assert ledger.get_drop(a_drop(2).drop_id).waits_for is None


def test_a_drop_is_moved_again_where_it_stands_after_another_moved_it(ledger):
    ledger.record_drop(a_drop(), received_by="x", now=at(0))
    run = opened(ledger)
    take_drops(ledger, run, a_drop())
    back = Ending(run.run_id, False, None, True, {})
    for _ in range(2):
        ledger.change_drops([a_drop().drop_id], lambda each, known: let_go(each, back, known, at(10)))
    waits = ledger.get_drop(a_drop().drop_id)
    assert (waits.state, waits.failures, waits.due_at) == (DropState.WAITING, 1, iso(at(910)))
    assert [each.drop for each in ledger.waiting_drops()] == [a_drop()]


def test_knows_when_the_marker_of_a_folder_came(ledger):
    assert ledger.folder_completed_at(["incoming/a/_SUCCESS", "incoming/_SUCCESS"]) is None
    ledger.complete_folder("incoming/_SUCCESS", iso(at(5)))
    assert ledger.folder_completed_at(["incoming/a/_SUCCESS", "incoming/_SUCCESS"]) == iso(at(5))


def test_a_run_is_unsettled_until_its_drops_were_let_go(ledger):
    run = opened(ledger)
    assert ledger.unsettled_runs() == ["run-1"]
    ledger.mark_settled(run.run_id, notes=["on fewer rows"])
    ledger.mark_settled(run.run_id)
    assert ledger.unsettled_runs() == []
    assert ledger.get_run("run-1").notes == ["on fewer rows"]
    ledger.mark_unsettled(["run-1", "run-2"])
    assert ledger.unsettled_runs() == ["run-1", "run-2"]


def test_the_form_of_its_drops_is_the_earlier_one_until_they_were_looked_through(ledger):
    assert ledger.drop_format() == 1
    ledger.set_drop_format(2)
    assert ledger.drop_format() == 2


def test_knows_nothing_of_what_was_never_recorded(ledger):
    assert ledger.get_drop("none") is None
    assert ledger.get_run("none") is None
    assert ledger.get_model(9) is None
    assert ledger.live() is None
    assert ledger.held_lease(TRAINING) is None
    assert (ledger.waiting_drops(), ledger.list_runs(), ledger.list_models()) == ([], [], [])
    assert ledger.history(9) == []


# --- locks --------------------------------------------------------------------------------------


def test_gives_a_lock_to_one_holder(ledger):
    lease = take(ledger, subject="run-1")
    assert (lease.holder, lease.subject, lease.token) == ("x1", "run-1", 1)
    assert lease.expires_at == iso(at(60))
    assert take(ledger, holder="x2") is None
    assert ledger.held_lease(TRAINING) == lease


def test_gives_the_holder_its_own_lease_again(ledger):
    lease = take(ledger, subject="run-1")
    assert take(ledger, subject="another", seconds=5) == lease


def test_keeps_locks_apart(ledger):
    take(ledger)
    assert take(ledger, DEPLOYMENT, holder="x2") is not None


def test_passes_an_expired_lease_on_with_a_greater_token(ledger):
    first = take(ledger, lease_s=60)
    assert take(ledger, holder="x2", seconds=60) is None
    second = take(ledger, holder="x2", seconds=60.001)
    assert second.token > first.token
    assert ledger.held_lease(TRAINING).holder == "x2"


def test_releases_only_with_the_token_that_holds(ledger):
    first = take(ledger)
    assert not ledger.release(TRAINING, token=first.token + 1)
    assert ledger.release(TRAINING, token=first.token)
    assert not ledger.release(TRAINING, token=first.token)
    assert ledger.held_lease(TRAINING) is None


def test_a_zombie_cannot_release_its_successors_lock(ledger):
    first = take(ledger, lease_s=1)
    second = take(ledger, holder="x2", seconds=2)
    assert not ledger.release(TRAINING, token=first.token)
    assert ledger.held_lease(TRAINING) == second


def test_tokens_grow_with_every_acquisition(ledger):
    tokens = []
    for number in range(4):
        lease = take(ledger, holder=f"x{number}")
        tokens.append(lease.token)
        ledger.release(TRAINING, token=lease.token)
    assert tokens == sorted(set(tokens))


# --- runs ---------------------------------------------------------------------------------------


def test_a_run_takes_its_drops(ledger):
    for number in (1, 2):
        ledger.record_drop(a_drop(number), received_by=f"x{number}", now=at(number))
    take_drops(ledger, opened(ledger), a_drop(1))
    assert ledger.get_drop(a_drop(1).drop_id).run_id == "run-1"
    assert [each.drop for each in ledger.waiting_drops()] == [a_drop(2)]


def test_a_run_takes_more_drops_than_a_transaction_holds(ledger):
    drops = [a_drop(number) for number in range(120)]
    for drop in drops:
        ledger.record_drop(drop, received_by="x", now=at(0))
    assert len(take_drops(ledger, opened(ledger), *drops)) == 120
    assert ledger.waiting_drops() == []
    assert {ledger.get_drop(drop.drop_id).run_id for drop in drops} == {"run-1"}


def test_keeps_every_field_of_a_run(ledger):
    run = opened(
        ledger,
        keys=["incoming/a.csv"],
        requested_by="ann",
        metric={"value": 0.1, "none": None},
        reasons=[{"code": "x", "value": 1.5}],
    )
    assert ledger.get_run("run-1") == run


def test_opens_a_run_once(ledger):
    first = opened(ledger)
    assert ledger.open_run(a_run(token=first.token, started_at=iso(at(9)))) == first


def test_does_not_open_a_run_without_the_lock(ledger):
    lease = take(ledger, lease_s=1)
    take(ledger, holder="x2", seconds=2)
    ledger.record_drop(a_drop(), received_by="x1", now=at(0))
    with pytest.raises(LostLock):
        ledger.open_run(a_run(token=lease.token))
    with pytest.raises(LostLock):
        take_drops(ledger, a_run(token=lease.token), a_drop())
    assert ledger.get_run("run-1") is None
    assert len(ledger.waiting_drops()) == 1
    assert ledger.unsettled_runs() == []


def test_does_not_open_a_run_with_a_lock_that_was_freed(ledger):
    lease = take(ledger)
    ledger.release(TRAINING, token=lease.token)
    with pytest.raises(LostLock):
        ledger.open_run(a_run(token=lease.token))


def test_lists_the_newest_runs_first(ledger):
    for number in range(1, 5):
        run = opened(ledger, f"run-{number}", seconds=number)
        ledger.release(TRAINING, token=run.token)
    assert [run.run_id for run in ledger.list_runs()] == ["run-4", "run-3", "run-2", "run-1"]
    assert [run.run_id for run in ledger.list_runs(limit=2)] == ["run-4", "run-3"]


def test_advances_a_run_until_it_has_ended(ledger):
    opened(ledger)
    assert ledger.advance_run("run-1", RunStatus.DEPLOYING).status is RunStatus.DEPLOYING
    error = {"class": "EmptyData", "message": "no rows"}
    ended = ledger.advance_run("run-1", RunStatus.FAILED, ended_at=iso(at(9)), error=error)
    assert (ended.status, ended.ended_at, ended.error) == (RunStatus.FAILED, iso(at(9)), error)
    assert ledger.advance_run("run-1", RunStatus.SUCCEEDED, ended_at=iso(at(10)), error=None) == ended
    assert ledger.get_run("run-1") == ended


def test_advancing_with_no_error_leaves_none(ledger):
    opened(ledger)
    ended = ledger.advance_run("run-1", RunStatus.STOPPED, error=None, reasons=[{"code": "stopped"}])
    assert ended.error is None
    assert ended.reasons == [{"code": "stopped"}]


def test_an_unknown_run_may_appear_later(ledger):
    with pytest.raises(ServiceUnavailable, match="none"):
        ledger.advance_run("none", RunStatus.FAILED)


# --- model versions -----------------------------------------------------------------------------


def test_registers_a_version_and_lets_its_run_wait(ledger):
    model = registered(ledger)
    assert ledger.get_model(1) == model
    run = ledger.get_run("run-1")
    assert run.status is RunStatus.AWAITING_APPROVAL
    assert (run.version, run.model_package_arn) == (1, model.model_package_arn)
    assert run.metric == model.metric


def test_numbers_and_nulls_of_a_metric_survive(ledger):
    metric = {
        "name": "auc",
        "value": 0.1 + 0.2,
        "interval": [-1.5e-7, 1.0],
        "tiny": 5e-324,
        "huge": 1.7e308,
        "rows": 5000,
        "threshold": None,
        "accepted": True,
        "slices": {"a": [{"n": 3, "value": None}]},
    }
    registered(ledger, metric=metric)
    kept = ledger.get_model(1).metric
    assert kept["value"] == 0.1 + 0.2
    assert kept["tiny"] == pytest.approx(0.0, abs=1e-120)
    assert {**kept, "tiny": 0, "huge": 0} == {**metric, "tiny": 0, "huge": 0}


def test_registers_a_version_once(ledger):
    run = opened(ledger)
    ledger.register_model(a_version(), token=run.token, now=at(1))
    ledger.release(TRAINING, token=run.token)
    again = ledger.register_model(a_version(registered_at=iso(at(5))), token=run.token, now=at(5))
    assert again.registered_at == a_version().registered_at
    assert len(ledger.history(1)) == 1


def test_a_zombie_cannot_register(ledger):
    run = opened(ledger)
    take(ledger, holder="x2", seconds=100)
    with pytest.raises(LostLock):
        ledger.register_model(a_version(), token=run.token, now=at(101))
    assert ledger.get_model(1) is None
    assert ledger.get_run("run-1").status is RunStatus.RUNNING


def test_a_run_that_was_closed_cannot_register(ledger):
    run = opened(ledger)
    ledger.advance_run("run-1", RunStatus.FAILED)
    with pytest.raises(LostLock):
        ledger.register_model(a_version(), token=run.token, now=at(1))
    assert ledger.get_model(1) is None


def test_lists_the_newest_version_first(ledger):
    for version in (2, 10, 9):
        registered(ledger, version)
    assert [model.version for model in ledger.list_models()] == [10, 9, 2]


def test_approves_a_version(ledger):
    registered(ledger)
    model = ledger.decide(1, Approval.APPROVED, by="ann", reason="good", now=at(5))
    assert (model.approval, model.stage) == (Approval.APPROVED, Stage.STAGING)
    assert (model.decided_at, model.decided_by, model.decision_reason) == (iso(at(5)), "ann", "good")
    assert ledger.get_model(1) == model


def test_the_same_decision_twice_changes_nothing(ledger):
    registered(ledger)
    first = ledger.decide(1, Approval.REJECTED, by="ann", reason="bad", now=at(5))
    assert ledger.decide(1, Approval.REJECTED, by="bob", reason="worse", now=at(6)) == first
    assert len(ledger.history(1)) == 2


def test_another_decision_replaces_the_first(ledger):
    approved(ledger)
    model = ledger.decide(1, Approval.REJECTED, by=None, reason=None, now=at(7))
    assert (model.approval, model.stage, model.decided_by) == (Approval.REJECTED, Stage.ARCHIVED, None)
    model = ledger.decide(1, Approval.APPROVED, by="bob", reason=None, now=at(8))
    assert (model.approval, model.stage) == (Approval.APPROVED, Stage.STAGING)


@pytest.mark.parametrize("decision", [Approval.APPROVED, Approval.REJECTED])
def test_only_a_version_that_waits_can_be_superseded(ledger, decision):
    registered(ledger)
    decided = ledger.decide(1, decision, by="ann", reason=None, now=at(5))
    assert ledger.decide(1, Approval.SUPERSEDED, by="dropforge", reason="v2", now=at(6)) == decided
    assert ledger.get_model(1) == decided


def test_rejecting_what_is_live_leaves_it_in_production(ledger):
    promoted(ledger)
    model = ledger.decide(1, Approval.REJECTED, by="ann", reason="bias", now=at(9))
    assert (model.approval, model.stage) == (Approval.REJECTED, Stage.PRODUCTION)


def test_deciding_on_an_unknown_version_may_work_later(ledger):
    with pytest.raises(ServiceUnavailable, match="Version 7"):
        ledger.decide(7, Approval.APPROVED, by=None, reason=None, now=at(0))


def test_history_is_in_order_and_names_who_and_why(ledger):
    promoted(ledger, 1, seconds=0)
    promoted(ledger, 2, seconds=10)
    entries = ledger.history(1)
    assert [(each.stage, each.approval) for each in entries] == [
        (Stage.DEVELOPMENT, Approval.PENDING),
        (Stage.STAGING, Approval.APPROVED),
        (Stage.PRODUCTION, Approval.APPROVED),
        (Stage.ARCHIVED, Approval.APPROVED),
    ]
    assert [each.at for each in entries] == sorted(each.at for each in entries)
    assert (entries[0].by, entries[0].reason) == (None, None)
    assert (entries[1].by, entries[1].reason) == ("ann", "fine")
    assert entries[3].reason == "version 2 went live"


# --- waiting for a decision ---------------------------------------------------------------------


def test_notes_who_waits_for_the_decision(ledger):
    registered(ledger)
    model = ledger.await_decision(1, task_token="t1", execution="x1", due_at=iso(at(60)))
    assert (model.task_token, model.waiting_execution, model.due_at) == ("t1", "x1", iso(at(60)))
    assert ledger.await_decision(1, task_token="t2", execution="x1", due_at=iso(at(60))).task_token == "t2"


def test_nobody_waits_for_a_decision_that_was_made(ledger):
    approved(ledger)
    model = ledger.await_decision(1, task_token="t1", execution="x1", due_at=iso(at(60)))
    assert (model.approval, model.task_token) == (Approval.APPROVED, None)


def test_a_decision_tells_who_waits_for_it(ledger):
    registered(ledger)
    ledger.await_decision(1, task_token="t1", execution="x1", due_at=iso(at(60)))
    assert ledger.decide(1, Approval.APPROVED, by=None, reason=None, now=at(5)).task_token == "t1"


def test_giving_up_ends_the_wait_and_the_run_but_leaves_the_version_pending(ledger):
    registered(ledger)
    ledger.await_decision(1, task_token="t1", execution="x1", due_at=iso(at(60)))
    model = ledger.expire_waiting(1, now=at(61))
    assert (model.approval, model.task_token, model.waiting_execution) == (Approval.PENDING, None, None)
    run = ledger.get_run("run-1")
    assert (run.status, run.ended_at) == (RunStatus.EXPIRED, iso(at(61)))
    assert ledger.expire_waiting(1, now=at(70)) == model
    assert ledger.get_run("run-1") == run


def test_a_decision_at_the_last_moment_wins_over_giving_up(ledger):
    approved(ledger)
    assert ledger.expire_waiting(1, now=at(61)).approval is Approval.APPROVED
    assert ledger.get_run("run-1").status is RunStatus.AWAITING_APPROVAL


def test_a_late_decision_still_counts(ledger):
    registered(ledger)
    ledger.expire_waiting(1, now=at(61))
    assert ledger.decide(1, Approval.APPROVED, by="ann", reason=None, now=at(70)).approval == "approved"
    assert ledger.get_run("run-1").status is RunStatus.EXPIRED


# --- the live pointer ---------------------------------------------------------------------------


def test_promotion_flips_pointer_stages_and_run_together(ledger):
    promoted(ledger, 1, seconds=0)
    live = promoted(ledger, 2, seconds=10)
    assert ledger.live() == live
    new, old = ledger.get_model(2), ledger.get_model(1)
    assert (new.stage, old.stage) == (Stage.PRODUCTION, Stage.ARCHIVED)
    assert (new.endpoint_config, new.model_name, new.promoted_at) == (
        live.endpoint_config,
        live.model_name,
        iso(at(13)),
    )
    assert old.endpoint_config is not None
    assert ledger.get_run("run-2").status is RunStatus.SUCCEEDED
    assert ledger.get_run("run-2").ended_at == iso(at(13))


def test_an_endpoint_sleeps_under_the_promotion_that_was_live(ledger):
    assert ledger.asleep_token() is None
    ledger.fall_asleep(3, now=at(1))
    ledger.fall_asleep(3, now=at(2))
    assert ledger.asleep_token() == 3
    ledger.fall_asleep(5, now=at(3))
    assert ledger.asleep_token() == 5


def test_promotes_once(ledger):
    live = promoted(ledger)
    assert ledger.promote(live, by="ann", now=at(50), settles_run="run-1") == live
    assert len(ledger.history(1)) == 3


def test_does_not_promote_what_was_rejected_meanwhile(ledger):
    model = approved(ledger)
    lease = take(ledger, DEPLOYMENT)
    ledger.decide(1, Approval.REJECTED, by="ann", reason=None, now=at(5))
    with pytest.raises(NotApproved, match="Version 1"):
        ledger.promote(a_pointer(model, token=lease.token), by="ann", now=at(6), settles_run="run-1")
    assert ledger.live() is None
    assert ledger.get_run("run-1").status is RunStatus.AWAITING_APPROVAL


def test_a_zombie_cannot_promote(ledger):
    promoted(ledger, 1)
    model = approved(ledger, 2, seconds=10)
    stale = take(ledger, DEPLOYMENT, holder="d2", seconds=20, lease_s=1)
    take(ledger, DEPLOYMENT, holder="d3", seconds=30)
    with pytest.raises(LostLock):
        ledger.promote(a_pointer(model, token=stale.token), by="ann", now=at(31), settles_run=None)
    assert ledger.live().version == 1
    assert ledger.get_model(2).stage is Stage.STAGING


def test_a_version_can_be_promoted_again_after_it_was_replaced(ledger):
    promoted(ledger, 1, seconds=0)
    promoted(ledger, 2, seconds=10)
    lease = take(ledger, DEPLOYMENT, holder="d3", seconds=20)
    live = a_pointer(ledger.get_model(1), token=lease.token, previous_version=2)
    ledger.promote(live, by="ann", now=at(21), settles_run=None)
    assert ledger.live() == live
    assert (ledger.get_model(1).stage, ledger.get_model(2).stage) == (Stage.PRODUCTION, Stage.ARCHIVED)


def test_the_live_version_can_be_promoted_again_under_a_new_token(ledger):
    first = promoted(ledger)
    lease = take(ledger, DEPLOYMENT, holder="repair", seconds=20)
    again = a_pointer(ledger.get_model(1), token=lease.token)
    assert ledger.promote(again, by="x", now=at(21), settles_run=None).token > first.token
    assert ledger.get_model(1).stage is Stage.PRODUCTION


def test_a_promotion_clears_the_error_of_a_run_that_was_given_up(ledger):
    model = approved(ledger)
    ledger.advance_run("run-1", RunStatus.FAILED, error={"class": "ExecutionEnded", "message": "gone"})
    lease = take(ledger, DEPLOYMENT)
    ledger.promote(a_pointer(model, token=lease.token), by="ann", now=at(6), settles_run="run-1")
    assert (ledger.get_run("run-1").status, ledger.get_run("run-1").error) == (RunStatus.SUCCEEDED, None)


def test_retiring_forgets_the_names_that_were_deleted(ledger):
    promoted(ledger)
    ledger.retire_model(1, now=at(50))
    model = ledger.get_model(1)
    assert (model.endpoint_config, model.model_name, model.retired_at) == (None, None, iso(at(50)))
    assert model.approval is Approval.APPROVED


def test_what_the_tracker_was_told_is_kept(ledger):
    assert ledger.tracked_state() is None
    for state in ("first", "second"):
        ledger.note_tracked(state)
        assert ledger.tracked_state() == state
