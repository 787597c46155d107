"""What is asked of a tracker, which is MLflow's or speaks like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final, Protocol

from dropforge.tracking.runs import Dataset

EXPERIMENT_TAGS: Final = {"mlflow.experimentKind": "custom_model_development"}
"""Lets MLflow's pages show an experiment as one of models, and not of prompts."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as the tracker has it.

    Attributes:
        id: the tracker's own.
        artifacts: where its files go, a URI.
    """

    id: str
    artifacts: str
    status: str
    end_ms: int
    tags: Mapping[str, str]


@dataclass(frozen=True)
class TrackedVersion:
    """A registered version as the tracker has it; it counts by itself."""

    number: str
    tags: Mapping[str, str]


class Tracker(Protocol):
    """A tracker of experiments with a registry of models. What is put again stays as it is."""

    def experiment(self, name: str) -> str:
        """The id of the experiment, made where there is none."""
        ...

    def runs(self, experiment: str) -> list[TrackedRun]:
        """Every run of an experiment that nobody has deleted."""
        ...

    def create_run(
        self, experiment: str, name: str, start_ms: int, tags: Mapping[str, str]
    ) -> TrackedRun: ...

    def log_values(
        self, run: str, params: Mapping[str, str], metrics: Mapping[str, float], at_ms: int
    ) -> None: ...

    def log_dataset(self, run: str, dataset: Dataset) -> None: ...

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None: ...

    def end_run(self, run: str, status: str, end_ms: int) -> None: ...

    def put_file(self, run: TrackedRun, path: str, content: bytes | BinaryIO) -> None:
        """Write a file under the run's artifacts, replacing what is there."""
        ...

    def register(self, model: str, description: str) -> None:
        """Make a registered model of that name, where there is none."""
        ...

    def versions(self, model: str) -> list[TrackedVersion]: ...

    def create_version(
        self, model: str, run: TrackedRun, folder: str, description: str, tags: Mapping[str, str]
    ) -> TrackedVersion: ...

    def tag_version(self, model: str, number: str, tags: Mapping[str, str]) -> None: ...

    def aliases(self, model: str) -> dict[str, str]:
        """Versions' numbers by alias."""
        ...

    def set_alias(self, model: str, alias: str, number: str) -> None: ...

    def remove_alias(self, model: str, alias: str) -> None: ...
