from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from tests.unit.drift.drift_data import categorical, drawn, numeric
from tests.unit.drift.test_watch_model import HOUR, World

from dropforge.application.phase_past import PhasePast
from dropforge.domain.drift.cells import cells_of, reweighted
from dropforge.domain.drift.features import kolmogorov_distance
from dropforge.domain.drift.phases import (
    MONTH_END,
    PAST,
    TRAINING,
    TRAINING_PHASE,
    Phase,
    PhaseWindow,
    Shares,
    Totals,
    known_past,
    phase_of,
    phase_reference,
    reference_of,
)
from dropforge.domain.drift.ranked import Ordered
from dropforge.domain.drift.training_phases import TRAINING_PHASES, TrainingPhases, training_phases
from dropforge.domain.errors import InvalidProfile

DAY = timedelta(days=1)
MONDAY = datetime(2026, 11, 2, 9, tzinfo=UTC)


def at(*days, hour=9):
    return [(Phase.at(hour, MONDAY.date() + day * DAY), MONDAY.date() + day * DAY) for day in days]


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (MONDAY, HOUR, (9, "monday")),
        (MONDAY, DAY, (0, "monday")),
        (datetime(2026, 11, 30, 23, tzinfo=UTC), HOUR, (23, MONTH_END)),
        (datetime(2028, 2, 29, tzinfo=UTC), HOUR, (0, MONTH_END)),
        (MONDAY + timedelta(minutes=15), timedelta(minutes=15), (9, "monday")),
        (MONDAY, 6 * HOUR, (12, "monday")),
    ],
)
def test_a_window_has_the_hour_of_its_slot_and_the_kind_of_its_day(start, length, expected):
    found = phase_of(start, start + length, length)
    assert (found.hour, found.day) == expected


def test_a_window_that_was_watched_at_once_has_the_phase_of_the_schedules():
    found = phase_of(MONDAY + timedelta(minutes=50), MONDAY + timedelta(minutes=58), HOUR)
    assert found == Phase.at(9, MONDAY.date())


def test_windows_of_more_than_a_day_have_no_phase():
    assert phase_of(MONDAY, MONDAY + 7 * DAY, 7 * DAY) is None


def test_four_weeks_teach_a_weekday_and_before_that_four_days_teach_an_hour():
    monday = Phase.at(9, MONDAY.date())
    assert known_past(monday, at(0, 1, 2)) == []
    assert known_past(monday, at(0, 1, 2, 3)) == at(0, 1, 2, 3)
    assert known_past(monday, at(0, 1, 7, 8, 14, 15)) == at(0, 7, 14), "a month end may be one of four"
    weeks = at(0, 1, 7, 8, 14, 15, 21)
    assert known_past(monday, weeks) == at(0, 7, 14, 21)
    assert known_past(monday, [*weeks, *at(35)]) == at(0, 7, 14, 21), "later windows teach nothing"


def test_three_month_ends_teach_a_month_end_and_before_that_it_is_the_weekday_that_it_is():
    end = date(2026, 11, 30)
    phase = Phase.at(9, end)
    assert (phase.day, phase.weekday) == (MONTH_END, "monday")
    mondays = at(0, 7, 14, 21)
    assert known_past(phase, mondays) == mondays
    ends = [(Phase.at(9, day), day) for day in (date(2026, 8, 31), date(2026, 9, 30), date(2026, 10, 31))]
    assert known_past(phase, [*ends, *mondays]) == ends


def test_cells_add_up_to_the_baseline_they_were_laid_by():
    rng = np.random.default_rng(1)
    columns = [
        numeric(rng.normal(size=5000)),
        numeric(np.where(rng.random(5000) < 0.2, np.nan, np.round(rng.normal(size=5000), 1))),
        numeric(rng.poisson(1.0, 5000)),
        numeric(np.ones(500)),
        categorical([*drawn(rng, 3000, 1 / np.arange(1, 80)), None, None]),
    ]
    for column in columns:
        cells = cells_of(column, len(columns))
        counts = cells.of_baseline(column)
        assert len(counts) == cells.size <= 33
        assert counts.sum() == column.count + column.missing
        assert counts[0] == column.missing
        again = reweighted(column, cells, counts.astype(float))
        assert (again.count, again.missing) == (column.count, column.missing)
        assert (cells.of_baseline(again) == counts).all()


