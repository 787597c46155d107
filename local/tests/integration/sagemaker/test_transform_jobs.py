"""Transform jobs, executed: what SageMaker's contract with a batch of records promises."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from sagemaker_host import Host, add_model, wait_until

from dropforge_local.sagemaker.service import SageMaker

LOG_GROUP = "/aws/sagemaker/TransformJobs"
_HERE = Path(__file__).parent

# Answers each line with its length, and does what a line says.
COUNTING = """
import json, os, time
import flask

def model_fn(folder):
    return os.path.join(folder, "..", "seen")

def transform_fn(seen, body, content_type, accept):
    text = body if isinstance(body, str) else body.decode()
    if text == "environment":
        return flask.Response(json.dumps(dict(os.environ)))
    if text.startswith("refuse"):
        return flask.Response("column a is missing", status=400)
    if text.startswith("break"):
        return flask.Response("no memory", status=503)
    if text.startswith("once"):
        if not os.path.exists(seen):
            open(seen, "w").close()
            os._exit(9)
    if text.startswith("sleep"):
        print("asleep", flush=True)
        time.sleep(float(text.split()[1]))
    lines = "\\n".join(str(len(line)) for line in text.split("\\n"))
    return flask.Response(lines, mimetype=accept)
"""
ECHO_JSON = """
import json
import flask

def model_fn(folder):
    return None

def transform_fn(model, body, content_type, accept):
    return flask.Response("\\n".join(json.dumps({"saw": json.loads(line)}) for line in body.split("\\n")))
