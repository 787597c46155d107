"""A tracker in memory, which counts what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, BinaryIO

from dropforge.tracking.runs import Dataset
from dropforge.tracking.tracker import TrackedRun, TrackedVersion


class FakeTracker:
    """`Tracker`. ``writes`` counts what changed something; ``breaks_at`` is the one that is cut off."""

    def __init__(self) -> None:
        self.writes = 0
        self.breaks_at: int | None = None
        self.experiments: dict[str, str] = {}
        self.runs_by_id: dict[str, TrackedRun] = {}
        self.values: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.models: dict[str, list[TrackedVersion]] = {}
        self.sources: dict[tuple[str, str], str] = {}
        self._aliases: dict[str, dict[str, str]] = {}

    def experiment(self, name: str) -> str:
        if name not in self.experiments:
            self._write()
            self.experiments[name] = str(len(self.experiments) + 1)
        return self.experiments[name]

    def runs(self, experiment: str) -> list[TrackedRun]:
        return list(self.runs_by_id.values())

    def create_run(self, experiment: str, name: str, start_ms: int, tags: Mapping[str, str]) -> TrackedRun:
        self._write()
        run = f"r{len(self.runs_by_id)}"
        self.runs_by_id[run] = TrackedRun(run, f"memory:{run}", "RUNNING", 0, dict(tags))
        self.values[run], self.files[run] = {"params": {}, "metrics": {}, "dataset": None}, {}
        return self.runs_by_id[run]

    def log_values(
        self, run: str, params: Mapping[str, str], metrics: Mapping[str, float], at_ms: int
    ) -> None:
        self._write()
        for name, value in params.items():
            assert self.values[run]["params"].setdefault(name, value) == value
        self.values[run]["metrics"] |= {name: (value, at_ms) for name, value in metrics.items()}

    def log_dataset(self, run: str, dataset: Dataset) -> None:
        self._write()
        self.values[run]["dataset"] = dataset

    def set_tags(self, run: str, tags: Mapping[str, str]) -> None:
        self._write()
        found = self.runs_by_id[run]
        self.runs_by_id[run] = replace(found, tags={**found.tags, **tags})

    def end_run(self, run: str, status: str, end_ms: int) -> None:
        self._write()
        self.runs_by_id[run] = replace(self.runs_by_id[run], status=status, end_ms=end_ms)

    def put_file(self, run: TrackedRun, path: str, content: bytes | BinaryIO) -> None:
        self._write()
        self.files[run.id][path] = content if isinstance(content, bytes) else content.read()

    def register(self, model: str, description: str) -> None:
        if model not in self.models:
            self._write()
            self.models[model], self._aliases[model] = [], {}

    def versions(self, model: str) -> list[TrackedVersion]:
        return list(self.models[model])

    def create_version(
        self, model: str, run: TrackedRun, folder: str, description: str, tags: Mapping[str, str]
    ) -> TrackedVersion:
        self._write()
        made = TrackedVersion(str(len(self.models[model]) + 1), dict(tags))
        self.models[model].append(made)
        self.sources[model, made.number] = f"{run.artifacts}/{folder}"
        return made

    def tag_version(self, model: str, number: str, tags: Mapping[str, str]) -> None:
        self._write()
        found = self.models[model][int(number) - 1]
        self.models[model][int(number) - 1] = replace(found, tags={**found.tags, **tags})

    def aliases(self, model: str) -> dict[str, str]:
        return dict(self._aliases[model])

    def set_alias(self, model: str, alias: str, number: str) -> None:
        self._write()
        self._aliases[model][alias] = number

    def remove_alias(self, model: str, alias: str) -> None:
        self._write()
        del self._aliases[model][alias]

    def _write(self) -> None:
        if self.writes == self.breaks_at:
            raise ConnectionError("the tracker is down")
        self.writes += 1
