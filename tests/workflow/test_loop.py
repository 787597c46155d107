"""The loop: quiet traffic, drift, an alarm, retraining on outcomes, approval, quiet again, fallback."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from dropforge.application.watch_model import last_full_window, report_uri
from dropforge.domain.moments import from_iso
from dropforge.domain.triggers import RaisedAlarm
from dropforge_ops.cli.main import app
from tests.workflow.grafana_panels import every_panel_finds_data
from tests.workflow.prediction_api import Api
from tests.workflow.recording import record
from tests.workflow.stack import Stack, wait_for

WINDOW = timedelta(seconds=9)
# The API's longest list.
BATCH = 500
ROWS = 1000
# What is trained on: the first drop, and so many of the predictions, whose outcome is known.
KNOWN = 800

Row = dict[str, Any]


class Ward:
    """Patients of a made-up ward. Later ones differ in a marker that has no part in who is sick."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def rows(self, count: int, *, is_later: bool = False) -> tuple[list[Row], list[str]]:
        random = self._random
        age = random.normal(50, 12, count)
        pressure = random.normal(120, 15, count)
        marker = random.normal(0.8 * is_later, 1, count)
        wing = random.choice(["north", "south", "west"], count, p=[0.5, 0.3, 0.2])
        risk = (age - 50) / 8 + (pressure - 120) / 20 + random.logistic(0, 0.5, count)
        rows = [
            {
                "age": round(float(age[i]), 3),
                "pressure": round(float(pressure[i]), 3),
                "marker": round(float(marker[i]), 6),
                "wing": str(wing[i]),
            }
            for i in range(count)
        ]
        return rows, ["yes" if each > 0 else "no" for each in risk]


