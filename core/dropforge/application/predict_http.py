"""The prediction API's HTTP side: API Gateway's proxy event in, its proxy answer out.

https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
"""

from __future__ import annotations

import base64
import binascii
import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dropforge.application.predict import PredictionService, RequestStamp
from dropforge.application.predict_refusals import Refusal, invalid_shape, malformed, unknown_caller
from dropforge.domain.asynchronous import WAITING
from dropforge.domain.errors import DropforgeError, EndpointMissing, ModelError, RetryableError
from dropforge.domain.instance_rules import parse_json

MAXIMUM_BODY_BYTES = 4_000_000
"""A serverless endpoint takes 4 MB; API Gateway passes at most 6 MB on to a Lambda function.
https://docs.aws.amazon.com/sagemaker/latest/dg/serverless-endpoints-invoke.html"""

_JSON = "application/json"
_RETRY_AFTER_S = "1"
_OPEN = frozenset({"GET /health"})


@dataclass(frozen=True)
class Exchange:
    """The answer, and what to log of the exchange. Neither the body nor the answer is ever logged."""

    response: dict[str, Any]
    log: dict[str, Any] = field(default_factory=dict)

    @property
    def breaks_release(self) -> bool:
        """Whether the answer speaks against the code that gave it; 503 tells of the endpoint's state."""
        return self.response["statusCode"] >= 500 and self.response["statusCode"] != 503


def exchange(
    event: Mapping[str, Any],
    service: Callable[[], PredictionService],
    *,
    now: datetime,
) -> Exchange:
    """Answer one request. Nothing is raised: whatever fails is an answer with a documented status.

    Args:
        event: API Gateway's REST proxy event. Its stage says in the variable ``ApiAuth`` how callers prove
            who they are, and demands it of them; what gets through without is refused here.
            ``CorsAllowedOrigin`` is the origin whose pages may read the answer, ``any`` or ``none``.
        service: made when it is needed, so that its failure is an answer as well.
    """
    stamp = _stamp(event, now)
    route = f"{event.get('httpMethod')} {event.get('resource')}"
    logged: dict[str, Any] = {"request_id": stamp.request_id, "route": route}
    headers: dict[str, str] = {}
    try:
        if route not in _OPEN:
            _require_caller(event)
        body = _routed(route, event, service, stamp, now)
        status = 202 if body.get("status") == WAITING else 200
        logged["model_version"] = body.get("model_version")
        if status == 202:
            headers = {"Retry-After": _RETRY_AFTER_S}
            if route == "POST /predict":
                # Relative to what was asked, which is below the stage's name or a domain of one's own.
                headers["Location"] = f"predictions/{body['id']}"
    except Refusal as refusal:
        status = refusal.status
        body = _error(stamp, refusal.kind, str(refusal), refusal.problems) | refusal.beside
        logged |= {"error": refusal.kind, "problems": len(refusal.problems)}
    except RetryableError as error:
        status, headers = 503, {"Retry-After": _RETRY_AFTER_S}
        body = _error(stamp, type(error).__name__, "The service is busy or starting. Send the request again.")
        logged |= {"error": type(error).__name__, "message": str(error)}
    except EndpointMissing as error:
        status = 503
        body = _error(stamp, "EndpointMissing", str(error))
        logged |= {"error": "EndpointMissing", "message": str(error)}
    except ModelError as error:
        status = 502
        body = _error(stamp, "ModelError", "The model failed on this request; nothing was predicted.")
        logged |= {"error": "ModelError", "message": str(error)}
    except Exception as error:
        # The caller gets an answer, and the log the place.
        status = 500
        body = _error(stamp, "InternalError", "The request failed; its id leads to the log.")
        logged |= {"error": type(error).__name__, "at": _places(error)}
        if isinstance(error, DropforgeError):
            # Other messages may quote data.
            logged["message"] = str(error)
    logged["status"] = status
    return Exchange(_response(status, body, headers | _cors(event), stamp), logged)


def _require_caller(event: Mapping[str, Any]) -> None:
    """Refuse unless API Gateway says whose request it is, in the way that its stage asks for.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html
    """
    context = event.get("requestContext") or {}
    identity = context.get("identity") or {}
    known = {
        "api-key": identity.get("apiKeyId"),
        "iam": identity.get("userArn"),
        "cognito": (context.get("authorizer") or {}).get("claims"),
    }
    auth = _stage_variable(event, "ApiAuth")
    if not known.get(auth):
        raise unknown_caller(auth)


