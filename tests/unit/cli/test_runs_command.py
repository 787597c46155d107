from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.cli_stack import CONTRACT

from dropforge.domain.contract import Column
from dropforge.domain.records import RunStatus
from dropforge.domain.slice_words import WHAT_HELPS
from dropforge.domain.triggers import run_id_of_execution
from dropforge_ops.actions.replays import DATA
from dropforge_ops.render import DISPARITY

REPORT = {
    "rows": {"read": 100, "rejected": 3, "duplicates": 2, "kept": 95},
    "splits": {"train": {"rows": 76}, "validation": {"rows": 9}, "test": {"rows": 10}},
    "notes": ["column 'constant' is ignored: it has one value."],
    "rejects": [
        {"rule": "no number", "column": "radius", "count": 3, "examples": [{"row": 7, "value": "abc"}]}
    ],
}
LINEAGE = {
    "estimator": "linear",
    "fitted": {"train": 8000, "validation": 1000},
    "seed": 1,
    "model_digest": "cd" * 32,
    "hyperparameters": {"metric": "auto", "champion_sha256": "ab"},
    "libraries": {"numpy": "2.5.1"},
    "run": {"data_version": "d1", "contract_hash": "c1", "code_sha256": "s1"},
}

ROOT = Path(__file__).resolve().parents[3]


def test_lists_runs_newest_first_with_what_became_of_them(stack, on_stack):
    stack.trained(1, "first-run")
    run = stack.open_run("second-run")
    error = {"class": "EmptyData", "message": "incoming/empty.csv has no rows."}
    stack.end_run(run, RunStatus.FAILED, "FAILED", error=error)
    outcome = on_stack("runs")
    assert outcome.exit_code == 0
    second, first = [line for line in outcome.stdout.splitlines() if "-run" in line]
    assert "second-run" in second
    assert "EmptyData: incoming/empty.csv has no rows." in second
    assert "awaiting approval" in first
    assert "auc 0.9931" in first


def test_json_lists_as_many_as_asked_for(stack, on_stack):
    for number in (1, 2, 3):
        stack.end_run(stack.open_run(f"run-{number}"), RunStatus.SUCCEEDED)
    document = on_stack("runs", "--limit", "2", "--json").json
    assert len(document["runs"]) == 2
    assert document["runs"][0]["status"] == "succeeded"
    assert document["runs"][0]["seconds"] >= 0


def test_says_how_to_begin_where_nothing_ran(on_stack):
    outcome = on_stack("runs")
    assert outcome.exit_code == 0
    assert "dropforge drop FILE" in outcome.stdout
    assert on_stack("runs", "latest").exit_code == 3


def test_shows_one_run_with_states_rows_verdict_and_lineage(stack, on_stack):
    stack.trained(1, "the-run")
    stack.write("runs/the-run/report.json", REPORT)
    stack.write("models/the-run/lineage.json", LINEAGE)
    outcome = on_stack("runs", "the-run")
    assert outcome.exit_code == 0
    for shown in (
        "PrepareData",
        "so far",
        "'abc' in row 7",
        "no number",
        "0.9931 [0.98, 1]",
        "auc 0.9931 meets the threshold 0.7.",
        "numpy 2.5.1",
        "9,000: 8,000 of train, 1,000 of validation",
        "it has one value",
        "dropforge approve 1 --wait",
    ):
        assert shown in outcome.stdout


def test_shows_the_slices_of_a_run_the_guarded_ones_with_their_verdicts(stack, on_stack):
    stack.trained(1, "the-run")
    judged = json.loads(stack.write_judgement("the-run", champion=True))
    difference = {"value": -0.2, "low": -0.3, "high": -0.1}
    seen = {
        "slice": "bed",
        "label": "x",
        "rows": 40,
        "value": 0.9,
        "low": 0.8,
        "high": 1.0,
        "difference": None,
    }
    held = {"slice": "ward", "label": "a", "rows": 1200, "value": 0.7, "low": 0.65, "high": 0.75}
    judged["slices"] = [{**held, "difference": difference, "guarded": True, "verdict": "worse"}, seen]
    column = {"name": "ward", "disparity": {"candidate": dict.fromkeys(DISPARITY, 0.25)}}
    judged["guarded"] = {"columns": [column]}
    stack.write("models/the-run/judgement.json", judged)
    printed = on_stack("runs", "the-run").stdout
    assert re.search(r"ward = a +1,200 +0.7 \[0.65, 0.75\] +-0.2 \[-0.3, -0.1\] +worse", printed)
    assert re.search(r"bed = x +40 +0.9 \[0.8, 1\]", printed)
    assert "disparity by ward, candidate: parity difference 0.25, parity ratio 0.25" in printed
    assert WHAT_HELPS not in printed


