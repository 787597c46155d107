"""The exported Grafana dashboard, read by Grafana's own library."""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.cloudwatch import CloudWatchLogsQuery, CloudWatchMetricsQuery
from grafana_foundation_sdk.models.dashboard import Dashboard

from dropforge_ops.actions.grafana import grafana_dashboard
from dropforge_ops.stack.dashboard import StackDashboard

REGION = "eu-central-1"
STACK = StackDashboard(
    stack="churn",
    region=REGION,
    account="123456789012",
    widgets=(
        {"type": "alarm", "x": 0, "y": 0, "width": 24, "height": 3, "properties": {"alarms": []}},
        {
            "type": "metric",
            "x": 12,
            "y": 3,
            "width": 12,
            "height": 6,
            "properties": {
                "title": "Endpoint",
                "region": REGION,
                "stat": "Sum",
                "period": 300,
                "metrics": [
                    ["AWS/SageMaker", "Invocations", "EndpointName", "churn", "VariantName", "live"],
                    [
                        "AWS/SageMaker",
                        "ModelLatency",
                        "EndpointName",
                        "churn",
                        "VariantName",
                        "live",
                        {"stat": "p50", "yAxis": "right", "label": "latency"},
                    ],
                ],
                "annotations": {"horizontal": [{"label": "limit", "value": 800}]},
            },
        },
        {
            "type": "log",
            "x": 0,
            "y": 3,
            "width": 12,
            "height": 6,
            "properties": {
                "title": "Predictions",
                "region": REGION,
                "view": "timeSeries",
                "query": "SOURCE '/aws/lambda/watch' | filter message = 'watched' "
                "| stats max(rows) by bin(1h)",
            },
        },
    ),
    alarms={
        "PredictReleaseAlarm": {
            "AlarmName": "churn-PredictReleaseAlarm-1A",
            "AlarmDescription": "The newest version answers 5XX.",
            "Namespace": "Dropforge",
            "MetricName": "ServerErrors",
            "Dimensions": [
                {"Name": "FunctionName", "Value": "churn-predict"},
                {"Name": "FunctionVersion", "Value": "7"},
            ],
            "Statistic": "Sum",
            "Period": 60,
            "Threshold": 0.0,
        },
        "ApiLatencyAlarm": {
            "AlarmName": "churn-ApiLatencyAlarm-2B",
            "Namespace": "AWS/ApiGateway",
            "MetricName": "Latency",
            "Dimensions": [{"Name": "ApiName", "Value": "churn-predictions"}],
            "ExtendedStatistic": "p99",
            "Period": 300,
            "Threshold": 2000.0,
        },
        "FailedExecutionsAlarm": {
            "AlarmName": "churn-FailedExecutionsAlarm-3C",
            "Threshold": 0.0,
            "Metrics": [
                {"Id": "all", "Expression": "SUM(METRICS())"},
                {
                    "Id": "failed",
                    "MetricStat": {
                        "Metric": {
                            "Namespace": "AWS/States",
                            "MetricName": "ExecutionsFailed",
                            "Dimensions": [],
                        },
                        "Period": 300,
                        "Stat": "Sum",
                    },
                },
            ],
        },
    },
)


def test_grafanas_own_library_reads_the_dashboard_and_loses_nothing_of_it() -> None:
    plugins.register_default_plugins()
    written = json.loads(json.dumps(grafana_dashboard(STACK)))
    read = Dashboard.from_json(written)
    assert _lost(written, json.loads(JSONEncoder().encode(read))) == []
    kinds = {type(query) for panel in read.panels or [] for query in panel.targets}  # type: ignore[union-attr]
    assert kinds == {CloudWatchLogsQuery, CloudWatchMetricsQuery}


def test_alarms_stand_above_with_their_limits_and_nothing_overlaps() -> None:
    panels = grafana_dashboard(STACK)["panels"]
    assert [each["title"] for each in panels] == [*STACK.alarms, "Endpoint", "Predictions"]
    limits = [each["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"] for each in panels[:4]]
    assert limits == [0, 2000, 0, 800]
    places = [each["gridPos"] for each in panels]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert min(place["y"] for place in places[3:]) == 6
    assert len({each["id"] for each in panels}) == len(panels)


def test_a_version_that_the_next_deployment_replaces_is_not_asked_for() -> None:
    release = grafana_dashboard(STACK)["panels"][0]["targets"][0]
    assert release["dimensions"] == {"FunctionName": "churn-predict", "FunctionVersion": "*"}


def test_logs_are_asked_by_their_group_and_grouped_by_time() -> None:
    query = grafana_dashboard(STACK)["panels"][-1]["targets"][0]
    assert query["logGroups"] == [
        {
            "arn": f"arn:aws:logs:{REGION}:123456789012:log-group:/aws/lambda/watch:*",
            "name": "/aws/lambda/watch",
        }
    ]
    assert query["expression"] == "filter message = 'watched' | stats max(rows) by bin(1h)"
    assert query["statsGroups"] == ["bin(1h)"]


def _lost(written: Any, read: Any, where: str = "") -> list[str]:
    """Where what was written isn't what was read; what a reader adds doesn't matter."""
    if isinstance(written, dict) and isinstance(read, dict):
        return [
            lost
            for key, value in written.items()
            for lost in (_lost(value, read[key], f"{where}.{key}") if key in read else [f"{where}.{key}"])
        ]
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        pairs = enumerate(zip(written, read, strict=True))
        return [lost for i, (one, other) in pairs for lost in _lost(one, other, f"{where}[{i}]")]
    return [] if written == read else [where]
