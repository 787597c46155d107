"""Model cards: drafted from a run's documents, and every number of theirs; signed by who decides."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.card_numbers import check_numbers
from tests.fakes.records import at
from tests.fakes.world import World
from tests.published_card_schema import problems
from tests.unit.judging.test_judge_model_use_case import (
    CHAMPION,
    THRESHOLD,
    model_archive,
    request,
    store_with,
)
from tests.unit.preparation.dropping import prepare

from dropforge.application.judge_model import judge_model
from dropforge.application.run_documents import content_from
from dropforge.domain.errors import ServiceRejected
from dropforge.domain.gate import GatePolicy
from dropforge.domain.model_card import (
    DOCUMENTS,
    INTENDED_USES,
    MAXIMUM_CHARACTERS,
    Identity,
    RunDocuments,
    draft,
    to_text,
    with_decision,
    with_peoples,
)
from dropforge.domain.ports import ObjectRef
from dropforge.domain.run_manifest import ManifestObject, RunManifest
from dropforge_local.sagemaker.model_card import check_card

IDENTITY = Identity("model", "run", "s3://data/registered/run/model.tar.gz", "image:1.9-0")
SCORED = {"scored": True, "reason": None, "sha256": "c" * 64}
UNSCORED = {"scored": False, "reason": "it was pickled by scikit-learn 1.2.", "sha256": "c" * 64}
IMPORTANCE = {"x": {"mean": 0.25, "deviation": 0.0125}, "g": {"mean": -0.001, "deviation": 0.5}}


def rows(count: int, **columns: Any) -> bytes:
    """A table with two features, a group, a day and a target that the first feature tells of."""
    lines = ["x,g,day,y"]
    for n in range(count):
        day = f"2026-{n // 28 % 12 + 1:02}-{n % 28 + 1:02}"
        lines.append(f"{n * 7919 % 1000 / 1000},{n % 40},{day},{'no' if n % 3 else 'yes'}")
    return "\n".join([*lines, ""]).encode()


def documents(
    output: dict[str, Any] | None = None, policy: GatePolicy | None = None, **preparing: Any
) -> RunDocuments:
    """What a run really leaves: prepared and judged by the product's own code."""
    data = prepare(("a.csv", rows(400)), ("b.csv", rows(100)), run_id="run", **preparing)
    output = {"importance": IMPORTANCE, "metric": "auc", "importance_split": "test", **(output or {})}
    judged = store_with(**output)
    champion = CHAMPION if output.get("champion") else None
    judge_model(request(policy, run_id="run", champion=champion), judged)
    keys = ("incoming/a.csv", "incoming/b.csv")
    manifest = RunManifest("run", "drop", tuple(ManifestObject(ObjectRef("data", key)) for key in keys))
    data.store.objects["s3://data/runs/run/manifest.json"] = manifest.to_json()
    data.store.objects |= {uri: judged.read(uri) for uri in judged.objects if "/models/run/" in uri}
    return RunDocuments.read("data", "run", content_from(data.store))


CASES: dict[str, dict[str, Any]] = {
    "first model": {},
    "beside a champion": {"output": {"champion": SCORED}},
    "champion that can't be scored": {"output": {"champion": UNSCORED}},
    "split by group": {"group": "g"},
    "split by time": {"time": "day"},
    "another positive class": {"policy": GatePolicy(positive_class="no", metric="f1", threshold="0.5")},
    "hardly better than chance": {"output": {"strength": 0.1}},
    "labels by a threshold": {"output": {"model": model_archive(THRESHOLD), "decision": THRESHOLD}},
}


