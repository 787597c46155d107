"""Executions follow Step Functions: retries, limits, stops, names of errors, variables, children."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from local_host_support import eventually, task

if TYPE_CHECKING:
    from local_host_support import Deployed


def _payload(deployed: Deployed, event: dict[str, Any]) -> dict[str, Any]:
    return {"FunctionName": deployed.outputs["ProbeArn"], "Payload": event}


def test_a_deployed_machine_runs_with_its_substitutions(deployed: Deployed) -> None:
    assert deployed.run(deployed.outputs["Echo"], {"a": [1, None, "ü"]}) == {"a": [1, None, "ü"]}


def test_a_functions_error_is_named_by_its_class_with_the_document_as_cause(deployed: Deployed) -> None:
    ended = deployed.ended(deployed.start(task(_payload(deployed, {"do": "raise"}))))
    assert (ended["status"], ended["error"]) == ("FAILED", "BadDrop")
    assert json.loads(ended["cause"])["errorMessage"] == "row 3, column age: not a number"


def test_retries_the_named_error_with_backoff_and_counts_the_retries(deployed: Deployed) -> None:
    key = f"retry-{uuid.uuid4()}"
    event = {"do": "count", "key": key, "failures": 2, "retry": "{% $states.context.State.RetryCount %}"}
    retry = {
        "ErrorEquals": ["BadDrop"],
        "IntervalSeconds": 10,
        "BackoffRate": 10,
        "MaxDelaySeconds": 20,
        "MaxAttempts": 2,
        "JitterStrategy": "NONE",
    }
    started = time.monotonic()
    output = deployed.run(
        task(_payload(deployed, event), Retry=[retry], Output="{% $states.result.Payload %}")
    )
    assert output["calls"] == 3
    assert output["retry"] == 2
    # 10 s and then 20 s (not 100 s), at a hundredth of the time.
    assert 0.3 <= time.monotonic() - started < 1.2 + 0.3


def test_does_not_retry_an_error_that_no_retrier_names(deployed: Deployed) -> None:
    key = f"no-retry-{uuid.uuid4()}"
    event = {"do": "count", "key": key, "failures": 5}
    retry = {"ErrorEquals": ["Lambda.TooManyRequestsException"], "MaxAttempts": 3}
    caught = {"ErrorEquals": ["States.ALL"], "Next": "Caught", "Output": "{% $states.errorOutput.Error %}"}
    machine = task(_payload(deployed, event), Retry=[retry], Catch=[caught])
    machine["States"]["Caught"] = {"Type": "Succeed"}
    assert deployed.run(machine) == "BadDrop"
    assert deployed.calls(key) == 1


def test_a_task_that_takes_too_long_is_states_timeout(deployed: Deployed) -> None:
    machine = task(_payload(deployed, {"do": "sleep", "seconds": 2}), TimeoutSeconds="{% 1 %}")
    ended = deployed.ended(deployed.start(machine))
    assert (ended["status"], ended["error"]) == ("FAILED", "States.Timeout")


def test_a_functions_own_timeout_is_sandbox_timedout(deployed: Deployed) -> None:
    ended = deployed.ended(deployed.start(task(_payload(deployed, {"do": "sleep", "seconds": 30}))))
    assert ended["error"] == "Sandbox.Timedout"


def test_a_machine_that_runs_too_long_is_timed_out(deployed: Deployed) -> None:
    machine = {
        "TimeoutSeconds": 1,
        "StartAt": "Wait",
        "States": {"Wait": {"Type": "Wait", "Seconds": 100_000, "End": True}},
    }
    execution = deployed.start(machine)
    ended = deployed.ended(execution)
    assert (ended["status"], ended["error"]) == ("TIMED_OUT", "States.Timeout")
    assert deployed.history(execution)[-1]["type"] == "ExecutionTimedOut"
    event = deployed.recorded(
        lambda found: (
            found["detail"].get("executionArn") == execution and found["detail"]["status"] == "TIMED_OUT"
        )
    )
    assert event["detail-type"] == "Step Functions Execution Status Change"


def test_the_events_of_a_machine_under_a_customers_key_leave_its_data_out(deployed: Deployed) -> None:
    client = deployed.host.client("stepfunctions")
    key = {
        "type": "CUSTOMER_MANAGED_KMS_KEY",
        "kmsKeyId": "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    }
    for configuration, included in (({"type": "AWS_OWNED_KEY"}, True), (key, False)):
        machine = client.create_state_machine(
            name=f"machine-{uuid.uuid4().hex[:8]}",
            roleArn="arn:aws:iam::000000000000:role/machine",
            definition=json.dumps(
                {"StartAt": "No", "States": {"No": {"Type": "Fail", "Error": "Bad", "Cause": "said"}}}
            ),
            encryptionConfiguration=configuration,
        )["stateMachineArn"]
        execution = client.start_execution(stateMachineArn=machine, input='{"a": 1}')["executionArn"]
        detail = deployed.recorded(
            lambda found, execution=execution: (
                found["detail"].get("executionArn") == execution and found["detail"]["status"] == "FAILED"
            )
        )["detail"]
        data = tuple(detail[name] for name in ("input", "error", "cause"))
        assert data == (('{"a": 1}', "Bad", "said") if included else (None, None, None))
        assert detail["inputDetails"] == {"included": included}
        assert detail["stateMachineArn"] == machine


def test_a_stopped_execution_ends_at_once_and_runs_nothing_more(deployed: Deployed) -> None:
    key = f"stopped-{uuid.uuid4()}"
    machine = {
        "StartAt": "Wait",
        "States": {
            "Wait": {"Type": "Wait", "Seconds": 50, "Next": "Count"},
            "Count": task(_payload(deployed, {"do": "count", "key": key}))["States"]["Only"],
        },
    }
    execution = deployed.start(machine)
    eventually(lambda: any(event["type"] == "WaitStateEntered" for event in deployed.history(execution)))
    deployed.host.client("stepfunctions").stop_execution(executionArn=execution, error="Why", cause="because")
    ended = deployed.describe(execution)
    assert (ended["status"], ended["error"], ended["cause"]) == ("ABORTED", "Why", "because")
    time.sleep(0.8)
    assert deployed.calls(key) == 0
    assert deployed.describe(execution)["status"] == "ABORTED"


def test_starting_the_same_name_and_input_again_is_the_same_execution(deployed: Deployed) -> None:
    client = deployed.host.client("stepfunctions")
    machine = deployed.machine(
        {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 30, "End": True}}}
    )
    first = client.start_execution(stateMachineArn=machine, name="one", input='{"a": 1}')
    again = client.start_execution(stateMachineArn=machine, name="one", input='{"a": 1}')
    assert (first["executionArn"], first["startDate"]) == (again["executionArn"], again["startDate"])
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        client.start_execution(stateMachineArn=machine, name="one", input='{"a": 2}')
    deployed.ended(first["executionArn"])
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        client.start_execution(stateMachineArn=machine, name="one", input='{"a": 1}')


def test_an_express_machine_starts_twice_under_one_name_and_shows_no_history(deployed: Deployed) -> None:
    client, key = deployed.host.client("stepfunctions"), uuid.uuid4().hex
    machine = client.create_state_machine(
        name=f"express-{key[:12]}",
        type="EXPRESS",
        roleArn="arn:aws:iam::000000000000:role/test",
        definition=json.dumps(
            {"QueryLanguage": "JSONata", **task(_payload(deployed, {"do": "count", "key": key}))}
        ),
    )["stateMachineArn"]
    arns = [client.start_execution(stateMachineArn=machine, name="one")["executionArn"] for _ in range(2)]
    assert len(set(arns)) == 2
    assert all(f":express:express-{key[:12]}:one:" in arn for arn in arns)
    eventually(lambda: deployed.calls(key) == 2)
    for refused in (client.describe_execution, client.get_execution_history, client.stop_execution):
        with pytest.raises(ClientError, match="InvalidArn"):
            refused(executionArn=arns[0])
    with pytest.raises(ClientError, match="StateMachineTypeNotSupported"):
        client.list_executions(stateMachineArn=machine)


def test_expressions_have_the_values_of_the_reference_engine(deployed: Deployed) -> None:
    machine = {
        "StartAt": "Look",
        "States": {
            "Look": {
                "Type": "Pass",
                "Output": {
                    "text": "{% $string({'n': 1234567890123456}) %}",
                    "tie": "{% $formatNumber(0.125, '0.00') %}",
                    "sum": "{% $sum([0.1, 0.2, 0.3]) %}",
                    "distinct": "{% $distinct([true, 1, true]) %}",
                    "lower": "{% $lowercase('Straße') %}",
                },
                "End": True,
            }
        },
    }
    assert deployed.run(machine) == {
        "text": '{"n":1234567890123460}',
        "tie": "0.12",
        "sum": 0.6000000000000001,
        "distinct": [True, 1],
        "lower": "straße",
    }


@pytest.mark.parametrize("expression", ["$eval('1')", "$base64encode('ß')"])
def test_an_expression_that_aws_or_this_host_does_not_evaluate_fails(
    deployed: Deployed, expression: str
) -> None:
    machine = {"StartAt": "A", "States": {"A": {"Type": "Succeed", "Output": f"{{% {expression} %}}"}}}
    assert deployed.ended(deployed.start(machine))["error"] == "States.QueryEvaluationError"


def test_a_choice_goes_by_booleans_and_its_default_has_an_output_of_its_own(deployed: Deployed) -> None:
    def machine(condition: str) -> dict[str, Any]:
        choice = {
            "Type": "Choice",
            "Choices": [{"Condition": f"{{% {condition} %}}", "Next": "Last", "Output": "chosen"}],
            "Default": "Last",
            "Output": "{% $states.input.a & '!' %}",
        }
        return {"StartAt": "Choose", "States": {"Choose": choice, "Last": {"Type": "Succeed"}}}

    assert deployed.run(machine("$states.input.a = 'x'"), {"a": "x"}) == "chosen"
    assert deployed.run(machine("$states.input.a = 'y'"), {"a": "x"}) == "x!"
    failed = deployed.ended(deployed.start(machine("$states.input.a"), {"a": "x"}))
    assert (failed["status"], failed["error"]) == ("FAILED", "States.QueryEvaluationError")


@pytest.mark.parametrize("expression", ["$states.input.a ?? 1", "$states.input.a ?: 1", "(1"])
def test_refuses_a_definition_whose_expression_step_functions_cannot_parse(
    deployed: Deployed, expression: str
) -> None:
    with pytest.raises(ClientError, match="INVALID_JSONATA_EXPRESSION"):
        deployed.machine(
            {"StartAt": "A", "States": {"A": {"Type": "Succeed", "Output": f"{{% {expression} %}}"}}}
        )


def test_assign_reads_the_variables_from_before_the_state(deployed: Deployed) -> None:
    machine = {
        "StartAt": "First",
        "States": {
            "First": {"Type": "Pass", "Assign": {"a": 1, "b": 2}, "Next": "Swap"},
            "Swap": {"Type": "Pass", "Assign": {"a": "{% $b %}", "b": "{% $a %}"}, "Next": "Last"},
            "Last": {"Type": "Succeed", "Output": "{% [$a, $b] %}"},
        },
    }
    assert deployed.run(machine) == [2, 1]


def test_the_context_object_names_execution_state_and_machine(deployed: Deployed) -> None:
    machine = {
        "StartAt": "Look",
        "States": {"Look": {"Type": "Pass", "Output": "{% $states.context %}", "End": True}},
    }
    execution = deployed.start(machine, {"x": 1})
    context = json.loads(deployed.ended(execution)["output"])
    assert context["Execution"]["Id"] == execution
    assert context["Execution"]["Input"] == {"x": 1}
    assert context["Execution"]["RoleArn"].endswith(":role/test")
    assert (context["State"]["Name"], context["State"]["RetryCount"]) == ("Look", 0)


def test_a_child_execution_returns_its_output_as_json(deployed: Deployed) -> None:
    arguments = {"StateMachineArn": deployed.outputs["Echo"], "Input": {"x": "{% $states.input.x %}"}}
    output = deployed.run(task(arguments, "states:startExecution.sync:2"), {"x": 3})
    assert output["Output"] == {"x": 3}
    assert output["Status"] == "SUCCEEDED"
    assert isinstance(output["StartDate"], int)


def test_a_failed_child_is_states_taskfailed_with_its_description_as_cause(deployed: Deployed) -> None:
    arguments = {"StateMachineArn": deployed.outputs["Echo"], "Input": {"do": "raise"}}
    ended = deployed.ended(deployed.start(task(arguments, "states:startExecution.sync:2")))
    assert ended["error"] == "States.TaskFailed"
    cause = json.loads(ended["cause"])
    assert (cause["Status"], cause["Error"]) == ("FAILED", "BadDrop")


def test_stopping_a_parent_stops_the_child_that_it_waits_for(deployed: Deployed) -> None:
    child = deployed.machine(
        {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 100_000, "End": True}}}
    )
    parent = deployed.start(task({"StateMachineArn": child, "Input": {}}, "states:startExecution.sync:2"))
    client = deployed.host.client("stepfunctions")
    children = eventually(lambda: client.list_executions(stateMachineArn=child)["executions"])
    client.stop_execution(executionArn=parent)
    assert deployed.ended(children[0]["executionArn"])["status"] == "ABORTED"


def test_a_failing_branch_ends_the_other_branches(deployed: Deployed) -> None:
    key = f"branch-{uuid.uuid4()}"
    slow = {
        "StartAt": "Wait",
        "States": {
            "Wait": {"Type": "Wait", "Seconds": 60, "Next": "Count"},
            "Count": task(_payload(deployed, {"do": "count", "key": key}))["States"]["Only"],
        },
    }
    fails = {"StartAt": "No", "States": {"No": {"Type": "Fail", "Error": "Bad", "Cause": "no"}}}
    parallel = {"Type": "Parallel", "Branches": [slow, fails], "End": True}
    ended = deployed.ended(deployed.start({"StartAt": "Both", "States": {"Both": parallel}}))
    assert (ended["error"], ended["cause"]) == ("Bad", "no")
    time.sleep(0.8)
    assert deployed.calls(key) == 0


def test_parallel_and_map_give_results_in_order_and_keep_variables_inside(deployed: Deployed) -> None:
    double = {"Type": "Pass", "Assign": {"seen": "{% $states.input %}"}, "Output": "{% $states.input * $k %}"}
    inner = {"StartAt": "Double", "States": {"Double": {**double, "End": True}}}
    machine = {
        "StartAt": "Set",
        "States": {
            "Set": {"Type": "Pass", "Assign": {"k": 10, "seen": 0}, "Next": "Each"},
            "Each": {
                "Type": "Map",
                "Items": "{% [1..5] %}",
                "MaxConcurrency": 2,
                "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, **inner},
                "Output": "{% $states.result %}",
                "Next": "Both",
            },
            "Both": {
                "Type": "Parallel",
                "Arguments": "{% $states.input[0] %}",
                "Branches": [inner, inner],
                "Output": "{% {'results': $states.result, 'seen': $seen} %}",
                "End": True,
            },
        },
    }
    assert deployed.run(machine) == {"results": [100, 100], "seen": 0}


def test_states_all_does_not_catch_data_that_is_too_large(deployed: Deployed) -> None:
    caught = {"ErrorEquals": ["States.ALL"], "Next": "Caught"}
    machine = task(_payload(deployed, {"do": "large", "bytes": 300_000}), Catch=[caught])
    machine["States"]["Caught"] = {"Type": "Succeed"}
    assert deployed.ended(deployed.start(machine))["error"] == "States.DataLimitExceeded"


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        ({"StartAt": "Nope", "States": {"A": {"Type": "Succeed"}}}, "StartAt 'Nope'"),
        ({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}}}, "no state 'B'"),
        ({"StartAt": "A", "States": {"A": {"Type": "Pass"}}}, "either Next or End"),
        ({"StartAt": "A", "States": {"A": {"Type": "Succeed"}, "B": {"Type": "Succeed"}}}, "not reachable"),
    ],
)
def test_refuses_a_definition_whose_states_do_not_fit(
    deployed: Deployed, definition: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ClientError, match=problem) as refused:
        deployed.machine(definition)
    assert refused.value.response["Error"]["Code"] == "InvalidDefinition"


def test_starts_an_execution_in_a_few_milliseconds(deployed: Deployed) -> None:
    machine = deployed.machine({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}})
    execution = deployed.start(machine)
    ended = deployed.ended(execution)
    assert (ended["stopDate"] - ended["startDate"]).total_seconds() < 0.1


def test_a_distributed_map_reads_items_in_batches_and_writes_the_results(deployed: Deployed) -> None:
    bucket, s3 = deployed.outputs["Bucket"], deployed.host.client("s3")
    s3.put_object(Bucket=bucket, Key="items/list.json", Body=json.dumps([1, 2, 3, 4, 5]).encode())
    total = {
        "Type": "Pass",
        "Output": "{% $sum($states.input.Items) + $states.input.BatchInput.add %}",
        "End": True,
    }
    processor = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "Sum"}
    each = {
        "Type": "Map",
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSON"},
            "Arguments": {"Bucket": bucket, "Key": "{% $states.input.key %}"},
        },
        "ItemBatcher": {"MaxItemsPerBatch": 2, "BatchInput": {"add": "{% 100 %}"}},
        "ItemProcessor": {**processor, "States": {"Sum": total}},
        "End": True,
    }
    value = {"key": "items/list.json"}
    assert deployed.run({"StartAt": "Each", "States": {"Each": each}}, value) == [103, 107, 105]
    writer = {
        "Resource": "arn:aws:states:::s3:putObject",
        "Arguments": {"Bucket": bucket, "Prefix": "results"},
    }
    written = deployed.run({"StartAt": "Each", "States": {"Each": {**each, "ResultWriter": writer}}}, value)
    manifest = s3.get_object(Bucket=bucket, Key=written["ResultWriterDetails"]["Key"])["Body"].read()
    files = json.loads(manifest)["ResultFiles"]
    results = json.loads(s3.get_object(Bucket=bucket, Key=files["SUCCEEDED"][0]["Key"])["Body"].read())
    assert [json.loads(result["Output"]) for result in results] == [103, 107, 105]
    assert files["FAILED"] == []


@pytest.mark.parametrize(("tolerated", "status"), [(1, "SUCCEEDED"), (0, "FAILED")])
def test_a_distributed_map_tolerates_as_many_failures_as_it_says(
    deployed: Deployed, tolerated: int, status: str
) -> None:
    bucket, s3 = deployed.outputs["Bucket"], deployed.host.client("s3")
    check = {
        "Type": "Choice",
        "Choices": [{"Condition": "{% $states.input = 2 %}", "Next": "No"}],
        "Default": "Yes",
    }
    states = {"Check": check, "No": {"Type": "Fail", "Error": "Two"}, "Yes": {"Type": "Succeed"}}
    each = {
        "Type": "Map",
        "Items": "{% [1, 2, 3] %}",
        "ToleratedFailureCount": tolerated,
        "ResultWriter": {
            "Resource": "arn:aws:states:::s3:putObject",
            "Arguments": {"Bucket": bucket, "Prefix": f"tolerating-{tolerated}"},
        },
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED"}, "StartAt": "Check", "States": states},
        "End": True,
    }
    execution = deployed.start({"StartAt": "Each", "States": {"Each": each}})
    ended = deployed.ended(execution)
    assert ended["status"] == status, ended
    if status == "FAILED":
        assert ended["error"] == "States.ExceedToleratedFailureThreshold"
    written = s3.list_objects_v2(Bucket=bucket, Prefix=f"tolerating-{tolerated}/")["Contents"]
    (failed,) = [entry["Key"] for entry in written if entry["Key"].endswith("FAILED_0.json")]
    (result,) = json.loads(s3.get_object(Bucket=bucket, Key=failed)["Body"].read())
    assert (result["Input"], result["Error"]) == ("2", "Two")
    kinds = [event["type"] for event in deployed.history(execution)]
    assert "MapRunStarted" in kinds
    assert ("MapRunSucceeded" in kinds, "MapRunFailed" in kinds) == (
        status == "SUCCEEDED",
        status == "FAILED",
    )
