"""The exported Grafana dashboard on a deployed stack: each panel's queries, asked as Grafana asks them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from dropforge.domain.cloudwatch_metrics import METRICS
from dropforge_ops.actions.grafana import grafana_dashboard
from dropforge_ops.stack.dashboard import read_dashboard
from dropforge_ops.stack.target import Options, Target, resolve
from tests.workflow.stack import Stack, wait_for

# The one counts runs that nobody decided on for days, the other needs a larger hold-out; the template's own
# tests hold their metrics to the code.
WITHOUT_DATA = {"ApprovalOverdueAlarm", "EstimateAlarm"}


def every_panel_finds_data(stack: Stack) -> None:
    """Export the dashboard of a stack on which all has happened that it shows, and ask its queries."""
    host = stack.host
    target = resolve(Options(stack.name, region=host.region, endpoint_url=host.endpoint_url))
    panels = grafana_dashboard(read_dashboard(target))["panels"]
    queries = [query for panel in panels for query in panel["targets"]]
    assert METRICS.keys() <= {query.get("metricName") for query in queries}
    assert {panel["type"] for panel in panels} == {"timeseries", "table"}
    for panel in panels:
        if panel["title"] not in WITHOUT_DATA:
            wait_for(f"data of the panel {panel['title']}", partial(_finds_data, target, panel))


def _finds_data(target: Target, panel: Mapping[str, Any]) -> bool:
    return any(_answers(target, query) for query in panel["targets"])


def _answers(target: Target, query: Mapping[str, Any]) -> bool:
    end = datetime.now(UTC) + timedelta(hours=1)
    start = end - timedelta(days=1)
    if query["queryMode"] == "Logs":
        logs = target.client("logs")
        started = logs.start_query(
            logGroupNames=[group["name"] for group in query["logGroups"]],
            queryString=query["expression"],
            startTime=int(start.timestamp()),
            endTime=int(end.timestamp()),
        )
        return bool(logs.get_query_results(queryId=started["queryId"])["results"])
    metric = {
        "Namespace": query["namespace"],
        "MetricName": query["metricName"],
        "Dimensions": [{"Name": name, "Value": value} for name, value in query["dimensions"].items()],
    }
    stat = {"Metric": metric, "Period": int(query["period"]), "Stat": query["statistic"]}
    answer = target.client("cloudwatch").get_metric_data(
        MetricDataQueries=[{"Id": query["id"], "MetricStat": stat}], StartTime=start, EndTime=end
    )
    return bool(answer["MetricDataResults"][0]["Values"])
