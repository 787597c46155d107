from __future__ import annotations

import hashlib
import io
import json
import tarfile

import numpy as np
import pytest
from tests.in_memory_store import InMemoryObjectStore

from dropforge.application.judge_model import JudgeRequest, judge_model
from dropforge.domain import manifest
from dropforge.domain.drift.column_effects import pack_columns
from dropforge.domain.drift.estimation import Calibration
from dropforge.domain.errors import (
    InvalidEvent,
    InvalidProfile,
    InvalidSettings,
    InvalidTrainingOutput,
    NotComparable,
)
from dropforge.domain.gate import GatePolicy
from dropforge.domain.slicing import Slicing

JOB = "s3://data/models/run-1/job-1/output"
CHAMPION = {"model_package_arn": "arn:aws:sagemaker:eu-west-1:1:model-package/m/3", "model_sha256": "c" * 64}


def tarball(files):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def model_archive(threshold=None, **changes):
    files = {"model.joblib": b"trees", "contract.json": b"{}", "code/inference.py": b"pass"}
    if threshold is not None:
        files["threshold.json"] = json.dumps(threshold).encode()
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    content = {
        "format": 1,
        "task": "binary",
        "estimator": "linear",
        "files": digests,
        "model_digest": manifest.model_digest(digests),
        "contract_hash": "hash",
        "libraries": {"numpy": "2"},
        "hyperparameters": {"seed": "0"},
        "seed": 0,
    }
    return tarball({**files, "model.json": json.dumps({**content, **changes}).encode()}), content


def guarded():
    """The report's entry of a guarded column, of which the hold-out's rows have three values in turn."""
    slicing = Slicing.learn("ward", "category", np.array(["a", "b", "c"], dtype=object))
    return {"name": "ward", "labels": list(slicing.labels), "slicing": slicing.to_dict()}


def output_archive(digest, champion=None, strength=2.0, drop=(), more=None, **report):
    n = 200
    rng = np.random.default_rng(0)
    target = rng.permutation(np.arange(n) % 2)

    def scores(of):
        positive = 1 / (1 + np.exp(-(of * (target - 0.5) + np.random.default_rng(1).normal(size=n))))
        return np.stack([1 - positive, positive], axis=1)

    arrays = {"row_key": np.arange(n, dtype=np.uint64), "target": target, "candidate": scores(strength)}
    arrays["slice_codes"] = np.repeat(
        np.arange(n, dtype=np.int16)[:, None] % 3, len(report.get("slices", ())), 1
    )
    if champion and champion["scored"]:
        arrays["champion"] = scores(2.0)
    npz = io.BytesIO()
    np.savez(npz, **arrays)
    content = {
        "task": "binary",
        "classes": ["no", "yes"],
        "slices": [],
        "champion": champion,
        "model_digest": digest,
        "contract_hash": "hash",
        "lineage": {"run_id": "run-1", "data_version": "v"},
        **report,
    }
    smoke = {"format": 1, "instances": [{"x": 1.0}], "predictions": [{"label": "no"}]}
    files = {
        "holdout.npz": npz.getvalue(),
        "training_report.json": json.dumps(content).encode(),
        "smoke.json": json.dumps(smoke).encode(),
        **(more or {}),
    }
    return tarball({name: data for name, data in files.items() if name not in drop})


def store_with(model=None, **output):
    archive, content = model_archive() if model is None else model
    packed = output_archive(output.pop("digest", content["model_digest"]), **output)
    return InMemoryObjectStore({f"{JOB}/model.tar.gz": archive, f"{JOB}/output.tar.gz": packed})


def request(policy=None, **changes):
    raw = {
        "run_id": "run-1",
        "model_data_url": f"{JOB}/model.tar.gz",
        "champion": None,
        "lineage": {"drops": ["a.csv"]},
    }
    return JudgeRequest.of({**raw, **changes}, "data", policy or GatePolicy())


def test_accepted_candidate_gets_its_files_and_a_small_answer():
    store = store_with()
    answer = judge_model(request(), store)
    assert (answer["verdict"], answer["accepted"]) == ("accepted", True)
    assert set(answer["metric"]) == {"name", "value", "low", "high", "threshold", "positive_class"}
    assert answer["champion"] is None
    assert [reason["code"] for reason in answer["reasons"]] == ["ThresholdMet", "FirstModel"]
    for name in ("evaluation", "diagnostics", "judgement", "smoke", "lineage"):
        assert answer[f"{name}_uri"] == f"s3://data/models/run-1/{name}.json"
        json.loads(store.read(answer[f"{name}_uri"]))
    assert answer["judgement_sha256"] == hashlib.sha256(store.read(answer["judgement_uri"])).hexdigest()
    judgement = json.loads(store.read(answer["judgement_uri"]))
    assert judgement["diagnostics_sha256"] == store.sha256(answer["diagnostics_uri"])
    assert answer["model_sha256"] == store.sha256(f"{JOB}/model.tar.gz")
    assert answer["model_data_url"] == f"{JOB}/model.tar.gz"
    assert len(json.dumps(answer)) < 8000


