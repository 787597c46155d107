"""An alarm about the live model: one run, a fallback first where that is asked for, or only a word."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from tests.fakes.predictions import REGRESSION
from tests.fakes.records import BUCKET, DEPLOYMENT, a_drop, alarm_event, at
from tests.fakes.world import World, check_every_crash

from dropforge.application.answer_alarm import AlarmPolicy
from dropforge.application.labelled_predictions import gather
from dropforge.domain.contract import Column, Contract
from dropforge.domain.errors import EmptyData, InvalidEvent
from dropforge.domain.moments import iso
from dropforge.domain.predictions import PredictionRecord, epoch_ms, prediction_id
from dropforge.domain.records import RunStatus
from dropforge.domain.triggers import parse_trigger

LATER = at(100_000)  # past every cooldown
SINCE = timedelta(seconds=1)


def predicted(world, number, *, outcome=1.0, reported=LATER - SINCE, inputs=None):
    moment = at(90_000)
    identifier = prediction_id(epoch_ms(moment), f"request-{number}", 0)
    world.log.records[identifier] = PredictionRecord(
        identifier,
        iso(moment),
        1,
        {"x": float(number)} if inputs is None else inputs,
        {"value": 1.5},
        2.0,
        outcome,
        None if outcome is None else iso(reported),
    )
    return identifier


def watched(**options):
    """A world with two versions that were live, the second of which is."""
    world = World(**options)
    world.make_live(1, 0.0)
    world.make_live(2, 1000.0)
    return world


def deployments(world):
    return [each for each in world.workflows.started(DEPLOYMENT) if each.payload]


def manifest(world, admission):
    return json.loads(world.store.read(admission.run.manifest_uri))


@pytest.mark.parametrize("kind", ["drift", "quality"])
def test_an_alarm_trains_on_what_came_since_the_last_run(kind):
    world = watched()
    world.ledger.record_drop(a_drop(3), received_by="elsewhere", now=at(2000))
    predicted(world, 1)
    admission = world.admit(alarm_event(kind, LATER), now=LATER)
    assert admission.outcome == "admitted"
    assert admission.run.trigger == "alarm"
    assert admission.run.requested_by == f"model-{kind}"
    assert admission.run.run_id.startswith(f"{kind}-")
    written = manifest(world, admission)
    assert [each["key"] for each in written["objects"]] == ["incoming/file-3.csv"]
    assert written["labelled"]["until"] == iso(LATER)
    assert deployments(world) == []


def test_a_repeated_delivery_and_a_repeated_transition_start_nothing():
    world = watched()
    predicted(world, 1)
    first = world.admit(alarm_event("drift", LATER), world.running("alarm-1"), now=LATER)
    world.close(first, RunStatus.REJECTED_BY_GATE, now=LATER)
    again = world.admit(alarm_event("drift", LATER), world.running("alarm-2"), now=LATER + SINCE)
    assert (again.outcome, len(world.ledger.list_runs())) == ("duplicate", 3)
    flapped = alarm_event("drift", LATER + 60 * SINCE, previous="INSUFFICIENT_DATA")
    next_one = world.admit(flapped, world.running("alarm-3"), now=LATER + 61 * SINCE)
    assert next_one.outcome == "not-answered"
    assert "cooldown" in next_one.message
    much_later = LATER + timedelta(hours=7)
    predicted(world, 2, reported=much_later - SINCE)
    after = world.admit(alarm_event("drift", much_later), world.running("alarm-4"), now=much_later)
    assert after.outcome == "admitted"


def test_an_alarm_about_a_version_that_was_replaced_meanwhile_is_not_answered():
    world = watched()
    admission = world.admit(alarm_event("drift", at(900)), now=at(2000))
    assert admission.outcome == "not-answered"
    assert "before version 2 became live" in admission.message


def test_an_alarm_that_went_back_to_ok_is_not_answered():
    assert watched().admit(alarm_event("drift", LATER, state="OK"), now=LATER).outcome == "not-answered"


def test_without_a_live_model_no_alarm_is_answered():
    assert World().admit(alarm_event("drift", LATER), now=LATER).outcome == "not-answered"


def test_with_neither_drops_nor_outcomes_there_is_nothing_to_train_on():
    world = watched()
    predicted(world, 1, outcome=None)
    admission = world.admit(alarm_event("drift", LATER), now=LATER)
    assert admission.outcome == "nothing-new"
    assert "outcome" in admission.message


def test_outcomes_are_left_out_where_the_parameter_says_so():
    world = watched(labelled_predictions=False)
    predicted(world, 1)
    admission = world.admit(alarm_event("drift", LATER), now=LATER)
    assert admission.outcome == "nothing-new"
    assert "outcomes train nothing, as LabelledPredictions is 'exclude'" in admission.message


def test_outcomes_are_left_out_where_the_log_lacks_a_private_feature():
    world = watched()
    private = Contract(
        "y",
        None,
        "regression",
        None,
        (Column("x", "number", privacy="hash"), Column("y", "number", "target")),
    )
    world.store.objects[world.ledger.live().contract_uri] = private.to_json().encode()
    predicted(world, 1)
    admission = world.admit(alarm_event("drift", LATER), now=LATER)
    assert admission.outcome == "nothing-new"
    assert "outcomes train nothing, as the contract keeps 'x' out of the prediction log" in admission.message


def test_a_scheduled_run_takes_outcomes_as_well():
    world = watched()
    predicted(world, 1)
    assert world.admit({"trigger": "schedule"}, now=LATER).outcome == "admitted"


def test_a_drop_does_not_take_outcomes_along():
    world = watched()
    predicted(world, 1)
    assert "labelled" not in manifest(world, world.admit(a_drop(3), now=LATER))


def test_notify_starts_nothing():
    world = watched(alarms=AlarmPolicy(drift="notify"))
    predicted(world, 1)
    assert world.admit(alarm_event("drift", LATER), now=LATER).outcome == "not-answered"
    assert world.admit(alarm_event("quality", LATER), now=LATER).outcome == "admitted"


def test_fallback_deploys_the_version_before_and_retrains():
    world = watched(alarms=AlarmPolicy(quality="fallback"))
    predicted(world, 1)
    admission = world.admit(alarm_event("quality", LATER), now=LATER)
    assert admission.outcome == "admitted"
    assert "Version 1 is deployed" in admission.message
    (deployment,) = deployments(world)
    assert deployment.payload == {
        "reason": "fallback",
        "version": 1,
        "run_id": None,
        "requested_by": "model-quality",
    }


@pytest.mark.parametrize("hindrance", ["nothing to train on", "another run trains"])
def test_fallback_does_not_wait_for_data_or_for_another_run(hindrance):
    world = watched(alarms=AlarmPolicy(quality="fallback"))
    if hindrance == "another run trains":
        predicted(world, 1)
        world.admit(a_drop(3), now=LATER)
    admission = world.admit(alarm_event("quality", LATER), now=LATER)
    assert admission.outcome in ("nothing-new", "coalesced")
    assert len(deployments(world)) == 1


def test_fallback_goes_back_in_time_only():
    world = watched(alarms=AlarmPolicy(quality="fallback"))
    plan = world.plan(1, "fallback", deployment="back", now=at(3000))
    world.promote(plan, now=at(3001))
    predicted(world, 1)
    assert world.admit(alarm_event("quality", LATER), now=LATER).outcome == "admitted"
    assert deployments(world) == []


def test_fallback_needs_a_version_that_is_still_approved():
    world = watched(alarms=AlarmPolicy(quality="fallback"))
    world.apply(world.review(1, "Rejected"))
    predicted(world, 1)
    assert world.admit(alarm_event("quality", LATER), now=LATER).outcome == "admitted"
    assert deployments(world) == []


def test_an_answer_survives_a_crash_anywhere():
    def build():
        world = watched(alarms=AlarmPolicy(quality="fallback"))
        world.ledger.record_drop(a_drop(3), received_by="elsewhere", now=at(2000))
        predicted(world, 1)
        return world

    def act(world, moment):
        later = LATER + (moment - at(1000))
        world.admit(alarm_event("quality", LATER), world.running("alarm"), now=later)

    assert check_every_crash(build, act) > 10


def test_labelled_predictions_become_rows_of_the_contract_once():
    world = watched()
    predicted(world, 1, outcome=10.0)
    predicted(world, 2, outcome=20.0, inputs={"x": None, "unknown": 1})
    predicted(world, 3, outcome=None)
    admission = world.admit(alarm_event("drift", LATER), now=LATER)
    pinned = f"s3://{BUCKET}/contract/schema.json"
    world.store.objects[pinned] = REGRESSION.to_json().encode()
    first = gather(admission.run.manifest_uri, world.log, world.store, contract_uri=pinned)
    ref = first.refs[0]
    assert [each.key for each in first.refs[1:]] == ["incoming/file-2.csv"], "outcomes come on top of drops"
    lines = [json.loads(line) for line in world.store.read(ref).splitlines()]
    assert sorted(lines, key=str) == [{"x": 1.0, "y": 10.0}, {"x": None, "y": 20.0}]
    predicted(world, 4)
    assert gather(admission.run.manifest_uri, world.log, world.store, contract_uri=pinned) == first
    assert manifest(world, admission)["labelled"]["rows"] == 2


@pytest.mark.parametrize(("type", "is_number"), [("integer", True), ("text", False)])
def test_a_row_whose_caller_sent_no_key_gets_one_of_its_own(type, is_number):
    world = watched()
    keyed = Contract(
        "y",
        "id",
        "regression",
        None,
        (Column("id", type, "key"), Column("x", "number"), Column("y", "number", "target")),
    )
    predicted(world, 1, inputs={"x": 1.0, "id": 7 if is_number else "seven"})
    predicted(world, 2)
    predicted(world, 3)
    admission = world.admit(alarm_event("drift", LATER), now=LATER)
    pinned = f"s3://{BUCKET}/contract/schema.json"
    world.store.objects[pinned] = keyed.to_json().encode()
    ref = gather(admission.run.manifest_uri, world.log, world.store, contract_uri=pinned).refs[0]
    keys = [json.loads(line)["id"] for line in world.store.read(ref).splitlines()]
    assert len(set(keys)) == 3
    assert all(isinstance(key, int if is_number else str) for key in keys)
    assert (7 if is_number else "seven") in keys


def test_the_next_retraining_takes_the_outcomes_that_came_after_the_last_one():
    world = watched()
    predicted(world, 1)
    first = world.admit(alarm_event("drift", LATER), now=LATER)
    world.close(first, RunStatus.REJECTED_BY_GATE, now=LATER)
    much_later = LATER + timedelta(hours=7)
    assert world.admit({"trigger": "schedule"}, world.running("s1"), now=much_later).outcome == "nothing-new"
    predicted(world, 2, reported=much_later - SINCE)
    second = world.admit({"trigger": "schedule"}, world.running("s2"), now=much_later)
    assert manifest(world, second)["labelled"]["since"] == iso(LATER)


def test_a_run_without_drops_whose_outcomes_have_gone_fails_by_name():
    world = watched()
    identifier = predicted(world, 1)
    admission = world.admit(alarm_event("drift", LATER), now=LATER)
    del world.log.records[identifier]
    alone = {**manifest(world, admission), "objects": []}
    world.store.objects[admission.run.manifest_uri] = json.dumps(alone).encode()
    pinned = f"s3://{BUCKET}/contract/schema.json"
    world.store.objects[pinned] = REGRESSION.to_json().encode()
    with pytest.raises(EmptyData, match="names no drop"):
        gather(admission.run.manifest_uri, world.log, world.store, contract_uri=pinned)


def test_aws_own_event_is_read():
    trigger = parse_trigger(alarm_event("quality", LATER))
    assert trigger.kind == "alarm"
    assert (trigger.alarm.kind, trigger.alarm.state, trigger.alarm.at) == ("quality", "ALARM", LATER)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e["detail"].pop("state"), "detail.state"),
        (lambda e: e["detail"]["state"].update(timestamp="yesterday"), "yesterday"),
        (
            lambda e: e["detail"]["configuration"]["metrics"][0]["metricStat"]["metric"].update(name="CPU"),
            "is on CPU",
        ),
    ],
)
def test_another_event_of_cloudwatch_is_refused_by_what_is_wrong(change, message):
    event = alarm_event("drift", LATER)
    change(event)
    with pytest.raises(InvalidEvent, match=message):
        parse_trigger(event)
