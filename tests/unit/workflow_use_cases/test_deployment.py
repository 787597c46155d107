from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import timedelta

import pytest
from tests.fakes.records import DEPLOYMENT, ENDPOINT, a_drop, at, execution
from tests.fakes.world import IMAGE, LEASE_S, World

from dropforge.application.deploy import promote_model, told_failure
from dropforge.application.serving_environment import serving_environment
from dropforge.domain.errors import (
    ArtifactChanged,
    ArtifactMissing,
    DeploymentInProgress,
    LostLock,
    NotApproved,
    NothingToRollBackTo,
    ServiceUnavailable,
    SmokeTestFailed,
)
from dropforge.domain.ports import ObjectRef
from dropforge.domain.records import Approval, LockName, RunStatus, Stage
from dropforge.domain.services import EndpointState


def approved(number=1, seconds=0.0, world=None):
    world = world or World()
    _, version = world.candidate(number, seconds)
    world.approve(version, now=at(seconds + 2))
    return world


def lock(world):
    return world.ledger.held_lease(LockName.DEPLOYMENT)


# --- planning -----------------------------------------------------------------------------------


def test_plans_the_first_deployment():
    world = approved()
    plan = world.plan(1, run_id=a_drop(1).run_id)
    assert (plan.version, plan.already_live, plan.previous_config, plan.previous_version) == (
        1,
        False,
        None,
        None,
    )
    assert plan.endpoint_config == plan.model_name == f"{ENDPOINT}-v1-{plan.token}"
    assert world.ledger.get_run(a_drop(1).run_id).status is RunStatus.DEPLOYING
    assert json.loads(json.dumps(asdict(plan))) == asdict(plan)


def test_tells_the_container_all_that_it_needs_whatever_its_package_says():
    world = approved()
    digest = world.ledger.get_model(1).model_digest
    assert world.plan(1).environment == serving_environment(IMAGE.region, digest)


def test_plans_what_to_go_back_to():
    world = World()
    live = world.make_live(1)
    approved(2, 100, world)
    plan = world.plan(2)
    assert (plan.previous_config, plan.previous_version) == (live.endpoint_config, 1)


def test_another_deployment_waits_its_turn():
    world = approved()
    first = world.plan(1)
    with pytest.raises(DeploymentInProgress):
        world.plan(1, deployment="d2")
    assert world.plan(1) == first


@pytest.mark.parametrize("state", ["pending", "rejected", "unknown"])
def test_deploys_only_what_is_approved(state):
    world = World()
    world.candidate(1)
    if state == "rejected":
        world.apply(world.review(1, "Rejected"))
    with pytest.raises(NotApproved, match=state):
        world.plan(9 if state == "unknown" else 1)
    assert lock(world) is None


def package_names_the_jobs_own(world, version):
    """As a version that was registered before copies were made."""
    model = world.ledger.models[version]
    url = ObjectRef.from_dict(model.trained_archive).uri
    world.store.delete_prefix(model.model_data_url)
    world.ledger.models[version] = replace(model, model_data_url=url, trained_archive=None)
    return url


def test_deploys_a_version_whose_package_names_the_jobs_own_archive():
    world = approved()
    url = package_names_the_jobs_own(world, 1)
    assert world.plan(1).model_data_url == url


def test_does_not_deploy_an_archive_that_is_gone():
    world = approved()
    del world.store.objects[package_names_the_jobs_own(world, 1)]
    with pytest.raises(ArtifactMissing):
        world.plan(1)
    assert lock(world) is None


def test_does_not_deploy_an_archive_that_was_changed():
    world = approved()
    world.store.objects[package_names_the_jobs_own(world, 1)] += b"!"
    with pytest.raises(ArtifactChanged):
        world.plan(1)
    assert lock(world) is None


def test_what_the_job_writes_later_is_not_what_is_deployed():
    world = approved()
    model = world.ledger.get_model(1)
    world.store.objects[ObjectRef.from_dict(model.trained_archive).uri] += b"!"
    plan = world.plan(1)
    assert plan.model_data_url == model.model_data_url
    assert world.store.sha256(plan.model_data_url) == model.model_sha256


def test_does_not_deploy_a_copy_that_was_changed():
    world = approved()
    world.store.objects[world.ledger.get_model(1).model_data_url] += b"!"
    with pytest.raises(ArtifactChanged, match="registered"):
        world.plan(1)
    assert lock(world) is None


