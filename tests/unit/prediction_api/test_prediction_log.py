"""Both logs: the one in memory, and the one on a DynamoDB table made from the template's own resource."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.fakes.aws_clients import BotoDynamoDb
from tests.fakes.predictions import FakePredictionLog
from tests.mocked_aws import create_table, mocked_aws

from dropforge.adapters.prediction_log import BATCH_ITEMS, DynamoDbPredictionLog, _Sample
from dropforge.domain.errors import ServiceUnavailable
from dropforge.domain.moments import iso
from dropforge.domain.predictions import OutcomeStatus, PredictionRecord, epoch_ms, prediction_id
from dropforge_local.template import load_template

TEMPLATE = load_template(Path(__file__).parents[3] / "template.yaml")
PROPERTIES = TEMPLATE["Resources"]["Predictions"]["Properties"]
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOW = NOON + timedelta(days=40)
numbers = itertools.count()


@pytest.fixture(scope="module")
def client():
    with mocked_aws() as client:
        yield client("dynamodb")


@pytest.fixture
def dynamodb(client):
    return BotoDynamoDb(client)


@pytest.fixture
def table(client):
    name = f"predictions-{next(numbers)}"
    create_table(client, name, PROPERTIES)
    return name


@pytest.fixture
def real(dynamodb, table):
    return DynamoDbPredictionLog(dynamodb, table, retention_days=90, pause=lambda _: None)


@pytest.fixture(params=["memory", "dynamodb"])
def log(request):
    return FakePredictionLog() if request.param == "memory" else request.getfixturevalue("real")


def record(at: datetime = NOON, index: int = 0, version: int = 1, **inputs) -> PredictionRecord:
    return PredictionRecord(
        prediction_id(epoch_ms(at), "request", index),
        iso(at),
        version,
        inputs or {"x": 1.5, "name": "ü", "none": None},
        {"label": "yes", "probabilities": {"no": 0.25, "yes": 0.75}},
        12.345,
    )


def test_finds_what_was_written(log):
    written = record()
    log.write([written])
    assert log.get(written.prediction_id) == written


@pytest.mark.parametrize("unknown", ["0" * 32, "", "../x", "Z" * 32])
def test_finds_nothing_under_an_unknown_id(log, unknown):
    log.write([record()])
    assert log.get(unknown) is None


def test_writing_twice_is_writing_once(log):
    written = [record(index=index) for index in range(3)]
    log.write(written)
    log.write(written)
    assert len(log.window(NOON, NOON + timedelta(hours=1))) == 3


def test_an_id_that_is_written_once_keeps_its_first_record_and_its_outcome(log):
    first, other = record(), record(index=1)
    assert log.write_once([first]) == [first]
    log.record_outcomes({first.prediction_id: "yes"}, now=NOW)
    kept, written = log.write_once([record(version=2), other])
    assert (kept.model_version, kept.outcome) == (1, "yes")
    assert written == other
    assert log.find([first.prediction_id, other.prediction_id, "0" * 32]) == {
        first.prediction_id: kept,
        other.prediction_id: other,
    }


def test_writes_as_many_as_a_request_may_have(log):
    written = [record(index=index, x=index) for index in range(500)]
    log.write(written)
    window = log.window(NOON, NOON + timedelta(milliseconds=1))
    assert sorted(window.columns["x"]) == list(range(500))
    assert set(window.ids) == {each.prediction_id for each in written}


def test_writes_nothing_without_records(log):
    log.write([])
    assert len(log.window(NOON, NOON + timedelta(days=1))) == 0


def test_a_window_begins_with_its_start_and_ends_before_its_end(log):
    times = [NOON + timedelta(milliseconds=offset) for offset in (-1, 0, 1, 3_599_999, 3_600_000)]
    log.write([record(at, x=number) for number, at in enumerate(times)])
    assert log.window(NOON, NOON + timedelta(hours=1)).columns["x"] == [1, 2, 3]
    assert log.window(NOON, NOON).ids == []
    assert log.window(NOON + timedelta(hours=1), NOON).ids == []


def test_a_window_over_hours_and_days_is_in_the_order_of_time(log):
    times = [NOON + timedelta(minutes=7 * step) for step in range(300)]
    log.write([record(at, x=number) for number, at in enumerate(times)])
    window = log.window(NOON, NOON + timedelta(days=2))
    assert window.columns["x"] == list(range(300))
    assert window.at == [iso(at) for at in times]
    assert window.latencies_ms == [12.345] * 300


def test_a_window_can_be_of_one_version(log):
    log.write([record(index=index, version=1 + index % 2, x=index) for index in range(10)])
    window = log.window(NOON, NOON + timedelta(hours=1), model_version=2)
    assert sorted(window.columns["x"]) == [1, 3, 5, 7, 9]
    assert set(window.model_versions) == {2}


def test_an_outcome_finds_its_prediction_however_late(log):
    written = record()
    log.write([written])
    assert log.record_outcomes({written.prediction_id: "yes"}, now=NOW) == {
        written.prediction_id: OutcomeStatus.RECORDED
    }
    found = log.get(written.prediction_id)
    assert (found.outcome, found.outcome_at) == ("yes", iso(NOW))
    assert log.window(NOON, NOON + timedelta(hours=1)).outcomes == ["yes"]


def test_the_outcome_of_a_regression_is_a_number(log):
    written = record()
    log.write([written])
    log.record_outcomes({written.prediction_id: 151.25}, now=NOW)
    assert log.get(written.prediction_id).outcome == 151.25


def test_an_outcome_is_recorded_once(log):
    known, other = record(index=0), record(index=1)
    log.write([known, other])
    log.record_outcomes({known.prediction_id: "yes"}, now=NOW)
    later = NOW + timedelta(seconds=1)
    found = log.record_outcomes(
        {known.prediction_id: "yes", other.prediction_id: "no", "f" * 32: "no", "nonsense": "no"}, now=later
    )
    assert found == {
        known.prediction_id: OutcomeStatus.ALREADY_RECORDED,
        other.prediction_id: OutcomeStatus.RECORDED,
        "f" * 32: OutcomeStatus.UNKNOWN_PREDICTION,
        "nonsense": OutcomeStatus.UNKNOWN_PREDICTION,
    }
    assert log.record_outcomes({known.prediction_id: "no"}, now=later) == {
        known.prediction_id: OutcomeStatus.CONFLICTING
    }
    assert log.get(known.prediction_id).outcome == "yes"
    assert log.get(known.prediction_id).outcome_at == iso(NOW)


def test_an_unknown_outcome_leaves_nothing_behind(log):
    log.record_outcomes({"f" * 32: "no"}, now=NOW)
    assert log.get("f" * 32) is None


# --- on DynamoDB -----------------------------------------------------------------------------------------


def test_what_dynamodb_leaves_unprocessed_is_sent_again_until_all_is_written(real, dynamodb):
    dynamodb.unprocessed = [20, 0, 3]
    written = [record(index=index) for index in range(BATCH_ITEMS)]
    real.write(written)
    assert len(real.window(NOON, NOON + timedelta(hours=1))) == BATCH_ITEMS


def test_says_so_when_not_all_could_be_written(real, dynamodb):
    dynamodb.unprocessed = [0] * 100
    with pytest.raises(ServiceUnavailable, match="left 2 of 2 predictions unprocessed"):
        real.write([record(index=0), record(index=1)])


def test_an_outcome_whose_answer_was_lost_counts_as_recorded(real, dynamodb):
    written = record()
    real.write([written])
    dynamodb.lost_answers = 1
    found = real.record_outcomes({written.prediction_id: "yes"}, now=NOW)
    assert found == {written.prediction_id: OutcomeStatus.RECORDED}


def test_records_expire_after_the_retention(real, client, table):
    real.write([record()])
    (item,) = client.scan(TableName=table)["Items"]
    assert int(item["expires_at"]["N"]) == epoch_ms(NOON) // 1000 + 90 * 86400
    assert PROPERTIES["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}


def test_a_window_larger_than_a_page_is_read_whole(real, client, table):
    written = [record(index=index, x="x" * 50_000) for index in range(200)]
    real.write(written)
    assert len(real.window(NOON, NOON + timedelta(hours=1))) == 200


def test_labelled_predictions_come_oldest_first_by_when_their_outcome_was_reported(log):
    # Over more than a day, which is read at once.
    records = [record(NOON + timedelta(hours=hours), hours) for hours in range(0, 27, 3)]
    log.write(records)
    early, late = NOON + timedelta(days=3), NOON + timedelta(days=4)
    for moment, chosen in ((early, records[:3]), (late, records[5:])):
        log.record_outcomes({each.prediction_id: "yes" for each in chosen}, now=moment)

    def found(since, until, start=NOON, end=NOON + timedelta(hours=25)):
        return [each.prediction_id for each in log.labelled(start, end, since=since, until=until)]

    def ids(chosen):
        return [each.prediction_id for each in chosen]

    assert found(early, late + timedelta(seconds=1)) == ids(records[:3] + records[5:])
    assert found(early, late, start=NOON + timedelta(hours=3)) == ids(records[1:3])
    assert found(late, late, end=NOON + timedelta(hours=1)) == []


def test_a_large_window_is_read_as_a_sample_that_is_the_same_each_time_and_spread_over_time(log):
    records = [record(NOON + timedelta(seconds=number), number, x=float(number)) for number in range(1200)]
    log.write(records)
    end = NOON + timedelta(hours=1)
    sample = log.window(NOON, end, at_most=400)
    assert sample.is_sample
    assert 160 <= len(sample) <= 400
    assert sample.ids == log.window(NOON, end, at_most=400).ids
    assert set(sample.ids) < {each.prediction_id for each in records}
    thirds = np.histogram(sample.columns["x"], bins=3, range=(0, 1200))[0]
    assert thirds.min() > 0.2 * len(sample)
    whole = log.window(NOON, end, at_most=1200)
    assert (whole.is_sample, len(whole)) == (False, 1200)


def test_pages_of_a_partition_are_thinned_as_they_come(real, dynamodb, monkeypatch):
    """One shard of one hour may hold more than fits into memory."""
    real.write([record(NOON + timedelta(milliseconds=number), number) for number in range(800)])
    most = []
    add = _Sample.add

    def watched(self, records):
        add(self, records)
        most.append(len(self.records))

    monkeypatch.setattr(_Sample, "add", watched)
    sample = real.window(NOON, NOON + timedelta(hours=1), at_most=50)
    assert sample.is_sample
    assert max(most) <= 50


def test_records_of_many_columns_hold_each_name_once(real):
    made = [record(index=index, **{"a rather long name": 1.5}) for index in range(2)]
    real.write(made)
    first, second = (real.get(each.prediction_id) for each in made)
    assert next(iter(first.inputs)) is next(iter(second.inputs))
