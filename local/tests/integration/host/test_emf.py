"""Metrics in log lines: what functions log in the embedded metric format, CloudWatch knows."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from dropforge_local.glue.emf import InvalidLine, metrics_of

if TYPE_CHECKING:
    from local_host_support import Deployed


def _total(deployed: Deployed, metric: str, model: str = "probe") -> list[float]:
    now = datetime.now(UTC)
    points = deployed.host.client("cloudwatch").get_metric_statistics(
        Namespace="Probe",
        MetricName=metric,
        Dimensions=[{"Name": "Model", "Value": model}],
        StartTime=now - timedelta(minutes=10),
        EndTime=now + timedelta(minutes=10),
        Period=3600,
        Statistics=["Sum", "SampleCount"],
    )["Datapoints"]
    return [sum(point[name] for point in points) for name in ("Sum", "SampleCount")]


@pytest.mark.parametrize("function", ["Probe", "Structured"])
def test_a_printed_line_becomes_a_metric_whatever_the_log_format(deployed: Deployed, function: str) -> None:
    metric = f"Printed{function}"
    for value in (2, 2, 5):
        deployed.invoke({"do": "emit", "metric": metric, "value": value}, function)
    assert _total(deployed, metric) == [9.0, 3.0]
    assert _total(deployed, metric, "another") == [0, 0]


def test_a_list_of_values_counts_each(deployed: Deployed) -> None:
    deployed.invoke({"do": "emit", "metric": "Several", "value": [1, 1, 4]})
    assert _total(deployed, "Several") == [6.0, 3.0]


def test_a_line_wrapped_by_the_runtimes_formatter_is_no_metric(deployed: Deployed) -> None:
    deployed.invoke({"do": "emit", "metric": "Wrapped", "value": 1, "through": "logging"}, "Structured")
    assert _total(deployed, "Wrapped") == [0, 0]


def test_lines_put_into_any_log_group_are_read(deployed: Deployed) -> None:
    logs, group, metric = deployed.host.client("logs"), f"put-{uuid.uuid4().hex}", "Put"
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    now = int(datetime.now(UTC).timestamp() * 1000)
    directive = {"Namespace": "Probe", "Dimensions": [["Model"]], "Metrics": [{"Name": metric}]}
    line = json.dumps(
        {"_aws": {"Timestamp": now, "CloudWatchMetrics": [directive]}, "Model": "probe", metric: 3}
    )
    logs.put_log_events(
        logGroupName=group,
        logStreamName="s",
        logEvents=[{"timestamp": now, "message": line}, {"timestamp": now, "message": "plain"}],
    )
    assert _total(deployed, metric) == [3.0, 1.0]


def _line(**changes: object) -> str:
    directive = {
        "Namespace": "N",
        "Dimensions": [["Model"], []],
        "Metrics": [{"Name": "A", "Unit": "Count"}, {"Name": "B"}],
    }
    document = {
        "_aws": {"Timestamp": 1500, "CloudWatchMetrics": [directive]},
        "Model": "m",
        "A": 1,
        "B": [2.5],
        **changes,
    }
    return json.dumps(document)


def test_every_set_of_dimensions_is_a_metric_of_its_own() -> None:
    found = [(d.name, d.values, d.unit, d.dimensions, d.at) for d in metrics_of(_line())]
    assert found == [
        ("A", (1.0,), "Count", {"Model": "m"}, 1.5),
        ("B", (2.5,), "None", {"Model": "m"}, 1.5),
        ("A", (1.0,), "Count", {}, 1.5),
        ("B", (2.5,), "None", {}, 1.5),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"A": "1"},
        {"A": True},
        {"B": [1, None]},
        {"B": list(range(101))},
        {"Model": 3},
        {"_aws": {"Timestamp": "now", "CloudWatchMetrics": []}},
        {"_aws": {"Timestamp": 1, "CloudWatchMetrics": [{"Metrics": []}]}},
    ],
)
def test_a_line_that_breaks_the_specification_gives_nothing(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidLine):
        list(metrics_of(_line(**changes)))


@pytest.mark.parametrize("line", ["", "plain", '"_aws" "CloudWatchMetrics"', '["_aws", "CloudWatchMetrics"]'])
def test_other_lines_are_left_alone(line: str) -> None:
    assert list(metrics_of(line)) == []
