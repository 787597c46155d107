"""One subject is forgotten on a deployed stack."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from typer.testing import CliRunner

from dropforge.adapters.prediction_log import DynamoDbPredictionLog
from dropforge.domain.predictions import PredictionRecord, prediction_id
from dropforge.ledger_table.calls import ClientCalls
from dropforge_ops.cli.main import app
from dropforge_ops.stack.samples import SAMPLES
from tests.workflow.stack import Stack

SAMPLE = "breast-cancer"
ASKED_MS = 1_795_251_600_000


def test_one_subjects_rows_and_predictions_go_and_its_drop_and_version_are_named(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path]
) -> None:
    stack = deploy_sample(SAMPLE, DropRetentionDays="30", TrainingData="new-drops")
    stack.drop(samples[SAMPLE], f"{SAMPLE}.csv")
    version = stack.wait_for_version(1)
    key = samples[SAMPLE].read_text().splitlines()[1].split(",")[0]
    column = SAMPLES[SAMPLE].key
    calls = ClientCalls(stack.host.client("dynamodb"))
    log = DynamoDbPredictionLog(calls, stack.outputs["PredictionsTable"], retention_days=9)
    ids = [prediction_id(ASKED_MS, "request", index) for index in range(2)]
    log.write(
        [
            PredictionRecord(each, "", 1, {column: value}, {"label": "benign", "probabilities": {}}, 1.0)
            for each, value in zip(ids, (int(key), int(key) + 1), strict=True)
        ]
    )
    before = rows(stack, version.run_id, column)
    assert before.count(int(key)) == 1

    found = forget(stack, key)
    assert (found["deleted"], found["predictions"]) == (False, 1)
    done = forget(stack, key, "--yes")
    assert done == {**found, "deleted": True}
    assert [each["uri"].rpartition("/")[2] for each in done["dropped"]] == [f"{SAMPLE}.csv"]
    assert [each["version"] for each in done["models"]] == [1]
    assert [log.get(each) is None for each in ids] == [True, False]
    assert sorted(rows(stack, version.run_id, column)) == sorted(each for each in before if each != int(key))
    again = forget(stack, key, "--yes")
    assert (again["predictions"], again["prepared"]) == (0, [])
    assert again["dropped"] == done["dropped"], "they are their owner's"


def rows(stack: Stack, run_id: str, column: str) -> list[Any]:
    """The keys of all prepared rows, in every version."""
    listed = stack.s3.list_object_versions(Bucket=stack.bucket, Prefix=f"runs/{run_id}/")["Versions"]
    found = []
    for each in listed:
        if each["Key"].split("/")[2] in ("train", "validation", "test"):
            body = stack.s3.get_object(Bucket=stack.bucket, Key=each["Key"], VersionId=each["VersionId"])[
                "Body"
            ]
            found += pq.read_table(io.BytesIO(body.read()))[column].to_pylist()
    return found


def forget(stack: Stack, *arguments: str) -> dict[str, Any]:
    """The command's document."""
    where = ["--stack", stack.name, "--endpoint-url", stack.host.endpoint_url, "--json"]
    result = CliRunner().invoke(app, ["forget", *arguments, *where])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found
