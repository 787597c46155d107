"""Requests are held against the service description, in SageMaker's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dropforge_local.sagemaker.errors import ServiceError
from dropforge_local.sagemaker.service import HostPorts, SageMaker
from dropforge_local.sagemaker.validation import check_request, compile_pattern, control_model

GROUP = "CreateModelPackageGroup"


def broken(operation: str, request: dict[str, Any]) -> str:
    with pytest.raises(ServiceError) as caught:
        check_request(operation, request)
    assert caught.value.code == "ValidationException"
    return caught.value.message


def test_missing_member_is_null() -> None:
    assert broken(GROUP, {}) == (
        "1 validation error detected: Value null at 'modelPackageGroupName' failed to satisfy constraint: "
        "Member must not be null"
    )


def test_missing_member_inside_a_list_is_named_by_its_place() -> None:
    message = broken(
        GROUP, {"ModelPackageGroupName": "g", "Tags": [{"Key": "a", "Value": "b"}, {"Key": "c"}]}
    )
    assert "Value null at 'tags.2.member.value' failed" in message


def test_length_pattern_and_enumeration_are_checked() -> None:
    too_long = broken(GROUP, {"ModelPackageGroupName": "a" * 64})
    assert "Member must have length less than or equal to 63" in too_long
    assert "regular expression pattern" in broken(GROUP, {"ModelPackageGroupName": "a_b"})
    wrong = broken("ListModelPackages", {"SortOrder": "Up"})
    assert "Member must satisfy enum value set: [Ascending, Descending]" in wrong
    assert "greater than or equal to 1" in broken("ListModelPackages", {"MaxResults": 0})


def test_pattern_has_to_match_the_whole_value() -> None:
    assert "pattern" in broken("DescribeTrainingJob", {"TrainingJobName": "good/../bad"})
    assert "pattern" in broken("DescribeTrainingJob", {"TrainingJobName": "good\n"})


def test_wrong_type_is_a_serialization_error() -> None:
    with pytest.raises(ServiceError) as caught:
        check_request("ListModels", {"MaxResults": "ten"})
    assert caught.value.code == "SerializationException"


def test_unknown_members_are_ignored_as_the_protocol_wants() -> None:
    check_request(GROUP, {"ModelPackageGroupName": "g", "Unheard": 1})


def test_unicode_classes_of_tag_patterns_are_understood() -> None:
    check_request(GROUP, {"ModelPackageGroupName": "g", "Tags": [{"Key": "équipe é", "Value": "ß/1"}]})
    assert "pattern" in broken(GROUP, {"ModelPackageGroupName": "g", "Tags": [{"Key": "a\t", "Value": ""}]})


def test_every_pattern_of_the_served_operations_compiles(tmp_path: Path) -> None:
    service = SageMaker(
        tmp_path,
        HostPorts(
            s3=lambda: None,
            emit_event=lambda *_: None,
            put_log=lambda *_: None,
            alarm_state=lambda _: None,
            environment=lambda _: {},
        ),
    )
    service.start()
    operations = service.operations
    service.stop()
    patterns: set[str] = set()
    seen: set[str] = set()
    for operation in operations:
        _collect(control_model().operation_model(operation).input_shape, patterns, seen)
    assert len(patterns) > 40
    for pattern in patterns:
        compile_pattern(pattern)


def _collect(shape: Any, patterns: set[str], seen: set[str]) -> None:
    if shape.name in seen:
        return
    seen.add(shape.name)
    if "pattern" in shape.metadata:
        patterns.add(shape.metadata["pattern"])
    inner = {
        "structure": lambda: list(shape.members.values()),
        "list": lambda: (shape.member,),
        "map": lambda: (shape.key, shape.value),
    }
    for child in inner.get(shape.type_name, list)():
        _collect(child, patterns, seen)
