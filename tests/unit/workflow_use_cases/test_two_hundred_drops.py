"""Many clients dropping at once: every version is trained on by one good run, and runs never overlap."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.fakes.records import TRAINING, a_drop, at, execution, s3_event
from tests.fakes.world import Crash, World

from dropforge.domain.drop_life import DropState
from dropforge.domain.records import LockName, RunStatus

pytestmark = pytest.mark.thorough

_DROPS, _CLIENTS = 200, 8
_THROTTLED = {"Error": "Lambda.TooManyRequestsException", "Cause": "Rate Exceeded."}
_DENIED = {"Error": "AccessDenied", "Cause": "not authorized"}


def check_all_trained_once(world: World) -> None:
    """Each version was trained on by one run that was no failure, whoever had it before."""
    states = Counter(each.state for each in world.ledger.list_drops())
    assert states == {DropState.TRAINED: _DROPS}
    trained: Counter[tuple[str, str]] = Counter()
    for run in world.ledger.runs.values():
        if run.status is RunStatus.REJECTED_BY_GATE:
            for each in json.loads(world.store.read(run.manifest_uri))["objects"]:
                trained[each["key"], each["version_id"]] += each["is_new"]
    assert trained == {(a_drop(n).key, a_drop(n).version_id): 1 for n in range(_DROPS)}
    assert world.ledger.held_lease(LockName.TRAINING) is None


@pytest.mark.parametrize("seed", range(5))
def test_random_interleavings_of_admitting_and_closing(seed):
    """A scheduler picks what happens next: a delivery, a follow-up's start, a run's end, or a crash."""
    choose = random.Random(seed)  # noqa: S311 - a schedule, no secret
    world = World()
    deliveries = [(n, f"d{n}") for n in range(_DROPS)]
    deliveries += [(n, f"d{n}-again-{k}") for k in range(4) for n in range(_DROPS)]
    choose.shuffle(deliveries)
    running: list = []
    crashed: list[tuple[int, str]] = []
    begun: set[str] = set()
    clock, most_at_once, failed = 0, 0, 0

    def follow_ups() -> list[str]:
        return [
            arn
            for arn, each in world.workflows.executions.items()
            if each.payload == {"trigger": "follow-up"} and arn not in begun
        ]

    while deliveries or running or crashed or follow_ups() or world.ledger.waiting_drops():
        clock += 1
        options = ["deliver"] * 6 * bool(deliveries) + ["end"] * bool(running)
        options += ["retry"] * bool(crashed) + ["follow-up"] * bool(follow_ups())
        step = choose.choice(options or ["reconcile"])
        admission = None
        if step == "end":
            ended = running.pop()
            status = choose.choice([RunStatus.REJECTED_BY_GATE, RunStatus.REJECTED_BY_GATE, RunStatus.FAILED])
            error = choose.choice([_THROTTLED, _DENIED]) if status is RunStatus.FAILED else None
            failed += status is RunStatus.FAILED
            world.close(ended, status, error=error, now=at(clock))
            world.end(ended.run.execution_arn)
        elif step == "reconcile":
            clock += 900
            world.reconcile(at(clock))
            if not follow_ups():
                # What no retry mends waits for somebody.
                arn = world.running(f"by-hand-{clock}")
                admission = world.admit({"trigger": "manual"}, arn, now=at(clock))
        elif step == "follow-up":
            arn = choose.choice(follow_ups())
            begun.add(arn)
            admission = world.admit({"trigger": "follow-up"}, arn, now=at(clock))
        else:
            number, name = (deliveries if step == "deliver" else crashed).pop()
            arn = world.running(name)
            crash_at = choose.randint(1, 15) if step == "deliver" and choose.random() < 0.3 else None
            with world.calls(crash_at, choose.random() < 0.5) as (shaky, _):
                try:
                    admission = shaky.admit(s3_event(a_drop(number)), arn, now=at(clock))
                except Crash:
                    crashed.append((number, name))
        if admission is not None and admission.outcome == "admitted":
            running.append(admission)
        elif admission is not None:
            world.end(arn)
        most_at_once = max(most_at_once, len(running))
    check_all_trained_once(world)
    assert most_at_once == 1
    assert failed > 0
    assert len(world.ledger.runs) > 3


def test_clients_in_threads():
    world = World()
    training, starting = threading.Lock(), threading.Lock()
    begun: set[str] = set()
    overlaps: list[str] = []
    deliveries = [(n, f"d{n}") for n in range(_DROPS)] + [(n, f"d{n}-again") for n in range(0, _DROPS, 3)]
    random.Random(1).shuffle(deliveries)  # noqa: S311 - a schedule, no secret

    def execute(event, arn) -> None:
        admission = world.admit(event, arn, now=at(0))
        if admission.outcome != "admitted":
            world.end(arn)
            return
        if not training.acquire(blocking=False):
            overlaps.append(admission.run.run_id)
            return
        time.sleep(0.001)  # long enough for the other clients to meet the lock
        training.release()
        world.close(admission, RunStatus.REJECTED_BY_GATE, now=at(1))
        world.end(arn)
        for follow_up in not_begun():
            execute({"trigger": "follow-up"}, follow_up)

    def not_begun() -> list[str]:
        with starting:
            found = [
                arn
                for arn, each in list(world.workflows.executions.items())
                if each.payload and arn not in begun
            ]
            begun.update(found)
            return found

    def deliver(delivery) -> None:
        number, name = delivery
        execute(s3_event(a_drop(number)), world.running(name))

    with ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(deliver, deliveries))
    while world.ledger.waiting_drops():
        world.reconcile(at(5000))
        for arn in not_begun():
            execute({"trigger": "follow-up"}, arn)
    assert overlaps == []
    assert len(world.ledger.runs) > 1
    check_all_trained_once(world)
    assert all(each.payload in ({}, {"trigger": "follow-up"}) for each in world.workflows.started(TRAINING))
    assert execution("d0") in world.workflows.executions
