"""Blue/green updates: no error for a caller, and back to the old fleet when something is wrong."""

from __future__ import annotations

import textwrap
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sagemaker_host import ECHO, Host, add_config, add_endpoint, add_model, ask, await_endpoint, wait_until

from dropforge_local.sagemaker.service import SageMaker


class Load:
    """Callers that keep asking while the block runs; every answer and error is counted."""

    def __init__(self, runtime: Any, callers: int = 4) -> None:
        self.answers: Counter[str] = Counter()
        self.errors: list[Exception] = []
        self._runtime = runtime
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(callers)]

    def _call(self) -> None:
        # Without any pause they would take the processor from the update.
        while not self._end.wait(0.01):
            try:
                answer = ask(self._runtime)
            except Exception as error:
                self.errors.append(error)
            else:
                self.answers[answer] += 1

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.answers)
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


def canary(percent: int, wait_s: int, *alarms: str, kind: str = "CANARY") -> dict[str, Any]:
    size = "CanarySize" if kind == "CANARY" else "LinearStepSize"
    config: dict[str, Any] = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": {
                "Type": kind,
                "WaitIntervalInSeconds": wait_s,
                size: {"Type": "CAPACITY_PERCENT", "Value": percent},
            }
        }
    }
    if alarms:
        config["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in alarms]}
    return config


def test_update_under_load_shows_no_error(sagemaker: Any, runtime: Any, host: Host) -> None:
    add_endpoint(host, sagemaker)
    add_model(host, sagemaker, "two")
    add_config(sagemaker, "config-two", "two")
    with Load(runtime) as load:
        for config in ("config-two", "config-one", "config-two"):
            sagemaker.update_endpoint(EndpointName="ep", EndpointConfigName=config)
            description = await_endpoint(sagemaker, "ep")
            assert description["EndpointConfigName"] == config
            assert "FailureReason" not in description
        asked = sum(load.answers.values())
        wait_until(lambda: sum(load.answers.values()) > asked + 20)
    assert load.errors == []
    assert set(load.answers) == {"one", "two"}
    assert ask(runtime) == "two"


def test_request_under_way_is_answered_by_the_old_fleet(sagemaker: Any, runtime: Any, host: Host) -> None:
    add_endpoint(host, sagemaker)
    add_model(host, sagemaker, "two")
    add_config(sagemaker, "config-two", "two")
    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(ask(runtime, body=b"sleep 2")))
    slow.start()
    sagemaker.update_endpoint(EndpointName="ep", EndpointConfigName="config-two")
    await_endpoint(sagemaker, "ep")
    slow.join()
    assert answers == ["one"]


def test_update_shows_what_is_pending(sagemaker: Any, host: Host) -> None:
    add_endpoint(host, sagemaker)
    add_config(sagemaker, "config-two", "one")
    sagemaker.update_endpoint(
        EndpointName="ep", EndpointConfigName="config-two", DeploymentConfig=canary(50, 1)
    )
    description = sagemaker.describe_endpoint(EndpointName="ep")
    assert description["EndpointStatus"] == "Updating"
    assert description["EndpointConfigName"] == "config-one"
    assert description["PendingDeploymentSummary"]["EndpointConfigName"] == "config-two"
    assert await_endpoint(sagemaker, "ep")["LastDeploymentConfig"] == canary(50, 1)


def test_failed_update_silently_stays_on_the_old_configuration(
    sagemaker: Any, runtime: Any, host: Host
) -> None:
    add_endpoint(host, sagemaker)
    add_model(host, sagemaker, "broken", "raise RuntimeError('broken')")
    add_config(sagemaker, "config-broken", "broken")
    with Load(runtime) as load:
        sagemaker.update_endpoint(EndpointName="ep", EndpointConfigName="config-broken")
        description = await_endpoint(sagemaker, "ep")
    assert description["EndpointStatus"] == "InService"
    assert description["EndpointConfigName"] == "config-one"
    assert "did not pass the ping health check" in description["FailureReason"]
    assert load.errors == []
    assert set(load.answers) == {"one"}


def test_lack_of_capacity_rolls_back(service: SageMaker, sagemaker: Any, runtime: Any, host: Host) -> None:
    add_endpoint(host, sagemaker)
    add_config(sagemaker, "config-two", "one")
    service.faults.set("UpdateEndpoint", "CapacityError", times=1)
    sagemaker.update_endpoint(EndpointName="ep", EndpointConfigName="config-two")
    description = await_endpoint(sagemaker, "ep")
    assert (description["EndpointStatus"], description["EndpointConfigName"]) == ("InService", "config-one")
    assert "InsufficientInstanceCapacity" in description["FailureReason"]


def test_canary_gets_its_share_first(sagemaker: Any, runtime: Any, host: Host) -> None:
    add_endpoint(host, sagemaker)
    add_model(host, sagemaker, "two")
    add_config(sagemaker, "config-two", "two")
    sagemaker.update_endpoint(
        EndpointName="ep", EndpointConfigName="config-two", DeploymentConfig=canary(10, 2)
    )
    wait_until(lambda: ask(runtime) == "two")
    assert Counter(ask(runtime) for _ in range(20)) == {"one": 18, "two": 2}
    assert await_endpoint(sagemaker, "ep")["EndpointConfigName"] == "config-two"
    assert {ask(runtime) for _ in range(5)} == {"two"}


def test_linear_shift_goes_over_in_equal_steps(sagemaker: Any, runtime: Any, host: Host) -> None:
    add_endpoint(host, sagemaker)
    add_model(host, sagemaker, "two")
    add_config(sagemaker, "config-two", "two")
    with Load(runtime, callers=1) as load:
        sagemaker.update_endpoint(
            EndpointName="ep",
            EndpointConfigName="config-two",
            DeploymentConfig=canary(50, 1, kind="LINEAR"),
        )
        await_endpoint(sagemaker, "ep")
    assert load.errors == []
    assert ask(runtime) == "two"


