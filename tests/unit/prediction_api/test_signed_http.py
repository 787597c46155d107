"""Calls over a real socket: kept connections, broken ones, retries and refusals."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
from tests.fakes.loopback_server import LoopbackServer, running

from dropforge.adapters.sigv4_http import CallRefused, Credentials, SignedHttp, Signer
from dropforge.adapters.sigv4_http_services import (
    DynamoDbHttp,
    EndpointHttp,
    ObjectsHttp,
)
from dropforge.domain.errors import (
    AccessDenied,
    EndpointMissing,
    InvalidSettings,
    ModelError,
    ObjectMissing,
    ServiceRejected,
    ServiceUnavailable,
)
from dropforge.ledger_table.calls import ConditionFailed
from dropforge_local.service_models import service_model


class Server(LoopbackServer):
    """Answers what is scripted, in order; the last answer stays."""

    def __init__(self) -> None:
        super().__init__(Handler)
        self.answers: list[tuple[int, dict[str, str], bytes] | str] = [(200, {}, b"{}")]
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.connections = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.command, self.path, headers, body))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, str):
            self.close_connection = True
            if answer == "hang up after":
                self.connection.close()
            return
        status, sent, content = answer
        self.send_response(status)
        for name, value in sent.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        if "x-then-close" in sent:
            self.close_connection = True

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with running(Server()) as made:
        yield made


@pytest.fixture
def env(server):
    return {
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_ENDPOINT_URL": server.url,
    }


def http(server, **options) -> SignedHttp:
    pauses: list[float] = []
    made = SignedHttp(
        server.url,
        Signer(Credentials("AKID", "secret"), "us-east-1", "dynamodb"),
        pause=pauses.append,
        **options,
    )
    made.pauses = pauses
    return made


def send(made: SignedHttp, body: bytes = b"{}"):
    return made.send("POST", "/", {}, body, lambda answer: (answer.headers.get("x-code", ""), "said"))


def test_keeps_its_connection(server):
    made = http(server)
    assert [send(made).status for _ in range(5)] == [200] * 5
    assert server.connections == 1


def test_a_connection_that_the_server_closed_costs_no_attempt(server):
    server.answers = [(200, {"x-then-close": "1"}, b"{}"), (200, {}, b"{}")]
    made = http(server, attempts=1)
    assert send(made).status == 200
    assert send(made).status == 200
    assert server.connections == 2


def test_a_connection_that_idled_too_long_is_opened_anew(server):
    clock = [0.0]
    made = http(server, clock=lambda: clock[0])
    send(made)
    clock[0] = 60.0
    send(made)
    assert server.connections == 2


def test_retries_what_may_succeed_later_and_pauses_in_between(server):
    server.answers = [(500, {}, b""), (400, {"x-code": "ThrottlingException"}, b""), (200, {}, b"fine")]
    made = http(server)
    assert send(made).body == b"fine"
    assert len(made.pauses) == 2
    assert all(0 <= pause <= 0.4 for pause in made.pauses)


def test_does_not_retry_what_cannot_succeed(server):
    server.answers = [(400, {"x-code": "ValidationException"}, b"")]
    made = http(server)
    with pytest.raises(CallRefused, match="ValidationException"):
        send(made)
    assert len(server.seen) == 1


def test_gives_up_after_its_attempts(server):
    server.answers = [(503, {"x-code": "ServiceUnavailable"}, b"")]
    with pytest.raises(CallRefused):
        send(http(server, attempts=3))
    assert len(server.seen) == 3


def test_begins_no_attempt_after_its_patience(server):
    server.answers = [(503, {"x-code": "ServiceUnavailable"}, b"")]
    clock = itertools.count()
    with pytest.raises(CallRefused):
        send(http(server, attempts=100, patience_s=10, clock=lambda: next(clock)))
    assert 2 <= len(server.seen) <= 10


def test_says_when_there_is_no_answer(server):
    server.answers = ["close"]
    with pytest.raises(ServiceUnavailable, match="No answer"):
        send(http(server, attempts=2))


def test_refuses_what_is_no_url():
    with pytest.raises(InvalidSettings, match="must start with http"):
        SignedHttp("127.0.0.1:80", Signer(Credentials("a", "b"), "r", "s"))


# --- the services ----------------------------------------------------------------------------------------


def test_calls_dynamodb_with_its_json_protocol(server, env):
    server.answers = [(200, {}, b'{"Item": {"pk": {"S": "x"}}}')]
    found = DynamoDbHttp.from_env(env).call("GetItem", {"TableName": "t", "Key": {}})
    assert found == {"Item": {"pk": {"S": "x"}}}
    method, path, headers, body = server.seen[0]
    assert (method, path, json.loads(body)) == ("POST", "/", {"TableName": "t", "Key": {}})
    assert headers["x-amz-target"] == "DynamoDB_20120810.GetItem"
    assert headers["content-type"] == "application/x-amz-json-1.0"
    assert headers["x-amz-security-token"] == "token"
    assert "x-amz-security-token;x-amz-target" in headers["authorization"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", ConditionFailed),
        ("com.amazonaws.dynamodb.v20120810#ValidationException", ServiceRejected),
        ("com.amazon.coral.service#AccessDeniedException", AccessDenied),
    ],
)
def test_knows_dynamodbs_refusals(server, env, code, error):
    server.answers = [(400, {}, json.dumps({"__type": code, "message": "said"}).encode())]
    with pytest.raises(error):
        DynamoDbHttp.from_env(env).call("PutItem", {})


def test_an_answer_that_is_no_json_is_a_refusal_as_well(server, env):
    server.answers = [(418, {}, b"<html>teapot</html>")]
    with pytest.raises(ServiceRejected, match="HTTP 418: <html>teapot"):
        DynamoDbHttp.from_env(env).call("GetItem", {})


def test_invokes_an_endpoint(server, env):
    server.answers = [(200, {}, b'{"predictions": []}')]
    assert EndpointHttp.from_env(env).invoke("my-model", b"{}") == b'{"predictions": []}'
    method, path, headers, _ = server.seen[0]
    assert (method, path) == ("POST", "/endpoints/my-model/invocations")
    assert "/us-east-1/sagemaker/aws4_request" in headers["authorization"]


def test_queues_a_request_of_an_asynchronous_endpoint(server, env):
    places = {
        "X-Amzn-SageMaker-OutputLocation": "s3://b/out/r.json",
        "X-Amzn-SageMaker-FailureLocation": "s3://b/failed/r",
    }
    server.answers = [(202, places, b'{"InferenceId": "r"}'), (202, dict([*places.items()][:1]), b"{}")]
    endpoint = EndpointHttp.from_env(env)
    asked = ("my-model", "s3://b/in/r.json")
    assert endpoint.submit(*asked, identifier="r", filename="r.json") == tuple(places.values())
    assert endpoint.submit(*asked, identifier="r", filename="r.json") == ("s3://b/out/r.json", "")
    method, path, headers, body = server.seen[0]
    assert (method, path, body) == ("POST", "/endpoints/my-model/async-invocations", b"")
    operation = service_model("sagemaker-runtime").operation_model("InvokeEndpointAsync")
    sent = {
        member: headers[shape.serialization["name"].lower()]
        for member, shape in operation.input_shape.members.items()
        if shape.serialization.get("name", "").lower() in headers
    }
    assert sent == {
        "ContentType": "application/json",
        "Accept": "application/json",
        "InputLocation": "s3://b/in/r.json",
        "InferenceId": "r",
        "Filename": "r.json",
        "RequestTTLSeconds": "3600",
        "InvocationTimeoutSeconds": "60",
    }


def test_a_containers_error_keeps_its_status_and_body(server, env):
    said = {"Message": "m", "OriginalStatusCode": 400, "OriginalMessage": '{"error": {}}'}
    server.answers = [(424, {"x-amzn-ErrorType": "ModelError"}, json.dumps(said).encode())]
    with pytest.raises(ModelError) as refusal:
        EndpointHttp.from_env(env).invoke("my-model", b"{}")
    assert (refusal.value.status, refusal.value.body) == (400, '{"error": {}}')


def test_an_endpoint_that_is_not_there_has_an_error_of_its_own(server, env):
    said = json.dumps({"Message": "Endpoint my-model of account 123456789012 not found."}).encode()
    server.answers = [(400, {"x-amzn-ErrorType": "ValidationError"}, said)]
    with pytest.raises(EndpointMissing, match="dropforge wake"):
        EndpointHttp.from_env(env).invoke("my-model", b"{}")


def test_an_endpoint_that_is_becoming_another_kind_is_unavailable(server, env):
    said = json.dumps({"Message": "Endpoint my-model is not an asynchronous endpoint."}).encode()
    server.answers = [(400, {"x-amzn-ErrorType": "ValidationError"}, said)]
    with pytest.raises(ServiceUnavailable, match="another kind"):
        EndpointHttp.from_env(env).submit("my-model", "s3://b/in/r", identifier="r", filename="r.json")


def test_a_busy_endpoint_is_unavailable(server):
    server.answers = [(429, {"x-amzn-ErrorType": "ThrottlingException:http://x/"}, b'{"message": "slow"}')]
    with pytest.raises(ServiceUnavailable, match="ThrottlingException: slow"):
        EndpointHttp(http(server, attempts=2)).invoke("my-model", b"{}")


def test_finds_an_object_with_the_time_when_it_was_written(server, env):
    server.answers = [
        (200, {"Last-Modified": "Sat, 21 Nov 2026 09:00:07 GMT"}, b"content"),
        (404, {}, b"<Error><Code>NoSuchKey</Code></Error>"),
    ]
    objects = ObjectsHttp(env)
    assert objects.find("s3://bucket/key") == (b"content", 1_795_251_607_000)
    assert objects.find("s3://bucket/key") is None


@pytest.mark.parametrize("listed", [b"<Key>a/key</Key>", b"<Key>a/key-too</Key>"])
def test_an_object_that_reading_is_denied_of_is_looked_for(server, env, listed):
    denied = (403, {}, b"<Error><Code>AccessDenied</Code></Error>")
    found = (200, {"Last-Modified": "Sat, 21 Nov 2026 09:00:07 GMT"}, b"content")
    server.answers = [denied, (200, {}, b"<ListBucketResult>" + listed + b"</ListBucketResult>"), found]
    is_there = listed == b"<Key>a/key</Key>"
    content = ObjectsHttp(env).find("s3://bucket/a/key")
    assert content == ((b"content", 1_795_251_607_000) if is_there else None)
    assert server.seen[1][1] == "/bucket?list-type=2&max-keys=1&prefix=a%2Fkey"


def test_writes_an_object(server, env):
    server.answers = [(200, {}, b""), (403, {}, b"<Error><Code>AccessDenied</Code></Error>")]
    ObjectsHttp(env).write("s3://bucket/a b.json", b"{}")
    method, path, headers, body = server.seen[0]
    assert (method, path, body) == ("PUT", "/bucket/a%20b.json", b"{}")
    assert headers["content-type"] == "application/json"
    with pytest.raises(AccessDenied, match="writing s3://bucket/key"):
        ObjectsHttp(env).write("s3://bucket/key", b"{}")


def test_reads_an_object_by_its_encoded_key(server, env):
    server.answers = [(200, {}, b"content")]
    assert ObjectsHttp(env).read("s3://bucket/runs/a b+c/schema.json") == b"content"
    method, path, headers, _ = server.seen[0]
    assert (method, path) == ("GET", "/bucket/runs/a%20b%2Bc/schema.json")
    assert headers["x-amz-content-sha256"]


@pytest.mark.parametrize(
    ("status", "code", "error"), [(404, "NoSuchKey", ObjectMissing), (403, "AccessDenied", AccessDenied)]
)
def test_knows_s3s_refusals(server, env, status, code, error):
    body = f"<Error><Code>{code}</Code><Message>said</Message></Error>".encode()
    server.answers = [(status, {}, body)]
    with pytest.raises(error):
        ObjectsHttp(env).read("s3://bucket/key")
