"""What alarms and the dashboard look at is something that somebody writes; everything is traced."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from tests.contract.state_machine import ROOT, source

from dropforge.domain import cloudwatch_metrics
from dropforge.domain.cloudwatch_metrics import BY_VERSION, METRICS, METRICS_BY_VERSION, Metric
from dropforge.metrics import emit
from dropforge_local.template import load_template

TEMPLATE = load_template(ROOT / "template.yaml")
RESOURCES = TEMPLATE["Resources"]
ALARMS = {
    name: each["Properties"] for name, each in RESOURCES.items() if each["Type"] == "AWS::CloudWatch::Alarm"
}
MACHINES = {
    name: each["Properties"]
    for name, each in RESOURCES.items()
    if each["Type"] == "AWS::StepFunctions::StateMachine"
}
NAMESPACE = "Dropforge"

# The constants of our metrics, and the file that emits each.
WATCH = "core/dropforge/application/watch_model.py"
EMITTED_BY = {
    "DRIFT_ALARM": WATCH,
    "QUALITY_ALARM": WATCH,
    "ESTIMATE_ALARM": WATCH,
    "MISSING_DATA": WATCH,
    "LIVE_QUALITY": WATCH,
    "APPROVALS_OVERDUE": "functions/check_approval/app.py",
}

# AWS's metrics: (dimensions, names), of those that the template may name.
AWS_METRICS = {
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
    "AWS/ApiGateway": (
        ("ApiName", "Stage"),
        {"4XXError", "5XXError", "Count", "IntegrationLatency", "Latency"},
    ),
    # https://docs.aws.amazon.com/sagemaker/latest/dg/monitoring-cloudwatch.html
    "AWS/SageMaker": (
        ("EndpointName", "VariantName"),
        {"Invocations", "Invocation4XXErrors", "Invocation5XXErrors", "ModelLatency", "OverheadLatency"},
    ),
    # https://docs.aws.amazon.com/step-functions/latest/dg/procedure-cw-metrics.html
    "AWS/States": (
        ("StateMachineArn",),
        {"ExecutionsStarted", "ExecutionsFailed", "ExecutionsTimedOut", "ExecutionsSucceeded"},
    ),
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    "AWS/SQS": (("QueueName",), {"ApproximateNumberOfMessagesVisible"}),
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
    "AWS/Lambda": (("FunctionName",), {"Errors", "Invocations", "Duration", "Throttles"}),
}


def test_our_metrics_are_emitted_under_their_names_by_the_dimension_that_alarms_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert {getattr(cloudwatch_metrics, constant) for constant in EMITTED_BY} == METRICS.keys()
    for constant, path in EMITTED_BY.items():
        assert re.search(rf"Metric\({constant}\b", (ROOT / path).read_text()), constant
    emit(NAMESPACE, "model", list(map(Metric, METRICS)))
    document = json.loads(capsys.readouterr().out)
    (directive,) = document["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == (NAMESPACE, [["Model"]])
    assert {each["Name"] for each in directive["Metrics"]} == METRICS.keys()


def test_whoever_emits_is_told_the_namespace_and_the_model() -> None:
    variables = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    assert variables["METRICS_NAMESPACE"] == NAMESPACE
    assert variables["POWERTOOLS_SERVICE_NAME"] == {"Ref": "ModelName"}


def metrics_of(alarm: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(namespace, name, dimensions) of what the alarm looks at."""
    stats = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
    for metric in stats or [alarm]:
        dimensions = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
        yield metric["Namespace"], metric["MetricName"], dimensions


def check_exists(namespace: str, name: str, dimensions: Mapping[str, Any]) -> None:
    if namespace == NAMESPACE:
        assert tuple(dimensions) == (BY_VERSION if name in METRICS_BY_VERSION else ("Model",))
        assert name in METRICS_BY_VERSION or name in METRICS
        return
    known, names = AWS_METRICS[namespace]
    assert name in names
    if namespace == "AWS/Lambda" and "Resource" in dimensions:
        known = (*known, "Resource")  # of an alias
    assert tuple(dimensions) == known


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_looks_at_metrics_that_somebody_writes(name: str) -> None:
    looked_at = list(metrics_of(ALARMS[name]))
    assert looked_at
    for metric in looked_at:
        check_exists(*metric)


def test_alarms_look_at_what_this_stack_names() -> None:
    named = {
        dimension: value
        for alarm in ALARMS.values()
        for _, _, dimensions in metrics_of(alarm)
        for dimension, value in dimensions.items()
        if dimension != "StateMachineArn"
    }
    assert named["Model"] == named["EndpointName"] == {"Ref": "ModelName"}
    assert named["ApiName"] == RESOURCES["PredictionApi"]["Properties"]["Name"]
    assert f"'VariantName': '{named['VariantName']}'" in source("deployment")
    watched = {
        (name, dimensions["StateMachineArn"]["Ref"])
        for _, name, dimensions in metrics_of(ALARMS["FailedExecutionsAlarm"])
    }
    assert watched == {
        (name, machine) for name in ("ExecutionsFailed", "ExecutionsTimedOut") for machine in MACHINES
    }


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_says_what_it_means_and_notifies(name: str) -> None:
    alarm = ALARMS[name]
    assert alarm["AlarmDescription"]
    assert alarm["AlarmActions"] == [{"Ref": "Notifications"}]
    assert alarm.get("OKActions", alarm["AlarmActions"]) == alarm["AlarmActions"]
    assert alarm["TreatMissingData"] in {"ignore", "notBreaching"}


