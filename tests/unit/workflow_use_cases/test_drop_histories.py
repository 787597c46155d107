"""Any history of drops, runs, failures and kills leaves each version in one state, and the newest wins."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.fakes.records import a_drop, at, execution, s3_event
from tests.fakes.world import World

from dropforge.application.admit_run import Admission
from dropforge.domain.drop_life import DropState, newest_of_each_key
from dropforge.domain.errors import LostLock
from dropforge.domain.moments import iso
from dropforge.domain.records import Run, RunStatus
from dropforge.domain.run_endings import ending_of
from dropforge.domain.run_manifest import Remarks, RunManifest
from dropforge.domain.triggers import Drop

_KEYS = 3
_ENDS = ("registered", "gate", "transient", "permanent", "stopped", "killed", "one bad file")
_ENDS_OF_LIFE = {DropState.TRAINED, DropState.SET_ASIDE, DropState.SUPERSEDED}
_TRANSIENT = {"Error": "Lambda.TooManyRequestsException", "Cause": "Rate Exceeded."}
_PERMANENT = {"Error": "AccessDenied", "Cause": '{"errorType": "AccessDenied", "errorMessage": "no"}'}


class DropHistories(RuleBasedStateMachine):
    """What users, S3, Step Functions and operators do, against what has to be true of every version."""

    training_data = "all-drops"

    @initialize(is_upgraded=st.booleans())
    def start(self, is_upgraded: bool) -> None:
        self.world = World(training_data=self.training_data)
        self.clock = 0
        self.written: list[Drop] = []
        self.delivered: dict[str, Drop] = {}
        self.running: list[Admission] = []
        self.begun: set[str] = set()
        self.executions = 0
        self.bad: set[tuple[str, str]] = set()
        if is_upgraded:
            self._begin_with_an_earlier_release()

    def _begin_with_an_earlier_release(self) -> None:
        """A run that succeeded, one that failed, and a drop that waits, as that release left them."""
        ledger = self.world.ledger
        for number, status in enumerate((RunStatus.REJECTED_BY_GATE, RunStatus.FAILED, None)):
            drop = replace(self._write(number % _KEYS), written_at=None)
            self.written[-1] = drop
            self.delivered[drop.drop_id] = drop
            recorded = ledger.record_drop(drop, received_by="earlier", now=at(self.clock)).recorded
            if status is None:
                continue
            # There a run's claim was all that was noted, also after its end.
            ledger.drops[drop.drop_id] = replace(recorded, state=DropState.IN_RUN, run_id=f"earlier-{number}")
            manifest = RunManifest(f"earlier-{number}", "drop", ())
            run = Run(
                run_id=manifest.run_id,
                status=status,
                trigger="drop",
                execution_arn=execution(manifest.run_id),
                token=0,
                started_at=iso(at(self.clock)),
                manifest_uri=f"s3://data/runs/{manifest.run_id}/manifest.json",
                drop_ids=[drop.drop_id],
                keys=[drop.key],
            )
            self.world.store.write(run.manifest_uri, manifest.to_json())
            ledger.runs[run.run_id] = run
        ledger.newest.clear()

    def _tick(self, seconds: int = 1) -> int:
        self.clock += seconds
        return self.clock

    def _write(self, key: int) -> Drop:
        self._tick()
        drop = a_drop(
            key,
            version_id=f"v{len(self.written)}",
            sequencer=f"{0x100 + len(self.written):X}",
            written_at=iso(at(self.clock)),
        )
        self.written.append(drop)
        return drop

    def _admit(self, event, arn: str | None = None) -> None:
        self.executions += 1
        arn = arn or self.world.running(f"x{self.executions}")
        admission = self.world.admit(event, arn, now=at(self._tick()))
        if admission.outcome == "admitted":
            self.running.append(admission)
        else:
            self.world.end(arn)

    # --- what may happen ------------------------------------------------------------------------

    @rule(key=st.integers(0, _KEYS - 1))
    def write(self, key: int) -> None:
        """An object is written; its event may come at any time."""
        self._write(key)

    @precondition(lambda self: self.written)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """The event of any version comes: the first time, or again, in any order."""
        drop = data.draw(st.sampled_from(self.written))
        self.delivered[drop.drop_id] = drop
        self._admit(s3_event(drop) if drop.written_at else {**s3_event(drop), "time": None})

    @rule(key=st.integers(0, _KEYS - 1))
    def drop(self, key: int) -> None:
        drop = self._write(key)
        self.delivered[drop.drop_id] = drop
        self._admit(s3_event(drop))

    @precondition(lambda self: self.running)
    @rule(
        how=st.sampled_from(
            ["registered", "gate", "transient", "permanent", "stopped", "killed", "one bad file"]
        )
    )
    def end(self, how: str) -> None:
        """A run that trains comes to an end; the last one, where an earlier one has outlived its lease."""
        self._end(self.running.pop(), how)

    def _end(self, admission: Admission, how: str) -> None:
        world, now, run = self.world, at(self._tick()), admission.run
        if how == "one bad file":
            taken = self._manifest(run).taken
            self.bad |= {(run.run_id, each) for each in taken[:1]}
            remarks = Remarks({each: {"class": "MissingTarget", "message": "no y"} for each in taken[:1]})
            world.store.write(f"s3://data/runs/{run.run_id}/remarks.json", remarks.to_json())
            how = "gate" if len(taken) > 1 else "permanent"
        if how == "registered":
            try:
                world.register(admission, now=now)
            except LostLock as error:
                caught = {"Error": "LostLock", "Cause": json.dumps({"errorMessage": str(error)})}
                world.close(admission, RunStatus.FAILED, error=caught, now=now)
        elif how == "killed":
            world.end(run.execution_arn)
            world.reconcile(now)
            return
        elif how in ("transient", "permanent"):
            error = _TRANSIENT if how == "transient" else _PERMANENT
            world.close(admission, RunStatus.FAILED, error=error, now=now)
        else:
            status = RunStatus.STOPPED if how == "stopped" else RunStatus.REJECTED_BY_GATE
            world.close(admission, status, now=now)
        world.end(run.execution_arn)

    @rule(data=st.sampled_from([None, "new", "all", "last-run"]))
    def start_by_hand(self, data: str | None) -> None:
        self._admit({"trigger": "manual", "data": data})

    @rule(key=st.integers(0, _KEYS - 1))
    def bring_back(self, key: int) -> None:
        self._admit({"trigger": "manual", "data": "new", "bring_back": [a_drop(key).key]})

    @rule()
    def a_follow_up_begins(self) -> None:
        for arn, each in list(self.world.workflows.executions.items()):
            if each.payload == {"trigger": "follow-up"} and arn not in self.begun:
                self.begun.add(arn)
                self._admit(each.payload, arn)
                return

    @rule(minutes=st.sampled_from([1, 16, 300]))
    def time_passes(self, minutes: int) -> None:
        self._tick(60 * minutes)
        self.world.reconcile(at(self.clock))

    # --- what has to be so ----------------------------------------------------------------------

    @invariant()
    def no_version_is_lost_and_none_is_in_two_states(self) -> None:
        drops = {each.drop_id: each for each in self.world.ledger.list_drops()}
        assert self.delivered.keys() <= drops.keys()
        if self.world.ledger.drop_format() == 1:
            return
        taken: dict[str, list[str]] = {}
        for run in self.world.ledger.list_runs(None):
            if run.run_id.startswith("earlier"):
                continue
            for drop_id in self._manifest(run).taken:
                taken.setdefault(drop_id, []).append(run.run_id)
        for drop_id, each in drops.items():
            runs = [self.world.ledger.get_run(run_id) for run_id in taken.get(drop_id, ())]
            holding = [run for run in runs if ending_of(run, {}) is None]
            trained = [
                run
                for run in runs
                if (end := ending_of(run, {})) and end.trained and (run.run_id, drop_id) not in self.bad
            ]
            match each.state:
                case DropState.IN_RUN:
                    assert [run.run_id for run in holding] == [each.run_id]
                case DropState.TRAINED:
                    assert len(trained) == 1 or each.run_id.startswith("earlier")
                case DropState.SUPERSEDED:
                    newer = drops[each.superseded_by]
                    assert newer.drop.key == each.drop.key
                    assert newer.drop.sequence > each.drop.sequence
                case DropState.SET_ASIDE:
                    assert (each.run_id, drop_id) in self.bad
                    assert each.reason
            if each.state is not DropState.IN_RUN:
                assert holding == []

    def teardown(self) -> None:
        """Everything is delivered and nothing fails any more: what becomes of each version?"""
        for drop in self.written:
            if drop.drop_id not in self.delivered:
                self.deliver_at_last(drop)
        for _ in range(12):
            for admission in self.running:
                self._end(admission, "gate")
            self.running.clear()
            self._admit({"trigger": "manual"})
            self.time_passes(300)
        drops = list(self.world.ledger.list_drops())
        assert {each.state for each in drops} <= _ENDS_OF_LIFE
        for newest in newest_of_each_key(drops).values():
            assert newest.state is not DropState.SUPERSEDED
        self._the_newest_wins()

    def deliver_at_last(self, drop: Drop) -> None:
        self.delivered[drop.drop_id] = drop
        self._admit(s3_event(drop))

    def _the_newest_wins(self) -> None:
        """A run on all data has of each object the newest good version, the newest first."""
        self._admit({"trigger": "manual", "data": "all"})
        if not self.running:
            return
        objects = self._manifest(self.running.pop().run).objects
        good: dict[str, Drop] = {}
        for each in self.world.ledger.list_drops():
            known = good.get(each.drop.key)
            if each.state is DropState.TRAINED and (known is None or known.sequence < each.drop.sequence):
                good[each.drop.key] = each.drop
        assert {each.ref.key: each.ref.version_id for each in objects} == {
            key: drop.version_id for key, drop in good.items()
        }
        moments = [each.written_at for each in objects]
        assert moments == sorted(moments, reverse=True)

    def _manifest(self, run: Run) -> RunManifest:
        return RunManifest.from_dict(json.loads(self.world.store.read(run.manifest_uri)))


class OnNewDrops(DropHistories):
    training_data = "new-drops"


def explore(machine: type[DropHistories], examples: int = 30, steps: int = 30) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_any_history_on_all_data_leaves_each_version_in_one_state():
    explore(DropHistories)


def test_any_history_on_new_drops_leaves_each_version_in_one_state():
    explore(OnNewDrops)
