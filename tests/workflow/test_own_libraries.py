"""A library that the image lacks, and a pipeline of one's own, from files to predictions of a live model."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dropforge.domain.records import RunStatus
from tests import documented
from tests.workflow.stack import Stack
from tests.workflow.test_batch_scoring import Batches, as_predicted
from tests.workflow.test_main_job import rows_of

OPTUNA = "optuna==5.0.0"
ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "xgboost"
CATBOOST = ROOT / "examples" / "catboost"
WHEEL = "xgboost_cpu-3.4.1-"


def with_example(template: Path, example: Path = EXAMPLE) -> Path:
    """Put the example into a copy of the product, as its first lines say; returns the template."""
    training = template.parent / "training"
    for name in ("model.py", "requirements.txt"):
        shutil.copyfile(example / name, training / name)
    subprocess.run([sys.executable, str(training / "wheels.py"), "lock"], check=True)
    return template


def test_an_example_with_a_library_of_its_own_goes_live_scores_batches_and_is_compared_with(
    deploy_sample: Callable[..., Stack], product_copy: Path, samples: Mapping[str, Path]
) -> None:
    stack = deploy_sample("breast-cancer", template=with_example(product_copy), TrainingData="new-drops")
    live = stack.train_and_deploy(samples["breast-cancer"])

    # In the code channel, in the archive that was approved, and in the lineage.
    job = stack.sagemaker.describe_training_job(
        TrainingJobName=stack.sagemaker.list_training_jobs(NameContains=stack.model_name)[
            "TrainingJobSummaries"
        ][0]["TrainingJobName"]
    )
    (code,) = [each for each in job["InputDataConfig"] if each["ChannelName"] == "code"]
    prefix = code["DataSource"]["S3DataSource"]["S3Uri"].split("/", 3)[3]
    listed = stack.s3.list_objects_v2(Bucket=stack.bucket, Prefix=f"{prefix}wheels/")["Contents"]
    assert [Path(each["Key"]).name.startswith(WHEEL) for each in listed] == [True]
    with tarfile.open(fileobj=io.BytesIO(stack.read(live.model_data_url))) as archive:
        assert [name for name in archive.getnames() if WHEEL in name] == [
            f"wheels/{Path(listed[0]['Key']).name}"
        ]
    lineage = stack.read_json(f"s3://{stack.bucket}/models/{live.run_id}/lineage.json")
    assert (lineage["estimator"], lineage["libraries"]["xgboost-cpu"]) == ("XGBClassifier", "3.4.1")

    # The endpoint and a batch answer the same.
    rows = rows_of(samples["breast-cancer"], without=("diagnosis", "id"))
    answers = stack.predict(rows)
    assert {each["label"] for each in answers} == {"benign", "malignant"}
    batches = Batches(stack)
    assert batches.score("all.csv", samples["breast-cancer"].read_bytes())["status"] == "SUCCEEDED"
    scored: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(batches.read("all.csv").decode())))
    assert [as_predicted(row) for row in scored] == answers

    # The next run scores the live model on its hold-out, with the live model's own library.
    stack.start(trigger="manual", hyperparameters={"max_depth": 2})
    model = stack.wait_for_version(2)
    assert stack.read_json(model.judgement_uri)["champion"]["scored"]
    assert json.dumps(answers) == json.dumps(stack.predict(rows))


PHRASES = (
    "broken on arrival, want my money",
    "works well",
    "broken twice",
    "lovely",
    "money back now",
)


def tickets(rows: int = 500) -> bytes:
    """Tickets whose urgency follows their words; some lack them."""
    lines = ["id,channel,age_days,subject,urgent"]
    for number in range(rows):
        phrase = PHRASES[number % len(PHRASES)]
        urgent = "yes" if "broken" in phrase or "money" in phrase else "no"
        subject = "" if number % 41 == 0 else f'"{phrase}, case {number}"'
        lines.append(f"t{number},{('mail', 'phone')[number % 2]},{number % 30},{subject},{urgent}")
    return "\n".join(lines).encode()


def test_a_pipeline_on_the_columns_themselves_goes_live_scores_batches_and_is_replayed(
    deploy: Callable[..., Stack], product_copy: Path
) -> None:
    (example,) = [each.text for each in documented.blocks() if each.info == "python columns"]
    (product_copy.parent / "training" / "model.py").write_text(example)
    stack = deploy(product_copy, TargetColumn="urgent", IdColumn="id")
    live = stack.train_and_deploy(tickets(), "tickets.csv")

    report = stack.read_json(f"s3://{stack.bucket}/models/{live.run_id}/judgement.json")
    instances = [
        {"channel": "mail", "age_days": 3, "subject": "broken, and I want my money"},
        {"channel": "fax", "age_days": 99, "subject": "lovely, works well"},
        {"channel": "phone", "age_days": 3, "subject": None},
    ]
    answers = stack.predict(instances)
    assert [each["label"] for each in answers[:2]] == ["yes", "no"]
    batches = Batches(stack)
    lines = ["id,channel,age_days,subject"]
    lines += [
        f'b{n},{i["channel"]},{i["age_days"] or ""},"{i["subject"] or ""}"' for n, i in enumerate(instances)
    ]
    assert batches.score("new.csv", "\n".join(lines).encode())["status"] == "SUCCEEDED"
    scored: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(batches.read("new.csv").decode())))
    assert [as_predicted(row) for row in scored] == answers

    stack.start(trigger="replay", run_id=live.run_id)
    replay = stack.wait_for_run(RunStatus.REPLAYED, number=2)
    again = stack.read_json(f"s3://{stack.bucket}/models/{replay.run_id}/judgement.json")
    assert again["model_digest"] == report["model_digest"]

    # Another model, on the matrix, is compared with it.
    shutil.copyfile(ROOT / "training" / "model.py", product_copy.parent / "training" / "model.py")
    stack.update(product_copy)
    stack.start(trigger="manual")
    model = stack.wait_for_version(2)
    assert stack.read_json(model.judgement_uri)["champion"]["scored"]


def test_catboost_on_the_columns_themselves_goes_live_and_is_replayed_to_the_byte(
    deploy: Callable[..., Stack], product_copy: Path
) -> None:
    stack = deploy(with_example(product_copy, CATBOOST), TargetColumn="urgent", IdColumn="id")
    live = stack.train_and_deploy(tickets(), "tickets.csv")
    lineage = stack.read_json(f"s3://{stack.bucket}/models/{live.run_id}/lineage.json")
    assert lineage["libraries"]["catboost"] == "1.2.10"

    known, *odd = stack.predict(
        [
            {"channel": "mail", "age_days": 3, "subject": "works well"},
            {"channel": "fax", "age_days": 3, "subject": "works well"},
            {"channel": "fax", "age_days": 3, "subject": None},
        ]
    )
    assert known["label"] in ("yes", "no")
    assert all(0 <= each["probabilities"]["yes"] <= 1 for each in odd), "unseen and missing ones are scored"

    stack.start(trigger="replay", run_id=live.run_id)
    replay = stack.wait_for_run(RunStatus.REPLAYED, number=2)
    again = stack.read_json(f"s3://{stack.bucket}/models/{replay.run_id}/lineage.json")
    assert again["model_digest"] == lineage["model_digest"]


def test_a_search_of_hyperparameters_is_told_and_replayed_and_carries_nothing_with_the_model(
    deploy_sample: Callable[..., Stack], product_copy: Path, samples: Mapping[str, Path]
) -> None:
    training = product_copy.parent / "training"
    (training / "requirements.txt").write_text(f"{OPTUNA}\n")
    subprocess.run([sys.executable, str(training / "wheels.py"), "lock"], check=True)
    stack = deploy_sample("wine", template=product_copy, TuningTrials="3")
    live = stack.train_and_deploy(samples["wine"])

    def document(run_id: str, name: str) -> Any:
        return stack.read_json(f"s3://{stack.bucket}/models/{run_id}/{name}.json")

    lineage, drawn = document(live.run_id, "lineage"), document(live.run_id, "diagnostics")["tuning"]
    assert (lineage["tuning"]["asked"], lineage["tuning"]["done"]) == (3, 3)
    assert len(drawn["trials"]) == 3
    assert lineage["hyperparameters"]["tuning_trials"] == "3"
    with tarfile.open(fileobj=io.BytesIO(stack.read(live.model_data_url))) as archive:
        assert [name for name in archive.getnames() if "optuna" in name] == []

    stack.update(product_copy, TuningTrials="0")
    stack.start(trigger="replay", run_id=live.run_id)
    replay = stack.wait_for_run(RunStatus.REPLAYED, number=2)
    again = document(replay.run_id, "lineage")
    assert again["tuning"] == {**lineage["tuning"], "asked": 3}
    assert again["model_digest"] == lineage["model_digest"]
