"""A Grafana dashboard of what a stack's own dashboard and alarms look at.

Format: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/ and
https://grafana.com/docs/grafana/latest/datasources/aws-cloudwatch/query-editor/
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any, Final

from dropforge_ops.stack.dashboard import StackDashboard

# Chosen in the dashboard: what a data source is called is Grafana's own affair.
_SOURCE: Final = {"type": "cloudwatch", "uid": "${datasource}"}
_SCHEMA_VERSION: Final = 39  # Grafana 11's; newer ones raise it by themselves
_ALARM_WIDTH, _ALARM_HEIGHT, _COLUMNS = 6, 6, 24
_LOG_SOURCE: Final = re.compile(r"SOURCE '([^']+)' \| ")
_BIN: Final = re.compile(r"bin\(\d+[smhd]\)")


def grafana_dashboard(stack: StackDashboard) -> dict[str, Any]:
    """The dashboard's JSON model: what each alarm looks at, with its limit, then what CloudWatch's shows.

    It isn't refreshed by itself: each look asks CloudWatch for every metric again, and CloudWatch bills that.
    """
    top = (len(stack.alarms) * _ALARM_WIDTH + _COLUMNS - 1) // _COLUMNS * _ALARM_HEIGHT
    widgets = [each for each in stack.widgets if each["type"] != "alarm"]
    above = min((each["y"] for each in widgets), default=0)
    panels = [
        _alarm_panel(name, alarm, index, stack.region)
        for index, (name, alarm) in enumerate(stack.alarms.items())
    ]
    for widget in widgets:
        place = {
            "x": widget["x"],
            "y": widget["y"] - above + top,
            "w": widget["width"],
            "h": widget["height"],
        }
        build = _metric_panel if widget["type"] == "metric" else _log_panel
        panels.append({**build(widget["properties"], stack), "gridPos": place})
    return {
        "uid": f"dropforge-{hashlib.sha256(stack.stack.encode()).hexdigest()[:16]}",
        "title": f"dropforge: {stack.stack}",
        "description": "Written by dropforge export grafana. Export it again when a deployment adds alarms.",
        "tags": ["dropforge"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": True,
        "timezone": "browser",
        "time": {"from": "now-7d", "to": "now"},
        "refresh": "",
        "templating": {
            "list": [
                {"name": "datasource", "label": "CloudWatch", "type": "datasource", "query": "cloudwatch"}
            ]
        },
        "panels": [{**panel, "id": number} for number, panel in enumerate(panels, start=1)],
    }


def _alarm_panel(name: str, alarm: Mapping[str, Any], index: int, region: str) -> dict[str, Any]:
    asked = [each["MetricStat"] for each in alarm.get("Metrics", []) if "MetricStat" in each]
    if not asked:
        stat = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        asked = [{"Metric": alarm, "Stat": stat, "Period": alarm["Period"]}]
    metrics = [
        _metric(
            each["Metric"]["Namespace"],
            each["Metric"]["MetricName"],
            {named["Name"]: named["Value"] for named in each["Metric"].get("Dimensions", [])},
            {"stat": each["Stat"], "period": each["Period"], "region": region},
        )
        for each in asked
    ]
    row, column = divmod(index, _COLUMNS // _ALARM_WIDTH)
    return {
        **_panel(name, metrics),
        "description": alarm.get("AlarmDescription", ""),
        **_limit(alarm["Threshold"]),
        "gridPos": {
            "x": column * _ALARM_WIDTH,
            "y": row * _ALARM_HEIGHT,
            "w": _ALARM_WIDTH,
            "h": _ALARM_HEIGHT,
        },
    }


def _metric_panel(properties: Mapping[str, Any], stack: StackDashboard) -> dict[str, Any]:
    shared = {key: properties[key] for key in ("stat", "period", "region") if key in properties}
    metrics: list[dict[str, Any]] = []
    on_the_right: list[str] = []
    for each in properties["metrics"]:
        namespace, name, *rest = each
        own = rest.pop() if isinstance(rest[-1], Mapping) else {}
        if own.get("yAxis") == "right":
            on_the_right.append(ascii_uppercase[len(metrics)])
        dimensions = dict(zip(rest[::2], rest[1::2], strict=True))
        metrics.append(_metric(namespace, name, dimensions, {"region": stack.region, **shared, **own}))
    panel = _panel(properties["title"], metrics)
    for line in properties.get("annotations", {}).get("horizontal", []):
        panel |= _limit(line["value"])
    panel.setdefault("fieldConfig", {"defaults": {}, "overrides": []})["overrides"] = [
        {
            "matcher": {"id": "byFrameRefID", "options": reference},
            "properties": [{"id": "custom.axisPlacement", "value": "right"}],
        }
        for reference in on_the_right
    ]
    return panel


def _log_panel(properties: Mapping[str, Any], stack: StackDashboard) -> dict[str, Any]:
    source = _LOG_SOURCE.match(properties["query"])
    if source is None:
        raise ValueError(f"{properties['title']}: a log query begins with its SOURCE")
    query = properties["query"][source.end() :]
    group = f"arn:aws:logs:{properties['region']}:{stack.account}:log-group:{source[1]}:*"
    target = {
        "queryMode": "Logs",
        "region": properties["region"],
        "expression": query,
        "logGroups": [{"arn": group, "name": source[1]}],
        # What Grafana groups a time series by.
        "statsGroups": _BIN.findall(query),
    }
    kind = "table" if properties["view"] == "table" else "timeseries"
    return {**_panel(properties["title"], [target]), "type": kind}


def _panel(title: str, queries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    targets = [
        {"refId": letter, "id": f"query_{letter.lower()}", "datasource": _SOURCE, **query}
        for letter, query in zip(ascii_uppercase, queries, strict=False)
    ]
    return {"type": "timeseries", "title": title, "datasource": _SOURCE, "targets": targets}


def _metric(
    namespace: str, name: str, dimensions: Mapping[str, str], how: Mapping[str, Any]
) -> dict[str, Any]:
    """A query for a metric. Versions of a function come with each deployment, so all are asked for."""
    return {
        "queryMode": "Metrics",
        "metricQueryType": 0,  # search, not SQL
        "metricEditorMode": 0,  # by fields, not by expression
        "namespace": namespace,
        "metricName": name,
        "dimensions": {key: "*" if key == "FunctionVersion" else value for key, value in dimensions.items()},
        "matchExact": True,
        "statistic": how["stat"],
        "period": str(how["period"]),
        "region": how["region"],
        **({"label": how["label"]} if "label" in how else {}),
    }


def _limit(value: float) -> dict[str, Any]:
    """A red line where an alarm goes off."""
    steps = [{"color": "green", "value": None}, {"color": "red", "value": value}]
    defaults = {
        "custom": {"thresholdsStyle": {"mode": "line"}},
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    return {"fieldConfig": {"defaults": defaults, "overrides": []}}