def test_evaluation_holds_every_metric_with_its_bootstrap_deviation():
    store = store_with()
    judge_model(request(), store)
    section = json.loads(store.read("s3://data/models/run-1/evaluation.json"))[
        "binary_classification_metrics"
    ]
    assert section["auc"]["value"] > 0.8
    assert 0 < section["auc"]["standard_deviation"] < 0.1


def test_lineage_ties_run_training_and_model_together():
    store = store_with()
    answer = judge_model(request(), store)
    lineage = json.loads(store.read(answer["lineage_uri"]))
    assert lineage["run"] == {"drops": ["a.csv"]}
    assert lineage["training"]["data_version"] == "v"
    assert lineage["model_sha256"] == answer["model_sha256"]
    assert lineage["libraries"] == {"numpy": "2"}


def test_lineage_says_how_many_trials_a_search_made_and_diagnostics_each_of_them():
    search = {
        "metric": "auc",
        "greater_is_better": True,
        "asked": 20,
        "done": 7,
        "stopped_by": "minutes",
        "default": 0.8,
        "best": 3,
        "parameters": {"max_iter": 5},
        "importance": {},
        "trials": [{"number": 3, "value": 0.9}],
    }
    store = store_with(tuning=search)
    answer = judge_model(request(), store)
    lineage = json.loads(store.read(answer["lineage_uri"]))
    assert lineage["tuning"] == {
        name: search[name] for name in ("asked", "done", "stopped_by", "best", "parameters")
    }
    assert json.loads(store.read(answer["diagnostics_uri"]))["tuning"] == search
    store = store_with()
    answer = judge_model(request(), store)
    assert "tuning" not in json.loads(store.read(answer["lineage_uri"]))


def test_a_rerun_writes_the_same_bytes():
    store = store_with()
    first = judge_model(request(), store)
    before = dict(store.objects)
    assert judge_model(request(), store) == first
    assert store.objects == before


def test_a_rejected_candidate_is_a_result():
    answer = judge_model(request(policy=GatePolicy(threshold="0.999")), store_with())
    assert (answer["verdict"], answer["accepted"]) == ("rejected", False)
    assert [reason["code"] for reason in answer["reasons"]] == ["ThresholdMissed"]


def test_candidate_worse_than_champion_is_rejected_with_both_numbers():
    champion = {"scored": True, "reason": None, "sha256": "c" * 64}
    answer = judge_model(request(champion=CHAMPION), store_with(champion=champion, strength=1.0))
    assert answer["accepted"] is False
    assert answer["champion"]["model_package_arn"] == CHAMPION["model_package_arn"]
    assert answer["champion"]["metric"]["value"] > answer["metric"]["value"]
    assert answer["champion"]["difference"]["high"] < 0


def test_champion_that_could_not_be_scored_is_told_with_the_reason():
    champion = {"scored": False, "reason": "SchemaChanged: other classes", "sha256": "c" * 64}
    answer = judge_model(request(champion=CHAMPION), store_with(champion=champion))
    assert (answer["verdict"], answer["accepted"]) == ("undecided", False)
    assert answer["champion"]["scored"] is False
    assert answer["champion"]["reason"] == "SchemaChanged: other classes"
    assert [reason["code"] for reason in answer["reasons"]] == ["ChampionNotScored", "ThresholdMet"]


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (CHAMPION, None),
        (CHAMPION, {"scored": True, "reason": None, "sha256": "d" * 64}),
        (None, {"scored": True, "reason": None, "sha256": "c" * 64}),
    ],
)
def test_refuses_a_job_that_was_given_another_champion(wanted, given):
    with pytest.raises(NotComparable, match="train again"):
        judge_model(request(champion=wanted), store_with(champion=given))


@pytest.mark.parametrize("name", ["holdout.npz", "training_report.json", "smoke.json"])
def test_refuses_an_output_archive_that_lacks_a_file(name):
    with pytest.raises(InvalidTrainingOutput, match=name):
        judge_model(request(), store_with(drop=(name,)))


def test_refuses_archives_of_different_models():
    with pytest.raises(InvalidTrainingOutput, match="model_digest"):
        judge_model(request(), store_with(digest="0" * 64))


