"""What survives a killed host: jobs run again, endpoints come back, no process is left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from sagemaker_host import (
    Host,
    Server,
    add_config,
    add_endpoint,
    add_model,
    ask,
    await_endpoint,
    put_script,
    server_pids,
    training_request,
    wait_until,
)

from dropforge_local.forking.process import is_alive
from dropforge_local.sagemaker import service as service_module
from dropforge_local.sagemaker.container import Image
from dropforge_local.sagemaker.service import Limits, SageMaker

_HERE = Path(__file__).parent


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Callable[[], tuple[int, str]]]:
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[int, str]:
        process = subprocess.Popen(
            [sys.executable, str(_HERE / "sagemaker_process.py"), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=_HERE,
        )
        started.append(process)
        assert process.stdout is not None
        return process.pid, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()


def clients(url: str) -> tuple[Any, Any]:
    made = [
        boto3.client(
            name,
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        for name in ("sagemaker", "sagemaker-runtime")
    ]
    return made[0], made[1]


def test_job_of_a_killed_host_runs_again_from_the_start(
    tmp_path: Path, processes: Callable[[], tuple[int, str]]
) -> None:
    marker = tmp_path / "attempts"
    host = Host(tmp_path / "s3")
    put_script(
        host,
        f"""
        import os, time
        assert os.listdir(f"{{ML}}/model") == []
        open(f"{{ML}}/model/model.txt", "w").write("model")
        with open({str(marker)!r}, "a") as file:
            file.write(f"{{os.getpid()}}\\n")
        if open({str(marker)!r}).read().count("\\n") == 1:
            time.sleep(300)
        """,
    )
    pid, url = processes()
    sagemaker, _ = clients(url)
    sagemaker.create_training_job(
        **training_request("resumed", StoppingCondition={"MaxRuntimeInSeconds": 600})
    )
    wait_until(lambda: marker.exists() and marker.read_text())
    first = int(marker.read_text())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(first))

    _, url = processes()
    sagemaker, _ = clients(url)

    def ended() -> Any:
        description = sagemaker.describe_training_job(TrainingJobName="resumed")
        return description if description["TrainingJobStatus"] == "Completed" else None

    description = wait_until(ended)
    steps = [step["Status"] for step in description["SecondaryStatusTransitions"]]
    assert steps == [
        *("Starting", "Downloading", "Training"),
        *("Starting", "Downloading", "Training", "Uploading", "Completed"),
    ]
    assert "models/resumed/output/model.tar.gz" in host.s3.listing()
    with pytest.raises(sagemaker.exceptions.ResourceInUse):
        sagemaker.create_training_job(**training_request("resumed"))


def test_endpoint_of_a_killed_host_comes_back_and_its_old_servers_are_gone(
    tmp_path: Path, processes: Callable[[], tuple[int, str]]
) -> None:
    host = Host(tmp_path / "s3")
    pid, url = processes()
    sagemaker, runtime = clients(url)
    add_endpoint(host, sagemaker)
    server, _ = server_pids(runtime)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(server))

    _, url = processes()
    sagemaker, runtime = clients(url)
    assert ask(runtime) == "one"
    assert sagemaker.describe_endpoint(EndpointName="ep")["EndpointStatus"] == "InService"


def test_update_that_a_killed_host_left_is_carried_on(
    tmp_path: Path, processes: Callable[[], tuple[int, str]]
) -> None:
    host = Host(tmp_path / "s3")
    pid, url = processes()
    sagemaker, runtime = clients(url)
    add_endpoint(host, sagemaker)
    slow = "import os, time\ntime.sleep(60 if not os.path.exists('%s') else 0)\n" % (tmp_path / "go")
    add_model(
        host, sagemaker, "two", slow + "def model_fn(f): return 1\ndef transform_fn(*_): return 'two'\n"
    )
    add_config(sagemaker, "config-two", "two")
    sagemaker.update_endpoint(EndpointName="ep", EndpointConfigName="config-two")
    assert ask(runtime) == "one"
    os.kill(pid, signal.SIGKILL)
    (tmp_path / "go").touch()

    _, url = processes()
    sagemaker, runtime = clients(url)
    assert await_endpoint(sagemaker, "ep")["EndpointConfigName"] == "config-two"
    assert ask(runtime) == "two"


def test_the_first_request_after_a_start_waits_for_the_endpoint(
    service: SageMaker, sagemaker: Any, runtime: Any, host: Host
) -> None:
    add_endpoint(host, sagemaker)
    for _ in range(5):
        service.stop()
        service.start()
        assert service.invoke_endpoint("ep", b"1", content_type="text/csv").body == b"one"


def test_stop_and_start_keep_everything(service: SageMaker, sagemaker: Any, runtime: Any, host: Host) -> None:
    add_endpoint(host, sagemaker)
    put_script(host, "import time; time.sleep(0.5)")
    sagemaker.create_training_job(**training_request("paused"))
    sagemaker.create_model_package_group(ModelPackageGroupName="group")
    service.stop()
    with pytest.raises(ClientError, match="not started"):
        sagemaker.list_models()
    service.start()
    assert service.wait_training_job("paused", 20)["TrainingJobStatus"] == "Completed"
    assert ask(runtime) == "one"
    assert len(sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"]) == 1


def test_stopping_job_of_a_stopped_host_ends_stopped(
    tmp_path: Path, host: Host, service: SageMaker, sagemaker: Any
) -> None:
    put_script(
        host,
        """
        import signal, time
        signal.signal(signal.SIGTERM, lambda *_: None)
        open(f"{ML}/model/model.txt", "w").write("so far")
        print("ready", flush=True)
        time.sleep(60)
        """,
    )
    patient = SageMaker(tmp_path / "patient", host.ports(), limits=Limits(log_flush_s=0.05))
    patient.start()
    server = Server(patient)
    client = server.client("sagemaker")
    client.create_training_job(**training_request("halted"))
    wait_until(lambda: "ready" in host.log("/aws/sagemaker/TrainingJobs"))
    client.stop_training_job(TrainingJobName="halted")
    patient.stop()
    patient.start()
    assert patient.wait_training_job("halted", 10)["TrainingJobStatus"] == "Stopped"
    assert "models/halted/output/model.tar.gz" in host.s3.listing()
    patient.stop()
    server.close()


def test_endpoint_whose_model_is_lost_is_out_of_service_until_it_is_updated(
    tmp_path: Path, service: SageMaker, sagemaker: Any, runtime: Any, host: Host
) -> None:
    add_endpoint(host, sagemaker)
    service.stop()
    shutil.rmtree(tmp_path / "state" / "endpoints")
    host.s3.delete_object(Bucket="data", Key="models/one.tar.gz")
    service.start()
    wait_until(lambda: sagemaker.describe_endpoint(EndpointName="ep")["EndpointStatus"] == "OutOfService")
    assert "Failed to download" in sagemaker.describe_endpoint(EndpointName="ep")["FailureReason"]
    with pytest.raises(runtime.exceptions.ValidationError):
        ask(runtime)
    add_model(host, sagemaker, "two")
    add_config(sagemaker, "config-two", "two")
    sagemaker.update_endpoint(EndpointName="ep", EndpointConfigName="config-two")
    assert await_endpoint(sagemaker, "ep")["EndpointStatus"] == "InService"
    assert ask(runtime) == "two"


def test_event_that_could_not_be_delivered_is_delivered_after_the_restart(tmp_path: Path, host: Host) -> None:
    down = True
    real = host.emit_event

    def emit(detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
        if down:
            raise ConnectionError("no event bus")
        real(detail_type, detail, resources)

    host.emit_event = emit  # type: ignore[method-assign]
    service = SageMaker(tmp_path / "state", host.ports())
    service.start()
    service.handle("CreateModelPackageGroup", {"ModelPackageGroupName": "g"})
    service.handle("CreateModelPackage", {"ModelPackageGroupName": "g", "SourceUri": "s3://data/m"})
    service.stop()
    assert host.events == []
    down = False
    service.start()
    wait_until(lambda: host.events)
    service.stop()
    assert host.events[0][1]["ModelPackageVersion"] == 1


def test_libraries_are_loaded_for_who_is_about_to_train(
    tmp_path: Path, service: SageMaker, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Image] = []

    def load_libraries(image: Image) -> None:
        loads.append(image)

    monkeypatch.setattr(service_module.Image, "load_libraries", load_libraries)
    put_script(host, "import time\ntime.sleep(60)")

    def operate(on: SageMaker, name: str, request: dict[str, Any]) -> None:
        status, _, content = on.http(
            "POST", "/", {"X-Amz-Target": f"SageMaker.{name}"}, json.dumps(request).encode(), {}
        )
        assert status == 200, content

    operate(service, "CreateTrainingJob", training_request("no-place-for-models"))
    assert len(loads) == 0
    operate(service, "CreateModelPackageGroup", {"ModelPackageGroupName": "place"})
    assert len(loads) == 1
    operate(service, "CreateTrainingJob", training_request("interrupted"))
    service.stop()

    loads.clear()
    restarted = SageMaker(tmp_path / "state", host.ports(), limits=Limits(stop_grace_s=0.1))
    restarted.start()
    assert len(loads) == 1
    for name in ("no-place-for-models", "interrupted"):
        operate(restarted, "StopTrainingJob", {"TrainingJobName": name})
        restarted.wait_training_job(name, 10)
    restarted.stop()

    loads.clear()
    restarted = SageMaker(tmp_path / "state", host.ports(), limits=Limits(stop_grace_s=0.1))
    restarted.start()
    assert len(loads) == 0
    operate(restarted, "CreateTrainingJob", training_request("first"))
    assert len(loads) == 1
    restarted.stop()