def test_a_copy_that_is_gone_is_made_again_from_what_was_judged_and_from_nothing_else():
    world = approved()
    model = world.ledger.get_model(1)
    trained = ObjectRef.from_dict(model.trained_archive).uri
    del world.store.objects[model.model_data_url]
    world.plan(1)
    world.ledger.release(LockName.DEPLOYMENT, token=lock(world).token)
    assert world.store.sha256(model.model_data_url) == model.model_sha256
    world.store.objects[trained] += b"!"
    del world.store.objects[model.model_data_url]
    with pytest.raises(ArtifactChanged, match="models"):
        world.plan(1)
    assert model.model_data_url not in world.store.objects
    del world.store.objects[trained]
    with pytest.raises(ArtifactMissing):
        world.plan(1)
    assert lock(world) is None


def test_the_live_version_needs_no_deployment_unless_it_is_repaired():
    world = World()
    world.make_live(1)
    plan = world.plan(1)
    assert plan.already_live
    world.settle(plan)
    assert lock(world) is None
    assert world.endpoints.describe(ENDPOINT).config == world.ledger.live().endpoint_config
    assert not world.plan(1, "repair", deployment="d2").already_live


def test_a_run_whose_version_is_live_already_has_succeeded():
    world = World()
    world.make_live(1)
    _, version = world.candidate(2, seconds=100)
    world.approve(version, now=at(110))
    plan = world.plan(version, "by hand", deployment="by-hand", now=at(120))
    world.promote(plan, now=at(121))
    assert world.plan(version, run_id=a_drop(2).run_id, deployment="d3", now=at(130)).already_live
    assert world.ledger.get_run(a_drop(2).run_id).status is RunStatus.SUCCEEDED


# --- rolling back -------------------------------------------------------------------------------


def three_live():
    world = World()
    for number in (1, 2, 3):
        world.make_live(number, seconds=100.0 * number)
    return world


def test_rolls_back_to_the_version_that_was_live_before():
    world = three_live()
    world.apply(world.review(3, "Rejected"), now=at(500))
    assert world.plan(None, "rejection").version == 2


def test_rolls_back_past_versions_that_were_rejected_or_lost():
    world = three_live()
    world.apply(world.review(3, "Rejected"), now=at(500))
    lost = world.ledger.get_model(2)
    world.store.delete_prefix(lost.model_data_url)
    world.store.delete_prefix(ObjectRef.from_dict(lost.trained_archive).uri)
    assert world.plan(None, "rejection").version == 1
    world.ledger.release(LockName.DEPLOYMENT, token=lock(world).token)
    world.apply(world.review(1, "Rejected"), now=at(501))
    with pytest.raises(NothingToRollBackTo, match="no object"):
        world.plan(None, "rejection", deployment="d2")
    assert lock(world) is None


def test_never_rolls_back_to_what_was_never_live():
    world = World()
    world.make_live(1)
    approved(2, 100, world)
    with pytest.raises(NothingToRollBackTo):
        world.plan(None, "rollback")


def test_a_rollback_that_waited_for_a_newer_deployment_leaves_that_alone():
    world = three_live()
    approved(4, 400, world)
    plan = world.plan(4, deployment="newer", now=at(410))
    world.apply(world.review(3, "Rejected"), now=at(411))
    with pytest.raises(DeploymentInProgress):
        world.plan(None, "rejection", deployment="rollback", now=at(412))
    world.promote(plan, now=at(413))
    late = world.plan(None, "rejection", deployment="rollback", now=at(414))
    assert (late.version, late.already_live) == (4, True)


def test_a_rollback_by_hand_moves_away_from_an_approved_version():
    world = three_live()
    assert world.plan(None, "rollback").version == 2


def test_a_rollback_brings_everything_of_the_old_version_back():
    world = three_live()
    world.apply(world.review(3, "Rejected"), now=at(500))
    plan = world.plan(None, "rejection", now=at(510))
    world.endpoints.deploy(ENDPOINT, plan.endpoint_config, at(511))
    live = world.promote(plan, now=at(512))
    model = world.ledger.get_model(2)
    assert (live.version, live.profile_uri, live.contract_hash) == (2, model.profile_uri, model.contract_hash)
    assert live.previous_version == 3
    assert [world.ledger.get_model(number).stage for number in (1, 2, 3)] == [
        Stage.ARCHIVED,
        Stage.PRODUCTION,
        Stage.ARCHIVED,
    ]
    stages = world.registry.registered[world.ledger.get_model(3).model_package_arn].stages
    assert stages[-1] == ("Archived", "Rejected")


