"""Any history of drops, runs, failures and kills leaves each version in one state, and the newest wins."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from tests.fakes.records import TRAINING, a_drop, at, execution, s3_event
from tests.fakes.world import Crash, World
from tests.histories import explore

from dropforge.application.admit_run import Admission
from dropforge.domain.drop_life import DropState, RecordedDrop, newest_of_each_key
from dropforge.domain.errors import LostLock
from dropforge.domain.moments import iso
from dropforge.domain.records import Run, RunStatus
from dropforge.domain.run_endings import ending_of
from dropforge.domain.run_manifest import Remarks, RunManifest
from dropforge.domain.triggers import Drop

pytestmark = pytest.mark.thorough

_KEYS = 3
_ENDS = ("registered", "gate", "transient", "permanent", "stopped", "killed", "one bad file", "all files bad")
# Ports that are called until a use case is cut off; 0 lets it come to its end.
_CRASHES = st.integers(0, 14)
_ENDS_OF_LIFE = {DropState.TRAINED, DropState.SET_ASIDE, DropState.SUPERSEDED}
_TRANSIENT = {"Error": "Lambda.TooManyRequestsException", "Cause": "Rate Exceeded."}
_PERMANENT = {"Error": "AccessDenied", "Cause": '{"errorType": "AccessDenied", "errorMessage": "no"}'}


class DropHistories(RuleBasedStateMachine):
    """What users, S3, Step Functions and operators do, against what has to be true of every version."""

    training_data = "all-drops"

    @initialize(
        earlier=st.none()
        | st.lists(
            st.tuples(
                st.integers(0, _KEYS - 1),
                st.sampled_from([RunStatus.REJECTED_BY_GATE, RunStatus.FAILED, RunStatus.STOPPED, None]),
            ),
            max_size=6,
        )
    )
    def start(self, earlier: list[tuple[int, RunStatus | None]] | None) -> None:
        self.world = World(training_data=self.training_data)
        self.clock = 0
        self.written: list[Drop] = []
        self.delivered: dict[str, Drop] = {}
        self.running: list[Admission] = []
        self.begun: set[str] = set()
        self.executions = 0
        self.bad: set[tuple[str, str]] = set()
        if earlier is not None:
            self._begin_with_an_earlier_release(earlier)

    def _begin_with_an_earlier_release(self, earlier: list[tuple[int, RunStatus | None]]) -> None:
        """Runs that succeeded, failed or were stopped, and drops that wait, as that release left them."""
        ledger = self.world.ledger
        for number, (key, status) in enumerate(earlier):
            drop = replace(self._write(key), written_at=None)
            self.written[-1] = drop
            self.delivered[drop.drop_id] = drop
            waits = RecordedDrop(drop, iso(at(self.clock)), "earlier")
            # There a run's claim was all that was noted, also after its end; and no version superseded one.
            claimed = replace(waits, state=DropState.IN_RUN, run_id=f"earlier-{number}")
            ledger.drops[drop.drop_id] = waits if status is None else claimed
            if status is None:
                continue
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

    def _tick(self, seconds: int = 1) -> int:
        self.clock += seconds
        return self.clock

    def _write(self, number: int, **changes: Any) -> Drop:
        self._tick()
        drop = a_drop(
            number,
            version_id=f"v{len(self.written)}",
            sequencer=f"{0x100 + len(self.written):X}",
            written_at=iso(at(self.clock)),
            **changes,
        )
        self.written.append(drop)
        return drop

    def _admit(self, event: dict[str, Any], arn: str | None = None, crash_at: int = 0) -> None:
        """Admit, by a function that may be killed in the middle: Step Functions tries it again."""
        self.executions += 1
        arn = arn or self.world.running(f"x{self.executions}")
        admission = None
        with self.world.calls(crash_at or None, is_done=crash_at % 2 == 0) as (world, _), suppress(Crash):
            admission = world.admit(event, arn, now=at(self._tick()))
        if admission is None:
            admission = self.world.admit(event, arn, now=at(self._tick(30)))
        if admission.outcome == "admitted":
            self.running.append(admission)
        else:
            self.world.end(arn)

    def _die(self, event: dict[str, Any], crash_at: int) -> None:
        """Begin to admit, and end for good before that is done: the reconciliation hears of it."""
        self.executions += 1
        arn = self.world.running(f"x{self.executions}")
        with self.world.calls(crash_at, is_done=crash_at % 2 == 0) as (world, _), suppress(Crash):
            world.admit(event, arn, now=at(self._tick()))
        self.world.end(arn)
        detail = {"executionArn": arn, "stateMachineArn": TRAINING, "status": "FAILED"}
        told = {"detail": {**detail, "input": json.dumps(event)}}
        self.world.reconcile(at(self._tick()), event=told)

    # --- what may happen ------------------------------------------------------------------------

    @rule(key=st.integers(0, _KEYS - 1))
    def write(self, key: int) -> None:
        """An object is written; its event may come at any time."""
        self._write(key)

    @precondition(lambda self: self.written)
    @rule(data=st.data(), crash_at=_CRASHES)
    def deliver(self, data: st.DataObject, crash_at: int) -> None:
        """The event of any version comes: the first time, or again, in any order."""
        drop = data.draw(st.sampled_from(self.written))
        self.delivered[drop.drop_id] = drop
        self._admit(
            s3_event(drop) if drop.written_at else {**s3_event(drop), "time": None}, crash_at=crash_at
        )

    @rule(key=st.integers(0, _KEYS - 1), crash_at=_CRASHES)
    def drop(self, key: int, crash_at: int) -> None:
        drop = self._write(key)
        self.delivered[drop.drop_id] = drop
        self._admit(s3_event(drop), crash_at=crash_at)

    @rule(key=st.integers(0, _KEYS - 1))
    def drop_twice_and_be_heard_of_in_the_other_order(self, key: int) -> None:
        for drop in reversed([self._write(key), self._write(key)]):
            self.delivered[drop.drop_id] = drop
            self._admit(s3_event(drop))

    @rule(key=st.integers(0, _KEYS - 1), crash_at=st.integers(1, 14))
    def drop_with_an_execution_that_dies(self, key: int, crash_at: int) -> None:
        drop = self._write(key)
        self.delivered[drop.drop_id] = drop
        self._die(s3_event(drop), crash_at)

    @rule(number=st.integers(0, 1), crash_at=_CRASHES)
    def a_part_of_a_folder(self, number: int, crash_at: int) -> None:
        drop = self._write(_KEYS, key=f"incoming/feb/part-{number:05d}-b1f2.csv")
        self.delivered[drop.drop_id] = drop
        self._admit(s3_event(drop), crash_at=crash_at)

    @rule(crash_at=_CRASHES)
    def the_marker_of_a_folder(self, crash_at: int) -> None:
        self._tick()
        marker = a_drop(99, key="incoming/feb/_SUCCESS", size=0, written_at=iso(at(self.clock)))
        self._admit(s3_event(marker), crash_at=crash_at)

    @precondition(lambda self: self.running)
    @rule(how=st.sampled_from(_ENDS), crash_at=_CRASHES)
    def end(self, how: str, crash_at: int) -> None:
        """A run that trains comes to an end; the last one, where an earlier one has outlived its lease."""
        self._end(self.running.pop(), how, crash_at)

    def _end(self, admission: Admission, how: str, crash_at: int = 0) -> None:
        """End a run, by a function that may be killed in the middle and is tried again."""
        if how in ("one bad file", "all files bad"):
            how = self._find_bad_files(admission.run, 1 if how == "one bad file" else None)
        with self.world.calls(crash_at or None, is_done=crash_at % 2 == 0) as (world, _), suppress(Crash):
            self._end_by(world, admission, how)
            return
        self._end_by(self.world, admission, how)

    def _find_bad_files(self, run: Run, most: int | None) -> str:
        """The preparation finds files that are bad by themselves. How the run ends then."""
        taken = self._manifest(run).taken
        bad = taken[:most]
        self.bad |= {(run.run_id, each) for each in bad}
        remarks = Remarks({each: {"class": "MissingTarget", "message": "no y"} for each in bad})
        self.world.store.write(f"s3://data/runs/{run.run_id}/remarks.json", remarks.to_json())
        return "gate" if len(taken) > len(bad) else "permanent"

    def _end_by(self, world: World, admission: Admission, how: str) -> None:
        now, run = at(self._tick()), admission.run
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

    @rule(data=st.sampled_from([None, "new", "all", "last-run"]), crash_at=_CRASHES)
    def start_by_hand(self, data: str | None, crash_at: int) -> None:
        self._admit({"trigger": "manual", "data": data}, crash_at=crash_at)

    @rule(key=st.none() | st.integers(0, _KEYS - 1), crash_at=_CRASHES)
    def bring_back(self, key: int | None, crash_at: int) -> None:
        keys = ["*"] if key is None else [a_drop(key).key]
        self._admit({"trigger": "manual", "data": "new", "bring_back": keys}, crash_at=crash_at)

    @rule(back=st.integers(1, 5))
    def replay(self, back: int) -> None:
        for run in self.world.ledger.list_runs(None)[back:]:
            if not run.run_id.startswith("earlier"):
                self._admit({"trigger": "replay", "run_id": run.run_id})
                return

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
        waiting = {each.drop_id for each in self.world.ledger.waiting_drops()}
        assert waiting == {each.drop_id for each in drops.values() if each.state is DropState.WAITING}
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
                case DropState.WAITING:
                    assert trained == []
                case DropState.SUPERSEDED:
                    assert trained == []
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


def test_any_history_on_all_data_leaves_each_version_in_one_state():
    explore(DropHistories, 30, 30)


def test_any_history_on_new_drops_leaves_each_version_in_one_state():
    explore(OnNewDrops, 30, 30)
