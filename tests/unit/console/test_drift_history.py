from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.console.stored import StoredS3
from tests.unit.drift.test_watch_model import START, World

from dropforge.domain.moments import iso
from dropforge_ops.console.reading import drift
from dropforge_ops.console.reading.drift import WatchHistory, false_alarm_windows, read_alarms, window_of


@pytest.fixture(scope="module")
def world():
    """Two quiet windows, then three in which x has moved."""
    world = World()
    for hour in range(5):
        world.serve(300, hour=hour, shift=0.8 if hour >= 2 else 0.0)
        world.watch(hour)
    return world


def history(world):
    s3 = StoredS3(world.store)
    return s3, WatchHistory(s3, "data", s3.documents)


def test_a_column_is_followed_over_the_windows_against_the_border_of_chance(world):
    _, reports = history(world)
    found = reports.between(START, START + timedelta(hours=6))
    assert [window.start for window in found.windows] == [START + timedelta(hours=h) for h in range(5)]
    series = found.series("x")
    assert [column.drifted for _, column in series] == [False, False, True, True, True]
    for _, column in series:
        assert (column.distance >= 2) == column.drifted, "2 is one in a hundred, the rate of false alarms"
    assert found.names()[0] in ("x", "predicted score"), "what drifts most comes first"
    assert found.latest.alarms["drift"].reason.startswith("3 of the last 3 windows")
    assert found.latest.quality.labelled == found.latest.quality.predictions


def test_only_the_span_that_was_asked_for_is_read(world):
    s3, reports = history(world)
    found = reports.between(START + timedelta(hours=2), START + timedelta(hours=4))
    assert len(found.windows) == 2
    assert s3.gets <= 4


def test_a_report_is_read_once_until_it_changes(world):
    s3, reports = history(world)
    reports.between(START, START + timedelta(hours=6))
    before = s3.gets
    reports.between(START, START + timedelta(hours=6))
    assert s3.gets == before
    uri = "s3://data/monitoring/2026/11/22/10/report.json"
    world.store.write(uri, world.store.read(uri) + b"\n")
    reports.between(START, START + timedelta(hours=6))
    assert s3.gets == before + 1


def test_of_more_windows_than_a_page_holds_the_newest_are_read(world, monkeypatch):
    monkeypatch.setattr(drift, "MOST_WINDOWS", 2)
    _, reports = history(world)
    found = reports.between(START, START + timedelta(hours=6))
    assert [window.start.hour for window in found.windows] == [13, 14]
    assert found.left_out == 3


def test_the_distributions_of_a_column_come_with_its_window(world):
    _, reports = history(world)
    latest = reports.between(START, START + timedelta(hours=6)).latest
    spread = reports.distribution(latest, "ward")
    assert set(spread["labels"]) == {"a", "b", "c"}
    assert sum(spread["window"]) == 300
    assert reports.distribution(latest, "no such column") is None


def test_windows_without_a_model_or_of_another_format_are_passed_over():
    assert window_of("s3://b/k", {"format": 2}) is None
    assert window_of("s3://b/k", {"format": 1, "model": None}) is None


def test_where_errors_concentrate_comes_with_its_window():
    world = World()
    world.serve(900, inverted_ward="b")
    world.watch()
    _, reports = history(world)
    failing = reports.between(START, START + timedelta(hours=1)).latest.failing
    assert failing.slices[0].where == "ward is 'b'"
    assert failing.slices[0].error > failing.slices[0].elsewhere
    assert len(failing.slices[0].examples) == 5


def test_without_reports_there_is_nothing(world):
    _, reports = history(world)
    found = reports.between(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 3, tzinfo=UTC))
    assert (found.windows, found.latest, found.names()) == ((), None, [])


class CloudFormation:
    def get_paginator(self, operation):
        assert operation == "list_stack_resources"
        return self

    def paginate(self, *, StackName):
        kind = "AWS::CloudWatch::Alarm"
        for name in ("DriftAlarm", "QualityAlarm", "Ledger"):
            yield {
                "StackResourceSummaries": [
                    {
                        "LogicalResourceId": name,
                        "PhysicalResourceId": f"{StackName}-{name}-1",
                        "ResourceType": kind if name.endswith("Alarm") else "AWS::DynamoDB::Table",
                    }
                ]
            }


