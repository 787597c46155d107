from __future__ import annotations

import json

import pytest
from tests.fakes.records import BUCKET, TRAINING, a_drop, at, execution, s3_event
from tests.fakes.world import CODE, LEASE_S, World

from dropforge.domain.drop_life import NEVER, DropState
from dropforge.domain.errors import InvalidEvent, ObjectMissing
from dropforge.domain.moments import iso
from dropforge.domain.records import LockName, RunStatus
from dropforge.domain.triggers import parse_trigger
from dropforge.pricing.run import CostCap


def manifest(world, admission):
    return json.loads(world.store.read(admission.run.manifest_uri))


def keys(world, admission):
    return [each["key"] for each in manifest(world, admission)["objects"]]


def finished(world, number=1, *, seconds=0.0, status=RunStatus.REJECTED_BY_GATE):
    """A run that went through all its steps and ended."""
    admission = world.admit(a_drop(number), now=at(seconds))
    world.close(admission, status, now=at(seconds + 5))
    world.end(admission.run.execution_arn)
    return admission


def test_admits_the_first_drop():
    world = World()
    admission = world.admit(a_drop(1))
    assert admission.outcome == "admitted"
    assert admission.run.run_id == a_drop(1).run_id
    assert keys(world, admission) == ["incoming/file-1.csv"]
    assert manifest(world, admission)["objects"][0]["version_id"] == "v1"
    assert world.ledger.get_drop(a_drop(1).drop_id).run_id == admission.run.run_id
    assert world.ledger.held_lease(LockName.TRAINING).holder == admission.run.execution_arn


def test_says_all_that_the_next_states_read():
    world = World()
    live = world.make_live(1)
    answer = json.loads(json.dumps(world.admit(a_drop(2), now=at(100)).to_dict()))
    assert answer["outcome"] == "admitted"
    assert answer["code_uri"] == f"s3://{BUCKET}/code/{CODE.sha256}/"
    assert answer["champion"] == {
        "version": 1,
        "model_package_arn": live.model_package_arn,
        "model_data_url": live.model_data_url,
        "model_sha256": live.model_sha256,
        "model_digest": world.ledger.get_model(1).model_digest,
        "metric": live.metric,
    }
    assert 1 <= len(answer["metric_definitions"]) <= 40
    assert (answer["trigger"], answer["replay_of"]) == ("drop", None)


def test_publishes_the_training_code_once():
    world = World()
    uri = world.admit(a_drop(1)).to_dict()["code_uri"]
    assert world.store.read(f"{uri}train.py") == b"train"
    world.store.objects[f"{uri}model.py"] = b"as it was published"
    finished(world, 2, seconds=LEASE_S + 10)
    assert world.store.read(f"{uri}model.py") == b"as it was published"


@pytest.mark.parametrize("moment", ["while it runs", "after it ended"])
def test_a_duplicate_delivery_starts_nothing(moment):
    world = World()
    first = world.admit(a_drop(1))
    if moment == "after it ended":
        world.close(first, RunStatus.FAILED, error={"Error": "EmptyData", "Cause": "{}"})
    second = world.admit(a_drop(1), world.running("again"), now=at(50))
    assert second.outcome == "duplicate"
    assert first.run.run_id in second.message
    assert set(second.to_dict()) == {"outcome", "message"}
    assert len(world.ledger.list_runs()) == 1
    assert world.ledger.get_drop(a_drop(1).drop_id).duplicates == 1


def test_a_duplicate_of_a_drop_that_waits_starts_nothing():
    world = World()
    world.admit(a_drop(1))
    world.admit(a_drop(2), now=at(1))
    assert world.admit(a_drop(2), world.running("again"), now=at(2)).outcome == "duplicate"


def test_the_same_key_written_again_is_another_drop():
    world = World()
    finished(world, 1)
    again = a_drop(1, version_id="v2", etag="e2", sequencer="02")
    assert world.admit(again, now=at(50)).outcome == "admitted"


def test_an_unversioned_object_is_told_apart_by_its_etag():
    event = s3_event(a_drop(1))
    del event["detail"]["object"]["version-id"]
    drop = parse_trigger(event).drop
    assert drop.version_id is None
    assert drop.drop_id != a_drop(1, version_id=None, etag="other").drop_id