def test_refuses_a_model_whose_files_are_not_the_listed_ones():
    archive, content = model_archive(files={"model.joblib": "0" * 64}, model_digest="x")
    with pytest.raises(InvalidTrainingOutput, match="inconsistent"):
        judge_model(request(), store_with(model=(archive, content)))
    other = {"model.joblib": "0" * 64}
    archive, content = model_archive(files=other, model_digest=manifest.model_digest(other))
    with pytest.raises(InvalidTrainingOutput, match=r"model.joblib has another digest"):
        judge_model(request(), store_with(model=(archive, content)))


def test_refuses_archives_that_are_damaged_or_leave_their_folder():
    store = store_with()
    store.objects[f"{JOB}/model.tar.gz"] = store.objects[f"{JOB}/model.tar.gz"][:-30]
    with pytest.raises(InvalidTrainingOutput, match="damaged"):
        judge_model(request(), store)
    store = store_with()
    store.objects[f"{JOB}/output.tar.gz"] = tarball({"../holdout.npz": b"x"})
    with pytest.raises(InvalidTrainingOutput, match="leads out"):
        judge_model(request(), store)


def test_refuses_a_report_that_contradicts_the_holdout():
    champion = {"scored": False, "reason": "x", "sha256": "c" * 64}
    store = store_with(champion={**champion, "scored": True})
    plain = store_with(champion=champion)
    # The report of the one with the hold-out of the other.
    files = {}
    for source, names in ((store, {"holdout.npz"}), (plain, {"training_report.json", "smoke.json"})):
        with tarfile.open(fileobj=io.BytesIO(source.objects[f"{JOB}/output.tar.gz"])) as tar:
            files |= {m.name: tar.extractfile(m).read() for m in tar if m.name in names}
    store.objects[f"{JOB}/output.tar.gz"] = tarball(files)
    with pytest.raises(InvalidTrainingOutput, match="disagree"):
        judge_model(request(champion=CHAMPION), store)


def test_request_names_every_missing_field():
    with pytest.raises(InvalidEvent, match=r"run_id, model_data_url, champion, lineage"):
        JudgeRequest.of({"champion": "arn", "lineage": 3}, "data", GatePolicy())


def test_request_with_a_metric_of_another_task_is_refused():
    with pytest.raises(InvalidSettings, match="r2"):
        judge_model(request(policy=GatePolicy(metric="r2")), store_with())


def test_a_champion_that_could_not_be_scored_is_told_with_what_it_was_judged_by_then():
    entry = {"scored": False, "reason": "ImportError: no such module", "sha256": "c" * 64, "by": None,
             "libraries": {"scikit-learn": "1.8.0"}}  # fmt: skip
    recorded = {"name": "auc", "value": 0.998, "low": 0.99, "high": 1.0}
    store = store_with(champion=entry)
    answer = judge_model(request(champion={**CHAMPION, "metric": recorded}), store)
    assert answer["verdict"] == "undecided"
    said = answer["reasons"][0]["message"]
    assert "ImportError: no such module. On its own hold-out it had auc 0.998 [0.99, 1]" in said
    assert "A candidate that is approved, with a reason, is what the next one is compared with" in said
    assert answer["champion"]["recorded"] == recorded
    assert answer["champion"]["libraries"] == {"scikit-learn": "1.8.0"}


def test_guarded_slices_are_judged_told_and_kept_for_the_watch():
    store = store_with(champion={"scored": True, "sha256": "c" * 64}, strength=2.2, slices=[guarded()])
    answer = judge_model(request(champion=CHAMPION), store)
    judged = json.loads(store.read(answer["judgement_uri"]))
    assert [(each["label"], each["rows"], each["verdict"]) for each in judged["slices"]] == [
        ("a", 67, "holds"),
        ("b", 67, "holds"),
        ("c", 66, "holds"),
    ]
    assert set(judged["guarded"]["columns"][0]["disparity"]) == {"candidate", "champion"}
    [line] = answer["slices_told"]
    assert line.startswith("Guarded slices: auc from ")
    assert line.endswith("3 compared with the live model, none worse beyond chance.")
    kept = json.loads(store.read("s3://data/models/run-1/guarded_slices.json"))
    assert Slicing.from_dict(kept["columns"][0]).codes(["b", None]).tolist() == [1, 4]
    assert [each["value"] for each in kept["columns"][0]["slices"]] == [e["value"] for e in judged["slices"]]


def test_what_estimates_are_made_by_is_kept_beside_the_judgement():
    store = store_with()
    judge_model(request(), store)
    kept = Calibration.from_json(store.read("s3://data/models/run-1/estimation.json"))
    assert (kept.task, kept.refused, kept.rows) == ("binary", None, 200)
    columns = pack_columns(np.array([1, 300]), {"x": np.array([1.0, 2.0])})
    with pytest.raises(InvalidTrainingOutput, match="doesn't fit"):
        judge_model(request(), store_with(more={"holdout_columns.npz": columns}))


