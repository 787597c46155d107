"""A stack shows its runs on MLflow's own server, and no run waits for one that is down."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dropforge.domain.records import RunStatus
from dropforge_ops.stack.mlflow_server import free_port, mlflow_server
from tests.workflow.stack import Stack


def asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own server
        return answer.read()


def test_a_tracker_that_was_down_is_told_later_and_only_once(
    deploy_sample: Callable[..., Stack], samples: Mapping[str, Path], tmp_path: Path
) -> None:
    port = free_port()
    stack = deploy_sample("wine", MlflowTracking=f"http://127.0.0.1:{port}")
    live = stack.train_and_deploy(samples["wine"])
    assert stack.wait_for_run_of(live).status is RunStatus.SUCCEEDED
    stack.invoke("ReconcileRuns")
    assert stack.ledger.tracked_state() is None

    with mlflow_server(tmp_path, port) as url:
        api = f"{url}/api/2.0/mlflow"
        stack.invoke("ReconcileRuns")
        told = stack.ledger.tracked_state()
        assert told is not None
        model = json.loads(asked(f"{api}/registered-models/get?name={stack.model_name}"))["registered_model"]
        assert model["aliases"] == [{"alias": "production", "version": "1"}]
        version = json.loads(
            asked(f"{api}/registered-models/alias?name={stack.model_name}&alias=production")
        )["model_version"]
        run = version["run_id"]
        data = json.loads(asked(f"{api}/runs/get?run_id={run}"))["run"]["data"]
        tags = {each["key"]: each["value"] for each in data["tags"]}
        assert (tags["dropforge.run_id"], tags["dropforge.stage"]) == (live.run_id, "Production")
        assert {"accuracy", "accuracy_low", "accuracy_high"} <= {each["key"] for each in data["metrics"]}
        picture = asked(f"{url}/get-artifact?path=plots/roc.svg&run_uuid={run}")
        assert picture.startswith(b"<svg")
        archive = asked(f"{url}/get-artifact?path=model/data/model.tar.gz&run_uuid={run}")
        assert archive == stack.read(live.model_data_url)

        before = contents(tmp_path)
        stack.ledger.note_tracked("as if nothing had been told")
        stack.invoke("ReconcileRuns")
        assert stack.ledger.tracked_state() == told
        assert contents(tmp_path) == before


def contents(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "mlflow.db") as database:
        return list(database.iterdump())
