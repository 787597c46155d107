"""The environments of samconfig.toml, and the parameters that each deploys with."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

CONFIG = "samconfig.toml"
MODEL_TAG = "dropforge:model"
"""What budgets and teardown find a model's resources by."""


def environment_parameters(environment: str, given: Sequence[str], config: Path) -> dict[str, str]:
    """The environment's parameters with the given ``Name=value`` on top.

    ``sam deploy --parameter-overrides`` replaces what samconfig.toml says instead of adding to it.

    Raises:
        ValueError: there is no such environment, or an argument is no ``Name=value``.
    """
    environments = tomllib.loads(config.read_text(encoding="utf-8"))
    if environment not in environments:
        known = ", ".join(name for name in environments if name != "version")
        raise ValueError(f"{CONFIG} has no environment {environment!r}; it has {known}.")
    stated = _deploy(environments[environment]).get("parameter_overrides", "")
    values: dict[str, str] = {}
    for each in [*shlex.split(stated), *given]:
        name, equals, value = each.partition("=")
        if not (name and equals):
            raise ValueError(f"{each!r} is no parameter; write Name=value.")
        values[name] = value
    return values


def environment_tags(environment: str, model: str, config: Path) -> dict[str, str]:
    """The environment's tags, with the model that is deployed; ``sam deploy --tags`` replaces them.

    Raises:
        ValueError: a tag is no ``key=value``.
    """
    stated = _deploy(tomllib.loads(config.read_text(encoding="utf-8"))[environment]).get("tags", "")
    values: dict[str, str] = {}
    for each in shlex.split(stated):
        key, equals, value = each.partition("=")
        if not (key and equals):
            raise ValueError(f"The tag {each!r} of {environment} in {CONFIG} is no key=value.")
        values[key] = value
    return {**values, MODEL_TAG: model}


def stack_of(environment: str, config: Path) -> str:
    """The stack that an environment is deployed to.

    Raises:
        ValueError: there is no such environment.
    """
    environment_parameters(environment, [], config)
    return _deploy(tomllib.loads(config.read_text(encoding="utf-8"))[environment])["stack_name"]


def _deploy(section: Mapping[str, Mapping[str, Mapping[str, str]]]) -> Mapping[str, str]:
    return section.get("deploy", {}).get("parameters", {})