class Watched:
    """A stack with a live model, its API, and a watch whose windows are seconds long."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.api = stack, Api(stack)
        self._lambda = stack.host.client("lambda")
        self._cloudwatch = stack.host.client("cloudwatch")

    def window(self, rows: list[Row], outcomes: list[str] | None = None) -> Mapping[str, Any]:
        """Send the rows within one new window, report their outcomes, then watch it."""
        end, ids = self._send_within_a_window(rows)
        if outcomes is not None:
            reported = [{"id": each, "label": label} for each, label in zip(ids, outcomes, strict=False)]
            for first in range(0, len(reported), BATCH):
                answer = self.api.call("POST", "/outcomes", {"outcomes": reported[first : first + BATCH]})
                assert answer.body["recorded"] == len(reported[first : first + BATCH])
        answer = self._lambda.invoke(
            FunctionName=self.stack.resource("WatchModelFunction"),
            Payload=json.dumps({"time": end.isoformat()}),
        )
        found = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, found
        report: Mapping[str, Any] = self.stack.read_json(found["report_uri"])
        assert report["rows"] == len(rows)
        return report

    def _send_within_a_window(self, rows: list[Row]) -> tuple[datetime, list[str]]:
        """The window's end and the predictions' ids. A busy machine may need another window."""
        for _ in range(5):
            _, start = last_full_window(datetime.now(UTC) + WINDOW, WINDOW)
            time.sleep(max(0.0, (start - datetime.now(UTC)).total_seconds()))
            ids: list[str] = []
            for first in range(0, len(rows), BATCH):
                answer = self.api.call("POST", "/predict", {"instances": rows[first : first + BATCH]})
                assert answer.status == 200, answer.body
                ids += [each["id"] for each in answer.body["predictions"]]
            if datetime.now(UTC) < start + WINDOW:
                return start + WINDOW, ids
        raise AssertionError(f"{len(rows)} rows never fitted into {WINDOW}")

    def answer(self, report: Mapping[str, Any]) -> Mapping[str, Any]:
        """What became of the drift alarm that a window raised."""
        raised = RaisedAlarm.of_window(
            "drift",
            at=from_iso(report["window"]["end"]),
            version=report["model"]["version"],
            report_uri=report_uri(f"s3://{self.stack.bucket}", from_iso(report["window"]["start"])),
            reason="",
        )
        answer: Mapping[str, Any] = self.stack.read_json(str(raised.answer_uri))
        return answer

    def alarm_state(self, name: str) -> str:
        answer = self._cloudwatch.describe_alarms(AlarmNames=[self.stack.resource(name)])
        (alarm,) = answer["MetricAlarms"]
        return str(alarm["StateValue"])

    def wait_for_alarm(self, name: str, state: str) -> None:
        wait_for(f"{name} in {state}", lambda: self.alarm_state(name) == state)


def csv_of(rows: list[Row], labels: list[str]) -> bytes:
    header = [*rows[0], "sick"]
    lines = [",".join(map(str, [*row.values(), label])) for row, label in zip(rows, labels, strict=True)]
    return "\n".join([",".join(header), *lines, ""]).encode()


@pytest.mark.timeout(900)
def test_drift_retrains_on_outcomes_until_it_is_quiet_and_a_loss_of_quality_falls_back(
    deploy: Callable[..., Stack],
) -> None:
    ward = Ward(20261121)
    stack = deploy(
        TargetColumn="sick",
        WatchWindowHours=str(WINDOW / timedelta(hours=1)),
        WatchScheduleState="DISABLED",
        WindowsToAlarm="1",
        WindowsConsidered="1",
        RetrainCooldownHours="0",
        OutcomeDelayDays="0.001",
        QualityResponse="fallback",
        ApiBurstLimit="5000",
        ApiRateLimit="5000",
        PredictionRetentionDays="1",
    )
    stack.train_and_deploy(csv_of(*ward.rows(KNOWN)))
    watched = Watched(stack)

    # Traffic like the training data raises nothing.
    quiet = watched.window(ward.rows(ROWS)[0])
    assert quiet["verdict"] == "quiet", quiet["drifted"]
    watched.wait_for_alarm("DriftAlarm", "OK")
    assert len(stack.runs()) == 1

    # Other patients come, and nobody knows yet what is true of them: an alarm that no run can follow.
    early = watched.window(ward.rows(ROWS, is_later=True)[0])
    assert early["alarms"]["drift"]["raised"]
    watched.wait_for_alarm("DriftAlarm", "ALARM")
    stack.wait_for_notification("alarm-unanswered", "there is nothing to train on")
    assert watched.answer(early)["outcome"] == "nothing-new"

    # They go on coming. CloudWatch's alarm stays as it is, and yet a run starts on what turned out to be
    # true of them, and somebody decides.
    rows, labels = ward.rows(ROWS, is_later=True)
    drifted = watched.window(rows, labels[:KNOWN])
    assert drifted["verdict"] == "drifted"
    assert "marker" in drifted["drifted"]
    assert drifted["quality"]["verdict"] == "steady"
    version = stack.wait_for_version(2)
    run = stack.ledger.get_run(version.run_id)
    assert run is not None
    answer = watched.answer(drifted)
    assert (answer["outcome"], answer["run_id"]) == ("admitted", run.run_id)
    assert run.alarm == answer["alarm"]
    assert (run.trigger, run.drops, run.objects) == ("alarm", 0, 1), "outcomes come on top of the drops"
    assert stack.read_json(run.manifest_uri)["labelled"]["rows"] == KNOWN
    stack.approve(2)
    stack.wait_for_live(2)

    # To the new model, which was trained on both, both are what it knows.
    again = watched.window(ward.rows(ROWS // 2)[0] + ward.rows(ROWS // 2, is_later=True)[0])
    assert again["model"]["version"] == 2
    assert again["verdict"] == "quiet", again["drifted"]
    # Not the alarm's state: windows this short may share its period, a minute, throughout which the 1 counts.
    assert not again["alarms"]["drift"]["raised"]
    assert len(stack.runs()) == 2

    # The outcomes contradict the model: back to the version before, and another run.
    rows, labels = ward.rows(BATCH, is_later=True)
    wrong = watched.window(rows, ["no" if label == "yes" else "yes" for label in labels])
    assert wrong["quality"]["verdict"] == "degraded"
    watched.wait_for_alarm("QualityAlarm", "ALARM")
    stack.wait_for_live(1)
    assert "fallback" in {json.loads(each["input"])["reason"] for each in stack.deployments()}
    # The version before knows only the first patients, so that either alarm may be answered first.
    wait_for("another run", lambda: len(stack.runs()) > 2)
    assert {run.trigger for run in stack.runs()} == {"drop", "alarm"}
    for run in stack.runs():
        if not run.status.is_final:
            stack.stepfunctions.stop_execution(executionArn=run.execution_arn)

    # What is counted where something goes wrong: a run that fails, an event that found nobody.
    stack.wait_for_execution(stack.start(trigger="nobody knows"))
    stack.host.client("sqs").send_message(QueueUrl=stack.resource("UndeliveredEvents"), MessageBody="{}")
    every_panel_finds_data(stack)
    teardown_leaves_nothing(stack)


def teardown_leaves_nothing(stack: Stack) -> None:
    """The loop's end: every endpoint, package, job, log, table and object goes with the stack."""
    stack.unsubscribe()
    # At the host's end nobody could tell any more whose roles those were.
    record(stack.host)
    commands = ["teardown", "--stack", stack.name, "--endpoint-url", stack.host.endpoint_url, "--json"]

    def taken_away(*arguments: str) -> Mapping[str, Any]:
        result = CliRunner().invoke(app, [*commands, "--yes", "--name", stack.name, *arguments])
        assert result.exit_code == 0, result.output
        found: Mapping[str, Any] = json.loads(result.stdout)
        return found

    first = taken_away("--keep-data")
    gone = {"stack", "endpoint", "endpoint configuration", "model", "model package", "training job"}
    assert gone | {"registered archive"} <= set(first["deleted"])
    assert first["kept"]["bucket"] == [stack.bucket]
    assert stack.s3.list_objects_v2(Bucket=stack.bucket)["KeyCount"] > 0
    assert "Versions" not in stack.s3.list_object_versions(Bucket=stack.bucket, Prefix="registered/")
    assert first["left"] == {}

    second = taken_away()
    assert second["deleted"]["bucket"] == [stack.bucket]
    assert len(second["deleted"]["table"]) == 2
    assert (second["kept"], second["left"]) == ({}, {})

    again = taken_away("--model", stack.model_name)
    assert (again["deleted"], again["left"]) == ({}, {})