@cache
def a_run(case: str) -> RunDocuments:
    return documents(**CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_a_card_follows_the_published_schema_and_every_number_is_the_runs(case: str) -> None:
    content = draft(IDENTITY, a_run(case))
    assert problems(content) == []
    check_numbers(content, IDENTITY, a_run(case))
    text = to_text(content)
    assert len(text) <= MAXIMUM_CHARACTERS
    assert len(text.splitlines()) == 1
    assert json.loads(text) == content
    assert "missing_documents" not in content["additional_information"]["custom_details"]


def test_a_number_that_is_not_the_runs_would_be_found() -> None:
    content = draft(IDENTITY, a_run("first model"))
    metric = content["evaluation_details"][0]["metric_groups"][0]["metric_data"][0]
    metric["value"] += 1e-9
    with pytest.raises(AssertionError, match="is in no document"):
        check_numbers(content, IDENTITY, a_run("first model"))
    metric["value"] -= 1e-9
    metric["notes"] = "95 % interval 0.1234 to 0.5678."
    with pytest.raises(AssertionError, match="is in no document"):
        check_numbers(draft(IDENTITY, a_run("first model")) | {"x": metric}, IDENTITY, a_run("first model"))


def group_of(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    (evaluation,) = content["evaluation_details"]
    return next((each["metric_data"] for each in evaluation["metric_groups"] if each["name"] == name), [])


def test_the_card_says_what_the_model_is_for_and_what_it_was_measured_at() -> None:
    found = a_run("beside a champion")
    content = draft(IDENTITY, found)
    assert content["intended_uses"]["purpose_of_model"] == (
        "Predicts 'y' (binary) from 3 columns. Its classes: no, yes."
    )
    first, *_ = group_of(content, "Metrics")
    assert (first["name"], first["value"]) == ("auc", found.judgement["metric"]["value"])
    assert first["notes"].startswith("95 % interval")
    gain = next(each for each in group_of(content, "Beside the live model") if each["name"] == "gain in auc")
    assert gain["value"] == found.judgement["difference"]["value"]
    (importance,) = group_of(content, "Importance")
    assert importance["x_axis_name"] == ["x", "g"]
    assert content["training_details"]["objective_function"]["function"] == {
        "function": "Maximize",
        "facet": "auc",
    }
    counted = {
        each["name"]: each["value"]
        for each in content["training_details"]["training_job_details"]["training_metrics"]
    }
    assert counted["rows kept"] == found.report["rows"]["kept"]
    assert counted["rows of the split test"] == found.report["splits"]["test"]["rows"]
    assert content["training_details"]["training_job_details"]["training_datasets"] == [
        "s3://data/incoming/a.csv", "s3://data/incoming/b.csv",
    ]  # fmt: skip


def test_the_card_says_how_rows_were_split() -> None:
    by_time = draft(IDENTITY, a_run("split by time"))["additional_information"]["custom_details"]
    boundaries = a_run("split by time").report["split"]["boundaries"]
    assert by_time["time_column"] == "day"
    assert by_time["test_from"] == boundaries["test_from"]
    by_group = draft(IDENTITY, a_run("split by group"))["additional_information"]["custom_details"]
    assert (by_group["group_column"], by_group["groups"]) == ("g", "40")


def test_the_card_says_in_words_how_rows_were_split_and_what_the_model_is_called() -> None:
    for case, said in {
        "split by time": "by time: the newest rows by 'day' test, those before them validate",
        "split by group": "by groups: all rows of one 'g' lie in the same split",
    }.items():
        content = draft(IDENTITY, a_run(case))
        assert content["additional_information"]["custom_details"]["split"] == said
        assert f"Rows are split {said}." in content["training_details"]["training_observations"]
        assert content["model_overview"]["model_creator"] == "dropforge"
        assert content["additional_information"]["custom_details"]["model_name"] == "model"


def test_the_card_says_what_a_threshold_serves_and_costs_and_on_what_it_was_chosen() -> None:
    found = a_run("labels by a threshold")
    content = draft(IDENTITY, found)
    costs = {each["name"]: each for each in group_of(content, "Decision threshold")}
    chosen = found.judgement["decision"]["chosen"]["cost_per_1000"]
    assert costs["cost, with the threshold"]["value"] == chosen["value"]
    assert "95 % interval" in costs["cost, with the threshold"]["notes"]
    assert "saved of the likelier class's cost" in costs
    details = content["additional_information"]["custom_details"]
    assert details["threshold_serves"] == "a false alarm costs 1, a miss 7"
    (evaluation,) = content["evaluation_details"]
    assert "That was chosen on 1,800 training and validation rows" in evaluation["evaluation_observation"]
    assert "rarer class" not in json.dumps(content)


def test_few_rows_of_a_class_are_among_the_limits_of_a_threshold() -> None:
    found = a_run("labels by a threshold")
    decision = found.judgement["decision"]
    few = {**decision, "chosen_on": {**decision["chosen_on"], "positives": 12}}
    content = draft(IDENTITY, replace(found, judgement={**found.judgement, "decision": few}))
    limits = content["intended_uses"]["factors_affecting_model_efficiency"]
    assert "chosen on 12 rows of the rarer class" in limits


def test_the_card_says_how_guarded_slices_are_held_and_why_one_has_no_value() -> None:
    slices = [
        {"slice": "sex", "label": "f", "rows": 80, "value": 0.9, "low": 0.8, "high": 0.95, "guarded": True,
         "verdict": "holds", "shortage": None, "untold": None},
        {"slice": "sex", "label": "x", "rows": 40, "value": None, "low": None, "high": None, "guarded": True,
         "verdict": "cant_say", "shortage": "it takes 10", "untold": "no row is 'yes'"},
    ]  # fmt: skip
    judgement = {"metric": {"name": "auc", "value": 0.9}, "verdict": "accepted", "slices": slices}
    content = draft(IDENTITY, RunDocuments(judgement=judgement))
    held, untold = (each["notes"] for each in group_of(content, "Slices"))
    assert held == "80 rows. 95 % interval 0.8 to 0.95. Beside the live model: not worse beyond chance."
    assert untold == (
        "40 rows. It is undefined: no row is 'yes'. Beside the live model: can't say: it takes 10."
    )


def test_the_card_says_how_guarded_slices_are_treated() -> None:
    columns = [
        {
            "name": "sex",
            "disparity": {"candidate": {"equalized_odds_difference": 0.125, "equalized_odds_ratio": None}},
        },
        {"name": "age", "disparity": {"candidate": None}},
    ]
    judgement = {
        "metric": {"name": "auc", "value": 0.9},
        "verdict": "accepted",
        "guarded": {"columns": columns},
    }
    content = draft(IDENTITY, RunDocuments(judgement=judgement))
    assert problems(content) == []
    assert content["additional_information"]["custom_details"]["guarded_columns"] == "sex, age"
    assert [(each["name"], each["value"]) for each in group_of(content, "Disparity of guarded slices")] == [
        ("equalized_odds_difference by sex", 0.125),
        ("equalized_odds_ratio by sex", "–"),
    ]


def test_the_card_warns_of_what_could_not_be_said() -> None:
    champion = draft(IDENTITY, a_run("champion that can't be scored"))["additional_information"]
    assert "pickled by scikit-learn 1.2" in champion["caveats_and_recommendations"]
    positive = draft(IDENTITY, a_run("another positive class"))["additional_information"]["custom_details"]
    assert positive["positive_class"] == "no"
    assert group_of(draft(IDENTITY, a_run("another positive class")), "Metrics")[0]["name"] == "f1 of 'no'"


@pytest.mark.parametrize("gone", DOCUMENTS)
def test_a_run_of_an_earlier_release_gets_what_can_be_told_and_the_rest_named(gone: str) -> None:
    found = replace(a_run("first model"), **{gone: None})
    content = draft(IDENTITY, found)
    assert problems(content) == []
    check_numbers(content, IDENTITY, found)
    additional = content["additional_information"]
    assert additional["custom_details"]["missing_documents"] == DOCUMENTS[gone][1]
    assert DOCUMENTS[gone][1] in additional["caveats_and_recommendations"]


def test_a_judgement_from_before_every_metric_was_compared_has_the_deciding_one() -> None:
    judgement = {key: value for key, value in a_run("first model").judgement.items() if key != "compared"}
    content = draft(IDENTITY, RunDocuments(judgement=judgement))
    assert [each["name"] for each in group_of(content, "Metrics")] == ["auc"]
    assert problems(content) == []


texts = st.text(max_size=1500)
names = st.text(min_size=1, max_size=300)
count = st.integers(min_value=0, max_value=10**9)
value = st.floats(allow_nan=False, allow_infinity=False) | st.none()
interval = st.fixed_dictionaries({"value": value, "low": value, "high": value})


@pytest.mark.thorough
@settings(max_examples=60)
@given(
    columns=st.lists(names, max_size=400),
    slices=st.lists(st.tuples(names, names, count, interval), max_size=80),
    features=st.lists(names, max_size=100),
    labels=st.lists(names, max_size=30),
    hyperparameters=st.dictionaries(names, texts, max_size=120),
    remarks=st.lists(texts, max_size=20),
    objects=st.lists(names, max_size=40),
    reason=texts,
)
def test_any_run_has_a_card_that_is_allowed(
    columns: list[str],
    slices: list[Any],
    features: list[str],
    labels: list[str],
    hyperparameters: dict[str, str],
    remarks: list[str],
    objects: list[str],
    reason: str,
) -> None:
    found = RunDocuments(
        judgement={
            "verdict": "undecided",
            "metric": {"name": "auc", "value": 0.5, "low": None, "high": None, "threshold": 0.7},
            "reasons": [{"code": "a", "message": reason}],
            "slices": [{"slice": s, "label": label, "rows": n, **of} for s, label, n, of in slices],
        },
        diagnostics={
            "importance": {"metric": "auc", "features": [{"name": n, "mean": 0.1} for n in features]},
            "candidate": {"confusion": {"labels": labels, "counts": [[1] * len(labels)] * len(labels)}},
        },
        lineage={"hyperparameters": hyperparameters, "libraries": dict.fromkeys(columns, "1")},
        report={"rows": {"read": 1}, "remarks": remarks, "split": {"by": columns}, "leaks": []},
        contract={"target": reason, "task": "binary", "classes": labels,
                  "columns": [{"name": n, "role": "feature", "privacy": "hash"} for n in columns]},
        manifest={"objects": [{"bucket": "data", "key": n} for n in objects]},
    )  # fmt: skip
    content = draft(IDENTITY, found)
    assert problems(content) == []
    text = to_text(with_decision(content, decision="approved", by=reason, at="now", reason=reason * 3))
    assert len(text) <= MAXIMUM_CHARACTERS
    assert not re.search("[\n\r\x85\u2028\u2029]", text)
    assert problems(json.loads(text)) == []
    check_card({"ModelCardContent": text})


def test_a_card_that_is_too_long_goes_without_its_charts_and_says_so() -> None:
    wide = "ß" * 255
    slices = [{"slice": wide, "label": wide, "rows": 10, "value": 0.5} for _ in range(40)]
    found = RunDocuments(
        judgement={"metric": {"name": "auc", "value": 0.5}, "slices": slices, "verdict": "accepted"},
        lineage={"hyperparameters": {f"{n}{wide}": wide for n in range(200)},
                 "libraries": {wide: "1"}},
        diagnostics={"importance": {"metric": "auc", "split": "test",
                                    "features": [{"name": wide, "mean": 0.1}] * 100}},
    )  # fmt: skip
    content = draft(IDENTITY, found)
    padded = content | {"business_details": {"business_problem": "x" * 2048, "line_of_business": "x" * 2048}}
    padded["additional_information"]["custom_details"] |= {f"detail_{n}": "x" * 1024 for n in range(40)}
    text = to_text(padded)
    assert len(text) <= MAXIMUM_CHARACTERS
    assert "Hyper parameters: left out, as the card would be too long. Slices: left out" in text


# --- in the registry ----------------------------------------------------------------------------


def registered(world: World, version: int = 1) -> Any:
    return world.registry.registered[world.ledger.get_model(version).model_package_arn]


def card(world: World, version: int = 1) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(registered(world, version).package.card)
    return content


def details(world: World, version: int = 1) -> dict[str, str]:
    found: dict[str, str] = card(world, version)["additional_information"]["custom_details"]
    return found


def test_a_registered_version_has_a_card_that_waits_for_its_review() -> None:
    world = World()
    admission, _ = world.candidate(1)
    assert registered(world).card_status == "PendingReview"
    assert details(world)["run_id"] == admission.run.run_id
    assert problems(card(world)) == []
    assert card(world)["model_overview"]["model_artifact"] == [world.ledger.get_model(1).model_data_url]


def test_the_package_and_its_card_name_the_commit_that_was_deployed() -> None:
    world = World(source_commit=f"{'a' * 40}-dirty")
    world.candidate(1)
    assert details(world)["source_commit"] == f"{'a' * 40}-dirty"
    assert registered(world).request.metadata["source_commit"] == f"{'a' * 40}-dirty"


def test_whoever_decides_is_on_the_card_with_the_reason() -> None:
    world = World()
    world.candidate(1)
    world.approve(1, now=at(30), reason="looks right")
    decided = {name: each for name, each in details(world).items() if name.startswith("deci")}
    assert decided == {
        "decision": "approved",
        "decided_by": "ann",
        "decided_at": world.ledger.get_model(1).decided_at,
        "decision_reason": "looks right",
    }
    assert registered(world).card_status == "Approved"
    world.apply(world.review(1, "Rejected", reason="second thoughts"), now=at(40))
    assert details(world)["decision"] == "rejected"
    assert details(world)["decision_reason"] == "second thoughts"
    assert registered(world).card_status == "Draft"


def test_what_people_wrote_stays_and_goes_along_to_the_next_version() -> None:
    world = World()
    world.candidate(1)
    edited = card(world)
    edited["business_details"] = {"business_problem": "Who is ill?"}
    edited["intended_uses"] |= {"risk_rating": "High", "intended_uses": "Triage by doctors."}
    arn = registered(world).package.arn
    world.registry.set_card(arn, json.dumps(edited), "PendingReview")
    world.registry.registered.clear()
    world = World()
    live = world.make_live(1)
    edited_live = card(world) | {"business_details": {"business_problem": "Who is ill?"}}
    edited_live["intended_uses"] |= {"risk_rating": "High", "intended_uses": "Triage by doctors."}
    world.registry.set_card(live.model_package_arn, json.dumps(edited_live), "Approved")
    _, version = world.candidate(2, seconds=100)
    following = card(world, version)
    assert following["business_details"] == {"business_problem": "Who is ill?"}
    assert following["intended_uses"]["risk_rating"] == "High"
    assert following["intended_uses"]["intended_uses"] == "Triage by doctors."
    assert following["additional_information"]["custom_details"]["run_id"] != details(world)["run_id"]
    world.approve(version, now=at(200))
    assert card(world, version)["business_details"] == {"business_problem": "Who is ill?"}


def test_what_a_card_says_itself_is_not_taken_over() -> None:
    mine = {"intended_uses": {"intended_uses": "Mine.", "risk_rating": "Unknown"}}
    theirs = {
        "intended_uses": {"intended_uses": INTENDED_USES, "risk_rating": "Low"},
        "training_details": {"x": 1},
    }
    assert with_peoples(mine, theirs) == {"intended_uses": {"intended_uses": "Mine.", "risk_rating": "Low"}}


def test_a_card_that_people_changed_is_not_written_again_by_a_retry() -> None:
    world = World()
    admission, _ = world.candidate(1)
    changed = card(world) | {"business_details": {"line_of_business": "care"}}
    world.registry.set_card(registered(world).package.arn, json.dumps(changed), "PendingReview")
    world.register(admission, now=at(99))
    assert card(world) == changed


def test_a_card_that_sagemaker_refuses_holds_no_version_up() -> None:
    world = World()

    def refuse(*_: Any) -> None:
        raise ServiceRejected("ValidationException: not this card")

    world.registry.set_card = refuse
    admission, version = world.candidate(1)
    registration = world.register(admission)
    assert world.ledger.get_model(version) is not None
    assert any("SageMaker refused the model card" in note for note in registration.notes)
    assert world.approve(version)["action"] in ("resolved", "deployment")


def test_an_archived_card_stays_as_it_is_and_the_decision_counts() -> None:
    world = World()
    world.candidate(1)
    registered(world).card_status = "Archived"
    before = card(world)
    world.approve(1)
    assert card(world) == before
    assert world.ledger.get_model(1).decided_by == "ann"


def test_a_package_of_a_release_without_cards_is_decided_on_as_before() -> None:
    world = World()
    world.candidate(1)
    found = registered(world)
    found.package = replace(found.package, card=None)
    world.approve(1)
    assert registered(world).package.card is None
    assert str(world.ledger.get_model(1).approval) == "approved"
