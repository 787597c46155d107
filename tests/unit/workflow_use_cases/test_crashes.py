"""A use case that is killed at any of its calls and then run again ends as if nothing had happened."""

from __future__ import annotations

from datetime import timedelta

import pytest
from tests.fakes.records import DEPLOYMENT, ENDPOINT, a_drop, at, execution
from tests.fakes.world import World, check_every_crash

from dropforge.application.admit_run import Admission
from dropforge.domain.errors import LostLock
from dropforge.domain.records import RunStatus

pytestmark = pytest.mark.thorough


def admission_of(world: World, number: int) -> Admission:
    return Admission("admitted", "", world.ledger.get_run(a_drop(number).run_id))


def empty() -> World:
    return World()


def with_waiting_drops() -> World:
    """A run was killed after two more drops had coalesced, and its lock was freed."""
    world = World()
    admission = world.admit(a_drop(1))
    for number in (2, 3):
        world.admit(a_drop(number), now=at(number))
    world.ledger.advance_run(admission.run.run_id, RunStatus.FAILED)
    world.ledger.release("training", token=admission.run.token)
    return world


def test_admitting_a_drop():
    assert check_every_crash(empty, lambda world, now: world.admit(a_drop(1), now=now)) >= 20


def test_admitting_a_follow_up():
    check_every_crash(with_waiting_drops, lambda world, now: world.admit({"trigger": "follow-up"}, now=now))


def test_admitting_a_duplicate():
    def build() -> World:
        world = World()
        world.admit(a_drop(1))
        world.running("duplicate")
        return world

    check_every_crash(build, lambda world, now: world.admit(a_drop(1), execution("duplicate"), now=now))


def test_admitting_while_another_run_trains():
    def build() -> World:
        world = World()
        world.admit(a_drop(1))
        return world

    check_every_crash(build, lambda world, now: world.admit(a_drop(2), now=now))


def test_a_schedule_that_finds_nothing_new():
    check_every_crash(empty, lambda world, now: world.admit({"trigger": "schedule"}, now=now))


def test_retraining_by_hand_and_replaying():
    def build() -> World:
        world = World()
        world.make_live(1)
        return world

    check_every_crash(build, lambda world, now: world.admit({"trigger": "manual"}, now=now))
    run_id = a_drop(1).run_id
    check_every_crash(build, lambda world, now: world.admit({"trigger": "replay", "run_id": run_id}, now=now))


def test_registering_over_one_that_waits_while_drops_wait_too():
    def build() -> World:
        world = World()
        _, version = world.candidate(1)
        world.workflows.waiting.add("t1")
        world.request(version, "t1")
        world.admit(a_drop(2), now=at(100))
        world.admit(a_drop(3), now=at(101))
        return world

    check_every_crash(build, lambda world, now: world.register(admission_of(world, 2), now=now))


def test_registering_after_a_newer_run_took_over():
    def build() -> World:
        world = World()
        world.admit(a_drop(1))
        world.admit(a_drop(2), now=at(4000))
        return world

    def act(world: World, now):
        with pytest.raises(LostLock):
            world.register(admission_of(world, 1), now=now)

    check_every_crash(build, act)


def waiting() -> World:
    world = World()
    _, version = world.candidate(1)
    world.workflows.waiting.add("t1")
    world.request(version, "t1")
    return world


def test_waiting_for_a_decision():
    def build() -> World:
        world = World()
        world.candidate(1)
        world.workflows.waiting.add("t1")
        return world

    check_every_crash(build, lambda world, now: world.request(1, "t1", now=at(20)))


def test_waiting_for_a_decision_that_was_made():
    def build() -> World:
        world = World()
        world.candidate(1)
        world.approve(1)
        world.workflows.waiting.add("t1")
        return world

    check_every_crash(build, lambda world, now: world.request(1, "t1", now=at(40)))


def test_giving_up_on_a_decision():
    check_every_crash(waiting, lambda world, now: world.check(1, now=now))