def _routed(
    route: str,
    event: Mapping[str, Any],
    service: Callable[[], PredictionService],
    stamp: RequestStamp,
    now: datetime,
) -> dict[str, Any]:
    match route:
        case "POST /predict":
            return service().predict(instances_of(_document(event)), stamp)
        case "GET /predictions/{id}":
            return service().find_prediction((event.get("pathParameters") or {}).get("id") or "", now)
        case "POST /outcomes":
            outcomes = _listed(_document(event), "outcome", "outcomes")
            return service().record_outcomes(outcomes, now)
        case "GET /model":
            return service().describe_model()
        case "GET /health":
            return service().health()
    raise Refusal(404, "UnknownRoute", f"There is no {route}; see the API's OpenAPI document.")


def instances_of(document: Any) -> list[Any]:
    """The instances that a document asks predictions for.

    Raises:
        Refusal: it has another form.
    """
    return _listed(document, "instance", "instances")


def _document(event: Mapping[str, Any]) -> Any:
    """The body's JSON document."""
    media_type, _, parameters = _header(event, "content-type").partition(";")
    charset = parameters.lower().replace('"', "").replace(" ", "")
    if media_type.strip().lower() != _JSON or charset not in ("", "charset=utf-8"):
        raise Refusal(415, "UnsupportedMediaType", f"Send {_JSON} in UTF-8 and name it in Content-Type.")
    text = event.get("body") or ""
    if len(text) > MAXIMUM_BODY_BYTES * (2 if event.get("isBase64Encoded") else 1):
        raise _too_large()
    try:
        body = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else text.encode()
    except (UnicodeEncodeError, binascii.Error) as error:
        raise malformed(str(error)) from error
    if len(body) > MAXIMUM_BODY_BYTES:
        raise _too_large()
    try:
        return parse_json(body)
    except ValueError as error:
        raise malformed(str(error)) from error


def _listed(document: Any, one: str, many: str) -> list[Any]:
    """What a document holds under either name, as a list."""
    if isinstance(document, dict) and document.keys() == {one}:
        return [document[one]]
    if isinstance(document, dict) and document.keys() == {many} and isinstance(document[many], list):
        found: list[Any] = document[many]
        return found
    raise invalid_shape(f'{{"{one}": {{…}}}} or {{"{many}": [{{…}}, …]}}')


def _stamp(event: Mapping[str, Any], now: datetime) -> RequestStamp:
    context = event.get("requestContext") or {}
    at_ms = context.get("requestTimeEpoch")
    if not isinstance(at_ms, int):
        at_ms = int(now.astimezone(UTC).timestamp() * 1000)
    return RequestStamp(str(context.get("requestId") or "unknown"), at_ms)


def _header(event: Mapping[str, Any], name: str) -> str:
    return next(
        (str(value) for key, value in (event.get("headers") or {}).items() if key.lower() == name), ""
    )


def _too_large() -> Refusal:
    return Refusal(
        413,
        "RequestTooLarge",
        f"The body has more than {MAXIMUM_BODY_BYTES} bytes; send fewer instances at once.",
    )


def _error(stamp: RequestStamp, kind: str, message: str, problems: list[Any] | None = None) -> dict[str, Any]:
    return {
        "error": {
            "type": kind,
            "message": message,
            "problems": problems or [],
            "request_id": stamp.request_id,
        }
    }


def _stage_variable(event: Mapping[str, Any], name: str) -> str:
    return str((event.get("stageVariables") or {}).get(name, "none"))


def _cors(event: Mapping[str, Any]) -> dict[str, str]:
    """What lets a page read the answer; what it may send, API Gateway says by itself."""
    origin = _stage_variable(event, "CorsAllowedOrigin")
    if origin == "none":
        return {}
    return {
        "Access-Control-Allow-Origin": "*" if origin == "any" else origin,
        "Access-Control-Expose-Headers": "X-Request-Id,Retry-After,Location",
    }


def _response(
    status: int, body: dict[str, Any], headers: Mapping[str, str], stamp: RequestStamp
) -> dict[str, Any]:
    answered = body if status >= 300 else {**body, "request_id": stamp.request_id}
    return {
        "statusCode": status,
        "headers": {
            "Content-Type": _JSON,
            "Cache-Control": "no-store",
            "X-Request-Id": stamp.request_id,
            **headers,
        },
        "body": json.dumps(answered, allow_nan=False),
    }


def _places(error: Exception) -> list[str]:
    """Where it happened, without what the variables held."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
