"""Files of a batch source: which are started, how many, and what becomes of those that fail."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.fakes.ledger import FakeLedger
from tests.fakes.records import BUCKET, START, a_pointer, a_version
from tests.fakes.services import Execution, FakeWorkflows
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.batch.batch_world import HEADER, World

from dropforge.application.close_batch import close_batch
from dropforge.application.start_batches import BatchDesk, StartedBatches
from dropforge.domain.batch_source import MOST_TRIES, BatchSource, FileState
from dropforge.domain.errors import InvalidEvent, InvalidSettings, ObjectChanged
from dropforge.domain.services import ExecutionEnd

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:dropforge-batch"
DONE = ExecutionEnd("SUCCEEDED", {"plan": {"outcome": "planned"}}, None)
HOUR = timedelta(hours=1)


def broken(name: str, message: str = "…") -> ExecutionEnd:
    return ExecutionEnd("FAILED", {}, {"class": name, "message": message})


@dataclass
class Lake:
    """A bucket of somebody else's, a ledger with a live model, and Step Functions."""

    most: int = 10
    source: BatchSource = field(default_factory=lambda: BatchSource.of_stack("daily/", "lake", BUCKET))
    store: InMemoryObjectStore = field(default_factory=InMemoryObjectStore)
    ledger: FakeLedger = field(default_factory=FakeLedger)
    workflows: FakeWorkflows = field(default_factory=FakeWorkflows)
    now: datetime = START

    def __post_init__(self) -> None:
        self.ledger.pointer = a_pointer(a_version(1), token=1)

    def put(self, name: str, content: bytes = b"x", *, hours: int = 0) -> None:
        uri = f"s3://lake/{name}"
        self.store.write(uri, content)
        self.store.written[uri] = START + hours * HOUR

    def look(self, retry: tuple[str, ...] = ()) -> StartedBatches:
        """As the schedule does, an hour after the last time."""
        self.now += HOUR
        desk = BatchDesk(
            self.source,
            self.most,
            self.ledger,  # type: ignore[arg-type]
            self.store,
            self.workflows,
            MACHINE,
        )
        return desk.start(self.now, retry)

    def end(self, end: ExecutionEnd = DONE) -> None:
        """Every execution that runs is over."""
        for each in self.running():
            each.is_running, each.end = False, end

    def running(self) -> list[Execution]:
        return [each for each in self.workflows.started(MACHINE) if each.is_running]

    def keys(self) -> list[str]:
        return [each.payload["drop"]["key"] for each in self.workflows.started(MACHINE)]

    def states(self) -> dict[str, FileState]:
        return {each.key: each.state for each in self.ledger.source_files("lake")}


def test_each_file_is_scored_once_however_often_the_schedule_runs() -> None:
    lake = Lake()
    lake.put("daily/a.csv")
    lake.put("daily/b.csv")
    lake.put("daily/_SUCCESS")
    lake.put("daily/.part.crc")
    lake.put("other/c.csv")
    assert lake.look().started == 2
    assert lake.look().started == 0  # they are scored just now
    lake.end()
    settled = lake.look()
    assert (settled.started, settled.scored, settled.in_progress) == (0, 2, 0)
    assert lake.look().scored == 0
    assert lake.keys() == ["daily/a.csv", "daily/b.csv"]


def test_the_oldest_come_first_and_no_more_than_allowed_are_in_progress() -> None:
    lake = Lake(most=2)
    for number in range(5):
        lake.put(f"daily/{number}.csv", hours=-number)
    first = lake.look()
    assert (first.started, first.left) == (2, 3)
    assert lake.keys() == ["daily/4.csv", "daily/3.csv"]
    assert lake.look().started == 0
    lake.running()[0].end, lake.running()[0].is_running = DONE, False
    assert (lake.look().started, len(lake.running())) == (1, 2)
    while lake.running():
        lake.end()
        lake.look()
        assert len(lake.running()) <= 2
    assert sorted(lake.keys()) == [f"daily/{number}.csv" for number in range(5)]


def test_a_file_that_is_written_anew_is_scored_again_and_its_result_is_the_newer_one() -> None:
    lake = Lake()
    lake.put("daily/a.csv", b"1")
    lake.look()
    lake.put("daily/a.csv", b"2", hours=1)
    assert lake.look().started == 0  # not beside the older one
    lake.end()
    assert lake.look().started == 1
    first, second = (each.payload["drop"] for each in lake.workflows.started(MACHINE))
    assert first["etag"] != second["etag"]
    assert first["sequencer"] < second["sequencer"]
    lake.end()
    lake.put("daily/a.csv", b"2", hours=2)  # the same content once more is nothing new
    assert lake.look().started == 0


def test_what_the_file_itself_is_to_blame_for_is_told_and_not_tried_again() -> None:
    lake = Lake()
    lake.put("daily/a.csv")
    lake.look()
    lake.end(broken("UnscorableBatch", "column 'age' is missing"))
    assert (lake.look().failed, lake.look().started) == (1, 0)
    [file] = lake.ledger.source_files("lake")
    assert (file.state, file.error) == (
        FileState.FAILED,
        {"class": "UnscorableBatch", "message": "column 'age' is missing"},
    )
    assert lake.look(retry=("daily/a.csv",)).started == 1  # somebody has mended the contract
    lake.end()
    lake.look()
    assert lake.states() == {"daily/a.csv": FileState.SCORED}