# --- smoke test ---------------------------------------------------------------------------------


def smoke(expected, answer):
    world = approved()
    plan = world.plan(1)
    document = {"instances": [{"a": n} for n in range(len(expected))], "predictions": expected}
    world.store.objects[plan.smoke_uri] = json.dumps(document).encode()
    sent = []

    def container(body):
        sent.append(json.loads(body))
        return answer if isinstance(answer, bytes) else json.dumps({"predictions": answer}).encode()

    world.endpoints.answer = container
    rows = world.smoke(plan)
    assert sent == [{"instances": document["instances"]}]
    return rows


LABEL = {"label": "malignant", "probabilities": {"benign": 0.1, "malignant": 0.9}}


def test_accepts_the_answers_that_training_recorded():
    assert smoke([LABEL, LABEL], [LABEL, LABEL]) == 2
    assert smoke([{"value": 152.1}], [{"value": 152.1 + 1e-5}]) == 1
    assert smoke([{"value": 0.0}], [{"value": 9e-7}]) == 1


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        ([LABEL], [{**LABEL, "label": "benign"}]),
        ([LABEL], [{**LABEL, "probabilities": {"benign": 0.1, "malignant": 0.900002}}]),
        ([LABEL], [{"label": "malignant"}]),
        ([LABEL], [{**LABEL, "probabilities": {"benign": "0.1", "malignant": 0.9}}]),
        ([LABEL], []),
        ([LABEL], [LABEL, LABEL]),
        ([LABEL], ["malignant"]),
        ([{"value": 152.1}], [{"value": 152.2}]),
        ([{"value": 152.1}], [{"value": None}]),
        ([{"value": 152.1}], [{"value": float("nan")}]),
        ([LABEL], b"<html>"),
        ([LABEL], b"[]"),
        ([LABEL], b'{"error": {}}'),
    ],
)
def test_refuses_any_other_answer(expected, answer):
    with pytest.raises(SmokeTestFailed):
        smoke(expected, answer)


# --- promoting, settling ------------------------------------------------------------------------


def test_promotes_and_tells_the_registry():
    world = World()
    world.make_live(1)
    live = world.make_live(2, seconds=100)
    assert (live.version, live.previous_version) == (2, 1)
    assert world.ledger.live() == live
    assert lock(world) is None
    stages = {each.package.version: each.stages[-1] for each in world.registry.registered.values()}
    assert stages == {1: ("Archived", "Replaced"), 2: ("Production", "Live")}
    assert world.ledger.get_run(a_drop(2).run_id).status is RunStatus.SUCCEEDED


def test_does_not_promote_what_was_rejected_during_the_deployment():
    world = approved()
    plan = world.plan(1, run_id=a_drop(1).run_id)
    world.apply(world.review(1, "Rejected"), now=at(55))
    with pytest.raises(NotApproved):
        world.promote(plan)
    assert world.ledger.live() is None


def test_a_deployment_that_lost_the_endpoint_promotes_nothing():
    world = approved()
    plan = world.plan(1, now=at(50))
    world.plan(1, deployment="d2", now=at(99999))
    with pytest.raises(LostLock):
        world.promote(plan)
    assert world.ledger.live() is None


def test_a_package_that_was_deleted_does_not_undo_a_promotion():
    world = World()
    world.make_live(1)
    approved(2, 100, world)
    del world.registry.registered[world.ledger.get_model(1).model_package_arn]
    plan = world.plan(2, now=at(150))
    promotion = promote_model(plan, ledger=world.ledger, registry=world.registry, now=at(160))
    assert promotion.live.version == 2
    assert "does not exist" in promotion.not_marked[0]
    assert lock(world) is None


def test_a_repair_keeps_what_there_is_to_go_back_to():
    world = three_live()
    plan = world.plan(3, "repair", now=at(500))
    assert world.promote(plan, now=at(501)).previous_version == 2


def test_settling_deletes_what_the_failed_deployment_made():
    world = World()
    live = world.make_live(1)
    approved(2, 100, world)
    plan = world.plan(2, now=at(150))
    world.endpoints.configs[plan.endpoint_config] = world.endpoints.models[plan.model_name] = at(151)
    world.settle(plan)
    assert list(world.endpoints.configs) == list(world.endpoints.models) == [live.endpoint_config]
    assert lock(world) is None


