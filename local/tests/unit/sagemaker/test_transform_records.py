"""What a transform job sends and stores, whatever the bytes are."""

from __future__ import annotations

import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dropforge_local.sagemaker.transform_records import (
    PayloadTooLarge,
    assembled,
    mini_batches,
    payload,
    records,
)

# Line feeds are frequent, so that empty records and files that end in one come up.
CONTENT = st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"bcd", b",", b"\xff"])).map(b"".join)
RECORDS = st.lists(st.binary(max_size=12).map(lambda each: each.replace(b"\n", b"")), max_size=30)
LIMITS = st.integers(min_value=12, max_value=60)


@given(CONTENT)
def test_splitting_by_lines_loses_no_byte_but_the_last_line_feed(content: bytes) -> None:
    found = list(records(io.BytesIO(content), "Line", 1000))
    assert b"\n".join(found) == content.removesuffix(b"\n")
    assert all(b"\n" not in record for record in found)
    assert len(found) == content.count(b"\n") + (not content.endswith(b"\n") and content != b"")


@given(CONTENT)
def test_a_file_that_is_not_split_is_one_record(content: bytes) -> None:
    assert list(records(io.BytesIO(content), "None", 1000)) == [content]


@pytest.mark.parametrize("split", ["None", "Line"])
@given(size=st.integers(min_value=1, max_value=40))
def test_a_record_may_be_exactly_as_large_as_a_payload_and_no_larger(split: str, size: int) -> None:
    record = b"x" * size
    assert list(records(io.BytesIO(record), split, size)) == [record]
    with pytest.raises(PayloadTooLarge, match="Too much data for max payload size"):
        list(records(io.BytesIO(record), split, size - 1))


@given(RECORDS, LIMITS)
def test_several_records_fill_each_payload_and_keep_their_order(found: list[bytes], limit: int) -> None:
    batches = list(mini_batches(found, "MultiRecord", limit))
    assert [record for batch in batches for record in batch] == found
    assert all(len(payload(batch)) <= limit for batch in batches)
    for batch, following in itertools.pairwise(batches):
        assert len(payload([*batch, following[0]])) > limit


@given(RECORDS, LIMITS)
def test_single_records_go_one_by_one(found: list[bytes], limit: int) -> None:
    assert list(mini_batches(found, "SingleRecord", limit)) == [[record] for record in found]


@given(RECORDS)
def test_splitting_what_was_assembled_by_lines_gives_the_answers_back(answers: list[bytes]) -> None:
    stored = b"".join(assembled(answer, "Line") for answer in answers)
    assert list(records(io.BytesIO(stored), "Line", 1000)) == answers


@given(st.lists(st.binary(max_size=12)))
def test_assembling_with_none_adds_nothing(answers: list[bytes]) -> None:
    assert b"".join(assembled(answer, "None") for answer in answers) == b"".join(answers)