def test_what_may_pass_is_tried_again_by_the_next_runs_but_not_for_ever() -> None:
    lake = Lake()
    lake.put("daily/a.csv")
    for _ in range(10):
        lake.look()
        lake.end(broken("SageMaker.ResourceLimitExceededException"))
    assert len(lake.keys()) == MOST_TRIES
    assert lake.states() == {"daily/a.csv": FileState.FAILED}
    names = [each.name for each in lake.workflows.started(MACHINE)]
    assert len(set(names)) == MOST_TRIES  # none meets what another has left
    lake.put("daily/a.csv", b"another")
    assert lake.look().started == 1


def test_a_job_or_an_execution_that_somebody_stopped_is_not_started_behind_their_back() -> None:
    lake = Lake()
    lake.put("daily/a.csv")
    lake.put("daily/b.csv")
    lake.look()
    first, second = lake.running()
    first.is_running, first.end = False, ExecutionEnd("SUCCEEDED", {"verdict": "stopped"}, None)
    second.is_running, second.end = False, broken("ExecutionStopped")
    assert (lake.look().failed, lake.look().started) == (2, 0)


def test_without_a_live_model_nothing_is_started_and_nothing_is_lost() -> None:
    lake = Lake()
    live, lake.ledger.pointer = lake.ledger.pointer, None
    lake.put("daily/a.csv")
    assert lake.look().started == 0
    lake.ledger.pointer = live
    assert lake.look().started == 1


def test_who_was_cut_off_between_noting_and_starting_starts_the_same_execution_next_time() -> None:
    lake = Lake()
    lake.put("daily/a.csv")
    lake.look()
    [lost] = lake.workflows.executions
    gone = lake.workflows.executions.pop(lost)
    lake.look()
    assert lake.workflows.executions[lost] == gone
    assert len(lake.running()) == 1


def test_two_looks_at_the_same_time_start_a_file_once() -> None:
    lake = Lake()
    lake.put("daily/a.csv")
    before = dict(lake.ledger.sourced)
    assert before == {}
    listed = lake.ledger.source_files

    def late(bucket: str) -> Any:
        found = list(listed(bucket))
        lake.ledger.source_files = listed  # type: ignore[method-assign]
        lake.look()  # the other one is faster
        return iter(found)

    lake.ledger.source_files = late  # type: ignore[method-assign]
    assert lake.look().started == 0
    assert len(lake.running()) == 1


@pytest.mark.parametrize("prefix", ["batch/", "incoming/new/", "", "mod"])
@pytest.mark.parametrize("bucket", [None, BUCKET])
def test_what_the_stack_itself_keeps_is_no_source(prefix: str, bucket: str | None) -> None:
    with pytest.raises(InvalidSettings, match="BatchSource"):
        BatchSource.of_stack(prefix, bucket, BUCKET)
    assert BatchSource.of_stack(prefix, "lake", BUCKET).prefix == prefix


def test_a_source_is_the_stacks_own_bucket_unless_another_is_named() -> None:
    source = BatchSource.of_stack("exports/", None, BUCKET)
    assert source.uri == f"s3://{BUCKET}/exports/"
    assert BatchSource.from_uri(source.uri) == source


def test_the_batch_machines_input_is_planned_under_the_files_bucket_and_key() -> None:
    world, lake = World(), Lake()
    lake.store = world.store
    lake.put("daily/a.csv", f"{HEADER}\np1,4,0.5,A,true,2026-01-01\n".encode())
    lake.look()
    [execution] = lake.running()
    plan = world.plan_event(execution.payload)
    assert plan.outcome == "planned"
    collected = world.collect(plan, world.transform(plan))
    assert collected.result_uri == f"s3://{BUCKET}/batch/out/lake/daily/a.csv"
    assert world.manifest("lake/daily/a.csv")["drop"]["bucket"] == "lake"


def test_a_file_that_was_replaced_after_it_was_listed_is_left_to_the_next_run() -> None:
    world, lake = World(), Lake()
    lake.store = world.store
    lake.put("daily/a.csv", b"1")
    lake.look()
    lake.put("daily/a.csv", b"2")
    with pytest.raises(ObjectChanged, match="next run"):
        world.plan_event(lake.running()[0].payload)


def test_an_event_of_an_object_elsewhere_in_the_bucket_is_no_batch() -> None:
    world = World()
    drop = {"bucket": {"name": BUCKET}, "object": {"key": "x.csv", "etag": "e", "sequencer": "1", "size": 1}}
    with pytest.raises(InvalidEvent, match="batch/in/"):
        world.plan_event({"source": "aws.s3", "detail": drop})


@pytest.mark.parametrize(
    ("error", "tries_left", "said"),
    [
        ("SageMaker.ThrottlingException", 2, "tried again with the next run"),
        ("SageMaker.ThrottlingException", 0, "dropforge batches retry"),
        ("UnscorableBatch", 2, "dropforge batches retry"),
    ],
)
def test_the_notification_says_what_becomes_of_the_file(error: str, tries_left: int, said: str) -> None:
    lake = Lake()
    lake.put("daily/a.csv")
    lake.look()
    start = {**lake.running()[0].payload, "tries_left": tries_left}
    told = close_batch(
        {"batch": start, "execution_arn": "arn", "status": "failed", "error": {"Error": error}},
        model_name="model",
    )
    assert "s3://lake/daily/a.csv could not be scored" in told["notification"]["message"]
    assert said in told["notification"]["message"]


def test_the_record_survives_the_trip_through_json() -> None:
    lake = Lake()
    lake.put("daily/a.csv")
    lake.look()
    [file] = lake.ledger.source_files("lake")
    failed = file.ended({"class": "EmptyData", "message": "no rows"}, "2026-01-01T00:00:00.000Z")
    for each in (file, failed, replace(failed, error=None)):
        assert type(each).from_dict(json.loads(json.dumps(each.to_dict()))) == each
