"""Scored files as windows: alone or together, once, in bounded memory, with the same alarms."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from tests.fakes.records import BUCKET, a_drop, s3_event
from tests.unit.drift.test_watch_model import SALT, START, TRAINING, OnlyLive, World, rows_of

from dropforge.adapters.tables.batch_tables import StreamedBatchTables
from dropforge.application.plan_batch import plan_batch
from dropforge.application.watch_batch import BatchToWatch, NotWatched, watch_batch
from dropforge.domain.batch import BatchPlaces
from dropforge.domain.drift.policy import WatchPolicy
from dropforge.domain.errors import InvalidBatchOutput
from dropforge.domain.moments import iso
from dropforge.domain.triggers import Drop

DAY = timedelta(days=1)


class Batches:
    """Files that the live model of a watched world scores."""

    def __init__(self, seed=5, **settings):
        self.world = World(**{"cooldown_s": 0, **settings})
        self.store, self.rng, self.number = self.world.store, np.random.default_rng(seed), 0

    def file(self, count, shift=0.0):
        x, ward, _, _ = rows_of(self.rng, count, shift)
        return "\n".join(["x,ward", *(f"{a!r},{b}" for a, b in zip(x.tolist(), ward, strict=True))]).encode()

    def score(self, content, *, day=0, policy=None, **options):
        """Drop, plan, answer and watch a file."""
        self.number += 1
        drop = a_drop(self.number, key=f"batch/in/file-{self.number}.csv", written_at=None)
        self.store.write(f"s3://data/{drop.key}", content)
        plan = plan_batch(
            s3_event(drop),
            execution_arn=f"execution-{self.number}",
            data_bucket=BUCKET,
            ledger=OnlyLive(self.world.pointer),
            store=self.store,
            tables=StreamedBatchTables(self.store),
            now=START + day * DAY,
        )
        answers = []
        for line in self.store.read(plan.requests_uri).splitlines():
            chances = [1 / (1 + np.exp(-2 * each["x"])) for each in json.loads(line)["instances"]]
            answers.append(
                json.dumps(
                    {
                        "predictions": [
                            {"label": "yes" if c > 0.5 else "no", "probabilities": {"no": 1 - c, "yes": c}}
                            for c in chances
                        ]
                    }
                )
            )
        self.output_uri = f"{plan.output_uri}a0/"
        self.store.write(f"{self.output_uri}requests.jsonl.out", "".join(f"{a}\n" for a in answers).encode())
        self.plan_uri = plan.plan_uri
        return self.watch_again(policy, **options)

    def watch_again(self, policy=None, **options):
        batch = BatchToWatch(
            self.plan_uri,
            self.output_uri,
            "s3://data",
            policy or self.world.policy,
            TRAINING,
            SALT,
            **options,
        )
        return watch_batch(batch, OnlyLive(self.world.pointer), self.store, self.world.workflows)

    def report(self, watched):
        return json.loads(self.store.read(watched.report_uri))


def test_a_clean_file_is_quiet_and_raises_nothing():
    batches = Batches()
    watched = batches.score(batches.file(400))
    report = batches.report(watched)
    assert report["verdict"] == "quiet"
    assert report["batch"]["rows"] == report["rows"] == 400
    assert [each["key"] for each in report["batch"]["files"]] == ["batch/in/file-1.csv"]
    assert {each["name"] for each in report["columns"]} == {"x", "ward", "predicted score"}
    assert report["domain_classifier"] is not None
    assert batches.world.answers() == []


def test_one_shifted_file_raises_one_alarm_at_once_and_a_retry_starts_nothing_more():
    batches = Batches()
    watched = batches.score(batches.file(400, shift=0.6))
    report = batches.report(watched)
    assert (report["verdict"], report["alarms"]["drift"]["raised"]) == ("drifted", True)
    assert "so improbable" in report["alarms"]["drift"]["reason"]
    assert [each["kind"] for each in batches.world.answers()] == ["drift"]
    again = batches.watch_again()
    assert batches.report(again) == report
    assert len(batches.world.answers()) == 1


def test_a_slightly_shifted_file_takes_as_many_windows_as_predictions_do_even_months_apart():
    batches = Batches(false_alarm_rate=0.2, windows_to_alarm=2, windows_considered=2)
    found = []
    for month in range(2):
        content = batches.file(3000, shift=0.075)
        report = batches.report(batches.score(content, day=40 * month))
        found.append((report["verdict"], report["alarms"]["drift"]["windows_found"]))
    assert [verdict for verdict, _ in found] == ["drifted", "drifted"]
    assert found[1][1] == 2


def test_files_and_logged_predictions_are_counted_apart_and_share_the_cooldown():
    batches = Batches(cooldown_s=6 * 3600)
    world = batches.world
    world.pointer = replace(world.pointer, promoted_at=iso(START - 2 * DAY))
    assert batches.report(batches.score(batches.file(400, shift=0.8)))["alarms"]["drift"]["raised"]
    for hour in (0, 1):
        world.serve(400, hour=hour, shift=0.8, labelled=False)
        alarm = world.watch(hour).report.alarms["drift"]
    assert (alarm.windows_found, alarm.raised) == (2, False)
    assert alarm.cooldown_until is not None


def test_the_same_rows_count_once_however_often_they_are_scored():
    batches = Batches()
    content = batches.file(400, shift=0.6)
    batches.score(content)
    again = batches.score(content)
    assert isinstance(again, NotWatched)
    assert again.reason == "watched_before"
    assert "file-1.csv" in again.message
    assert len(batches.world.answers()) == 1


def test_small_files_wait_until_they_are_enough_together_and_each_counts_once():
    batches = Batches()
    first = batches.score(batches.file(20))
    assert (first.reason, "20 rows of 1 files" in first.message) == ("waits", True)
    twice = batches.watch_again()
    assert "20 rows of 1 files" in twice.message, "a retry adds nothing"
    assert batches.score(batches.file(20)).reason == "waits"
    watched = batches.score(batches.file(20))
    report = batches.report(watched)
    assert (report["rows"], len(report["batch"]["files"])) == (60, 3)
    assert batches.watch_again().reason == "watched_before"
    assert batches.score(batches.file(20)).reason == "waits", "a new window begins"
    assert not [uri for uri in batches.store.objects if "/waiting/" in uri and "v1" not in uri]


def test_a_file_of_a_version_that_is_not_live_any_more_is_not_watched():
    batches = Batches()
    batches.score(batches.file(100))
    batches.world.pointer = replace(batches.world.pointer, version=2)
    assert batches.watch_again().reason == "not_live"


def test_of_many_rows_a_random_sample_is_looked_at_and_the_report_says_so():
    batches = Batches()
    policy = WatchPolicy(maximum_rows=1000, cooldown_s=0)
    report = batches.report(batches.score(batches.file(5000), policy=policy))
    assert (report["rows"], report["is_sample"], report["batch"]["rows"]) == (1000, True, 5000)
    assert report["verdict"] == "quiet"
    x = next(each for each in report["columns"] if each["name"] == "x")
    assert sum(x["distribution"]["window"]) == 1000


def test_outcomes_by_row_id_make_the_quality_of_the_files_window():
    batches = Batches(windows_to_alarm=1, windows_considered=1)
    content = batches.file(400)
    assert batches.report(batches.score(content))["quality"]["verdict"] == "not_enough_data"
    lines = content.decode().splitlines()[1:]
    for inverted, verdict in ((False, "steady"), (True, "degraded")):
        truth = [
            {"id": number, "outcome": "yes" if (float(line.split(",")[0]) > 0) != inverted else "no"}
            for number, line in enumerate(lines, 1)
        ]
        uri = "s3://data/batch/work/outcomes.jsonl"
        batches.store.write(uri, "".join(f"{json.dumps(each)}\n" for each in truth).encode())
        report = batches.report(batches.watch_again(outcomes_uri=uri))
        assert (report["quality"]["verdict"], report["quality"]["labelled"]) == (verdict, 400)
    assert [each["kind"] for each in batches.world.answers()] == ["quality"]
    # The same rows, scored once more under another name: what is known of them belongs to their first window.
    again = batches.score(content, day=3, outcomes_uri=uri)
    assert batches.report(again) == report


def test_outcomes_of_files_that_joined_make_the_quality_of_their_window_file_by_file():
    batches = Batches(windows_to_alarm=1, windows_considered=1)
    contents, places = [], []
    for _ in range(3):
        contents.append(batches.file(40))
        watched = batches.score(contents[-1], policy=WatchPolicy(minimum_rows=100, cooldown_s=0))
        places.append((batches.plan_uri, batches.output_uri))
    policy = WatchPolicy(minimum_rows=100, cooldown_s=0, windows_to_alarm=1, windows_considered=1)
    assert batches.report(watched)["quality"]["verdict"] == "not_enough_data"
    found = []
    for number, (content, (batches.plan_uri, batches.output_uri)) in enumerate(
        zip(contents, places, strict=True)
    ):
        truth = [
            {"id": row, "outcome": "no" if float(line.split(",")[0]) > 0 else "yes"}
            for row, line in enumerate(content.decode().splitlines()[1:], 1)
        ]
        drop = json.loads(batches.store.read(batches.plan_uri))["drop"]
        uri = BatchPlaces(Drop.from_dict(drop), "data").outcomes_uri
        batches.store.write(uri, "".join(f"{json.dumps(each)}\n" for each in truth).encode())
        again = batches.watch_again(policy, outcomes_uri=uri)
        assert again.report_uri == watched.report_uri
        found.append(batches.report(again)["quality"])
        files = sorted(each["key"] for each in batches.report(again)["batch"]["files"])
        assert files == [f"batch/in/file-{each}.csv" for each in (1, 2, 3)]
        assert found[-1]["labelled"] == 40 * (number + 1), "what was told of the others still counts"
    assert found[-1]["verdict"] == "degraded"
    assert [each["kind"] for each in batches.world.answers()] == ["quality"]


def test_outcomes_of_a_file_that_joined_under_an_older_release_change_nothing():
    batches = Batches()
    for _ in range(3):
        batches.score(batches.file(20))
    notes = [
        uri for uri in batches.store.objects if "/monitoring/batches/v1/" in uri and "windows" not in uri
    ]
    for uri in notes:
        note = json.loads(batches.store.read(uri))
        kept = {name: value for name, value in note.items() if not name.startswith("joined")}
        batches.store.write(uri, json.dumps(kept).encode())
    uri = "s3://data/batch/work/outcomes.jsonl"
    batches.store.write(uri, b'{"id": 1, "outcome": "yes"}\n')
    assert batches.watch_again(outcomes_uri=uri).reason == "watched_before"


def test_output_that_is_not_one_prediction_a_row_is_refused_by_name():
    batches = Batches()
    batches.score(batches.file(100))
    batches.store.write(f"{batches.output_uri}requests.jsonl.out", b'{"predictions": []}\n')
    with pytest.raises(InvalidBatchOutput, match="line 1"):
        batches.watch_again()
    batches.store.delete_prefix(batches.output_uri)
    with pytest.raises(InvalidBatchOutput, match="There is no"):
        batches.watch_again()


def test_windows_of_files_are_called_drifted_as_rarely_as_those_of_predictions():
    batches = Batches()
    found = [batches.report(batches.score(batches.file(80)))["verdict"] for _ in range(150)]
    # At 1 % more than 6 of 150 come by chance once in 1,500 times.
    assert found.count("drifted") <= 6
    assert batches.world.answers() == []