def test_window_values_are_counted_where_the_baseline_counts_them():
    values = np.array([np.nan, -5.0, 0.0, 0.5, 1.0, 99.0])
    column = numeric(np.repeat([0.0, 1.0, 2.0], 100))
    assert cells_of(column, 1).counts(values).tolist() == [1, 2, 2, 1]
    texts = categorical(["a"] * 9 + ["b"] * 3)
    assert cells_of(texts, 1).counts(["b", None, "a", "new"]).tolist() == [1, 1, 1, 1]
    unjudged = numeric(np.arange(9.0), kind="timestamp")
    assert cells_of(unjudged, 1).counts(["2026-01-01", None]).tolist() == [1, 1]


def test_the_reference_is_training_as_it_would_be_in_the_phase():
    """What the phase adds is taken; what training and all served rows differ by is not."""
    rng = np.random.default_rng(2)
    trained, everything = rng.normal(0, 1, 40_000), rng.normal(0.4, 1, 40_000)
    in_phase = rng.normal(0.9, 1, 4000)
    column = numeric(trained)
    cells = cells_of(column, 1)
    reference = reference_of(
        column, Shares(cells, cells.counts(in_phase), cells.counts(everything).astype(float))
    )
    expected = Ordered(np.sort(rng.normal(0.5, 1, 20_000)))
    assert kolmogorov_distance(reference, expected) < 0.03
    assert 2000 < reference.count < 4000, "no more certain than the rows of the phase"


def test_a_share_that_rounds_to_nothing_leaves_the_reference_whole():
    column = categorical(["a"] * 5000 + ["b"] * 2 + [None])
    cells = cells_of(column, 1)
    reference = reference_of(
        column, Shares(cells, np.array([0, 100, 0, 0]), np.array([1.0, 5000.0, 2.0, 0.0]))
    )
    assert reference.count == reference.counts.sum() + reference.other
    assert reference.values == column.values


def test_noise_between_windows_is_told_from_chance():
    rng = np.random.default_rng(3)
    column = numeric(rng.normal(size=20_000))
    key = ("feature", "x")
    found = {}
    for spread in (0.0, 0.2):
        totals = Totals()
        for hour in range(24):
            before = []
            for week in range(4):
                day = MONDAY.date() + 7 * week * DAY
                rows = rng.normal(rng.normal(0, spread), 1, 400)
                window = PhaseWindow.of(day, 400, {"feature": {"x": rows}}, {key: column}, 0)
                totals.add(Phase.at(hour, day), window, before)
                before.append(window)
        found[spread] = totals.variance(key)
        again = Totals.from_json(totals.to_json())
        assert again.variance(key) == pytest.approx(totals.variance(key), abs=1e-4)
        assert (again.all(key) == totals.all(key)).all()
    assert found[0.0] == 0.0
    assert 0.015 < found[0.2] < 0.06, "a variance of 0.04 moves the median by 0.025 of a row's 0.25"


# --- the watch ------------------------------------------------------------------------------------------


def daily(world, days, *, phase_shift, first=MONDAY, verdicts=None, extra=0.0):
    """Serve and watch hours 9 and 21 on so many days; the rows move by half a day."""
    for day in days:
        for hour, sign in ((9, 1), (21, -1)):
            start = first.replace(hour=hour) + day * DAY
            world.serve_at(start, 300, shift=sign * phase_shift + extra)
            report = world.watch_between(start, start + HOUR).report
            if verdicts is not None:
                verdicts.append((report.verdict, report.phase.source))


class Cyclic(World):
    """A world whose training rows hold both phases."""

    def __init__(self, **settings):
        super().__init__(shifts=(0.8, -0.8), **settings)


