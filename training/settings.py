"""The hyperparameters of a training job, read from SageMaker's file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dropforge.domain.decision_goal import Wish
from dropforge.domain.errors import InvalidHyperparameters
from dropforge.domain.hyperparameters import typed
from folders import Folders

TOOLKIT_PREFIXES = ("sagemaker_", "_tuning_")
"""Hyperparameters that SageMaker's toolkit and tuning jobs add; they are none of ours."""


@dataclass(frozen=True)
class Settings:
    """The job's hyperparameters: ours by name, the rest for `build_model`."""

    metric: str
    seed: int
    champion_sha256: str | None
    wish: Wish | None
    model: Mapping[str, Any]
    given: Mapping[str, str]
    tuning_trials: int = 0
    tuning_minutes: float = 0.0


def read_settings(folders: Folders) -> Settings:
    """Read hyperparameters.json, whose values are all strings (a tuning job's are JSON in strings).

    Raises:
        InvalidHyperparameters: one of ours is malformed.
        InvalidDecisionGoal: so is what a decision threshold is to serve.
    """
    path = folders.config / "hyperparameters.json"
    raw = json.loads(path.read_bytes()) if path.is_file() else {}
    given = {n: str(v) for n, v in sorted(raw.items()) if not n.startswith(TOOLKIT_PREFIXES)}
    values = {name: typed(text) for name, text in given.items()}
    seed, sha256 = values.pop("seed", 0), _typed_text(given.get("champion_sha256", ""))
    values.pop("champion_sha256", None)
    metric = str(values.pop("metric", "auto"))
    goal = values.pop("decision_goal", None)
    trials, minutes = values.pop("tuning_trials", 0), values.pop("tuning_minutes", 0)
    problems = [
        f"{name} must be a number of at least 0, not {value!r}"
        for name, value in (("tuning_trials", trials), ("tuning_minutes", minutes))
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0
    ]
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        problems.append(f"seed must be an integer from 0 to 2**32 - 1, not {seed!r}")
    if sha256 and (len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef")):
        problems.append(f"champion_sha256 must be 64 lower-case hexadecimal digits, not {sha256!r}")
    has_champion = folders.channel("champion").is_dir()
    if has_champion != bool(sha256):
        problems.append("the channel champion and the hyperparameter champion_sha256 need each other")
    hosts = folders.config / "resourceconfig.json"
    if trials and hosts.is_file() and len(json.loads(hosts.read_bytes()).get("hosts", [])) > 1:
        problems.append("tuning runs on one instance; set TuningTrials to 0, or TrainingInstanceCount to 1")
    if problems:
        raise InvalidHyperparameters(f"hyperparameters: {'; '.join(problems)}.")
    wish = None if goal is None else Wish.from_json(str(goal))
    return Settings(metric, int(seed), sha256 or None, wish, values, given, int(trials), float(minutes))


def _typed_text(text: str) -> str:
    """Read a string that may be JSON-quoted; a digest of digits alone must not become a number."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