"""


def put(host: Host, name: str, content: bytes) -> None:
    host.s3.put_object(Bucket="data", Key=f"in/{name}", Body=content)


def transform_request(name: str, **changes: Any) -> dict[str, Any]:
    """A CreateTransformJob request over ``s3://data/in/``, split by lines."""
    request: dict[str, Any] = {
        "TransformJobName": name,
        "ModelName": "counting",
        "BatchStrategy": "SingleRecord",
        "ModelClientConfig": {"InvocationsTimeoutInSeconds": 20, "InvocationsMaxRetries": 1},
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/in/"}},
            "ContentType": "text/csv",
            "SplitType": "Line",
        },
        "TransformOutput": {"S3OutputPath": "s3://data/out", "Accept": "text/csv", "AssembleWith": "Line"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    for member, change in changes.items():
        request[member] = {**request[member], **change} if isinstance(request.get(member), dict) else change
    return request


def run(service: SageMaker, client: Any, request: dict[str, Any]) -> dict[str, Any]:
    client.create_transform_job(**request)
    return service.wait_job("TransformJob", request["TransformJobName"], 40)


@pytest.fixture
def counting(host: Host, sagemaker: Any) -> None:
    add_model(host, sagemaker, "counting", COUNTING)


pytestmark = pytest.mark.usefixtures("counting")


def data_log(host: Host) -> str:
    return "\n".join(
        line
        for (group, stream), lines in host.logs.items()
        if group == LOG_GROUP and stream.endswith("/data-log")
        for line in lines
    )


def test_every_file_below_the_prefix_has_its_answers_in_order(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    rows = [b"x" * (n % 7) for n in range(200)]
    put(host, "rows.csv", b"\n".join(rows) + b"\n")
    put(host, "deep/more.csv", b"a\nbb")
    done = run(service, sagemaker, transform_request("order", MaxConcurrentTransforms=8))
    assert done["TransformJobStatus"] == "Completed", done
    assert host.s3.read("out/rows.csv.out").decode().split() == [str(len(row)) for row in rows]
    assert host.s3.read("out/deep/more.csv.out") == b"1\n2\n"


def test_several_records_in_a_request_give_the_same_output_as_single_ones(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put(host, "rows.csv", b"a\nbb\nccc\n")
    run(service, sagemaker, transform_request("single"))
    single = host.s3.read("out/rows.csv.out")
    run(service, sagemaker, transform_request("multi", BatchStrategy="MultiRecord"))
    assert host.s3.read("out/rows.csv.out") == single == b"1\n2\n3\n"


def test_a_file_that_is_not_split_is_one_request(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put(host, "rows.csv", b"a\nbb\n")
    request = transform_request("whole")
    del request["TransformInput"]["SplitType"], request["BatchStrategy"]
    request["TransformOutput"].pop("AssembleWith")
    run(service, sagemaker, request)
    assert host.s3.read("out/rows.csv.out") == b"1\n2\n0"


def test_gzip_input_is_unpacked(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put(host, "rows.csv.gz", gzip.compress(b"a\nbb\n"))
    run(service, sagemaker, transform_request("gzip", TransformInput={"CompressionType": "Gzip"}))
    assert host.s3.read("out/rows.csv.gz.out") == b"1\n2\n"
    put(host, "rows.csv.gz", b"no gzip")
    done = run(service, sagemaker, transform_request("damaged", TransformInput={"CompressionType": "Gzip"}))
    assert done["FailureReason"] == "ClientError: See job logs for more information"
    assert "data/in/rows.csv.gz: ClientError: s3://data/in/rows.csv.gz is no gzip file" in data_log(host)


def test_a_manifest_names_the_files(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put(host, "a/one.csv", b"a\n")
    put(host, "two.csv", b"bb\n")
    put(host, "other.csv", b"refuse\n")
    host.s3.put_object(
        Bucket="data",
        Key="manifest",
        Body=json.dumps([{"prefix": "s3://data/in/"}, "a/one.csv", "two.csv"]).encode(),
    )
    source = {"S3DataSource": {"S3DataType": "ManifestFile", "S3Uri": "s3://data/manifest"}}
    done = run(service, sagemaker, transform_request("manifest", TransformInput={"DataSource": source}))
    assert done["TransformJobStatus"] == "Completed"
    assert host.s3.read("out/a/one.csv.out") == b"1\n"
    assert host.s3.read("out/two.csv.out") == b"2\n"
    assert "out/other.csv.out" not in host.s3.listing()


def test_input_and_answer_are_filtered_and_joined(service: SageMaker, sagemaker: Any, host: Host) -> None:
    add_model(host, sagemaker, "json", ECHO_JSON)
    put(host, "rows.jsonl", b'{"id": 1, "f": [2]}\n{"id": 3, "f": [4]}\n')
    for strategy in ("SingleRecord", "MultiRecord"):
        request = transform_request(
            f"joined-{strategy}",
            ModelName="json",
            BatchStrategy=strategy,
            TransformInput={"ContentType": "application/json"},
            TransformOutput={"Accept": "application/json"},
        )
        request["DataProcessing"] = {
            "InputFilter": "$.f",
            "JoinSource": "Input",
            "OutputFilter": "$['id','SageMakerOutput']",
        }
        done = run(service, sagemaker, request)
        assert done["TransformJobStatus"] == "Completed", data_log(host)
        lines = host.s3.read("out/rows.jsonl.out").splitlines()
        assert [json.loads(line) for line in lines] == [
            {"id": 1, "SageMakerOutput": {"saw": [2]}},
            {"id": 3, "SageMakerOutput": {"saw": [4]}},
        ]


def test_the_container_is_told_of_the_job_and_logs_to_its_stream(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put(host, "rows.csv", b"environment\nsleep 0\n")
    request = transform_request("told", MaxPayloadInMB=2, MaxConcurrentTransforms=1)
    request["Environment"] = {"MINE": "yes"}
    run(service, sagemaker, request)
    told = json.loads(host.s3.read("out/rows.csv.out").splitlines()[0])
    assert told["MINE"] == "yes"
    assert told["SAGEMAKER_BATCH"] == "true"
    assert told["SAGEMAKER_MAX_PAYLOAD_IN_MB"] == "2"
    assert told["SAGEMAKER_BATCH_STRATEGY"] == "SINGLE_RECORD"
    assert told["SAGEMAKER_PROGRAM"] == "inference.py"
    assert "asleep" in host.log(LOG_GROUP)
    assert "MaxConcurrentTransforms=1, MaxPayloadInMB=2, BatchStrategy=SINGLE_RECORD" in data_log(host)
    assert all(stream.startswith("told/i-") for group, stream in host.logs if group == LOG_GROUP)


def test_a_file_that_is_refused_has_no_output_and_leaves_the_others_theirs(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put(host, "bad.csv", b"a\nrefuse\n")
    put(host, "good.csv", b"a\n")
    done = run(service, sagemaker, transform_request("refused"))
    assert (done["TransformJobStatus"], done["FailureReason"]) == (
        "Failed",
        "ClientError: See job logs for more information",
    )
    assert host.s3.read("out/good.csv.out") == b"1\n"
    assert "out/bad.csv.out" not in host.s3.listing()
    assert "data/in/bad.csv: ClientError: 400" in data_log(host)
    assert "data/in/bad.csv: column a is missing" in data_log(host)


def test_a_server_that_breaks_is_asked_again_and_then_fails_the_job(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put(host, "rows.csv", b"once\n")
    done = run(service, sagemaker, transform_request("again"))
    assert done["TransformJobStatus"] == "Completed", data_log(host)
    put(host, "rows.csv", b"break\n")
    done = run(service, sagemaker, transform_request("broken"))
    assert done["FailureReason"] == "AlgorithmError: See job logs for more information"
    assert "Bad HTTP status received from algorithm: 503" in data_log(host)


def test_a_silent_server_fails_the_job_after_the_jobs_patience(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put(host, "rows.csv", b"sleep 30\n")
    config = {"InvocationsTimeoutInSeconds": 1, "InvocationsMaxRetries": 0}
    done = run(service, sagemaker, transform_request("silent", ModelClientConfig=config))
    assert done["FailureReason"] == "AlgorithmError: See job logs for more information"
    assert "did not respond to /invocations request within 1 seconds" in data_log(host)


def test_a_record_that_is_larger_than_a_payload_is_refused(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put(host, "rows.csv", b"a\n" + b"x" * (1 << 20) + b"x\n")
    done = run(service, sagemaker, transform_request("large", MaxPayloadInMB=1))
    assert done["TransformJobStatus"] == "Failed"
    assert "Too much data for max payload size" in data_log(host)


@pytest.mark.parametrize(
    "script", ["raise RuntimeError('no')", "def model_fn(f):\n    raise ValueError('no')"]
)
def test_a_model_that_does_not_start_fails_the_job(
    service: SageMaker, sagemaker: Any, host: Host, script: str
) -> None:
    add_model(host, sagemaker, "dead", script)
    put(host, "rows.csv", b"a\n")
    done = run(service, sagemaker, transform_request("dead", ModelName="dead"))
    assert done["TransformJobStatus"] == "Failed"
    assert "failed to respond to ping" in done["FailureReason"]


def test_missing_input_and_a_missing_archive_fail_the_job(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    done = run(service, sagemaker, transform_request("nothing"))
    assert 'No S3 objects found under S3 URL "s3://data/in/"' in done["FailureReason"]
    put(host, "rows.csv", b"a\n")
    host.s3.delete_object(Bucket="data", Key="models/counting.tar.gz")
    done = run(service, sagemaker, transform_request("lost"))
    assert "Failed to download model data" in done["FailureReason"]


def test_the_job_is_described_listed_tagged_and_told_of(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put(host, "rows.csv", b"a\n")
    request = transform_request("seen", Tags=[{"Key": "run", "Value": "1"}])
    arn = sagemaker.create_transform_job(**request)["TransformJobArn"]
    done = service.wait_job("TransformJob", "seen", 40)
    assert done["Tags"] == {"run": "1"}
    assert done["TransformEndTime"] >= done["TransformStartTime"] >= done["CreationTime"] > 10**12

    described = sagemaker.describe_transform_job(TransformJobName="seen")
    assert described["TransformJobArn"] == arn
    assert described["TransformInput"]["SplitType"] == "Line"
    assert described["ModelName"] == "counting"
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "run", "Value": "1"}]
    (listed,) = sagemaker.list_transform_jobs(NameContains="see", StatusEquals="Completed")[
        "TransformJobSummaries"
    ]
    assert listed["TransformJobName"] == "seen"
    assert sagemaker.list_transform_jobs(StatusEquals="Failed")["TransformJobSummaries"] == []

    def ended() -> bool:
        return any(detail["TransformJobStatus"] == "Completed" for _, detail, _ in host.events)

    wait_until(ended)
    kinds = {kind for kind, _, _ in host.events}
    assert kinds == {"SageMaker Transform Job State Change"}
    assert [detail["TransformJobStatus"] for _, detail, _ in host.events] == ["InProgress"] * 2 + [
        "Completed"
    ]
    assert host.events[0][2] == [arn]
    assert host.events[-1][1]["Tags"] == {"run": "1"}


def test_a_name_is_taken_for_ever_and_a_model_has_to_be_there(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put(host, "rows.csv", b"a\n")
    run(service, sagemaker, transform_request("mine"))
    with pytest.raises(sagemaker.exceptions.ResourceInUse, match="must be unique"):
        sagemaker.create_transform_job(**transform_request("MINE"))
    with pytest.raises(ClientError, match='Could not find model "arn:'):
        sagemaker.create_transform_job(**transform_request("other", ModelName="nobody"))
    with pytest.raises(ClientError, match="Requested resource not found"):
        sagemaker.describe_transform_job(TransformJobName="nobody")
    with pytest.raises(ClientError, match="is in status Completed"):
        sagemaker.stop_transform_job(TransformJobName="mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"TransformInput": {"SplitType": "RecordIO"}}, "does not support SplitType RecordIO"),
        ({"TransformResources": {"InstanceCount": 2}}, "does not support several instances"),
        ({"MaxPayloadInMB": 0}, "does not support MaxPayloadInMB 0"),
        ({"MaxPayloadInMB": 50, "MaxConcurrentTransforms": 3}, "exceeds 100 MB"),
        ({"DataCaptureConfig": {"DestinationS3Uri": "s3://data/x"}}, "does not support DataCaptureConfig"),
        ({"DataProcessing": {"InputFilter": "$..a"}}, "does not support the JSONPath"),
        ({"TransformOutput": {"S3OutputPath": "https://data/out"}}, "must begin with s3://"),
        ({"BatchStrategy": "Some"}, "enum value set"),
        ({"TransformResources": {"InstanceType": "ml.abacus"}}, "enum value set"),
    ],
)
def test_what_the_host_cannot_do_is_refused_by_name(
    sagemaker: Any, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError, match=message.replace("$", r"\$")):
        sagemaker.create_transform_job(**transform_request("refused", **change))
    assert sagemaker.list_transform_jobs()["TransformJobSummaries"] == []


def test_faults_meet_the_request_or_the_job(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put(host, "rows.csv", b"a\n")
    service.faults.set("CreateTransformJob", "ResourceLimitExceeded", times=1)
    with pytest.raises(sagemaker.exceptions.ResourceLimitExceeded):
        sagemaker.create_transform_job(**transform_request("quota"))
    service.faults.set("CreateTransformJob", "CapacityError", times=1)
    done = run(service, sagemaker, transform_request("capacity"))
    assert done["FailureReason"].startswith("CapacityError: Unable to provision")


def test_a_stopped_job_ends_at_once_without_output(service: SageMaker, sagemaker: Any, host: Host) -> None:
    put(host, "rows.csv", b"a\nsleep 100\n")
    request = transform_request("halted", ModelClientConfig={"InvocationsTimeoutInSeconds": 600})
    sagemaker.create_transform_job(**request)
    wait_until(lambda: "asleep" in host.log(LOG_GROUP))
    sagemaker.stop_transform_job(TransformJobName="halted")
    done = service.wait_job("TransformJob", "halted", 20)
    assert done["TransformJobStatus"] == "Stopped"
    assert "FailureReason" not in done
    assert "out/rows.csv.out" not in host.s3.listing()


def test_a_job_goes_on_after_the_service_has_stopped_also_with_its_model_deleted(
    service: SageMaker, sagemaker: Any, host: Host
) -> None:
    put(host, "rows.csv", b"a\nsleep 2\n")
    sagemaker.create_transform_job(**transform_request("paused"))
    wait_until(lambda: "asleep" in host.log(LOG_GROUP))
    sagemaker.delete_model(ModelName="counting")
    service.stop()
    service.start()
    assert service.wait_job("TransformJob", "paused", 30)["TransformJobStatus"] == "Completed"
    assert host.s3.read("out/rows.csv.out") == b"1\n7\n"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], Any]]]:
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], Any]:
        process = subprocess.Popen(
            [sys.executable, str(_HERE / "sagemaker_process.py"), str(tmp_path / "apart")],
            stdout=subprocess.PIPE,
            text=True,
            cwd=_HERE,
        )
        started.append(process)
        assert process.stdout is not None
        client = boto3.client(
            "sagemaker",
            endpoint_url=process.stdout.readline().strip(),
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        return process, client

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_job_of_a_killed_host_is_started_again(
    tmp_path: Path, processes: Callable[[], tuple[subprocess.Popen[str], Any]]
) -> None:
    host = Host(tmp_path / "apart" / "s3")
    process, client = processes()
    marker = tmp_path / "began"
    slow = COUNTING.replace('print("asleep", flush=True)', f"open({str(marker)!r}, 'a').close()")
    add_model(host, client, "counting", slow)
    put(host, "rows.csv", b"sleep 3\nbb\n")
    client.create_transform_job(**transform_request("resumed"))
    wait_until(marker.exists)
    os.kill(process.pid, signal.SIGKILL)

    _, client = processes()
    assert client.describe_transform_job(TransformJobName="resumed")["TransformJobStatus"] == "InProgress"

    def ended() -> Any:
        found = client.describe_transform_job(TransformJobName="resumed")
        return found if found["TransformJobStatus"] != "InProgress" else None

    assert wait_until(ended)["TransformJobStatus"] == "Completed"
    assert host.s3.read("out/rows.csv.out") == b"7\n2\n"
