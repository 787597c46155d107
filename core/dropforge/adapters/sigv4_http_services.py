"""The few calls of DynamoDB, SageMaker's runtime and S3 that serving predictions needs, without the SDK."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from dropforge.adapters.sigv4_http import (
    Answer,
    CallRefused,
    Credentials,
    SignedHttp,
    Signer,
    endpoint_url,
    translated,
)
from dropforge.domain.asynchronous import INVOCATION_TIMEOUT_S, REQUEST_TTL_S
from dropforge.domain.errors import (
    AccessDenied,
    EndpointMissing,
    ModelError,
    ObjectMissing,
    ServiceUnavailable,
)
from dropforge.domain.ports import ObjectRef
from dropforge.ledger_table.calls import ConditionFailed

_INVOKE_TIMEOUT_S = 28.0  # API Gateway gives up after 29 s


class DynamoDbHttp:
    """`DynamoDbCalls` over signed HTTP."""

    def __init__(self, http: SignedHttp) -> None:
        self._http = http

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> DynamoDbHttp:
        """Connect as the process's role to its region's DynamoDB."""
        region = env["AWS_REGION"]
        return cls(
            SignedHttp(
                endpoint_url(env, "DYNAMODB", "dynamodb", region),
                Signer(Credentials.from_env(env), region, "dynamodb"),
            )
        )

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        headers = {
            "content-type": "application/x-amz-json-1.0",
            "x-amz-target": f"DynamoDB_20120810.{operation}",
        }
        body = json.dumps(request, separators=(",", ":"), allow_nan=False).encode()
        try:
            answer = self._http.send("POST", "/", headers, body, json_error)
        except CallRefused as refused:
            if refused.code == "ConditionalCheckFailedException":
                raise ConditionFailed from refused
            raise translated(refused, f"dynamodb:{operation}") from refused
        found: dict[str, Any] = json.loads(answer.body)
        return found


class EndpointHttp:
    """SageMaker's InvokeEndpoint over signed HTTP."""

    def __init__(self, http: SignedHttp) -> None:
        self._http = http

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> EndpointHttp:
        """Connect as the process's role to its region's SageMaker runtime."""
        region = env["AWS_REGION"]
        return cls(
            SignedHttp(
                endpoint_url(env, "SAGEMAKER_RUNTIME", "runtime.sagemaker", region),
                Signer(Credentials.from_env(env), region, "sagemaker"),
                timeout_s=_INVOKE_TIMEOUT_S,
                # A serverless endpoint refuses what is above its concurrency, and is free again soon.
                attempts=7,
                patience_s=5.0,
            )
        )

    def invoke(self, endpoint_name: str, body: bytes) -> bytes:
        """Send a JSON request to the endpoint and return the JSON answer.

        Raises:
            ModelError: the container answered with an error.
            EndpointMissing: there is no such endpoint.
            ServiceUnavailable: throttled, starting, or no answer.
            DropforgeError: any other refusal.
        """
        headers = {"content-type": "application/json", "accept": "application/json"}
        return self._send(endpoint_name, "invocations", headers, body).body

    def submit(
        self, endpoint_name: str, input_uri: str, *, identifier: str, filename: str
    ) -> tuple[str, str]:
        """See ``dropforge.domain.asynchronous.LaterScorer``.

        https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpointAsync.html
        """
        given = {
            "content-type": "application/json",
            "accept": "application/json",
            "inputlocation": input_uri,
            "inference-id": identifier,
            "filename": filename,
            "requestttlseconds": str(REQUEST_TTL_S),
            "invocationtimeoutseconds": str(INVOCATION_TIMEOUT_S),
        }
        headers = {f"x-amzn-sagemaker-{name}": value for name, value in given.items()}
        found = self._send(endpoint_name, "async-invocations", headers, b"").headers
        return found["x-amzn-sagemaker-outputlocation"], found.get("x-amzn-sagemaker-failurelocation", "")

    def _send(self, endpoint_name: str, way: str, headers: Mapping[str, str], body: bytes) -> Answer:
        path = f"/endpoints/{quote(endpoint_name, safe='')}/{way}"
        try:
            return self._http.send("POST", path, headers, body, json_error)
        except CallRefused as refused:
            if refused.code == "ModelError":
                said = json.loads(refused.answer.body)
                raise ModelError(
                    int(said.get("OriginalStatusCode") or 500), str(said.get("OriginalMessage") or "")
                ) from refused
            if refused.code == "ValidationError" and "not found" in str(refused).lower():
                raise EndpointMissing(
                    f"The endpoint {endpoint_name} is not there: nobody had asked it for EndpointIdleHours, "
                    "or it is being restored. 'dropforge wake' brings it back."
                ) from refused
            if refused.code == "ValidationError" and "async" in str(refused).lower():
                raise ServiceUnavailable(
                    f"The endpoint {endpoint_name} is becoming another kind, and takes no such request."
                ) from refused
            raise translated(refused, f"sagemaker:InvokeEndpoint on {endpoint_name}") from refused