def test_says_why_a_slice_has_no_figure_or_no_verdict_and_what_would_help(stack, on_stack):
    stack.trained(1, "the-run")
    judged = json.loads(stack.write_judgement("the-run", champion=True))
    gone = {"value": None, "low": None, "high": None}
    takes = "it takes 10 rows of each class, and of 'yes' there"
    judged["slices"] = [
        {**gone, "slice": "ward", "label": "a", "rows": 40, "difference": gone, "guarded": True,
         "verdict": "cant_say", "untold": "no row is 'yes'", "shortage": f"{takes} is none"},
        {"slice": "ward", "label": "b", "rows": 60, "value": 0.7, "low": 0.65, "high": 0.75,
         "difference": gone, "guarded": True, "verdict": "cant_say", "untold": None,
         "shortage": f"{takes} are 7"},
    ]  # fmt: skip
    judged["guarded"] = {"columns": [{"name": "ward", "disparity": {"candidate": dict.fromkeys(DISPARITY)}}]}
    stack.write("models/the-run/judgement.json", judged)
    printed = " ".join(on_stack("runs", "the-run").stdout.split())
    assert "undefined: no row is 'yes'" in printed
    assert "is none" not in printed, "why there is no figure says as much"
    assert "0.7 [0.65, 0.75]" in printed
    assert "are 7" in printed
    assert WHAT_HELPS in printed
    assert "disparity by ward, candidate: it takes two slices with enough rows" in printed


def test_tells_from_which_probability_on_a_row_gets_the_label_and_what_errors_cost(stack, on_stack):
    stack.trained(1, "the-run")
    judgement = on_stack("runs", "the-run", "--json").json["judgement"]
    span = {"value": 12.5, "low": 8.0, "high": 20.0}
    chosen = {"cost_per_1000": span, "precision": span, "recall": span}
    chosen_on = {"rows": 455, "positives": 170, "source": "validation"}
    decision = {"positive_class": "malignant", "threshold": 0.0196, "chosen": chosen, "argmax": chosen}
    decision["chosen_on"] = chosen_on
    stack.write("models/the-run/judgement.json", {**judgement, "decision": decision})
    shown = " ".join(on_stack("runs", "the-run").stdout.split())
    assert "A row is called 'malignant' from a probability of 0.0196 on." in shown
    assert "That was chosen on 455 validation rows; 170 of them are 'malignant'." in shown
    assert "Errors cost 12.5 [8, 20] per 1,000 rows of the hold-out." in shown
    shares = {**chosen, "cost_per_1000": None, "recall": {"value": 0.5, "low": None, "high": None}}
    stack.write("models/the-run/judgement.json", {**judgement, "decision": {**decision, "chosen": shares}})
    shown = " ".join(on_stack("runs", "the-run").stdout.split())
    assert "its precision is 12.5 [8, 20] and its recall 0.5." in shown


def test_json_of_one_run_holds_everything_that_is_known(stack, on_stack):
    stack.trained(1, "the-run")
    stack.write("runs/the-run/report.json", REPORT)
    document = on_stack("runs", "latest", "--json").json
    assert document["run"]["run_id"] == "the-run"
    assert document["report"] == REPORT
    assert document["judgement"]["metric"]["value"] == 0.9931
    assert document["lineage"] is None
    states = {each["state"]: each for each in document["states"]}
    assert states["TrainModel"]["seconds"] == 0.25
    assert states["AwaitApproval"]["left_at"] is None


def test_tells_what_became_of_the_data_of_a_run_beside_the_live_version(stack, on_stack):
    stack.lives(1)
    stack.write("runs/cancer-1/report.json", REPORT)
    stack.trained(2, "the-run")
    columns = (*CONTRACT.columns, Column("comment", "text", "ignored", nullable=True, note="free text"))
    wider = replace(CONTRACT, columns=columns)
    stack.write("runs/the-run/contract/schema.json", json.loads(wider.to_json()))
    stack.write("runs/the-run/report.json", {**REPORT, "missing": {"site": {"?": 12}}})
    shown = on_stack("runs", "the-run").stdout
    for text in ("What became of your data", "'?' 12", "free text", "'comment' is new: not used, texts."):
        assert text in shown
    for document in (on_stack("runs", "the-run", "--json").json, on_stack("models", "2", "--json").json):
        assert document["data"]["compared_with"] == 1
        assert document["data"]["differences"] == ["'comment' is new: not used, texts."]
        assert document["data"]["columns"][-1]["remark"] == "free text"
    assert "What became of your data" in on_stack("models", "2").stdout