def test_a_drop_during_a_run_coalesces():
    world = World()
    world.admit(a_drop(1))
    assert world.admit(a_drop(2), now=at(1)).outcome == "coalesced"
    assert len(world.ledger.waiting_drops()) == 1


def test_one_follow_up_covers_all_that_waited_exactly_once():
    world = World()
    first = world.admit(a_drop(1))
    for number in (2, 3, 4):
        world.admit(a_drop(number), now=at(number))
    world.close(first, RunStatus.REJECTED_BY_GATE)
    (follow_up,) = [each for each in world.workflows.started(TRAINING) if each.payload]
    assert follow_up.payload == {"trigger": "follow-up"}
    admission = world.admit(follow_up.payload, execution(follow_up.name), now=at(50))
    assert admission.outcome == "admitted"
    assert admission.run.run_id == a_drop(4).run_id
    assert keys(world, admission) == [f"incoming/file-{number}.csv" for number in (4, 3, 2)]
    world.close(admission, RunStatus.REJECTED_BY_GATE, now=at(60))
    assert len([each for each in world.workflows.started(TRAINING) if each.payload]) == 1
    assert world.admit({"trigger": "follow-up"}, world.running("late"), now=at(70)).outcome == "nothing-new"
    assert world.ledger.held_lease(LockName.TRAINING) is None


def test_a_drop_right_after_a_run_takes_the_waiting_ones_along():
    world = World()
    first = world.admit(a_drop(1))
    world.admit(a_drop(2), now=at(1))
    world.ledger.release(LockName.TRAINING, token=first.run.token)
    admission = world.admit(a_drop(3), now=at(2))
    assert keys(world, admission) == ["incoming/file-3.csv", "incoming/file-2.csv"]
    assert world.ledger.waiting_drops() == []


def test_a_drop_whose_execution_found_another_run_already_there_steps_back():
    """The follow-up of a killed execution has taken the drop over under the drop's own run id."""
    world = World()
    world.ledger.record_drop(a_drop(1), received_by=world.running("slow"), now=at(0))
    follow_up = world.admit({"trigger": "follow-up"}, world.running("follow-up"), now=at(1))
    assert follow_up.run.run_id == a_drop(1).run_id
    world.close(follow_up, RunStatus.FAILED, error={})
    late = world.admit(a_drop(1), execution("slow"), now=at(60))
    assert late.outcome == "coalesced"
    assert [each.drop for each in world.ledger.waiting_drops()] == [a_drop(1)], "it is tried again later"
    assert world.ledger.held_lease(LockName.TRAINING) is None


def test_a_run_whose_lease_ran_out_does_not_go_on_under_a_new_one():
    world = World()
    admission = world.admit(a_drop(1), world.running("slow"))
    rival = world.admit(a_drop(2), now=at(LEASE_S + 1))
    world.close(rival, RunStatus.REJECTED_BY_GATE, now=at(LEASE_S + 2))
    again = world.admit(a_drop(1), execution("slow"), now=at(LEASE_S + 3))
    assert admission.outcome == "admitted"
    assert again.outcome == "coalesced"
    assert world.ledger.held_lease(LockName.TRAINING) is None


def test_a_schedule_without_new_drops_trains_nothing_and_frees_the_lock():
    world = World()
    finished(world, 1)
    assert world.admit({"trigger": "schedule"}, now=at(50)).outcome == "nothing-new"
    assert world.ledger.held_lease(LockName.TRAINING) is None


def test_a_schedule_trains_on_what_waits():
    world = World()
    world.ledger.record_drop(a_drop(1), received_by="died", now=at(0))
    admission = world.admit({"trigger": "schedule"}, now=at(1))
    assert admission.outcome == "admitted"
    assert admission.run.run_id.startswith("schedule-")


def test_training_by_hand_without_anything_new_repeats_the_last_data():
    world = World()
    finished(world, 1)
    admission = world.admit({"trigger": "manual", "requested_by": "ann"}, now=at(200))
    assert keys(world, admission) == ["incoming/file-1.csv"]
    assert admission.run.requested_by == "ann"
    assert admission.run.drops == 0


def test_training_by_hand_takes_what_a_failed_run_gave_back():
    world = World()
    finished(world, 1)
    finished(world, 2, seconds=100, status=RunStatus.FAILED)
    admission = world.admit({"trigger": "manual"}, now=at(200))
    assert keys(world, admission) == ["incoming/file-2.csv"]


