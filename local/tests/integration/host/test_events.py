"""What AWS's services tell EventBridge, the host tells too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError
from local_host_support import task

if TYPE_CHECKING:
    from local_host_support import Deployed


def test_an_alarms_change_reaches_the_bus(deployed: Deployed) -> None:
    client = deployed.host.client("cloudwatch")
    client.set_alarm_state(AlarmName="probe-alarm", StateValue="ALARM", StateReason="drift of age")
    event = deployed.recorded(
        lambda found: (
            found["source"] == "aws.cloudwatch"
            and found["detail"]["alarmName"] == "probe-alarm"
            and found["detail"]["state"]["value"] == "ALARM"
        )
    )
    assert event["detail-type"] == "CloudWatch Alarm State Change"
    assert event["detail"]["state"]["reason"] == "drift of age"
    assert event["detail"]["previousState"]["value"] in {"OK", "INSUFFICIENT_DATA"}
    metric = event["detail"]["configuration"]["metrics"][0]["metricStat"]["metric"]
    assert (metric["namespace"], metric["name"]) == ("Probe", "Drift")


def test_an_object_put_reaches_the_bus_with_its_key_as_it_is(deployed: Deployed) -> None:
    key = "incoming/a b+ü.csv"
    deployed.host.client("s3").put_object(Bucket=deployed.outputs["Bucket"], Key=key, Body=b"x")
    event = deployed.recorded(
        lambda found: found["source"] == "aws.s3" and found["detail"]["object"]["key"] == key
    )
    assert event["detail-type"] == "Object Created"


def test_an_executions_changes_reach_the_bus(deployed: Deployed) -> None:
    machine = {"StartAt": "No", "States": {"No": {"Type": "Fail", "Error": "Bad", "Cause": "no"}}}
    execution = deployed.start(machine)
    for status in ("RUNNING", "FAILED"):
        event = deployed.recorded(
            lambda found, status=status: (
                found["detail"].get("executionArn") == execution  # type: ignore[misc]
                and found["detail"]["status"] == status
            )
        )
        assert event["source"] == "aws.states"
    assert event["detail"]["error"] == "Bad"


def test_others_cannot_put_events_in_awss_name(deployed: Deployed) -> None:
    answer = deployed.host.client("events").put_events(
        Entries=[{"Source": "aws.sagemaker", "DetailType": "x", "Detail": "{}"}]
    )
    assert answer["FailedEntryCount"] == 1
    assert answer["Entries"][0]["ErrorCode"] == "NotAuthorizedForSourceException"


def test_a_task_puts_events_of_its_own(deployed: Deployed) -> None:
    entries = [{"Source": "probe", "DetailType": "x", "Detail": {"a": 1}}]
    output = deployed.run(task({"Entries": entries}, "events:putEvents"))
    assert output["FailedEntryCount"] == 0


def test_a_stack_that_cannot_be_made_names_every_reason(deployed: Deployed, tmp_path_factory: object) -> None:
    del tmp_path_factory
    client = deployed.host.client("cloudformation")
    with pytest.raises(ClientError, match="AWS::SageMaker::Domain"):
        client.create_stack(
            StackName="never", TemplateBody='{"Resources": {"D": {"Type": "AWS::SageMaker::Domain"}}}'
        )


def test_an_alarm_follows_its_own_dimensions_only(deployed: Deployed) -> None:
    client = deployed.host.client("cloudwatch")
    client.put_metric_alarm(
        AlarmName="per-column",
        Namespace="Probe",
        MetricName="PerColumn",
        Dimensions=[{"Name": "Column", "Value": "age"}],
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )

    def put(column: str, value: float) -> str:
        dimensions = [{"Name": "Column", "Value": column}]
        data = [{"MetricName": "PerColumn", "Dimensions": dimensions, "Value": value}]
        client.put_metric_data(Namespace="Probe", MetricData=data)
        return str(client.describe_alarms(AlarmNames=["per-column"])["MetricAlarms"][0]["StateValue"])

    assert put("income", 9) == "INSUFFICIENT_DATA"
    assert put("age", 0) == "OK"
    assert put("age", 2) == "ALARM"
    event = deployed.recorded(
        lambda found: (
            found["source"] == "aws.cloudwatch"
            and found["detail"]["alarmName"] == "per-column"
            and found["detail"]["state"]["value"] == "ALARM"
        )
    )
    metric = event["detail"]["configuration"]["metrics"][0]["metricStat"]["metric"]
    assert metric["dimensions"] == {"Column": "age"}


def test_invocations_and_executions_are_counted_whoever_starts_them(deployed: Deployed) -> None:
    client = deployed.host.client("cloudwatch")
    machine = deployed.machine({"StartAt": "No", "States": {"No": {"Type": "Fail", "Error": "Bad"}}})
    deployed.ended(deployed.start(machine))
    deployed.ended(deployed.start(deployed.outputs["Echo"], {"do": "raise"}))
    now = datetime.now(UTC)

    def total(namespace: str, metric: str, name: str, value: str) -> float:
        points = client.get_metric_statistics(
            Namespace=namespace,
            MetricName=metric,
            Dimensions=[{"Name": name, "Value": value}],
            StartTime=now - timedelta(minutes=10),
            EndTime=now + timedelta(minutes=10),
            Period=60,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))

    assert total("AWS/States", "ExecutionsStarted", "StateMachineArn", machine) == 1
    assert total("AWS/States", "ExecutionsFailed", "StateMachineArn", machine) == 1
    function = deployed.outputs["Probe"]
    assert total("AWS/Lambda", "Errors", "FunctionName", function) >= 1
    before = total("AWS/Lambda", "Invocations", "FunctionName", function)
    deployed.invoke({"do": "echo"})
    assert total("AWS/Lambda", "Invocations", "FunctionName", function) == before + 1