def test_says_what_to_do_about_an_error_from_aws(stack, on_stack):
    run = stack.open_run("the-run")
    stack.end_run(
        run, RunStatus.FAILED, "FAILED", error={"class": "TrainingFailed", "message": "AlgorithmError"}
    )
    outcome = on_stack("runs", "the-run")
    assert outcome.exit_code == 0
    assert "Mend training/model.py or the data" in outcome.stdout


def training_job(
    name: str, *, spot: bool, ran_s: int | None, billed_s: int | None, **more: Any
) -> dict[str, Any]:
    """A job as SageMaker describes it."""
    ended = {} if ran_s is None else {"TrainingTimeInSeconds": ran_s, "BillableTimeInSeconds": billed_s}
    return {
        "TrainingJobName": name,
        "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}",
        "TrainingJobStatus": "Completed",
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "EnableManagedSpotTraining": spot,
        "SecondaryStatusTransitions": [],
        **ended,
        **more,
    }


def test_tells_what_spot_capacity_saved_and_what_went_on_on_demand(stack, on_stack):
    stack.trained(1, "the-run")
    taken = [{"Status": each} for each in ("Training", "Interrupted", "Training", "Interrupted")]
    stack.sagemaker.training_jobs = [
        training_job("model-the-run-a0", spot=True, ran_s=500, billed_s=100, TrainingJobStatus="Stopped",
                     SecondaryStatusTransitions=taken),
        training_job("model-the-run-a1", spot=False, ran_s=3600, billed_s=3600),
        training_job("another-model-the-run-a0", spot=False, ran_s=1, billed_s=1),
    ]  # fmt: skip
    shown = on_stack("runs", "the-run").stdout
    assert (
        "ml.m5.large on Spot capacity, interrupted 2 times, stopped, ran 8 min 20 s, billed 1 min 40 s, "
        "80 % saved, 0.0032 USD at list price" in shown
    )
    assert "ml.m5.large, ran 1 h 00 min, 0.1150 USD at list price" in shown
    first, second = on_stack("runs", "the-run", "--json").json["training_jobs"]
    assert (first["saved"], first["ran_s"], first["billed_s"]) == (0.8, 500, 100)
    assert second["saved"] is None
    assert second["usd"] == pytest.approx(0.115)


def test_a_job_of_several_instances_costs_each_and_one_without_a_known_price_says_nothing(stack, on_stack):
    stack.trained(1, "the-run")
    two, unknown = (
        {"InstanceType": kind, "InstanceCount": count}
        for kind, count in (("ml.m5.large", 2), ("ml.new.huge", 1))
    )
    stack.sagemaker.training_jobs = [
        training_job("model-the-run-a0", spot=False, ran_s=1800, billed_s=1800, ResourceConfig=two),
        training_job("model-the-run-a1", spot=True, ran_s=60, billed_s=30, ResourceConfig=unknown),
        training_job("model-the-run-a2", spot=True, ran_s=None, billed_s=None,
                     TrainingJobStatus="InProgress"),
    ]  # fmt: skip
    shown = on_stack("runs", "the-run").stdout
    assert "2 × ml.m5.large, ran 30 min 00 s, 0.1150 USD at list price" in shown
    assert "ml.new.huge on Spot capacity, ran 1 min 00 s, billed 30.00 s, 50 % saved\n" in shown
    assert "ml.m5.large on Spot capacity, in progress" in shown


def test_a_run_is_shown_to_those_who_may_not_see_training_jobs(stack, on_stack):
    stack.trained(1, "the-run")
    stack.sagemaker.hides_training_jobs = True
    assert on_stack("runs", "the-run").exit_code == 0
    assert on_stack("runs", "the-run", "--json").json["training_jobs"] is None


def test_shows_a_run_whose_execution_is_forgotten(stack, on_stack):
    run = stack.open_run("the-run")
    stack.end_run(run, RunStatus.SUCCEEDED)
    del stack.sfn.executions[run.execution_arn]
    outcome = on_stack("runs", "the-run")
    assert outcome.exit_code == 0
    assert "forgotten by Step Functions" in outcome.stdout