def test_alarm_takes_traffic_back(sagemaker: Any, runtime: Any, host: Host) -> None:
    host.alarms["errors"] = "OK"
    add_endpoint(host, sagemaker)
    add_model(host, sagemaker, "two")
    add_config(sagemaker, "config-two", "two")
    with Load(runtime, callers=2) as load:
        sagemaker.update_endpoint(
            EndpointName="ep",
            EndpointConfigName="config-two",
            DeploymentConfig=canary(50, 60, "errors"),
        )
        wait_until(lambda: load.answers["two"])
        host.alarms["errors"] = "ALARM"
        description = await_endpoint(sagemaker, "ep")
    assert load.errors == []
    assert (description["EndpointStatus"], description["EndpointConfigName"]) == ("InService", "config-one")
    assert "CloudWatch alarm errors is in the ALARM state" in description["FailureReason"]
    assert {ask(runtime) for _ in range(5)} == {"one"}


def test_deployment_that_breaks_inside_the_host_goes_back_too(
    sagemaker: Any, runtime: Any, host: Host
) -> None:
    host.alarms["errors"] = "OK"
    add_endpoint(host, sagemaker)
    add_model(host, sagemaker, "two")
    add_config(sagemaker, "config-two", "two")
    sagemaker.update_endpoint(
        EndpointName="ep", EndpointConfigName="config-two", DeploymentConfig=canary(50, 60, "errors")
    )
    wait_until(lambda: ask(runtime) == "two")
    host.alarms["errors"] = "LOST"
    description = await_endpoint(sagemaker, "ep")
    assert description["EndpointConfigName"] == "config-one"
    assert "internal error" in description["FailureReason"]
    assert {ask(runtime) for _ in range(4)} == {"one"}


def test_guarded_update_must_be_possible_to_guard(sagemaker: Any, host: Host) -> None:
    add_endpoint(host, sagemaker)
    add_config(sagemaker, "config-two", "one")
    add_config(sagemaker, "renamed", "one", VariantName="Other")
    refused = [
        ("config-two", canary(60, 1), "at most 50 percent"),
        ("config-two", canary(5, 1, kind="LINEAR"), "at least 10 percent"),
        ("config-two", canary(10, 1, "missing"), "alarm missing does not exist"),
        ("renamed", canary(10, 1), "must keep the variant names"),
    ]
    for config, deployment, message in refused:
        with pytest.raises(ClientError, match=message):
            sagemaker.update_endpoint(
                EndpointName="ep", EndpointConfigName=config, DeploymentConfig=deployment
            )
    rolling = {
        "RollingUpdatePolicy": {
            "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1},
            "WaitIntervalInSeconds": 0,
        }
    }
    with pytest.raises(ClientError, match="does not support RollingUpdatePolicy"):
        sagemaker.update_endpoint(
            EndpointName="ep", EndpointConfigName="config-two", DeploymentConfig=rolling
        )
    assert sagemaker.describe_endpoint(EndpointName="ep")["EndpointStatus"] == "InService"


def test_instances_that_do_not_come_up_are_taken_back(
    sagemaker: Any, runtime: Any, host: Host, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    script = f"import os\nassert not os.path.exists({str(broken)!r})\n" + textwrap.dedent(ECHO)
    add_model(host, sagemaker, "one", script)
    add_config(sagemaker, "config", "one")
    sagemaker.create_endpoint(EndpointName="ep", EndpointConfigName="config")
    await_endpoint(sagemaker, "ep")

    def scale(count: int) -> dict[str, Any]:
        wish = {"VariantName": "AllTraffic", "DesiredInstanceCount": count}
        sagemaker.update_endpoint_weights_and_capacities(
            EndpointName="ep", DesiredWeightsAndCapacities=[wish]
        )
        return await_endpoint(sagemaker, "ep")

    broken.touch()
    description = scale(3)
    assert description["EndpointStatus"] == "InService"
    assert "did not pass the ping health check" in description["FailureReason"]
    assert description["ProductionVariants"][0]["CurrentInstanceCount"] == 1
    assert ask(runtime) == "one"
    wait_until(
        lambda: (
            [detail["EndpointStatus"] for _, detail, _ in host.events][-3:]
            == ["UPDATING", "ROLLING_BACK", "IN_SERVICE"]
        )
    )
    broken.unlink()
    description = scale(2)
    assert "FailureReason" not in description
    assert description["ProductionVariants"][0]["CurrentInstanceCount"] == 2


def test_retained_properties_carry_over(sagemaker: Any, host: Host) -> None:
    add_endpoint(host, sagemaker)
    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="ep", DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredWeight": 7.0}]
    )
    await_endpoint(sagemaker, "ep")
    add_config(sagemaker, "config-two", "one")
    sagemaker.update_endpoint(
        EndpointName="ep", EndpointConfigName="config-two", RetainAllVariantProperties=True
    )
    assert await_endpoint(sagemaker, "ep")["ProductionVariants"][0]["CurrentWeight"] == 7.0


def test_endpoint_keeps_running_when_its_descriptions_are_deleted(
    sagemaker: Any, runtime: Any, host: Host
) -> None:
    add_endpoint(host, sagemaker)
    sagemaker.delete_endpoint_config(EndpointConfigName="config-one")
    sagemaker.delete_model(ModelName="one")
    assert ask(runtime) == "one"
    with pytest.raises(ClientError, match=r'Could not find endpoint configuration ".*config-one"'):
        sagemaker.update_endpoint(EndpointName="ep", EndpointConfigName="config-one")
