"""Training jobs of several instances: what each host is told and given, and how the job ends."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sagemaker_host import Host, put_script, training_request, wait_until

from dropforge_local.sagemaker.container import has_namespaces
from dropforge_local.sagemaker.service import SageMaker

LOG_GROUP = "/aws/sagemaker/TrainingJobs"


pytestmark = pytest.mark.skipif(not has_namespaces(sys.executable), reason="this machine gives no namespaces")


def request_of(name: str, instances: int, **changes: Any) -> dict[str, Any]:
    request = training_request(name, EnableNetworkIsolation=True, **changes)
    request["ResourceConfig"]["InstanceCount"] = instances
    request["InputDataConfig"][1]["DataSource"]["S3DataSource"]["S3DataDistributionType"] = "ShardedByS3Key"
    return request


def run(service: SageMaker, sagemaker: Any, request: dict[str, Any]) -> dict[str, Any]:
    sagemaker.create_training_job(**request)
    service.wait_training_job(request["TrainingJobName"], timeout_s=60)
    description: dict[str, Any] = sagemaker.describe_training_job(TrainingJobName=request["TrainingJobName"])
    return description


def read_archive(host: Host, name: str) -> dict[str, Any]:
    with tarfile.open(fileobj=io.BytesIO(host.s3.read(f"models/{name}/output/model.tar.gz"))) as archive:
        return {each.name: json.load(archive.extractfile(each) or io.BytesIO()) for each in archive}


def test_hosts_know_each_other_and_share_out_the_keys(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(
        host,
        """
        import json, os
        found = json.load(open(f"{ML}/input/config/resourceconfig.json"))
        found["files"] = sorted(os.listdir(f"{ML}/input/data/train"))
        json.dump(found, open(f"{ML}/model/{found['current_host']}.json", "w"))
        print("I am", found["current_host"])
        """,
    )
    for number in (1, 2):
        host.s3.put_object(Bucket="data", Key=f"train/part-{number}.csv", Body=b"3,4\n")
    assert run(service, sagemaker, request_of("told", 2))["TrainingJobStatus"] == "Completed"
    found = read_archive(host, "told")
    assert {name: each["current_host"] for name, each in found.items()} == {
        "algo-1.json": "algo-1",
        "algo-2.json": "algo-2",
    }
    for each in found.values():
        assert each["hosts"] == each["instance_groups"][0]["hosts"] == ["algo-1", "algo-2"]
    assert [each["files"] for each in found.values()] == [["part-0.csv", "part-2.csv"], ["part-1.csv"]]
    streams = {stream.rpartition("-")[0]: lines for (_, stream), lines in host.logs.items()}
    assert streams == {f"told/algo-{n}": [f"I am algo-{n}"] for n in (1, 2)}


def test_a_host_without_a_key_has_an_empty_channel(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(host, "import os; print(len(os.listdir(f'{ML}/input/data/train')))")
    assert run(service, sagemaker, request_of("few", 3))["TrainingJobStatus"] == "Completed"
    assert sorted(host.log(LOG_GROUP).split()) == ["0", "0", "1"]


def test_hosts_speak_to_each_other_by_name_and_to_nobody_else(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(
        host,
        """
        import json, socket, time
        told = json.load(open(f"{ML}/input/config/resourceconfig.json"))
        first, mine = told["hosts"][0], told["current_host"]
        if mine == first:
            with socket.create_server((socket.gethostbyname(mine), 7000)) as server:
                print("heard", server.accept()[0].recv(99).decode())
            try:
                socket.create_connection(("127.0.0.1", PORT), timeout=5)
            except ConnectionRefusedError:
                print("alone")
        else:
            for _ in range(500):
                try:
                    socket.create_connection((first, 7000)).sendall(mine.encode())
                    break
                except ConnectionRefusedError:
                    time.sleep(0.02)
        """.replace("PORT", sagemaker.meta.endpoint_url.rpartition(":")[2]),
    )
    assert run(service, sagemaker, request_of("speak", 2))["TrainingJobStatus"] == "Completed"
    assert host.log(LOG_GROUP).splitlines() == ["heard algo-2", "alone"]


def test_two_jobs_have_a_network_each(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(
        host,
        """
        import json, socket, time
        told = json.load(open(f"{ML}/input/config/resourceconfig.json"))
        if told["current_host"] == "algo-1":
            with socket.create_server(("127.0.0.1", 7000)):
                time.sleep(1)
        """,
    )
    for name in ("one", "other"):
        sagemaker.create_training_job(**request_of(name, 2))
    ended = [service.wait_training_job(name, timeout_s=60)["TrainingJobStatus"] for name in ("one", "other")]
    assert ended == ["Completed", "Completed"]


def test_a_host_that_fails_fails_the_job_with_its_reason(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(
        host,
        """
        import json, sys, time
        if json.load(open(f"{ML}/input/config/resourceconfig.json"))["current_host"] == "algo-2":
            open(f"{ML}/output/failure", "w").write("Broken: no luck")
            sys.exit(3)
        time.sleep(0.5)
        """,
    )
    description = run(service, sagemaker, request_of("broken", 2))
    assert description["TrainingJobStatus"] == "Failed"
    assert description["FailureReason"] == "AlgorithmError: Broken: no luck, exit code: 3"


def test_the_others_of_a_killed_host_may_tell_of_it(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(
        host,
        """
        import json, os, signal, sys, time
        if json.load(open(f"{ML}/input/config/resourceconfig.json"))["current_host"] == "algo-3":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.5)
        open(f"{ML}/output/failure", "w").write("LostHost: algo-3")
        sys.exit(1)
        """,
    )
    description = run(service, sagemaker, request_of("lost", 3))
    assert description["FailureReason"].startswith("AlgorithmError: LostHost: algo-3, exit code: ")


def test_stopping_ends_every_host(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(
        host,
        """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: (print("ended"), sys.exit(0)))
        print("up", flush=True)
        time.sleep(60)
        """,
    )
    sagemaker.create_training_job(**request_of("stopped", 2))
    wait_until(lambda: host.log(LOG_GROUP).count("up") == 2)
    sagemaker.stop_training_job(TrainingJobName="stopped")
    assert service.wait_training_job("stopped", timeout_s=60)["TrainingJobStatus"] == "Stopped"
    assert host.log(LOG_GROUP).count("ended") == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EnableNetworkIsolation": False}, "without EnableNetworkIsolation"),
        ({"CheckpointConfig": {"S3Uri": "s3://data/kept"}}, "with CheckpointConfig"),
    ],
)
def test_refuses_what_several_hosts_cannot_have(
    sagemaker: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError, match=message):
        sagemaker.create_training_job(**(request_of("refused", 2) | changes))