def test_names_runs_with_a_similar_id(stack, on_stack):
    stack.open_run("cancer-0123456789ab")
    outcome = on_stack("runs", "cancer")
    assert outcome.exit_code == 3
    assert "Did you mean cancer-0123456789ab?" in outcome.stderr


def test_refuses_to_follow_into_one_json_document(on_stack):
    outcome = on_stack("runs", "--follow", "--json")
    assert outcome.exit_code == 2
    assert outcome.json["error"]["exit_code"] == 2


def test_follows_one_run_until_it_waits_for_approval(stack, on_stack):
    stack.trained(1, "the-run")
    outcome = on_stack("runs", "the-run", "--follow")
    assert outcome.exit_code == 0
    assert "TrainModel" in outcome.stderr


def test_starts_a_run_by_hand(stack, on_stack):
    def admit(arn):
        name = arn.rsplit(":", 1)[1]
        run = stack.open_run(run_id_of_execution("manual", name), trigger="manual", execution_arn=arn)
        stack.register(run, 1)

    stack.sfn.on_start = admit
    outcome = on_stack("runs", "start", "--wait", "--json")
    assert outcome.exit_code == 0
    assert outcome.json["outcome"] == "admitted"
    assert outcome.json["run"]["status"] == "awaiting_approval"
    [started] = [json.loads(each["input"]) for each in stack.sfn.executions.values()]
    assert started["trigger"] == "manual"
    assert started["requested_by"].endswith("@localhost")


def test_hyperparameters_of_a_run_by_hand_are_sent_with_their_types(stack, on_stack):
    def refuse(arn):
        message = "hyperparameters: 'max_itre' is none of max_iter. Did you mean 'max_iter'?."
        admission = {"admission": {"outcome": "invalid-hyperparameters", "message": message}}
        stack.sfn.end(arn, output=admission)

    stack.sfn.on_start = refuse
    settings = (
        "--set",
        "max_itre=20",
        "--set",
        "estimator=boosted",
        "--set",
        'tag="7"',
        "--set",
        "fast=true",
    )
    outcome = on_stack("runs", "start", *settings)
    assert outcome.exit_code == 2
    assert "Did you mean 'max_iter'?" in outcome.stderr
    assert "Nothing was started." in outcome.stderr
    [started] = [json.loads(each["input"]) for each in stack.sfn.executions.values()]
    assert started["hyperparameters"] == {"max_itre": 20, "estimator": "boosted", "tag": "7", "fast": True}


@pytest.mark.parametrize("wrong", [("--set", "rate"), ("--set", "=1"), ("--set", "a=1", "--set", "a=2")])
def test_a_malformed_hyperparameter_starts_nothing(stack, on_stack, wrong):
    assert on_stack("runs", "start", *wrong).exit_code == 2
    assert not stack.sfn.executions


def test_a_run_by_hand_that_fails_ends_with_its_error_and_what_is_known(stack, on_stack):
    def fail(arn):
        name = arn.rsplit(":", 1)[1]
        run = stack.open_run(run_id_of_execution("manual", name), trigger="manual", execution_arn=arn)
        stack.end_run(run, RunStatus.FAILED, "FAILED", error={"class": "TooFewRows", "message": "1 row."})

    stack.sfn.on_start = fail
    outcome = on_stack("runs", "start", "--wait", "--json")
    assert outcome.exit_code == 1
    assert "TooFewRows: 1 row." in outcome.stderr
    assert outcome.json["run"]["status"] == "failed"
    assert outcome.json["error"]["class"] == "OperationFailed"


@pytest.mark.parametrize(("outcome", "exit_code"), [("nothing-new", 3), ("coalesced", 0)])
def test_says_when_a_run_by_hand_is_not_admitted(stack, on_stack, outcome, exit_code):
    admission = {"admission": {"outcome": outcome, "message": "There is nothing to train on."}}
    stack.sfn.on_start = lambda arn: stack.sfn.end(arn, output=admission)
    ended = on_stack("runs", "start")
    assert ended.exit_code == exit_code
    assert "There is nothing to train on." in ended.stdout + ended.stderr


