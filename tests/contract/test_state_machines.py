"""The definitions as texts: names, errors, time limits, and the way from the first state to each end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonata
import pytest
from tests.contract.state_machine import MACHINES, source

from dropforge.domain import errors

# Names of AWS that the machines may match on, each with what raises it.
AWS_ERRORS = {
    "States.ALL": "anything but what no Catch may see",
    "States.Timeout": "the task's TimeoutSeconds passed",
    "States.TaskFailed": "a job or a nested execution ended badly",
    "Lambda.ClientExecutionTimeoutException": "no answer from Lambda",
    "Lambda.ServiceException": "Lambda's own 5xx",
    "Lambda.AWSLambdaException": "Lambda's own failure",
    "Lambda.SdkClientException": "no connection to Lambda",
    "Lambda.TooManyRequestsException": "concurrency is used up",
    "Lambda.Unknown": "the function's environment died, for example out of memory",
    "Sandbox.Timedout": "the function's own timeout",
    "Runtime.ExitError": "the function's process died",
    "SageMaker.ThrottlingException": "rate limit",
    "SageMaker.InternalFailureException": "SageMaker's 5xx",
    "SageMaker.ServiceUnavailableException": "SageMaker's 5xx",
    "SageMaker.AmazonSageMakerException": "any other refusal, of an optimized integration",
    "SageMaker.SageMakerException": "any other refusal, of an SDK integration",
    "SageMaker.SdkClientException": "no connection to SageMaker",
    "SageMaker.ResourceInUseException": "the job's name is taken",
    "SageMaker.ResourceLimitExceededException": "quota",
    "SNS.ThrottledException": "rate limit",
    "SNS.InternalErrorException": "SNS's 5xx",
    "SNS.AmazonSNSException": "any other refusal",
    "SNS.SdkClientException": "no connection to SNS",
    "DynamoDB.ThrottlingException": "rate limit",
    "DynamoDB.InternalServerErrorException": "DynamoDB's 5xx",
    "DynamoDB.AmazonDynamoDBException": "any other refusal",
    "DynamoDB.SdkClientException": "no connection to DynamoDB",
    "StepFunctions.ThrottlingException": "rate limit",
    "StepFunctions.SdkClientException": "no connection to Step Functions",
    "StepFunctions.AWSStepFunctionsException": "any other refusal",
}
OWN_ERRORS = {
    name
    for name, each in vars(errors).items()
    if isinstance(each, type) and each.__module__ == errors.__name__
}
STATES = [
    (machine, name, state)
    for machine in MACHINES
    for name, state in json.loads(source(machine))["States"].items()
]
TASKS = [each for each in STATES if each[2]["Type"] == "Task"]


def ids(states: list[tuple[str, str, dict[str, Any]]]) -> list[str]:
    return [f"{machine}-{name}" for machine, name, _ in states]


def next_states(state: dict[str, Any]) -> Iterator[str]:
    for field in ("Next", "Default"):
        if field in state:
            yield state[field]
    for field in ("Catch", "Choices"):
        for each in state.get(field, []):
            yield each["Next"]


def expressions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from expressions(each)
    elif isinstance(value, list):
        for each in value:
            yield from expressions(each)
    elif isinstance(value, str) and value.startswith("{%"):
        yield value


@pytest.mark.parametrize("machine", MACHINES)
def test_every_state_is_reached_and_every_next_exists(machine):
    definition = json.loads(source(machine))
    states = definition["States"]
    reached, waiting = set(), [definition["StartAt"]]
    while waiting:
        name = waiting.pop()
        assert name in states, f"there is no state {name}"
        if name not in reached:
            reached.add(name)
            waiting += next_states(states[name])
    assert reached == set(states)


@pytest.mark.parametrize("machine", MACHINES)
def test_is_jsonata_with_a_time_limit_and_a_comment(machine):
    definition = json.loads(source(machine))
    assert definition["QueryLanguage"] == "JSONata"
    assert definition["TimeoutSeconds"] > 0
    assert definition["Comment"]


@pytest.mark.parametrize(("machine", "name", "state"), STATES, ids=ids(STATES))
def test_every_state_has_a_name_and_a_comment(machine, name, state):
    assert re.fullmatch(r"([A-Z][a-z0-9]*)+", name)
    assert state["Comment"].strip()


@pytest.mark.parametrize(("machine", "name", "state"), TASKS, ids=ids(TASKS))
def test_every_task_has_a_time_limit_retries_and_a_catch_of_everything(machine, name, state):
    assert state["TimeoutSeconds"]
    assert state["Retry"]
    assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"]
    assert state["Arguments"]


@pytest.mark.parametrize(("machine", "name", "state"), TASKS, ids=ids(TASKS))
def test_retries_are_bounded_and_spread_out(machine, name, state):
    for retry in state["Retry"]:
        assert "States.ALL" not in retry["ErrorEquals"]
        assert 1 <= retry["MaxAttempts"] <= 60
        assert retry["BackoffRate"] > 1
        assert retry["MaxDelaySeconds"] <= 60
        assert retry["JitterStrategy"] == "FULL"


@pytest.mark.parametrize(("machine", "name", "state"), TASKS, ids=ids(TASKS))
def test_errors_are_matched_by_names_that_exist(machine, name, state):
    for field in ("Retry", "Catch"):
        for each in state[field]:
            assert set(each["ErrorEquals"]) <= AWS_ERRORS.keys() | OWN_ERRORS


@pytest.mark.parametrize(("machine", "name", "state"), TASKS, ids=ids(TASKS))
def test_only_what_may_pass_is_retried(machine, name, state):
    retried = {error for retry in state["Retry"] for error in retry["ErrorEquals"]}
    for error in retried & OWN_ERRORS:
        assert issubclass(getattr(errors, error), errors.RetryableError)
    if state["Resource"].startswith("arn:aws:states:::lambda"):
        assert {"ServiceUnavailable", "Lambda.TooManyRequestsException", "Sandbox.Timedout"} <= retried


@pytest.mark.parametrize(("machine", "name", "state"), TASKS, ids=ids(TASKS))
def test_the_input_survives_every_task_but_the_first(machine, name, state):
    outputs = [state["Output"], *(catch["Output"] for catch in state["Catch"])]
    for output in outputs:
        if name != "AdmitRun" or output is not state["Output"]:
            assert "$states.input" in output


@pytest.mark.parametrize(("machine", "name", "state"), STATES, ids=ids(STATES))
def test_every_expression_parses_and_is_closed(machine, name, state):
    for expression in expressions(state):
        assert expression.endswith("%}"), expression
        jsonata.Jsonata(re.sub(r"\$\{\w+\}", "x", expression)[2:-2])


@pytest.mark.parametrize("machine", MACHINES)
def test_substitutions_stand_in_strings(machine):
    """So that the file is valid JSON, and no parameter can change its structure."""
    json.loads(source(machine))
    without_strings = re.sub(r'"(\\.|[^"\\])*"', "", source(machine))
    assert "${" not in without_strings


def test_names_of_classes_that_travel_in_the_data_exist():
    """States that raise an error of their own name it as errors.py does, or as AWS's jobs end."""
    named = {name for machine in MACHINES for name in re.findall(r"'Error': '([\w.]+)'", source(machine))}
    jobs = {f"{job}{end}" for job in ("Training", "Transform") for end in ("Failed", "TimedOut")}
    assert named <= OWN_ERRORS | {"States.Timeout"} | jobs