@pytest.mark.parametrize("name", ["DriftAlarm", "QualityAlarm", "EstimateAlarm", "MissingDataAlarm"])
def test_one_window_decides_and_its_word_holds_until_the_next(name: str) -> None:
    alarm = ALARMS[name]
    assert alarm["EvaluationPeriods"] == 1
    assert "DatapointsToAlarm" not in alarm
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Maximum", 0)
    assert alarm["TreatMissingData"] == "ignore"


def test_a_window_is_watched_once_by_default() -> None:
    parameters = TEMPLATE["Parameters"]
    assert parameters["WatchSchedule"]["Default"] == "rate(1 hour)"
    assert parameters["WatchWindowHours"]["Default"] == 1


# --- the dashboard ------------------------------------------------------------------------------


def resolved(template: str) -> str:
    """The text with every reference replaced by a name that may stand in JSON."""
    for reference in re.findall(r"\$\{([\w:.]+)\}", template):
        name = reference.split(".")[0]
        assert name in RESOURCES or name in TEMPLATE["Parameters"] or name.startswith("AWS::"), reference
    numbers = {name for name, each in TEMPLATE["Parameters"].items() if each["Type"] == "Number"}
    return re.sub(r"\$\{([\w:.]+)\}", lambda found: "1" if found[1] in numbers else found[1], template)


BODY = json.loads(resolved(RESOURCES["ModelDashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]))
WIDGETS: dict[str, list[dict[str, Any]]] = {
    kind: [each["properties"] for each in BODY["widgets"] if each["type"] == kind]
    for kind in ("alarm", "metric", "log")
}


def test_the_dashboard_is_valid_and_its_widgets_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for each in BODY["widgets"]:
        cells = {
            (x, y)
            for x in range(each["x"], each["x"] + each["width"])
            for y in range(each["y"], each["y"] + each["height"])
        }
        assert all(x < 24 for x, _ in cells)
        assert not cells & taken, each["properties"]["title"]
        taken |= cells
    assert sum(map(len, WIDGETS.values())) == len(BODY["widgets"])


def test_the_dashboard_shows_every_alarm_that_each_stack_has() -> None:
    (widget,) = WIDGETS["alarm"]
    always = [name for name in ALARMS if "Condition" not in RESOURCES[name]]
    assert sorted(widget["alarms"]) == sorted(f"{name}.Arn" for name in always)


def test_the_dashboard_shows_metrics_that_somebody_writes_and_is_one_of_the_free_ones() -> None:
    count = 0
    for widget in WIDGETS["metric"]:
        assert widget["region"] == "AWS::Region"
        for line in widget["metrics"]:
            texts = [each for each in line if isinstance(each, str)]
            namespace, name, *pairs = texts
            check_exists(namespace, name, dict(zip(pairs[::2], pairs[1::2], strict=True)))
            assert "stat" in widget or "stat" in line[-1]
            count += 1
    assert count <= 50  # https://aws.amazon.com/cloudwatch/pricing/


def test_the_dashboard_reads_what_the_watch_logs() -> None:
    code = (ROOT / WATCH).read_text()
    words = {
        "filter",
        "stats",
        "max",
        "latest",
        "by",
        "bin",
        "sort",
        "desc",
        "limit",
        "display",
        "as",
        "message",
    }
    for widget in WIDGETS["log"]:
        head, *commands = widget["query"].split(" | ")
        assert head == "SOURCE 'WatchModelFunctionLog'"
        query = " | ".join(commands)
        for message in re.findall(r"message = '([^']+)'", query):
            assert f'("{message}", ' in code
        made = set(re.findall(r" as (\w+)", query))
        fields = set(re.findall(r"(?<!@)\b[a-z_]+\b", re.sub(r"'[^']*'", "", query))) - words - made - {"h"}
        fields.discard("timestamp")
        assert fields
        for field in fields:
            assert f'"{field}"' in code, field


def test_the_dashboard_is_there_where_it_is_wanted() -> None:
    assert RESOURCES["ModelDashboard"]["Condition"] == "HasDashboard"
    assert TEMPLATE["Outputs"]["DashboardUrl"]["Condition"] == "HasDashboard"


# --- tracing and cost ---------------------------------------------------------------------------


def test_functions_machines_and_the_api_are_traced() -> None:
    assert TEMPLATE["Globals"]["Function"]["Tracing"] == "Active"
    assert not [
        name
        for name, each in RESOURCES.items()
        if "Tracing" in each.get("Properties", {}) and each["Type"] == "AWS::Serverless::Function"
    ]
    assert RESOURCES["PredictionApi"]["Properties"]["TracingEnabled"] is True
    for machine in MACHINES.values():
        assert machine["TracingConfiguration"] == {"Enabled": True}
        role = RESOURCES[machine["RoleArn"]["Fn::GetAtt"][0]]["Properties"]
        actions = {
            action
            for policy in role["Policies"]
            for statement in policy["PolicyDocument"]["Statement"]
            for action in statement.get("Action", ())  # the key's are conditional
            if action.startswith("xray:")
        }
        # https://docs.aws.amazon.com/step-functions/latest/dg/xray-iam.html
        assert actions == {
            "xray:PutTraceSegments",
            "xray:PutTelemetryRecords",
            "xray:GetSamplingRules",
            "xray:GetSamplingTargets",
        }


def test_no_payload_is_logged_and_no_metric_by_method_is_paid_for() -> None:
    everything = RESOURCES["PredictionApi"]["Properties"]["MethodSettings"][0]
    assert (everything["ResourcePath"], everything["HttpMethod"]) == ("/*", "*")
    assert everything["DataTraceEnabled"] is False
    assert everything["MetricsEnabled"] is False