def test_a_february_that_failed_comes_in_with_march():
    world = World()
    finished(world, 2, status=RunStatus.FAILED)
    admission = world.admit(a_drop(3), now=at(100))
    assert keys(world, admission) == ["incoming/file-3.csv", "incoming/file-2.csv"]
    world.register(admission, now=at(110))
    states = {each.drop.key: (each.state, each.version) for each in world.ledger.list_drops()}
    assert set(states.values()) == {(DropState.TRAINED, 1)}


@pytest.mark.parametrize(
    ("data", "expected"),
    [("new", [3]), ("all", [3, 2, 1]), ("last-run", [2])],
)
def test_whoever_starts_a_run_by_hand_says_on_what(data, expected):
    world = World()
    finished(world, 1)
    finished(world, 2, seconds=100)
    world.ledger.record_drop(a_drop(3), received_by="x", now=at(150))
    admission = world.admit({"trigger": "manual", "data": data}, now=at(200))
    assert keys(world, admission) == [f"incoming/file-{number}.csv" for number in expected]
    assert admission.run.drops == (data != "last-run")


def test_of_one_object_a_run_takes_the_newest_version():
    world = World(training_data="all-drops")
    finished(world, 1)
    running = world.admit(a_drop(2), now=at(100))
    for number in (1, 3, 2):  # in any order of delivery
        drop = a_drop(1, sequencer=f"F{number}", version_id=f"w{number}", written_at=iso(at(100 + number)))
        world.admit(drop, now=at(110 + number))
    world.close(running, RunStatus.REJECTED_BY_GATE, now=at(120))
    admission = world.admit({"trigger": "follow-up"}, now=at(130))
    found = [(each["key"], each["version_id"]) for each in manifest(world, admission)["objects"]]
    assert found == [("incoming/file-1.csv", "w3"), ("incoming/file-2.csv", "v2")]


def test_objects_are_ordered_by_when_they_were_written_not_by_when_they_were_heard_of():
    world = World()
    running = world.admit(a_drop(9))
    for number in (4, 2, 3):
        world.admit(a_drop(number), now=at(100 - number))
    world.close(running, RunStatus.REJECTED_BY_GATE, now=at(120))
    admission = world.admit({"trigger": "follow-up"}, now=at(130))
    assert keys(world, admission) == [f"incoming/file-{number}.csv" for number in (4, 3, 2)]


def test_what_was_written_before_the_window_is_left_out():
    world = World(training_data="all-drops", window_days=30)
    finished(world, 1)
    admission = world.admit(a_drop(2, written_at=iso(at(40 * 86400))), now=at(40 * 86400))
    assert keys(world, admission) == ["incoming/file-2.csv"]
    world.close(admission, RunStatus.REJECTED_BY_GATE, now=at(40 * 86400 + 9))
    later = world.admit(a_drop(3, written_at=iso(at(41 * 86400))), now=at(41 * 86400))
    assert keys(world, later) == ["incoming/file-3.csv", "incoming/file-2.csv"]


def test_says_where_nothing_is_newer_than_what_the_live_model_was_trained_on():
    world = World()
    world.make_live(5)
    older = world.admit(a_drop(3), now=at(100))
    assert "No object of this run is newer than those of the live version 1" in older.run.notes[0]
    world.close(older, RunStatus.REJECTED_BY_GATE, now=at(110))
    newer = world.admit(a_drop(6), now=at(120))
    assert newer.run.notes == []


@pytest.mark.parametrize(
    "key",
    [
        "incoming/feb/_SUCCESS",
        "incoming/feb/.part.csv.crc",
        "incoming/.DS_Store",
        "incoming/_temporary/0/part-00000.csv",
        "incoming/feb/",
        "incoming/feb_$folder$",
    ],
)
def test_what_is_no_data_is_passed_over_with_a_note(key):
    world = World()
    admission = world.admit(a_drop(1, key=key))
    assert admission.outcome in ("no-data", "nothing-new")
    assert list(world.ledger.list_drops()) == []
    assert world.ledger.held_lease(LockName.TRAINING) is None


def a_part(number, **changes):
    key = f"incoming/feb/part-{number:05d}-b1f2.csv"
    return a_drop(number, key=key, **changes)


def marker(seconds=50):
    return a_drop(99, key="incoming/feb/_SUCCESS", size=0, written_at=iso(at(seconds)))