class CloudWatch:
    def describe_alarms(self, *, AlarmNames, MaxRecords):
        states = {"s-DriftAlarm-1": "OK", "s-QualityAlarm-1": "ALARM"}
        return {"MetricAlarms": [{"AlarmName": name, "StateValue": states[name]} for name in AlarmNames]}


def test_alarms_are_those_of_the_stack_the_ringing_ones_first():
    found = read_alarms(CloudFormation(), CloudWatch(), "s")
    assert [(each.name, each.state) for each in found] == [("QualityAlarm", "ALARM"), ("DriftAlarm", "OK")]


def test_false_alarms_by_chance_agree_with_counting_them():
    import numpy as np

    rng = np.random.default_rng(0)
    hit = rng.random(400_000) < 0.1
    last_three = hit[2:].astype(int) + hit[1:-1] + hit[:-2]
    share = float((hit[2:] & (last_three >= 2)).mean())
    assert 1 / share == pytest.approx(false_alarm_windows(0.1, 2, 3), rel=0.05)


def test_the_schedules_windows_tell_how_long_a_window_is(world):
    _, reports = history(world)
    found = reports.between(START, START + timedelta(hours=6))
    assert found.scheduled_hours == 1
    at_once = replace(found.latest, start=found.latest.end - timedelta(seconds=7))
    assert replace(found, windows=(*found.windows, at_once)).scheduled_hours == 1
    assert replace(found, windows=(at_once,)).scheduled_hours is None


def wide_report(hour, moved=()):
    """A report of 2,000 columns: those that moved and some others, other ones each hour, are told in full."""
    names = [f"a rather long name of a column, number {number:04}" for number in range(2000)]
    told = [*moved, *names[hour : hour + 200 - len(moved)]]
    statistics = [
        {"name": test, "value": 0.1, "baseline": None, "threshold": 0.2, "p_value": 0.5, "share": 0.2}
        for test in ("kolmogorov_smirnov", "psi", "jensen_shannon", "missing_rate", "out_of_domain_rate")
    ]
    columns = [
        {
            "name": name,
            "kind": "feature",
            "verdict": "drifted" if name in moved else "quiet",
            "adjusted_p_value": 1e-9 if name in moved else 1.0,
            "rows": 300,
            "missing": 0,
            "statistics": statistics,
        }
        for name in told
    ]
    start = START + timedelta(hours=hour)
    return {
        "format": 1,
        "window": {"start": iso(start), "end": iso(start + timedelta(hours=1))},
        "verdict": "drifted" if moved else "quiet",
        "model": {"version": 1},
        "rows": 300,
        "drifted": list(moved),
        "columns": columns,
        "further_columns": dict.fromkeys(set(names) - set(told), 1.0),
        "policy": {"false_alarm_rate": 0.01},
    }


def test_a_month_of_windows_of_two_thousand_columns_is_held_in_bounded_memory():
    texts = [json.dumps(wide_report(hour)) for hour in range(21)]
    kept = [window_of("s3://b/k", json.loads(texts[0]))]
    tracemalloc.start()
    kept += [window_of("s3://b/k", json.loads(text)) for text in texts[1:]]
    held = tracemalloc.get_traced_memory()[0] / 20
    tracemalloc.stop()
    assert held * drift.MOST_WINDOWS < 300_000_000
    assert {each.watched for each in kept} == {2000}


def test_of_many_columns_those_that_moved_come_first_and_the_others_are_quiet_where_nothing_is_told():
    moved = "a rather long name of a column, number 1999"
    windows = [window_of("s3://b/k", wide_report(hour)) for hour in range(4)]
    windows += [window_of("s3://b/k", wide_report(hour, [moved])) for hour in (4, 5)]
    found = drift.History(START, START + timedelta(hours=6), tuple(windows))
    assert found.names()[0] == moved
    assert found.strip(moved, 6) == [0.0, 0.0, 0.0, 0.0, 9.0, 9.0]
    assert found.strip("no such column", 6) == [None] * 6
    assert len(found.names()) == 205