class ObjectsHttp:
    """Reads and writes S3 objects over signed HTTP."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env, self._region = env, env["AWS_REGION"]
        self._credentials = Credentials.from_env(env)

    def read(self, uri: str) -> bytes:
        """Return an object's content.

        Raises:
            ObjectMissing: there is no such object.
            DropforgeError: any other refusal.
        """
        return self._send("GET", uri).body

    def find(self, uri: str) -> tuple[bytes, int] | None:
        """Return an object's content and when it was written, in milliseconds; None if there is none."""
        from email.utils import parsedate_to_datetime  # noqa: PLC0415 - only asynchronous endpoints need it

        try:
            answer = self._send("GET", uri)
        except ObjectMissing:
            return None
        except AccessDenied:
            # So S3 tells what is missing to who may list some prefixes only; in between it may have come.
            if not self._is_there(uri):
                return None
            answer = self._send("GET", uri)
        written = parsedate_to_datetime(answer.headers["last-modified"])
        return answer.body, int(written.timestamp() * 1000)

    def write(self, uri: str, content: bytes) -> None:
        """Write an object; one that is there is replaced."""
        self._send("PUT", uri, content)

    def _is_there(self, uri: str) -> bool:
        ref = ObjectRef.from_uri(uri)
        found = self._call(
            "GET", f"/{ref.bucket}?list-type=2&max-keys=1&prefix={quote(ref.key, safe='~')}", uri
        )
        return f"<Key>{ref.key}</Key>".encode() in found.body

    def _send(self, method: str, uri: str, body: bytes = b"") -> Answer:
        ref = ObjectRef.from_uri(uri)
        return self._call(method, f"/{ref.bucket}/{quote(ref.key, safe='/~')}", uri, body)

    def _call(self, method: str, path: str, uri: str, body: bytes = b"") -> Answer:
        url = endpoint_url(self._env, "S3", "s3", self._region)
        http = SignedHttp(url, Signer(self._credentials, self._region, "s3"))
        headers = {"content-type": "application/json"} if body else {}
        try:
            return http.send(method, path, headers, body, _xml_error)
        except CallRefused as refused:
            if refused.answer.status == 404:
                raise ObjectMissing(f"There is no object {uri}.") from refused
            doing = "reading" if method == "GET" else "writing"
            raise translated(refused, f"{doing} {uri}") from refused
        finally:
            http.close()


def json_error(answer: Answer) -> tuple[str, str]:
    """The code and the message of a refusal of a service that answers with JSON."""
    try:
        said = json.loads(answer.body)
        said = said if isinstance(said, dict) else {}
    except ValueError:
        said = {}
    code = answer.headers.get("x-amzn-errortype") or said.get("__type") or said.get("code") or ""
    message = said.get("message") or said.get("Message") or answer.body[:500].decode("utf-8", "replace")
    return str(code).partition(":")[0].rpartition("#")[2] or f"HTTP {answer.status}", str(message)


_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")


def _xml_error(answer: Answer) -> tuple[str, str]:
    text = answer.body.decode("utf-8", "replace")
    code, message = _CODE.search(text), _MESSAGE.search(text)
    return (code[1] if code else f"HTTP {answer.status}"), (message[1] if message else text[:500])
