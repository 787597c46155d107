"""A tracker is told of runs and versions: once, whole, and of what changes afterwards."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.records import BUCKET
from tests.fakes.tracker import FakeTracker
from tracked_stack import TrackedStack

from dropforge.domain.records import Approval, RunStatus, Stage
from dropforge.tracking.telling import Telling, tell
from dropforge_ops.actions.mlflow_store import ARTIFACTS, DATABASE, MlflowStore
from dropforge_ops.errors import OperationFailed


def told(stack: TrackedStack, tracker: Any) -> Telling:
    return tell(stack.runs, stack.models, stack.source(), tracker)


@pytest.fixture
def stack() -> TrackedStack:
    """A failed run, a version that is live, and one that waits."""
    made = TrackedStack()
    made.failed(1)
    made.trained(2, stage=Stage.PRODUCTION, approval=Approval.APPROVED)
    made.trained(3)
    return made


@pytest.fixture
def tracker() -> FakeTracker:
    return FakeTracker()


def state_of(tracker: FakeTracker) -> Any:
    return tracker.runs_by_id, tracker.values, tracker.files, tracker.models, tracker.aliases("model")


def run_of(tracker: FakeTracker, name: str) -> str:
    return next(key for key, run in tracker.runs_by_id.items() if run.tags["dropforge.run_id"] == name)


def test_runs_are_told_with_parameters_intervals_lineage_files_and_model(
    stack: TrackedStack, tracker: FakeTracker
) -> None:
    assert told(stack, tracker) == Telling("1", "model", runs=3, new_runs=3, versions=2, new_versions=2)
    run = run_of(tracker, "run-2")
    values, tags, files = tracker.values[run], tracker.runs_by_id[run].tags, tracker.files[run]
    assert values["params"]["metric"] == "auto"
    assert "champion_sha256" not in values["params"]
    metrics = {name: value for name, (value, _) in values["metrics"].items()}
    assert [metrics[name] for name in ("auc", "auc_low", "auc_high")] == [0.9, 0.8, 0.95]
    assert metrics["slice/site _a_b_/left_/auc_low"] == 0.8
    assert "log_loss" not in metrics
    assert tags["dropforge.metrics_left_out"].startswith("3 ")
    assert tags["mlflow.source.git.commit"] == "c" * 40
    assert (tags["dropforge.data_version"], tags["dropforge.code_sha256"]) == ("d" * 64, "e" * 64)
    assert values["dataset"].digest == "d" * 36
    assert {"judgement.json", "contract.json", "lineage.json", "report.json", "card.md"} <= files.keys()
    archive = stack.objects[f"s3://{BUCKET}/registered/run-2/model.tar.gz"]
    assert files["model/data/model.tar.gz"] == archive
    assert {"model/MLmodel", "model/requirements.txt", "model/data/archive.json"} <= files.keys()
    assert tracker.runs_by_id[run].status == "FINISHED"

    failed = tracker.runs_by_id[run_of(tracker, "run-1")]
    assert failed.status == "FAILED"
    assert failed.tags["mlflow.note.content"].startswith("MissingTarget: ")


def test_versions_are_registered_with_their_stages_as_aliases(
    stack: TrackedStack, tracker: FakeTracker
) -> None:
    told(stack, tracker)
    production, waiting = tracker.models["model"]
    assert production.tags["dropforge.version"] == "2"
    assert tracker.sources["model", production.number] == f"memory:{run_of(tracker, 'run-2')}/model"
    assert tracker.aliases("model") == {"production": production.number, "development": waiting.number}


def test_told_again_nothing_changes(stack: TrackedStack, tracker: FakeTracker) -> None:
    told(stack, tracker)
    writes = tracker.writes
    assert told(stack, tracker) == Telling("1", "model", runs=3, versions=2)
    assert tracker.writes == writes


def test_a_decision_changes_tags_aliases_and_card_and_nothing_else(
    stack: TrackedStack, tracker: FakeTracker
) -> None:
    told(stack, tracker)
    values = {run: dict(each) for run, each in tracker.values.items()}
    stack.decided(2, Approval.APPROVED, Stage.ARCHIVED)
    stack.decided(3, Approval.APPROVED, Stage.PRODUCTION)
    stack.card = b"a signed card"
    told(stack, tracker)
    assert tracker.values == values
    assert tracker.aliases("model") == {"archived": "1", "production": "2"}
    run = run_of(tracker, "run-3")
    assert tracker.runs_by_id[run].tags["dropforge.decided_by"] == "ann"
    assert tracker.models["model"][1].tags["dropforge.decision_reason"] == "good"
    assert tracker.files[run]["card.md"] == b"a signed card"


def test_a_tracker_that_fails_anywhere_is_told_the_same_in_the_end(stack: TrackedStack) -> None:
    whole = FakeTracker()
    told(stack, whole)
    for place in range(whole.writes):
        tracker = FakeTracker()
        tracker.breaks_at = place
        with pytest.raises(ConnectionError):
            told(stack, tracker)
        tracker.breaks_at = None
        told(stack, tracker)
        assert state_of(tracker) == state_of(whole), place


def test_runs_under_way_are_left_until_they_end(stack: TrackedStack, tracker: FakeTracker) -> None:
    run = stack.failed(4)
    stack.runs[-1] = type(run)(
        **{**run.to_dict(), "status": RunStatus.RUNNING, "ended_at": None, "error": None}
    )
    telling = told(stack, tracker)
    assert (telling.runs, telling.under_way) == (3, 1)


def test_an_archive_that_is_not_the_judged_one_is_not_told_and_holds_nothing_up(
    stack: TrackedStack, tracker: FakeTracker
) -> None:
    place = f"s3://{BUCKET}/registered/run-2/model.tar.gz"
    stack.objects[place] = stack.objects[place] + b"more"
    telling = told(stack, tracker)
    assert (telling.versions, telling.models_gone) == (1, 1)
    run = run_of(tracker, "run-2")
    assert "model/MLmodel" not in tracker.files[run]
    assert f"{place} has the SHA-256" in tracker.runs_by_id[run].tags["dropforge.model"]


def test_a_copy_that_was_deleted_is_taken_from_where_training_left_it(
    stack: TrackedStack, tracker: FakeTracker
) -> None:
    del stack.objects[f"s3://{BUCKET}/registered/run-2/model.tar.gz"]
    assert told(stack, tracker).new_versions == 2


def test_a_version_without_any_archive_is_not_registered(stack: TrackedStack, tracker: FakeTracker) -> None:
    for place in ("registered/run-2/model.tar.gz", "models/run-2/job/output/model.tar.gz"):
        del stack.objects[f"s3://{BUCKET}/{place}"]
    telling = told(stack, tracker)
    assert (telling.versions, telling.models_gone) == (1, 1)
    said = tracker.runs_by_id[run_of(tracker, "run-2")].tags["dropforge.model"]
    assert said.startswith("not here: There is no object s3://")


# --- MLflow's own store ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Path, TrackedStack, Callable[[], Any]]]:
    """A folder that MLflow has made; its client takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    made = TrackedStack()
    made.failed(1)
    made.trained(2, stage=Stage.PRODUCTION, approval=Approval.APPROVED)
    made.trained(3)
    told(made, MlflowStore(folder))

    def contents() -> Any:
        files = {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((folder / ARTIFACTS).rglob("*"))
            if path.is_file()
        }
        with sqlite3.connect(folder / DATABASE) as database:
            return files, list(database.iterdump())

    return folder, made, contents


