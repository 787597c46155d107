"""The surroundings of a SageMaker service under test, an HTTP server around it, and requests to send it."""

from __future__ import annotations

import io
import sys
import tarfile
import textwrap
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from folder_s3 import FolderS3

from dropforge_local.sagemaker.container import Image
from dropforge_local.sagemaker.service import HostPorts, SageMaker
from dropforge_local.testing.waiting import looked_for

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3"
ROLE = "arn:aws:iam::000000000000:role/training"
_CREDENTIALS: dict[str, Any] = {
    "region_name": "us-east-1",
    "aws_access_key_id": "testing",
    "aws_secret_access_key": "testing",
}


def image_in(folder: Path) -> Image:
    """The image of this interpreter, with its scripts in the folder."""
    return Image(sys.executable, [str(Path(sys.executable).parent)], folder / "bin")


class Host:
    """The service's surroundings: S3, recorded events and logs, alarms that a test sets."""

    def __init__(self, folder: Path) -> None:
        self.s3 = FolderS3(folder)
        (folder / "data").mkdir(parents=True, exist_ok=True)
        self.events: list[tuple[str, dict[str, Any], list[str]]] = []
        self.logs: dict[tuple[str, str], list[str]] = {}
        self.alarms: dict[str, str] = {}
        self.metrics: list[tuple[str, float, str, dict[str, str]]] = []
        self.breaches: dict[str, Callable[[], float | None]] = {}
        self.lock = threading.Lock()

    def emit_event(self, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
        with self.lock:
            self.events.append((detail_type, detail, resources))

    def put_log(self, group: str, stream: str, lines: list[tuple[int, str]]) -> None:
        with self.lock:
            self.logs.setdefault((group, stream), []).extend(line for _, line in lines)

    def _put_log(self, group: str, stream: str, lines: list[tuple[int, str]]) -> None:
        self.put_log(group, stream, lines)  # looked up at each call: a test may replace it

    def _alarm_state(self, name: str) -> str | None:
        state = self.alarms.get(name)
        if state == "LOST":
            raise ConnectionError("CloudWatch can't be reached")
        return state

    def log(self, group: str) -> str:
        with self.lock:
            return "\n".join(
                line for (name, _), lines in self.logs.items() if name == group for line in lines
            )

    def ports(self) -> HostPorts:
        return HostPorts(
            s3=lambda: self.s3,
            emit_event=self.emit_event,
            put_log=self._put_log,
            alarm_state=self._alarm_state,
            environment=lambda role: {
                "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": role.rsplit("/", 1)[-1],
                "AWS_SECRET_ACCESS_KEY": "testing",
            },
            breach_of=lambda action: self.breaches.get(action, lambda: None)(),
            put_metric=lambda *metric: self.metrics.append(metric),
        )


class Server:
    """A loopback HTTP server around ``SageMaker.http``."""

    def __init__(self, service: SageMaker) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, content = service.http("POST", self.path, dict(self.headers), body, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        class Listener(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def client(self, name: str) -> Any:
        config = Config(retries={"max_attempts": 0}, max_pool_connections=32)
        return boto3.client(name, endpoint_url=self.url, config=config, **_CREDENTIALS)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def wait_until(condition: Callable[[], Any], timeout_s: float = 30.0) -> Any:
    """The first truthy value of the condition."""
    value = looked_for(condition, timeout_s, first_pause_s=0.01, last_pause_s=0.1)
    if not value:
        raise AssertionError(f"not true within {timeout_s} s")
    return value


def training_request(name: str, script: str = "train.py", **changes: Any) -> dict[str, Any]:
    """A CreateTrainingJob request whose script is in ``s3://data/code/``."""
    request: dict[str, Any] = {
        "TrainingJobName": name,
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", f"/opt/ml/input/data/code/{script}"],
        },
        "InputDataConfig": [
            {
                "ChannelName": channel,
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": f"s3://data/{channel}/",
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
            for channel in ("code", "train")
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://data/models"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "HyperParameters": {"C": "0.5"},
    }
    return request | changes


SERVING = {
    "SAGEMAKER_PROGRAM": "inference.py",
    "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code",
    "SAGEMAKER_MODEL_SERVER_WORKERS": "1",
    "PIP_NO_BUILD_ISOLATION": "0",
}


FINDING_ML = "import os; ML = os.environ.get('ML_ROOT', '/opt/ml')\n"
"""A script's first line: it is to run also where the kernel refuses namespaces."""


def put_script(host: Host, text: str, name: str = "train.py") -> None:
    """Store a training script where ``training_request`` looks for it, and something to train on.

    The script finds in ``ML`` what is ``/opt/ml`` to it, see ``FINDING_ML``.
    """
    host.s3.put_object(Bucket="data", Key=f"code/{name}", Body=(FINDING_ML + textwrap.dedent(text)).encode())
    host.s3.put_object(Bucket="data", Key="train/part-0.csv", Body=b"1,2\n")


def model_archive(files: dict[str, str]) -> bytes:
    """A model.tar.gz of text files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            content = textwrap.dedent(text).encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


ECHO = """
import os, time
import flask

def model_fn(folder):
    with open(os.path.join(folder, "version.txt")) as file:
        return file.read()

def transform_fn(model, body, content_type, accept):
    if body == "status":
        return flask.Response("no such thing", status=418)
    if body == "raise":
        raise ValueError("broken")
    if body == "exit":
        os._exit(9)
    if body == "cut":
        answer = flask.Response("half of", mimetype=accept)
        answer.headers["Content-Length"] = "100"
        return answer
    if body == "pid":
        return flask.Response(f"{os.getppid()} {os.getpid()}", mimetype=accept)
    if body.startswith("sleep"):
        time.sleep(float(body.split()[1]))
    return flask.Response(model, mimetype=accept)
"""


def add_model(host: Host, client: Any, name: str, script: str = ECHO, **changes: Any) -> None:
    """A model whose ``version.txt`` holds its name."""
    archive = model_archive({"code/inference.py": script, "version.txt": name})
    host.s3.put_object(Bucket="data", Key=f"models/{name}.tar.gz", Body=archive)
    container = {"Image": IMAGE, "ModelDataUrl": f"s3://data/models/{name}.tar.gz", "Environment": SERVING}
    client.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container, **changes)


def add_config(client: Any, name: str, *models: str, **changes: Any) -> None:
    """An endpoint configuration: one variant per model, ``AllTraffic`` when there is only one."""
    variants = [
        {
            "VariantName": "AllTraffic" if len(models) == 1 else f"Variant-{model}",
            "ModelName": model,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        | changes
        for model in models
    ]
    client.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)


def await_endpoint(client: Any, name: str, timeout_s: float = 30.0) -> dict[str, Any]:
    """The endpoint's description once nothing is in progress."""

    def settled() -> dict[str, Any] | None:
        description = client.describe_endpoint(EndpointName=name)
        busy = description["EndpointStatus"] in ("Creating", "Updating", "RollingBack", "Deleting")
        return None if busy else description

    return wait_until(settled, timeout_s)


def add_endpoint(host: Host, client: Any, name: str = "ep", model: str = "one") -> dict[str, Any]:
    """An endpoint in service with one echoing model."""
    add_model(host, client, model)
    add_config(client, f"config-{model}", model)
    client.create_endpoint(EndpointName=name, EndpointConfigName=f"config-{model}")
    return await_endpoint(client, name)


def ask(client: Any, name: str = "ep", body: bytes = b"x", **changes: Any) -> str:
    """What the endpoint answers to a ``text/csv`` request."""
    answer = client.invoke_endpoint(EndpointName=name, Body=body, ContentType="text/csv", **changes)
    return answer["Body"].read().decode()


def server_pids(client: Any, name: str = "ep") -> tuple[int, int]:
    """The process ids of the model server that answers, and of its worker."""
    server, worker = ask(client, name, b"pid").split()
    return int(server), int(worker)
