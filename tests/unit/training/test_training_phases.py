from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pandas as pd
from tests.unit.drift.drift_data import categorical, numeric
from tests.unit.training.job_folders import mixed, run_job, write_job

from dropforge.domain.drift.phases import Phase
from dropforge.domain.drift.training_phases import TRAINING_PHASES, TrainingPhases

HOUR = timedelta(hours=1)


def timed(tmp_path, **changes):
    """A job whose rows are an hour apart and whose amount is 100 higher in the afternoon."""
    contract, frame = mixed(3000)
    frame["since"] = pd.date_range("2026-01-01", periods=len(frame), freq="h", tz="UTC")
    frame["amount"] = frame["amount"] + (frame["since"].dt.hour >= 12) * 100.0
    columns = tuple(
        dataclasses.replace(each, nullable=False) if each.name == "since" else each
        for each in contract.columns
    )
    contract = dataclasses.replace(contract, columns=columns, **changes)
    write_job(tmp_path, contract, frame, {"estimator": "linear"})
    result = run_job(tmp_path)
    assert result.returncode == 0, result.stderr
    return tmp_path / "output" / "data" / TRAINING_PHASES, frame


def test_a_job_with_timestamps_leaves_what_its_rows_were_like_in_each_phase(tmp_path):
    path, frame = timed(tmp_path, time="since")
    phases = TrainingPhases.from_json(path.read_bytes())
    assert {name for kind, name in phases.cells if kind == "feature"} == {
        "amount",
        "visits",
        "member",
        "city",
    }
    assert {name for kind, name in phases.cells if kind == "prediction"} == {"predicted score"}
    baselines = {
        ("feature", "amount"): numeric(frame["amount"], "amount"),
        ("feature", "member"): categorical(["true", "false"] * 99, "member"),
    }
    monday = datetime(2026, 6, 1, tzinfo=UTC).date()
    afternoon = phases.shares(Phase.at(12, monday), 12 * HOUR, baselines)
    shares = afternoon["feature", "amount"]
    assert shares.windows > 4
    assert shares.phase[1 : 1 + len(shares.cells.bounds) // 2].sum() < 0.1 * shares.phase.sum()
    assert afternoon["feature", "member"].cells.labels in {("true", "false"), ("false", "true")}
    total = sum(counts.sum() for counts in phases.counts["feature", "amount"].values())
    held_out = sum(counts.sum() for counts in phases.counts["prediction", "predicted score"].values())
    assert total + held_out == len(frame)


def test_a_job_whose_rows_are_not_split_by_timestamps_leaves_none(tmp_path):
    path, _ = timed(tmp_path)
    assert not path.exists()


def test_the_file_is_read_as_it_was_written(tmp_path):
    path, _ = timed(tmp_path, time="since")
    content = json.loads(path.read_bytes())
    again = TrainingPhases.from_json(json.dumps(content))
    assert again.days["feature"][0, "monday"] > 10
    assert not again.dates_only
