"""MLflow over plain HTTP: which server a setting means, how it is asked, and what is made of its refusals."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from tests.fakes.loopback_server import LoopbackServer, running
from tests.in_memory_store import InMemoryObjectStore

from dropforge.adapters.mlflow_tracker import MlflowTracker
from dropforge.domain.errors import InvalidSettings, ServiceRejected, ServiceUnavailable
from dropforge.tracking.tracker import TrackedRun

ENV = {"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token"}
ACCOUNT = "arn:aws:sagemaker:eu-west-1:123456789012"


class Server(LoopbackServer):
    """Answers with what a test says, by method and path without its query."""

    def __init__(self) -> None:
        super().__init__(Handler)
        self.answers: dict[str, tuple[int, Any]] = {}
        self.seen: list[tuple[str, str, bytes]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.seen.append((self.command, self.path, body))
        call = self.path.partition("?")[0].rpartition("/mlflow/")[2]
        status, content = self.server.answers.get(f"{self.command} {call}", (200, {}))
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the names that the server calls

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as made:
        yield made


@pytest.fixture
def store() -> InMemoryObjectStore:
    return InMemoryObjectStore()


@pytest.mark.parametrize(
    ("resource", "host", "service", "header"),
    [
        ("mlflow-app/app-1", "mlflow.sagemaker.eu-west-1.app.aws", "sagemaker", "x-sm-mlflow-app-arn"),
        (
            "mlflow-tracking-server/ours",
            "eu-west-1.experiments.sagemaker.aws",
            "sagemaker-mlflow",
            "x-mlflow-sm-tracking-server-arn",
        ),
    ],
)
def test_sagemakers_mlflow_is_reached_by_its_arn(
    resource: str, host: str, service: str, header: str, store: InMemoryObjectStore
) -> None:
    tracker = MlflowTracker.of(f"{ACCOUNT}:{resource}", ENV, store)
    assert tracker._http._host == host
    assert tracker._sent == {header: f"{ACCOUNT}:{resource}"}
    signed = tracker._http._signer.headers("GET", host, "/", tracker._sent, b"", 1e9)
    assert f"/eu-west-1/{service}/aws4_request" in signed["authorization"]
    assert header in signed["authorization"]


def test_another_arn_is_refused(store: InMemoryObjectStore) -> None:
    with pytest.raises(InvalidSettings, match="no SageMaker MLflow app"):
        MlflowTracker.of(f"{ACCOUNT}:endpoint/ours", ENV, store)


def test_pages_are_followed_to_their_end(server: Server, store: InMemoryObjectStore) -> None:
    run = {"info": {"run_id": "r", "artifact_uri": "s3://b/r", "status": "FINISHED", "end_time": 5}}
    server.answers["POST runs/search"] = (
        200,
        {"runs": [{**run, "data": {"tags": [{"key": "k", "value": "v"}]}}]},
    )
    tracker = MlflowTracker.of(server.url, {}, store)
    assert tracker.runs("1") == [TrackedRun("r", "s3://b/r", "FINISHED", 5, {"k": "v"})]
    server.answers["GET model-versions/search"] = (200, {"model_versions": [{"version": 3}]})
    assert [each.number for each in tracker.versions("my-model")] == ["3"]
    assert server.seen[-1][1].endswith("?filter=name%3D%27my-model%27")


def test_values_are_sent_as_the_api_has_them_in_batches(server: Server, store: InMemoryObjectStore) -> None:
    tracker = MlflowTracker.of(server.url, {}, store)
    tracker.log_values("r", {f"p{number}": "1" for number in range(150)}, {"auc": 0.5}, 1234)
    sent = [json.loads(body) for _, _, body in server.seen]
    assert [len(each.get("params", [])) for each in sent] == [100, 50, 0]
    assert sent[2]["metrics"] == [{"key": "auc", "value": 0.5, "timestamp": 1234, "step": 0}]


def test_what_is_not_there_is_made(server: Server, store: InMemoryObjectStore) -> None:
    missing = (404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"})
    server.answers |= {"GET experiments/get-by-name": missing, "GET registered-models/get": missing}
    server.answers["POST experiments/create"] = (200, {"experiment_id": "7"})
    tracker = MlflowTracker.of(server.url, {}, store)
    assert tracker.experiment("model") == "7"
    tracker.register("model", "said")
    assert json.loads(server.seen[-1][2]) == {"name": "model", "description": "said"}


def test_an_experiment_that_somebody_deleted_is_not_made_again(
    server: Server, store: InMemoryObjectStore
) -> None:
    found = {"experiment": {"experiment_id": "1", "lifecycle_stage": "deleted"}}
    server.answers["GET experiments/get-by-name"] = (200, found)
    with pytest.raises(ServiceRejected, match="Restore it"):
        MlflowTracker.of(server.url, {}, store).experiment("model")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "no"}), ServiceRejected),
        ((403, b"Invalid Host header"), ServiceRejected),
        ((503, b"busy"), ServiceUnavailable),
        ((200, b"<html>another server</html>"), ServiceRejected),
    ],
)
def test_refusals_are_errors_of_ours(
    answer: tuple[int, Any], error: type[Exception], server: Server, store: InMemoryObjectStore
) -> None:
    server.answers["POST runs/search"] = answer
    with pytest.raises(error):
        MlflowTracker.of(server.url, {}, store).runs("1")


def test_a_server_that_is_down_is_unavailable(server: Server, store: InMemoryObjectStore) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(ServiceUnavailable):
        MlflowTracker.of(server.url, {}, store).experiment("model")


def test_files_go_to_s3_or_through_the_server(server: Server, store: InMemoryObjectStore) -> None:
    tracker = MlflowTracker.of(server.url, {}, store)
    tracker.put_file(
        TrackedRun("r", "s3://bucket/1/r/artifacts", "RUNNING", 0, {}), "plots/a b.svg", b"<svg/>"
    )
    assert store.read("s3://bucket/1/r/artifacts/plots/a b.svg") == b"<svg/>"
    run = TrackedRun("r", "mlflow-artifacts:/1/r/artifacts", "RUNNING", 0, {})
    tracker.put_file(run, "model/a b", io.BytesIO(b"data"))
    path = "/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/model/a%20b"
    assert server.seen == [("PUT", path, b"data")]
    with pytest.raises(ServiceRejected, match="--serve-artifacts"):
        tracker.put_file(TrackedRun("r", "/var/mlruns/1", "RUNNING", 0, {}), "a", b"")
