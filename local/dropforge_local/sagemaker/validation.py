"""Requests held against botocore's own description of the service.

botocore checks types and required members on the client; patterns, enumerations and lengths are checked by
SageMaker itself, and its wording of the verdict is what callers see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from typing import Any

import regex
from botocore.exceptions import ParamValidationError
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

from dropforge_local.sagemaker.errors import ServiceError
from dropforge_local.service_models import service_model

# SageMaker's patterns use Java's property classes. `regex` knows them; but Java's Alnum is ASCII's.
_ALNUM = regex.compile(r"\\p\{Alnum\}")
# Two patterns of the service description end in `${1,256}`, a length that lost its group; the real bound
# stands next to them as `max`.
_REPEATED_ANCHOR = regex.compile(r"\$\{\d+,\d+\}$")
# Java's two halves of what Python has as one character, in patterns of Application Auto Scaling.
_PAIRS = (r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")


def control_model() -> ServiceModel:
    """botocore's description of SageMaker's control plane."""
    return service_model("sagemaker")


def runtime_model() -> ServiceModel:
    """botocore's description of SageMaker's runtime."""
    return service_model("sagemaker-runtime")


@cache
def compile_pattern(pattern: str) -> regex.Pattern[str]:
    """A pattern of the service description as a Python one; match it with ``fullmatch``, as Java does."""
    whole = pattern.replace(*_PAIRS)
    return regex.compile(_ALNUM.sub("a-zA-Z0-9", _REPEATED_ANCHOR.sub("", whole)))


def scaling_model() -> ServiceModel:
    """botocore's description of Application Auto Scaling."""
    return service_model("application-autoscaling")


def check_request(
    operation: str, request: dict[str, Any], model: Callable[[], ServiceModel] = control_model
) -> None:
    """Hold a request against the operation's input shape.

    Raises:
        ServiceError: ``ValidationException`` naming every broken constraint, or
            ``SerializationException`` where a value has the wrong type.
    """
    shape = model().operation_model(operation).input_shape
    if shape is None:
        return
    missing = list(_null_members(shape, request, ""))
    if not missing:
        try:
            errors = ParamValidator().validate(request, shape)
            if errors.has_errors():
                _raise_from_report(errors.generate_report())
        except ParamValidationError as error:
            _raise_from_report(str(error))
    problems = missing + list(_broken_constraints(shape, request, ""))
    if problems:
        count = len(problems)
        noun = "error" if count == 1 else "errors"
        raise ServiceError(
            "ValidationException", f"{count} validation {noun} detected: " + "; ".join(problems)
        )


def _raise_from_report(report: str) -> None:
    # A value below a minimum is a broken constraint that `_broken_constraints` words as AWS does;
    # what remains of botocore's report are wrong types.
    kept = [line for line in report.splitlines() if "Invalid type" in line or "timestamp" in line]
    if kept:
        raise ServiceError("SerializationException", "; ".join(kept))


def _lower_first(name: str) -> str:
    return name[:1].lower() + name[1:]


def _member_path(path: str, name: str) -> str:
    return f"{path}.{_lower_first(name)}" if path else _lower_first(name)


def _null_members(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if shape.type_name == "structure" and isinstance(value, dict):
        for name in shape.required_members:
            if value.get(name) is None:
                yield (
                    f"Value null at '{_member_path(path, name)}' failed to satisfy constraint: "
                    "Member must not be null"
                )
    for member, inner, inner_path in _children(shape, value, path):
        yield from _null_members(member, inner, inner_path)


def _children(shape: Shape, value: Any, path: str) -> Iterator[tuple[Shape, Any, str]]:
    if shape.type_name == "structure" and isinstance(value, dict):
        for name, member in shape.members.items():  # type: ignore[attr-defined]
            if value.get(name) is not None:
                yield member, value[name], _member_path(path, name)
    elif shape.type_name == "list" and isinstance(value, list):
        for index, item in enumerate(value, start=1):
            yield shape.member, item, f"{path}.{index}.member"  # type: ignore[attr-defined]
    elif shape.type_name == "map" and isinstance(value, dict):
        for key, item in value.items():
            yield shape.key, key, f"{path}.{key}.key"  # type: ignore[attr-defined]
            yield shape.value, item, f"{path}.{key}.member"  # type: ignore[attr-defined]


def _broken_constraints(shape: Shape, value: Any, path: str) -> Iterator[str]:
    for rule in _broken_rules(shape, value):
        shown = "" if shape.metadata.get("sensitive") else f" '{_shown(value)}'"
        yield f"Value{shown} at '{path}' failed to satisfy constraint: {rule}"
    for member, inner, inner_path in _children(shape, value, path):
        yield from _broken_constraints(member, inner, inner_path)


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"


def _broken_rules(shape: Shape, value: Any) -> Iterator[str]:
    metadata = shape.metadata
    low, high = metadata.get("min"), metadata.get("max")
    if shape.type_name == "string" and isinstance(value, str):
        if low is not None and len(value) < low:
            yield f"Member must have length greater than or equal to {low}"
        if high is not None and len(value) > high:
            yield f"Member must have length less than or equal to {high}"
        elif metadata.get("pattern") and not compile_pattern(metadata["pattern"]).fullmatch(value):
            yield f"Member must satisfy regular expression pattern: {metadata['pattern']}"
        allowed = getattr(shape, "enum", None)
        if allowed and value not in allowed:
            yield f"Member must satisfy enum value set: [{', '.join(allowed)}]"
    elif shape.type_name in ("list", "map") and isinstance(value, list | dict):
        if low is not None and len(value) < low:
            yield f"Member must have length greater than or equal to {low}"
        if high is not None and len(value) > high:
            yield f"Member must have length less than or equal to {high}"
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if low is not None and value < low:
            yield f"Member must have value greater than or equal to {low}"
        if high is not None and value > high:
            yield f"Member must have value less than or equal to {high}"


def timestamp(value: Any) -> float | None:
    """A request's time (epoch seconds or ``datetime``) as epoch seconds; None stays None."""
    if value is None:
        return None
    return value.timestamp() if isinstance(value, datetime) else float(value)


def shaped(operation: str, document: dict[str, Any]) -> dict[str, Any]:
    """The members of a document that the operation's answer has; inner members and nulls are left out."""
    output = control_model().operation_model(operation).output_shape
    if output is None:
        return {}
    return {name: document[name] for name in output.members if document.get(name) is not None}
