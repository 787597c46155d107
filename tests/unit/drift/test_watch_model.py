from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from tests.fakes.predictions import FakePredictionLog, live
from tests.fakes.records import TRAINING, a_drop, at
from tests.fakes.services import FakeWorkflows
from tests.fakes.world import World as Admitting
from tests.in_memory_store import InMemoryObjectStore
from tests.unit.drift.drift_data import numeric
from tests.unit.preparation.dropping import prepare

from dropforge.application.answer_alarm import AlarmPolicy
from dropforge.application.watch_model import (
    WatchReport,
    WatchRequest,
    last_full_window,
    log_lines,
    report_uri,
    watch_model,
    window_at_once,
)
from dropforge.domain.contract import Column, Contract
from dropforge.domain.drift.alarm import Alarm, PastWindow, decide
from dropforge.domain.drift.assessment import assess
from dropforge.domain.drift.baseline import Baseline
from dropforge.domain.drift.policy import WatchPolicy
from dropforge.domain.drift.quality import measure_quality
from dropforge.domain.drift.scores import prediction_profile
from dropforge.domain.drift.silences import Silence, to_json
from dropforge.domain.errors import ArtifactChanged, InvalidEvent, InvalidSettings
from dropforge.domain.guarded_slices import GUARDED_SLICES, guarded_document
from dropforge.domain.moments import iso
from dropforge.domain.predictions import PredictionRecord, epoch_ms, logged_inputs, prediction_id, pseudonym
from dropforge.domain.records import Live, RunStatus
from dropforge.domain.slicing import Slicing
from dropforge.domain.triggers import RaisedAlarm

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
SALT = b"pepper"
WIDE = [f"a rather long name of a column, number {number:04}" for number in range(2000)]


class OnlyLive:
    """The part of the ledger that watching reads."""

    def __init__(self, pointer: Live | None) -> None:
        self.pointer = pointer

    def live(self) -> Live | None:
        return self.pointer


def rows_of(rng, count, shift=0.0):
    x = rng.normal(shift, 1, count)
    ward = rng.choice(["a", "b", "c"], count)
    chance = 1 / (1 + np.exp(-2 * x))
    label = np.where(rng.random(count) < chance, "yes", "no")
    return x, ward, chance, label


