"""Alarms go off at once for what services and functions write, and tell EventBridge and SNS."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from local_host_support import eventually

from dropforge_local.api_urls import local_api_url

if TYPE_CHECKING:
    from local_host_support import Deployed

# From a datapoint to its alarm.
PROMPT_S = 3.0


def _alarm(deployed: Deployed, name: str) -> dict[str, Any]:
    found = deployed.host.client("cloudwatch").describe_alarms(AlarmNames=[deployed.outputs.get(name, name)])
    return dict(found["MetricAlarms"][0])


def _becomes(deployed: Deployed, name: str, state: str, within_s: float = PROMPT_S) -> None:
    eventually(lambda: _alarm(deployed, name)["StateValue"] == state, within_s)


def _told(deployed: Deployed, name: str, state: str) -> dict[str, Any]:
    """The event of the alarm's change to the state."""
    alarm = deployed.outputs.get(name, name)
    return deployed.recorded(
        lambda found: (
            found["source"] == "aws.cloudwatch"
            and found["detail"]["alarmName"] == alarm
            and found["detail"]["state"]["value"] == state
        )
    )


def _get(deployed: Deployed, status: int) -> int:
    url = local_api_url(deployed.outputs["ApiUrl"], deployed.host.endpoint_url)
    try:
        with urllib.request.urlopen(f"{url}/answer?status={status}") as answer:  # noqa: S310 - loopback
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_functions_log_line_sets_off_its_alarm_which_tells_eventbridge_and_the_topic(
    deployed: Deployed,
) -> None:
    deployed.invoke({"do": "emit", "metric": "DriftAlarm", "value": 0})
    _becomes(deployed, "EmittedAlarm", "OK")
    deployed.invoke({"do": "emit", "metric": "DriftAlarm", "value": 1})
    _becomes(deployed, "EmittedAlarm", "ALARM")

    event = _told(deployed, "EmittedAlarm", "ALARM")
    assert event["detail-type"] == "CloudWatch Alarm State Change"
    assert event["resources"] == [deployed.outputs["EmittedAlarmArn"]]
    detail = event["detail"]
    assert detail["configuration"]["description"] == "What the function logs"
    (query,) = detail["configuration"]["metrics"]
    assert query["returnData"] is True
    assert query["metricStat"] == {
        "metric": {"namespace": "Probe", "name": "DriftAlarm", "dimensions": {"Model": "probe"}},
        "period": 60,
        "stat": "Maximum",
    }
    assert detail["state"]["reason"].startswith("Threshold Crossed: 1 out of the last 1 datapoints [1.0 (")
    reason = json.loads(detail["state"]["reasonData"])
    assert (reason["statistic"], reason["recentDatapoints"], reason["threshold"]) == ("Maximum", [1.0], 0.0)
    assert datetime.fromisoformat(detail["state"]["timestamp"]).utcoffset() == timedelta(0)
    assert detail["previousState"]["value"] == "OK"
    assert detail["previousState"]["timestamp"] <= detail["state"]["timestamp"]

    sqs = deployed.host.client("sqs")

    def message() -> Any:
        received = sqs.receive_message(QueueUrl=deployed.outputs["Inbox"]).get("Messages", [])
        return json.loads(received[0]["Body"]) if received else None

    notification = json.loads(eventually(message)["Message"])
    assert (notification["NewStateValue"], notification["OldStateValue"]) == ("ALARM", "OK")


def test_a_state_that_is_set_holds_where_missing_data_is_ignored(deployed: Deployed) -> None:
    client = deployed.host.client("cloudwatch")
    for name, treatment in (("held", "ignore"), ("let-go", "notBreaching")):
        client.put_metric_alarm(
            AlarmName=name,
            Namespace="Probe",
            MetricName="Never",
            Statistic="Maximum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=0,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData=treatment,
        )
        client.set_alarm_state(
            AlarmName=name, StateValue="ALARM", StateReason="by hand", StateReasonData='{"a":1}'
        )
    event = _told(deployed, "held", "ALARM")
    assert event["detail"]["state"]["reason"] == "by hand"
    assert event["detail"]["state"]["reasonData"] == '{"a":1}'
    _becomes(deployed, "let-go", "OK", 10)
    assert _alarm(deployed, "held")["StateValue"] == "ALARM"
    client.set_alarm_state(AlarmName="held", StateValue="OK", StateReason="by hand")
    calm = _told(deployed, "held", "OK")
    assert "reasonData" not in calm["detail"]["state"]
    assert calm["detail"]["previousState"]["reasonData"] == '{"a":1}'


def test_the_next_windows_word_ends_an_alarm_that_ignores_missing_data(deployed: Deployed) -> None:
    client, now = deployed.host.client("cloudwatch"), datetime.now(UTC)
    client.put_metric_alarm(
        AlarmName="windows",
        Namespace="Probe",
        MetricName="Raised",
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )

    def put(minutes_ago: int, value: float) -> None:
        data = {"MetricName": "Raised", "Timestamp": now - timedelta(minutes=minutes_ago), "Value": value}
        client.put_metric_data(Namespace="Probe", MetricData=[data])

    put(2, 1.0)
    _becomes(deployed, "windows", "ALARM")
    put(0, 0.0)
    _becomes(deployed, "windows", "OK")


