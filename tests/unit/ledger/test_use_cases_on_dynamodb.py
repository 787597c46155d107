"""Use cases on the real table, killed before and after every single write, and run again."""

from __future__ import annotations

import copy
import itertools
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

    def on(self, table: str) -> _World:
        """The same world on a new table."""
        client = self.ledger._client
        items = client.scan(TableName=self.ledger._table, ConsistentRead=True)["Items"]
        for batch in itertools.batched(items, 25):
            client.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": each}} for each in batch]})
        others = copy.deepcopy(replace(self, ledger=None))
        return replace(others, ledger=_Ledger(client, table, pause=lambda _: None))


@pytest.fixture
def new_world(dynamodb, new_table) -> Callable[[], World]:
    return lambda: _World(ledger=_Ledger(dynamodb, new_table(), pause=lambda _: None))


@pytest.fixture
def copies_of(new_table) -> Callable[[World], Callable[[], World]]:
    """Gives copies of a world, which takes a fraction of what it took to come about."""
    return lambda world: lambda: world.on(new_table())


def test_admitting_takes_every_waiting_drop_along(new_world, copies_of):
    world = new_world()
    for number in (1, 2):
        world.ledger.record_drop(a_drop(number), received_by="died", now=at(number))
    assert check_every_crash(copies_of(world), lambda world, now: world.admit(a_drop(3), now=now)) == 10


def test_registering_supersedes_the_one_that_waits(new_world, copies_of):
    waiting = new_world()
    waiting.candidate(1)
    waiting.admit(a_drop(2), now=at(100))
    waiting.admit(a_drop(3), now=at(101))

    def act(world: World, now):
        return world.register(Admission("admitted", "", world.ledger.get_run(a_drop(2).run_id)), now=now)

    assert check_every_crash(copies_of(waiting), act) == 10


def test_giving_up_on_a_decision(new_world, copies_of):
    world = new_world()
    world.candidate(1)
    world.request(1, "t1")
    assert check_every_crash(copies_of(world), lambda world, now: world.check(1, now=now)) == 2


def test_promoting_over_a_version_that_is_live(new_world, copies_of):
    approved = new_world()
    approved.make_live(1)
    approved.candidate(2, seconds=100)
    approved.approve(2, now=at(110))

    def act(world: World, now):
        if world.ledger.live().version == 1:
            plan = world.plan(2, run_id=a_drop(2).run_id, now=at(120))
        else:
            plan = made[0]
        made[:] = [plan]
        world.endpoints.deploy(ENDPOINT, plan.endpoint_config, at(121))
        return world.promote(plan, now=now)

    made: list = []
    assert check_every_crash(copies_of(approved), act) == 8
