"""The project's folder, and the parameters of a stack on the local host."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from math import inf, isfinite
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from dropforge_ops.errors import NotFound, UsageError, message_of
from dropforge_ops.stack.samples import SAMPLES

DEFAULT_SAMPLE = "breast-cancer"
_BOUNDS = (("MinValue", -inf), ("MaxValue", inf))


def find_root(folder: Path | None = None) -> Path:
    """The folder with ``template.yaml``: the current one or the nearest of its parents.

    Raises:
        NotFound: there is none.
    """
    start = (folder or Path.cwd()).resolve()
    for place in (start, *start.parents):
        if (place / "template.yaml").is_file() and (place / "statemachine").is_dir():
            return place
    raise NotFound(
        f"Neither {start} nor a folder above it holds dropforge's template.yaml. Change into the project."
    )


def sample_parameters(name: str) -> dict[str, str]:
    """The template's parameters for a sample data set.

    Raises:
        UsageError: there is no such sample.
    """
    if name not in SAMPLES:
        raise UsageError(f"There is no sample {name!r}; there are {', '.join(SAMPLES)}.")
    sample = SAMPLES[name]
    return {"TargetColumn": sample.target, "IdColumn": sample.key, "TaskType": sample.task}


def asked_parameters(
    *,
    sample: str | None,
    target: str | None,
    key: str | None,
    task: str | None,
    pairs: Sequence[str],
) -> dict[str, str]:
    """The parameters that the user asks for; empty where nothing was asked for.

    Raises:
        UsageError: options that exclude each other, or a malformed ``Key=Value``.
    """
    if sample is not None and (target is not None or key is not None or task is not None):
        raise UsageError(
            "--sample sets target, id and task; leave --target, --id and --task out, or --sample."
        )
    asked = {} if sample is None else sample_parameters(sample)
    named = {"TargetColumn": target, "IdColumn": key, "TaskType": task}
    asked |= {name: value for name, value in named.items() if value is not None}
    if target is not None and key is None:
        asked["IdColumn"] = ""
    if target is not None and task is None:
        asked["TaskType"] = "auto"
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator or not name:
            raise UsageError(f"--parameter {pair!r} is not of the form Key=Value.")
        asked[name] = value
    return asked


def refuse_unknown_parameters(given: Iterable[str], declared: Iterable[str]) -> None:
    """Refuse names that the template doesn't have: sam leaves them out in silence.

    Raises:
        UsageError: the nearest name is in it, where one is near.
    """
    known = set(declared)
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            raise UsageError(
                f"template.yaml has no parameter {name}{f'; is it {near[0]}?' if near else '.'} "
                f"All are in docs/reference/parameters.md."
            )


def refuse_impossible_values(given: Mapping[str, str], declared: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse values that CloudFormation would refuse at a deployment.

    Raises:
        UsageError: one is no number, is out of its bounds, or is none of those that are allowed.
    """
    for name, value in given.items():
        allowed = declared[name].get("AllowedValues")
        if allowed is not None and value not in map(str, allowed):
            raise UsageError(f"{name} is {value!r}; it is one of {', '.join(map(str, allowed))}.")
        if declared[name]["Type"] != "Number":
            continue
        low, high = (float(declared[name].get(bound, end)) for bound, end in _BOUNDS)
        try:
            fits = low <= float(value) <= high
        except ValueError:
            fits = False
        if not fits:
            bounds = [
                f"{word} {end:g}" for word, end in (("at least", low), ("at most", high)) if isfinite(end)
            ]
            raise UsageError(f"{name} is {value!r}; it is a number{', '.join(['', *bounds])}.")


def deployed_parameters(cloudformation: Any, stack: str) -> dict[str, str] | None:
    """The parameters of the stack as it stands; None where there is no such stack."""
    found = _described(cloudformation, stack)
    if found is None:
        return None
    return {each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", [])}


def created_at(cloudformation: Any, stack: str) -> datetime | None:
    """When the stack was made; None where there is no such stack."""
    found = _described(cloudformation, stack)
    return None if found is None else found["CreationTime"]


def _described(cloudformation: Any, stack: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in message_of(error):
            return None
        raise
    return found


def merged_parameters(
    deployed: Mapping[str, str] | None, asked: Mapping[str, str], declared: Iterable[str]
) -> dict[str, str]:
    """What to deploy with: what is deployed stays unless asked otherwise; the first time it is a sample's.

    A release may have given up a parameter that is deployed: only what the template declares is kept.
    """
    if deployed is not None:
        return {**{name: deployed[name] for name in declared if name in deployed}, **asked}
    return dict(asked) if "TargetColumn" in asked else {**sample_parameters(DEFAULT_SAMPLE), **asked}


def default_parameters(root: Path) -> dict[str, str]:
    """The template's parameters where nobody says otherwise; those without a default are left out."""
    declared = declared_parameters(root)
    return {name: str(each["Default"]) for name, each in declared.items() if "Default" in each}


def declared_parameters(root: Path) -> Mapping[str, Mapping[str, Any]]:
    """The template's parameters as it declares them, by name."""
    from dropforge_local.template import load_template  # noqa: PLC0415 - PyYAML, which few commands need

    declared: Mapping[str, Mapping[str, Any]] = load_template(root / "template.yaml")["Parameters"]
    return declared
