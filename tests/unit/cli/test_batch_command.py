from __future__ import annotations

import json

import pytest
from cli_services import complete, scores_batches


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "patients.csv"
    path.write_text("id,radius\n1,2\n")
    return path


@pytest.fixture
def live(stack):
    complete(stack).lives(1)
    return stack


def test_follows_the_scoring_and_fetches_result_manifest_and_rejected_rows(live, on_stack, file, tmp_path):
    scores_batches(live, rejected=1)
    outcome = on_stack("batch", file, "--to", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.stderr
    assert "1 of 2 rows scored by version 1" in outcome.stdout
    assert "1 times rule 'type' in column 'radius'" in outcome.stdout
    assert "TransformBatch" in outcome.stderr
    names = ["patients.csv", "patients.csv.manifest.json", "patients.csv.rejected.jsonl"]
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == names
    assert (tmp_path / "out" / "patients.csv").read_text() == "id,label\n1,benign\n"


def test_json_names_the_files_and_counts_of_each_batch(live, on_stack, file, tmp_path):
    scores_batches(live)
    document = on_stack("batch", file, "--to", tmp_path / "out", "--prefix", "may", "--json").json
    [batch] = document["batches"]
    assert batch["uri"] == f"s3://{live.bucket}/batch/in/may/patients.csv"
    assert batch["result_uri"] == f"s3://{live.bucket}/batch/out/may/patients.csv"
    assert batch["rows"] == {"read": 1, "scored": 1, "rejected": 0}
    assert json.loads((tmp_path / "out" / "patients.csv.manifest.json").read_text())["model"]["version"] == 1
    assert batch["files"].keys() == {"result", "manifest"}


def test_tells_why_a_batch_was_not_scored_and_goes_on_with_the_others(live, on_stack, file, tmp_path):
    scores_batches(live, fails=("UnscorableBatch", '{"errorMessage": "column \'x\' is missing"}'))
    outcome = on_stack("batch", file, "--to", tmp_path / "out", "--json")
    assert outcome.exit_code == 1
    assert "UnscorableBatch: column 'x' is missing" in outcome.stderr
    assert outcome.json["batches"] == []
    assert len(outcome.json["uploads"]) == 1


def test_a_result_that_was_damaged_on_its_way_is_not_kept(live, on_stack, file, tmp_path):
    scores_batches(live)
    act = live.on_drop

    def damage(drop):
        act(drop)
        live.s3.put_object(Bucket=live.bucket, Key="batch/out/patients.csv", Body=b"id,label\n")

    live.on_drop = damage
    outcome = on_stack("batch", file, "--to", tmp_path / "out")
    assert outcome.exit_code == 1
    assert "is not what its manifest says" in outcome.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_replaces_no_result_unasked_and_never_the_file_itself(live, on_stack, file, tmp_path):
    outcome = on_stack("batch", file, "--to", file.parent, "--force")
    assert outcome.exit_code == 2
    assert "is the file to score itself" in outcome.stderr
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "patients.csv").write_text("precious")
    assert on_stack("batch", file, "--to", tmp_path / "out").exit_code == 2
    assert live.uploaded == []
    scores_batches(live)
    assert on_stack("batch", file, "--to", tmp_path / "out", "--force").exit_code == 0


def test_uploads_nothing_while_no_model_is_live(stack, on_stack, file):
    complete(stack)
    outcome = on_stack("batch", file)
    assert outcome.exit_code == 3
    assert "dropforge approve latest --wait" in outcome.stderr
    assert stack.uploaded == []


def test_gives_up_waiting_when_its_time_is_up(live, on_stack, file, tmp_path):
    outcome = on_stack("batch", file, "--to", tmp_path / "out", "--timeout", "0")
    assert outcome.exit_code == 5
    assert "--timeout allows more time" in outcome.stderr
    assert on_stack("batch", file, "--no-wait").exit_code == 0


def test_finds_the_execution_of_each_of_many_files(live, on_stack, tmp_path):
    scores_batches(live)
    files = [tmp_path / f"part-{number}.csv" for number in range(8)]
    for path in files:
        path.write_text("id,radius\n1,2\n")
    document = on_stack("batch", *files, "--to", tmp_path / "out", "--json").json
    assert [each["file"] for each in document["batches"]] == [str(path) for path in files]
    assert len({each["execution_arn"] for each in document["batches"]}) == len(files)