def test_a_folder_is_one_drop_once_its_marker_is_there():
    world = World()
    for number in range(5):
        assert world.admit(a_part(number), now=at(number)).outcome == "waits"
    assert world.admit({"trigger": "manual"}, now=at(20)).outcome == "nothing-new"
    admission = world.admit(marker(), now=at(50))
    assert admission.outcome == "admitted"
    assert len(keys(world, admission)) == 5
    assert admission.run.run_id.startswith("feb-")


def test_a_part_that_is_heard_of_after_the_marker_of_its_folder_does_not_wait():
    world = World()
    world.admit(a_part(1), now=at(1))
    first = world.admit(marker(), now=at(50))
    assert keys(world, first) == [a_part(1).key]
    assert world.admit(a_part(2), now=at(55)).outcome == "coalesced"
    world.close(first, RunStatus.REJECTED_BY_GATE, now=at(60))
    (follow_up,) = [each for each in world.workflows.started(TRAINING) if each.payload]
    assert keys(world, world.admit(follow_up.payload, now=at(61))) == [a_part(2).key]


def test_a_part_that_was_written_after_the_marker_waits_for_the_next():
    world = World()
    world.admit(marker(), now=at(50))
    assert world.admit(a_part(70), now=at(70)).outcome == "waits"


def test_the_parts_of_a_run_that_goes_on_are_not_taken_by_another_drop():
    world = World()
    world.admit(a_part(1), now=at(1))
    assert keys(world, world.admit(a_drop(2), now=at(2))) == ["incoming/file-2.csv"]


def test_parts_wait_for_a_marker_for_a_bounded_time():
    world = World()
    world.admit(a_part(1), now=at(1))
    assert world.reconcile(at(600)).started == []
    assert len(world.reconcile(at(1000)).started) == 1
    assert keys(world, world.admit({"trigger": "follow-up"}, now=at(1001))) == [a_part(1).key]


def test_a_partitioned_folder_is_complete_with_the_marker_of_its_root():
    world = World()
    key = "incoming/feb/day=1/part-00000-b1f2.parquet"
    assert world.admit(a_drop(1, key=key), now=at(1)).outcome == "waits"
    assert keys(world, world.admit(marker(), now=at(50))) == [key]


def test_training_by_hand_before_any_drop_finds_nothing():
    assert World().admit({"trigger": "manual"}).outcome == "nothing-new"


@pytest.mark.parametrize("event", [{"trigger": "manual"}, {"trigger": "replay", "run_id": a_drop(1).run_id}])
def test_says_that_a_start_by_hand_was_not_kept_for_later(event):
    world = World()
    world.admit(a_drop(1))
    admission = world.admit(event, now=at(5))
    assert admission.outcome == "coalesced"
    assert "Start it again" in admission.message


def test_a_replay_trains_on_the_same_objects_and_claims_nothing():
    world = World()
    original = finished(world, 1)
    world.ledger.record_drop(a_drop(2), received_by="x", now=at(60))
    event = {"trigger": "replay", "run_id": original.run.run_id, "requested_by": "ann"}
    admission = world.admit(event, now=at(100))
    assert keys(world, admission) == keys(world, original)
    assert admission.run.replay_of == original.run.run_id
    assert len(world.ledger.waiting_drops()) == 1
    assert admission.run.drops == 0
    world.close(admission, RunStatus.REPLAYED, now=at(110))
    assert [each.payload for each in world.workflows.started(TRAINING) if each.payload] == [
        {"trigger": "follow-up"}
    ]


def test_a_replay_makes_as_many_trials_as_its_run_had_made():
    world = World()
    original = finished(world, 1)
    event = {"trigger": "replay", "run_id": original.run.run_id, "requested_by": "ann"}
    uri = f"s3://{BUCKET}/models/{original.run.run_id}/lineage.json"

    def trials(content: bytes | None) -> dict[str, str]:
        if content is not None:
            world.store.write(uri, content)
        admission = world.admit(event, world.running(f"replay-{len(content or b'')}"), now=at(100))
        world.close(admission, RunStatus.REPLAYED, now=at(110))
        return admission.run.hyperparameters

    assert trials(None) == {}
    assert trials(b'{"hyperparameters": {}}') == {}
    assert trials(b'{"tuning": {"asked": 20, "done": 7}}') == {"tuning_trials": "7", "tuning_minutes": "0"}


