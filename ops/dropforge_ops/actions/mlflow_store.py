"""A folder that MLflow reads: a database of runs and versions, and their files beside it."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from dropforge.tracking.runs import Dataset
from dropforge.tracking.tracker import EXPERIMENT_TAGS, TrackedRun, TrackedVersion
from dropforge_ops.errors import OperationFailed

DATABASE: Final = "mlflow.db"
ARTIFACTS: Final = "artifacts"

# https://mlflow.org/docs/latest/api_reference/rest-api.html#log-batch
_PARAMS, _METRICS = 100, 1000
_PAGE = 1000


def store_uri(folder: Path) -> str:
    """What MLflow calls the folder's database."""
    return f"sqlite:///{quote(str(folder.resolve() / DATABASE))}"


class MlflowStore:
    """`Tracker` on a folder, through MLflow's own client."""

    def __init__(self, folder: Path) -> None:
        # Before it is imported: nobody is told that somebody exports.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow  # noqa: PLC0415 - takes seconds, and is an extra's

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)

        self._artifacts = folder.resolve() / ARTIFACTS
        try:
            self._artifacts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OperationFailed(
                f"{folder} can't be written: {error.strerror}. Name another folder."
            ) from error
        self._kinds = mlflow.entities
        uri = store_uri(folder)
        self._client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)

    def experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            place = str(self._artifacts)
            return str(self._client.create_experiment(name, artifact_location=place, tags=EXPERIMENT_TAGS))
        if Path(found.artifact_location) != self._artifacts:
            raise OperationFailed(
                f"The folder was written as {Path(found.artifact_location).parent}, and its database names "
                "files by that path. Export to that path, or into a new folder."
            )
        return str(found.experiment_id)

    def runs(self, experiment: str) -> list[TrackedRun]:
        found, token = [], None
        while True:
            page = self._client.search_runs([experiment], max_results=_PAGE, page_token=token)
            found += [_tracked(each) for each in page]
            token = page.token
            if not token:
                return found

    def create_run(self, experiment: str, name: str, start_ms: int, tags: Mapping[str, str]) -> TrackedRun:
        return _tracked(
            self._client.create_run(experiment, start_time=start_ms, tags=dict(tags), run_name=name)
        )

    def log_values(
        self, run: str, params: Mapping[str, str], metrics: Mapping[str, float], at_ms: int
    ) -> None:
        for some in _chunks(list(params.items()), _PARAMS):
            self._client.log_batch(run, params=[self._kinds.Param(*each) for each in some])
        for some in _chunks(list(metrics.items()), _METRICS):
            self._client.log_batch(
                run, metrics=[self._kinds.Metric(name, value, at_ms, 0) for name, value in some]
            )

    def log_dataset(self, run: str, dataset: Dataset) -> None:
        kinds = self._kinds
        told = kinds.Dataset(
            dataset.name, dataset.digest, "s3", dataset.source, dataset.schema, dataset.profile
        )
        tags = [kinds.InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(run, [kinds.DatasetInput(told, tags)])

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        for some in _chunks(list(tags.items()), _PARAMS):
            self._client.log_batch(run, tags=[self._kinds.RunTag(*each) for each in some])

    def end_run(self, run: str, status: str, end_ms: int) -> None:
        self._client.set_terminated(run, status, end_ms)

    def put_file(self, run: TrackedRun, path: str, content: bytes | BinaryIO) -> None:
        place = Path(run.artifacts) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                shutil.copyfileobj(content, file)

    def register(self, model: str, description: str) -> None:
        if not self._client.search_registered_models(f"name = '{model}'"):
            self._client.create_registered_model(model, description=description)

    def versions(self, model: str) -> list[TrackedVersion]:
        found, token = [], None
        while True:
            page = self._client.search_model_versions(f"name = '{model}'", page_token=token)
            found += [TrackedVersion(str(each.version), dict(each.tags)) for each in page]
            token = page.token
            if not token:
                return found

    def create_version(
        self, model: str, run: TrackedRun, folder: str, description: str, tags: Mapping[str, str]
    ) -> TrackedVersion:
        source = f"{run.artifacts}/{folder}"
        made = self._client.create_model_version(
            model, source, run_id=run.id, tags=dict(tags), description=description
        )
        return TrackedVersion(str(made.version), dict(tags))

    def tag_version(self, model: str, number: str, tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            self._client.set_model_version_tag(model, number, name, value)

    def aliases(self, model: str) -> dict[str, str]:
        return {
            name: str(number) for name, number in self._client.get_registered_model(model).aliases.items()
        }

    def set_alias(self, model: str, alias: str, number: str) -> None:
        self._client.set_registered_model_alias(model, alias, number)

    def remove_alias(self, model: str, alias: str) -> None:
        self._client.delete_registered_model_alias(model, alias)


def _tracked(run: Any) -> TrackedRun:
    info = run.info
    return TrackedRun(info.run_id, info.artifact_uri, info.status, info.end_time or 0, dict(run.data.tags))


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
