"""A real SageMaker service behind real boto3 clients, with an S3 of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from folder_s3 import FolderS3

from dropforge_local.sagemaker.service import HostPorts, Limits, SageMaker

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3"
ROLE = "arn:aws:iam::000000000000:role/training"
_CREDENTIALS: dict[str, Any] = {
    "region_name": "us-east-1",
    "aws_access_key_id": "testing",
    "aws_secret_access_key": "testing",
}


class Host:
    """The service's surroundings: S3, recorded events and logs, alarms that a test sets."""

    def __init__(self, folder: Path) -> None:
        self.s3 = FolderS3(folder)
        (folder / "data").mkdir(parents=True)
        self.events: list[tuple[str, dict[str, Any], list[str]]] = []
        self.logs: dict[tuple[str, str], list[str]] = {}
        self.alarms: dict[str, str] = {}
        self.lock = threading.Lock()

    def emit_event(self, detail_type: str, detail: dict[str, Any], resources: list[str]) -> None:
        with self.lock:
            self.events.append((detail_type, detail, resources))

    def put_log(self, group: str, stream: str, lines: list[tuple[int, str]]) -> None:
        with self.lock:
            self.logs.setdefault((group, stream), []).extend(line for _, line in lines)

    def log(self, group: str) -> str:
        with self.lock:
            return "\n".join(
                line for (name, _), lines in self.logs.items() if name == group for line in lines
            )

    def ports(self) -> HostPorts:
        return HostPorts(
            s3=lambda: self.s3,
            emit_event=self.emit_event,
            put_log=self.put_log,
            alarm_state=self.alarms.get,
            environment=lambda role: {
                "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
                "AWS_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": role.rsplit("/", 1)[-1],
                "AWS_SECRET_ACCESS_KEY": "testing",
            },
        )


class Server:
    """A loopback HTTP server around ``SageMaker.http``."""

    def __init__(self, service: SageMaker) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

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
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {timeout_s} s")
        time.sleep(0.01)
    return value


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "s3")


@pytest.fixture
def limits() -> Limits:
    return Limits(
        stop_grace_s=1.0,
        health_check_s=20.0,
        serverless_health_check_s=20.0,
        drain_s=5.0,
        alarm_poll_s=0.05,
        restart_backoff_s=0.05,
        checkpoint_interval_s=0.1,
        storage_retry_s=5.0,
        log_flush_s=0.05,
    )


@pytest.fixture
def service(tmp_path: Path, host: Host, limits: Limits) -> Iterator[SageMaker]:
    made = SageMaker(tmp_path / "state", host.ports(), limits=limits)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def server(service: SageMaker) -> Iterator[Server]:
    made = Server(service)
    yield made
    made.close()


@pytest.fixture
def sagemaker(server: Server) -> Any:
    return server.client("sagemaker")


@pytest.fixture
def runtime(server: Server) -> Any:
    return server.client("sagemaker-runtime")


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