def test_a_cycle_is_learned_from_the_models_own_past_and_a_shift_on_top_is_still_found():
    world = Cyclic()
    learning, learned, shifted = [], [], []
    daily(world, range(4), phase_shift=0.8, verdicts=learning)
    assert set(learning) == {("drifted", TRAINING)}
    daily(world, range(4, 8), phase_shift=0.8, verdicts=learned)
    assert set(learned) == {("quiet", PAST)}
    daily(world, range(8, 9), phase_shift=0.8, extra=0.6, verdicts=shifted)
    assert set(shifted) == {("drifted", PAST)}


def test_a_shift_that_lasts_is_never_learned_away():
    world = World()
    found = []
    daily(world, range(30), phase_shift=0.0, extra=0.6, verdicts=found)
    assert {verdict for verdict, _ in found} == {"drifted"}
    assert found[-1] == ("drifted", PAST)


def test_the_report_says_which_phase_it_was_compared_with_and_what_that_may_hide():
    world = Cyclic()
    daily(world, range(5), phase_shift=0.8)
    start = MONDAY + 4 * DAY
    report = json.loads(world.store.read(world.watch_between(start, start + HOUR).report_uri))
    assert report["phase"]["name"] == "Fridays 09:00 to 10:00 UTC"
    assert report["phase"]["compared_with"] == PAST
    assert "2026-11-02 to 2026-11-05" in report["phase"]["why"]
    assert report["phase"]["may_hide"]["column"] in ("x", "predicted score")
    assert 0.2 < report["phase"]["may_hide"]["distance"] < 0.4
    assert {each["compared_with"] for each in report["columns"]} == {PAST}


def test_watching_a_window_again_writes_the_same_report():
    world = Cyclic()
    daily(world, range(6), phase_shift=0.8)
    start = MONDAY + 5 * DAY
    uri = world.watch_between(start, start + HOUR).report_uri
    before = world.store.read(uri)
    kept = {uri: data for uri, data in world.store.objects.items() if "/phases/" in uri}
    world.watch_between(start, start + HOUR)
    assert world.store.read(uri) == before
    assert {uri: data for uri, data in world.store.objects.items() if "/phases/" in uri} == kept


def test_a_new_version_begins_its_own_past():
    world = Cyclic()
    daily(world, range(5), phase_shift=0.8)
    world.become(2)
    verdicts = []
    daily(world, range(5, 6), phase_shift=0.8, verdicts=verdicts)
    assert {source for _, source in verdicts} == {TRAINING}


def test_windows_that_are_watched_at_once_and_small_ones_teach_nothing():
    world = Cyclic()
    world.serve_at(MONDAY, 300)
    world.watch_between(MONDAY, MONDAY + HOUR, at_once=True)
    world.serve_at(MONDAY + DAY, 20)
    assert world.watch_between(MONDAY + DAY, MONDAY + DAY + HOUR).report.phase is None
    assert not [uri for uri in world.store.objects if "/phases/" in uri]


def test_what_is_kept_is_bounded():
    world = Cyclic()
    daily(world, range(40), phase_shift=0.8)
    kept = {uri: data for uri, data in world.store.objects.items() if "/phases/" in uri}
    windows = [uri for uri in kept if "/all/" not in uri]
    # Four of each weekday's two hours, and the one month end that there was.
    assert len(windows) == 2 * (7 * 4 + 1)
    assert max(map(len, kept.values())) < 400_000


def test_a_wide_window_leaves_less_than_400_kb():
    rng = np.random.default_rng(5)
    columns = {f"c{i}": rng.normal(size=300) for i in range(2000)}
    baselines = {("feature", name): numeric(rng.normal(size=500), name, sample=True) for name in columns}
    window = PhaseWindow.of(MONDAY.date(), 300, {"feature": columns}, baselines, 0)
    text = window.to_json()
    assert len(text) < 400_000
    again = PhaseWindow.from_json(text)
    assert all((again.counts[key] == counts).all() for key, counts in window.counts.items())


# --- phases in training ---------------------------------------------------------------------------------


