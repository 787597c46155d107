"""Training jobs, executed: what SageMaker's contract with a training container promises."""

from __future__ import annotations

import io
import json
import tarfile
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sagemaker_host import ROLE, Host, put_script, training_request, wait_until

from dropforge_local.forking.process import is_alive
from dropforge_local.sagemaker.errors import ServiceError
from dropforge_local.sagemaker.libraries import LoadedLibraries
from dropforge_local.sagemaker.service import SageMaker

LOG_GROUP = "/aws/sagemaker/TrainingJobs"


def run(service: SageMaker, client: Any, request: dict[str, Any]) -> dict[str, Any]:
    client.create_training_job(**request)
    return service.wait_training_job(request["TrainingJobName"], 30)


def test_script_finds_the_layout_that_sagemaker_documents(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(
        host,
        """
        import json, os
        found = {}
        for folder, _, names in os.walk(ML):
            for name in names:
                path = os.path.join(folder, name)
                if not path.endswith("train.py"):
                    found["/opt/ml" + path.removeprefix(ML)] = open(path).read()
        found["folders"] = sorted(os.listdir(ML))
        json.dump(found, open(f"{ML}/model/found.json", "w"))
        """,
    )
    host.s3.put_object(Bucket="data", Key="train/deep/part-1.csv", Body=b"3,4\n")
    host.s3.put_object(Bucket="data", Key="train/", Body=b"")
    request = training_request("layout")
    request["InputDataConfig"][1]["ContentType"] = "text/csv"
    assert run(service, sagemaker, request)["TrainingJobStatus"] == "Completed"

    packed = io.BytesIO(host.s3.read("models/layout/output/model.tar.gz"))
    with tarfile.open(fileobj=packed) as archive:
        content = archive.extractfile("found.json")
        assert content is not None
        found = json.load(content)
    config = "/opt/ml/input/config"
    assert found["folders"] == ["checkpoints", "input", "model", "output"]
    assert found["/opt/ml/input/data/train/part-0.csv"] == "1,2\n"
    assert found["/opt/ml/input/data/train/deep/part-1.csv"] == "3,4\n"
    assert json.loads(found[f"{config}/hyperparameters.json"]) == {"C": "0.5"}
    assert json.loads(found[f"{config}/inputdataconfig.json"])["train"] == {
        "ContentType": "text/csv",
        "TrainingInputMode": "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }
    assert json.loads(found[f"{config}/resourceconfig.json"]) == {
        "current_host": "algo-1",
        "current_instance_type": "ml.m5.large",
        "current_group_name": "homogeneousCluster",
        "hosts": ["algo-1"],
        "instance_groups": [
            {
                "instance_group_name": "homogeneousCluster",
                "instance_type": "ml.m5.large",
                "hosts": ["algo-1"],
            }
        ],
        "network_interface_name": "eth0",
    }


def test_environment_is_the_containers_alone(
    service: SageMaker, sagemaker: Any, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_SECRET", "hidden")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    put_script(
        host,
        """
        import json, os
        print(json.dumps(dict(os.environ)))
        """,
    )
    run(service, sagemaker, training_request("environment", Environment={"DROPFORGE_RUN_ID": "r-1"}))
    seen = json.loads(host.log(LOG_GROUP))
    assert "HOST_SECRET" not in seen
    assert "PYTHONPATH" not in seen
    assert seen["TRAINING_JOB_NAME"] == "environment"
    assert seen["TRAINING_JOB_ARN"].endswith(":training-job/environment")
    assert seen["DROPFORGE_RUN_ID"] == "r-1"
    assert seen["AWS_ACCESS_KEY_ID"] == "training"


def test_network_isolation_leaves_no_credentials_and_no_network(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(
        host,
        """
        import os, socket
        assert not [name for name in os.environ if name.startswith("AWS")]
        try:
            socket.create_connection(("127.0.0.1", 9), timeout=2)
        except OSError as error:
            print("no way out:", error.strerror)
        """,
    )
    done = run(service, sagemaker, training_request("isolated", EnableNetworkIsolation=True))
    assert done["TrainingJobStatus"] == "Completed", done
    assert "Network is unreachable" in host.log(LOG_GROUP)


def test_completed_job_reports_metrics_artifacts_and_every_step(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(
        host,
        """
        print("auc=0.5;")
        print("auc=0.75;")
        open(f"{ML}/model/model.txt", "w").write("model")
        open(f"{ML}/output/data/holdout.txt", "w").write("rows")
        """,
    )
    request = training_request("complete", Tags=[{"Key": "run", "Value": "1"}])
    request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "auc", "Regex": "auc=([0-9.]+);"}]
    before = int(time.time() * 1000)
    done = run(service, sagemaker, request)

    assert done["TrainingJobStatus"] == done["SecondaryStatus"] == "Completed"
    assert done["ModelArtifacts"] == {"S3ModelArtifacts": "s3://data/models/complete/output/model.tar.gz"}
    assert done["Tags"] == {"run": "1"}
    assert isinstance(done["CreationTime"], int)
    assert done["CreationTime"] >= before
    (metric,) = done["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("auc", 0.75)
    steps = [step["Status"] for step in done["SecondaryStatusTransitions"]]
    assert steps == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert "models/complete/output/output.tar.gz" in host.s3.listing()

    described = sagemaker.describe_training_job(TrainingJobName="complete")
    assert described["CreationTime"].timestamp() * 1000 == pytest.approx(done["CreationTime"], abs=1)
    assert "Tags" not in described
    (stream,) = [name for group, name in host.logs if group == LOG_GROUP]
    assert stream.startswith("complete/algo-1-")


def test_events_tell_of_every_step_in_order(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(host, "pass")
    run(service, sagemaker, training_request("events"))
    wait_until(lambda: len(host.events) >= 5)
    kinds = {detail_type for detail_type, _, _ in host.events}
    assert kinds == {"SageMaker Training Job State Change"}
    statuses = [(d["TrainingJobStatus"], d["SecondaryStatus"]) for _, d, _ in host.events]
    assert statuses == [
        ("InProgress", "Starting"),
        ("InProgress", "Downloading"),
        ("InProgress", "Training"),
        ("InProgress", "Uploading"),
        ("Completed", "Completed"),
    ]
    _, detail, resources = host.events[-1]
    assert resources == [detail["TrainingJobArn"]]
    assert isinstance(detail["CreationTime"], int)
    assert detail["Tags"] == {}


def test_same_content_gives_the_same_archive_bytes(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(
        host,
        """
        import os, time
        for name in ("b", "a"):
            open(f"{ML}/model/{name}", "w").write(name)
            os.utime(f"{ML}/model/{name}", (time.time(), time.time() - 1000))
        """,
    )
    for name in ("same-1", "same-2"):
        run(service, sagemaker, training_request(name))
    first, second = (host.s3.read(f"models/same-{i}/output/model.tar.gz") for i in (1, 2))
    assert first == second


def test_failing_script_reports_its_own_words_and_exit_code(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(
        host,
        """
        import sys
        open(f"{ML}/output/failure", "w").write("ConstantTarget: nothing to learn" + "x" * 2000)
        open(f"{ML}/model/half", "w").write("half a model")
        sys.exit(3)
        """,
    )
    done = run(service, sagemaker, training_request("failing"))
    assert done["TrainingJobStatus"] == done["SecondaryStatus"] == "Failed"
    assert done["FailureReason"].startswith("AlgorithmError: ConstantTarget: nothing to learnx")
    assert done["FailureReason"].endswith(", exit code: 3")
    assert len(done["FailureReason"]) == len("AlgorithmError: , exit code: 3") + 1024
    assert "models/failing/output/model.tar.gz" not in host.s3.listing()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise RuntimeError('no')", "AlgorithmError: , exit code: 1"),
        ("import os; os.kill(os.getpid(), 9)", "AlgorithmError: , exit code: 137"),
    ],
)
def test_script_that_breaks_or_is_killed_fails_the_job(
    service: SageMaker, sagemaker: Any, host: Host, script: str, reason: str
) -> None:
    put_script(host, script)
    assert run(service, sagemaker, training_request("broken"))["FailureReason"] == reason


def test_entrypoint_that_does_not_exist_fails_the_job(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(host, "pass")
    request = training_request("no-entrypoint")
    request["AlgorithmSpecification"]["ContainerEntrypoint"] = ["no-such-program"]
    assert run(service, sagemaker, request)["FailureReason"] == "AlgorithmError: , exit code: 127"
    assert "no-such-program" in host.log(LOG_GROUP)


def test_container_arguments_reach_the_entrypoint(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(host, "import sys; print(sys.argv[1:])")
    request = training_request("arguments")
    request["AlgorithmSpecification"]["ContainerArguments"] = ["--a b", "c"]
    run(service, sagemaker, request)
    assert host.log(LOG_GROUP) == "['--a b', 'c']"


@pytest.mark.parametrize("uri", ["s3://data/nothing/", "s3://no-bucket/train/"])
def test_missing_data_fails_the_job_in_sagemakers_words(
    service: SageMaker, sagemaker: Any, host: Host, uri: str
) -> None:
    put_script(host, "pass")
    request = training_request("no-data")
    request["InputDataConfig"][1]["DataSource"]["S3DataSource"]["S3Uri"] = uri
    done = run(service, sagemaker, request)
    assert done["FailureReason"].startswith(
        f'ClientError: Data download failed:No S3 objects found under S3 URL "{uri}"'
    )
    assert ROLE in done["FailureReason"]


def test_prefix_that_names_one_object_gives_a_file_of_that_name(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(host, "import os; print(os.listdir(f'{ML}/input/data/train'))")
    request = training_request("one-object")
    request["InputDataConfig"][1]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://data/train/part-0.csv"
    run(service, sagemaker, request)
    assert host.log(LOG_GROUP) == "['part-0.csv']"


def test_key_that_leaves_its_channel_fails_the_job(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(host, "pass")
    host.s3.put_object(Bucket="data", Key="train/../../escape", Body=b"out")
    done = run(service, sagemaker, training_request("traversal"))
    assert "no usable file path" in done["FailureReason"]


def test_gzip_channel_is_unpacked(service: SageMaker, sagemaker: Any, host: Host) -> None:
    import gzip

    put_script(host, "print(open(f'{ML}/input/data/train/rows.csv').read())")
    host.s3.put_object(Bucket="data", Key="packed/rows.csv.gz", Body=gzip.compress(b"5,6"))
    request = training_request("gzip")
    request["InputDataConfig"][1]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://data/packed/"
    request["InputDataConfig"][1]["CompressionType"] = "Gzip"
    run(service, sagemaker, request)
    assert host.log(LOG_GROUP) == "5,6"


def test_stopped_job_gets_sigterm_and_its_model_is_kept(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(
        host,
        """
        import signal, sys, time
        def end(*_):
            open(f"{ML}/model/partial", "w").write("so far")
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        print("ready", flush=True)
        time.sleep(60)
        """,
    )
    sagemaker.create_training_job(**training_request("stopped"))
    wait_until(lambda: "ready" in host.log(LOG_GROUP))
    sagemaker.stop_training_job(TrainingJobName="stopped")
    done = service.wait_training_job("stopped", 10)
    assert done["TrainingJobStatus"] == done["SecondaryStatus"] == "Stopped"
    assert "models/stopped/output/model.tar.gz" in host.s3.listing()
    assert [step["Status"] for step in done["SecondaryStatusTransitions"]][-2:] == ["Stopping", "Stopped"]
    with pytest.raises(ClientError, match="in status Stopped"):
        sagemaker.stop_training_job(TrainingJobName="stopped")


def test_job_is_stopped_while_it_downloads(
    service: SageMaker, sagemaker: Any, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_script(host, "raise SystemExit(1)")
    reached, go_on = threading.Event(), threading.Event()
    real = host.s3.get_object

    def slow(**arguments: Any) -> Any:
        reached.set()
        go_on.wait(10)
        return real(**arguments)

    monkeypatch.setattr(host.s3, "get_object", slow)
    sagemaker.create_training_job(**training_request("early"))
    assert reached.wait(10)
    sagemaker.stop_training_job(TrainingJobName="early")
    go_on.set()
    done = service.wait_training_job("early", 10)
    assert done["SecondaryStatus"] == "Stopped"
    assert host.log(LOG_GROUP) == ""


def test_job_waits_for_libraries_that_load_and_is_stopped_meanwhile(
    service: SageMaker, sagemaker: Any, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, loaded = threading.Event(), threading.Event()

    def wait(_: LoadedLibraries, timeout_s: float) -> bool:
        waiting.set()
        return loaded.wait(timeout_s)

    monkeypatch.setattr(LoadedLibraries, "wait", wait)
    put_script(host, "print('begun')")
    sagemaker.create_training_job(**training_request("stopped"))
    assert waiting.wait(10)
    sagemaker.stop_training_job(TrainingJobName="stopped")
    assert service.wait_training_job("stopped", 10)["SecondaryStatus"] == "Stopped"

    waiting.clear()
    sagemaker.create_training_job(**training_request("patient"))
    assert waiting.wait(10)
    assert host.log(LOG_GROUP) == ""
    loaded.set()
    assert service.wait_training_job("patient", 10)["TrainingJobStatus"] == "Completed"
    assert "begun" in host.log(LOG_GROUP)


def test_script_that_ignores_sigterm_is_killed_with_its_children(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(
        host,
        """
        import os, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "300"], start_new_session=True)
        print("child", child.pid, flush=True)
        time.sleep(60)
        """,
    )
    sagemaker.create_training_job(**training_request("stubborn"))
    line = wait_until(lambda: host.log(LOG_GROUP))
    sagemaker.stop_training_job(TrainingJobName="stubborn")
    assert service.wait_training_job("stubborn", 10)["TrainingJobStatus"] == "Stopped"
    assert not is_alive(int(line.split()[1]))


def test_child_that_outlives_the_script_is_killed(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(
        host,
        """
        import subprocess
        print(subprocess.Popen(["sleep", "300"], start_new_session=True).pid)
        """,
    )
    done = run(service, sagemaker, training_request("daemon"))
    assert done["TrainingJobStatus"] == "Completed"
    assert not is_alive(int(host.log(LOG_GROUP)))


def test_job_beyond_its_time_is_stopped(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(host, "import time; time.sleep(60)")
    request = training_request("slow", StoppingCondition={"MaxRuntimeInSeconds": 1})
    done = run(service, sagemaker, request)
    assert done["TrainingJobStatus"] == "Stopped"
    assert done["SecondaryStatus"] == "MaxRuntimeExceeded"


def test_job_name_is_taken_for_ever(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(host, "pass")
    run(service, sagemaker, training_request("Once"))
    for name in ("Once", "once"):
        with pytest.raises(sagemaker.exceptions.ResourceInUse, match="must be unique"):
            sagemaker.create_training_job(**training_request(name))


def test_many_jobs_run_at_once_each_with_its_own_folders(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(
        host,
        """
        import os, time
        path = f"{ML}/model/name"
        assert not os.path.exists(path)
        open(path, "w").write(os.environ["TRAINING_JOB_NAME"])
        time.sleep(0.3)
        assert open(path).read() == os.environ["TRAINING_JOB_NAME"]
        """,
    )
    names = [f"parallel-{index}" for index in range(6)]
    for name in names:
        sagemaker.create_training_job(**training_request(name))
    assert {service.wait_training_job(name, 30)["TrainingJobStatus"] for name in names} == {"Completed"}


def test_checkpoints_go_both_ways_deletions_included(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(
        host,
        """
        import os
        folder = f"{ML}/checkpoints"
        print(sorted(os.listdir(folder)))
        os.remove(f"{folder}/old")
        open(f"{folder}/new", "w").write("2")
        """,
    )
    for name in ("old", "kept"):
        host.s3.put_object(Bucket="data", Key=f"ckpt/{name}", Body=b"1")
    run(service, sagemaker, training_request("ckpt", CheckpointConfig={"S3Uri": "s3://data/ckpt"}))
    assert host.log(LOG_GROUP) == "['kept', 'old']"
    assert [key for key in host.s3.listing() if key.startswith("ckpt/")] == ["ckpt/kept", "ckpt/new"]


def test_uncompressed_output_is_stored_as_files(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(host, "open(f'{ML}/model/model.txt', 'w').write('m')")
    output = {"S3OutputPath": "s3://data/models/", "CompressionType": "NONE"}
    done = run(service, sagemaker, training_request("plain", OutputDataConfig=output))
    assert done["ModelArtifacts"]["S3ModelArtifacts"] == "s3://data/models/plain/output/model/"
    assert host.s3.read("models/plain/output/model/model.txt") == b"m"


def test_link_out_of_the_model_folder_is_not_followed(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(host, "import os; os.symlink('/etc/passwd', f'{ML}/model/users')")
    done = run(service, sagemaker, training_request("link"))
    assert done["TrainingJobStatus"] == "Failed"
    assert "links to something outside its folder" in done["FailureReason"]


def test_private_folder_is_gone_when_the_job_has_ended(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(host, "pass")
    run(service, sagemaker, training_request("tidy"))
    folder = service._state_dir / "training"
    wait_until(lambda: not list(folder.iterdir()))


def test_unreachable_log_service_does_not_fail_the_job(
    service: SageMaker, sagemaker: Any, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_script(host, "print('hello')")
    tries = []
    real = host.put_log

    def flaky(group: str, stream: str, lines: list[tuple[int, str]]) -> None:
        tries.append(lines)
        if len(tries) == 1:
            raise ConnectionError("no log service")
        real(group, stream, lines)

    monkeypatch.setattr(host, "put_log", flaky)
    assert run(service, sagemaker, training_request("quiet"))["TrainingJobStatus"] == "Completed"
    assert host.log(LOG_GROUP) == "hello"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"InputDataConfig[1].DataSource.S3DataSource.S3DataType": "ManifestFile"},
            "S3DataType ManifestFile",
        ),
        ({"AlgorithmSpecification.TrainingImage": "mine:latest"}, "cannot run container images"),
        ({"AlgorithmSpecification.ContainerEntrypoint": None}, "ContainerEntrypoint"),
        ({"AlgorithmSpecification.TrainingInputMode": "Pipe"}, "TrainingInputMode Pipe"),
        (
            {"AlgorithmSpecification.MetricDefinitions": [{"Name": "a", "Regex": "("}]},
            "regular expression of metric a is invalid",
        ),
    ],
)
def test_refuses_what_the_local_host_cannot_do(sagemaker: Any, changes: dict[str, Any], message: str) -> None:
    request = training_request("refused")
    for path, value in changes.items():
        *folders, last = path.replace("[1]", ".1").split(".")
        target: Any = request
        for folder in folders:
            target = target[int(folder)] if folder.isdigit() else target[folder]
        if value is None:
            del target[last]
        else:
            target[last] = value
    with pytest.raises(ClientError, match="ValidationException") as caught:
        sagemaker.create_training_job(**request)
    assert message in caught.value.response["Error"]["Message"]
    with pytest.raises(ClientError, match="Requested resource not found"):
        sagemaker.describe_training_job(TrainingJobName="refused")


def test_capacity_fault_fails_the_job_as_sagemaker_does(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(host, "pass")
    service.faults.set("CreateTrainingJob", "CapacityError", times=1)
    done = run(service, sagemaker, training_request("capacity"))
    assert done["FailureReason"].startswith("CapacityError: Unable to provision")
    assert run(service, sagemaker, training_request("enough"))["TrainingJobStatus"] == "Completed"


def on_spot(name: str, run_s: int = 60, wait_s: int = 120) -> dict[str, Any]:
    stopping = {"MaxRuntimeInSeconds": run_s, "MaxWaitTimeInSeconds": wait_s}
    return training_request(name, StoppingCondition=stopping, EnableManagedSpotTraining=True)


def test_an_interrupted_spot_job_begins_again_with_its_checkpoints_alone(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(
        host,
        """
        import os, time
        kept = f"{ML}/checkpoints/kept"
        left = os.path.exists(f"{ML}/model/half")
        print("left", left, "kept", os.path.exists(kept), flush=True)
        open(f"{ML}/model/half", "w").write("x")
        if not os.path.exists(kept):
            open(kept, "w").write("x")
            time.sleep(60)
        """,
    )
    service.faults.set("CreateTrainingJob", "SpotInterruption", times=1, delay_s=2)
    request = on_spot("taken") | {"CheckpointConfig": {"S3Uri": "s3://data/kept/taken"}}
    done = run(service, sagemaker, request)
    assert done["TrainingJobStatus"] == "Completed"
    assert [each["Status"] for each in done["SecondaryStatusTransitions"]] == [
        *("Starting", "Downloading", "Training", "Interrupted"),
        *("Starting", "Downloading", "Training", "Uploading", "Completed"),
    ]
    assert host.log(LOG_GROUP).splitlines() == ["left False kept False", "left False kept True"]
    assert service.faults.active() == {}
    assert 1 <= done["BillableTimeInSeconds"] < done["TrainingTimeInSeconds"]


def test_an_interrupted_spot_job_may_be_stopped(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(host, "import time; time.sleep(60)")
    service.faults.set("CreateTrainingJob", "SpotInterruption", delay_s=0.1)
    sagemaker.create_training_job(**on_spot("again-and-again"))

    def interrupted() -> bool:
        described = sagemaker.describe_training_job(TrainingJobName="again-and-again")
        steps = [each["Status"] for each in described["SecondaryStatusTransitions"]]
        return steps.count("Interrupted") > 1

    wait_until(interrupted)
    sagemaker.stop_training_job(TrainingJobName="again-and-again")
    assert service.wait_training_job("again-and-again", 30)["TrainingJobStatus"] == "Stopped"


def test_a_spot_job_waits_and_runs_no_longer_than_it_may(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put_script(host, "import time; time.sleep(60)")
    service.faults.set("CreateTrainingJob", "SpotInterruption", delay_s=1)
    done = run(service, sagemaker, on_spot("no-room", run_s=2, wait_s=3))
    assert (done["TrainingJobStatus"], done["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")


def test_only_spot_jobs_are_interrupted(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(host, "import time; time.sleep(0.5)")
    service.faults.set("CreateTrainingJob", "SpotInterruption")
    done = run(service, sagemaker, training_request("steady"))
    assert done["TrainingJobStatus"] == "Completed"
    assert done["BillableTimeInSeconds"] == done["TrainingTimeInSeconds"]
    with pytest.raises(ServiceError, match="SpotInterruption is a fault of CreateTrainingJob only"):
        service.faults.set("CreateEndpoint", "SpotInterruption")


@pytest.mark.parametrize(
    ("spot", "stopping"),
    [(True, {}), (True, {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59}),
     (False, {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60})],
)  # fmt: skip
def test_how_long_to_wait_is_asked_of_spot_jobs_alone(
    sagemaker: Any, spot: bool, stopping: dict[str, int]
) -> None:
    request = training_request("wait", StoppingCondition=stopping, EnableManagedSpotTraining=spot)
    with pytest.raises(ClientError, match="MaxWaitTimeInSeconds"):
        sagemaker.create_training_job(**request)


def test_list_filters_sorts_and_pages(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put_script(host, "pass")
    for name in ("list-a", "list-b", "list-c"):
        run(service, sagemaker, training_request(name))
    pages = sagemaker.get_paginator("list_training_jobs").paginate(
        SortBy="Name", SortOrder="Descending", NameContains="LIST-", PaginationConfig={"PageSize": 2}
    )
    names = [[job["TrainingJobName"] for job in page["TrainingJobSummaries"]] for page in pages]
    assert names == [["list-c", "list-b"], ["list-a"]]
    none = sagemaker.list_training_jobs(StatusEquals="Failed")
    assert none["TrainingJobSummaries"] == []
    with pytest.raises(ClientError, match="pagination token"):
        sagemaker.list_training_jobs(NextToken="bogus")