@pytest.mark.parametrize("serves", ["the endpoint", "the ledger"])
def test_settling_leaves_what_serves(serves):
    world = approved()
    plan = world.plan(1)
    world.endpoints.deploy(ENDPOINT, plan.endpoint_config, at(55))
    if serves == "the ledger":
        world.promote(plan)
        world.endpoints.endpoints.clear()
    world.settle(plan)
    assert plan.endpoint_config in world.endpoints.configs
    assert plan.model_name in world.endpoints.models


def test_settling_deletes_what_an_endpoint_has_that_is_being_deleted():
    world = World()
    live = world.make_live(1)
    approved(2, 100, world)
    plan = world.plan(2, now=at(150))
    world.endpoints.configs[plan.endpoint_config] = world.endpoints.models[plan.model_name] = at(151)
    world.endpoints.endpoints[ENDPOINT] = EndpointState("Deleting", plan.endpoint_config)
    world.settle(plan)
    assert list(world.endpoints.configs) == list(world.endpoints.models) == [live.endpoint_config]
    assert lock(world) is None


def test_settling_late_does_not_free_another_deployments_lock():
    world = approved()
    plan = world.plan(1, now=at(50))
    world.plan(1, deployment="d2", now=at(99999))
    world.settle(plan)
    assert lock(world).holder == execution("d2", DEPLOYMENT)


# --- retiring -----------------------------------------------------------------------------------


def test_retires_only_what_nothing_uses():
    world = World()
    names = [world.make_live(number, seconds=100.0 * number).endpoint_config for number in range(1, 6)]
    serving = names[1]
    world.endpoints.deploy(ENDPOINT, serving, at(250))
    world.endpoints.configs["another-v1-1"] = at(0)
    deleted = world.retire(at(9000))
    retired = [world.ledger.get_model(version).model_data_url for version in (1, 3)]
    assert set(deleted) == {names[0], names[2], *retired}
    assert set(world.endpoints.configs) == {names[1], names[3], names[4], "another-v1-1"}
    assert set(world.endpoints.models) == {names[1], names[3], names[4]}
    assert world.ledger.get_model(1).retired_at is not None
    assert world.ledger.get_model(2).retired_at is None
    archives = [uri.split("/")[3] for uri in world.store.objects if uri.endswith("model.tar.gz")]
    assert (archives.count("models"), archives.count("registered")) == (5, 3)
    assert lock(world) is None
    assert world.retire(at(9001)) == []


def copies_of(world):
    return {uri.split("/")[4] for uri in world.store.objects if uri.startswith("s3://data/registered/")}


def test_retires_the_copies_of_versions_that_were_turned_down_after_the_grace_period():
    world = three_live()
    _, version = world.candidate(4, seconds=400)
    world.apply(world.review(version, "Rejected"), now=at(410))
    waiting, _ = world.candidate(5, seconds=500)
    run_ids = {number: world.ledger.get_model(number).run_id for number in (1, 2, 3, 4, 5)}
    world.retire(at(420), grace=timedelta(hours=1))
    assert copies_of(world) == set(run_ids.values())
    world.retire(at(9000), grace=timedelta(hours=1))
    assert copies_of(world) == {run_ids[2], run_ids[3], waiting.run.run_id}


def test_retires_the_copy_of_a_run_that_registered_nothing():
    world = World()
    world.make_live(1)
    overtaken = world.admit(a_drop(2), now=at(100))
    world.admit(a_drop(3), now=at(100 + LEASE_S + 1))
    with pytest.raises(LostLock):
        world.register(overtaken, now=at(100 + LEASE_S + 2))
    assert overtaken.run.run_id in copies_of(world)
    world.ledger.release(LockName.TRAINING, token=world.ledger.held_lease(LockName.TRAINING).token)
    world.retire(at(9000))
    assert overtaken.run.run_id in copies_of(world)
    world.close(overtaken, RunStatus.FAILED, error={"class": "LostLock", "message": ""}, now=at(9001))
    world.retire(at(9002))
    assert overtaken.run.run_id not in copies_of(world)


def test_keeps_every_copy_while_a_run_trains_beside_its_champion():
    world = three_live()
    world.admit(a_drop(4), now=at(8000))
    assert not [each for each in world.retire(at(9000), grace=timedelta(0)) if each.startswith("s3://")]
    assert len(copies_of(world)) == 3


