"""The two HTTP protocols: JSON 1.1 for the control plane, REST-JSON for the runtime."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

from dropforge_local.sagemaker.errors import UNAVAILABLE_OPERATION, ServiceError
from dropforge_local.sagemaker.validation import runtime_model

SCALING_TARGET = "AnyScaleFrontendService"
JSON_1_1 = "application/x-amz-json-1.1"
_INVOCATION = re.compile(r"/endpoints/([^/]+)/(invocations|async-invocations|invocations-response-stream)")
_STREAM = "invocations-response-stream"
# Members of InvokeEndpoint that only make sense for features that this host doesn't have.
_REFUSED_HEADERS = {
    "x-amzn-sagemaker-target-model": "TargetModel (multi-model endpoints)",
    "x-amzn-sagemaker-target-container-hostname": "TargetContainerHostname (multi-container endpoints)",
    "x-amzn-sagemaker-enable-explanations": "EnableExplanations",
    "x-amzn-sagemaker-inference-component": "InferenceComponentName",
    "x-amzn-sagemaker-session-id": "SessionId",
}


@dataclass(frozen=True)
class InvocationResult:
    """What a model answered."""

    body: bytes
    content_type: str
    invoked_variant: str
    custom_attributes: str | None = None


class Service(Protocol):
    """What is behind the protocols."""

    def handle(self, operation: str, request: dict[str, Any]) -> dict[str, Any]: ...

    def scale(self, operation: str, request: dict[str, Any]) -> dict[str, Any]: ...

    def invoke_endpoint_async(self, request: dict[str, Any]) -> dict[str, Any]: ...

    def invoke_endpoint(
        self,
        endpoint_name: str,
        body: bytes,
        *,
        content_type: str | None,
        accept: str | None,
        custom_attributes: str | None,
        target_variant: str | None,
        inference_id: str | None,
    ) -> InvocationResult: ...


Answer = tuple[int, dict[str, str], bytes]


def dispatch(service: Service, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Answer one HTTP request in the protocol that it speaks."""
    lowered = {name.lower(): value for name, value in headers.items()}
    request_id = str(uuid.uuid4())
    target = lowered.get("x-amz-target")
    if target is not None:
        return _control_plane(service, target, body, request_id)
    match = _INVOCATION.fullmatch(path.split("?", 1)[0])
    if match is not None and method == "POST":
        return _invocation(
            service, unquote(match.group(1)), match.group(2), lowered, body, request_id=request_id
        )
    error = ServiceError("UnknownOperationException", f"There is no operation behind {method} {path}.", 404)
    return _control_error(error, request_id)


def _control_plane(service: Service, target: str, body: bytes, request_id: str) -> Answer:
    prefix, _, operation = target.partition(".")
    carry_out = {"SageMaker": service.handle, SCALING_TARGET: service.scale}.get(prefix)
    if carry_out is None or not operation:
        unknown = ServiceError("UnknownOperationException", f"Unknown target {target}.", 404)
        return _control_error(unknown, request_id)
    try:
        answer = carry_out(operation, _read_json(body))
    except ServiceError as error:
        return _control_error(error, request_id)
    content = json.dumps(answer).encode()
    return 200, {"Content-Type": JSON_1_1, "x-amzn-RequestId": request_id}, content


def _read_json(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body or b"{}")
    except ValueError as error:
        raise ServiceError("SerializationException", f"The request is no JSON: {error}") from error
    if not isinstance(request, dict):
        raise ServiceError("SerializationException", "The request is no JSON object.")
    return request


def _control_error(error: ServiceError, request_id: str) -> Answer:
    headers = {
        "Content-Type": JSON_1_1,
        "x-amzn-RequestId": request_id,
        "x-amzn-errortype": error.code,
    }
    body = {"__type": error.code, "message": error.message, **error.extra}
    return error.http_status, headers, json.dumps(body).encode()


def _check_invocation(kind: str, headers: dict[str, str]) -> None:
    if kind == _STREAM:
        raise ServiceError(
            UNAVAILABLE_OPERATION,
            "The local host does not support InvokeEndpointWithResponseStream of sagemaker-runtime.",
        )
    for header, member in _REFUSED_HEADERS.items():
        if headers.get(header):
            raise ServiceError("ValidationError", f"The local host does not support {member}.")


def _invocation(
    service: Service, endpoint: str, kind: str, headers: dict[str, str], body: bytes, *, request_id: str
) -> Answer:
    try:
        _check_invocation(kind, headers)
        if kind == "async-invocations":
            return _queued(service, endpoint, headers, body, request_id)
        result = service.invoke_endpoint(
            endpoint,
            body,
            content_type=headers.get("content-type"),
            accept=headers.get("accept"),
            custom_attributes=headers.get("x-amzn-sagemaker-custom-attributes"),
            target_variant=headers.get("x-amzn-sagemaker-target-variant"),
            inference_id=headers.get("x-amzn-sagemaker-inference-id"),
        )
    except ServiceError as error:
        return _runtime_error(error, request_id)
    answer_headers = {
        "Content-Type": result.content_type,
        "x-Amzn-Invoked-Production-Variant": result.invoked_variant,
        "x-amzn-RequestId": request_id,
    }
    if result.custom_attributes is not None:
        answer_headers["X-Amzn-SageMaker-Custom-Attributes"] = result.custom_attributes
    return 200, answer_headers, result.body


def _queued(service: Service, endpoint: str, headers: dict[str, str], body: bytes, request_id: str) -> Answer:
    operation = runtime_model().operation_model("InvokeEndpointAsync")
    request: dict[str, Any] = {"EndpointName": endpoint} | ({"Body": body} if body else {})
    taken, given = operation.input_shape, operation.output_shape
    for member, shape in taken.members.items() if taken else ():
        value = headers.get(str(shape.serialization.get("name", "")).lower())
        if value is not None:
            request[member] = int(value) if shape.type_name == "integer" else value
    answer = service.invoke_endpoint_async(request)
    answer_headers = {"Content-Type": "application/json", "x-amzn-RequestId": request_id}
    for member, shape in given.members.items() if given else ():
        if shape.serialization.get("location") == "header" and member in answer:
            answer_headers[shape.serialization["name"]] = answer[member]
    return 202, answer_headers, json.dumps({"InferenceId": answer["InferenceId"]}).encode()


def _runtime_error(error: ServiceError, request_id: str) -> Answer:
    # An oversized payload is refused by the load balancer before SageMaker: there is only the status.
    headers = {"Content-Type": "application/json", "x-amzn-RequestId": request_id}
    body: dict[str, Any] = {"Message": error.message, **error.extra}
    if not error.code.isdigit():
        headers["x-amzn-errortype"] = error.code
        known = {shape.name for shape in runtime_model().error_shapes}
        if error.code not in known:
            body["message"] = error.message
    else:
        body = {"message": error.message}
    return error.http_status, headers, json.dumps(body).encode()
