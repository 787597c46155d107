from __future__ import annotations

import json

import pytest
from tests.unit.drift.test_watch_model import World


@pytest.fixture(scope="module")
def reports():
    """What watching writes of a quiet window, a drifted one, and one without enough data."""
    world = World(cooldown_s=0, windows_to_alarm=1)
    world.serve(300)
    world.serve(300, hour=1, shift=2.0)
    uris = [world.watch(hour).report_uri for hour in (0, 1, 2)]
    return {uri.split("/", 3)[3]: world.store.read(uri) for uri in uris}


@pytest.fixture
def watched(stack, reports):
    for key, content in reports.items():
        stack.write(key, content)
    return stack


def test_lists_windows_the_newest_first_with_what_drifted(watched, on_stack):
    outcome = on_stack("drift")
    assert outcome.exit_code == 0
    empty, drifted, quiet = outcome.stdout.splitlines()[1:]
    assert "not enough data" in empty
    assert " drifted " in drifted
    assert "predicted score" in drifted
    assert drifted.rstrip().endswith("drift")
    assert " quiet " in quiet


def test_json_has_a_window_each_and_no_more_than_asked_for(watched, on_stack):
    windows = on_stack("drift", "--limit", "2", "--json").json["windows"]
    assert [each["verdict"] for each in windows] == ["not_enough_data", "drifted"]
    assert windows[1]["alarms"]["drift"] is True
    assert windows[1]["rows"] == 300
    assert windows[1]["quality"]["metric"] == "auc"


def test_shows_every_column_of_one_window_the_least_probable_first(watched, on_stack):
    outcome = on_stack("drift", "2026-11-22T11:30Z")
    assert outcome.exit_code == 0
    assert "drift alarm raised: 1 of the last" in outcome.stdout
    told = " ".join(outcome.stdout.split())
    assert "Sundays 11:00 to 12:00 UTC" in told
    assert "compared with all of the training rows; no phase yet" in told
    table = outcome.stdout[outcome.stdout.index("column ") :].splitlines()
    assert table[1].startswith(("x ", "predicted score"))
    assert any(line.startswith("ward") and "quiet" in line for line in table)
    assert on_stack("drift", "latest", "--json").json["verdict"] == "not_enough_data"


def test_says_which_phase_a_window_was_compared_with_and_what_that_may_hide(stack, on_stack, reports):
    content = json.loads(list(reports.values())[1])
    content["phase"] |= {
        "compared_with": "past",
        "why": "4 windows of the model's own past do",
        "may_hide": {"column": "x", "distance": 0.2346},
    }
    stack.write("monitoring/2026/11/22/11/report.json", content)
    stack.write("monitoring/phases/v1/11/sunday/2026-11-15.json", {"format": 1})
    told = " ".join(on_stack("drift", "latest").stdout.split())
    assert "training as it would be in this phase; 4 windows of the model's own past do" in told
    assert "moves no column farther from training than 0.235 of 1 (x)" in told
    (window,) = on_stack("drift", "--json").json["windows"]
    assert window["compared_with"] == "past"


def test_says_where_outcomes_come_for_some_predictions_alone(stack, on_stack, reports):
    content = json.loads(list(reports.values())[1])
    stack.write("monitoring/2026/11/22/10/report.json", content)
    assert "such predictions alone" not in " ".join(on_stack("drift", "latest").stdout.split())
    content["quality"]["is_biased"] = True
    stack.write("monitoring/2026/11/22/11/report.json", content)
    assert "so this speaks for such predictions alone" in " ".join(on_stack("drift", "latest").stdout.split())


def test_says_what_quality_is_before_outcomes_and_what_that_cant_see(stack, on_stack, reports):
    content = json.loads(list(reports.values())[1])
    content["estimate"] = {
        "metric": "auc", "verdict": "degraded", "refused": None, "known_outcomes": 60,
        "estimate": {"value": 0.81, "low": 0.77, "high": 0.85}, "if_label_shift": {"value": 0.79},
        "check": {"rows": 60, "value": 0.8, "estimated": {"value": 0.8, "low": 0.7, "high": 0.9}},
    }  # fmt: skip
    stack.write("monitoring/2026/11/22/11/report.json", content)
    told = " ".join(on_stack("drift", "latest").stdout.split())
    assert "Before outcomes auc is estimated as 0.81 (0.77 to 0.85), with the 60 outcomes" in told
    assert "then it would be 0.79, and the interval covers both" in told
    assert "On the 60 known outcomes it is 0.8, where 0.7 to 0.9 had been estimated" in told
    assert "other outcomes than in training can't be seen without outcomes" in told
    (window,) = on_stack("drift", "--json").json["windows"]
    assert (window["estimate"]["verdict"], window["estimate"]["low"]) == ("degraded", 0.77)


def test_reports_of_before_there_were_phases_or_estimates_are_shown(stack, on_stack, reports):
    content = json.loads(list(reports.values())[1])
    del content["phase"], content["estimate"], content["alarms"]["estimate"]
    for column in content["columns"]:
        del column["compared_with"]
    stack.write("monitoring/2026/11/22/11/report.json", content)
    assert on_stack("drift", "latest").exit_code == 0
    assert on_stack("drift", "--json").json["windows"][0]["compared_with"] == "training"


def test_shows_where_errors_concentrate_with_examples(stack, on_stack):
    world = World()
    world.serve(900, inverted_ward="b")
    uri = world.watch().report_uri
    stack.write(uri.split("/", 3)[3], world.store.read(uri))
    outcome = on_stack("drift", "latest")
    assert "errors concentrate where" in outcome.stdout
    assert "ward is 'b'" in outcome.stdout
    first = on_stack("drift", "latest", "--json").json["failing"]["slices"][0]
    assert first["examples"][0] in outcome.stdout


def test_windows_that_begin_within_an_hour_follow_the_hours_first(stack, on_stack, reports):
    content = json.loads(next(iter(reports.values())))
    for name in ("report-3000.json", "report.json", "report-1500.json"):
        stack.write(f"monitoring/2026/11/22/10/{name}", content)
    uris = [each["uri"].rpartition("/")[2] for each in on_stack("drift", "--json").json["windows"]]
    assert uris == ["report-3000.json", "report-1500.json", "report.json"]


def test_says_so_where_nothing_was_watched(on_stack):
    assert "No window was watched yet" in on_stack("drift").stdout
    assert on_stack("drift", "--json").json == {"windows": []}
    assert on_stack("drift", "latest").exit_code == 3


def test_refuses_what_is_no_time_and_reports_of_another_format(watched, on_stack):
    assert on_stack("drift", "yesterday").exit_code == 2
    assert on_stack("drift", "2020-01-01").exit_code == 3
    watched.write("monitoring/2026/11/23/00/report.json", {"format": 9})
    outcome = on_stack("drift")
    assert outcome.exit_code == 1
    assert "has format 9" in outcome.stderr