def test_without_guarded_columns_nothing_is_kept_or_told_of_them():
    store = store_with()
    answer = judge_model(request(), store)
    assert answer["slices_told"] == []
    assert not store.exists("s3://data/models/run-1/guarded_slices.json")


def test_the_positive_class_of_the_stack_is_judged_and_told():
    store = store_with()
    policy = GatePolicy(metric="recall", threshold="0.5", positive_class="no")
    answer = judge_model(request(policy), store)
    assert answer["metric"]["positive_class"] == "no"
    judged = json.loads(store.read(answer["judgement_uri"]))
    assert "recall of 'no'" in judged["reasons"][0]["message"]
    curves = json.loads(store.read(answer["diagnostics_uri"]))
    assert curves["candidate"]["roc"][0]["class"] == "no"
    # What is watched of the predictions keeps the model's own order of the classes.
    plain = store_with()
    judge_model(request(), plain)
    profile = "s3://data/models/run-1/prediction_profile.json"
    assert store.read(profile) == plain.read(profile)


def test_what_the_job_says_of_phases_is_kept_beside_the_judgement():
    phases = json.dumps({"format": 1, "dates_only": False, "days": {}, "columns": []}).encode()
    store = store_with(more={"training_phases.json": phases})
    judge_model(request(), store)
    assert store.read("s3://data/models/run-1/training_phases.json") == phases
    plain = store_with()
    judge_model(request(), plain)
    assert not plain.exists("s3://data/models/run-1/training_phases.json")
    with pytest.raises(InvalidProfile, match="train again"):
        judge_model(request(), store_with(more={"training_phases.json": b"{}"}))


THRESHOLD = {
    "format": 1,
    "positive_class": "yes",
    "threshold": 0.125,
    "goal": {"false_positive_cost": 1.0, "false_negative_cost": 7.0},
    "chosen_on": {
        "rows": 1800, "positives": 900, "source": "out-of-fold",
        "precision": 0.6, "recall": 0.95, "cost_per_1000": 400.0, "reached": True,
    },
}  # fmt: skip


def test_a_decision_threshold_is_judged_by_its_labels_and_told_with_what_it_costs():
    store = store_with(model_archive(THRESHOLD), decision=THRESHOLD)
    answer = judge_model(request(), store)
    judged = json.loads(store.read(answer["judgement_uri"]))
    found = judged["decision"]
    assert answer["decision"] == found
    assert {name: found[name] for name in THRESHOLD} == THRESHOLD
    assert found["chosen"]["cost_per_1000"]["value"] < found["argmax"]["cost_per_1000"]["value"]
    assert found["saving_per_1000"]["low"] > 0
    assert judged["metrics"]["recall"] == found["chosen"]["recall"]["value"]
    assert judged["metrics"]["recall"] > found["argmax"]["recall"]["value"]
    evaluated = json.loads(store.read(answer["evaluation_uri"]))["binary_classification_metrics"]
    (_, false), (missed, hits) = (row.values() for row in evaluated["confusion_matrix"].values())
    assert hits / (hits + missed) == judged["metrics"]["recall"]
    assert 5 * (false + 7 * missed) == pytest.approx(found["chosen"]["cost_per_1000"]["value"])
    # Whichever class is looked for, and whatever class the stack names meanwhile, the labels are the same.
    other = judge_model(
        request(GatePolicy(positive_class="no")), store_with(model_archive(THRESHOLD), decision=THRESHOLD)
    )
    assert other["metrics"]["accuracy"] == answer["metrics"]["accuracy"]
    assert other["decision"] == found


def test_a_model_without_a_threshold_is_judged_as_ever():
    answer = judge_model(request(), store_with())
    assert "decision" not in answer


def test_a_threshold_that_is_not_the_archives_is_refused():
    for model, told in ((None, THRESHOLD), (THRESHOLD, None), (THRESHOLD, {**THRESHOLD, "threshold": 0.5})):
        report = {} if told is None else {"decision": told}
        with pytest.raises(InvalidTrainingOutput, match="decision threshold in training_report"):
            judge_model(request(), store_with(model_archive(model), **report))


def test_a_champion_is_compared_by_the_labels_that_it_gives():
    champion = {"scored": True, "reason": None, "sha256": "c" * 64}
    plain = judge_model(request(champion=CHAMPION), store_with(champion=champion))
    with_threshold = store_with(champion={**champion, "decision": THRESHOLD})
    answer = judge_model(
        request(GatePolicy(metric="recall", threshold="0.5"), champion=CHAMPION), with_threshold
    )
    assert plain["champion"]["difference"]["value"] == 0
    assert answer["champion"]["difference"]["value"] < 0, "the candidate calls fewer"
    assert "decision" not in answer