def test_fails_when_the_execution_started_by_hand_breaks(stack, on_stack):
    stack.sfn.on_start = lambda arn: stack.sfn.end(
        arn, "FAILED", error="AccessDenied", cause="no dynamodb:PutItem"
    )
    outcome = on_stack("runs", "start")
    assert outcome.exit_code == 1
    assert "AccessDenied: no dynamodb:PutItem" in outcome.stderr


def replays(stack, digest, lineage=LINEAGE):
    def replay(arn):
        run_id = run_id_of_execution("replay", arn.rsplit(":", 1)[1])
        run = stack.open_run(run_id, trigger="replay", execution_arn=arn, replay_of="the-run")
        stack.write_judgement(run_id, digest=digest)
        stack.write(f"models/{run_id}/lineage.json", lineage)
        stack.end_run(run, RunStatus.REPLAYED)

    stack.trained(1, "the-run")
    stack.write("models/the-run/lineage.json", LINEAGE)
    stack.sfn.on_start = replay


def test_a_replay_that_gives_the_same_model_ends_well(stack, on_stack):
    replays(stack, "cd" * 32)
    outcome = on_stack("runs", "replay", "the-run")
    assert outcome.exit_code == 0
    assert "gave the same model" in outcome.stdout
    started = [json.loads(each["input"]) for each in stack.sfn.executions.values()][-1]
    assert (started["trigger"], started["run_id"]) == ("replay", "the-run")


def test_a_replay_that_gives_another_model_fails_and_says_what_differs(stack, on_stack):
    replays(
        stack, "ef" * 32, {**LINEAGE, "libraries": {"numpy": "2.6.0"}, "hyperparameters": {"metric": "auto"}}
    )
    outcome = on_stack("runs", "replay", "the-run", "--json")
    assert outcome.exit_code == 1
    assert outcome.json["same"] is False
    assert outcome.json["differences"] == ["numpy (library)"]


def test_a_replay_of_the_same_ingredients_that_differs_is_called_nondeterministic(stack, on_stack):
    replays(stack, "ef" * 32)
    assert "training isn't deterministic" in on_stack("runs", "replay", "the-run").stderr


def test_refuses_to_replay_a_run_without_a_model(stack, on_stack):
    run = stack.open_run("the-run")
    stack.end_run(run, RunStatus.FAILED, "FAILED")
    outcome = on_stack("runs", "replay", "the-run")
    assert outcome.exit_code == 2
    assert "has no judgement" in outcome.stderr


def test_a_replay_needs_a_run(on_stack):
    assert on_stack("runs", "replay").exit_code == 2
    assert on_stack("runs", "replay", "nothing").exit_code == 3


def test_a_run_by_hand_says_on_what(stack, on_stack):
    stack.sfn.on_start = lambda arn: stack.sfn.end(
        arn, output={"admission": {"outcome": "coalesced", "message": "Another run is training."}}
    )
    assert on_stack("runs", "start", "--data", "last-run").exit_code == 0
    [started] = [json.loads(each["input"]) for each in stack.sfn.executions.values()]
    assert started["data"] == "last-run"
    assert on_stack("runs", "start", "--data", "some").exit_code == 2


def test_help_and_how_to_say_the_same_of_what_a_run_trains_on():
    text = " ".join((ROOT / "docs" / "how-to" / "retraining.md").read_text().split())
    for name, meaning in DATA.items():
        assert f"`--data {name}` | {meaning}" in text


def test_a_drop_that_was_set_aside_is_listed_with_the_command_that_brings_it_back(stack, on_stack):
    stack.set_aside("feb.csv")
    listed = on_stack("drops", "--state", "set-aside")
    assert "MissingTarget: There is no column 'y'." in listed.stdout
    assert "dropforge drops retry" in listed.stdout
    assert on_stack("drops", "--json").json["counts"]["set_aside"] == 1
    stack.sfn.on_start = lambda arn: stack.sfn.end(
        arn, output={"admission": {"outcome": "coalesced", "message": "Another run is training."}}
    )
    assert "tried with the run that follows" in on_stack("drops", "retry", "feb.csv").stdout
    started = [json.loads(each["input"]) for each in stack.sfn.executions.values()][-1]
    assert (started["data"], started["bring_back"]) == ("new", ["incoming/feb.csv"])


def test_what_can_not_be_brought_back_is_said_before_anything_starts(stack, on_stack):
    assert "'dropforge drops' lists" in on_stack("drops", "retry", "none.csv").stderr
    assert "a name that begins with '_'" in on_stack("drops", "retry", "feb/_SUCCESS").stderr
