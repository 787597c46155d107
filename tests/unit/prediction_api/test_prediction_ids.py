"""Where a prediction stands, and what the log may keep of it."""

from __future__ import annotations

import doctest
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.predictions import BINARY, PATIENT

from dropforge.domain import predictions
from dropforge.domain.contract import Column, Contract
from dropforge.domain.errors import InvalidContract
from dropforge.domain.predictions import (
    SHARDS,
    PredictionRecord,
    epoch_ms,
    id_time_ms,
    is_prediction_id,
    logged_inputs,
    lower_bound,
    needs_salt,
    partition_of,
    partitions,
    prediction_id,
    pseudonym,
    window_of,
)

MOMENTS = st.integers(1_577_836_800_000, 4_102_444_800_000).map(
    lambda at_ms: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
)


@given(MOMENTS, st.text(), st.integers(0, 499))
def test_an_id_leads_to_its_time_and_partition_and_sorts_by_time(moment, request_id, index):
    identifier = prediction_id(epoch_ms(moment), request_id, index)
    assert is_prediction_id(identifier)
    assert id_time_ms(identifier) == epoch_ms(moment)
    later = moment + timedelta(milliseconds=1)
    assert lower_bound(moment) < identifier < lower_bound(later)
    assert partition_of(identifier) in partitions(moment, later)


@given(MOMENTS, st.integers(0, 5 * 3_600_000), st.integers(-3_600_000, 6 * 3_600_000))
def test_a_windows_partitions_hold_what_is_in_it(start, length_ms, offset_ms):
    end = start + timedelta(milliseconds=length_ms + 1)
    at_ms = epoch_ms(start) + offset_ms
    identifier = prediction_id(at_ms, "r", 0)
    inside = epoch_ms(start) <= at_ms < epoch_ms(end)
    assert inside == (lower_bound(start) <= identifier <= lower_bound(end))
    if inside:
        assert partition_of(identifier) in partitions(start, end)


def test_the_same_request_gives_the_same_ids_and_another_gives_others():
    at_ms = 1_795_251_600_000
    ids = {prediction_id(at_ms, request, index) for request in ("a", "b") for index in range(500)}
    assert len(ids) == 1000
    assert prediction_id(at_ms, "a", 7) == prediction_id(at_ms, "a", 7)


def test_ids_of_one_hour_spread_over_all_shards():
    found = {partition_of(prediction_id(1_795_251_600_000, "a", index)) for index in range(200)}
    assert len(found) == SHARDS


def test_an_hour_has_its_shards_and_a_day_24_times_as_many():
    start = datetime(2026, 11, 21, 9, tzinfo=UTC)
    hour = partitions(start, start + timedelta(hours=1))
    assert hour[0] == "2026-11-21T09#0"
    assert len(hour) == SHARDS
    assert len(partitions(start, start + timedelta(days=1))) == 24 * SHARDS


@pytest.mark.parametrize("text", ["", "x" * 32, "0" * 31, "0" * 33, "A" * 32, "0" * 31 + "\n"])
def test_other_texts_are_no_ids(text):
    assert not is_prediction_id(text)


def with_privacy(privacy: str | None, column: str = "ward") -> Contract:
    columns = tuple(
        Column(**{**{slot: getattr(each, slot) for slot in Column.__slots__}, "privacy": privacy})
        if each.name == column
        else each
        for each in BINARY.columns
    )
    return Contract(BINARY.target, BINARY.key, BINARY.task, BINARY.classes, columns)


def test_features_and_key_are_logged_and_ignored_columns_are_not():
    sent = {**PATIENT, "id": "p7", "note": "private"}
    assert logged_inputs(BINARY, sent, b"") == {**PATIENT, "id": "p7"}


def test_a_dropped_column_is_not_logged():
    assert "ward" not in logged_inputs(with_privacy("drop"), PATIENT, b"")
    assert not needs_salt(with_privacy("drop"))


def test_a_hashed_column_is_logged_as_a_pseudonym_that_depends_on_the_salt():
    contract = with_privacy("hash")
    assert needs_salt(contract)
    logged = logged_inputs(contract, PATIENT, b"salt")
    assert logged["ward"] == pseudonym("a", b"salt") != pseudonym("a", b"other")
    assert logged["ward"] != pseudonym("b", b"salt")
    assert {**logged, "ward": "a"} == PATIENT


def test_a_missing_value_has_no_pseudonym():
    assert pseudonym(None, b"salt") is None


def test_privacy_of_an_ignored_column_needs_no_salt():
    assert not needs_salt(with_privacy("hash", "note"))


def test_privacy_takes_part_in_the_hash_only_where_it_is_set():
    hashes = {with_privacy(each).hash for each in (None, "drop", "hash")}
    assert len(hashes) == 3
    assert BINARY.hash in hashes
    assert "privacy" not in BINARY.to_json()


@pytest.mark.parametrize("privacy", [None, "drop", "hash"])
def test_a_contract_with_privacy_reads_itself(privacy):
    contract = with_privacy(privacy)
    assert Contract.from_json(contract.to_json()) == contract


def test_an_unknown_privacy_is_refused_by_name():
    with pytest.raises(InvalidContract, match="column 'ward': privacy 'mask' is none of drop, hash"):
        with_privacy("mask")


def test_a_window_has_a_value_or_none_of_every_column_for_every_prediction():
    start = datetime(2026, 11, 21, 9, tzinfo=UTC)
    older, newer = (
        PredictionRecord(prediction_id(epoch_ms(start) + at, "r", 0), "", 1, inputs, {"value": 1.0}, 2.0)
        for at, inputs in ((0, {"a": 1}), (1, {"b": 2}))
    )
    window = window_of(start, start + timedelta(hours=1), [newer, older])
    assert window.columns == {"a": [1, None], "b": [None, 2]}
    assert window.ids == [older.prediction_id, newer.prediction_id]
    assert len(window) == len(window.outputs) == len(window.outcomes) == 2


def test_the_examples_hold():
    assert doctest.testmod(predictions).failed == 0
