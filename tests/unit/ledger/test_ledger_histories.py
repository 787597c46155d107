"""Any order of drops, runs, crashes, decisions and deployments keeps the ledger's invariants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from tests.fakes.ledger import FakeLedger
from tests.fakes.records import a_drop, a_pointer, a_run, a_version, at
from tests.histories import explore

from dropforge.adapters.dynamodb_ledger import DynamoDbLedger
from dropforge.domain.drop_life import taken
from dropforge.domain.errors import LostLock, NotApproved
from dropforge.domain.ledger import Ledger
from dropforge.domain.moments import iso
from dropforge.domain.records import Approval, Lease, Live, LockName, Run, RunStatus, Stage

_LEASE_S = 100
_DECISIONS = (Approval.APPROVED, Approval.REJECTED, Approval.SUPERSEDED)


class LedgerHistories(RuleBasedStateMachine):
    """Executions that hold leases they may have lost, against a model of what has to be so."""

    make_ledger: Callable[[], Ledger]

    @initialize()
    def start(self) -> None:
        self.ledger = type(self).make_ledger()
        self.clock = 0.0
        self.executions = 0
        self.recorded: dict[str, list[str]] = {}
        self.leases: dict[LockName, list[Lease]] = {name: [] for name in LockName}
        self.holds: dict[LockName, Lease | None] = dict.fromkeys(LockName)
        self.runs: list[Run] = []
        self.approvals: dict[int, Approval] = {}
        self.promoted: Live | None = None
        self.taken: dict[str, str] = {}

    def tick(self) -> None:
        self.clock += 1

    def holds_lock(self, lease: Lease) -> bool:
        held = self.holds[lease.name]
        return held is not None and held.token == lease.token

    # --- what may happen ------------------------------------------------------------------------

    @rule(number=st.integers(0, 6), receiver=st.sampled_from("abc"))
    def record_drop(self, number: int, receiver: str) -> None:
        drop = a_drop(number)
        receipt = self.ledger.record_drop(drop, received_by=receiver, now=at(self.clock))
        receivers = self.recorded.setdefault(drop.drop_id, [receiver])
        assert receipt.is_mine == (receiver == receivers[0])
        if receiver not in (receivers[0], receivers[-1]):
            receivers.append(receiver)
        self.tick()

    @rule(seconds=st.sampled_from([10, _LEASE_S + 1]))
    def time_passes(self, seconds: int) -> None:
        self.clock += seconds

    @rule(name=st.sampled_from(LockName))
    def acquire(self, name: LockName) -> None:
        self.executions += 1
        holder = f"x{self.executions}"
        lease = self.ledger.acquire(
            name, holder=holder, subject=f"run-{self.executions}", now=at(self.clock), lease_s=_LEASE_S
        )
        held = self.holds[name]
        is_free = held is None or held.expires_at < iso(at(self.clock))
        assert (lease is not None) == is_free
        if lease is not None:
            assert all(lease.token > earlier.token for earlier in self.leases[name])
            self.leases[name].append(lease)
            self.holds[name] = lease
        self.tick()

    @rule(data=st.data(), name=st.sampled_from(LockName))
    def release(self, data: st.DataObject, name: LockName) -> None:
        if not self.leases[name]:
            return
        lease = data.draw(st.sampled_from(self.leases[name]))
        assert self.ledger.release(name, token=lease.token) == self.holds_lock(lease)
        if self.holds_lock(lease):
            self.holds[name] = None

    @precondition(lambda self: self.leases[LockName.TRAINING])
    @rule(data=st.data())
    def open_run(self, data: st.DataObject) -> None:
        self.open_run_under(data.draw(st.sampled_from(self.leases[LockName.TRAINING])))

    def open_run_under(self, lease: Lease) -> None:
        waiting = [each.drop.drop_id for each in self.ledger.waiting_drops()]
        run = a_run(
            lease.subject,
            token=lease.token,
            execution_arn=lease.holder,
            started_at=iso(at(self.clock)),
        )
        known = self.ledger.get_run(run.run_id)
        try:
            opened = self.ledger.open_run(run)
        except LostLock:
            assert not self.holds_lock(lease)
            assert self.ledger.get_run(run.run_id) == known
        else:
            assert known is not None or self.holds_lock(lease)
            if known is None:
                self.runs.append(opened)
            if opened.token == lease.token:
                self.take_drops(opened, lease, waiting)
        self.tick()

    def take_drops(self, run: Run, lease: Lease, waiting: list[str]) -> None:
        try:
            self.ledger.change_drops(waiting, lambda each, _: taken(each, run.run_id), token=lease.token)
        except LostLock:
            assert waiting
            assert not self.holds_lock(lease)
        else:
            self.taken |= dict.fromkeys(waiting, run.run_id)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def register(self, data: st.DataObject) -> None:
        self.register_run(data.draw(st.sampled_from(self.runs)))

    def register_run(self, run: Run) -> None:
        version = self.runs.index(run) + 1
        lease = next(each for each in self.leases[LockName.TRAINING] if each.token == run.token)
        before = self.ledger.get_run(run.run_id)
        try:
            self.ledger.register_model(
                a_version(version, run_id=run.run_id), token=run.token, now=at(self.clock)
            )
        except LostLock:
            assert not self.holds_lock(lease) or before.status is not RunStatus.RUNNING
            assert version not in self.approvals
        else:
            if version not in self.approvals:
                assert self.holds_lock(lease)
                self.approvals[version] = Approval.PENDING
        self.tick()

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), status=st.sampled_from([RunStatus.FAILED, RunStatus.DEPLOYING]))
    def advance(self, data: st.DataObject, status: RunStatus) -> None:
        run = data.draw(st.sampled_from(self.runs))
        before = self.ledger.get_run(run.run_id)
        after = self.ledger.advance_run(run.run_id, status)
        assert after.status is (before.status if before.status.is_final else status)

    @precondition(lambda self: self.approvals)
    @rule(data=st.data(), decision=st.sampled_from(_DECISIONS))
    def decide(self, data: st.DataObject, decision: Approval) -> None:
        self.decide_on(data.draw(st.sampled_from(sorted(self.approvals))), decision)

    def decide_on(self, version: int, decision: Approval) -> None:
        before = self.approvals[version]
        is_too_late = decision is Approval.SUPERSEDED and before is not Approval.PENDING
        model = self.ledger.decide(version, decision, by="ann", reason=None, now=at(self.clock))
        self.approvals[version] = before if is_too_late else decision
        assert model.approval is self.approvals[version]
        self.tick()

    @precondition(lambda self: self.approvals)
    @rule(data=st.data(), gives_up=st.booleans())
    def wait(self, data: st.DataObject, gives_up: bool) -> None:
        version = data.draw(st.sampled_from(sorted(self.approvals)))
        if gives_up:
            model = self.ledger.expire_waiting(version, now=at(self.clock))
        else:
            model = self.ledger.await_decision(
                version, task_token=f"t{self.clock}", execution="x", due_at=iso(at(self.clock))
            )
        assert model.approval is self.approvals[version]

    @precondition(lambda self: self.approvals and self.leases[LockName.DEPLOYMENT])
    @rule(data=st.data())
    def promote(self, data: st.DataObject) -> None:
        """A first deployment, a later one, a rollback or a repair: the version may have been live before."""
        self.promote_under(
            data.draw(st.sampled_from(self.leases[LockName.DEPLOYMENT])),
            data.draw(st.sampled_from(sorted(self.approvals))),
        )

    def promote_under(self, lease: Lease, version: int) -> None:
        model = self.ledger.get_model(version)
        live = a_pointer(model, token=lease.token, now=at(self.clock))
        last = self.promoted
        is_repeated = last is not None and (last.version, last.token) == (version, lease.token)
        may = (
            self.approvals[version] is Approval.APPROVED
            and self.holds_lock(lease)
            and (last is None or last.token < lease.token)
        )
        try:
            result = self.ledger.promote(live, by="ann", now=at(self.clock), settles_run=model.run_id)
        except (LostLock, NotApproved):
            assert not may
            assert not is_repeated
        else:
            assert may or is_repeated
            assert replace(result, promoted_at="") == replace(live, promoted_at="")
            if not is_repeated:
                self.promoted = result
                assert self.ledger.get_run(model.run_id).status is RunStatus.SUCCEEDED
        self.tick()

    @rule(lets_go=st.booleans())
    def train(self, lets_go: bool) -> None:
        """A run that nothing disturbs, up to the version that waits."""
        self.acquire(LockName.TRAINING)
        lease = self.holds[LockName.TRAINING]
        self.open_run_under(lease)
        run = next((each for each in self.runs if each.token == lease.token), None)
        if run is not None:
            self.register_run(run)
        if lets_go:
            self.ledger.release(LockName.TRAINING, token=lease.token)
            self.holds[LockName.TRAINING] = None

    @precondition(lambda self: self.approvals)
    @rule(data=st.data(), lets_go=st.booleans())
    def deploy(self, data: st.DataObject, lets_go: bool) -> None:
        """A deployment that nothing disturbs, of any version."""
        version = data.draw(st.sampled_from(sorted(self.approvals)))
        self.decide_on(version, Approval.APPROVED)
        self.acquire(LockName.DEPLOYMENT)
        lease = self.holds[LockName.DEPLOYMENT]
        self.promote_under(lease, version)
        if lets_go:
            self.ledger.release(LockName.DEPLOYMENT, token=lease.token)
            self.holds[LockName.DEPLOYMENT] = None

    # --- what always holds ----------------------------------------------------------------------

    @invariant()
    def live_is_what_was_promoted_last_and_the_only_one_in_production(self) -> None:
        live = self.ledger.live()
        assert live == self.promoted
        in_production = [each for each in self.ledger.list_models() if each.stage is Stage.PRODUCTION]
        assert [each.version for each in in_production] == ([live.version] if live else [])
        if live is not None:
            model = in_production[0]
            for name in ("run_id", "model_data_url", "model_sha256", "contract_uri", "contract_hash"):
                assert getattr(live, name) == getattr(model, name)
            assert (live.profile_uri, live.smoke_uri) == (model.profile_uri, model.smoke_uri)
            assert live.endpoint_config == model.endpoint_config
            was_approved = [
                each.approval for each in self.ledger.history(live.version) if each.stage is Stage.PRODUCTION
            ]
            assert was_approved[0] is Approval.APPROVED

    @invariant()
    def a_drop_waits_or_was_taken_by_one_run(self) -> None:
        waiting = {each.drop_id for each in self.ledger.waiting_drops()}
        for drop_id, receivers in self.recorded.items():
            drop = self.ledger.get_drop(drop_id)
            assert (drop.run_id is None) == (drop_id in waiting)
            assert drop.run_id == self.taken.get(drop_id)
            assert drop.duplicates == len(receivers) - 1
        assert waiting <= self.recorded.keys()

    @invariant()
    def locks_are_held_by_who_acquired_them_last(self) -> None:
        for name in LockName:
            assert self.ledger.held_lease(name) == self.holds[name]


def histories(make_ledger: Callable[[], Ledger]) -> type[LedgerHistories]:
    return type("Histories", (LedgerHistories,), {"make_ledger": staticmethod(make_ledger)})


def test_any_history_in_memory_keeps_the_invariants():
    explore(histories(FakeLedger), examples=150, steps=50)


@pytest.mark.timeout(120)
def test_any_history_on_dynamodb_keeps_the_invariants(dynamodb, new_table):
    machine = histories(lambda: DynamoDbLedger(dynamodb, new_table(), pause=lambda _: None))
    explore(machine, examples=4, steps=25)