class World:
    """A prepared data set, its live model's baselines, and a prediction log."""

    def __init__(self, *, guarded=(), shifts=(0.0,), **settings):
        rng = np.random.default_rng(1)
        shift = np.repeat(shifts, 3000 // len(shifts))
        x, ward, _, label = rows_of(rng, 3000, shift)
        lines = [f"{a!r},{b},{c}" for a, b, c in zip(x.tolist(), ward, label, strict=True)]
        self.store = InMemoryObjectStore()
        outcome = prepare("\n".join(["x,ward,y", *lines]).encode(), store=self.store, guarded=guarded)
        self.contract = outcome.contract
        chance = rows_of(rng, 600, np.repeat(shifts, 600 // len(shifts)))[2]
        profile = prediction_profile("binary", self.contract.classes, np.stack([1 - chance, chance], axis=1))
        self.pointer = replace(
            live(self.contract),
            contract_uri=outcome.prepared.contract_uri,
            profile_uri=outcome.prepared.profile_uri,
            metric={"name": "auc", "value": 0.89, "low": 0.86, "high": 0.92},
        )
        self.store.write("s3://data/models/run-1/prediction_profile.json", json.dumps(profile).encode())
        self.log = FakePredictionLog()
        self.workflows = FakeWorkflows()
        self.rng = rng
        self.policy = WatchPolicy(**settings)

    def judge_slices(self):
        """Leave what the judge leaves of the guarded column."""
        slicing = Slicing.learn("ward", "category", np.array(["a", "b", "c"], dtype=object))
        held = [
            {
                "slice": "ward",
                "label": label,
                "rows": 200,
                "value": 0.89,
                "low": 0.84,
                "high": 0.93,
                "guarded": True,
            }
            for label in "abc"
        ]
        document = guarded_document("auc", [slicing], held)
        self.store.write(f"s3://data/models/run-1/{GUARDED_SLICES}", json.dumps(document).encode())

    @staticmethod
    def pointer_of_any():
        return live(
            Contract("y", None, "regression", None, (Column("x", "number"), Column("y", "number", "target")))
        )

    def become(self, version):
        """Promote a version that is the same model."""
        self.pointer = replace(self.pointer, version=version)

    def serve(self, count, *, hour=0, **how):
        self.serve_at(START + hour * HOUR, count, **how)

    def serve_at(self, start, count, *, shift=0.0, labelled=True, inverted=False, inverted_ward=None):
        x, ward, chance, label = rows_of(self.rng, count, shift)
        records = []
        for i in range(count):
            at = start + timedelta(milliseconds=i)
            truth = str(label[i])
            if inverted or ward[i] == inverted_ward:
                truth = {"yes": "no", "no": "yes"}[truth]
            records.append(
                PredictionRecord(
                    prediction_id(epoch_ms(at), f"r{start:%d%H}", i),
                    iso(at),
                    self.pointer.version,
                    logged_inputs(self.contract, {"x": float(x[i]), "ward": str(ward[i])}, SALT),
                    {
                        "label": "yes" if chance[i] > 0.5 else "no",
                        "probabilities": {"no": 1 - chance[i], "yes": chance[i]},
                    },
                    1.0,
                    truth if labelled else None,
                )
            )
        self.log.write(records)

    def watch(self, hour=0):
        return self.watch_between(START + hour * HOUR, START + (hour + 1) * HOUR)

    def watch_at_once(self, now):
        ledger = OnlyLive(self.pointer)
        start, end = window_at_once(now, HOUR, "s3://data", ledger, self.store)
        return self.watch_between(start, end, at_once=True)

    def watch_between(self, start, end, *, at_once=False):
        request = WatchRequest(start, end, "s3://data", self.policy, TRAINING, at_once, salt=SALT)
        return watch_model(request, OnlyLive(self.pointer), self.log, self.store, self.workflows)

    def answers(self):
        return [each.payload["alarm"] for each in self.workflows.started(TRAINING)]


def values(watched):
    return {metric.name: metric.value for metric in watched.metrics}


def test_predictions_from_the_training_distribution_are_quiet_and_the_report_is_written():
    world = World()
    world.serve(500)
    watched = world.watch()
    assert watched.report.verdict == "quiet"
    assert watched.report_uri == "s3://data/monitoring/2026/11/22/10/report.json"
    report = json.loads(world.store.read(watched.report_uri))
    assert {column["name"] for column in report["columns"]} == {"x", "ward", "predicted score"}
    for column in report["columns"]:
        spread = column["distribution"]
        assert sum(spread["window"]) == 500
        assert sum(spread["baseline"]) in (3000, 600), "the training rows, or the hold-out's predictions"
    assert report["domain_classifier"]["auc"] < report["domain_classifier"]["threshold"]
    assert report["quality"]["verdict"] == "steady"
    assert report["quality"]["label_completeness"] == 1.0
    assert values(watched) == {
        "DriftAlarm": 0,
        "QualityAlarm": 0,
        "MissingDataDetected": 0,
        "LiveQuality": report["quality"]["live"]["value"],
    }
    (message, summary), *columns = watched.lines
    assert (message, summary["verdict"], summary["rows"]) == ("watched", "quiet", 500)
    assert {line["column"] for _, line in columns} == {"x", "ward", "predicted score"}
    assert all(0 <= line["drift"] < 2 for _, line in columns)


def test_shifted_predictions_are_called_drifted_and_raise_an_alarm_in_the_second_window():
    world = World()
    alarms = []
    for hour in range(3):
        world.serve(400, hour=hour, shift=0.6)
        watched = world.watch(hour)
        assert watched.report.verdict == "drifted"
        assert {"x", "predicted score"} <= set(watched.report.assessment.drifted)
        alarms.append(values(watched)["DriftAlarm"])
    assert alarms == [0, 1, 0]
    (told,) = world.answers()
    assert told == {
        "kind": "drift",
        "at": iso(START + 2 * HOUR),
        "version": 1,
        "report_uri": "s3://data/monitoring/2026/11/22/11/report.json",
        "reason": "2 of the last 2 windows, 2 of 3 needed",
    }
    world.watch(1)
    assert world.answers() == [told], "an execution is named after its alarm"


def test_a_raised_alarm_ends_also_where_nobody_predicts_afterwards():
    world = World(windows_to_alarm=1, windows_considered=1)
    world.serve(400, inverted=True, shift=0.6)
    assert {"DriftAlarm": 1, "QualityAlarm": 1}.items() <= values(world.watch()).items()
    afterwards = world.watch(30)
    assert afterwards.report.verdict == "not_enough_data"
    assert values(afterwards) == {}, "so long after nothing is said"
    assert {"DriftAlarm": 0, "QualityAlarm": 0}.items() <= values(world.watch(2)).items()


def test_predictions_without_outcomes_say_nothing_about_quality():
    world = World()
    world.serve(300, labelled=False)
    assert set(values(world.watch())) == {"DriftAlarm", "MissingDataDetected"}


def test_watching_a_window_again_writes_the_same_bytes_also_after_later_windows():
    world = World()
    uris = []
    for hour in range(2):
        world.serve(300, hour=hour, shift=0.6, labelled=False)
        uris.append(world.watch(hour).report_uri)
    before = [world.store.read(uri) for uri in uris]
    world.watch(0)
    world.watch(1)
    assert [world.store.read(uri) for uri in uris] == before


def test_labels_that_contradict_the_model_raise_the_quality_alarm():
    world = World(windows_to_alarm=1, windows_considered=1)
    world.serve(400, inverted=True)
    watched = world.watch()
    assert watched.report.verdict == "quiet"
    assert values(watched)["QualityAlarm"] == 1
    assert values(watched)["DriftAlarm"] == 0


def test_live_quality_is_measured_in_the_slices_that_the_model_was_judged_in():
    world = World(guarded=("ward",), minimum_rows=30)
    world.judge_slices()
    world.serve(600, inverted_ward="b")
    watched = world.watch()
    found = {each["label"]: each for each in json.loads(world.store.read(watched.report_uri))["slices"]}
    assert {label: each["verdict"] for label, each in found.items()} == {
        "a": "steady",
        "b": "degraded",
        "c": "steady",
    }
    assert found["b"]["live"]["value"] < 0.3
    assert found["b"]["holdout"] == {"value": 0.89, "low": 0.84, "high": 0.93}
    assert sum(each["labelled"] for each in found.values()) == 600
    assert dict(watched.lines)["watched"]["degraded_slices"] == ["ward is 'b'"]


def test_errors_that_concentrate_are_named_with_examples_in_report_log_and_alarm():
    world = World(windows_to_alarm=1, windows_considered=1)
    world.serve(900, inverted_ward="b")
    watched = world.watch()
    found = json.loads(world.store.read(watched.report_uri))["failing"]
    assert (found["measure"], found["rows"]) == ("share_of_wrong_labels", 900)
    first = found["slices"][0]
    assert first["where"] == [{"column": "ward", "says": "ward is 'b'", "value": "b"}]
    assert first["error"] > 0.6
    assert first["elsewhere"] < 0.3
    assert first["expected"] < 0.3, "the model didn't know"
    assert len(first["examples"]) == 5
    for each in map(world.log.get, first["examples"]):
        assert each.inputs["ward"] == "b"
        assert each.output["label"] != each.outcome
        assert max(each.output["probabilities"].values()) > 0.9, "the surest of the wrong"
    assert dict(watched.lines)["watched"]["failing"].startswith("Errors concentrate where ward is 'b': ")
    (answer,) = (each for each in world.answers() if each["kind"] == "quality")
    assert "Errors concentrate where ward is 'b': " in answer["reason"]


def test_where_the_model_itself_expects_errors_that_stands_beside_them():
    world = World()
    world.serve(4000)
    found = json.loads(world.store.read(world.watch().report_uri))["failing"]["slices"]
    assert [each["column"] for each in found[0]["where"]] == ["x"], "it is unsure where x is about 0"
    assert found[0]["expected"] == pytest.approx(found[0]["error"], abs=0.05)


def test_of_too_few_outcomes_nothing_is_said_of_where_it_fails():
    world = World()
    world.serve(600, labelled=False)
    watched = world.watch()
    assert json.loads(world.store.read(watched.report_uri))["failing"] is None
    assert "failing" not in dict(watched.lines)["watched"]


def test_of_private_columns_no_value_is_told():
    world = World(windows_to_alarm=1, windows_considered=1)
    columns = tuple(
        replace(each, privacy="hash") if each.name == "ward" else each for each in world.contract.columns
    )
    world.contract = replace(world.contract, columns=columns)
    world.store.write(world.pointer.contract_uri, world.contract.to_json().encode())
    world.pointer = replace(world.pointer, contract_hash=world.contract.hash)
    world.serve(900, inverted_ward="b")
    watched = world.watch()
    found = json.loads(world.store.read(watched.report_uri))["failing"]
    assert found["slices"][0]["where"] == [{"column": "ward", "says": "ward has one value, which is private"}]
    told = json.dumps([found, watched.lines[0], world.answers()], default=str)
    assert pseudonym("b", SALT) not in told
    assert "'b'" not in told


def test_a_judgement_without_its_slices_stops_no_watch():
    world = World(guarded=("ward",), minimum_rows=30)
    world.serve(100)
    assert "slices" not in json.loads(world.store.read(world.watch().report_uri))


def test_without_guarded_columns_reports_say_nothing_of_slices():
    world = World()
    world.serve(100)
    assert "slices" not in json.loads(world.store.read(world.watch().report_uri))


def test_a_window_without_predictions_is_not_enough_data_and_writes_no_metric():
    watched = World().watch()
    assert watched.report.verdict == "not_enough_data"
    assert values(watched) == {}, "each hour with a datum is billed"
    assert [message for message, _ in watched.lines] == ["watched"]


def test_without_a_live_model_there_is_nothing_to_watch_and_nothing_is_written():
    world = World()
    world.pointer = None
    before = set(world.store.objects)
    watched = world.watch()
    assert watched.report.verdict == "no_live_model"
    assert set(world.store.objects) == before


def test_a_model_without_a_prediction_profile_is_watched_by_its_features():
    world = World()
    del world.store.objects["s3://data/models/run-1/prediction_profile.json"]
    world.serve(300)
    report = world.watch().report
    assert report.verdict == "quiet"
    assert "predicted score" in report.assessment.unwatched


def test_preparation_stores_a_bounded_sample_of_levels_for_the_domain_classifier():
    world = World()
    baseline = Baseline.from_json(world.store.read(world.pointer.profile_uri))
    sample = baseline.columns["x"].sample
    assert len(sample) == len(baseline.columns["ward"].sample) == 2000
    assert abs(float(sample.mean()) - 126.5) < 5
    assert baseline.columns["y"].sample is None


def test_the_last_full_window_has_ended_and_reports_of_part_hours_have_names_of_their_own():
    now = datetime(2026, 1, 2, 3, 47, 12, tzinfo=UTC)
    start, end = last_full_window(now, timedelta(minutes=15))
    assert (start, end) == (datetime(2026, 1, 2, 3, 30, tzinfo=UTC), datetime(2026, 1, 2, 3, 45, tzinfo=UTC))
    assert report_uri("s3://data", start).endswith("/03/report-3000.json")


def test_a_contract_that_is_not_the_models_own_is_not_watched_by():
    world = World()
    world.pointer = replace(world.pointer, contract_hash="0" * 64)
    with pytest.raises(ArtifactChanged, match="not the contract that version 1 was trained on"):
        world.watch()


def test_a_window_that_goes_backwards_is_refused():
    with pytest.raises(InvalidEvent, match="forward"):
        WatchRequest(START, START, "s3://data", WatchPolicy(), TRAINING)


SILENCED = "s3://data/monitoring/silenced.json"


def silence(world, column, since, until):
    world.store.write(SILENCED, to_json([Silence(column, iso(since), iso(until), "ann", "a new sensor")]))


def test_a_silenced_column_is_compared_and_raises_nothing_until_its_time_is_over():
    world = World(windows_to_alarm=1, windows_considered=1, cooldown_s=0)
    silences = [
        Silence(name, iso(START), iso(START + 2 * HOUR), "ann", "a new sensor")
        for name in ("x", "predicted score")
    ]
    world.store.write(SILENCED, to_json(silences))
    verdicts = []
    for hour in range(3):
        world.serve(400, hour=hour, shift=0.6, labelled=False)
        watched = world.watch(hour)
        report = json.loads(world.store.read(watched.report_uri))
        columns = {each["name"]: each for each in report["columns"]}
        verdicts.append((report["verdict"], columns["x"]["verdict"], report["alarms"]["drift"]["raised"]))
        assert columns["x"]["adjusted_p_value"] < 1e-6, "what is silenced is measured all the same"
    assert verdicts == [
        ("quiet", "silenced", False),
        ("quiet", "silenced", False),
        ("drifted", "drifted", True),
    ]
    report = json.loads(world.store.read("s3://data/monitoring/2026/11/22/10/report.json"))
    assert report["silenced"]["x"] == {
        "since": iso(START), "until": iso(START + 2 * HOUR), "by": "ann", "reason": "a new sensor"
    }  # fmt: skip


def test_what_is_not_silenced_still_drifts():
    world = World(windows_to_alarm=1, windows_considered=1)
    silence(world, "ward", START, START + HOUR)
    world.serve(400, shift=0.6, labelled=False)
    report = world.watch().report
    assert report.verdict == "drifted"
    assert "ward" not in report.assessment.drifted


def test_a_damaged_list_of_silences_is_refused_by_name():
    world = World()
    world.store.write(SILENCED, b"{}")
    world.serve(100)
    with pytest.raises(InvalidSettings, match=r"silenced\.json"):
        world.watch()


def test_a_window_that_was_watched_at_once_counts_no_prediction_twice():
    world = World(cooldown_s=0)
    world.serve(400, shift=0.6, labelled=False)
    half = world.watch_between(START, START + timedelta(minutes=30), at_once=True)
    assert (half.report.verdict, half.report.alarms["drift"].windows_found) == ("drifted", 1)
    assert half.report_uri.endswith("/10/report-0000-22103000.json")
    whole = world.watch(0)
    assert whole.report.alarms["drift"].windows_found == 1, "its own drift alone"
    assert not whole.report.alarms["drift"].raised


@pytest.mark.parametrize(
    ("window", "cooldown", "hours", "starts"),
    [
        (1, 0, 6, 6),
        (1, 1, 6, 6),
        (1, 6, 6, 1),
        (1, 6, 24, 4),
        (1, 6, 25, 5),
        (2, 1, 8, 4),
        (6, 6, 24, 4),
        (12, 6, 24, 2),
        (24, 6, 96, 4),
        (24, 24, 24, 1),
        (24, 24, 96, 4),
        (24, 48, 96, 2),
        (24, 168, 336, 2),
        (168, 24, 336, 2),
        (0.25, 0, 2, 8),
        (0.25, 1, 2, 2),
        (0.001, 0, 0.01, 10),
    ],
)
@pytest.mark.parametrize("needed", [1, 2])
def test_under_lasting_drift_as_many_runs_start_as_the_longer_of_window_and_cooldown_fits(
    window, cooldown, hours, starts, needed
):
    """The whole way: the watch decides, admission answers, and each run ends before the next alarm."""
    assert starts == math.ceil(round(hours / max(window, cooldown), 6))
    world = Admitting(alarms=AlarmPolicy(cooldown=timedelta(hours=cooldown)))
    world.make_live(1, 0.0)
    policy = WatchPolicy(windows_to_alarm=needed, windows_considered=3, cooldown_s=round(cooldown * 3600))
    length = timedelta(hours=window)
    began = at(0) + timedelta(days=30)
    past, admitted = [], 0
    # The first window that can raise an alarm is the needed-th.
    for number in range(round(hours / window) + needed - 1):
        start = began + (number - needed + 1) * length
        end = start + length
        alarm = decide(
            True, start=start, end=end, model_version=1, promoted_at=at(0), past=past, policy=policy
        )
        past.append(PastWindow(end, 1, True, alarm.raised))
        if alarm.raised:
            # Predictions are watched some time after their window has ended, never the same.
            now = end + timedelta(seconds=1 + 37 * (number % 7))
            told = RaisedAlarm.of_window(
                "drift", at=end, version=1, report_uri=report_uri("s3://data", start), reason="drift"
            )
            world.ledger.record_drop(a_drop(number + 2), received_by="elsewhere", now=now)
            admission = world.admit(told.to_event(), world.running(told.run_id), now=now)
            assert admission.outcome == "admitted", admission.message
            world.close(admission, RunStatus.REJECTED_BY_GATE, now=now)
            admitted += 1
    assert admitted == starts


def test_a_cooldown_that_windows_do_not_divide_ends_with_the_window_that_it_ends_in():
    policy = WatchPolicy(windows_to_alarm=1, windows_considered=1, cooldown_s=6 * 3600)
    past, raised = [], []
    for number in range(8):
        start, end = START + 4 * number * HOUR, START + 4 * (number + 1) * HOUR
        alarm = decide(
            True,
            start=start,
            end=end,
            model_version=1,
            promoted_at=START - 9 * HOUR,
            past=past,
            policy=policy,
        )
        past.append(PastWindow(end, 1, True, alarm.raised))
        raised += [(end - START) // HOUR] * alarm.raised
    assert raised == [4, 12, 20, 28], "never less than the cooldown apart"


def test_windows_at_once_follow_each_other_and_what_was_too_few_is_looked_at_again():
    world = World(cooldown_s=0)
    minute = timedelta(minutes=1)
    world.pointer = replace(world.pointer, promoted_at=iso(START - 5 * minute))
    world.serve(20, shift=0.6, labelled=False)
    few = world.watch_at_once(START + minute)
    assert (few.report.start, few.report.verdict) == (START - 5 * minute, "not_enough_data")
    world.serve(400, shift=0.6, labelled=False)
    first = world.watch_at_once(START + 2 * minute)
    assert (first.report.start, first.report.assessment.rows) == (START - 5 * minute, 400)
    assert first.report.verdict == "drifted"
    second = world.watch_at_once(START + 3 * minute)
    assert (second.report.start, second.report.assessment.rows) == (START + 2 * minute, 0)
    assert world.watch_at_once(START + 2 * minute).report.start < START + 2 * minute


def wide_report(moved=None, failing=None):
    """A report of 2,000 columns, of which one has moved."""
    rng = np.random.default_rng(3)
    baselines = [numeric(rng.normal(size=400), name, sample=True) for name in WIDE]
    columns = {name: rng.normal(3.0 * (name == moved), 1, 200) for name in WIDE}
    quality = measure_quality(
        "regression", None, np.zeros(0), [], {"name": "r2"}, holdout_rows=0, rate=0.01, tolerance=0.0,
        minimum_rows=50, resamples=100, seed=0,
    )  # fmt: skip
    alarm = Alarm(False, "none", 0, 1, None)
    policy = WatchPolicy()
    return WatchReport(
        START,
        START + HOUR,
        policy,
        World.pointer_of_any(),
        assess(columns, baselines, rows=200, policy=policy),
        quality,
        failing=failing,
        alarms={"drift": alarm, "quality": alarm},
    )


def test_two_thousand_columns_stay_within_the_limits_of_report_log_and_memory():
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
    names = WIDE
    assert WatchPolicy().rows_of(len(names)) * len(names) <= 5_000_000
    report = wide_report(moved=names[1234])
    told = report.to_dict()
    assert told["drifted"] == [names[1234]]
    assert names[1234] in {each["name"] for each in told["columns"]}
    assert len(told["columns"]) == 200
    assert len(told["columns"]) + len(told["further_columns"]) == 2000
    assert report.assessment.classifier is not None
    assert len(json.dumps(told, indent=1)) < 1_000_000

    hit = tuple(replace(each, verdict="drifted") for each in report.assessment.columns)
    everything = replace(report, assessment=replace(report.assessment, columns=hit))
    assert len(everything.to_dict()["drifted"]) == 2000
    (summary, *lines) = log_lines(everything)
    assert summary[1]["drifted_count"] == 2000
    assert len(lines) == 200
    assert max(len(json.dumps(fields)) for _, fields in (summary, *lines)) < 64_000