@pytest.mark.parametrize("status", ["Approved", "Rejected"])
def test_applying_a_decision_to_a_run_that_waits(status):
    def act(world: World, now):
        return world.apply(world.review(1, status), now=now)

    check_every_crash(waiting, act)


def test_applying_a_late_approval():
    def build() -> World:
        world = waiting()
        world.check(1, now=at(900))
        world.end(world.ledger.get_run(a_drop(1).run_id).execution_arn)
        return world

    check_every_crash(build, lambda world, now: world.apply(world.review(1, "Approved"), now=now))


def test_rejecting_what_is_live():
    def build() -> World:
        world = World()
        world.make_live(1)
        world.make_live(2, seconds=100)
        return world

    check_every_crash(build, lambda world, now: world.apply(world.review(2, "Rejected"), now=now))


def test_taking_an_approval_of_other_metrics_back():
    def build() -> World:
        world = waiting()
        world.store.objects[world.ledger.get_model(1).judgement_uri] = b"{}"
        return world

    def act(world: World, now):
        event = world.registry.review(world.ledger.get_model(1).model_package_arn, "Approved")
        return world.apply(event, now=now)

    check_every_crash(build, act)


@pytest.mark.parametrize("status", [RunStatus.FAILED, RunStatus.REJECTED_BY_GATE])
def test_closing_a_run_while_drops_wait(status):
    def build() -> World:
        world = World()
        world.admit(a_drop(1))
        world.admit(a_drop(2), now=at(1))
        return world

    def act(world: World, now):
        error = {"Error": "EmptyData", "Cause": "{}"} if status is RunStatus.FAILED else None
        return world.close(admission_of(world, 1), status, error=error, now=now)

    check_every_crash(build, act)


def approved() -> World:
    world = World()
    world.make_live(1)
    world.candidate(2, seconds=100)
    world.approve(2, now=at(110))
    return world


def test_planning_a_deployment():
    check_every_crash(approved, lambda world, now: world.plan(2, run_id=a_drop(2).run_id, now=now))


def test_planning_a_rollback():
    def build() -> World:
        world = World()
        world.make_live(1)
        world.make_live(2, seconds=100)
        world.apply(world.review(2, "Rejected"))
        return world

    check_every_crash(build, lambda world, now: world.plan(None, "rejection", now=now))


def test_promoting():
    def build() -> World:
        world = approved()
        plan = world.plan(2, run_id=a_drop(2).run_id, now=at(120))
        world.endpoints.deploy(ENDPOINT, plan.endpoint_config, at(121))
        return world

    def act(world: World, now):
        plan = build().plan(2, run_id=a_drop(2).run_id, now=at(120))
        return world.promote(plan, now=now)

    check_every_crash(build, act)


def test_settling_a_deployment_that_failed():
    def build() -> World:
        world = approved()
        world.endpoints.configs.update({"model-v2-2": at(130)})
        world.endpoints.models.update({"model-v2-2": at(130)})
        world.plan(2, run_id=a_drop(2).run_id, now=at(120))
        return world

    def act(world: World, now):
        return world.settle(approved().plan(2, run_id=a_drop(2).run_id, now=at(120)))

    check_every_crash(build, act)


def test_retiring():
    def build() -> World:
        world = World()
        for number in (1, 2, 3, 4):
            world.make_live(number, seconds=100.0 * number)
        return world

    check_every_crash(build, lambda world, now: world.retire(now, grace=timedelta(seconds=10)))


def test_reconciling_after_everything_died():
    def build() -> World:
        world = World()
        world.make_live(1)
        world.candidate(2, seconds=100)
        world.plan(1, "repair", deployment="dead", now=at(150))
        world.admit(a_drop(3), now=at(200))
        world.admit(a_drop(4), now=at(201))
        for arn in list(world.workflows.executions):
            world.end(arn)
        world.endpoints.deploy(ENDPOINT, "model-v9-9", at(300))
        assert world.workflows.state(execution("dead", DEPLOYMENT)) == "ended"
        return world

    check_every_crash(build, lambda world, now: world.reconcile(now=now))
