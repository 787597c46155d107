"""What only the ledger on DynamoDB can get wrong: several calls in a row, other writers, AWS's refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy
import pytest
from botocore.exceptions import ClientError
from tests.fakes.records import a_drop, a_pointer, a_run, a_version, at, execution

from dropforge.adapters.dynamodb_ledger import DynamoDbLedger
from dropforge.domain.drop_life import RecordedDrop, taken
from dropforge.domain.errors import AccessDenied, NotApproved, ServiceRejected, ServiceUnavailable
from dropforge.domain.moments import iso
from dropforge.domain.records import Approval, Live, LockName, RunStatus


class Crash(Exception):
    """The function was killed."""


class Hooked:
    """A client that calls a hook, which may raise, before each call of one operation."""

    def __init__(self, client: Any, operation: str, hook: Callable[[], object]) -> None:
        self._client, self._operation, self._hook = client, operation, hook

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        if name != self._operation:
            return real

        def call(**request: Any) -> Any:
            self._hook()
            return real(**request)

        return call


def once(action: Callable[[], object]) -> Callable[[], None]:
    remaining = [action]

    def hook() -> None:
        if remaining:
            remaining.pop()()

    return hook


@pytest.fixture
def ledger(dynamodb, new_table) -> DynamoDbLedger:
    return DynamoDbLedger(dynamodb, new_table(), pause=lambda _: None)


@pytest.fixture
def hooked(dynamodb, ledger) -> Callable[..., DynamoDbLedger]:
    """Makes a ledger on the same table, as another process has it, with a hook."""

    def make(
        operation: str, hook: Callable[[], object], pause: Callable[[float], None] = lambda _: None
    ) -> DynamoDbLedger:
        return DynamoDbLedger(Hooked(dynamodb, operation, hook), ledger._table, pause=pause)

    return make


@pytest.mark.parametrize("drops", [3, 60])
def test_a_run_that_crashed_while_it_took_its_drops_has_every_one_when_tried_again(ledger, hooked, drops):
    drop_ids = [a_drop(number).drop_id for number in range(drops)]
    for number in range(drops):
        ledger.record_drop(a_drop(number), received_by="x", now=at(0))
    lease = ledger.acquire(
        LockName.TRAINING, holder=execution("run-1"), subject="run-1", now=at(0), lease_s=60
    )
    run = a_run(token=lease.token)
    for writes in itertools.count():
        remaining = [None] * writes

        def crash(remaining=remaining) -> None:
            if not remaining:
                raise Crash
            remaining.pop()

        try:
            crashing = hooked("transact_write_items", crash)
            crashing.open_run(run)
            crashing.change_drops(drop_ids, lambda each, _: taken(each, "run-1"), token=run.token)
        except Crash:
            claimed = {ledger.get_drop(drop_id).run_id for drop_id in drop_ids} - {None}
            assert not claimed or ledger.get_run("run-1") is not None
        else:
            break
    assert ledger.get_run("run-1") == run
    assert ledger.waiting_drops() == []


def test_two_calls_of_one_execution_at_once_both_get_its_lease(ledger, hooked):
    wanted = {"holder": "x1", "subject": "run-1", "now": at(0), "lease_s": 60}
    rival = once(lambda: ledger.acquire(LockName.TRAINING, **wanted))
    assert hooked("update_item", rival).acquire(LockName.TRAINING, **wanted) == ledger.held_lease(
        LockName.TRAINING
    )


@pytest.fixture
def waiting(ledger) -> DynamoDbLedger:
    """The ledger with version 1, which waits for its decision."""
    lease = ledger.acquire(LockName.TRAINING, holder="x", subject="run-1", now=at(0), lease_s=60)
    ledger.open_run(a_run(token=lease.token))
    ledger.register_model(a_version(), token=lease.token, now=at(1))
    return ledger


def test_a_run_that_begins_to_wait_while_it_is_decided_on_is_told(waiting, hooked):
    rival = once(lambda: waiting.await_decision(1, task_token="t1", execution="x", due_at=iso(at(60))))
    decided = hooked("transact_write_items", rival).decide(
        1, Approval.APPROVED, by="ann", reason=None, now=at(2)
    )
    assert (decided.approval, decided.task_token) == (Approval.APPROVED, "t1")


def test_the_slower_of_two_different_decisions_is_asked_to_try_again(waiting, hooked):
    rival = once(lambda: waiting.decide(1, Approval.REJECTED, by="bob", reason=None, now=at(2)))
    with pytest.raises(ServiceUnavailable):
        hooked("transact_write_items", rival).decide(1, Approval.APPROVED, by="ann", reason=None, now=at(2))
    assert waiting.get_model(1).approval is Approval.REJECTED


@pytest.fixture
def deploying(waiting) -> Live:
    """The pointer as the deployment of version 1 is about to write it."""
    model = waiting.decide(1, Approval.APPROVED, by="ann", reason=None, now=at(2))
    lease = waiting.acquire(LockName.DEPLOYMENT, holder="d", subject="run-1", now=at(3), lease_s=60)
    return a_pointer(model, token=lease.token, now=at(4))


def test_a_rejection_during_the_promotion_prevents_it(waiting, deploying, hooked):
    rival = once(lambda: waiting.decide(1, Approval.REJECTED, by="bob", reason=None, now=at(4)))
    with pytest.raises(NotApproved):
        hooked("transact_write_items", rival).promote(deploying, by="ann", now=at(4), settles_run="run-1")
    assert waiting.live() is None
    assert waiting.get_run("run-1").status is RunStatus.AWAITING_APPROVAL


def test_two_promotions_of_one_deployment_at_once_are_one(waiting, deploying, hooked):
    promotion = {"by": "ann", "now": at(4), "settles_run": "run-1"}
    rival = once(lambda: waiting.promote(deploying, **promotion))
    assert hooked("transact_write_items", rival).promote(deploying, **promotion) == deploying
    assert len(waiting.history(1)) == 3


def test_of_two_decisions_on_what_is_live_the_slower_is_asked_to_try_again(waiting, deploying, hooked):
    waiting.promote(deploying, by="ann", now=at(4), settles_run="run-1")
    rival = once(lambda: waiting.decide(1, Approval.REJECTED, by="bob", reason=None, now=at(5)))
    with pytest.raises(ServiceUnavailable):
        hooked("transact_write_items", rival).decide(1, Approval.REJECTED, by="ann", reason=None, now=at(5))
    assert waiting.get_model(1).decided_by == "bob"


def test_a_decision_during_the_last_look_wins_over_giving_up(waiting, hooked):
    rival = once(lambda: waiting.decide(1, Approval.APPROVED, by="bob", reason=None, now=at(2)))
    model = hooked("transact_write_items", rival).expire_waiting(1, now=at(3))
    assert model.approval is Approval.APPROVED
    assert waiting.get_run("run-1").status is RunStatus.AWAITING_APPROVAL


def refuse(*refusals: ClientError) -> Callable[[], None]:
    remaining = list(refusals)

    def hook() -> None:
        if remaining:
            raise remaining.pop()

    return hook


def refusal(code: str, reasons: list[str] | None = None) -> ClientError:
    response: dict[str, Any] = {"Error": {"Code": code, "Message": "no"}}
    if reasons is not None:
        response["CancellationReasons"] = [{"Code": each} for each in reasons]
    return ClientError(response, "TransactWriteItems")  # type: ignore[arg-type]


_CONFLICT = refusal("TransactionCanceledException", ["None", "TransactionConflict"])


def test_waits_longer_each_time_for_other_writers(hooked):
    pauses: list[float] = []
    ledger = hooked("transact_write_items", refuse(*[_CONFLICT] * 5), pause=pauses.append)
    assert ledger.record_drop(a_drop(), received_by="x1", now=at(0)).is_new
    assert len(pauses) == 5
    assert all(0 <= pause <= 0.05 * 2**attempt for attempt, pause in enumerate(pauses))


def test_gives_way_when_other_writers_stay(hooked):
    with pytest.raises(ServiceUnavailable, match="recording a drop"):
        hooked("transact_write_items", refuse(*[_CONFLICT] * 99)).record_drop(
            a_drop(), received_by="x1", now=at(0)
        )


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (refusal("ThrottlingException"), ServiceUnavailable),
        (refusal("AccessDeniedException"), AccessDenied),
        (refusal("ValidationException"), ServiceRejected),
        (refusal("TransactionCanceledException", ["ValidationError"]), ServiceRejected),
    ],
)
def test_translates_a_refused_transaction(hooked, cause, expected):
    with pytest.raises(expected, match="recording a drop"):
        hooked("transact_write_items", refuse(cause)).record_drop(a_drop(), received_by="x1", now=at(0))


def test_translates_a_missing_table(dynamodb):
    with pytest.raises(ServiceRejected, match="ResourceNotFound"):
        DynamoDbLedger(dynamodb, "none").live()


def test_stores_numbers_of_numpy_and_drops_those_that_are_none(ledger):
    lease = ledger.acquire(LockName.TRAINING, holder="x", subject="run-1", now=at(0), lease_s=60)
    metric = {"value": numpy.float64(0.25), "low": float("nan"), "high": float("inf")}
    ledger.open_run(a_run(token=lease.token, metric=metric))
    assert ledger.get_run("run-1").metric == {"value": 0.25, "low": None, "high": None}


def test_lists_more_than_one_page(ledger):
    long_reason = "x" * 200_000
    lease = ledger.acquire(LockName.TRAINING, holder="x", subject="run-1", now=at(0), lease_s=60)
    for number in range(12):
        run = a_run(
            f"run-{number:02}",
            token=lease.token,
            started_at=iso(at(number)),
            reasons=[{"code": "c", "message": long_reason}],
        )
        ledger.open_run(run)
    assert [run.run_id for run in ledger.list_runs()] == [
        f"run-{number:02}" for number in reversed(range(12))
    ]


def test_what_an_earlier_release_left_is_looked_through_a_hundred_at_a_time(ledger, hooked):
    drops = [RecordedDrop(a_drop(number), iso(at(0)), "earlier") for number in range(250)]
    writes: list[None] = []
    counted = hooked("transact_write_items", lambda: writes.append(None))
    counted.note_newest(drops)
    assert len(writes) == 3
    counted.note_newest([RecordedDrop(a_drop(250), iso(at(0)), "earlier"), *drops])
    assert len(writes) == 4, "what an earlier try noted isn't written again"
    keys = [each.drop.key for each in drops]
    assert ledger.newest_versions(keys) == {each.drop.key: each.drop_id for each in drops}
    counted.mark_unsettled(f"run-{number}" for number in range(150))
    assert len(writes) == 6
    assert len(ledger.unsettled_runs()) == 150


def test_the_newest_version_that_was_noted_meanwhile_stays(ledger, hooked):
    newer = a_drop(1, sequencer="FF", version_id="newer")
    racing = hooked(
        "transact_write_items", once(lambda: ledger.record_drop(newer, received_by="x", now=at(0)))
    )
    racing.note_newest([RecordedDrop(a_drop(1), iso(at(0)), "earlier")])
    assert ledger.newest_versions([newer.key]) == {newer.key: newer.drop_id}