def test_mlflow_reads_the_folder(exported: tuple[Path, TrackedStack, Callable[[], Any]]) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{exported[0]}/{DATABASE}")
    experiment = client.get_experiment_by_name("model")
    runs = {each.info.run_name: each for each in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"run-1", "run-2", "run-3"}
    run = runs["run-2"]
    assert run.data.metrics["auc_low"] == 0.8
    assert run.info.end_time - run.info.start_time == 30_000
    assert run.inputs.dataset_inputs[0].dataset.digest == "d" * 36
    live = client.get_model_version_by_alias("model", "production")
    assert (live.run_id, live.tags["dropforge.version"]) == (run.info.run_id, "2")
    assert {each.path for each in client.list_artifacts(run.info.run_id, "model")} >= {"model/MLmodel"}


def test_exporting_twice_changes_no_file_and_no_row(
    exported: tuple[Path, TrackedStack, Callable[[], Any]],
) -> None:
    folder, stack, contents = exported
    before = contents()
    telling = told(stack, MlflowStore(folder))
    assert (telling.new_runs, telling.changed_runs, telling.new_versions) == (0, 0, 0)
    assert contents() == before


def test_a_decision_moves_an_alias_in_mlflows_store(
    exported: tuple[Path, TrackedStack, Callable[[], Any]],
) -> None:
    folder, stack, _ = exported
    store = MlflowStore(folder)
    stack.decided(2, Approval.APPROVED, Stage.ARCHIVED)
    stack.decided(3, Approval.APPROVED, Stage.PRODUCTION)
    told(stack, store)
    assert store.aliases("model") == {"archived": "1", "production": "2"}


def test_a_folder_that_was_moved_is_refused(
    exported: tuple[Path, TrackedStack, Callable[[], Any]], tmp_path: Path
) -> None:
    folder, stack, _ = exported
    (tmp_path / DATABASE).write_bytes((folder / DATABASE).read_bytes())
    with pytest.raises(OperationFailed, match="written as"):
        told(stack, MlflowStore(tmp_path))
