"""DataProcessing: the examples of AWS's documentation, and what can't be filtered or joined."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dropforge_local.sagemaker.errors import ServiceError
from dropforge_local.sagemaker.transform_filters import FilterFailure, Processing

CSV, JSON = "text/csv", "application/json"


def test_without_settings_nothing_is_read_or_changed() -> None:
    plain = Processing({}, "image/png", None)
    assert not plain.changes_input
    assert not plain.changes_output
    assert plain.sent(b"\x89PNG") == b"\x89PNG"
    assert plain.stored(b"\x89PNG", b"{") == b"{"


@pytest.mark.parametrize(
    ("path", "sent"),
    [("$[1:]", b'2,"a,b",4'), ("$[0]", b"1"), ("$[:-1]", b'1,2,"a,b"'), ("$[0,-1]", b"1,4")],
)
def test_the_input_filter_of_csv_takes_columns(path: str, sent: bytes) -> None:
    assert Processing({"InputFilter": path}, CSV, CSV).sent(b'1,2,"a,b",4') == sent


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("$.features", [1, 2]),
        ("$['features']", [1, 2]),
        ("$.features[1:]", [2]),
        ("$['id','features']", {"id": 7, "features": [1, 2]}),
        ("$.['id','features']", {"id": 7, "features": [1, 2]}),
    ],
)
def test_the_input_filter_of_json_takes_members(path: str, sent: Any) -> None:
    record = json.dumps({"id": 7, "features": [1, 2], "more": {"a": 1}}).encode()
    assert json.loads(Processing({"InputFilter": path}, JSON, JSON).sent(record)) == sent


def test_csv_is_joined_by_columns_and_the_output_filter_sees_both() -> None:
    joined = Processing({"JoinSource": "Input"}, CSV, CSV)
    assert joined.stored(b"7,x", b"0.5,yes\n") == b"7,x,0.5,yes"
    filtered = Processing(
        {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}, CSV, CSV
    )
    assert filtered.sent(b"7,x") == b"x"
    assert filtered.stored(b"7,x", b"0.5,yes\n") == b"7,yes"


def test_json_is_joined_under_a_member_of_its_own() -> None:
    joined = Processing({"JoinSource": "Input"}, JSON, JSON)
    assert json.loads(joined.stored(b'{"id": 7}', b"[1]")) == {"id": 7, "SageMakerOutput": [1]}
    assert json.loads(joined.stored(b"[7]", b"[1]")) == {"SageMakerInput": [7], "SageMakerOutput": [1]}
    filtered = Processing({"JoinSource": "Input", "OutputFilter": "$['id','SageMakerOutput']"}, JSON, JSON)
    assert json.loads(filtered.stored(b'{"id": 7, "x": 1}', b"2")) == {"id": 7, "SageMakerOutput": 2}


@pytest.mark.parametrize(
    ("path", "record"),
    [("$.nothing", b'{"a": 1}'), ("$['a','b']", b'{"a": 1}'), ("$[3]", b"[1]"), ("$.a", b"{")],
)
def test_a_record_without_what_the_filter_wants_fails(path: str, record: bytes) -> None:
    with pytest.raises(FilterFailure):
        Processing({"InputFilter": path}, JSON, JSON).sent(record)


@pytest.mark.parametrize("path", ["$..a", "$[*]", "$[?(@.a>1)]", "$[", "$[0,5:]"])
def test_a_path_that_is_not_supported_is_refused_by_name(path: str) -> None:
    with pytest.raises(ServiceError, match="The local host does not support the JSONPath"):
        Processing({"OutputFilter": path}, JSON, JSON)


def test_other_types_than_csv_and_json_are_refused() -> None:
    for content_type, accept in (("image/png", None), (CSV, JSON), (None, None)):
        with pytest.raises(ServiceError, match="DataProcessing needs ContentType and Accept"):
            Processing({"JoinSource": "Input"}, content_type, accept)
