"""Use cases on the real table, killed before and after every single write, and run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.fakes.records import ENDPOINT, a_drop, at
from tests.fakes.world import CrashingPort, World, check_every_crash

from dropforge.adapters.dynamodb_ledger import DynamoDbLedger
from dropforge.application.admit_run import Admission

_WRITES = frozenset({"transact_write_items", "update_item"})


class _Ledger(DynamoDbLedger):
    def snapshot(self) -> list[dict[str, Any]]:
        """Every item of the table, but for the counters of tokens, which may skip."""
        items = self._client.scan(TableName=self._table, ConsistentRead=True)["Items"]
        kept = [item for item in items if item["pk"]["S"] != "LOCK" or "holder" in item]
        return sorted(kept, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


class _World(World):
    """A world in which not the ledger's methods but the writes of its client crash."""

    @contextmanager
    def calls(self, crash_at: int | None = None, is_done: bool = False) -> Iterator[tuple[World, list[str]]]:
        made: list[str] = []
        client = CrashingPort("dynamodb", self.ledger._client, made, crash_at, is_done, only=_WRITES)
        yield replace(self, ledger=_Ledger(client, self.ledger._table, pause=lambda _: None)), made


@pytest.fixture
def new_world(dynamodb, new_table) -> Callable[[], World]:
    return lambda: _World(ledger=_Ledger(dynamodb, new_table(), pause=lambda _: None))


def test_admitting_takes_every_waiting_drop_along(new_world):
    def build() -> World:
        world = new_world()
        for number in (1, 2):
            world.ledger.record_drop(a_drop(number), received_by="died", now=at(number))
        return world

    assert check_every_crash(build, lambda world, now: world.admit(a_drop(3), now=now)) == 6


def test_registering_supersedes_the_one_that_waits(new_world):
    def build() -> World:
        world = new_world()
        world.candidate(1)
        world.admit(a_drop(2), now=at(100))
        world.admit(a_drop(3), now=at(101))
        return world

    def act(world: World, now):
        return world.register(Admission("admitted", "", world.ledger.get_run(a_drop(2).run_id)), now=now)

    assert check_every_crash(build, act) == 6


def test_giving_up_on_a_decision(new_world):
    def build() -> World:
        world = new_world()
        world.candidate(1)
        world.request(1, "t1")
        return world

    assert check_every_crash(build, lambda world, now: world.check(1, now=now)) == 2


def test_promoting_over_a_version_that_is_live(new_world):
    def build() -> World:
        world = new_world()
        world.make_live(1)
        world.candidate(2, seconds=100)
        world.approve(2, now=at(110))
        return world

    def act(world: World, now):
        if world.ledger.live().version == 1:
            plan = world.plan(2, run_id=a_drop(2).run_id, now=at(120))
        else:
            plan = made[0]
        made[:] = [plan]
        world.endpoints.deploy(ENDPOINT, plan.endpoint_config, at(121))
        return world.promote(plan, now=now)

    made: list = []
    assert check_every_crash(build, act) == 8
