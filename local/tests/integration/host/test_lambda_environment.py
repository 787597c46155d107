"""Functions run as in AWS's python3.12 runtime: what they see, how they fail, what they leave behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from local_host_support import eventually

from dropforge_local.forking.process import is_alive

if TYPE_CHECKING:
    from local_host_support import Deployed


def test_sees_the_runtime_its_layer_and_nothing_of_the_host(deployed: Deployed) -> None:
    modules = ["boto3", "botocore", "urllib3", "six", "dateutil", "jmespath", "s3transfer"]
    foreign = ["numpy", "pandas", "ministack", "dropforge_local", "yaml", "pytest", "flask"]
    error, seen = deployed.invoke({"do": "environment", "modules": modules + foreign})
    assert error is None
    assert all(seen["found"][name] for name in modules)
    assert not any(seen["found"][name] for name in foreign)
    assert seen["layer"] == "from the layer"
    assert seen["memory"] == "192"
    assert 0 < seen["remaining_ms"] <= 3000
    assert seen["arn"] == deployed.outputs["ProbeArn"]


def test_gets_the_documented_variables_and_none_of_the_hosts(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, seen = deployed.invoke({"do": "environment", "modules": []})
    variables = seen["variables"]
    assert variables["GREETING"] == "hello"
    assert variables["AWS_EXECUTION_ENV"] == "AWS_Lambda_python3.12"
    assert variables["AWS_ENDPOINT_URL"] == deployed.host.endpoint_url
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == deployed.outputs["Probe"]
    assert not {"STATE_DIR", "GATEWAY_PORT", "PYTEST_CURRENT_TEST", "VIRTUAL_ENV"} & variables.keys()
    assert seen["home"] == seen["temporary"] != os.path.expanduser("~")


def test_an_error_keeps_its_class_and_its_trace(deployed: Deployed) -> None:
    error, payload = deployed.invoke({"do": "raise"})
    assert error == "Unhandled"
    assert payload["errorType"] == "BadDrop"
    assert payload["errorMessage"] == "row 3, column age: not a number"
    assert '"/var/task/app.py"' in payload["stackTrace"][-1]
    assert payload["requestId"]


@pytest.mark.parametrize(
    ("event", "name", "message"),
    [
        ({"do": "exit"}, "Runtime.ExitError", "exit status 3"),
        ({"do": "object"}, "Runtime.MarshalError", "Unable to marshal response"),
        ({"do": "nan"}, "Runtime.MarshalError", "Unable to marshal response"),
        ({"do": "large", "bytes": 7_000_000}, "Function.ResponseSizeTooLarge", "6291456 bytes"),
        ({"do": "sleep", "seconds": 30}, "Sandbox.Timedout", "Task timed out after 3.00 seconds"),
        ({"do": "hog", "megabytes": 400}, "Runtime.ExitError", "signal: killed"),
    ],
)
def test_the_runtimes_own_errors_have_awss_names(
    deployed: Deployed, event: dict[str, object], name: str, message: str
) -> None:
    error, payload = deployed.invoke(event)
    assert error == "Unhandled"
    assert payload["errorType"] == name
    assert message in payload["errorMessage"]
    assert deployed.invoke({"do": "echo", "after": 1}) == (None, {"do": "echo", "after": 1})


def test_a_module_that_cannot_be_imported_is_named(deployed: Deployed) -> None:
    error, payload = deployed.invoke({}, "Broken")
    assert error == "Unhandled"
    assert payload["errorType"] == "Runtime.ImportModuleError"
    assert (
        payload["errorMessage"] == "Unable to import module 'app': No module named 'a_module_that_nobody_has'"
    )


def test_a_decimal_is_a_number_in_the_answer(deployed: Deployed) -> None:
    assert deployed.invoke({"do": "decimal"}) == (None, {"value": 1.5})


def test_everything_that_is_printed_reaches_the_log_group(deployed: Deployed) -> None:
    deployed.invoke({"do": "log"})
    logs = deployed.host.client("logs")
    found = logs.filter_log_events(logGroupName=f"/aws/lambda/{deployed.outputs['Probe']}")
    messages = "\n".join(event["message"] for event in found["events"])
    assert "printed" in messages
    assert "written" in messages
    assert "[WARNING]" in messages
    assert "logged" in messages
    assert "Max Memory Used: 0 MB" not in messages


def test_what_a_timed_out_function_started_ends_with_it(deployed: Deployed) -> None:
    _, started = deployed.invoke({"do": "spawn"})
    assert os.path.exists(f"/proc/{started['child']}")
    deployed.invoke({"do": "sleep", "seconds": 30})
    eventually(lambda: not is_alive(started["child"]))