def test_no_deployment_begins_during_a_retirement():
    world = three_live()
    seen = []

    class Deleting(type(world.endpoints)):
        def delete_model(self, name):
            seen.append(lock(world).subject)
            super().delete_model(name)

    world.endpoints.__class__ = Deleting
    world.retire(at(9000), grace=timedelta(0))
    assert seen == ["retirement"]
    assert lock(world) is None


def test_a_lock_that_a_promotion_left_is_freed_with_the_retirement():
    """The promotion happened, and its function died before it freed the lock."""
    world = three_live()
    world.plan(3, "repair", deployment="d9", now=at(500))
    assert lock(world) is not None
    world.retire(at(501), deployment="d9")
    assert lock(world) is None


def test_executions_of_earlier_releases_settle_without_saying_how_they_ended():
    world = approved()
    plan = world.plan(1, now=at(50))
    assert told_failure({"plan": asdict(plan)}, plan, model_name="model") == {
        "notification": None,
        "error": None,
    }


def test_retires_nothing_within_the_grace_period():
    world = three_live()
    assert world.retire(at(400), grace=timedelta(hours=1)) == []


def test_retires_nothing_before_anything_is_live_or_during_a_deployment():
    assert World().retire(at(9000)) == []
    world = three_live()
    world.plan(3, "repair", now=at(500))
    assert world.retire(at(9000)) == []


def test_a_retired_version_can_be_rolled_back_to():
    world = three_live()
    world.retire(at(9000), grace=timedelta(0))
    world.apply(world.review(3, "Rejected"), now=at(9001))
    world.apply(world.review(2, "Rejected"), now=at(9002))
    plan = world.plan(None, "rejection", now=at(9003))
    assert plan.version == 1
    assert world.store.sha256(plan.model_data_url) == world.ledger.get_model(1).model_sha256
    world.promote(plan, now=at(9004))
    assert world.ledger.get_model(1).retired_at is None
    assert world.ledger.get_model(1).approval is Approval.APPROVED


# --- an endpoint with instances -------------------------------------------------------------------


def test_an_endpoint_stays_as_it_is_scaled_until_it_is_moved_and_begins_with_what_it_had():
    world = approved()
    world.mode = "real-time"
    first = world.plan(1)
    assert (first.instances, first.is_asynchronous) == (1, False)
    world.endpoints.deploy(ENDPOINT, first.endpoint_config, at(51))
    world.promote(first)
    world.endpoints.endpoints[ENDPOINT] = EndpointState("InService", first.endpoint_config, "real-time", 3)
    world.scaling.scale(ENDPOINT, 1, 4)
    assert world.plan(1, deployment="again").already_live
    assert world.scaling.bounds(ENDPOINT) == (1, 4)
    world.settle(world.plan(1, deployment="again"))
    assert world.plan(1, "repair", deployment="repair").instances == 3
    assert world.scaling.bounds(ENDPOINT) is None


def test_what_goes_live_says_how_it_is_asked():
    world = approved()
    world.mode = "asynchronous"
    plan = world.plan(1)
    world.endpoints.deploy(ENDPOINT, plan.endpoint_config, at(51))
    assert world.promote(plan).is_asynchronous
    assert world.ledger.live().is_asynchronous
    assert "becomes asynchronous" in plan.announcements["gap"]["subject"]


def test_an_asynchronous_endpoint_is_tested_by_what_it_puts_into_the_bucket():
    world = approved()
    world.mode = "asynchronous"
    plan = world.plan(1)
    document = {"instances": [{"a": 1}], "predictions": [LABEL]}
    world.store.objects[plan.smoke_uri] = json.dumps(document).encode()
    with pytest.raises(ServiceUnavailable):
        world.smoke(plan)
    ((question, identifier),) = world.endpoints.asked
    assert json.loads(world.store.objects[question]) == {"instances": [{"a": 1}]}
    world.store.objects[f"s3://data/out/{identifier}"] = json.dumps({"predictions": [LABEL]}).encode()
    assert world.smoke(plan) == 1
    del world.store.objects[f"s3://data/out/{identifier}"]
    world.store.objects[f"s3://data/failed/{identifier}"] = b"boom"
    with pytest.raises(SmokeTestFailed, match="boom"):
        world.smoke(plan)