def trained_phases(world, rng, rows=8000, days=56, dates_only=False):
    """What the training job leaves where x is high in the morning and low in the evening."""
    day = rng.integers(0, days, rows)
    hour = rng.choice([9, 21], rows)
    start = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
    times = (start + day * 86400 + (0 if dates_only else hour * 3600)) * 1_000_000
    x = rng.normal(np.where(hour == 9, 0.8, -0.8), 1)
    ward = rng.choice(["a", "b", "c"], rows).astype(object)
    chance = 1 / (1 + np.exp(-2 * x))
    return training_phases(
        {
            "feature": (times, {"x": ("number", x), "ward": ("category", ward)}),
            "prediction": (times, {"predicted score": ("number", chance)}),
        }
    )


def test_a_phase_in_training_is_compared_with_from_the_first_window_on():
    world = Cyclic()
    document = trained_phases(world, np.random.default_rng(4))
    world.store.write(f"s3://data/models/run-1/{TRAINING_PHASES}", json.dumps(document).encode())
    verdicts, shifted = [], []
    daily(world, range(5), phase_shift=0.8, verdicts=verdicts)
    assert set(verdicts) == {("quiet", TRAINING_PHASE)}
    daily(world, range(5, 6), phase_shift=0.8, extra=0.6, verdicts=shifted)
    assert set(shifted) == {("drifted", TRAINING_PHASE)}


def test_training_that_tells_the_hour_alone_gives_way_to_a_past_that_tells_its_weekday():
    # 1,500 rows at two hours: some 100 of each weekday are too few, 750 of any are enough.
    document = trained_phases(None, np.random.default_rng(4), rows=1500)
    training = TrainingPhases.from_json(json.dumps(document))
    key = ("feature", "x")
    baselines = {key: numeric(np.random.default_rng(5).normal(size=2000))}
    phase, totals, seen = Phase.at(9, MONDAY.date()), Totals(), []
    shares = training.shares(phase, HOUR, baselines)
    assert shares[key].coarseness == 2
    for week in range(4):
        rows = {"x": np.random.default_rng(week).normal(size=300)}
        seen.append(PhaseWindow.of((MONDAY + 7 * week * DAY).date(), 300, {"feature": rows}, baselines, 0))
        totals.add(phase, seen[-1], seen[:-1])
    early = phase_reference(phase, HOUR, baselines, [], Totals(), shares)
    assert early.source == TRAINING_PHASE
    assert "too few rows of its weekday at this hour, so all weekdays are taken" in early.why
    late = phase_reference(phase, HOUR, baselines, seen, totals, shares)
    assert (late.source, late.sources[key]) == (PAST, PAST)
    assert "4 windows of the model's own past" in late.why
    exact = {key: replace(shares[key], coarseness=0)}
    assert phase_reference(phase, HOUR, baselines, seen, totals, exact).source == TRAINING_PHASE


def test_dates_without_hours_tell_only_days_apart():
    document = trained_phases(None, np.random.default_rng(4), dates_only=True)
    phases = TrainingPhases.from_json(json.dumps(document))
    baselines = {("feature", "x"): numeric(np.arange(99.0))}
    assert phases.shares(Phase.at(9, MONDAY.date()), HOUR, baselines) == {}
    assert set(phases.shares(Phase.at(0, MONDAY.date()), DAY, baselines)) == {("feature", "x")}


def test_a_phase_of_few_days_or_rows_is_not_told_by_training():
    for settings in ({"days": 3}, {"rows": 150}):
        document = trained_phases(None, np.random.default_rng(4), **settings)
        phases = TrainingPhases.from_json(json.dumps(document))
        assert (
            phases.shares(Phase.at(9, MONDAY.date()), HOUR, {("feature", "x"): numeric(np.arange(99.0))})
            == {}
        )


def test_training_phases_that_cant_be_read_say_so():
    with pytest.raises(InvalidProfile, match="train again"):
        TrainingPhases.from_json('{"format": 9}')


def test_a_past_that_lacks_days_is_summed_up_all_the_same():
    world = Cyclic()
    daily(world, [0, 1, 9, 10, 20], phase_shift=0.8)
    past = PhasePast(world.store, "s3://data", 1)
    totals = past._totals((MONDAY + 25 * DAY).date())
    assert sum(len(days) for days in totals.days.values()) == 5