def test_metric_math_adds_up_what_there_is(deployed: Deployed) -> None:
    _becomes(deployed, "FailedAlarm", "OK", 10)
    described = _alarm(deployed, "FailedAlarm")
    assert [query["Id"] for query in described["Metrics"]] == ["failed", "failures", "others"]
    deployed.ended(deployed.start(deployed.outputs["Failing"]))
    _becomes(deployed, "FailedAlarm", "ALARM")
    first, second, _ = _told(deployed, "FailedAlarm", "ALARM")["detail"]["configuration"]["metrics"]
    assert first == {
        "id": "failed",
        "expression": "SUM(METRICS())",
        "label": "Failed executions",
        "returnData": True,
    }
    assert second["returnData"] is False
    assert second["metricStat"]["metric"]["name"] == "ExecutionsFailed"


def test_metric_math_that_is_not_calculated_is_refused(deployed: Deployed) -> None:
    metric = {"Namespace": "Probe", "MetricName": "Never"}
    with pytest.raises(ClientError, match=r"RATE\(a\)"):
        deployed.host.client("cloudwatch").put_metric_alarm(
            AlarmName="refused",
            EvaluationPeriods=1,
            Threshold=0,
            ComparisonOperator="GreaterThanThreshold",
            Metrics=[
                {"Id": "e", "Expression": "RATE(a)"},
                {
                    "Id": "a",
                    "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"},
                    "ReturnData": False,
                },
            ],
        )


def test_the_share_of_an_apis_server_errors_sets_off_its_alarm(deployed: Deployed) -> None:
    assert [_get(deployed, status) for status in (200, 404)] == [200, 404]
    _becomes(deployed, "ApiErrorsAlarm", "OK", 10)
    assert [_get(deployed, 503) for _ in range(3)] == [503] * 3
    _becomes(deployed, "ApiErrorsAlarm", "ALARM")
    event = _told(deployed, "ApiErrorsAlarm", "ALARM")
    (value,) = json.loads(event["detail"]["state"]["reasonData"])["recentDatapoints"]
    assert value > 0.4


def test_an_apis_requests_are_counted_and_timed(deployed: Deployed) -> None:
    assert _get(deployed, 200) == 200
    now = datetime.now(UTC)
    for metric, statistic in (("Count", "Sum"), ("4XXError", "Sum"), ("Latency", "p99")):
        points = deployed.host.client("cloudwatch").get_metric_data(
            StartTime=now - timedelta(minutes=10),
            EndTime=now + timedelta(minutes=10),
            MetricDataQueries=[
                {
                    "Id": "m",
                    "MetricStat": {
                        "Metric": {
                            "Namespace": "AWS/ApiGateway",
                            "MetricName": metric,
                            "Dimensions": [
                                {"Name": "ApiName", "Value": "probe-api"},
                                {"Name": "Stage", "Value": "v1"},
                            ],
                        },
                        "Period": 3600,
                        "Stat": statistic,
                    },
                }
            ],
        )
        assert points["MetricDataResults"][0]["Values"], metric


def test_a_percentile_needs_enough_samples_and_m_of_n_periods(deployed: Deployed) -> None:
    slow, few, now = {10.0: 980, 500.0: 20}, {5000.0: 30}, datetime.now(UTC)

    def put(minutes_ago: int, values: dict[float, int]) -> None:
        data = [
            {
                "MetricName": "Latency",
                "Timestamp": now - timedelta(minutes=minutes_ago),
                "Values": list(values),
                "Counts": list(map(float, values.values())),
            }
        ]
        deployed.host.client("cloudwatch").put_metric_data(Namespace="Probe", MetricData=data)

    for minutes_ago, values in ((3, slow), (1, few), (2, slow)):
        put(minutes_ago, values)
        assert _alarm(deployed, "SlowAlarm")["StateValue"] != "ALARM"
    put(0, slow)
    _becomes(deployed, "SlowAlarm", "ALARM")
    assert _alarm(deployed, "SlowAlarm")["EvaluateLowSampleCountPercentile"] == "ignore"


def test_a_message_in_a_queue_sets_off_its_alarm_and_its_going_is_seen(deployed: Deployed) -> None:
    sqs, url = deployed.host.client("sqs"), deployed.outputs["Queue"]
    sqs.send_message(QueueUrl=url, MessageBody="undelivered")
    _becomes(deployed, "QueueAlarm", "ALARM", 10)
    received = sqs.receive_message(QueueUrl=url)["Messages"][0]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=received["ReceiptHandle"])
    # The period that saw the message stays breaching; the queue's next datum is empty.
    now = datetime.now(UTC)

    def emptied() -> bool:
        points = deployed.host.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/SQS",
            MetricName="ApproximateNumberOfMessagesVisible",
            Dimensions=[{"Name": "QueueName", "Value": url.rpartition("/")[2]}],
            StartTime=now - timedelta(minutes=10),
            EndTime=now + timedelta(minutes=10),
            Period=3600,
            Statistics=["Minimum"],
        )["Datapoints"]
        return bool(points) and min(point["Minimum"] for point in points) == 0

    eventually(emptied, 10)


def test_a_dashboard_is_there_as_it_was_written(deployed: Deployed) -> None:
    name = deployed.outputs["Dashboard"]
    body = deployed.host.client("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"]
    assert json.loads(body)["widgets"][0]["properties"]["markdown"] == deployed.outputs["Probe"]