def test_a_replay_of_an_unknown_run_is_refused_without_taking_the_lock():
    world = World()
    with pytest.raises(InvalidEvent, match="no run 'none'"):
        world.admit({"trigger": "replay", "run_id": "none"})
    assert world.ledger.held_lease(LockName.TRAINING) is None


def test_a_replay_whose_manifest_is_gone_is_refused_without_taking_the_lock():
    world = World()
    original = finished(world, 1)
    del world.store.objects[original.run.manifest_uri]
    with pytest.raises(ObjectMissing):
        world.admit({"trigger": "replay", "run_id": original.run.run_id}, now=at(60))
    assert world.ledger.held_lease(LockName.TRAINING) is None


def test_all_drops_trains_on_everything_that_was_trained_on_before():
    world = World(training_data="all-drops")
    finished(world, 1)
    finished(world, 2, seconds=100, status=RunStatus.FAILED)
    second = finished(world, 3, seconds=200)
    assert keys(world, second) == [f"incoming/file-{number}.csv" for number in (3, 2, 1)]
    assert second.run.drops == 2
    third = world.admit(a_drop(4), now=at(300))
    assert keys(world, third) == [f"incoming/file-{number}.csv" for number in (4, 3, 2, 1)]
    assert third.run.drops == 1


def test_all_drops_on_a_schedule_without_new_ones_trains_nothing():
    world = World(training_data="all-drops")
    finished(world, 1)
    assert world.admit({"trigger": "schedule"}, now=at(50)).outcome == "nothing-new"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"trigger": "else"},
        {"trigger": "replay"},
        {"trigger": "manual", "requested_by": 3},
        {"trigger": "manual", "data": "some"},
        {"trigger": "manual", "bring_back": "incoming/a.csv"},
        {"source": "aws.s3", "detail": {"bucket": {"name": "b"}, "object": {"key": "k"}}},
        {"source": "aws.s3", "detail": None},
    ],
)
def test_refuses_what_is_no_trigger(event):
    world = World()
    with pytest.raises(InvalidEvent):
        world.admit(event)
    assert world.ledger.held_lease(LockName.TRAINING) is None


def test_a_job_name_fits_sagemaker_whatever_the_file_is_called():
    for key in (
        "incoming/Ünïcode & spaces.csv.gz",
        "incoming/" + "x" * 900,
        "incoming/.hidden",
        "incoming/--",
    ):
        job = f"{'m' * 20}-{a_drop(1, key=key).run_id}-a9"
        assert len(job) <= 63
        assert all(part.isalnum() and part.isascii() for part in job.split("-")), job


def test_a_folders_marker_is_no_drop():
    world = World()
    event = s3_event(a_drop(1))
    event["detail"]["object"]["key"] = "incoming/2026/"
    assert world.admit(event).outcome == "no-data"
    assert world.ledger.waiting_drops() == []


def test_a_run_above_the_cap_is_recorded_as_failed_and_frees_the_lock():
    world = World(cost=CostCap(maximum_usd=0.001, instance_type="ml.m5.large"))
    admission = world.admit(a_drop(1, size=5_000_000_000))
    answer = admission.to_dict()
    assert answer["outcome"] == "too-expensive"
    assert "MaximumRunCostUSD is 0.001" in answer["message"]

    world.close(admission, RunStatus.FAILED, error=answer["error"])
    run = world.ledger.get_run(admission.run.run_id)
    assert run.error["class"] == "RunTooExpensive"
    assert world.ledger.held_lease(LockName.TRAINING) is None
    [waits] = world.ledger.waiting_drops()
    assert waits.due_at == NEVER, "somebody has to raise the cap first"


def test_a_run_below_the_cap_is_admitted():
    world = World(cost=CostCap(maximum_usd=50, instance_type="ml.m5.large"))
    assert world.admit(a_drop(1, size=1_000_000)).outcome == "admitted"


def test_a_cap_on_an_instance_of_unknown_price_refuses_rather_than_guesses():
    world = World(cost=CostCap(maximum_usd=50, instance_type="ml.x9.large"))
    answer = world.admit(a_drop(1)).to_dict()
    assert answer["error"]["Error"] == "UnknownPrice"
    assert "ml.x9.large" in answer["message"]


def test_a_run_records_the_commit_that_was_deployed_when_it_was_admitted():
    world = World(source_commit="a" * 40)
    admission = world.admit(a_drop(1))
    assert world.ledger.get_run(admission.run.run_id).source_commit == "a" * 40
